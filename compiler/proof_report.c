/* SPDX-License-Identifier: Apache-2.0
 * proof_report.c -- what the proof has to say to the user: `forbid`s that are not proved, regions that nothing trains or
 * that move although no gradient may move them, routes without effect. */
#include "compiler.h"
#include "proof.h"
#include <math.h>
#include <string.h>

typedef struct Report { const Proof *f; const Program *p; Diags *diags; } Report;

static KindSet forbid_kinds(const Report *r, const ProgForbid *b) {
  KindSet any = 0;
  if (b->about == FORBID_LOSS) return r->f->all;
  if (!b->otherwise) return proof_kinds_where(r->f, b->cond, !b->negated);
  for (uint32_t i = 0; i < r->p->n_classes; i++)
    if (r->p->classes[i].declared) any |= proof_kinds_where(r->f, r->p->classes[i].cond, true);
  return r->f->all & ~any;
}

static ProofView view_of(const ProgForbid *b) {
  if (b->about == FORBID_AT) return b->strictly ? PROOF_AT_STRICT : PROOF_AT;
  return b->strictly ? PROOF_STRICT : PROOF_LOOSE;
 }

static const char *hull_text(Arena *a, ProofHull h) {
  if (h.lo == 1 && h.hi == 1) return "in full";
  return h.lo == h.hi ? arena_printf(a, "with factor %.3g", h.lo) : arena_printf(a, "with factors in [%.3g, %.3g]", h.lo, h.hi);
}

/* ---- why, and what helps ------------------------------------------------------------------------------------------- */
static void help_way(const Report *r, Diag *g, const ProgForbid *b, const ProofPath *p, const char *cls) {
  Diags *d = r->diags;
  const char *region = r->p->regions[b->region].name, *param = r->p->params[p->param].path, *origin = r->p->origins[p->origin].name;
  switch (p->way) {
  case WAY_DIRECT:
    diag_help(d, g, "route a place that all gradients on the way to `%s` pass, so that `%s` gives it 0, or train it on other data", region, cls);
    break;
  case WAY_FACTOR:
  case WAY_OPEN:
    if (p->unplaced) {
      diag_help(d, g, "route `%s` closes `%s` at positions that cannot be told apart there, so it counts as open at all of them: use a condition "
                      "on the whole datum, or one axis of positions in all conditions", p->route, p->place);
      break;
    }
    diag_help(d, g, "route `%s` leaves `%s` open: give it weight 0 there for `%s`, and a `strength` that is 1 from the first step on", p->route,
              p->place, cls);
    break;
  case WAY_UNROUTED:
    diag_help(d, g, "say `gradient = routed` for `%s`, or forbid only the routed losses: `... for NAME`", origin);
    break;
  case WAY_ORIGIN: diag_help(d, g, "add `%s` to the `for` of route `%s`, or drop its `for`", origin, p->route); break;
  case WAY_READER:
    diag_help(d, g, "`gradient of %s` protects what makes the units, not what reads them: also route `parameters of %s`", p->place, region);
    break;
  case WAY_TIED: diag_help(d, g, "each use of `%s` has a gradient of its own: route `parameters of %s`, which masks all of them", param, param); break;
  case WAY_GAIN:
    diag_help(d, g, "`%s` is shared by all data: route `parameters of %s`, use a normalisation without gain, or put the split before it", param, param);
    break;
  case WAY_BIAS: diag_help(d, g, "a bias learns from every datum that passes: `bias = false`, or route `parameters of %s`", param); break;
  case WAY_SKIP: diag_help(d, g, "`%s` is on the branch, and the skip goes round it: route the value after the residual sum", p->place); break;
  case WAY_SECOND_READER: diag_help(d, g, "another reader goes round `%s`: route the value that both read", p->place); break;
  case WAY_POSITIONS:
    if (b->about == FORBID_LOSS) {
      diag_help(d, g, "a mask at positions leaves open what their loss sends to others: route `gradient of ... for %s`", origin);
      break;
    }
    diag_help(d, g, "content of positions where `%s` holds, or of their datum as a whole, is in the gradient of its other positions: close these, "
                    "too, by a condition on the whole datum", cls);
    break;
  case WAY_MIXING:
    diag_help(d, g, "the gradients of other data carry content of `%s`: compute the statistic on `stop(...)`, or over data of one class only", cls);
    break;
  case WAY_GATE:
    diag_help(d, g, "`%s` weighs what it mixes, and learns from how: `gradient = stop when %s` in gate `%s`", p->place, cls, p->gate);
    break;
  case WAY_TARGET:
    diag_help(d, g, "`%s` has a target: say in gate `%s` of which data, `when = not %s`, or route its value `for %s`", cls, p->gate, cls, p->gate);
    break;
  case WAY_CLIP:
    diag_help(d, g, "bound the norm region by region (`clip` of a `region`), divide by what no datum decides, or forbid without `strictly`");
    break;
  case N_PROOF_WAYS: break;
  }
}

static const char *path_names(Arena *a, const ProofPath *p) {
  const char *text = "";
  for (uint32_t i = 0; i < p->n_steps; i++) text = arena_printf(a, "%s%s`%s`", text, i ? ", then " : "", p->steps[i].name);
  return text;
}

/* Each place of the path that the text shows, once. */
static void show_path(const Report *r, Diag *g, const ProofPath *p) {
  for (uint32_t i = 0; i < p->n_steps; i++) {
    bool seen = false;
    for (uint32_t j = 0; j < i && !seen; j++)
      seen = p->steps[j].span.file == p->steps[i].span.file && p->steps[j].span.start == p->steps[i].span.start;
    if (seen || !p->steps[i].span.file) continue;
    diag_also(r->diags, g, p->steps[i].span, i == 0 ? "the gradient of `%s` starts here" : i + 1 == p->n_steps ? "and reaches `%s`" : "passes `%s`",
              p->steps[i].name);
  }
}

/* ---- forbids -------------------------------------------------------------------------------------------------------- */
static const char *forbid_class_text(const Report *r, const ProgForbid *b) {
  const SourceFile *s = b->class_span.file && b->class_span.file < r->p->sources->n ? r->p->sources->files[b->class_span.file] : NULL;
  return s ? arena_strndup(r->diags->arena, s->text + b->class_span.start, b->class_span.end - b->class_span.start) : "the class";
}

/* An observed class of a true class that the forbid names, if the proof holds for what it sees; else -1. */
static int32_t blind_class(const Report *r, const ProgForbid *b, KindSet kinds) {
  for (uint32_t i = 0; i < r->p->n_classes; i++) {
    const ProgClass *c = &r->p->classes[i];
    if (!c->observed || c->of < 0 || b->otherwise || b->negated || b->about == FORBID_LOSS || r->p->classes[c->of].cond != b->cond) continue;
    const KindSet seen = kinds & proof_kinds_where(r->f, c->cond, true);
    if (seen && seen != kinds && proof_is_none(proof_region(r->f, b->region, seen, b->origins, view_of(b)))) return (int32_t)i;
  }
  return -1;
}

static const char *about_text(Arena *a, ForbidAbout about, const char *cls) {
  return about == FORBID_AT ? arena_printf(a, "at %s", cls) : about == FORBID_LOSS ? arena_printf(a, "loss of %s", cls) : cls;
}

static void report_forbid(const Report *r, const ProgForbid *b) {
  const KindSet kinds = forbid_kinds(r, b);
  const ProgRegion *region = &r->p->regions[b->region];
  const char *cls = forbid_class_text(r, b);
  Arena *a = r->diags->arena;
  if (!kinds) {
    Diag *g = diag_add(r->diags, E0604, b->class_span, cls);
    diag_note(r->diags, g, "over all values of the fields that it reads, its condition is false");
    return;
  }
  if (b->about == FORBID_AT && !r->f->n_places) {
    Diag *g = diag_add(r->diags, E0609, b->span);
    diag_help(r->diags, g, "give the positions that conditions are about one axis of one length");
    return;
  }
  const ProofHull h = proof_region(r->f, b->region, kinds, b->origins, view_of(b));
  if (proof_is_none(h)) return;
  const int32_t blind = blind_class(r, b, kinds);
  ProofPath path;
  if (!proof_path(r->f, region->pieces, region->n_pieces, kinds, b->origins, view_of(b), &path)) return;
  if (blind >= 0) {
    Diag *g = diag_add(r->diags, E0602, b->class_span, cls, r->p->classes[blind].name);
    diag_also(r->diags, g, r->p->classes[blind].span, "with a recall below 1, some data of `%s` are not in `%s`", cls, r->p->classes[blind].name);
    diag_note(r->diags, g, "these reach `%s` %s: %s", region->name, hull_text(a, h), path_names(a, &path));
    diag_help(r->diags, g, "what can be proved is `forbid %s to %s`", r->p->classes[blind].name, region->name);
    return;
  }
  Diag *g = diag_add(r->diags, E0601, b->span, about_text(a, b->about, cls), region->name);
  diag_label(r->diags, g, "%s: %s", proof_way_text(path.way), hull_text(a, h));
  show_path(r, g, &path);
  if (path.mixer.name && path.way == WAY_POSITIONS) diag_also(r->diags, g, path.mixer.span, "content of `%s` gets to other positions here", cls);
  else if (path.mixer.name) diag_also(r->diags, g, path.mixer.span, "content of `%s` gets into rows of other data here%s%s", cls,
                                       path.mixer.by_call ? ": " : "", path.mixer.by_call ? path.mixer.name : "");
  diag_note(r->diags, g, "the way in: %s", path_names(a, &path));
  help_way(r, g, b, &path, cls);
}

/* ---- lints ------------------------------------------------------------------------------------------------------------ */
/* Under zero_grad the optimizer goes on where no gradient is. */
static bool drifts(const Report *r, const ProgRegion *region) {
  for (uint32_t k = 0; k < region->n_pieces; k++) {
    const uint32_t param = region->pieces[k].param;
    const int32_t policy = region->policy >= 0 ? region->policy : (int32_t)r->p->params[param].policy;
    if (policy == MASKED_ZERO_GRAD && r->f->params[param].updated) return true;
  }
  return false;
}

static void lint_untrained(const Report *r, uint32_t i) {
  const ProgRegion *region = &r->p->regions[i];
  if (!region->declared || !region->n_pieces) return;
  if (!proof_is_none(proof_region(r->f, i, r->f->all, ~(OriginSet)0, true)) || proof_region_origins(r->f, i)) return;
  Diag *g = diag_add(r->diags, W0601, region->span, region->name);
  if (drifts(r, region)) diag_note(r->diags, g, "under `zero_grad` weight decay and earlier moments may still move it");
  else diag_note(r->diags, g, "it stays as it is initialised");
}

static double value_if_known(const Graph *g, ValueId v) { return v && ir_value(g, v)->op == OP_CONST ? ir_value(g, v)->num : v ? NAN : 0; }

/* An origin that `for` leaves out may reach all of the region: then no policy applies to it. */
static bool left_alone(const Report *r, const ProgRegion *region, KindSet kinds) {
  for (uint32_t k = 0; k < region->n_pieces; k++)
    if (proof_is_none(proof_piece(r->f, &region->pieces[k], kinds, ~(OriginSet)0, false))) return true;
  return false;
}

/* A region that data of a class may not change moves on in steps that hold only such data: the policy lets it. */
static void lint_drift(const Report *r, const ProgForbid *b) {
  const ProgRegion *region = &r->p->regions[b->region];
  const ProgOptim *o = &r->p->optim;
  const char *what = value_if_known(r->p->step, o->weight_decay) != 0 && region->decay != 0 ? "weight decay"
                     : o->kind != OPTIM_SGD || o->momentum ? "momentum"
                                                           : NULL;
  if (!what || !drifts(r, region) || proof_is_none(proof_region(r->f, b->region, r->f->all, ~(OriginSet)0, false))) return;
  if (!left_alone(r, region, forbid_kinds(r, b))) return;
  Diag *g = diag_add(r->diags, W0602, b->region_span, region->name, what, forbid_class_text(r, b));
  diag_note(r->diags, g, "under `zero_grad` entries that no datum reaches go on with the gradient 0: decay shrinks them, and moments carry "
                         "earlier gradients on");
  diag_help(r->diags, g, "`masked = freeze` in `optimize` keeps them where they are; `zero_grad` is what published code does");
}

void proof_report(const Proof *f, Diags *diags) {
  Report r = {f, f->program, diags};
  const Program *p = f->program;
  if (f->failure) {
    for (uint32_t i = 0; i < p->n_forbids; i++) diag_add(diags, E0603, p->forbids[i].span, f->failure);
    return;
  }
  for (uint32_t i = 0; i < p->n_forbids; i++) report_forbid(&r, &p->forbids[i]);
  if (diags->n_errors) return;
  for (uint32_t i = 0; i < p->n_regions; i++) lint_untrained(&r, i);
  for (uint32_t i = 0; i < p->n_forbids; i++)
    if (p->forbids[i].about == FORBID_DATA) lint_drift(&r, &p->forbids[i]);
  for (uint32_t i = 0; i < p->n_routes; i++)
    if (proof_route_is_idle(f, i)) diag_add(diags, W0603, p->routes[i].span, p->routes[i].name);
}
