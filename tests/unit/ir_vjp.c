/* SPDX-License-Identifier: Apache-2.0
 * Derivatives: op_vjp of every operation against central differences of the interpreter, on random shapes;
 * the points where a derivative is a convention; the forms the planner counts on; the hand example of
 * gradient routing. */
#include "random_graph.h"
#include <setjmp.h>
#include <stdlib.h>
#include <cmocka.h>

static const Span here = {0, 0, 0};
static bool tested[OP_COUNT];

/* ---- one op, one random cotangent --------------------------------------------------------------- */
enum { MAX_ARGS = 4 };
typedef struct Case {
  Arena *a;
  Graph *g;
  uint64_t rng;
  int64_t rows;
  ValueId arg[MAX_ARGS];
  double *data[MAX_ARGS]; /* of float arguments: what is varied; NULL for others */
  uint32_t n;
  const double *params[MAX_ARGS], *columns[MAX_ARGS];
  double scalars[MAX_ARGS];
} Case;

static Case *open_case(uint64_t seed) {
  Arena *a = arena_create();
  Case *c = ARENA_NEW(a, Case);
  c->a = a, c->rng = seed, c->rows = 2 + (int64_t)(seed % 4), c->g = graph_create(a, "case");
  return c;
}

static bool has_rows(const Shape *s) {
  for (int32_t i = 0; i < s->rank; i++)
    if (s->d[i] == DIM_ROWS) return true;
  return false;
}

/* A float argument with values in [lo, hi], as the leaf that its shape allows. */
static ValueId vary(Case *c, const Shape *s, Dtype t, double lo, double hi) {
  int64_t k = c->n++, n = shape_count(s, c->rows);
  double *x = t == DT_F64 ? &c->scalars[k] : ARENA_NEWS(c->a, double, n);
  for (int64_t i = 0; i < n; i++) x[i] = lo + (hi - lo) * rg_unit(&c->rng);
  c->data[k] = x, c->params[k] = c->columns[k] = x;
  Op leaf = t == DT_F64 ? OP_SCALAR : has_rows(s) ? OP_COLUMN : OP_PARAM;
  return c->arg[k] = ir_make(c->g, leaf, here, NULL, 0, &k, 1, 0, s, t);
}

/* An argument that is not varied. */
static ValueId fixed(Case *c, ValueId id) { return c->arg[c->n++] = id; }

static ValueId bools(Case *c, const Shape *s) {
  ValueId r =
      ir_make(c->g, OP_RANDOM, here, NULL, 0, (int64_t[]){(int64_t)(c->rng % 1000)}, 1, 0, s, DT_NONE);
  return ir_bin(c->g, OP_LT, r, ir_const(c->g, here, 0.5, s, DT_F32));
}

static ValueId indices(Case *c, const Shape *s, int64_t n) {
  ValueId r = ir_make(c->g, OP_RANDOM, here, NULL, 0, (int64_t[]){5}, 1, 0, s, DT_NONE);
  return ir_cast(c->g, ir_bin(c->g, OP_MUL, r, ir_const(c->g, here, (double)n, s, DT_F32)), DT_I32);
}

static double weighted(const Case *c, ValueId y, const double *w) {
  Arena *a = arena_create();
  EvalInput in = {
      .rows = c->rows, .params = c->params, .columns = c->columns, .scalars = c->scalars, .seed = c->rng};
  const double *v = graph_eval(c->g, a, &in).value[y];
  double sum = 0;
  for (int64_t i = 0; i < shape_count(&c->g->v[y].shape, c->rows); i++) sum += v[i] * w[i];
  arena_destroy(a);
  return sum;
}

/* Compares dL/d(data), L = <y, w>, for the values in `grad`, with (L(x+h) - L(x-h)) / 2h, element by element.
 */
static void compare(Case *c, ValueId y, const double *w, const ValueId *grad, const char *what) {
  const char *why = graph_verify(c->g);
  if (why) fail_msg("%s", why);
  EvalInput in = {
      .rows = c->rows, .params = c->params, .columns = c->columns, .scalars = c->scalars, .seed = c->rng};
  EvalResult r = graph_eval(c->g, c->a, &in);
  for (uint32_t k = 0; k < c->n; k++) {
    if (!c->data[k]) continue;
    for (int64_t i = 0; i < shape_count(&c->g->v[c->arg[k]].shape, c->rows); i++) {
      const double h = 1e-5, x = c->data[k][i];
      c->data[k][i] = x + h;
      double up = weighted(c, y, w);
      c->data[k][i] = x - h;
      double down = weighted(c, y, w);
      c->data[k][i] = x;
      double want = (up - down) / (2 * h), got = r.value[grad[k]][i];
      if (!(fabs(want - got) <= 2e-8 * (1 + fabs(want) + fabs(up) + fabs(down))))
        fail_msg("%s, argument %u, element %lld: difference quotient %.12g, adjoint %.12g", what, k,
                 (long long)i, want, got);
    }
  }
}

static void check_case(Case *c, ValueId y) {
  Op op = c->g->v[y].op;
  tested[op] = true;
  Shape s = c->g->v[y].shape;
  Dtype t = c->g->v[y].dtype;
  int64_t n = shape_count(&s, c->rows);
  double *w = ARENA_NEWS(c->a, double, n);
  for (int64_t i = 0; i < n; i++) w[i] = 2 * rg_unit(&c->rng) - 1;
  bool no_rows = !has_rows(&s);
  if (t == DT_F64) c->scalars[MAX_ARGS - 1] = w[0];
  c->params[MAX_ARGS - 1] = c->columns[MAX_ARGS - 1] = w;
  int64_t last = MAX_ARGS - 1;
  c->g->phase = PHASE_ADJOINT;
  Op leaf = t == DT_F64 ? OP_SCALAR : no_rows ? OP_PARAM : OP_COLUMN;
  ValueId dy;
  if (!no_rows && s.d[0] != DIM_ROWS) { /* a column has ROWS first */
    int64_t perm[IR_MAX_RANK], back[IR_MAX_RANK], at = 0;
    while (s.d[at] != DIM_ROWS) at++;
    for (int32_t i = 0; i < s.rank; i++) perm[i] = i;
    perm[0] = at, perm[at] = 0;
    Shape turned = s;
    turned.d[0] = DIM_ROWS, turned.d[at] = s.d[0];
    for (int32_t i = 0; i < s.rank; i++) back[perm[i]] = i;
    dy = ir_transpose(c->g, ir_make(c->g, leaf, here, NULL, 0, &last, 1, 0, &turned, t), back);
    EvalInput in = {.rows = c->rows, .columns = c->columns};
    Graph *only = graph_create(c->a, "turned");
    ValueId x = ir_make(only, leaf, here, NULL, 0, &last, 1, 0, &turned, t);
    x = ir_transpose(only, x, back);
    graph_root(only, ROOT_KEEP, 0, 0, x);
    w = graph_eval(only, c->a, &in).value[x];
  } else {
    dy = ir_make(c->g, leaf, here, NULL, 0, &last, 1, 0, &s, t);
  }
  ValueId args[MAX_ARGS], dargs[MAX_ARGS], first = c->g->n;
  memcpy(args, c->g->v[y].args, sizeof *args * c->g->v[y].n_args);
  c->g->v[y].span = (Span){1, 7, 9};
  op_vjp(c->g, y, dy, dargs);
  for (ValueId id = first; id < c->g->n; id++)
    if (c->g->v[id].span.start != 7 || c->g->v[id].phase != PHASE_ADJOINT)
      fail_msg("%s: %%%u lost span or phase", op_name(op), id);
  ValueId grad[MAX_ARGS] = {0};
  for (uint32_t k = 0; k < c->g->v[y].n_args; k++) {
    const Value *x = &c->g->v[args[k]];
    if (dargs[k] &&
        (!shape_equal(&c->g->v[dargs[k]].shape, &x->shape) || c->g->v[dargs[k]].dtype != x->dtype))
      fail_msg("%s: the adjoint of argument %u has another type", op_name(op), k);
    for (uint32_t j = 0; j < c->n; j++) {
      if (c->arg[j] != args[k] || !c->data[j]) continue;
      if (!dargs[k]) fail_msg("%s: argument %u has no adjoint", op_name(op), k);
      grad[j] = dargs[k];
      if (c->g->v[grad[j]].op == OP_ADJTAP) c->g->v[grad[j]].origins = 1;
      graph_root(c->g, ROOT_KEEP, 0, 0, grad[j]);
    }
  }
  graph_root(c->g, ROOT_KEEP, 0, 0, y);
  compare(c, y, w, grad, op_name(op));
  arena_destroy(c->a);
}

/* ---- element-wise ------------------------------------------------------------------------------- */
static const Shape shapes[] = {{0},
                               {1, {7}},
                               {1, {DIM_ROWS}},
                               {2, {DIM_ROWS, 5}},
                               {3, {3, 1, 5}},
                               {3, {DIM_ROWS, 2, 3}},
                               {4, {2, 3, 1, 5}},
                               {4, {DIM_ROWS, 2, 1, 3}}};
enum { N_SHAPES = sizeof shapes / sizeof *shapes };

static void elementwise(void **state) {
  (void)state;
  for (int op = 1; op < OP_COUNT; op++) {
    const OpInfo *info = op_info((Op)op);
    if (info->cls != OPC_ELT || !info->vjp || op == OP_WHERE) continue;
    for (int k = 0; k < 2 * N_SHAPES; k++) {
      Case *c = open_case((uint64_t)(op * 100 + k));
      Dtype t = k == N_SHAPES ? DT_F64 : DT_F32;
      const Shape *s = &shapes[k % N_SHAPES];
      bool positive = op == OP_LOG || op == OP_SQRT || op == OP_POW;
      vary(c, s, t, positive ? 0.3 : -2, 2.5);
      if (info->n_args == 2 && op != OP_MASK) vary(c, s, t, op == OP_DIV ? 0.5 : -2, 2);
      if (op == OP_MASK) {
        double f[64];
        for (int i = 0; i < 64; i++) f[i] = (double[]){0, 1, 0.5, -0.75}[rg_int(&c->rng, 0, 3)];
        bool rows = has_rows(s);
        fixed(c, rows || t == DT_F64 ? ir_const(c->g, here, f[0], s, t) : ir_const_data(c->g, here, f, s, t));
      }
      c->g->phase = op == OP_ADJTAP ? PHASE_ADJOINT : PHASE_FORWARD;
      bool tap = op == OP_TAP || op == OP_ADJTAP;
      ValueId y = ir_make(c->g, (Op)op, here, c->arg, (uint32_t)info->n_args, (int64_t[]){3}, tap, 0, NULL,
                          op == OP_CAST && t == DT_F64 ? DT_F32
                          : op == OP_CAST && !s->rank  ? DT_F64
                          : op == OP_CAST              ? DT_F32
                                                       : DT_NONE);
      if (op == OP_ADJTAP) c->g->v[y].origins = 1;
      check_case(c, y);
    }
  }
}

static void where_and_powers(void **state) {
  (void)state;
  for (uint64_t k = 0; k < N_SHAPES; k++) {
    Case *c = open_case(k);
    vary(c, &shapes[k], DT_F32, -1, 1), vary(c, &shapes[k], DT_F32, -1, 1);
    ValueId cond = bools(c, &shapes[k]);
    check_case(c, ir_where(c->g, cond, c->arg[0], c->arg[1]));
    for (int n = -3; n <= 4; n++) { /* negative bases too */
      c = open_case(k);
      vary(c, &shapes[k], DT_F32, -2, -0.5);
      ValueId x = c->arg[0], e = ir_const(c->g, here, n, &shapes[k], DT_F32);
      if (n == 0) {
        arena_destroy(c->a);
        continue;
      }
      check_case(c, ir_bin(c->g, OP_POW, x, e));
    }
  }
}

/* ---- views -------------------------------------------------------------------------------------- */
static void view(uint64_t seed, Op op, Shape from, const int64_t *ints, uint32_t n_ints, const Shape *to) {
  Case *c = open_case(seed);
  vary(c, &from, DT_F32, -1, 1);
  check_case(c, ir_make(c->g, op, here, c->arg, 1, ints, n_ints, 0, to, DT_NONE));
}
#define VIEW(op, from, to, ...)                                                                              \
  view(__LINE__, op, from, (int64_t[]){__VA_ARGS__}, sizeof((int64_t[]){__VA_ARGS__}) / 8, to)

static void views(void **state) {
  (void)state;
  Shape s = shape_of(3, DIM_ROWS, 5, 3), m = shape_of(2, 5, 3), v = shape_of(1, 3), none = shape_of(0);
  VIEW(OP_BCAST, v, &s, -1, -1, 0);
  VIEW(OP_BCAST, none, &s, -1, -1, -1);
  VIEW(OP_BCAST, m, &s, -1, 0, 1);
  VIEW(OP_BCAST, shape_of(1, DIM_ROWS), &s, 0, -1, -1);
  VIEW(OP_BCAST, shape_of(2, DIM_ROWS, 3), &s, 0, -1, 1);
  VIEW(OP_BCAST, s, &s, 0, 1, 2);
  view(1, OP_RESHAPE, s, NULL, 0, &(Shape){2, {DIM_ROWS, 15}});
  view(2, OP_RESHAPE, m, NULL, 0, &(Shape){4, {1, 3, 5, 1}});
  view(3, OP_RESHAPE, none, NULL, 0, &(Shape){2, {1, 1}});
  VIEW(OP_TRANSPOSE, s, NULL, 0, 2, 1);
  VIEW(OP_TRANSPOSE, s, NULL, 2, 0, 1);
  VIEW(OP_TRANSPOSE, shape_of(4, 2, 3, 1, 5), NULL, 3, 0, 2, 1);
  VIEW(OP_SLICE, s, (&(Shape){3, {DIM_ROWS, 2, 3}}), 1, 1, 3);
  VIEW(OP_SLICE, v, (&(Shape){1, {1}}), 0, 2, 1);
  VIEW(OP_PAD, s, (&(Shape){3, {DIM_ROWS, 11, 3}}), 1, 1, 2);
  VIEW(OP_PAD, s, (&(Shape){3, {DIM_ROWS, 5, 7}}), 2, 4, 1);
  VIEW(OP_TAKE, s, NULL, 1, 4, 0, 2);
  VIEW(OP_TAKE, s, NULL, 1, 4, 0, 4, 2, 4, 0, 1); /* repeated */
  VIEW(OP_TAKE, v, NULL, 0, 1);
  VIEW(OP_PUT, s, (&(Shape){3, {DIM_ROWS, 5, 5}}), 2, 4, 0, 3);
  VIEW(OP_PUT, v, (&(Shape){1, {3}}), 0, 2, 1, 0);
  VIEW(OP_SUM, s, NULL, 0);
  VIEW(OP_SUM, s, NULL, 0, 2);
  VIEW(OP_SUM, s, NULL, 0, 1, 2);
  VIEW(OP_SUM, m, NULL, 0);
  VIEW(OP_AMAX, s, NULL, 0);
  VIEW(OP_AMAX, s, NULL, 1, 2);
  VIEW(OP_AMAX, m, NULL, 0, 1);
  for (uint64_t i = 0; i < 12; i++) { /* windows that overlap, skip, dilate, hang over */
    uint64_t r = i + 1;
    int64_t p[8];
    for (int k = 0; k < 8; k++)
      p[k] = k < 2   ? rg_int(&r, 1, 3)
             : k < 4 ? rg_int(&r, 1, 3)
             : k < 6 ? rg_int(&r, 0, 2)
                     : rg_int(&r, 1, 2);
    Shape image = shape_of(4, i % 2 ? DIM_ROWS : 2, 2, 5, 6), cols;
    Case *c = open_case(i);
    vary(c, &image, DT_F32, -1, 1);
    ValueId u = ir_make(c->g, OP_UNFOLD, here, c->arg, 1, p, 8, 0, NULL, DT_NONE);
    cols = c->g->v[u].shape;
    check_case(c, u);
    view(i, OP_FOLD, cols, p, 8, &image);
  }
}

static void several_arguments(void **state) {
  (void)state;
  for (uint64_t k = 0; k < 4; k++) {
    Case *c = open_case(k);
    Shape s = k % 2 ? shape_of(3, DIM_ROWS, 2, 3) : shape_of(3, 1, 2, 3), longer = s;
    longer.d[1 + k / 2] = 5;
    vary(c, &s, DT_F32, -1, 1), vary(c, &longer, DT_F32, -1, 1), vary(c, &s, DT_F32, -1, 1);
    check_case(
        c, ir_make(c->g, OP_CONCAT, here, c->arg, 3, (int64_t[]){1 + (int64_t)k / 2}, 1, 0, NULL, DT_NONE));

    c = open_case(k);
    Shape table = shape_of(2, 4, 3), index = k % 2 ? shape_of(2, DIM_ROWS, 3) : shape_of(1, 7), rows = index;
    rows.d[rows.rank++] = 3;
    ValueId at = indices(c, &index, 4);
    vary(c, &table, DT_F32, -1, 1);
    check_case(c, ir_make(c->g, OP_GATHER, here, (ValueId[]){c->arg[0], at}, 2, NULL, 0, 0, NULL, DT_NONE));

    c = open_case(k);
    at = indices(c, &index, 4);
    vary(c, &rows, DT_F32, -1, 1);
    check_case(c,
               ir_make(c->g, OP_SCATTER, here, (ValueId[]){c->arg[0], at}, 2, NULL, 0, 0, &table, DT_NONE));
  }
}

/* Random axis lists, with ROWS as batch, contracted or free. */
static void contractions(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 120; seed++) {
    Case *c = open_case(seed);
    int64_t counts[4], la[6], lb[6], extent[8], n = 0, na = 0, nb = 0, pa[8], pb[8];
    for (int k = 0; k < 4; k++)
      counts[k] = rg_int(&c->rng, 0, k < 2 ? 2 : 1); /* batch, contracted, free a, free b */
    for (int k = 0; k < 4; k++)
      for (int64_t i = 0; i < counts[k]; i++, n++) {
        extent[n] = rg_int(&c->rng, 1, 3);
        if (k != 3) la[na++] = n;
        if (k != 2) lb[nb++] = n;
      }
    if (n && seed % 3) extent[rg_int(&c->rng, 0, n - 1)] = DIM_ROWS;
    for (int side = 0; side < 2; side++) { /* shuffled, but a leaf has ROWS first */
      int64_t *l = side ? lb : la, m = side ? nb : na;
      for (int64_t i = m - 1; i > 0; i--) {
        int64_t j = rg_int(&c->rng, 0, i), x = l[i];
        l[i] = l[j], l[j] = x;
      }
      for (int64_t i = 1; i < m; i++)
        if (extent[l[i]] == DIM_ROWS) {
          int64_t x = l[i];
          l[i] = l[0], l[0] = x;
        }
    }
    Shape sa = {.rank = (int32_t)na}, sb = {.rank = (int32_t)nb};
    for (int64_t i = 0; i < na; i++) sa.d[i] = extent[la[i]], pa[la[i]] = i;
    for (int64_t i = 0; i < nb; i++) sb.d[i] = extent[lb[i]], pb[lb[i]] = i;
    vary(c, &sa, DT_F32, -1, 1), vary(c, &sb, DT_F32, -1, 1);
    check_case(c, ir_dot(c->g, c->arg[0], c->arg[1], pa, pb, (uint32_t)counts[0], pa + counts[0],
                         pb + counts[0], (uint32_t)counts[1]));
  }
}

static void every_derivative_was_compared(void **state) {
  (void)state;
  for (int op = 1; op < OP_COUNT; op++)
    if (op_info((Op)op)->vjp && !tested[op] && op != OP_CALL) /* unit.ir_call */
      fail_msg("%s was not compared with difference quotients", op_name((Op)op));
}

/* ---- conventions -------------------------------------------------------------------------------- */
static ValueId list(Graph *g, int n, const double *x) {
  return ir_const_data(g, here, x, &(Shape){1, {n}}, DT_F32);
}

/* The adjoint of argument k of y for dy, element by element. */
static const double *adjoint(Graph *g, ValueId y, ValueId dy, uint32_t k) {
  ValueId dargs[3];
  op_vjp(g, y, dy, dargs);
  assert_int_not_equal(dargs[k], 0);
  graph_root(g, ROOT_KEEP, 0, 0, dargs[k]);
  return graph_eval(g, g->arena, &(EvalInput){.rows = 1}).value[dargs[k]];
}

static void conventions(void **state) {
  (void)state;
  Arena *a = arena_create();
  Graph *g = graph_create(a, "conventions");
  ValueId x = list(g, 4, (double[]){-1, 0, 2, -0.0}), dy = list(g, 4, (double[]){5, NAN, 7, INFINITY});
  const double *d = adjoint(g, ir_un(g, OP_RELU, x), dy, 0);
  assert_true(d[0] == 0 && d[1] == 0 && d[2] == 7 && d[3] == 0);
  ValueId one = list(g, 4, (double[]){1, 1, 1, 1}), two = list(g, 4, (double[]){0, 1, 2, 3});
  d = adjoint(g, ir_un(g, OP_ABS, x), one, 0);
  assert_true(d[0] == -1 && d[1] == 0 && d[2] == 1 && d[3] == 0);
  ValueId min = ir_bin(g, OP_MIN, one, two), max = ir_bin(g, OP_MAX, one, two);
  d = adjoint(g, min, one, 0);
  assert_true(d[0] == 0 && d[1] == 0.5 && d[2] == 1);
  d = adjoint(g, min, one, 1);
  assert_true(d[0] == 1 && d[1] == 0.5 && d[2] == 0);
  d = adjoint(g, max, one, 0);
  assert_true(d[0] == 1 && d[1] == 0.5 && d[2] == 0);
  d = adjoint(g, max, one, 1);
  assert_true(d[0] == 0 && d[1] == 0.5 && d[2] == 1);
  ValueId ties = list(g, 5, (double[]){3, 1, 3, 3, 0});
  d = adjoint(g, ir_reduce(g, OP_AMAX, ties, (int64_t[]){0}, 1), ir_const(g, here, 6, &(Shape){0}, DT_F32),
              0);
  assert_true(d[0] == 2 && d[1] == 0 && d[2] == 2 && d[3] == 2 && d[4] == 0);
  ValueId base = list(g, 3, (double[]){0, -2, 3}), power = list(g, 3, (double[]){0, 2, 2}),
          ones = list(g, 3, (double[]){1, 1, 1});
  d = adjoint(g, ir_bin(g, OP_POW, base, power), ones, 0);
  assert_true(d[0] == 0 && d[1] == -4 && d[2] == 6);
  d = adjoint(g, ir_bin(g, OP_POW, base, power), ones, 1);
  assert_true(d[0] == 0 && isnan(d[1]) && fabs(d[2] - 9 * log(3)) < 1e-12);
  d = adjoint(g, ir_bin(g, OP_POW, base, ir_const(g, here, 2, &(Shape){1, {3}}, DT_F32)), ones, 0);
  assert_true(d[0] == 0 && d[1] == -4 && d[2] == 6);
  d = adjoint(g, ir_bin(g, OP_MASK, x, list(g, 4, (double[]){1, 0, -0.75, 0})), dy, 0);
  assert_true(d[0] == 5 && d[1] == 0 && !signbit(d[1]) && d[2] == -5.25 && d[3] == 0 && !signbit(d[3]));
  arena_destroy(a);
}

static void no_adjoint_where_there_is_none(void **state) {
  (void)state;
  Arena *a = arena_create();
  Graph *g = graph_create(a, "flat");
  Shape s = shape_of(1, 4), table = shape_of(2, 4, 2);
  ValueId x = list(g, 4, (double[]){1, 2, 3, 4}), i = ir_const(g, here, 1, &s, DT_I32),
          b = ir_bin(g, OP_LT, x, x), d[3];
  ValueId t = ir_const(g, here, 1, &table, DT_F32);
  static const Op flat[] = {OP_SIGN, OP_FLOOR, OP_STOP};
  for (int k = 0; k < 3; k++) {
    d[0] = 99;
    op_vjp(g, ir_un(g, flat[k], x), x, d);
    assert_int_equal(d[0], 0);
  }
  ValueId none[] = {ir_cast(g, x, DT_I32),   ir_cast(g, i, DT_F32),  ir_cast(g, b, DT_F32),
                    ir_bin(g, OP_ADD, i, i), ir_bin(g, OP_LT, x, x), ir_un(g, OP_NOT, b)};
  for (size_t k = 0; k < sizeof none / sizeof *none; k++) {
    d[0] = d[1] = 99;
    Dtype ty = g->v[none[k]].dtype;
    op_vjp(g, none[k], ty == DT_F32 ? x : ty == DT_I32 ? i : b, d);
    assert_int_equal(d[0], 0);
    if (g->v[none[k]].n_args == 2) assert_int_equal(d[1], 0);
  }
  op_vjp(g, ir_bin(g, OP_MASK, x, x), x, d);
  assert_true(d[0] && !d[1]);
  op_vjp(g, ir_where(g, b, x, x), x, d);
  assert_true(!d[0] && d[1] && d[2]);
  ValueId got = ir_make(g, OP_GATHER, here, (ValueId[]){t, i}, 2, NULL, 0, 0, NULL, DT_NONE);
  op_vjp(g, got, got, d);
  assert_true(d[0] && !d[1]);
  op_vjp(g, ir_reduce(g, OP_ARGMAX, x, (int64_t[]){0}, 1), ir_const(g, here, 1, &(Shape){0}, DT_I32), d);
  assert_int_equal(d[0], 0);
  ValueId tap = ir_make(g, OP_TAP, here, &x, 1, (int64_t[]){42}, 1, 0, NULL, DT_NONE);
  op_vjp(g, tap, x, d);
  assert_true(g->v[d[0]].op == OP_ADJTAP && g->v[d[0]].ints[0] == 42 && g->v[d[0]].args[0] == x &&
              !g->v[d[0]].origins);
  arena_destroy(a);
}

/* Weight gradients are plain GEMMs: no transpose for PyTorch's linear, for x W, nor for a batched product. */
static void gemm_forms(void **state) {
  (void)state;
  Arena *a = arena_create();
  Graph *g = graph_create(a, "forms");
  Shape xs = shape_of(2, DIM_ROWS, 7), ws = shape_of(2, 5, 7), xs3 = shape_of(3, DIM_ROWS, 3, 7),
        ks = shape_of(4, DIM_ROWS, 2, 3, 7), vs = shape_of(4, DIM_ROWS, 2, 7, 5);
  ValueId x = ir_const(g, here, 1, &xs, DT_F32), w = ir_const(g, here, 1, &ws, DT_F32), d[2];
  ValueId y = ir_dot(g, x, w, NULL, NULL, 0, (int64_t[]){1}, (int64_t[]){1}, 1);
  op_vjp(g, y, y, d);
  const Value *dx = &g->v[d[0]], *dw = &g->v[d[1]];
  assert_true(dw->op == OP_DOT && dw->args[0] == y && dw->args[1] == x && dw->ints[1] == 1 &&
              dw->ints[2] == 0 && dw->ints[3] == 0);
  assert_true(dx->op == OP_DOT && dx->args[0] == y && dx->args[1] == w && dx->ints[2] == 1 &&
              dx->ints[3] == 0);
  ValueId x3 = ir_const(g, here, 1, &xs3, DT_F32); /* all leading axes are contracted */
  y = ir_dot(g, x3, w, NULL, NULL, 0, (int64_t[]){2}, (int64_t[]){1}, 1);
  op_vjp(g, y, y, d);
  dw = &g->v[d[1]];
  assert_true(dw->op == OP_DOT && dw->args[0] == y && dw->args[1] == x3 && dw->ints[1] == 2 &&
              g->v[d[0]].op == OP_DOT);
  ValueId wt = ir_transpose(g, w, (int64_t[]){1, 0}); /* [in,out] */
  y = ir_dot(g, x, wt, NULL, NULL, 0, (int64_t[]){1}, (int64_t[]){0}, 1);
  op_vjp(g, y, y, d);
  dw = &g->v[d[1]];
  assert_true(dw->op == OP_DOT && dw->args[0] == x && dw->args[1] == y && g->v[d[0]].op == OP_DOT);
  ValueId q = ir_const(g, here, 1, &ks, DT_F32), v = ir_const(g, here, 1, &vs, DT_F32);
  y = ir_dot(g, q, v, (int64_t[]){0, 1}, (int64_t[]){0, 1}, 2, (int64_t[]){3}, (int64_t[]){2}, 1);
  op_vjp(g, y, y, d);
  assert_true(g->v[d[0]].op == OP_DOT && g->v[d[1]].op == OP_DOT);
  arena_destroy(a);
}

/* ---- a small reverse pass over whole graphs ----------------------------------------------------- */
/* adj[v] = d loss / d v. mask != 0: what the mask pass makes of every ADJTAP. */
static ValueId *reverse(Graph *g, ValueId loss, ValueId mask) {
  ValueId n = g->n, *adj = ARENA_NEWS(g->arena, ValueId, n), dargs[8];
  g->phase = PHASE_ADJOINT;
  Shape none = {0};
  adj[loss] = ir_const(g, here, 1, &none, DT_F32);
  for (ValueId v = loss; v; v--) {
    if (!adj[v] || !g->v[v].n_args) continue;
    op_vjp(g, v, adj[v], dargs);
    for (uint32_t k = 0; k < g->v[v].n_args; k++) {
      ValueId arg = g->v[v].args[k];
      if (g->v[v].op == OP_TAP) g->v[dargs[k]].origins = 1;
      if (g->v[v].op == OP_TAP) dargs[k] = mask ? ir_bin(g, OP_MASK, adj[v], mask) : adj[v];
      if (dargs[k]) adj[arg] = adj[arg] ? ir_bin(g, OP_ADD, adj[arg], dargs[k]) : dargs[k];
    }
  }
  for (ValueId v = 1; v < n; v++)
    if (adj[v]) graph_root(g, ROOT_KEEP, v, 0, adj[v]);
  return adj;
}

/* h = W1 x, y = W2 h, L = y^2 / 2 with W1 = [1,2], x = 1, W2 = [3,-1]. */
static void hand_example_case(const double *m, const double *f, const double *dw1, const double *dw2,
                              double dx) {
  Arena *a = arena_create();
  Graph *g = graph_create(a, "hand");
  Shape xs = shape_of(2, DIM_ROWS, 1), s1 = shape_of(2, 2, 1), s2 = shape_of(2, 1, 2),
        hs = shape_of(2, DIM_ROWS, 2);
  ValueId x = ir_make(g, OP_COLUMN, here, NULL, 0, (int64_t[]){0}, 1, 0, &xs, DT_F32);
  ValueId w1 = ir_make(g, OP_PARAM, here, NULL, 0, (int64_t[]){0}, 1, 0, &s1, DT_NONE);
  ValueId w2 = ir_make(g, OP_PARAM, here, NULL, 0, (int64_t[]){1}, 1, 0, &s2, DT_NONE);
  ValueId h = ir_dot(g, x, w1, NULL, NULL, 0, (int64_t[]){1}, (int64_t[]){1}, 1);
  h = ir_make(g, OP_TAP, here, &h, 1, (int64_t[]){0}, 1, 0, NULL, DT_NONE);
  Shape v2 = shape_of(1, 2);
  if (f)
    h = ir_bin(g, OP_MASK, h, ir_bcast(g, ir_const_data(g, here, f, &v2, DT_F32), &hs, (int64_t[]){-1, 0}));
  ValueId mask = m ? ir_bcast(g, ir_const_data(g, here, m, &v2, DT_F32), &hs, (int64_t[]){-1, 0}) : 0;
  ValueId y = ir_dot(g, h, w2, NULL, NULL, 0, (int64_t[]){1}, (int64_t[]){1}, 1);
  ValueId half = ir_const(g, here, 0.5, &(Shape){0}, DT_F32);
  ValueId loss = ir_reduce(g, OP_SUM, ir_bin(g, OP_MUL, ir_bin(g, OP_MUL, y, y), half), (int64_t[]){0, 1}, 2);
  ValueId *adj = reverse(g, loss, mask);
  assert_null(graph_verify(g));
  const double *params[] = {(double[]){1, 2}, (double[]){3, -1}}, *columns[] = {(double[]){1}};
  double **v = graph_eval(g, a, &(EvalInput){.rows = 1, .params = params, .columns = columns}).value;
  if (!f) assert_true(v[y][0] == 1);
  for (int i = 0; i < 2; i++) assert_true(v[adj[w1]][i] == dw1[i] && v[adj[w2]][i] == dw2[i]);
  assert_true(v[adj[x]][0] == dx);
  arena_destroy(a);
}

static void hand_example(void **state) {
  (void)state;
  hand_example_case(NULL, NULL, (double[]){3, -1}, (double[]){1, 2}, 1);
  hand_example_case((double[]){1, 0}, NULL, (double[]){3, 0}, (double[]){1, 2}, 3);
  hand_example_case((double[]){1, 0.5}, NULL, (double[]){3, -0.5}, (double[]){1, 2}, 2);
  hand_example_case((double[]){1, -0.75}, NULL, (double[]){3, 0.75}, (double[]){1, 2}, 4.5);
  hand_example_case(NULL, (double[]){1, 0}, (double[]){9, 0}, (double[]){3, 0}, 9);
}

static ValueId spread_rows(Graph *g, ValueId v, const Shape *to) {
  return ir_bcast(g, v, to, (int64_t[]){0, -1});
}

/* Layer normalisation, a linear layer used twice, softmax cross entropy, all out of small ops. */
static void a_whole_network(void **state) {
  (void)state;
  Case *c = open_case(11);
  Graph *g = c->g;
  Shape xs = shape_of(2, DIM_ROWS, 5), ws = shape_of(2, 5, 5), bs = shape_of(1, 5), none = shape_of(0);
  ValueId x = vary(c, &xs, DT_F32, -1, 1), w = vary(c, &ws, DT_F32, -1, 1), b = vary(c, &bs, DT_F32, -1, 1),
          h = x;
  ValueId fifth = ir_const(g, here, 0.2, &none, DT_F32), eps = ir_const(g, here, 1e-3, &none, DT_F32);
  for (int layer = 0; layer < 2; layer++) {
    ValueId mean = spread_rows(g, ir_bin(g, OP_MUL, ir_reduce(g, OP_SUM, h, (int64_t[]){1}, 1), fifth), &xs);
    ValueId d = ir_bin(g, OP_SUB, h, mean);
    ValueId var = ir_bin(g, OP_MUL, ir_reduce(g, OP_SUM, ir_bin(g, OP_MUL, d, d), (int64_t[]){1}, 1), fifth);
    h = ir_bin(g, OP_DIV, d, spread_rows(g, ir_un(g, OP_SQRT, ir_bin(g, OP_ADD, var, eps)), &xs));
    h = ir_dot(g, h, w, NULL, NULL, 0, (int64_t[]){1}, (int64_t[]){1}, 1);
    h = ir_un(g, layer ? OP_TANH : OP_SOFTPLUS,
              ir_bin(g, OP_ADD, h, ir_bcast(g, b, &xs, (int64_t[]){-1, 0})));
  }
  ValueId top = spread_rows(g, ir_un(g, OP_STOP, ir_reduce(g, OP_AMAX, h, (int64_t[]){1}, 1)), &xs);
  ValueId z = ir_bin(g, OP_SUB, h, top);
  ValueId lse = ir_un(g, OP_LOG, ir_reduce(g, OP_SUM, ir_un(g, OP_EXP, z), (int64_t[]){1}, 1));
  ValueId loss = ir_reduce(
      g, OP_SUM, ir_bin(g, OP_SUB, lse, ir_reduce(g, OP_SUM, ir_slice(g, z, 1, 2, 1, 1), (int64_t[]){1}, 1)),
      (int64_t[]){0}, 1);
  graph_root(g, ROOT_KEEP, 1000, 0, loss);
  ValueId *adj = reverse(g, loss, 0);
  compare(c, loss, (double[]){1}, (ValueId[]){adj[x], adj[w], adj[b]}, "network");
  arena_destroy(c->a);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(elementwise),    cmocka_unit_test(where_and_powers),
      cmocka_unit_test(views),          cmocka_unit_test(several_arguments),
      cmocka_unit_test(contractions),   cmocka_unit_test(every_derivative_was_compared),
      cmocka_unit_test(conventions),    cmocka_unit_test(no_adjoint_where_there_is_none),
      cmocka_unit_test(gemm_forms),     cmocka_unit_test(hand_example),
      cmocka_unit_test(a_whole_network)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
