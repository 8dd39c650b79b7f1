/* SPDX-License-Identifier: Apache-2.0
 * driver_measure.c -- `routec plan --measure`: ways to compute each product of the plan, timed in turns on this machine with
 * the strides and threads of a run. What is clearly faster than the rule's choice is kept, and later plans take it. */
#include "driver.h"
#include "driver_cache.h"
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Taken only where it needs at most this share of the rule's time in the median of the rounds, and at most SURE of it in three
 * rounds of four. The BLAS must gain more: its bits are its own. */
static const double margin[] = {[GEMM_EMITTED] = 0.95, [GEMM_BLAS] = 0.90};
#define SURE 0.98

/* One distinct product of the plan. */
typedef struct Product {
  const PlanFn *fn;
  GemmGeom geom;
  bool plain;          /* in no step is anything done with its sums but storing them */
  uint32_t uses, n;    /* n: ways */
  GemmChoice way[PLAN_MAX_ALTERNATIVES];
  double median[PLAN_MAX_ALTERNATIVES], low[PLAN_MAX_ALTERNATIVES], high[PLAN_MAX_ALTERNATIVES]; /* ms; quartiles */
  uint32_t chosen;
} Product;

typedef struct Products {
  Product *items;
  uint32_t n;
  GemmChoices all;     /* of these, to tell them apart; then what is kept */
} Products;

static void collect(Products *p, const PlanFn *f) {
  for (uint32_t i = 0; f->graph && i < f->n_steps; i++) {
    const Step *s = &f->steps[i];
    if (s->kind != STEP_GEMM) continue;
    const GemmChoice *seen = plan_choices_find(&p->all, &s->geom, f->max_rows);
    const uint32_t k = seen ? (uint32_t)(seen - p->all.items) : p->n;
    if (!seen) {
      p->items[p->n++] = (Product){.fn = f, .geom = s->geom, .plain = true};
      p->all.items[p->all.n++] = (GemmChoice){.geom = s->geom, .max_rows = f->max_rows};
    }
    p->items[k].uses++;
    p->items[k].plain &= s->n_outs == 1 && s->outs[0].value == s->dot;
  }
}

static void collect_all(const Compilation *c, Products *p) {
  const Plan *plan = c->plan;
  uint32_t most = plan->train.n_steps;
  for (uint32_t i = 0; i < c->program->n_evals; i++) most += plan->evals[i].n_steps;
  p->items = ARENA_NEWS(c->arena, Product, most + 1), p->all.items = ARENA_NEWS(c->arena, GemmChoice, most + 1);
  collect(p, &plan->train);
  for (uint32_t i = 0; i < c->program->n_evals; i++) collect(p, &plan->evals[i]);
}

/* ---- one product --------------------------------------------------------------------------------------------------- */
static int64_t extent_at(Extent x, int64_t rows) { return x.rows ? x.n * rows : x.n; }
static int64_t whole_line(int64_t floats) { return (floats + PLAN_LANES - 1) / PLAN_LANES * PLAN_LANES; }

static int64_t floats_of(int64_t rows, int64_t by_row, int64_t cols, int64_t by_col, const RtProduct *p, const int64_t *apart) {
  int64_t n = rows > 0 && cols > 0 ? (rows - 1) * by_row + (cols - 1) * by_col + 1 : 0;
  for (int64_t i = 0; i < p->n_batch; i++) n += apart[i] * (p->batch[i] > 0 ? p->batch[i] - 1 : 0);
  return whole_line(n) + PLAN_LANES;
}

static RtProduct product_of(const Product *p) {
  const GemmGeom *g = &p->geom;
  const int64_t rows = p->fn->max_rows;
  RtProduct r = {.m = extent_at(g->m, rows), .n = extent_at(g->n, rows), .k = extent_at(g->k, rows), .n_batch = g->n_batch,
                 .am = g->am, .ak = g->ak, .bk = g->bk, .bn = g->bn, .cm = g->cm, .rows = rows, .plain = p->plain};
  for (uint32_t i = 0; i < g->n_batch; i++) {
    r.batch[i] = extent_at(g->batch[i], rows);
    r.a_batch[i] = g->a_batch[i], r.b_batch[i] = g->b_batch[i], r.c_batch[i] = g->c_batch[i];
  }
  r.b_at = floats_of(r.m, r.am, r.k, r.ak, &r, r.a_batch);
  r.out_at = floats_of(r.m, r.cm, r.n, 1, &r, r.c_batch);
  return r;
}

static int ascending(const void *x, const void *y) {
  return (*(const double *)x > *(const double *)y) - (*(const double *)x < *(const double *)y);
}

/* The k-th quarter of n values, which it sorts. */
static double quarter(double *v, int n, int k) {
  qsort(v, (size_t)n, sizeof *v, ascending);
  return v[(n - 1) * k / 4];
}

static void judge(Product *p, double (*ms)[RT_MAX_ROUNDS], int rounds) {
  double best = INFINITY;
  for (uint32_t w = 0; w < p->n; w++) {
    double share[RT_MAX_ROUNDS];
    for (int r = 0; r < rounds; r++) share[r] = ms[w][r] / ms[0][r];
    const bool clear = w && quarter(share, rounds, 2) <= margin[p->way[w].impl] && quarter(share, rounds, 3) <= SURE;
    if (clear && share[(rounds - 1) / 2] < best) best = share[(rounds - 1) / 2], p->chosen = w;
  }
  for (uint32_t w = 0; w < p->n; w++)
    p->median[w] = quarter(ms[w], rounds, 2), p->low[w] = quarter(ms[w], rounds, 1), p->high[w] = quarter(ms[w], rounds, 3);
}

static bool load_ways(const Compilation *c, const Product *p, const RtProduct *at, RtWay *ways, LoadedCode **code, const char **why) {
  BackendProduct emitted[PLAN_MAX_ALTERNATIVES];
  JobDerived fake[PLAN_MAX_ALTERNATIVES] = {{0}}; /* what the loader fills in */
  uint32_t of[PLAN_MAX_ALTERNATIVES], n = 0;
  for (uint32_t w = 0; w < p->n; w++) {
    ways[w] = (RtWay){.columns = p->way[w].tile.split == 1};
    if (p->way[w].impl == GEMM_BLAS) continue;
    const char *symbol = arena_printf(c->arena, "routec_product_%u", w);
    emitted[n] = (BackendProduct){symbol, p->geom, p->way[w].tile, p->plain, at->b_at, at->out_at};
    fake[n].fn.symbol = symbol, of[n++] = w;
  }
  Job job = {.derived = fake, .n_derived = n};
  ObjectCode object;
  *code = NULL;
  if (!n) return true;
  if (!backend_products(c->arena, &c->target, emitted, n, &object, why) || !(*code = loader_open(&object, &job, why))) return false;
  for (uint32_t i = 0; i < n; i++) ways[of[i]].entry = fake[i].fn.entry;
  return true;
}

static int measure_product(const Compilation *c, Product *p, int threads) {
  double ms[PLAN_MAX_ALTERNATIVES][RT_MAX_ROUNDS];
  RtWay ways[PLAN_MAX_ALTERNATIVES];
  LoadedCode *code = NULL;
  const char *why = "no reason was given";
  RtProduct at = product_of(p);
  at.cpu = c->target.cpu, at.features = c->target.features;
  p->n = plan_gemm_alternatives(&p->geom, p->fn->max_rows, &c->target, threads > 1, c->arena, p->way);
  if (!load_ways(c, p, &at, ways, &code, &why)) return driver_fail(c->o, RT_RUN_FAILED, E0514, why, NULL);
  const int rounds = rt_product_measure(&at, ways, (int)p->n, threads, ms);
  loader_close(code);
  if (!rounds) return RT_RUN_FAILED;
  if (isinf(ms[0][0])) {
    fprintf(stderr, "routec: internal error: the rule's kernel computes a wrong product: %s\n",
            plan_gemm_way(c->arena, p->way[0].impl, &p->way[0].tile));
    abort();
  }
  judge(p, ms, rounds);
  return RT_OK;
}

/* ---- telling ------------------------------------------------------------------------------------------------------- */
static const char *title(const Compilation *c, const Product *p) {
  const RtProduct r = product_of(p);
  const char *text = "";
  for (int64_t i = 0; i < r.n_batch; i++) text = arena_printf(c->arena, "%s%" PRId64 " of ", text, r.batch[i]);
  return arena_printf(c->arena, "%s%" PRId64 " x %" PRId64 " x %" PRId64 "%s%s", text, r.m, r.n, r.k,
                      r.ak != 1 && r.k > 1 ? ", A transposed" : "", r.bn != 1 && r.n > 1 ? ", B transposed" : "");
}

static void tell_text(const Compilation *c, const Product *p) {
  printf("\n%s: %u use%s%s\n", title(c, p), p->uses, p->uses == 1 ? "" : "s", p->plain ? "" : ", with an epilogue");
  for (uint32_t w = 0; w < p->n; w++) {
    const char *way = plan_gemm_way(c->arena, p->way[w].impl, &p->way[w].tile);
    printf("  %-8s%-9s", w ? "" : "rule", w == p->chosen ? "chosen" : "");
    if (isinf(p->median[w])) printf("%30s  %s\n", "WRONG RESULT", way);
    else printf("%9.4g ms (%.4g to %.4g)  %.3f  %s\n", p->median[w], p->low[w], p->high[w], p->median[w] / p->median[0], way);
  }
}

static json_t *tell_json(const Compilation *c, const Product *p) {
  json_t *ways = json_array();
  for (uint32_t w = 0; w < p->n; w++) {
    json_t *o = json_pack("{s:s,s:b,s:b}", "way", plan_gemm_way(c->arena, p->way[w].impl, &p->way[w].tile), "rule", w == 0, "chosen",
                          w == p->chosen);
    if (isinf(p->median[w])) json_object_set_new(o, "wrong", json_true());
    else json_object_set_new(o, "ms", json_pack("[f,f,f]", p->low[w], p->median[w], p->high[w]));
    json_array_append_new(ways, o);
  }
  return json_pack("{s:s,s:i,s:b,s:o}", "product", title(c, p), "uses", (int)p->uses, "plain", p->plain, "ways", ways);
}

/* What is known of other products stays. */
static bool keep(const Compilation *c, Products *p, int threads) {
  const char *before = cache_choices(c, threads, c->arena);
  const GemmChoices old = plan_choices_parse(c->arena, before ? before : "");
  GemmChoices all = {ARENA_NEWS(c->arena, GemmChoice, old.n + p->n + 1), 0};
  for (uint32_t i = 0; i < p->n; i++) {
    const Product *q = &p->items[i];
    all.items[all.n] = q->way[q->chosen];
    all.items[all.n].ms = q->median[q->chosen], all.items[all.n++].rule_ms = q->median[0];
  }
  for (uint32_t i = 0; i < old.n && all.n < 4096; i++)
    if (!plan_choices_find(&all, &old.items[i].geom, old.items[i].max_rows)) all.items[all.n++] = old.items[i];
  return cache_keep_choices(c, threads, plan_choices_text(c->arena, &all));
}

int driver_measure(Compilation *c) {
  Products p = {0};
  const Options *o = c->o;
  const int threads = rt_threads(o->rt.threads);
  const char *why = "it could not be written";
  collect_all(c, &p);
  json_t *list = o->rt.json ? json_array() : NULL;
  if (!list) printf("%u products, %d thread%s, %s; milliseconds: median (quartiles), share of the rule's\n", p.n, threads,
                    threads == 1 ? "" : "s", rt_blas_name());
  int code = RT_OK;
  for (uint32_t i = 0; i < p.n && code == RT_OK; i++) {
    code = measure_product(c, &p.items[i], threads);
    if (code != RT_OK) break;
    if (list) json_array_append_new(list, tell_json(c, &p.items[i]));
    else tell_text(c, &p.items[i]);
    fflush(stdout);
  }
  const char *folder = cache_folder(o, &why);
  const bool kept = code == RT_OK && folder && keep(c, &p, threads);
  if (list && code == RT_OK) {
    json_t *all = json_pack("{s:i,s:s,s:b,s:o}", "threads", threads, "blas", rt_blas_name(), "kept", kept, "products", list);
    json_dumpf(all, stdout, JSON_INDENT(2));
    printf("\n");
    json_decref(all);
  } else if (code == RT_OK) {
    printf("\n%s%s\n", kept ? "kept in " : "not kept: ", kept ? folder : why);
  }
  return code;
}

/* What plans take: what the run had that is gone on with, or what was measured here. */
GemmChoices driver_choices(const Compilation *c) {
  const Options *o = c->o;
  if (o->measure) return (GemmChoices){0};
  const char *text = c->choices ? c->choices : o->no_cache ? NULL : cache_choices(c, rt_threads(o->rt.threads), c->arena);
  return plan_choices_parse(c->arena, text ? text : "");
}
