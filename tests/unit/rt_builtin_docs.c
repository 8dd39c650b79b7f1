/* SPDX-License-Identifier: Apache-2.0
 * rt_builtin_docs.c -- the tables of built-in ops in docs/plugins.md are what the ops say of themselves. With BLESS=1
 * in the environment they are written anew. */
#include "builtin_plugins.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define PAGE TEST_ROOT "/docs/plugins.md"
static const char BEGIN[] = "<!-- built-in ops: begin -->\n", END[] = "<!-- built-in ops: end -->\n";

typedef struct Text {
  char *s;
  size_t n;
} Text;
static void text_add(Text *t, const char *s, size_t n) {
  t->s = realloc(t->s, t->n + n + 1);
  if (!t->s) abort();
  memcpy(t->s + t->n, s, n), t->n += n, t->s[t->n] = 0;
}
static void text_put(Text *t, const char *s) { text_add(t, s, strlen(s)); }
/* In a cell of a table: `|` would end it. */
static void text_cell(Text *t, const char *s, size_t n) {
  text_put(t, " ");
  for (size_t i = 0; i < n; i++) text_put(t, s[i] == '|' ? "\\" : ""), text_add(t, s + i, 1);
  text_put(t, " |");
}

/* The line of the op's doc that begins with the label. */
static void doc_cell(Text *t, const RouteOp *op, const char *label) {
  const char *at = strstr(op->doc, label);
  assert_non_null(at);
  at += strlen(label);
  text_cell(t, at, strcspn(at, "\n"));
}

static const char *number(double x, char text[32]) {
  snprintf(text, 32, "%.10g", x);
  return text;
}

static void params_cell(Text *t, const RouteOp *op) {
  Text c = {0};
  text_put(&c, op->n_params ? "" : "none");
  for (uint32_t i = 0; i < op->n_params; i++) {
    const RouteParam *p = &op->params[i];
    char def[32], low[32], high[32], line[300];
    snprintf(line, sizeof line, "%s`%s`%s%s", i ? "; " : "", p->name, isnan(p->def) ? "" : " = ",
             isnan(p->def) ? "" : number(p->def, def));
    text_put(&c, line);
    if (p->flags & ROUTE_PARAM_INT) text_put(&c, ", integer");
    const bool below = !isinf(p->min), above = !isinf(p->max);
    if (above) snprintf(line, sizeof line, " in %s ..= %s", number(p->min, low), number(p->max, high));
    else if (below) snprintf(line, sizeof line, ", at least %s", number(p->min, low));
    if (above || below) text_put(&c, line);
    snprintf(line, sizeof line, " (%s)", p->doc);
    text_put(&c, line);
  }
  text_cell(t, c.s, c.n);
  free(c.s);
}

static void abilities_cell(Text *t, const RouteOp *op) {
  static const char *const names[][2] = {
      {ROUTE_EXT_EXPR, "formula"}, {ROUTE_EXT_SPAN, "span"}, {ROUTE_EXT_REDUCE, "reduce"}, {ROUTE_EXT_GATE, "gate"}};
  char line[64] = "";
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (op->extension(op, names[i][0])) strcat(strcat(line, *line ? ", " : ""), names[i][1]);
  text_cell(t, line, strlen(line));
}

static void row(Text *t, const RouteOp *op) {
  char call[200];
  int n = snprintf(call, sizeof call, "`%s(", op->name);
  for (uint32_t i = 0; i < op->n_inputs; i++)
    n += snprintf(call + n, sizeof call - (size_t)n, "%s%s", i ? ", " : "", op->inputs[i].name);
  n += snprintf(call + n, sizeof call - (size_t)n, ")`");
  text_put(t, "|");
  text_cell(t, call, (size_t)n);
  doc_cell(t, op, "Formula: ");
  abilities_cell(t, op);
  params_cell(t, op);
  doc_cell(t, op, "Gradient: ");
  doc_cell(t, op, "Source: ");
  doc_cell(t, op, "Use: ");
  text_put(t, "\n");
}

static Text tables(void) {
  static const struct {
    uint32_t kind;
    const char *title;
  } kinds[] = {{ROUTE_REGULARIZER, "Regularizers"}, {ROUTE_GATE, "Gates"}};
  Text t = {0};
  for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
    const RoutePlugin *p;
    text_put(&t, "\n### "), text_put(&t, kinds[k].title);
    text_put(&t,
             "\n\n| op | formula | told as | parameters | gradient | source | for |\n|---|---|---|---|---|---|---|\n");
    for (uint32_t i = 0; (p = plugin_builtin_at(i)); i++)
      for (size_t o = 0; p->ops[o]; o++)
        if (p->ops[o]->kind == kinds[k].kind) row(&t, p->ops[o]);
  }
  text_put(&t, "\n");
  return t;
}

static Text page_read(void) {
  Text t = {0};
  char buffer[4096];
  FILE *f = fopen(PAGE, "r");
  assert_non_null(f);
  for (size_t n; (n = fread(buffer, 1, sizeof buffer, f)) > 0;) text_add(&t, buffer, n);
  fclose(f);
  return t;
}

static void test_tables(void **state) {
  (void)state;
  Text page = page_read(), now = tables();
  const char *begin = strstr(page.s, BEGIN), *end = strstr(page.s, END);
  assert_true(begin && end && begin < end);
  begin += strlen(BEGIN);
  const bool same = (size_t)(end - begin) == now.n && !memcmp(begin, now.s, now.n);
  if (!same && getenv("BLESS")) {
    Text whole = {0};
    text_add(&whole, page.s, (size_t)(begin - page.s)), text_add(&whole, now.s, now.n), text_put(&whole, end);
    FILE *f = fopen(PAGE, "w");
    assert_true(f && fwrite(whole.s, 1, whole.n, f) == whole.n && fclose(f) == 0);
    free(whole.s);
  } else if (!same) fail_msg("the tables of docs/plugins.md are not what the ops say: BLESS=1 writes them anew");
  free(page.s), free(now.s);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_tables)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
