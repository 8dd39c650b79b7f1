/* SPDX-License-Identifier: Apache-2.0
 * expect.c -- claims about the tables of evaluations, as postfix programs. A mean over several keys is the
 * mean over their data. A comparison with NaN (an empty group) fails. */
#include "run.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { STACK_MAX = 256, COMPARES_MAX = 32 };

typedef struct Compare {
  double left, right;
  const char *sign;
  bool pass;
} Compare;
typedef struct Machine {
  double stack[STACK_MAX];
  int depth;
  Compare compares[COMPARES_MAX];
  int n_compares;
} Machine;

static const char *binary(Machine *m, JobExpectOp op) {
  static const char *const signs[] = {"<", "<=", ">", ">=", "==", "!="};
  if (m->depth < 2) return "too few operands";
  double b = m->stack[--m->depth], a = m->stack[--m->depth], v = 0;
  switch (op) {
  case JX_ADD: v = a + b; break;
  case JX_SUB: v = a - b; break;
  case JX_MUL: v = a * b; break;
  case JX_DIV: v = a / b; break;
  case JX_LT: v = a < b; break;
  case JX_LE: v = a <= b; break;
  case JX_GT: v = a > b; break;
  case JX_GE: v = a >= b; break;
  case JX_EQ: v = a == b; break;
  case JX_NE: v = a < b || a > b; break;
  case JX_AND: v = a != 0 && b != 0; break;
  case JX_OR: v = a != 0 || b != 0; break;
  case JX_CONST:
  case JX_METRIC:
  case JX_NEG:
  case JX_NOT: return "an unknown operation";
  }
  if (op >= JX_LT && op <= JX_NE && m->n_compares < COMPARES_MAX)
    m->compares[m->n_compares++] = (Compare){a, b, signs[op - JX_LT], v != 0};
  m->stack[m->depth++] = v;
  return NULL;
}

static const char *metric(const Run *r, const JobExpectInsn *x, double *out) {
  if (x->eval >= r->job->n_evals || x->metric >= r->job->evals[x->eval].n_metrics)
    return "a metric that does not exist";
  if (!r->tables[x->eval].done) return "a metric that was not evaluated";
  *out = table_mean(&r->tables[x->eval], x->metric, x->keys, x->n_keys);
  return NULL;
}

static const char *machine_step(const Run *r, Machine *m, const JobExpectInsn *x) {
  switch (x->op) {
  case JX_CONST:
  case JX_METRIC: {
    double v = x->num;
    const char *why = x->op == JX_METRIC ? metric(r, x, &v) : NULL;
    if (!why && m->depth == STACK_MAX) why = "an expression nested too deep";
    if (!why) m->stack[m->depth++] = v;
    return why;
  }
  case JX_NEG:
  case JX_NOT:
    if (m->depth < 1) return "too few operands";
    m->stack[m->depth - 1] = x->op == JX_NEG ? -m->stack[m->depth - 1] : m->stack[m->depth - 1] == 0;
    return NULL;
  default: return binary(m, x->op);
  }
}

static void expect_print_json(const JobExpect *x, const Machine *m, bool pass) {
  json_t *sides = json_array();
  for (int i = 0; i < m->n_compares; i++) {
    json_t *o = json_object();
    json_object_set_new(o, "left", json_number(m->compares[i].left));
    json_object_set_new(o, "sign", json_string(m->compares[i].sign));
    json_object_set_new(o, "right", json_number(m->compares[i].right));
    json_object_set_new(o, "pass", json_boolean(m->compares[i].pass));
    json_array_append_new(sides, o);
  }
  json_print(
      json_pack("{s:s,s:s,s:b,s:o}", "event", "expect", "text", x->text, "pass", pass, "compares", sides));
}

static void expect_print(const Run *r, const JobExpect *x, const Machine *m, bool pass) {
  if (r->o->json) {
    expect_print_json(x, m, pass);
    return;
  }
  if (pass && r->o->quiet > 1) return;
  const char *on = r->o->color ? pass ? "\033[32m" : "\033[31m" : "", *off = r->o->color ? "\033[0m" : "";
  printf("expect %s: %s%s%s", x->text, on, pass ? "pass" : "FAIL", off);
  for (int i = 0; i < m->n_compares; i++)
    printf("%s%.4g %s %.4g", i ? ", " : " (", m->compares[i].left, m->compares[i].sign, m->compares[i].right);
  printf(m->n_compares ? ")\n" : "\n");
  if (!pass && x->span.file) printf("  --> %s:%u:%u\n", x->span.file, x->span.line, x->span.col);
  fflush(stdout);
}

static bool expect_run(Run *r, const JobExpect *x) {
  Machine m = {.depth = 0};
  const char *why = NULL;
  for (uint32_t i = 0; i < x->n && !why; i++) why = machine_step(r, &m, &x->code[i]);
  if (!why && m.depth != 1) why = "it leaves more than one value";
  if (why) return rt_fail_at(&r->error, &x->span, RT_E0736, why);
  bool pass = m.stack[0] != 0 && !isnan(m.stack[0]);
  for (int i = 0; i < m.n_compares; i++) /* no data, or a division by zero: nothing was shown, `not` or no `not` */
    if (!isfinite(m.compares[i].left) || !isfinite(m.compares[i].right)) pass = false;
  expect_print(r, x, &m, pass);
  r->expects_failed += !pass;
  return true;
}

bool expect_all(Run *r) {
  r->expects_failed = 0;
  for (uint32_t i = 0; i < r->job->n_expects; i++)
    if (!expect_run(r, &r->job->expects[i])) return false;
  return true;
}
