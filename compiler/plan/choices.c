/* SPDX-License-Identifier: Apache-2.0
 * choices.c -- what was measured for products, as lines of text: a cache keeps them, checkpoints carry them.
 * Of text from outside only what a kernel can do is taken. */
#include "plan.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
  LANES = 16,
  MAX_MR = 16,
  MAX_NV = 4,
  MAX_KC = 1024,
  MAX_MC = 1024,
  MAX_BLOCK = 1 << 19 /* floats, on the stack */
};

static bool extent_same(Extent x, Extent y) { return x.n == y.n && x.rows == y.rows; }

static bool geom_same(const GemmGeom *x, const GemmGeom *y) {
  bool same = extent_same(x->m, y->m) && extent_same(x->n, y->n) && extent_same(x->k, y->k) &&
              x->n_batch == y->n_batch && x->am == y->am && x->ak == y->ak && x->bk == y->bk &&
              x->bn == y->bn && x->cm == y->cm;
  for (uint32_t i = 0; same && i < x->n_batch; i++)
    same = extent_same(x->batch[i], y->batch[i]) && x->a_batch[i] == y->a_batch[i] &&
           x->b_batch[i] == y->b_batch[i] && x->c_batch[i] == y->c_batch[i];
  return same;
}

const GemmChoice *plan_choices_find(const GemmChoices *c, const GemmGeom *g, int64_t max_rows) {
  for (uint32_t i = 0; c && i < c->n; i++)
    if (c->items[i].max_rows == max_rows && geom_same(&c->items[i].geom, g)) return &c->items[i];
  return NULL;
}

/* ---- text ------------------------------------------------------------------------------------------------
 */
static const char *line_text(Arena *a, const GemmChoice *c) {
  const GemmGeom *g = &c->geom;
  const GemmTile *t = &c->tile;
  const Extent e[3] = {g->m, g->n, g->k};
  const char *s = arena_printf(a, "%" PRId64 " %u", c->max_rows, g->n_batch);
  for (int i = 0; i < 3; i++) s = arena_printf(a, "%s %" PRId64 " %u", s, e[i].n, e[i].rows);
  s = arena_printf(a, "%s %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64, s, g->am, g->ak, g->bk,
                   g->bn, g->cm);
  for (uint32_t i = 0; i < g->n_batch; i++)
    s = arena_printf(a, "%s %" PRId64 " %u %" PRId64 " %" PRId64 " %" PRId64, s, g->batch[i].n,
                     g->batch[i].rows, g->a_batch[i], g->b_batch[i], g->c_batch[i]);
  return arena_printf(a, "%s %d %d %d %d %d %d %d %d %d %d %.4g %.4g\n", s, t->flip, c->impl, t->mr, t->nv,
                      t->kc, t->mc, t->pack_a, t->pack_b, t->pad_b, t->split, c->ms, c->rule_ms);
}

const char *plan_choices_text(Arena *a, const GemmChoices *c) {
  const char *text = "";
  for (uint32_t i = 0; i < c->n; i++) text = arena_printf(a, "%s%s", text, line_text(a, &c->items[i]));
  return text;
}

typedef struct Reader {
  const char *p;
  bool ok;
} Reader;

static int64_t read_int(Reader *r, int64_t lo, int64_t hi) {
  char *end;
  const int64_t v = strtoll(r->p, &end, 10);
  r->ok = r->ok && end != r->p && (*end == ' ' || *end == '\n') && v >= lo && v <= hi;
  r->p = end;
  return r->ok ? v : lo;
}

static double read_ms(Reader *r) {
  char *end;
  const double v = strtod(r->p, &end);
  r->ok = r->ok && end != r->p && isfinite(v) && v >= 0;
  r->p = end;
  return v;
}

static Extent read_extent(Reader *r) {
  Extent e = {.n = read_int(r, 0, INT64_MAX)};
  e.rows = (uint32_t)read_int(r, 0, IR_MAX_SETS);
  return e;
}

static void read_tile(Reader *r, GemmChoice *c) {
  GemmTile *t = &c->tile;
  t->flip = read_int(r, 0, 1) != 0;
  c->impl = (GemmImpl)read_int(r, GEMM_EMITTED, GEMM_BLAS);
  t->mr = (int32_t)read_int(r, 1, MAX_MR), t->nv = (int32_t)read_int(r, 1, MAX_NV);
  t->kc = (int32_t)read_int(r, LANES, MAX_KC), t->mc = (int32_t)read_int(r, 1, MAX_MC + MAX_MR);
  t->pack_a = read_int(r, 0, 1) != 0, t->pack_b = read_int(r, 0, 1) != 0, t->pad_b = read_int(r, 0, 1) != 0;
  t->split = (int32_t)read_int(r, 0, 2);
  t->nc = t->nv * LANES;
  r->ok = r->ok && t->kc % LANES == 0 && (int64_t)t->kc * t->mc <= MAX_BLOCK + MAX_KC * MAX_MR;
}

static bool read_line(Reader *r, GemmChoice *c) {
  GemmGeom *g = &c->geom;
  *c = (GemmChoice){.max_rows = read_int(r, 0, INT64_MAX)};
  g->n_batch = (uint32_t)read_int(r, 0, 4);
  g->m = read_extent(r), g->n = read_extent(r), g->k = read_extent(r);
  int64_t *const strides[] = {&g->am, &g->ak, &g->bk, &g->bn, &g->cm};
  for (int i = 0; i < 5; i++) *strides[i] = read_int(r, INT64_MIN, INT64_MAX);
  for (uint32_t i = 0; i < g->n_batch; i++) {
    g->batch[i] = read_extent(r);
    int64_t *const apart[] = {&g->a_batch[i], &g->b_batch[i], &g->c_batch[i]};
    for (int k = 0; k < 3; k++) *apart[k] = read_int(r, INT64_MIN, INT64_MAX);
  }
  read_tile(r, c);
  c->ms = read_ms(r), c->rule_ms = read_ms(r);
  return r->ok && *r->p == '\n';
}

GemmChoices plan_choices_parse(Arena *a, const char *text) {
  uint32_t lines = 0;
  for (const char *p = text; *p; p++) lines += *p == '\n';
  GemmChoices c = {ARENA_NEWS(a, GemmChoice, lines + 1), 0};
  for (const char *p = text, *end; (end = strchr(p, '\n')); p = end + 1) {
    Reader r = {arena_strndup(a, p, (size_t)(end - p) + 1), true};
    c.n += read_line(&r, &c.items[c.n]);
  }
  return c;
}

/* ---- what a plan took
 * ---------------------------------------------------------------------------------------- */
static void add_used(GemmChoices *used, const PlanFn *f, const GemmChoices *all) {
  for (uint32_t i = 0; f->graph && i < f->n_steps; i++) {
    const Step *s = &f->steps[i];
    const GemmChoice *c = s->kind == STEP_GEMM ? plan_choices_find(all, &s->geom, f->max_rows) : NULL;
    if (c && !plan_choices_find(used, &s->geom, f->max_rows)) used->items[used->n++] = *c;
  }
}

const char *plan_choices_used(Arena *a, const Plan *p, const GemmChoices *c) {
  GemmChoices used = {ARENA_NEWS(a, GemmChoice, c ? c->n + 1 : 1), 0};
  add_used(&used, &p->train, c);
  for (uint32_t i = 0; i < p->program->n_evals; i++) add_used(&used, &p->evals[i], c);
  for (uint32_t i = 0; i < p->program->n_derived; i++) add_used(&used, &p->derived[i], c);
  return plan_choices_text(a, &used);
}
