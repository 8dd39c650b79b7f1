/* SPDX-License-Identifier: Apache-2.0
 * exchange.c -- the proof against the interpreter: exchange [--trials N] [--state S] SPEC... For each spec and each kind of data
 * that its conditions tell apart, batches are made that differ only in the content of data of this kind, and one step of both is
 * computed. Where the proof says `none`, next values and states must be equal to the last bit. What it says is reached and
 * never moved is counted: at most --alarms percent of the cells (default: any). Each kind gets SOUND trials; those up to N
 * are for cells that are said to be reached and have not moved yet.
 * Where conditions have positions, what `forbid at` says is tried as well: the terms at positions of a kind are left out of all
 * sums over data that make gradients. */
#include "call_eval.h"
#include "compiler.h"
#include "ops.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 7, POOL = 160, MAX_STATES = 8, SOUND = 12 };

typedef struct Totals { long left_out, none_at, specs, refused, kinds, exchanges, none_cells, reached_cells, silent_cells; } Totals;
static Totals totals;

typedef struct Case {
  const char *path;
  Arena *a, *scratch;     /* scratch: of one trial */
  Program *p;
  Proof *proof;
  Graph *g;
  uint64_t state;
  CallEval *calls;
  EvalInput in;           /* all but columns and rows */
  double **pool;          /* [column] POOL rows */
  double **batch, **other; /* [column] ROWS rows */
  uint64_t pool_bits[POOL];
  int64_t places;         /* positions of a datum, 1 if the proof tells none apart */
  int *pool_kind;         /* [POOL][places] */
} Case;

static uint64_t next(uint64_t *s) { /* splitmix64 */
  uint64_t z = (*s += 0x9E3779B97F4A7C15u);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}
static double uniform(uint64_t *s, double lo, double hi) { return (double)(float)(lo + (hi - lo) * (double)(next(s) >> 11) * 0x1p-53); }

static double *numbers(Case *x, int64_t n, double lo, double hi) {
  double *v = ARENA_NEWS(x->a, double, n + 1);
  for (int64_t i = 0; i < n; i++) v[i] = uniform(&x->state, lo, hi);
  return v;
}

static int64_t per_row(const ProgColumn *c) { return shape_count(&c->shape, 1); }

static void fill_column(Case *x, uint32_t c, double *v, int64_t rows) {
  const ProgColumn *col = &x->p->columns[c];
  const DrawKind draw = col->derived ? x->p->derived[col->derived - 1].draw : DRAW_NONE;
  const double lo = draw == DRAW_OBSERVE ? -1 : col->has_range ? col->lo : 0, hi = draw != DRAW_NONE ? 1 : col->has_range ? col->hi : 9;
  for (int64_t i = 0; i < rows * per_row(col); i++)
    v[i] = col->dtype == DT_F32 ? uniform(&x->state, -2, 2) : lo + (double)(next(&x->state) % (uint64_t)(hi - lo + 1));
}

static EvalResult evaluate(Case *x, double **columns, int64_t rows) {
  x->in.rows = rows, x->in.columns = (const double *const *)columns;
  return graph_eval(x->g, x->scratch ? x->scratch : x->a, &x->in);
}

/* What of the conditions holds for a row, positions and all. */
static uint64_t row_bits(const Case *x, EvalResult r, int64_t row) {
  uint64_t h = 0;
  for (uint32_t i = 0; i < x->p->n_conds; i++) {
    const int64_t n = shape_count(&ir_value(x->g, x->p->conds[i].value)->shape, 1);
    const double *v = r.value[x->p->conds[i].value] + row * n;
    for (int64_t k = 0; k < n; k++) {
      uint64_t bits = x->p->conds[i].soft ? 0 : (uint64_t)(v[k] != 0);
      if (x->p->conds[i].soft) memcpy(&bits, &v[k], sizeof bits);
      h = (h ^ (bits + 1)) * 0x100000001b3u + (h >> 29);
    }
  }
  return h;
}

/* The kind of a position of a row: the first whose bits agree, of the conditions that the proof knows there; -1: infeasible. */
static int place_kind(const Case *x, EvalResult r, int64_t row, int64_t place) {
  for (uint32_t k = 0; k < x->proof->n_kinds; k++) {
    bool same = true;
    for (uint32_t i = 0; same && i < x->p->n_conds; i++) {
      const Shape *s = &ir_value(x->g, x->p->conds[i].value)->shape;
      const double *v = r.value[x->p->conds[i].value];
      if (s->rank == 1) same = (x->p->kinds[k] >> i & 1) == (v[row] != 0);
      if (s->rank == 2 && s->d[1] == x->proof->n_places) same = (x->p->kinds[k] >> i & 1) == (v[row * x->places + place] != 0);
    }
    if (same) return (int)k;
  }
  return -1;
}

/* Whether a row has a position of the kind. */
static bool has_kind(const Case *x, const int *kinds, int64_t row, int kind) {
  for (int64_t t = 0; t < x->places; t++)
    if (kinds[row * x->places + t] == kind) return true;
  return false;
}

static void copy_row(const Case *x, double **to, int64_t at, double **from, int64_t row) {
  for (uint32_t c = 0; c < x->p->n_columns; c++) {
    const int64_t n = per_row(&x->p->columns[c]);
    memcpy(to[c] + at * n, from[c] + row * n, (size_t)n * sizeof(double));
  }
}

/* ---- one spec ----------------------------------------------------------------------------------------------------- */
static Program *compile(Case *x) {
  Sources *s = sources_create(x->a);
  Diags *d = diags_create(x->a, s);
  const char *why = NULL;
  const uint32_t file = sources_add_file(s, x->path, &why);
  if (!file) return NULL;
  ParseResult r = dsl_parse(x->a, s, file, d);
  Model *m = d->n_errors ? NULL : model_check(x->a, s, &r, NULL, 0, d);
  Program *p = m ? model_lower(m, d) : NULL;
  if (!p || !p->step || !p->optim.lr) {
    diags_print_text(d, stderr, false);
    return NULL;
  }
  pass_autodiff(p);
  pass_mask(p);
  pass_update(p, false);
  return p;
}

static void set_inputs(Case *x) {
  Program *p = x->p;
  const double **params = ARENA_NEWS(x->a, const double *, p->n_params + 1);
  const double *const **states = ARENA_NEWS(x->a, const double *const *, p->n_params + 1);
  for (uint32_t i = 0; i < p->n_params; i++) {
    const int64_t n = shape_count(&p->params[i].shape, 1);
    const double **s = ARENA_NEWS(x->a, const double *, MAX_STATES);
    for (int k = 0; k < MAX_STATES; k++) s[k] = k == 0 ? numbers(x, n, -0.1, 0.1) : numbers(x, n, 0.1, 0.9);
    params[i] = numbers(x, n, -0.7, 0.7), states[i] = s;
  }
  double *scalars = ARENA_NEWS(x->a, double, p->n_scalars + 1);
  int32_t *datum = ARENA_NEWS(x->a, int32_t, POOL);
  for (uint32_t i = 0; i < p->n_scalars; i++) scalars[i] = p->scalars[i].value;
  for (int32_t i = 0; i < POOL; i++) datum[i] = 3 * i + 5;
  x->in = (EvalInput){.params = params, .states = states, .scalars = scalars, .datum = datum, .step = 3, .total_steps = 9,
                      .steps_per_epoch = 3, .seed = p->seed, .call = call_eval_run};
  RtError e = {0};
  x->in.call_ctx = x->calls = call_eval_open(x->a, p, scalars, &e);
  if (!x->calls) fprintf(stderr, "%s: %s\n", x->path, e.message), exit(1);
  x->pool = ARENA_NEWS(x->a, double *, p->n_columns + 1), x->batch = ARENA_NEWS(x->a, double *, p->n_columns + 1);
  x->other = ARENA_NEWS(x->a, double *, p->n_columns + 1);
  for (uint32_t c = 0; c < p->n_columns; c++) {
    const size_t n = (size_t)per_row(&p->columns[c]);
    x->pool[c] = ARENA_NEWS(x->a, double, n *POOL), x->batch[c] = ARENA_NEWS(x->a, double, n *ROWS);
    x->other[c] = ARENA_NEWS(x->a, double, n *ROWS);
    fill_column(x, c, x->pool[c], POOL);
  }
}

/* Other weights, where all that is random is small. */
static void redraw_params(Case *x) {
  for (uint32_t i = 0; i < x->p->n_params; i++) {
    double *v = (double *)x->in.params[i];
    for (int64_t k = 0, n = shape_count(&x->p->params[i].shape, 1); k < n; k++) v[k] = uniform(&x->state, -0.7, 0.7);
  }
}

static uint32_t cell_of(const Proof *f, uint32_t param, int64_t at) {
  const ProofParam *p = &f->params[param];
  const Shape *s = &f->program->params[param].shape;
  int64_t index[IR_MAX_RANK];
  uint32_t cell = 0;
  for (int32_t k = s->rank; k-- > 0;) index[k] = at % s->d[k], at /= s->d[k];
  for (int32_t k = 0; k < s->rank; k++) cell = cell * (uint32_t)p->n_labels[k] + (uint32_t)p->label[k][index[k]];
  return cell;
}

/* Every entry that differs must be in a cell that the kind reaches: by any origin (-1), to the last bit; by one origin, the
 * others having the seed 0, as a number (0 times content is a zero of either sign). */
static bool compare(Case *x, EvalResult a, EvalResult b, uint32_t kind, int origin, bool **moved) {
  for (uint32_t i = 0; i < x->g->n_roots; i++) {
    const Root *r = &x->g->roots[i];
    if (r->kind != ROOT_PARAM && r->kind != ROOT_STATE) continue;
    const int64_t n = shape_count(&x->p->params[r->a].shape, 1);
    for (int64_t k = 0; k < n; k++) {
      const double was = a.value[r->value][k], is = b.value[r->value][k];
      if (origin < 0 ? !memcmp(&was, &is, sizeof was) : was == is) continue;
      const uint32_t cell = cell_of(x->proof, r->a, k);
      if (moved) moved[r->a][cell] = true;
      if (origin < 0 && x->proof->params[r->a].reach_strictly[cell] >> kind & 1) continue;
      if (origin >= 0 && !proof_is_none(proof_cell(x->proof, r->a, cell, (KindSet)1 << kind, (OriginSet)1 << origin, true))) continue;
      printf("FAILED %s: content of kind %u, origin %d, moves %s %s[%lld], proved none: %.17g and %.17g\n", x->path, kind, origin,
             r->kind == ROOT_PARAM ? "value" : "state", x->p->params[r->a].path, (long long)k, was, is);
      return false;
    }
  }
  return true;
}

/* From a row of the pool for which the same holds: all of it, or what has no positions. */
static bool take_row(Case *x, int64_t row, uint64_t wanted) {
  const uint64_t first = next(&x->state);
  for (uint64_t i = 0; i < POOL; i++) {
    const int64_t from = (int64_t)((first + i) % POOL);
    if (x->proof->n_places == 0 && x->pool_bits[from] != wanted) continue;
    for (uint32_t c = 0; c < x->p->n_columns; c++) {
      const int64_t n = per_row(&x->p->columns[c]);
      if (!x->proof->n_places || !x->proof->column_stride[c])
        memcpy(x->other[c] + row * n, x->pool[c] + from * n, (size_t)n * sizeof(double));
    }
    return true;
  }
  return false;
}

/* From a position of the pool that is of the same kind. */
static bool take_place(Case *x, int64_t row, int64_t place, int kind) {
  const uint64_t first = next(&x->state), n_all = (uint64_t)(POOL * x->places);
  for (uint64_t i = 0; i < n_all; i++) {
    const int64_t from = (int64_t)((first + i) % n_all);
    if (x->pool_kind[from] != kind) continue;
    for (uint32_t c = 0; c < x->p->n_columns; c++) {
      const int64_t n = x->proof->column_stride[c] ? per_row(&x->p->columns[c]) / x->places : 0;
      memcpy(x->other[c] + (row * x->places + place) * n, x->pool[c] + from * n, (size_t)n * sizeof(double));
    }
    return true;
  }
  return false;
}

/* Other real numbers at positions of the kind, or in all of the row where a column has none. */
static bool redraw_row(Case *x, const int *kinds, int64_t row, int kind) {
  bool changed = false;
  for (uint32_t c = 0; c < x->p->n_columns; c++) {
    const int64_t n = per_row(&x->p->columns[c]);
    const bool placed = x->proof->n_places && x->proof->column_stride[c];
    for (int64_t k = 0; x->p->columns[c].dtype == DT_F32 && k < n; k++)
      if (!placed || kinds[row * x->places + k * x->places / n] == kind) x->other[c][row * n + k] = uniform(&x->state, -2, 2), changed = true;
  }
  return changed;
}

/* A batch whose conditions hold as in x->batch, with other content of the kind; false if none is found. */
static bool exchange(Case *x, EvalResult before, const int *kinds, int kind, EvalResult *after) {
  for (int turn = 0; turn < 6; turn++) {
    bool changed = false, same = true;
    for (int64_t row = 0; row < ROWS; row++) {
      copy_row(x, x->other, row, x->batch, row);
      if (!has_kind(x, kinds, row, kind)) continue;
      if (turn >= 3) changed |= redraw_row(x, kinds, row, kind);
      else if (!x->proof->n_places || turn != 1) changed |= take_row(x, row, row_bits(x, before, row)); /* turn 1: positions alone */
      for (int64_t t = 0; t < x->places && x->proof->n_places && turn < 2; t++) /* turn 2: what has none alone */
        if (kinds[row * x->places + t] == kind) changed |= take_place(x, row, t, kind);
    }
    if (!changed) continue;
    *after = evaluate(x, x->other, ROWS);
    for (int64_t row = 0; row < ROWS && same; row++) same = row_bits(x, before, row) == row_bits(x, *after, row);
    if (same) return true;
  }
  return false;
}

/* The seeds of all origins but one become 0; -1: all are 1. Autodiff makes the seeds before any other adjoint. */
static void set_seeds(Case *x, int only) {
  for (uint32_t o = 0; o < x->p->n_origins; o++)
    for (ValueId v = 1; v < x->g->n; v++) {
      Value *val = ir_value(x->g, v);
      if (val->origins != (OriginSet)1 << o) continue;
      if (val->op == OP_CONST) val->num = only < 0 || only == (int)o;
      break;
    }
}

/* The same two batches, as far as each origin goes. */
static bool compare_origins(Case *x, uint32_t kind) {
  bool ok = true;
  for (uint32_t o = 0; ok && x->p->n_origins > 1 && o < x->p->n_origins; o++) {
    set_seeds(x, (int)o);
    const EvalResult a = evaluate(x, x->batch, ROWS), b = evaluate(x, x->other, ROWS);
    ok = compare(x, a, b, kind, (int)o, NULL);
  }
  set_seeds(x, -1);
  return ok;
}

/* ---- terms at positions -------------------------------------------------------------------------------------------- */
/* An argument of a sum over data that has the positions behind the rows; -1: none. */
static int placed_argument(const Case *x, const Value *v) {
  if (v->phase != PHASE_ADJOINT || (v->op != OP_SUM && v->op != OP_DOT && v->op != OP_SCATTER)) return -1;
  if (v->shape.rank && v->shape.d[0] < 0) return -1;
  for (uint32_t i = 0; i < v->n_args && i < 2; i++) {
    const Shape *s = &ir_value(x->g, v->args[i])->shape;
    if (s->rank > 1 && s->d[0] < 0 && s->d[1] == x->places && ir_value(x->g, v->args[i])->dtype == DT_F32) return (int)i;
  }
  return -1;
}

/* The step, where each such sum is without its terms at positions of the kind. */
static EvalResult without_terms(Case *x, EvalResult whole, const int *kinds, int kind) {
  Arena *a = x->scratch;
  EvalCtx c = {.g = x->g, .arena = a, .in = &x->in, .value = ARENA_NEWS(a, double *, x->g->n)};
  for (ValueId id = 1; id < x->g->n; id++) {
    const Value *v = &x->g->v[id];
    if (!whole.value[id]) continue;
    c.value[id] = ARENA_NEWS(a, double, shape_count(&v->shape, ROWS) + 1);
    const int arg = placed_argument(x, v);
    double *kept = arg < 0 ? NULL : c.value[v->args[arg]];
    if (kept) {
      const int64_t n = shape_count(&ir_value(x->g, v->args[arg])->shape, ROWS), inner = n / (ROWS * x->places);
      double *some = c.value[v->args[arg]] = ARENA_NEWS(a, double, n + 1);
      for (int64_t i = 0; i < n; i++) some[i] = kinds[i / inner] == kind ? 0 : kept[i];
    }
    op_info(v->op)->eval(&c, v, c.value[id]);
    if (kept) c.value[v->args[arg]] = kept;
  }
  return (EvalResult){c.value};
}

/* No term at positions of the kind is in the entry: some line of the parameter that it lies on has none. */
static bool none_at(const Case *x, uint32_t param, int64_t at, int kind) {
  const Shape *s = &x->p->params[param].shape;
  bool none = false;
  for (int32_t i = s->rank; i-- > 0 && !none; at /= s->d[i]) {
    const int64_t index = at % s->d[i];
    const RegionPiece line = {.param = param, .axis = i, .index = &index, .n = 1};
    none = proof_is_none(proof_piece(x->proof, &line, (KindSet)1 << kind, ~(OriginSet)0, PROOF_AT_STRICT));
  }
  return none;
}

static bool compare_terms(Case *x, EvalResult whole, const int *kinds, int kind) {
  if (!x->proof->at) return true;
  const EvalResult part = without_terms(x, whole, kinds, kind);
  totals.left_out++;
  for (uint32_t i = 0; i < x->g->n_roots; i++) {
    const Root *r = &x->g->roots[i];
    if (r->kind != ROOT_PARAM && r->kind != ROOT_STATE) continue;
    for (int64_t k = 0, n = shape_count(&x->p->params[r->a].shape, 1); k < n; k++) {
      const bool none = none_at(x, r->a, k, kind);
      totals.none_at += none;
      if (!none || whole.value[r->value][k] == part.value[r->value][k]) continue;
      printf("FAILED %s: terms at positions of kind %d are in %s[%lld], proved none: %.17g and %.17g\n", x->path, kind,
             x->p->params[r->a].path, (long long)k, whole.value[r->value][k], part.value[r->value][k]);
      return false;
    }
  }
  return true;
}

static bool one_trial(Case *x, uint32_t kind, bool first, bool **moved) {
  int *kinds = ARENA_NEWS(x->scratch, int, ROWS * x->places);
  for (int64_t row = 0; row < ROWS; row++) copy_row(x, x->batch, row, x->pool, (int64_t)(next(&x->state) % POOL));
  EvalResult before = evaluate(x, x->batch, ROWS), after;
  bool any = false;
  for (int64_t row = 0; row < ROWS; row++)
    for (int64_t t = 0; t < x->places; t++) kinds[row * x->places + t] = place_kind(x, before, row, t);
  for (int64_t row = 0; row < ROWS; row++) any |= has_kind(x, kinds, row, (int)kind);
  for (int64_t row = 0; row < ROWS; row++)
    if (has_kind(x, kinds, row, -1)) any = false; /* labels that no draw gives */
  if (any && !compare_terms(x, before, kinds, (int)kind)) return false;
  if (!any || !exchange(x, before, kinds, (int)kind, &after)) return true;
  totals.exchanges++;
  return compare(x, before, after, kind, -1, moved) && (!first || compare_origins(x, kind));
}

static bool all_moved(const Case *x, uint32_t kind, bool **moved) {
  for (uint32_t i = 0; i < x->p->n_params; i++)
    for (uint32_t c = 0; c < x->proof->params[i].n_cells; c++)
      if ((x->proof->params[i].reach_strictly[c] >> kind & 1) && !moved[i][c]) return false;
  return true;
}

static bool trials(Case *x, int n, uint32_t kind, bool **moved) {
  bool ok = true;
  for (int t = 0; ok && t < n && (t < SOUND || !all_moved(x, kind, moved)); t++) {
    x->scratch = arena_create();
    if (t >= SOUND) redraw_params(x);
    ok = one_trial(x, kind, t == 0, moved);
    arena_destroy(x->scratch);
    x->scratch = NULL;
  }
  return ok;
}

static bool check_kind(Case *x, int n, uint32_t kind) {
  const long before = totals.exchanges;
  bool **moved = ARENA_NEWS(x->a, bool *, x->p->n_params + 1);
  for (uint32_t i = 0; i < x->p->n_params; i++) moved[i] = ARENA_NEWS(x->a, bool, x->proof->params[i].n_cells);
  if (!trials(x, n, kind, moved)) return false;
  if (totals.exchanges == before) return true;
  totals.kinds++;
  for (uint32_t i = 0; i < x->p->n_params; i++)
    for (uint32_t c = 0; c < x->proof->params[i].n_cells; c++) {
      const bool reached = x->proof->params[i].reach_strictly[c] >> kind & 1;
      totals.none_cells += !reached, totals.reached_cells += reached, totals.silent_cells += reached && !moved[i][c];
      if (reached && !moved[i][c] && getenv("EXCHANGE_SILENT")) printf("silent %s: kind %u, %s cell %u\n", x->path, kind, x->p->params[i].path, c);
    }
  return true;
}

/* The proof looks at positions where a `forbid` asks for it. */
static void ask_positions(Case *x) {
  Program *p = x->p;
  bool any = false;
  for (uint32_t i = 0; i < p->n_conds; i++) any |= ir_value(p->step, p->conds[i].value)->shape.rank > 1;
  if (!any) return;
  ProgForbid *more = ARENA_NEWS(x->a, ProgForbid, p->n_forbids + 1);
  if (p->n_forbids) memcpy(more, p->forbids, p->n_forbids * sizeof *more);
  more[p->n_forbids++] = (ProgForbid){.about = FORBID_AT, .text = ""};
  p->forbids = more;
}

static bool check_spec(const char *path, int n, uint64_t seed) {
  Case x = {.path = path, .a = arena_create(), .state = seed};
  bool ok = true;
  x.p = compile(&x);
  if (x.p) ask_positions(&x);
  x.proof = x.p ? pass_prove(x.p, x.a) : NULL;
  if (!x.proof || x.proof->failure) {
    printf("refused %s: %s\n", path, x.proof ? x.proof->failure : "does not compile");
    totals.refused++;
  } else {
    totals.specs++;
    x.g = x.p->step;
    for (uint32_t i = 0; i < x.p->n_conds; i++) graph_root(x.g, ROOT_KEEP, i, 0, x.p->conds[i].value);
    set_inputs(&x);
    EvalResult r = evaluate(&x, x.pool, POOL);
    x.places = x.proof->n_places ? x.proof->n_places : 1;
    x.pool_kind = ARENA_NEWS(x.a, int, POOL * x.places);
    for (int64_t row = 0; row < POOL; row++) x.pool_bits[row] = row_bits(&x, r, row);
    for (int64_t i = 0; i < POOL * x.places; i++) x.pool_kind[i] = place_kind(&x, r, i / x.places, i % x.places);
    for (uint32_t k = 0; ok && k < x.proof->n_kinds; k++) ok = check_kind(&x, n, k);
  }
  call_eval_close(x.calls);
  arena_destroy(x.a);
  return ok;
}

int main(int argc, char **argv) {
  int n = 4;
  double alarms = 100;
  bool ok = true;
  for (int i = 1; i < argc; i++) {
    if (!strcmp(argv[i], "--trials") && i + 1 < argc) n = atoi(argv[++i]);
    else if (!strcmp(argv[i], "--alarms") && i + 1 < argc) alarms = atof(argv[++i]);
    else ok = check_spec(argv[i], n, 1 + (uint64_t)i) && ok;
  }
  const double silent = totals.reached_cells ? 100.0 * (double)totals.silent_cells / (double)totals.reached_cells : 0;
  printf("%ld specs (%ld refused), %ld kinds of data, %ld exchanges: %ld cells none, %ld reached, %ld of them never moved (%.2f %%)\n",
         totals.specs, totals.refused, totals.kinds, totals.exchanges, totals.none_cells, totals.reached_cells, totals.silent_cells, silent);
  if (totals.left_out) printf("terms at positions left out %ld times; %ld entries that the proof says have none\n", totals.left_out, totals.none_at);
  return ok && !totals.refused && totals.exchanges > 0 && silent <= alarms ? 0 : 1;
}
