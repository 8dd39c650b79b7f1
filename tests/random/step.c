/* SPDX-License-Identifier: Apache-2.0
 * step.c -- one training step of each specification on the standard input ("PATH [fixed]"), compiled as
 * `routec run` compiles it, on its own data. Checked:
 * oracle     losses, routed gradients, next values and optimizer states against the double interpreter
 * zeros      a gradient that is exactly 0 in the interpreter is exactly 0
 * threads    the same bits after three steps with 1, 2 and 4 threads of the runtime's pool
 * plain      losses equal in every bit to those of PATH.plain.route, which has no `gradient of` and `parameters of` routes; of compiled
 *            code only for each --plain N-th program
 * mixed      "fixed": the batch's gradient is the sum of the gradients of its data, one value of `label` at a time
 * vectors    for each --vectors N-th program the same bits from AVX2 code as from AVX-512 code, with 1, 2 and 4 threads
 * --interpret 1: instead, inputs, losses and gradients of the interpreter are written to PATH.values as JSON,
 * for PyTorch. */
#include "columns.h"
#include "driver.h"
#include "llvm_run.h"
#include "pool.h"

/* Bound of |compiled - interpreted| relative to the largest magnitude of the tensor in the interpreter; where
 * a program is so ill-conditioned that more is lost (a correlation over three rows), AMPLIFIED times what the
 * interpreter's own result moves by when each of its values is rounded to a float beside it by chance: the most
 * of ROUNDINGS draws, since in one draw errors may happen to cancel. */
#define BOUND     2e-5
#define AMPLIFIED 10
#define ROUNDINGS 12
#define BOUND_SUM 1e-9 /* mixed against the sum, both in double */
enum { STEPS = 3, MAX_THREADS = 4 }; /* of what is compared between numbers of threads */
enum { MAX_ROOTS = 512, MAX_ROWS = 256, REDRAWS = 24 };
#define VANISHED 1e-12 /* of the largest gradient: the rounding of double */

typedef struct Case {
  Compilation c;
  Options o;
  const Graph *g;
  double **columns; /* [column] all data */
  int64_t n_data;
  uint64_t draw;   /* another draw of the parameters and of the contents of data */
  Run run;
} Case;

typedef struct Totals {
  int64_t programs, failed, gradients, zeros, cancelled, amplified, mixed, plain, vectors, grouped, packed;
  double worst, worst_sum;
} Totals;
static Totals totals;

static bool fail(const char *path, const char *what, const char *where, double found, double bound) {
  printf("FAILED %s: %s %s: %.4g is beyond %.4g\n", path, what, where, found, bound);
  totals.failed++;
  return false;
}

/* ---- a program, compiled
 * ---------------------------------------------------------------------------------------- */
/* Columns that the step reads are computed when data are loaded: labels that are drawn, conditions that rows
 * are sorted by. */
static bool needs_code(const Case *x) {
  const Program *p = x->c.program;
  for (uint32_t i = 0; i < p->n_derived; i++)
    if (p->derived[i].draw != DRAW_NONE) return true;
  return p->groups.n_sets > 0;
}

static bool case_open(Case *x, const char *path, const char *target, Stage last) {
  bool stopped;
  memset(x, 0, sizeof *x);
  x->o = (Options){
      .argument = path, .last = last, .target = target, .keep_grads = true, .json_diags = JSON_DIAGS_FIELD, .no_cache = true};
  x->o.rt.json = true; /* warnings are not wanted here */
  driver_open(&x->c, &x->o);
  if (driver_compile(&x->c, path, last, &stopped) != RT_OK) return fail(path, "refused", "", 1, 0);
  x->g = x->c.program->step;
  if (x->g->n_roots > MAX_ROOTS) return fail(path, "roots", "", x->g->n_roots, MAX_ROOTS);
  if (last < STAGE_LOAD && needs_code(x)) { /* to compute columns */
    driver_close(&x->c);
    return case_open(x, path, target, STAGE_LOAD);
  }
  x->columns = columns_read(x->c.arena, x->c.job, last == STAGE_LOAD, &x->n_data);
  return x->columns ? true : fail(path, "data", "", 1, 0);
}
static void case_close(Case *x) { driver_close(&x->c); }

/* Group of a datum, where the rows of a batch are sorted by group. */
static uint32_t group_of(const Case *x, int64_t datum) {
  const JobGroups *g = &x->c.job->train.groups;
  for (uint32_t k = 0; g->n_sets && k < g->n_kinds; k++)
    if (g->kinds[k] == (uint32_t)x->columns[g->column][datum]) return g->group_of_kind[k];
  return 0;
}

static void sort_rows(const Case *x, int64_t *pick, int64_t rows) {
  for (int64_t i = 1; i < rows; i++)
    for (int64_t k = i; k > 0 && group_of(x, pick[k - 1]) > group_of(x, pick[k]); k--) {
      const int64_t t = pick[k];
      pick[k] = pick[k - 1], pick[k - 1] = t;
    }
}

/* [set][2] first row and count. */
static int64_t (*row_sets(Case *x, const int64_t *pick, int64_t rows))[2] {
  const JobGroups *g = &x->c.job->train.groups;
  int64_t(*sets)[2] = arena_alloc(x->c.arena, (g->n_sets + 1) * sizeof *sets);
  for (uint32_t k = 0; k < g->n_sets; k++) {
    sets[k][0] = sets[k][1] = 0;
    for (int64_t r = 0; r < rows; r++) {
      sets[k][0] += group_of(x, pick[r]) < g->lo[k];
      sets[k][1] += group_of(x, pick[r]) >= g->lo[k] && group_of(x, pick[r]) < g->hi[k];
    }
  }
  return g->n_sets ? sets : NULL;
}

static double uniform(uint64_t *state, double lo, double hi) {
  return (double)(float)(lo + (hi - lo) * (double)(rg_next(state) >> 11) * 0x1p-53);
}

/* A value within the bounds of PyTorch's initialisation; moments; and corrections between them. */
static double *param_values(Case *x, const ProgParam *p, int what) {
  uint64_t state = p->stream + 977 * (uint64_t)(what + 1) + 0x9E3779B97F4A7C15u * 1000 * x->draw;
  const int64_t n = shape_count(&p->shape, 1), fan = p->shape.rank > 1 ? n / p->shape.d[0] : 4;
  double *v = ARENA_NEWS(x->c.arena, double, n + 1), size = 1 / sqrt((double)fan);
  for (int64_t i = 0; i < n; i++) {
    if (what < 0) v[i] = uniform(&state, -size, size) + (p->init == INIT_CONSTANT ? p->a : 0);
    else if (what == 0) v[i] = uniform(&state, -0.1, 0.1);
    else v[i] = what == 1 ? uniform(&state, 0.01, 0.1) : uniform(&state, 0.1, 0.9);
  }
  return v;
}

/* Rows of the batch: data `pick[0 .. rows)`. */
/* Other contents for real numbers that are no weights: a sum over data may cancel for these data and any parameters. */
static void redraw_contents(uint64_t draw, uint32_t column, double *v, int64_t n) {
  bool weights = true;
  for (int64_t k = 0; k < n; k++) weights = weights && v[k] >= 0 && v[k] <= 1;
  uint64_t state = 0x9E3779B97F4A7C15u * (1000 * draw + column + 1);
  for (int64_t k = 0; k < n && !weights; k++) v[k] = uniform(&state, -2, 2);
}

static EvalInput case_input(Case *x, const int64_t *pick, int64_t rows) {
  Arena *a = x->c.arena;
  const Program *p = x->c.program;
  const double **params = ARENA_NEWS(a, const double *, p->n_params + 1),
               **columns = ARENA_NEWS(a, const double *, p->n_columns + 1);
  const double *const **states = ARENA_NEWS(a, const double *const *, p->n_params + 1);
  for (uint32_t i = 0; i < p->n_params; i++) {
    const double **s = ARENA_NEWS(a, const double *, JOB_MAX_STATES);
    for (int k = 0; k < JOB_MAX_STATES; k++) s[k] = param_values(x, &p->params[i], k);
    params[i] = param_values(x, &p->params[i], -1), states[i] = s;
  }
  for (uint32_t i = 0; i < p->n_columns; i++) {
    const int64_t n = shape_count(&p->columns[i].shape, 1);
    double *v = ARENA_NEWS(a, double, n *rows + 1);
    for (int64_t r = 0; r < rows && x->columns[i]; r++)
      memcpy(v + r * n, x->columns[i] + pick[r] * n, sizeof *v * (size_t)n);
    if (x->draw && p->columns[i].dtype == DT_F32) redraw_contents(x->draw, i, v, n * rows);
    columns[i] = v;
  }
  double *scalars = ARENA_NEWS(a, double, p->n_scalars + 1);
  int32_t *datum = ARENA_NEWS(a, int32_t, rows);
  for (uint32_t i = 0; i < p->n_scalars; i++) scalars[i] = p->scalars[i].value;
  for (int64_t r = 0; r < rows; r++) datum[r] = run_datum(r);
  return (EvalInput){.rows = rows,
                     .params = params,
                     .states = states,
                     .columns = columns,
                     .datum = datum,
                     .sets = (const int64_t(*)[2])row_sets(x, pick, rows),
                     .scalars = scalars,
                     .step = 3,
                     .total_steps = 9,
                     .steps_per_epoch = 3,
                     .seed = p->seed};
}

/* ---- results: the roots of the step
 * ------------------------------------------------------------------------------- */
typedef struct Result {
  double *root[MAX_ROOTS];
} Result;

static int64_t root_count(const Case *x, uint32_t i, int64_t rows) {
  return shape_count(&x->g->v[x->g->roots[i].value].shape, rows);
}

static Result compiled(Case *x, const EvalInput *in, int threads) {
  Result r = {{NULL}};
  run_open(&x->run, x->c.arena, x->c.plan, x->c.job->train.fn.work_bytes, in);
  run_threads(&x->run, x->c.job->train.fn.entry, threads);
  for (uint32_t i = 0; i < x->g->n_roots; i++)
    r.root[i] = run_root(&x->run, x->c.arena, &x->c.plan->train, i, in);
  run_close(&x->run);
  return r;
}

/* ---- the runtime's threads ---- */
static Pool *pools[MAX_THREADS + 1]; /* [threads] */

static Pool *pool_of(int64_t threads) {
  RtError e = {0};
  if (!pools[threads]) pools[threads] = pool_create((int)threads, &e);
  if (!pools[threads]) fprintf(stderr, "%s\n", e.message), abort();
  return pools[threads];
}

static void pool_meet(JobFrame *f, int64_t tid) {
  (void)tid;
  pool_barrier(f->host);
}

/* The roots after STEPS steps of the same batch, each from what the one before left. */
static Result trained(Case *x, const EvalInput *in, int threads) {
  Result r = {{NULL}};
  run_open(&x->run, x->c.arena, x->c.plan, x->c.job->train.fn.work_bytes, in);
  run_repeat(&x->run, x->c.arena, in, x->c.job->train.groups.n_sets, STEPS);
  x->run.frame.barrier = pool_meet, x->run.frame.host = pool_of(threads);
  pool_run(pool_of(threads), x->c.job->train.fn.entry, &x->run.frame);
  for (uint32_t i = 0; i < x->g->n_roots; i++)
    r.root[i] = run_root(&x->run, x->c.arena, &x->c.plan->train, i, in);
  run_close(&x->run);
  return r;
}

static Result interpreted(Case *x, const EvalInput *in) {
  Result r = {{NULL}};
  EvalResult e = graph_eval(x->g, x->c.arena, in);
  for (uint32_t i = 0; i < x->g->n_roots; i++) r.root[i] = e.value[x->g->roots[i].value];
  return r;
}

static const char *root_name(const Case *x, uint32_t i) {
  static const char *const kinds[] = {"loss",   "gradient", "next value", "next state",
                                      "metric", "key",      "picture",    "selection", "kept value"};
  const Root *r = &x->g->roots[i];
  const char *name = r->kind == ROOT_LOSS    ? x->c.program->origins[r->a].name
                     : r->kind <= ROOT_STATE ? x->c.program->params[r->a].path
                                             : "";
  return arena_printf(x->c.arena, "%s of %s", kinds[r->kind], name);
}

static double largest(const double *v, int64_t n) {
  double m = 0;
  for (int64_t i = 0; i < n; i++) m = fabs(v[i]) > m ? fabs(v[i]) : m;
  return m;
}
/* Largest distance relative to `scale`; infinite where one is not a number. */
static double distance(const double *a, const double *b, int64_t n, double scale) {
  double worst = 0;
  for (int64_t i = 0; i < n; i++) {
    const double d = fabs(a[i] - b[i]);
    if (!(d <= worst * scale))
      worst = isfinite(d) && scale > 0 ? d / scale : d > 0 || isnan(d) ? INFINITY : worst;
  }
  return worst;
}

/* ---- checks
 * ---------------------------------------------------------------------------------------------------------
 */
/* Gradients of one step share a scale: one tensor's may vanish by cancellation where others do not. */
static double gradient_scale(const Case *x, const Result *want) {
  double scale = 0;
  for (uint32_t i = 0; i < x->g->n_roots; i++)
    if (x->g->roots[i].kind == ROOT_GRAD) scale = fmax(scale, largest(want->root[i], root_count(x, i, 1)));
  return scale;
}

/* What root i of the interpreter moves by when its values are rounded to float, relative to `scale`. */
static double amplification(Case *x, const int64_t *pick, int64_t rows, uint32_t i, const Result *want,
                            double scale) {
  double most = 0;
  EvalInput in = case_input(x, pick, rows);
  for (in.rounding = 1; in.rounding <= ROUNDINGS; in.rounding++) {
    const Result rounded = interpreted(x, &in);
    most = fmax(most, distance(rounded.root[i], want->root[i], root_count(x, i, rows), scale));
  }
  return most;
}

/* Is entry k of root i 0 in the interpreter for any parameters and contents, and not by a cancellation of these? */
static bool always_zero(Case *x, const int64_t *pick, int64_t rows, uint32_t i, int64_t k) {
  bool zero = true;
  for (x->draw = 1; zero && x->draw <= REDRAWS; x->draw++) {
    EvalInput in = case_input(x, pick, rows);
    zero = interpreted(x, &in).root[i][k] == 0;
  }
  x->draw = 0;
  return zero;
}

static bool check_zeros(Case *x, const char *path, const int64_t *pick, int64_t rows, uint32_t i,
                        const Result *got, const Result *want) {
  for (int64_t k = 0, n = root_count(x, i, rows); k < n; k++) {
    if (want->root[i][k] != 0) continue;
    totals.zeros++;
    if (got->root[i][k] == 0) continue;
    if (always_zero(x, pick, rows, i, k)) return fail(path, "zeros:", root_name(x, i), got->root[i][k], 0);
    totals.cancelled++;
  }
  return true;
}

static bool check_oracle(Case *x, const char *path, const int64_t *pick, int64_t rows, const Result *got,
                         const Result *want) {
  const double shared = gradient_scale(x, want);
  for (uint32_t i = 0; i < x->g->n_roots; i++) {
    const bool gradient = x->g->roots[i].kind == ROOT_GRAD;
    const int64_t n = root_count(x, i, rows);
    const double size = largest(want->root[i], n); /* one that cancels to nothing is measured by what cancelled in it */
    const double scale = fmax(size, gradient ? (size < VANISHED * shared ? 1 : 1e-2) * shared : 0);
    const double d = distance(got->root[i], want->root[i], n, scale);
    if (!(d <= BOUND)) {
      const double bound = AMPLIFIED * amplification(x, pick, rows, i, want, scale);
      if (!(d <= bound)) return fail(path, "oracle:", root_name(x, i), d, fmax(bound, BOUND));
      totals.amplified++;
    } else totals.worst = fmax(totals.worst, d);
    totals.gradients += gradient;
    if (gradient && !check_zeros(x, path, pick, rows, i, got, want)) return false;
  }
  return true;
}

static bool check_bits(Case *x, const char *path, const char *what, const Result *a, const Result *b,
                       int64_t rows) {
  for (uint32_t i = 0; i < x->g->n_roots; i++)
    if (memcmp(a->root[i], b->root[i], sizeof(double) * (size_t)root_count(x, i, rows)) != 0)
      return fail(path, what, root_name(x, i), distance(a->root[i], b->root[i], root_count(x, i, rows), 1),
                  0);
  return true;
}

/* In every bit, unless rows are grouped: then the sums over a batch have another order. */
static bool check_losses(Case *x, Case *y, const char *path, const Result *a, const Result *b, double bound) {
  if (!x->c.job->train.groups.n_sets && !y->c.job->train.groups.n_sets) bound = 0;
  for (uint32_t i = 0; i < x->g->n_roots; i++)
    for (uint32_t k = 0; x->g->roots[i].kind == ROOT_LOSS && k < y->g->n_roots; k++) {
      if (y->g->roots[k].kind != ROOT_LOSS || strcmp(root_name(x, i), root_name(y, k)) != 0) continue;
      const double d = fabs(a->root[i][0] - b->root[k][0]) / (1 + fabs(a->root[i][0]));
      if (!(d <= bound)) return fail(path, "plain:", root_name(x, i), d, bound);
    }
  return true;
}

/* Losses without the routes: in the interpreter, and of compiled code where asked for. */
static bool check_plain(const char *path, const Result *got, const Result *want, Case *x, const int64_t *pick,
                        int64_t rows, bool compile) {
  Case y;
  char plain[4096];
  snprintf(plain, sizeof plain, "%.*s.plain.route", (int)(strlen(path) - strlen(".route")), path);
  bool ok = case_open(&y, plain, NULL, compile ? STAGE_LOAD : STAGE_BIND);
  if (ok) {
    int64_t own[MAX_ROWS]; /* the same data, in the order of its own groups */
    memcpy(own, pick, sizeof *own * (size_t)rows);
    sort_rows(&y, own, rows);
    EvalInput in = case_input(&y, own, rows);
    Result r = interpreted(&y, &in);
    ok = check_losses(x, &y, path, want, &r, BOUND_SUM);
    if (ok && compile) {
      r = compiled(&y, &in, 1);
      ok = check_losses(x, &y, path, got, &r, BOUND);
      totals.plain++;
    }
  }
  case_close(&y);
  return ok;
}

/* With `least` threads, twice as many and so on: what `whole` is of one. */
static bool check_threads(Case *x, const char *path, const EvalInput *in, const Result *whole, int least) {
  char what[64];
  bool ok = true;
  for (int threads = least; ok && threads <= MAX_THREADS; threads *= 2) {
    const Result again = trained(x, in, threads);
    snprintf(what, sizeof what, "%s, %d threads:", x->o.target ? x->o.target : "native", threads);
    ok = check_bits(x, path, what, whole, &again, in->rows);
  }
  return ok;
}

/* wide, whole: of this processor's code, after one step and after STEPS. */
static bool check_vectors(const char *path, const Result *wide, const Result *whole, Case *x, const int64_t *pick,
                          int64_t rows) {
  Case y;
  bool ok = case_open(&y, path, "x86-64-v3", STAGE_LOAD);
  if (ok) {
    EvalInput in = case_input(&y, pick, rows);
    Result r = compiled(&y, &in, 1);
    ok = check_bits(x, path, "vectors:", wide, &r, rows) && check_threads(&y, path, &in, whole, 1);
    totals.vectors++;
  }
  case_close(&y);
  return ok;
}

#define APART_ROUNDING 1e-6 /* of the largest entry: a few roundings to float */

/* The same program with branches computed for all data, PATH.apart.route: the same bits interpreted (but for the sign of a zero). Compiled,
 * values may lie otherwise in memory, and sums over the rows then run over them in another order. */
static bool check_apart(const char *path, const Result *got, const Result *want, Case *x, const int64_t *pick,
                        int64_t rows) {
  Case y;
  char apart[4096];
  snprintf(apart, sizeof apart, "%.*s.apart.route", (int)(strlen(path) - strlen(".route")), path);
  bool ok = case_open(&y, apart, NULL, STAGE_LOAD);
  if (ok) {
    EvalInput in = case_input(&y, pick, rows);
    Result oracle = interpreted(&y, &in), r = compiled(&y, &in, 1);
    if (y.c.program->packing.n_sets) ok = fail(path, "packed although it was switched off", "", 1, 0);
    for (uint32_t i = 0; ok && i < x->g->n_roots; i++) {
      const int64_t n = root_count(x, i, rows);
      const RootKind kind = x->g->roots[i].kind; /* next values divide by gradients, which may be rounding alone */
      const double scale = kind == ROOT_GRAD ? gradient_scale(x, want) : kind == ROOT_LOSS ? largest(want->root[i], n) : INFINITY;
      const double d = distance(got->root[i], r.root[i], n, 1), e = distance(want->root[i], oracle.root[i], n, 1);
      if (e != 0) ok = fail(path, "packed, interpreted:", root_name(x, i), e, 0);
      else if (!(d <= APART_ROUNDING * scale)) ok = fail(path, "packed, compiled:", root_name(x, i), d, APART_ROUNDING * scale);
    }
    totals.packed++;
  }
  case_close(&y);
  return ok;
}

static int find_column(const Case *x, const char *name) {
  for (uint32_t i = 0; i < x->c.program->n_columns; i++)
    if (!strcmp(x->c.program->columns[i].name, name)) return (int)i;
  return -1;
}

/* `sum` += the gradients of the rows whose label is `value`. */
static void add_gradients(Case *x, const int64_t *pick, int64_t rows, const double *labels, double value,
                          Result *sum, bool compile) {
  int64_t some[MAX_ROWS], n = 0;
  for (int64_t r = 0; r < rows; r++)
    if (labels[pick[r]] == value) some[n++] = pick[r];
  if (!n) return;
  EvalInput in = case_input(x, some, n);
  Result part = compile ? compiled(x, &in, 1) : interpreted(x, &in);
  for (uint32_t i = 0; i < x->g->n_roots; i++)
    for (int64_t k = 0, m = root_count(x, i, 1); x->g->roots[i].kind == ROOT_GRAD && k < m; k++)
      sum->root[i][k] += part.root[i][k];
}

static bool check_mixed(Case *x, const char *path, const Result *whole, const int64_t *pick, int64_t rows,
                        bool compile) {
  const int label = find_column(x, "label");
  const double bound = compile ? BOUND : BOUND_SUM, shared = gradient_scale(x, whole);
  if (label < 0) return true; /* no condition, table or loss reads it: nothing tells data apart */
  Result sum = {{NULL}};
  for (uint32_t i = 0; i < x->g->n_roots; i++)
    sum.root[i] = ARENA_NEWS(x->c.arena, double, root_count(x, i, rows) + 1);
  for (double v = x->c.program->columns[label].lo; v <= x->c.program->columns[label].hi; v++)
    add_gradients(x, pick, rows, x->columns[label], v, &sum, compile);
  for (uint32_t i = 0; i < x->g->n_roots; i++) {
    if (x->g->roots[i].kind != ROOT_GRAD) continue;
    const double d = distance(sum.root[i], whole->root[i], root_count(x, i, 1), shared);
    if (!(d <= bound))
      return fail(path, compile ? "mixed, compiled:" : "mixed, interpreted:", root_name(x, i), d, bound);
    if (!compile) totals.worst_sum = fmax(totals.worst_sum, d);
  }
  return true;
}

/* ---- for PyTorch
 * ------------------------------------------------------------------------------------------------------ */
static void dump_numbers(FILE *f, const char *kind, const char *name, const double *v, int64_t n) {
  fprintf(f, ",\n\"%s %s\": [", kind, name);
  for (int64_t i = 0; i < n; i++) fprintf(f, "%s%.17g", i ? "," : "", v[i]);
  fprintf(f, "]");
}

static bool write_values(Case *x, const char *path, const EvalInput *in, const Result *r) {
  const Program *p = x->c.program;
  FILE *f = fopen(arena_printf(x->c.arena, "%s.values", path), "w");
  if (!f) return fail(path, "its values cannot be written", "", 1, 0);
  fprintf(f, "{\"rows\": %lld", (long long)in->rows);
  for (uint32_t i = 0; i < p->n_params; i++)
    dump_numbers(f, "param", p->params[i].path, in->params[i], shape_count(&p->params[i].shape, 1));
  for (uint32_t i = 0; i < p->n_columns; i++)
    dump_numbers(f, "column", p->columns[i].name, in->columns[i],
                 shape_count(&p->columns[i].shape, in->rows));
  for (uint32_t i = 0; i < x->g->n_roots; i++) {
    const Root *root = &x->g->roots[i];
    if (root->kind == ROOT_LOSS) dump_numbers(f, "loss", p->origins[root->a].name, r->root[i], 1);
    if (root->kind == ROOT_GRAD)
      dump_numbers(f, "grad", p->params[root->a].path, r->root[i], root_count(x, i, 1));
  }
  fprintf(f, "}\n");
  return fclose(f) == 0;
}

/* ---- all of it
 * ----------------------------------------------------------------------------------------------------------
 */
typedef struct Wanted {
  bool interpret;
  int64_t plain, vectors; /* of each so-manyth program */
} Wanted;

static bool check_program(Case *x, const char *path, bool fixed, const Wanted *w) {
  int64_t pick[MAX_ROWS], rows = x->c.program->train.batch < MAX_ROWS ? x->c.program->train.batch : MAX_ROWS;
  const int64_t number = totals.programs - 1;
  if (rows > x->n_data) rows = x->n_data;
  for (int64_t i = 0; i < rows; i++)
    pick[i] = (i * 7 + 3) % x->n_data; /* distinct where 7 does not divide n_data */
  sort_rows(x, pick, rows);
  totals.grouped += x->c.job->train.groups.n_sets > 0;
  EvalInput in = case_input(x, pick, rows);
  Result want = interpreted(x, &in);
  if (w->interpret) return write_values(x, path, &in, &want);
  Result got = compiled(x, &in, 1);
  bool ok = check_oracle(x, path, pick, rows, &got, &want);
  const Result whole = trained(x, &in, 1);
  ok = ok && check_threads(x, path, &in, &whole, 2);
  if (ok && fixed) {
    totals.mixed++;
    ok = check_mixed(x, path, &want, pick, rows, false) && check_mixed(x, path, &got, pick, rows, true);
  }
  if (ok && x->c.program->packing.n_sets) ok = check_apart(path, &got, &want, x, pick, rows);
  ok = ok && check_plain(path, &got, &want, x, pick, rows, w->plain && number % w->plain == 0);
  return ok && (!w->vectors || number % w->vectors || check_vectors(path, &got, &whole, x, pick, rows));
}

int main(int argc, char **argv) {
  Wanted w = {0};
  for (int i = 1; i + 1 < argc; i += 2) {
    if (!strcmp(argv[i], "--interpret")) w.interpret = true;
    if (!strcmp(argv[i], "--plain")) w.plain = atoi(argv[i + 1]);
    if (!strcmp(argv[i], "--vectors")) w.vectors = atoi(argv[i + 1]);
  }
  char line[4096];
  while (fgets(line, sizeof line, stdin)) {
    line[strcspn(line, "\n")] = 0;
    char *flags = strchr(line, ' ');
    if (flags) *flags++ = 0;
    Case x;
    totals.programs++;
    if (case_open(&x, line, NULL, w.interpret ? STAGE_BIND : STAGE_LOAD))
      check_program(&x, line, flags && strstr(flags, "fixed"), &w);
    case_close(&x);
    fflush(stdout);
  }
  printf("%lld programs, %lld failed. Oracle: %lld gradients, worst error %.3g, %lld in ill-conditioned "
         "programs; %lld exact zeros, "
         "%lld cancelled.\n",
         (long long)totals.programs, (long long)totals.failed, (long long)totals.gradients, totals.worst,
         (long long)totals.amplified, (long long)totals.zeros, (long long)totals.cancelled);
  printf("Mixed batches: %lld, worst %.3g. Compiled without routes: %lld. In AVX2: %lld. Rows grouped by "
         "class: %lld. Branches packed: %lld.\n",
         (long long)totals.mixed, totals.worst_sum, (long long)totals.plain, (long long)totals.vectors,
         (long long)totals.grouped, (long long)totals.packed);
  for (int threads = 1; threads <= MAX_THREADS; threads++) pool_destroy(pools[threads]);
  return totals.failed || !totals.programs;
}
