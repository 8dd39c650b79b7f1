/* SPDX-License-Identifier: Apache-2.0
 * own.c -- parameters that stay in the cache of the thread that changes them.
 * By themselves threads share the rows of the batch: then each reads all of a parameter that they have changed by parts, line
 * by line from another core's cache. Where the parameter fits into their caches and the batch is smaller than a row of it,
 * its columns are shared instead, by the product that reads it and by the one whose sums end in its update: only the batch
 * moves: docs/performance.md has what it spares. With an update in a pass of its own, as Adam's, it costs: halves of rows lie side by side,
 * and a core that goes over them in one stream fetches ahead what is the other's.
 * A small batch that is only brought from the data and scaled, every thread makes for itself, all of it, where a product's threads
 * each read all of it: otherwise half of it comes from another core's cache, and goes back there when the next batch is stored.
 * requires: nodes, merged   changes: tiles of products, their reasons; w->each */
#include "plan_work.h"

enum {
  CACHES = 2,       /* of two threads hold a parameter */
  COPIES = 2,       /* that part of a cache at most, copies of the batch take */
  COST_OF_COPY = 8, /* of an element that each thread computes again: a gather costs 2, arithmetic 1 */
};

/* A matrix by the axis that lies along memory, and the other one. */
typedef struct Matrix {
  uint32_t param;
  int64_t rows, columns;
} Matrix;

static bool matrix_of(const Work *w, uint32_t param, Matrix *m) {
  const Shape *s = &w->plan->program->params[param].shape;
  const int64_t *strides = w->plan->params[param].strides;
  if (s->rank != 2 || s->d[0] < 2 || s->d[1] < 2) return false;
  const int along = strides[1] == 1 ? 1 : 0;
  *m = (Matrix){param, s->d[1 - along], s->d[along]};
  return strides[along] == 1 && sat_mul(sat_mul(m->rows, m->columns), 4) <= CACHES * w->plan->target.l2;
}

static bool is_known(Extent x, int64_t n) { return !x.rows && x.n == n; }

/* A product of the batch's rows with the whole parameter, whose columns are the result's. */
static bool is_reader(const Work *w, const Node *n, const Matrix *m) {
  const Value *b = &w->g->v[n->base[1]];
  const GemmGeom *g = &n->geom;
  return b->op == OP_PARAM && b->ints[0] == (int64_t)m->param && g->bn == 1 && !g->n_batch && g->m.rows &&
         is_known(g->k, m->rows) && is_known(g->n, m->columns);
}

static bool is_update(const Work *w, const Node *n, const Matrix *m) {
  const GemmGeom *g = &n->geom;
  for (uint32_t i = 0; i < n->n_outs; i++) {
    const uint32_t root = w->store_root[n->outs[i].value];
    if (root && w->g->roots[root - 1].a == m->param)
      return !g->n_batch && is_known(g->m, m->rows) && is_known(g->n, m->columns);
  }
  return false;
}

/* One of each, by the rule's choice and emitted; or false. */
static bool find_products(Work *w, const Matrix *m, Node **reader, Node **update) {
  *reader = *update = NULL;
  for (uint32_t i = 0; i < w->n_nodes; i++) {
    Node *n = &w->nodes[i];
    if (n->dead || n->kind != STEP_GEMM) continue;
    const bool reads = is_reader(w, n, m), updates = is_update(w, n, m);
    if (!reads && !updates) continue;
    if (n->impl != GEMM_EMITTED || plan_choices_find(w->options->measured, &n->geom, w->fn->max_rows)) return false;
    Node **found = reads ? reader : update;
    if (*found) return false;
    *found = n;
  }
  return *reader && *update;
}

static void say(Work *w, Node *n) {
  n->gemm_why = arena_printf(w->arena, "%s by %s, where the parameter's columns stay with their thread",
                             plan_gemm_size(w->arena, &n->geom, w->fn->max_rows), plan_gemm_way(w->arena, n->impl, &n->tile));
}

/* ---- batches ---- */

/* Whether each thread reads all of v in this product: not only rows or columns that are its share. */
static bool reads_whole(const Node *n, ValueId v) {
  if (n->dead || n->kind != STEP_GEMM || n->geom.n_batch) return false;
  return n->base[n->tile.split == 1 ? 0 : 1] == v;
}

/* A plugin's function is called once for all threads. */
static bool is_argument(const Work *w, ValueId v) {
  for (uint32_t i = 0; i < w->n_nodes; i++) {
    const Node *n = &w->nodes[i];
    for (uint32_t k = 0; !n->dead && (n->kind == STEP_CALL || n->n_calls) && k < n->n_reads; k++)
      if (n->reads[k] == v) return true;
  }
  return false;
}

static bool is_wanted_whole(const Work *w, ValueId v) {
  for (uint32_t i = 0; i < w->n_nodes; i++)
    if (reads_whole(&w->nodes[i], v)) return true;
  return false;
}

/* From the data alone, with little to compute. */
static bool is_brought(const Work *w, const Node *n) {
  if (n->dead || n->kind != STEP_MAP || n->n_calls || !n->space.rank || n->space.d[0] != DIM_ROWS) return false;
  for (uint32_t k = 0; k < n->n_reads; k++) {
    const Op op = w->g->v[n->reads[k]].op;
    if (op != OP_COLUMN && op != OP_SCALAR && op != OP_CONST) return false;
  }
  for (uint32_t k = 0; k < n->n_outs; k++) {
    const ValueId v = n->outs[k].value;
    if (w->cost[v] > COST_OF_COPY || value_is_root(w, v) || is_argument(w, v)) return false;
  }
  return n->n_reads > 0;
}

static int64_t bytes_of(const Work *w, ValueId v) {
  int64_t strides[IR_MAX_RANK];
  const Value *u = &w->g->v[v];
  return sat_mul(layout_strides(&w->layout[v], &u->shape, u->dtype, w->fn->max_rows, strides), (int64_t)dtype_size(u->dtype));
}

/* Of the training step, which is what is repeated. */
static void copy_batches(Work *w) {
  int64_t room = w->plan->target.l2 / COPIES;
  for (uint32_t i = 0; i < w->n_nodes && w->fn == &w->plan->train; i++) {
    const Node *n = &w->nodes[i];
    int64_t bytes = 0;
    bool whole = false;
    if (!is_brought(w, n)) continue;
    for (uint32_t k = 0; k < n->n_outs; k++) whole |= is_wanted_whole(w, n->outs[k].value), bytes = sat_add(bytes, bytes_of(w, n->outs[k].value));
    if (!whole || bytes > room) continue;
    room -= bytes;
    for (uint32_t k = 0; k < n->n_outs; k++) {
      w->each[n->outs[k].value] = true;
      w->why[n->outs[k].value] = arena_printf(w->arena, "%s; every thread makes its own", w->why[n->outs[k].value]);
    }
  }
}

void plan_owners(Work *w) {
  w->each = ARENA_NEWS(w->scratch, bool, w->g->n);
  for (uint32_t p = 0; p < w->plan->program->n_params; p++) {
    Matrix m;
    Node *reader, *update;
    if (!matrix_of(w, p, &m) || w->fn->max_rows >= m.columns || !find_products(w, &m, &reader, &update)) continue;
    GemmTile r = reader->tile, u = update->tile;
    if (!plan_gemm_by_columns(m.columns, &r) || !plan_gemm_by_columns(m.columns, &u) || r.nc != u.nc) continue;
    reader->tile = r, update->tile = u;
    say(w, reader), say(w, update);
  }
  copy_batches(w);
}
