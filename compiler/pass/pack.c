/* SPDX-License-Identifier: Apache-2.0
 * pack.c -- what a branch of a `select` needs is computed for the rows that take it: they are packed, and what came of
 * them is put back where it is read for all rows.
 * requires:  ROOT_SELECTIONs: for each branch 1 where a datum takes it, else 0
 * maintains: every bit of a finite result, as the interpreter computes it (the plan may lay values out otherwise, and sum them in
 *            another order): a packed row's values are its own, rows that are left out would have been 0 or
 *            read by nobody, and a product over the rows is one chain in their order, in which a row of zeros changes
 *            nothing. Other sums over rows stay sums over all of them. So what one row contains changes no bit of what it
 *            does not reach.
 * changes:   the graph; the ROOT_SELECTIONs end
 *
 * Rows are told apart by which selections they take. For each value: `zero`, the selections without which its row is
 * exactly 0 (forward walk); and `home`, those with which alone its row is computed (backward walk): some of those without
 * which it is 0 or without which no reader looks at it. */
#include "compiler.h"
#include "fault.h"
#include "group.h"
#include "ops.h"

enum { MAX_SELECTIONS = 64, MAX_CONTEXTS = 256 };
#define WORTH_PACKING   0.98 /* of the operations without: above, nothing is packed */
#define COPY_OPERATIONS 8    /* of a product, in the time that an element is copied in */

typedef uint64_t Taken; /* set of selections: the rows that take all of them. 0: all rows */

typedef struct Pack {
  const Graph *g;
  Arena *arena;
  int64_t batch;
  ValueId sel[MAX_SELECTIONS]; /* ascending */
  double share[MAX_SELECTIONS];
  uint32_t n_sel;
  bool *live;
  Taken *zero, *home;
  bool any;                   /* every context may be a row set: what could be gained */
  Taken set[IR_MAX_SETS]; uint32_t n_sets; /* [0]: all rows */
  /* the new graph */
  Graph *to;
  uint32_t first;             /* number of row set 1 of `set` */
  ValueId *made[IR_MAX_SETS], list[IR_MAX_SETS], place[IR_MAX_SETS];
} Pack;

static double share_of(const Pack *k, Taken t) {
  double share = 1;
  for (uint32_t i = 0; i < k->n_sel; i++)
    if (t >> i & 1) share *= k->share[i];
  return share;
}

static bool has_rows(const Value *v) { return rows_axis(&v->shape) >= 0; }
/* Rows of the whole batch: those of row sets stay as they are. */
static bool has_all_rows(const Value *v) { return has_rows(v) && v->shape.d[rows_axis(&v->shape)] == DIM_ROWS; }

/* ---- where values are 0 ------------------------------------------------------------------------------------------ */
static const Taken everywhere = UINT64_MAX; /* `zero` of what is 0 in all rows */

static Taken zero_of_elt(const Pack *k, const Value *v) {
  Taken z[3] = {everywhere, everywhere, everywhere};
  for (uint32_t i = 0; i < v->n_args; i++) z[i] = k->zero[v->args[i]];
  switch (v->op) {
  case OP_MUL: case OP_MASK: case OP_AND: return z[0] | z[1]; /* 0 times anything, as everywhere behind a mask */
  case OP_DIV: return z[0];
  case OP_WHERE: return (z[1] | z[0]) & z[2];
  default: break;
  }
  static const double zeros[3] = {0, 0, 0};
  return op_info(v->op)->scalar(zeros, v->dtype) == 0 ? z[0] & z[1] & z[2] : 0;
}

static Taken zero_of_dot(const Pack *k, const Value *v) {
  const Taken a = k->zero[v->args[0]], b = k->zero[v->args[1]];
  if (has_rows(v)) return a | b;
  return (a | b) == everywhere ? everywhere : 0;
}

static Taken zero_of(const Pack *k, const Value *v) {
  Taken z = everywhere;
  switch (op_class(v->op)) {
  case OPC_LEAF: return v->op == OP_CONST && !v->data && v->num == 0 ? everywhere : 0;
  case OPC_ELT: return zero_of_elt(k, v);
  default: break;
  }
  if (v->op == OP_DOT) return zero_of_dot(k, v);
  if (v->op == OP_RSLICE || (op_class(v->op) == OPC_MIX && v->op != OP_FOLD)) return 0;
  for (uint32_t i = 0; i < v->n_args; i++) z &= k->zero[v->args[i]];
  return has_rows(v) || !has_rows(&k->g->v[v->args[0]]) || z == everywhere ? z : 0;
}

static int selection_at(const Pack *k, ValueId v) {
  for (uint32_t i = 0; i < k->n_sel; i++)
    if (k->sel[i] == v) return (int)i;
  return -1;
}

static void find_zeros(Pack *k) {
  for (ValueId v = 1; v < k->g->n; v++) {
    k->zero[v] = zero_of(k, &k->g->v[v]);
    const int i = selection_at(k, v);
    if (i >= 0) k->zero[v] |= (Taken)1 << i;
  }
}

/* ---- where values are computed ----------------------------------------------------------------------------------- */
/* Whether row r of v comes from row r of its arguments alone. */
static bool is_by_row(const Graph *g, const Value *v) {
  if (!has_all_rows(v)) return false;
  switch (op_class(v->op)) {
  case OPC_ELT: case OPC_RED: return true;
  case OPC_VIEW: /* a column is read in its flat shape where it lies */
    return v->op != OP_RSLICE && !(v->op == OP_RESHAPE && op_class(g->v[v->args[0]].op) == OPC_LEAF);
  default: return v->op == OP_DOT || v->op == OP_GATHER || v->op == OP_FOLD;
  }
}

/* The same in all rows: made in any row set. */
static bool is_anywhere(const Graph *g, const Value *v) {
  if (v->op == OP_CONST) return true;
  if (v->op == OP_IOTA) return v->ints[0] != rows_axis(&v->shape);
  return v->op == OP_BCAST && !has_rows(&g->v[v->args[0]]);
}

/* A sum over the rows that is one chain in their order: a product by the emitted kernel, or rows added to a table. */
static bool is_chain(const Graph *g, const Value *v) {
  if (fault("pack-sums") && v->op == OP_SUM && !has_rows(v)) return has_all_rows(&g->v[v->args[0]]);
  if (has_rows(v) || v->n_args < 2) return false;
  if (!has_all_rows(&g->v[v->args[0]]) || !has_all_rows(&g->v[v->args[1]])) return false;
  return v->op == OP_SCATTER || (v->op == OP_DOT && v->dtype == DT_F32 && ir_dot_ints(v).nb == 0);
}

/* The row set of the fewest rows that holds all rows of the context. */
static Taken best(const Pack *k, Taken context) {
  Taken found = 0;
  double share = 1;
  if (k->any) return context;
  for (uint32_t i = 1; i < k->n_sets; i++)
    if (!(k->set[i] & ~context) && share_of(k, k->set[i]) < share) found = k->set[i], share = share_of(k, found);
  return found;
}

/* Homes, in which `need`, the selections without which no reader looks at a row, becomes the readers' homes. */
static void find_homes(Pack *k) {
  const Graph *g = k->g;
  const Taken all = k->n_sel == 64 ? everywhere : ((Taken)1 << k->n_sel) - 1;
  Taken *need = ARENA_NEWS(k->arena, Taken, g->n);
  for (ValueId v = 1; v < g->n; v++) need[v] = all;
  for (uint32_t i = 0; i < g->n_roots; i++)
    if (g->roots[i].kind != ROOT_SELECTION) need[g->roots[i].value] = 0;
  for (uint32_t s = 1; s < k->n_sets; s++) /* a list of rows asks each selection in the rows that take those before */
    for (uint32_t i = 0; i < k->n_sel; i++)
      if (k->set[s] >> i & 1) need[k->sel[i]] &= k->set[s] & (((Taken)1 << i) - 1);
  for (ValueId v = g->n; v-- > 1;) {
    const Value *x = &g->v[v];
    if (!k->live[v]) continue;
    Taken context = is_by_row(g, x) ? (k->zero[v] | need[v]) & all : 0;
    if (is_chain(g, x)) context = (k->zero[x->args[0]] | (x->op == OP_DOT ? k->zero[x->args[1]] : 0)) & all;
    const int i = selection_at(k, v);
    if (i >= 0) context = need[v] & (((Taken)1 << i) - 1);
    k->home[v] = best(k, context);
    for (uint32_t a = 0; a < x->n_args; a++) {
      if (fault("pack-forgets-reader")) need[x->args[a]] = all;
      need[x->args[a]] &= k->home[v];
    }
  }
}

/* ---- which contexts become row sets ------------------------------------------------------------------------------ */
typedef struct Context { Taken taken; double products, copies; uint32_t n; } Context;

static double rows_elements(const Pack *k, const Value *v) {
  return has_rows(v) ? (double)shape_count(&v->shape, k->batch) : 0;
}

static double product_operations(const Pack *k, const Value *v) {
  double n = 2 * (double)shape_count(&v->shape, k->batch);
  const DotInts d = ir_dot_ints(v);
  const Shape *a = &k->g->v[v->args[0]].shape;
  for (int64_t i = 0; i < d.nc; i++) n *= dim_is_rows(a->d[d.con_a[i]]) ? (double)k->batch : (double)a->d[d.con_a[i]];
  return n;
}

static uint32_t contexts_of(const Pack *k, Context *c) {
  uint32_t n = 0;
  for (ValueId v = 1; v < k->g->n; v++) {
    const Value *x = &k->g->v[v];
    if (!k->live[v] || !k->home[v] || (x->op != OP_DOT && op_class(x->op) != OPC_RED && x->op != OP_FOLD)) continue;
    uint32_t i = 0;
    while (i < n && c[i].taken != k->home[v]) i++;
    if (i == MAX_CONTEXTS) continue;
    if (i == n) c[n++] = (Context){.taken = k->home[v]};
    c[i].n++;
    c[i].products += x->op == OP_DOT ? product_operations(k, x) : rows_elements(k, &k->g->v[x->args[0]]);
    for (uint32_t a = 0; x->op == OP_DOT && a < 2; a++) c[i].copies += rows_elements(k, &k->g->v[x->args[a]]);
  }
  return n;
}

static double gain(const Pack *k, const Context *c) {
  const double share = share_of(k, c->taken);
  return (1 - share) * c->products - COPY_OPERATIONS * share * c->copies - STEP_OPERATIONS * (2 + c->n);
}

/* What gains most first; false: nothing gains. `asked`: what gains nothing too. */
static bool choose_sets(Pack *k, bool asked) {
  Context *c = ARENA_NEWS(k->arena, Context, MAX_CONTEXTS);
  k->n_sets = 1, k->any = true;
  find_homes(k);
  uint32_t n = contexts_of(k, c);
  k->any = false;
  while (k->first + k->n_sets - 1 < IR_MAX_SETS) {
    const Context *top = NULL;
    for (uint32_t i = 0; i < n; i++)
      if (c[i].taken && (asked || gain(k, &c[i]) > 0) && (!top || gain(k, &c[i]) > gain(k, top))) top = &c[i];
    if (!top) break;
    k->set[k->n_sets++] = top->taken;
    ((Context *)(uintptr_t)top)->taken = 0;
  }
  find_homes(k);
  return k->n_sets > 1;
}

/* ---- the new graph ----------------------------------------------------------------------------------------------- */
static uint32_t set_of(const Pack *k, Taken home) {
  uint32_t s = 0;
  while (s < k->n_sets && k->set[s] != home) s++;
  return s;
}

static ValueId want(Pack *k, ValueId v, uint32_t set);

static ValueId put(Pack *k, Op op, ValueId a, ValueId b, const int64_t *ints, uint32_t n_ints) {
  k->to->phase = ir_value(k->to, a)->phase;
  return ir_make(k->to, op, ir_value(k->to, a)->span, (ValueId[]){a, b}, b ? 2 : 1, ints, n_ints, 0, NULL, DT_NONE);
}

/* 1 where a row takes all selections of the set. */
static ValueId taken_rows(Pack *k, uint32_t set) {
  ValueId all = 0;
  for (uint32_t i = 0; i < k->n_sel; i++) {
    if (!(k->set[set] >> i & 1)) continue;
    const ValueId s = want(k, k->sel[i], 0);
    all = all ? put(k, OP_MUL, all, s, NULL, 0) : s;
  }
  return all;
}

static ValueId list_of(Pack *k, uint32_t set) {
  const int64_t number = k->first + set - 1;
  if (!k->list[set]) k->list[set] = put(k, OP_ROWLIST, taken_rows(k, set), 0, &number, 1);
  return k->list[set];
}

static ValueId place_of(Pack *k, uint32_t set) {
  const ValueId list = list_of(k, set);
  if (!k->place[set]) k->place[set] = put(k, OP_ROWPLACE, ir_value(k->to, list)->args[0], list, NULL, 0);
  return k->place[set];
}

/* x, which has rows of set `from`, with rows of set `set`. */
static ValueId pick(Pack *k, ValueId x, uint32_t from, uint32_t set) {
  ValueId index;
  if (!from) index = list_of(k, set);
  else if (!set) index = place_of(k, from);
  else index = put(k, OP_ROWPICK, place_of(k, from), list_of(k, set), NULL, 0);
  const ValueId r = put(k, OP_ROWPICK, x, index, NULL, 0);
  ir_value(k->to, r)->name = ir_value(k->to, x)->name;
  ir_value(k->to, r)->origins = ir_value(k->to, x)->origins;
  return r;
}

static ValueId build(Pack *k, ValueId v, uint32_t set) {
  const Value *x = &k->g->v[v];
  const uint32_t of_args = is_chain(k->g, x) ? set_of(k, k->home[v]) : set;
  ValueId *args = ARENA_NEWS(k->arena, ValueId, x->n_args + 1);
  Shape s = x->shape;
  for (uint32_t i = 0; i < x->n_args; i++) args[i] = want(k, x->args[i], of_args);
  for (int32_t i = 0; set && i < s.rank; i++)
    if (s.d[i] == DIM_ROWS) s.d[i] = dim_of_set(k->first + set - 1);
  if (set) list_of(k, set); /* it stands before the rows */
  k->to->phase = x->phase;
  const ValueId id = ir_make(k->to, x->op, x->span, args, x->n_args, x->ints, x->n_ints, x->num, &s, x->dtype);
  Value *now = ir_value(k->to, id);
  now->data = x->data, now->origins = x->origins, now->name = x->name;
  return id;
}

static ValueId want(Pack *k, ValueId v, uint32_t set) {
  const Value *x = &k->g->v[v];
  if (!has_all_rows(x)) set = 0;
  if (k->made[set][v]) return k->made[set][v];
  const uint32_t home = has_all_rows(x) ? set_of(k, k->home[v]) : 0;
  const bool here = home == set || is_anywhere(k->g, x);
  const ValueId r = here ? build(k, v, set) : pick(k, want(k, v, home), home, set);
  return k->made[set][v] = r;
}

/* Everything that v is made of, in order, so that nothing is built by deep recursion. */
static void build_up_to(Pack *k, ValueId v) {
  bool *of = ARENA_NEWS(k->arena, bool, v + 1);
  of[v] = true;
  for (ValueId i = v + 1; i-- > 1;)
    for (uint32_t a = 0; of[i] && a < k->g->v[i].n_args; a++) of[k->g->v[i].args[a]] = true;
  for (ValueId i = 1; i <= v; i++)
    if (of[i]) want(k, i, has_all_rows(&k->g->v[i]) ? set_of(k, k->home[i]) : 0);
}

static Graph *build_graph(Pack *k) {
  const Graph *g = k->g;
  Taken used = 0;
  k->to = graph_create(k->arena, g->name);
  for (uint32_t s = 0; s < k->n_sets; s++) k->made[s] = ARENA_NEWS(k->arena, ValueId, g->n), used |= k->set[s];
  for (uint32_t i = 0; i < k->n_sel; i++)
    if (used >> i & 1) build_up_to(k, k->sel[i]); /* a selection depends on lists of earlier ones at most */
  for (ValueId v = 1; v < g->n; v++)
    if (k->live[v]) want(k, v, has_all_rows(&g->v[v]) ? set_of(k, k->home[v]) : 0);
  for (uint32_t i = 0; i < g->n_roots; i++) {
    const Root *r = &g->roots[i];
    if (r->kind != ROOT_SELECTION) graph_root(k->to, r->kind, r->a, r->b, want(k, r->value, 0));
  }
  k->to->phase = PHASE_FORWARD;
  return k->to;
}

/* ---- the pass ---------------------------------------------------------------------------------------------------- */
static bool is_constant(const Graph *g, ValueId v) {
  while (g->v[v].op == OP_BCAST || g->v[v].op == OP_CAST) v = g->v[v].args[0];
  return g->v[v].op == OP_CONST;
}

static void add_selection(Pack *k, const Root *r) {
  uint32_t at = k->n_sel;
  if (k->n_sel == MAX_SELECTIONS || is_constant(k->g, r->value) || selection_at(k, r->value) >= 0) return;
  for (; at && k->sel[at - 1] > r->value; at--) k->sel[at] = k->sel[at - 1], k->share[at] = k->share[at - 1];
  k->sel[at] = r->value, k->share[at] = 1.0 / r->b;
  k->n_sel++;
}

static void find_live(Pack *k) {
  const Graph *g = k->g;
  for (uint32_t i = 0; i < g->n_roots; i++)
    if (g->roots[i].kind != ROOT_SELECTION) k->live[g->roots[i].value] = true;
  for (ValueId v = g->n; v-- > 1;)
    for (uint32_t i = 0; k->live[v] && i < g->v[v].n_args; i++) k->live[g->v[v].args[i]] = true;
}

static const char *name_of(const Pack *k, Taken t) {
  const char *text = NULL;
  for (uint32_t i = 0; i < k->n_sel; i++) {
    const char *name = k->g->v[k->sel[i]].name ? k->g->v[k->sel[i]].name : "taken";
    if (t >> i & 1) text = text ? arena_printf(k->arena, "%s and %s", text, name) : name;
  }
  return text;
}

static Graph *without_selections(Graph *g) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < g->n_roots; i++)
    if (g->roots[i].kind != ROOT_SELECTION) g->roots[n++] = g->roots[i];
  g->n_roots = n;
  return g;
}

static bool has_selections(const Graph *g) {
  for (uint32_t i = 0; i < g->n_roots; i++)
    if (g->roots[i].kind == ROOT_SELECTION) return true;
  return false;
}

static void tell(const Pack *k, ProgPacking *out, const double *base) {
  out->first = k->first, out->n_sets = k->n_sets - 1;
  out->share = ARENA_NEWS(k->arena, double, k->first + k->n_sets);
  out->name = ARENA_NEWS(k->arena, const char *, k->n_sets);
  for (uint32_t s = 0; s < k->first; s++) out->share[s] = s && base ? base[s] : 1;
  for (uint32_t s = 1; s < k->n_sets; s++)
    out->share[k->first + s - 1] = share_of(k, k->set[s]), out->name[s - 1] = name_of(k, k->set[s]);
}

Graph *pass_pack(Graph *given, Arena *a, const PackOptions *o, ProgPacking *out) {
  *out = (ProgPacking){.n_sets = 0};
  if (!has_selections(given)) return given;
  Graph *g = pass_simplify(given, a);
  Pack *k = ARENA_NEW(a, Pack);
  *k = (Pack){.g = g, .arena = a, .batch = o->batch, .first = o->n_sets ? o->n_sets : 1, .n_sets = 1};
  k->live = ARENA_NEWS(a, bool, g->n), k->zero = ARENA_NEWS(a, Taken, g->n), k->home = ARENA_NEWS(a, Taken, g->n);
  find_live(k);
  for (uint32_t i = 0; i < g->n_roots; i++)
    if (g->roots[i].kind == ROOT_SELECTION && k->live[g->roots[i].value]) add_selection(k, &g->roots[i]);
  if (!k->n_sel) return without_selections(g);
  out->present = true;
  out->dense = out->operations = graph_operations(g, o->batch, o->share);
  out->why = o->asked == 0 ? "switched off" : o->blas ? "products by the BLAS add up in an order of their own" : NULL;
  if (!out->why) find_zeros(k);
  if (!out->why && !choose_sets(k, o->asked == 1))
    out->why = "no branch has products that would become smaller by more than packing costs";
  if (out->why) return without_selections(g);
  Graph *packed = pass_simplify(build_graph(k), a);
  tell(k, out, o->share);
  out->operations = graph_operations(packed, o->batch, out->share);
  if (o->asked == 1 || out->operations <= WORTH_PACKING * out->dense) return packed;
  *out = (ProgPacking){.present = true, .dense = out->dense, .operations = out->dense};
  out->why = "it would save less than 2 % of the operations";
  return without_selections(g);
}
