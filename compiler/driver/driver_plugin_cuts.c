/* SPDX-License-Identifier: Apache-2.0
 * driver_plugin_cuts.c -- results do not depend on how routec cuts the data: into tiles, partial sums, rows,
 * with or without padding; and rows of a gate do not know of one another. */
#include "driver_plugin_trial.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const TrialCut whole = {0, 0, MERGE_NONE};

static const char *cut_text(TrialCut cut) {
  static const char *const merges[] = {"", ", merged one by one", ", merged as a tree"};
  static char text[120];
  char rows[32] = "all", cols[32] = "all";
  if (cut.rows) snprintf(rows, sizeof rows, "%zu", cut.rows);
  if (cut.cols) snprintf(cols, sizeof cols, "%zu", cut.cols);
  snprintf(text, sizeof text, "in tiles of %s rows and %s columns%s", rows, cols, merges[cut.merge]);
  return text;
}

static float most_of(const TrialMatrix *m) {
  float most = 0;
  for (size_t i = 0; i < m->rows; i++)
    for (size_t j = 0; j < m->cols; j++) most = fmaxf(most, fabsf(m->x[i * m->ld + j]));
  return most;
}

/* The largest difference of two matrices of one shape, relative to the largest element. */
static bool near_matrix(const TrialMatrix *a, const TrialMatrix *b, float tolerance, size_t *row,
                        size_t *col) {
  const float bound = tolerance * fmaxf(most_of(a), most_of(b));
  for (size_t i = 0; i < a->rows; i++)
    for (size_t j = 0; j < a->cols; j++)
      if (!(fabsf(a->x[i * a->ld + j] - b->x[i * b->ld + j]) <= bound)) {
        *row = i, *col = j;
        return false;
      }
  return true;
}

static bool near_grads(TrialCase *c, const TrialGrads *a, const TrialGrads *b, float tolerance,
                       const char *how) {
  size_t i = 0, j = 0;
  for (uint32_t k = 0; k < c->t->op->n_inputs; k++)
    if (!near_matrix(&a->dx[k], &b->dx[k], tolerance, &i, &j))
      return trial_fail(c->t, "the gradient for %s[%zu][%zu] is %.9g, but %.9g %s (%s)",
                        rt_op_input(c->t->op, k)->name, i, j, (double)a->dx[k].x[i * a->dx[k].ld + j],
                        (double)b->dx[k].x[i * b->dx[k].ld + j], how, trial_case_text(c));
  return true;
}

/* ---- tiles: span, reduce
 * ----------------------------------------------------------------------------------------- */
static bool check_cut(TrialCase *c, TrialCut cut, const TrialOut *out, const TrialGrads *g, double size) {
  TrialOut o;
  TrialGrads h = trial_grads(c, 1);
  if (!trial_value(c, cut, &o)) return false;
  trial_grad(c, cut, &o, NULL, 1, &h);
  if (!(fabs(o.value - out->value) <= 2e-5 * size))
    return trial_fail(c->t, "the value is %.9g, but %.9g %s (%s)", out->value, o.value, cut_text(cut),
                      trial_case_text(c));
  const bool ok = near_grads(c, g, &h, 1e-4f, cut_text(cut));
  trial_out_free(&o);
  trial_grads_free(&h);
  return ok;
}

/* The same contents with another ld. */
static bool check_padding(TrialCase *c, const TrialUse *u, size_t cols, const TrialOut *out,
                          const TrialGrads *g, double size) {
  TrialCase wide;
  TrialOut o;
  if (!trial_case(c->t, u, c->rows, cols, c->in[0].ld - cols + 5, &wide)) return false;
  for (uint32_t k = 0; k < c->t->op->n_inputs; k++)
    for (size_t i = 0; i < c->rows; i++)
      memcpy(wide.in[k].x + i * wide.in[k].ld, c->in[k].x + i * c->in[k].ld, c->in[k].cols * sizeof(float));
  TrialGrads h = trial_grads(&wide, 9);
  if (!trial_value(&wide, whole, &o)) return false;
  trial_grad(&wide, whole, &o, NULL, 1, &h);
  if (!(fabs(o.value - out->value) <= 2e-5 * size))
    return trial_fail(c->t, "the value is %.9g, but %.9g with another padding (%s)", out->value, o.value,
                      trial_case_text(&wide));
  const bool ok = near_grads(&wide, g, &h, 1e-4f, "with another padding");
  trial_out_free(&o);
  trial_grads_free(&h);
  trial_case_free(&wide);
  return ok;
}

/* What values of this shape are like, for tolerances. */
static double value_size(TrialCase *c, const TrialOut *out, const TrialGrads *g) {
  double size = fabs(out->value);
  for (uint32_t k = 0; k < c->t->op->n_inputs; k++) size += (double)(most_of(&g->dx[k]) * most_of(&c->in[k]));
  return size;
}

bool law_tiles(Trial *t) {
  static const TrialCut span_cuts[] = {{1, 0, 0}, {0, 1, 0}, {1, 1, 0},  {2, 3, 0},
                                       {7, 2, 0}, {0, 5, 0}, {16, 16, 0}};
  static const TrialCut reduce_cuts[] = {
      {1, 0, MERGE_NONE}, {2, 0, MERGE_IN_ORDER}, {3, 0, MERGE_AS_TREE}, {1, 0, MERGE_AS_TREE},
      {7, 0, MERGE_NONE}, {5, 0, MERGE_IN_ORDER}, {16, 0, MERGE_AS_TREE}};
  for (uint32_t i = 0; i < 2 * N_TRIAL_SHAPES; i++) {
    const TrialShape s = trial_shapes[i / 2];
    TrialUse u;
    TrialCase c;
    TrialOut out;
    if (!trial_use(t, i % 4, &u) || !trial_case(t, &u, s.rows, s.cols, s.pad, &c) ||
        !trial_value(&c, whole, &out))
      return false;
    TrialGrads g = trial_grads(&c, 0);
    trial_grad(&c, whole, &out, NULL, 1, &g);
    const double size = value_size(&c, &out, &g);
    for (uint32_t k = 0; k < 7; k++)
      if (!check_cut(&c, t->ability == TRIAL_SPAN ? span_cuts[k] : reduce_cuts[k], &out, &g, size))
        return false;
    if (!check_padding(&c, &u, s.cols, &out, &g, size)) return false;
    trial_out_free(&out);
    trial_grads_free(&g);
    trial_case_free(&c);
  }
  return true;
}

/* ---- rows: gates
 * ------------------------------------------------------------------------------------------------- */
/* Row order[i] of `from` as row i. */
static void permute(TrialMatrix *to, const TrialMatrix *from, const size_t *order) {
  for (size_t i = 0; i < to->rows; i++)
    memcpy(to->x + i * to->ld, from->x + order[i] * from->ld, to->cols * sizeof(float));
}

static void permute_case(TrialCase *to, const TrialCase *from, const size_t *order) {
  for (uint32_t k = 0; k < from->t->op->n_inputs; k++) permute(&to->in[k], &from->in[k], order);
  for (size_t i = 0; i < from->rows; i++) {
    memcpy(to->datum.bytes + 4 * i, from->datum.bytes + 4 * order[i], 4);
    memcpy(to->position.bytes + 4 * i, from->position.bytes + 4 * order[i], 4);
  }
  const RouteKey own = to->key;
  to->key = from->key;
  to->key.datum = own.datum, to->key.position = own.position;
}

/* Values and gradients of `c` and of its rows in another order. */
static bool check_order(TrialCase *c, const TrialUse *u, const TrialShape s, const TrialOut *out,
                        const TrialMatrix *dy, const TrialGrads *g) {
  Trial *t = c->t;
  size_t order[64], i = 0, j = 0;
  for (size_t k = 0; k < c->rows; k++) order[k] = k;
  for (size_t k = c->rows; k > 1; k--) {
    const size_t other = trial_draw(t) % k, swap = order[k - 1];
    order[k - 1] = order[other], order[other] = swap;
  }
  TrialCase p;
  TrialOut o;
  if (!trial_case(t, u, s.rows, s.cols, s.pad, &p)) return false;
  permute_case(&p, c, order);
  TrialMatrix d = trial_dy(&p, 0), want = trial_matrix(t, "y", c->rows, c->units, c->units);
  permute(&d, dy, order);
  permute(&want, &out->y, order);
  TrialGrads h = trial_grads(&p, 0), moved = trial_grads(&p, 0);
  if (!trial_value(&p, whole, &o)) return false;
  if (trial_has_grad(t)) trial_grad(&p, whole, &o, &d, 1, &h);
  for (uint32_t k = 0; k < t->op->n_inputs; k++) permute(&moved.dx[k], &g->dx[k], order);
  if (!near_matrix(&want, &o.y, 1e-5f, &i, &j))
    return trial_fail(t,
                      "row %zu has y[%zu] = %.9g, but %.9g where the rows come in another order: rows are "
                      "not independent (%s)",
                      order[i], j, (double)want.x[i * want.ld + j], (double)o.y.x[i * o.y.ld + j],
                      trial_case_text(c));
  const bool ok =
      near_grads(&p, &moved, &h, 1e-4f, "where the rows come in another order: rows are not independent");
  trial_out_free(&o);
  trial_grads_free(&h);
  trial_grads_free(&moved);
  trial_buffer_free(&d.b);
  trial_buffer_free(&want.b);
  trial_case_free(&p);
  return ok;
}

static bool check_rows_cut(TrialCase *c, TrialCut cut, const TrialOut *out, const TrialMatrix *dy,
                           const TrialGrads *g) {
  Trial *t = c->t;
  TrialOut o;
  size_t i = 0, j = 0;
  TrialGrads h = trial_grads(c, 1);
  if (!trial_value(c, cut, &o)) return false;
  if (trial_has_grad(t)) trial_grad(c, cut, &o, dy, 1, &h);
  if (!near_matrix(&out->y, &o.y, 1e-5f, &i, &j))
    return trial_fail(t, "row %zu has y[%zu] = %.9g, but %.9g %s: rows are not independent (%s)", i, j,
                      (double)out->y.x[i * out->y.ld + j], (double)o.y.x[i * o.y.ld + j], cut_text(cut),
                      trial_case_text(c));
  const bool ok = near_grads(c, g, &h, 1e-4f, cut_text(cut));
  trial_out_free(&o);
  trial_grads_free(&h);
  return ok;
}

bool law_rows(Trial *t) {
  static const TrialCut cuts[] = {{1, 0, 0}, {2, 0, 0}, {7, 0, 0}};
  for (uint32_t n = 0; n < 2 * N_TRIAL_SHAPES; n++) {
    const TrialShape s = trial_shapes[n / 2];
    TrialUse u;
    TrialCase c;
    TrialOut out;
    if (!trial_use(t, n % 4, &u) || !trial_case(t, &u, s.rows, s.cols, s.pad, &c) ||
        !trial_value(&c, whole, &out))
      return false;
    TrialMatrix dy = trial_dy(&c, 0);
    TrialGrads g = trial_grads(&c, 0);
    if (trial_has_grad(t)) trial_grad(&c, whole, &out, &dy, 1, &g);
    if (!check_order(&c, &u, s, &out, &dy, &g)) return false;
    for (uint32_t k = 0; k < 3; k++)
      if (!check_rows_cut(&c, cuts[k], &out, &dy, &g)) return false;
    trial_out_free(&out);
    trial_grads_free(&g);
    trial_buffer_free(&dy.b);
    trial_case_free(&c);
  }
  return true;
}

/* ---- key: gates
 * -------------------------------------------------------------------------------------------------- */
/* In evaluations (training 0) nothing is drawn: no part of the key matters. */
bool law_key(Trial *t) {
  for (uint32_t n = 0; n < 2 * N_TRIAL_SHAPES; n++) {
    const TrialShape s = trial_shapes[n / 2];
    TrialUse u;
    TrialCase c;
    TrialOut a, b;
    size_t i = 0, j = 0;
    if (!trial_use(t, n % 4, &u) || !trial_case(t, &u, s.rows, s.cols, s.pad, &c)) return false;
    c.key.training = 0;
    if (!trial_value(&c, whole, &a)) return false;
    c.key.seed = trial_draw(t), c.key.stream = trial_draw(t), c.key.step = (int64_t)(trial_draw(t) % 1000);
    if (!trial_value(&c, whole, &b)) return false;
    if (!near_matrix(&a.y, &b.y, 0, &i, &j))
      return trial_fail(t,
                        "y[%zu][%zu] is %.9g, but %.9g with another seed, stream and step, where "
                        "key->training is 0: gates draw in training only (%s)",
                        i, j, (double)a.y.x[i * a.y.ld + j], (double)b.y.x[i * b.y.ld + j],
                        trial_case_text(&c));
    trial_out_free(&a);
    trial_out_free(&b);
    trial_case_free(&c);
  }
  return true;
}
