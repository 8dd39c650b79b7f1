/* SPDX-License-Identifier: Apache-2.0
 * plugin_verify.c -- is what a plugin returned what route_plugin.h promises? The ABI first; then every table.
 */
#include "plugin.h"
#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>

enum { MAX_OPS = 256, MAX_INPUTS = 16, MAX_PARAMS = 32, MAX_NAME = 64, MAX_TEXT = 1 << 16, MAX_SIZE = 1 << 16 };
/* The size of a struct as of minor version 0: fields behind this one were appended. */
#define FIRST_SIZE(T, last) (offsetof(T, last) + sizeof(((T *)0)->last))

/* false, for `return say(...)`. */
static bool say(char *why, size_t n, const char *format, ...) {
  va_list args;
  va_start(args, format);
  vsnprintf(why, n, format, args);
  va_end(args);
  return false;
}

bool rt_plugin_abi_same(const RoutePlugin *p, char *why, size_t n) {
  if (!p) return say(why, n, "its entry function returned NULL");
  const RouteAbi ours = ROUTE_ABI_INIT, *a = &p->abi;
  if (a->magic != ours.magic) return say(why, n, "`abi.magic` is 0x%08x, not 0x%08x", a->magic, ours.magic);
  const struct {
    const char *name;
    uint32_t theirs, ours;
  } equal[] = {{"major", a->major, ours.major},
               {"sizeof_ptr", a->sizeof_ptr, ours.sizeof_ptr},
               {"sizeof_real", a->sizeof_real, ours.sizeof_real},
               {"align_real", a->align_real, ours.align_real}};
  for (size_t i = 0; i < sizeof equal / sizeof *equal; i++)
    if (equal[i].theirs != equal[i].ours)
      return say(why, n, "`abi.%s` is %u, and this routec's is %u", equal[i].name, equal[i].theirs,
                 equal[i].ours);
  if (a->minor > ours.minor)
    return say(why, n, "`abi.minor` is %u, and this routec knows up to %u", a->minor, ours.minor);
  const size_t least = FIRST_SIZE(RoutePlugin, ops);
  if (p->size < least)
    return say(why, n, "`size` of its RoutePlugin is %u, and the least is %zu", p->size, least);
  return true;
}

static bool is_name(const char *s) {
  if (!s || !(isalpha((unsigned char)*s) || *s == '_')) return false;
  for (size_t i = 0; s[i]; i++)
    if (i >= MAX_NAME || !(isalnum((unsigned char)s[i]) || s[i] == '_')) return false;
  return true;
}

/* UTF-8 that a terminal may be shown: no control characters but, with `lines`, ends of lines. */
static bool is_text(const char *s, bool lines) {
  const uint8_t *u = (const uint8_t *)s;
  for (size_t i = 0; u[i];) {
    if (i > MAX_TEXT || ((u[i] < 0x20 || u[i] == 0x7f) && !(lines && u[i] == '\n'))) return false;
    const bool lead = u[i] < 0x80 || (u[i] >= 0xc2 && u[i] < 0xf5);
    const size_t more = u[i] < 0x80 ? 0 : u[i] < 0xe0 ? 1 : u[i] < 0xf0 ? 2 : 3;
    if (!lead) return false;
    const uint8_t first = u[i], second = more ? u[i + 1] : 0;
    for (size_t k = 1; k <= more; k++)
      if ((u[i + k] & 0xc0) != 0x80) return false;
    if ((first == 0xc2 && second < 0xa0) || (first == 0xe0 && second < 0xa0) || (first == 0xed && second > 0x9f) ||
        (first == 0xf0 && second < 0x90) || (first == 0xf4 && second > 0x8f))
      return false;
    i += more + 1;
  }
  return true;
}

void rt_plugin_one_line(char *said) {
  for (char *s = said; *s; s++)
    if ((unsigned char)*s < 0x20 || *s == 0x7f) *s = ' ';
}

static bool check_text(const char *field, const char *what, const char *s, char *why, size_t n) {
  if (!s) return say(why, n, "`%s` of %s is NULL", field, what);
  return is_text(s, true) ||
         say(why, n, "`%s` of %s is no UTF-8 text of at most %d bytes without control characters", field, what,
             MAX_TEXT);
}

static bool check_name(const char *what, const char *s, char *why, size_t n) {
  if (!s) return say(why, n, "%s has no name", what);
  if (is_name(s)) return true;
  if (!is_text(s, false)) return say(why, n, "the name of %s is no identifier: it holds what cannot be shown", what);
  return say(why, n, "the name of %s, `%.80s`, is no identifier of at most %d characters", what, s, MAX_NAME);
}

/* "1.2.0" */
static bool is_version(const char *s) {
  for (int part = 0; part < 3; part++) {
    size_t digits = 0;
    while (isdigit((unsigned char)*s)) s++, digits++;
    if (!digits || digits > 9 || *s != (part < 2 ? '.' : 0)) return false;
    if (part < 2) s++;
  }
  return true;
}

const RouteInput *rt_op_input(const RouteOp *op, uint32_t i) {
  return (const RouteInput *)((const char *)op->inputs + (size_t)i * op->input_size);
}
const RouteParam *rt_op_param(const RouteOp *op, uint32_t i) {
  return (const RouteParam *)((const char *)op->params + (size_t)i * op->param_size);
}

/* The name of argument k: inputs, then parameters. */
static const char *argument_name(const RouteOp *op, uint32_t k) {
  return k < op->n_inputs ? rt_op_input(op, k)->name : rt_op_param(op, k - op->n_inputs)->name;
}

static bool check_inputs(const RouteOp *op, char *why, size_t n) {
  if (op->n_inputs > MAX_INPUTS)
    return say(why, n, "op `%s` has %u inputs, and the most is %d", op->name, op->n_inputs, MAX_INPUTS);
  if (op->n_inputs && !op->inputs)
    return say(why, n, "op `%s` has %u inputs, and `inputs` is NULL", op->name, op->n_inputs);
  const size_t least = FIRST_SIZE(RouteInput, reserved);
  if (op->n_inputs && (op->input_size < least || op->input_size > MAX_SIZE))
    return say(why, n, "`input_size` of op `%s` is %u, and the least is %zu", op->name, op->input_size,
               least);
  for (uint32_t i = 0; i < op->n_inputs; i++) {
    const RouteInput *in = rt_op_input(op, i);
    char what[120];
    snprintf(what, sizeof what, "input %u of op `%s`", i, op->name);
    if (!check_name(what, in->name, why, n)) return false;
    if (!check_text("doc", what, in->doc, why, n)) return false;
    if (in->kind > ROUTE_LABEL) return say(why, n, "`kind` of %s is %u, which is none", what, in->kind);
  }
  if (op->kind == ROUTE_SCHEDULE && op->n_inputs)
    return say(why, n, "op `%s` is a schedule with inputs", op->name);
  if (op->kind != ROUTE_SCHEDULE && !op->n_inputs) return say(why, n, "op `%s` has no inputs", op->name);
  return true;
}

static bool check_param(const RouteOp *op, uint32_t i, char *why, size_t n) {
  const RouteParam *p = rt_op_param(op, i);
  char what[120];
  snprintf(what, sizeof what, "parameter %u of op `%s`", i, op->name);
  if (!check_name(what, p->name, why, n)) return false;
  if (!check_text("doc", what, p->doc, why, n)) return false;
  if (!(p->min <= p->max)) return say(why, n, "the range of %s, %g to %g, is empty", what, p->min, p->max);
  if (!isnan(p->def) && !(p->def >= p->min && p->def <= p->max))
    return say(why, n, "the default of %s, %g, is outside of its range %g to %g", what, p->def, p->min,
               p->max);
  if (p->flags & ~(uint32_t)(ROUTE_PARAM_INT | ROUTE_PARAM_STRUCTURAL))
    return say(why, n, "`flags` of %s is 0x%x, which holds bits without a meaning", what, p->flags);
  if (p->flags & ROUTE_PARAM_INT && !isnan(p->def) && p->def != floor(p->def))
    return say(why, n, "the default of %s, %g, is no integer", what, p->def);
  return true;
}

static bool check_params(const RouteOp *op, char *why, size_t n) {
  if (op->n_params > MAX_PARAMS)
    return say(why, n, "op `%s` has %u parameters, and the most is %d", op->name, op->n_params, MAX_PARAMS);
  if (op->n_params && !op->params)
    return say(why, n, "op `%s` has %u parameters, and `params` is NULL", op->name, op->n_params);
  const size_t least = FIRST_SIZE(RouteParam, reserved);
  if (op->n_params && (op->param_size < least || op->param_size > MAX_SIZE))
    return say(why, n, "`param_size` of op `%s` is %u, and the least is %zu", op->name, op->param_size,
               least);
  for (uint32_t i = 0; i < op->n_params; i++)
    if (!check_param(op, i, why, n)) return false;
  for (uint32_t i = 0; i < op->n_inputs + op->n_params; i++)
    for (uint32_t k = 0; k < i; k++)
      if (!strcmp(argument_name(op, i), argument_name(op, k)))
        return say(why, n, "op `%s` has two arguments with the name `%s`", op->name, argument_name(op, i));
  return true;
}

/* An ability's struct: its size, and functions that must be there. */
static bool check_ability(const RouteOp *op, const char *id, uint32_t size, size_t least, const bool *there,
                          uint32_t n_there, char *why, size_t n) {
  if (size < least)
    return say(why, n, "`size` of \"%s\" of op `%s` is %u, and the least is %zu", id, op->name, size, least);
  for (uint32_t i = 0; i < n_there; i++)
    if (!there[i]) return say(why, n, "\"%s\" of op `%s` lacks a function", id, op->name);
  return true;
}

/* *found: the op has the ability. */
static bool check_span_reduce(const RouteOp *op, bool *found, char *why, size_t n) {
  const RouteSpan *s = op->extension(op, ROUTE_EXT_SPAN);
  const RouteReduce *r = op->extension(op, ROUTE_EXT_REDUCE);
  *found = *found || s || r;
  if (s && !check_ability(op, ROUTE_EXT_SPAN, s->size, FIRST_SIZE(RouteSpan, grad), NULL, 0, why, n))
    return false;
  if (r && !check_ability(op, ROUTE_EXT_REDUCE, r->size, FIRST_SIZE(RouteReduce, grad), NULL, 0, why, n))
    return false;
  if (s &&
      !check_ability(op, ROUTE_EXT_SPAN, s->size, 0, (bool[]){s->value != NULL, s->grad != NULL}, 2, why, n))
    return false;
  if (s && (op->n_inputs != 1 || rt_op_input(op, 0)->kind != ROUTE_REAL))
    return say(why, n, "op `%s` has \"%s\", which is about one input of real numbers", op->name,
               ROUTE_EXT_SPAN);
  if (!r) return true;
  const bool there[] = {r->acc_size != NULL, r->partial != NULL, r->merge != NULL, r->finish != NULL,
                        r->grad != NULL};
  return check_ability(op, ROUTE_EXT_REDUCE, r->size, 0, there, 5, why, n);
}

static bool check_gate_schedule(const RouteOp *op, bool *found, char *why, size_t n) {
  const RouteGate *g = op->kind == ROUTE_GATE ? op->extension(op, ROUTE_EXT_GATE) : NULL;
  const RouteSchedule *s = op->kind == ROUTE_SCHEDULE ? op->extension(op, ROUTE_EXT_SCHEDULE) : NULL;
  *found = *found || g || s;
  if (g && !check_ability(op, ROUTE_EXT_GATE, g->size, FIRST_SIZE(RouteGate, grad), NULL, 0, why, n))
    return false;
  if (g &&
      !check_ability(op, ROUTE_EXT_GATE, g->size, 0, (bool[]){g->units != NULL, g->value != NULL}, 2, why, n))
    return false;
  if (g && g->flags & ~(uint32_t)ROUTE_GATE_ESTIMATE)
    return say(why, n, "`flags` of the gate `%s` is 0x%x, which holds bits without a meaning", op->name,
               g->flags);
  if (s && !check_ability(op, ROUTE_EXT_SCHEDULE, s->size, FIRST_SIZE(RouteSchedule, value), NULL, 0, why, n))
    return false;
  return !s || check_ability(op, ROUTE_EXT_SCHEDULE, s->size, 0, (bool[]){s->value != NULL}, 1, why, n);
}

static bool check_abilities(const RouteOp *op, char *why, size_t n) {
  const RouteExpr *x = op->extension(op, ROUTE_EXT_EXPR);
  bool found = x != NULL;
  if (x && !check_ability(op, ROUTE_EXT_EXPR, x->size, FIRST_SIZE(RouteExpr, code), NULL, 0, why, n))
    return false;
  if (x && !rt_formula_verify(op, x, why, n)) return false;
  if (op->kind == ROUTE_REGULARIZER ? !check_span_reduce(op, &found, why, n)
                                    : !check_gate_schedule(op, &found, why, n))
    return false;
  return found || say(why, n, "op `%s` has no ability that its kind could have", op->name);
}

static bool check_op(const RouteOp *op, char *why, size_t n) {
  const size_t least = FIRST_SIZE(RouteOp, extension);
  if (op->size < least) return say(why, n, "`size` of an op is %u, and the least is %zu", op->size, least);
  if (!check_name("an op", op->name, why, n)) return false;
  if (op->kind < ROUTE_REGULARIZER || op->kind > ROUTE_SCHEDULE)
    return say(why, n, "`kind` of op `%s` is %u, which is none", op->name, op->kind);
  char what[120];
  snprintf(what, sizeof what, "op `%s`", op->name);
  if (!check_text("doc", what, op->doc, why, n)) return false;
  if (!op->extension) return say(why, n, "`extension` of op `%s` is NULL", op->name);
  return check_inputs(op, why, n) && check_params(op, why, n) && check_abilities(op, why, n);
}

bool rt_plugin_verify(const RoutePlugin *p, char *why, size_t n) {
  if (!check_name("the plugin", p->name, why, n)) return false;
  if (!p->version || !is_version(p->version))
    return say(why, n, "its version, `%.40s`, is not of the form 1.2.0",
               !p->version ? "NULL" : is_text(p->version, false) ? p->version : "?");
  if (!check_text("license", "the plugin", p->license, why, n)) return false;
  if (!p->ops || !p->ops[0]) return say(why, n, "it has no ops");
  for (uint32_t i = 0; p->ops[i]; i++) {
    if (i >= MAX_OPS) return say(why, n, "it has more than %d ops, or its list of them has no end", MAX_OPS);
    if (!check_op(p->ops[i], why, n)) return false;
    for (uint32_t k = 0; k < i; k++)
      if (!strcmp(p->ops[i]->name, p->ops[k]->name))
        return say(why, n, "it has two ops with the name `%s`", p->ops[i]->name);
  }
  return true;
}

const RouteOp *rt_plugin_op(const RoutePlugin *p, const char *name) {
  for (uint32_t i = 0; p->ops[i]; i++)
    if (!strcmp(p->ops[i]->name, name)) return p->ops[i];
  return NULL;
}
