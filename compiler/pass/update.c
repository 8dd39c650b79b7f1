/* SPDX-License-Identifier: Apache-2.0
 * update.c -- the optimizer as ops: clipping, decay, moments, policy.
 * requires:  autodiff and mask; p->optim's values are rank-0 F64 of the step graph
 * maintains: every forward value and adjoint
 * changes:   a ROOT_PARAM for each parameter with a gradient, ROOT_STATEs, ProgParam.n_states; drops ROOT_GRADs
 *            unless keep_grads
 *
 * Formulas: SGD, Adam (Kingma & Ba 2015) and AdamW (Loshchilov & Hutter 2019) as PyTorch computes them, so that
 * trajectories can be compared: the bias corrections are computed in double. That of sqrt(v), the same for all entries, is
 * multiplied by its reciprocal: a division less in each entry of each parameter, and another last bit than PyTorch's.
 * Policies for entries that no datum reached in this step (support.h), each entry by its region's (entries.h): zero_grad
 * does nothing special, mask_update keeps the value, freeze keeps value and states. Where freeze may keep some entry, each
 * has its own bias corrections, c' = b c + (1 - b) from c = 0, which equals 1 - b^t for t counted steps without a power. */
#include "clip.h"
#include "compiler.h"
#include "fault.h"
#include "support.h"
#include <stdlib.h>

typedef struct Update {
  Program *p;
  Graph *g;
  Support *support;
  ValueId step_size, bc2_scale; /* F32 rank 0; Adam without freeze: lr / bc1, 1 / sqrt(bc2) */
  ValueId lr, wd;               /* F32 rank 0; 0 = absent */
} Update;

static ValueId f64(Graph *g, double x) {
  Shape scalar = {.rank = 0};
  return ir_const(g, (Span){0}, x, &scalar, DT_F64);
}
static ValueId f32(Graph *g, ValueId x) { return ir_cast(g, x, DT_F32); }
static ValueId add(Graph *g, ValueId a, ValueId b) { return ir_bin(g, OP_ADD, a, b); }
static ValueId sub(Graph *g, ValueId a, ValueId b) { return ir_bin(g, OP_SUB, a, b); }
static ValueId mul(Graph *g, ValueId a, ValueId b) { return ir_bin(g, OP_MUL, a, b); }
static ValueId divide(Graph *g, ValueId a, ValueId b) { return ir_bin(g, OP_DIV, a, b); }

static ValueId leaf(Graph *g, Op op, int64_t param, int64_t k, const ProgParam *p) {
  int64_t ints[2] = {param, k};
  ValueId v = ir_make(g, op, p->span, NULL, 0, ints, op == OP_STATE ? 2 : 1, 0, &p->shape, DT_F32);
  static const char *const state_name[] = {"first moment", "second moment", "first correction", "second correction"};
  ir_value(g, v)->name = op == OP_STATE ? arena_printf(g->arena, "%s of %s", state_name[k], p->path) : p->path;
  return v;
}

/* The quantities that all parameters share, in double as PyTorch has them. */
static void shared_scalars(Update *u) {
  Graph *g = u->g;
  const ProgOptim *o = &u->p->optim;
  u->lr = f32(g, o->lr);
  u->wd = o->weight_decay ? f32(g, o->weight_decay) : 0;
  if (o->kind == OPTIM_SGD) return;
  ValueId one = f64(g, 1), t = add(g, ir_clock(g, CLOCK_STEP), one);
  ValueId power1 = ir_bin(g, OP_POW, o->beta1, t), bc1 = sub(g, one, power1);
  ValueId power2 = ir_bin(g, OP_POW, o->beta2, t), bc2 = sub(g, one, power2);
  if (fault("no-bias-correction")) bc1 = bc2 = f64(g, 1);
  u->step_size = f32(g, divide(g, o->lr, bc1));
  u->bc2_scale = f32(g, divide(g, one, ir_un(g, OP_SQRT, bc2)));
}

typedef struct Next { ValueId value, state[4]; uint32_t n_states; } Next;

static Next next_sgd(Update *u, uint32_t i, ValueId w, ValueId d) {
  Graph *g = u->g;
  const ProgOptim *o = &u->p->optim;
  Next n = {0};
  if (o->momentum) {
    ValueId mu = f32(g, o->momentum), buf = leaf(g, OP_STATE, i, 0, &u->p->params[i]);
    n.state[n.n_states++] = add(g, mul(g, buf, mu), d);
    d = o->nesterov ? add(g, d, mul(g, n.state[0], mu)) : n.state[0];
  }
  n.value = sub(g, w, mul(g, d, u->lr));
  return n;
}

/* c' = b c + (1 - b) */
static ValueId correction(Update *u, uint32_t i, int64_t k, ValueId beta) {
  Graph *g = u->g;
  ValueId c = leaf(g, OP_STATE, i, k, &u->p->params[i]);
  ValueId rest = f32(g, sub(g, f64(g, 1), beta)), kept = mul(g, c, f32(g, beta));
  return add(g, kept, rest);
}

static Next next_adam(Update *u, uint32_t i, ValueId w, ValueId d, bool own_count) {
  Graph *g = u->g;
  const ProgOptim *o = &u->p->optim;
  const ProgParam *p = &u->p->params[i];
  ValueId b1 = f32(g, o->beta1), b2 = f32(g, o->beta2), one = f64(g, 1);
  ValueId nb1 = f32(g, sub(g, one, o->beta1)), nb2 = f32(g, sub(g, one, o->beta2));
  if (fault("swap-betas")) { ValueId t = b1; b1 = b2, b2 = t; }
  Next n = {.n_states = own_count ? 4 : 2};
  ValueId new1 = mul(g, d, nb1), old1 = mul(g, leaf(g, OP_STATE, i, 0, p), b1);
  n.state[0] = add(g, old1, new1);
  ValueId new2 = mul(g, mul(g, d, nb2), d), old2 = mul(g, leaf(g, OP_STATE, i, 1, p), b2);
  n.state[1] = add(g, old2, new2);
  ValueId step_size = u->step_size, root = ir_un(g, OP_SQRT, n.state[1]);
  if (own_count) {
    n.state[2] = correction(u, i, 2, o->beta1), n.state[3] = correction(u, i, 3, o->beta2);
    ValueId lr = ir_bcast_scalar(g, u->lr, &p->shape);
    step_size = divide(g, lr, n.state[2]), root = divide(g, root, ir_un(g, OP_SQRT, n.state[3]));
  } else {
    root = mul(g, root, u->bc2_scale);
  }
  ValueId denominator = add(g, root, f32(g, o->eps));
  n.value = sub(g, w, mul(g, divide(g, n.state[0], denominator), step_size));
  return n;
}

/* ---- policies ---------------------------------------------------------------------------------------------------------- */
static bool has_policy(const EntrySetting *s, uint32_t policy) { return s->policy == (MaskedPolicy)policy; }
static bool has_no_policy(const EntrySetting *s, uint32_t policy) { return s->policy != (MaskedPolicy)policy; }
static bool has_decay(const EntrySetting *s, uint32_t arg) { return (void)arg, s->decay; }

static UpdateItem make_item(Update *u, uint32_t param, ValueId grad) {
  Graph *g = u->g;
  const Shape shape = u->p->params[param].shape;
  UpdateItem item = {.param = param, .grad = grad, .entries = entries_of(u->p, param, u->p->arena)};
  Partial zero_grad = entries_where(g, item.entries, has_policy, MASKED_ZERO_GRAD);
  Partial counted = entries_where(g, item.entries, has_no_policy, MASKED_FREEZE);
  const bool asked = !partial_is(zero_grad, true) && !fault("never-freeze");
  item.reached = asked ? support_of(u->support, grad) : partial_of(true);
  item.moved = partial_or(g, item.reached, zero_grad, &shape);
  item.kept = partial_or(g, item.reached, counted, &shape);
  return item;
}

/* a where p, else b. */
static ValueId choose(Graph *g, Partial p, ValueId a, ValueId b, const Shape *shape) {
  return partial_is(p, true) ? a : partial_is(p, false) ? b : ir_where(g, partial_whole(g, p, shape), a, b);
}

static void update_param(Update *u, const UpdateItem *item) {
  Graph *g = u->g;
  const uint32_t i = item->param;
  ProgParam *p = &u->p->params[i];
  const Shape shape = p->shape;
  const OptimKind kind = u->p->optim.kind;
  if (partial_is(item->moved, false)) return; /* nothing declared ever reaches it */
  ValueId d = item->grad, w = leaf(g, OP_PARAM, i, 0, p), before = w;
  Partial decays = entries_where(g, item->entries, has_decay, 0);
  if (!u->wd || fault("no-decay")) decays = partial_of(false);
  if (!partial_is(decays, false) && kind != OPTIM_ADAMW) { /* moments of an entry that stays take no decay either */
    ValueId pulled = add(g, d, mul(g, w, u->wd));
    d = choose(g, partial_and(g, decays, item->moved, &shape), pulled, d, &shape);
  }
  if (!partial_is(decays, false) && kind == OPTIM_ADAMW)
    w = choose(g, decays, sub(g, w, mul(g, w, mul(g, u->lr, u->wd))), w, &shape);
  const bool own_count = !partial_is(item->kept, true);
  Next n = kind == OPTIM_SGD ? next_sgd(u, i, w, d) : next_adam(u, i, w, d, own_count);
  if (!partial_is(decays, false) && fault("decay-leaks")) before = sub(g, before, mul(g, before, u->wd));
  n.value = choose(g, item->moved, n.value, before, &shape);
  for (uint32_t k = 0; own_count && k < n.n_states; k++)
    n.state[k] = choose(g, item->kept, n.state[k], leaf(g, OP_STATE, i, k, p), &shape);
  p->n_states = n.n_states;
  ir_value(g, n.value)->name = arena_printf(g->arena, "next %s", p->path);
  graph_root(g, ROOT_PARAM, i, 0, n.value);
  for (uint32_t k = 0; k < n.n_states; k++) graph_root(g, ROOT_STATE, i, k, n.state[k]);
}

static void drop_gradient_roots(Graph *g) {
  uint32_t kept = 0;
  for (uint32_t i = 0; i < g->n_roots; i++)
    if (g->roots[i].kind != ROOT_GRAD) g->roots[kept++] = g->roots[i];
  g->n_roots = kept;
}

void pass_update(Program *p, bool keep_grads) {
  Graph *g = p->step;
  Update u = {.p = p, .g = g};
  UpdateItem *items = ARENA_NEWS(p->arena, UpdateItem, p->n_params + 1);
  uint32_t n = 0, n_roots = g->n_roots;
  g->phase = PHASE_UPDATE;
  u.support = support_create(g, p->arena);
  for (uint32_t r = 0; r < n_roots; r++)
    if (g->roots[r].kind == ROOT_GRAD && p->params[g->roots[r].a].trainable)
      items[n++] = make_item(&u, g->roots[r].a, g->roots[r].value);
  clip_items(p, items, n);
  shared_scalars(&u);
  for (uint32_t i = 0; i < n; i++) update_param(&u, &items[i]);
  if (!keep_grads) drop_gradient_roots(g);
  g->phase = PHASE_FORWARD;
}
