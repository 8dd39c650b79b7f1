/* SPDX-License-Identifier: Apache-2.0
 * driver_plugin_gradient.c -- gradients against finite differences of the value. */
#include "driver_plugin_trial.h"
#include <math.h>
#include <stdlib.h>

static const TrialCut whole = {0, 0, MERGE_NONE};
enum { TRIED_ELEMENTS = 10, LEAST_DECIDED = 20 };

/* What is differentiated: the value; of a gate, dy . y. */
static bool objective(TrialCase *c, const TrialMatrix *dy, double *value, double *size) {
  TrialOut out;
  if (!trial_value(c, whole, &out)) return false;
  *value = out.value, *size = fabs(out.value);
  for (size_t i = 0; i < out.y.rows; i++)
    for (size_t j = 0; j < out.y.cols; j++) {
      const double term = (double)out.y.x[i * out.y.ld + j] * (double)dy->x[i * dy->ld + j];
      *value += term, *size += fabs(term);
    }
  trial_out_free(&out);
  return true;
}

/* A derivative from differences over h and h / 4, and how far it can be trusted. */
typedef struct Difference {
  double slope, error;
  bool kink;
} Difference;

/* Slopes to the right and to the left that stay apart when h shrinks are a kink or a jump: there is no
 * derivative to compare with. What remains is rounding, of floats, and the next term of the expansion. */
static bool differ(TrialCase *c, const TrialMatrix *dy, float *x, Difference *d) {
  const double h[2] = {0x1p-6, 0x1p-8};
  const float x0 = *x;
  double at, up, down, size, size_here, apart[2], slope[2];
  if (!objective(c, dy, &at, &size)) return false;
  for (int i = 0; i < 2; i++) {
    *x = (float)((double)x0 + h[i]);
    if (!objective(c, dy, &up, &size_here)) return false;
    size = fmax(size, size_here);
    *x = (float)((double)x0 - h[i]);
    if (!objective(c, dy, &down, &size_here)) return false;
    size = fmax(size, size_here);
    slope[i] = (up - down) / (2 * h[i]);
    apart[i] = fabs((up - at) / h[i] - (at - down) / h[i]);
  }
  *x = x0;
  const double rounding = 4 * 0x1p-24 * size / h[1];
  d->slope = (16 * slope[1] - slope[0]) / 15;
  d->error = rounding + fabs(slope[1] - slope[0]);
  d->kink =
      !isfinite(d->slope) || (apart[1] > 0.4 * apart[0] && apart[1] > 2 * rounding + 1e-3 * fabs(d->slope));
  return true;
}

typedef struct Tally {
  uint32_t decided, undecided;
} Tally;

static bool check_element(TrialCase *c, const TrialMatrix *dy, const TrialGrads *g, uint32_t k,
                          Tally *tally) {
  Trial *t = c->t;
  const TrialMatrix *m = &c->in[k];
  const size_t i = trial_draw(t) % m->rows, j = trial_draw(t) % m->cols;
  const double got = (double)g->dx[k].x[i * g->dx[k].ld + j];
  Difference d;
  if (!differ(c, dy, &c->in[k].x[i * m->ld + j], &d)) return false;
  if (d.kink || d.error > 0.05 * (fabs(d.slope) + fabs(got)) + 1e-6) {
    if (d.kink || fabs(got - d.slope) > d.error) return tally->undecided++, true;
  }
  tally->decided++;
  const double off = fabs(got - d.slope), bound = d.error + 2e-3 * (fabs(d.slope) + fabs(got)) + 1e-6;
  if (off <= bound) return true;
  return trial_fail(
      t,
      "the gradient for %s[%zu][%zu] = %g is %.7g, but differences of the value say %.7g, within %.2g (%s)%s",
      rt_op_input(t->op, k)->name, i, j, (double)m->x[i * m->ld + j], got, d.slope, bound, trial_case_text(c),
      t->ability == TRIAL_GATE ? "; if it is meant as an estimate, set ROUTE_GATE_ESTIMATE" : "");
}

static bool check_shape(Trial *t, uint32_t draw, TrialShape s, Tally *tally) {
  TrialUse u;
  TrialCase c;
  TrialOut out;
  if (!trial_use(t, draw, &u) || !trial_case(t, &u, s.rows, s.cols, s.pad, &c) ||
      !trial_value(&c, whole, &out))
    return false;
  TrialMatrix dy = trial_dy(&c, 1);
  TrialGrads g = trial_grads(&c, 0);
  trial_grad(&c, whole, &out, &dy, 1, &g);
  for (uint32_t k = 0; k < t->op->n_inputs; k++)
    for (uint32_t e = 0; trial_real(t, k) && e < TRIED_ELEMENTS; e++)
      if (!check_element(&c, &dy, &g, k, tally)) return false;
  trial_out_free(&out);
  trial_grads_free(&g);
  trial_buffer_free(&dy.b);
  trial_case_free(&c);
  return true;
}

bool law_gradient(Trial *t) {
  Tally tally = {0};
  bool real = false;
  for (uint32_t k = 0; k < t->op->n_inputs; k++) real |= trial_real(t, k);
  if (!trial_has_grad(t) || !real) {
    trial_note(t, "%s", real ? "no gradient passes, as it says" : "no input is differentiated");
    return true;
  }
  if (t->ability == TRIAL_GATE && ((const RouteGate *)t->able)->flags & ROUTE_GATE_ESTIMATE) {
    trial_note(t, "an estimate, as it says: not held against differences");
    return true;
  }
  for (uint32_t draw = 0; draw < 6; draw++)
    for (uint32_t i = 0; i < N_TRIAL_SHAPES; i++) {
      const uint32_t rows = 1 + (uint32_t)(trial_draw(t) % 12), cols = 1 + (uint32_t)(trial_draw(t) % 9);
      const TrialShape s = draw < 2 ? trial_shapes[i] : (TrialShape){rows, cols, trial_draw(t) % 4};
      if (!check_shape(t, draw, s, &tally)) return false;
    }
  if (tally.decided < LEAST_DECIDED)
    return trial_fail(
        t, "differences decide nothing: of %u elements %u lie at kinks or jumps, or too close to tell",
        tally.decided + tally.undecided, tally.undecided);
  return true;
}
