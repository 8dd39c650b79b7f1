/* SPDX-License-Identifier: Apache-2.0
 * print.c -- a graph as text, one value a line; parse.c reads it back:
 *
 *   graph "train"
 *   %1 = column {column=0} u8[ROWS,28,28] @1:120-134 ; image
 *   %2 = const 0.5 f32[]
 *   %3 = const [1 2 3] i32[3]
 *   %12 = dot %9 %7 {nb=0 nc=1 contract_a=1 contract_b=1} f32[ROWS,512] ; encoder.fc1.out
 *   %40 = adjtap %39 {tap=0} f32[ROWS,32] adjoint origins=0,2
 *   root loss 0 %31
 *   root state 3 1 %77
 *
 * "ident=" before an int is for the reader's eye. A name runs to the end of its line; \xHH stands for a byte
 * that does not print, and \\ for a backslash. */
#include "ops.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The shortest of the %g forms that reads back as the same number. */
static void print_number(double x, FILE *f) {
  char buf[40];
  if (isnan(x)) {
    fputs("nan", f);
    return;
  }
  for (int digits = 6; digits <= 17; digits += digits < 15 ? 9 : 1) {
    snprintf(buf, sizeof buf, "%.*g", digits, x);
    if (strtod(buf, NULL) == x) break;
  }
  fputs(buf, f);
}

static void print_text(const char *s, FILE *f) {
  for (; *s; s++) {
    unsigned char c = (unsigned char)*s;
    if (c == '\\') fputs("\\\\", f);
    else if (c < 32 || c == 127 || c == '"') fprintf(f, "\\x%02x", c);
    else fputc(c, f);
  }
}

static void print_constant(const Value *v, FILE *f) {
  fputc(' ', f);
  if (!v->data) {
    print_number(v->num, f);
    return;
  }
  int64_t n = shape_count(&v->shape, 0);
  fputc('[', f);
  for (int64_t i = 0; i < n; i++) {
    if (i) fputc(' ', f);
    print_number(v->data[i], f);
  }
  fputc(']', f);
}

static void print_dot_ints(const Value *v, FILE *f) {
  DotInts d = ir_dot_ints(v);
  const struct {
    const char *name;
    const int64_t *list;
    int64_t n;
  } lists[] = {{"batch_a", d.batch_a, d.nb},
               {"batch_b", d.batch_b, d.nb},
               {"contract_a", d.con_a, d.nc},
               {"contract_b", d.con_b, d.nc}};
  fprintf(f, " {nb=%lld nc=%lld", (long long)d.nb, (long long)d.nc);
  for (int k = 0; k < 4; k++)
    for (int64_t i = 0; i < lists[k].n; i++) {
      if (i) fprintf(f, " %lld", (long long)lists[k].list[i]);
      else fprintf(f, " %s=%lld", lists[k].name, (long long)lists[k].list[i]);
    }
  fputc('}', f);
}

static bool dot_ints_sound(const Value *v) {
  return v->n_ints >= 2 && v->ints[0] >= 0 && v->ints[1] >= 0 && v->ints[0] <= IR_MAX_RANK &&
         v->ints[1] <= IR_MAX_RANK && v->n_ints == 2 + 2 * (uint32_t)v->ints[0] + 2 * (uint32_t)v->ints[1];
}

static void print_ints(const Value *v, FILE *f) {
  if (!v->n_ints) return;
  if (v->op == OP_DOT && dot_ints_sound(v)) {
    print_dot_ints(v, f);
    return;
  }
  const char *names = op_info(v->op)->ints;
  fputs(" {", f);
  for (uint32_t i = 0; i < v->n_ints; i++) {
    int len = (int)strcspn(names, " ");
    if (i) fputc(' ', f);
    if (len) fprintf(f, "%.*s=", len, names);
    fprintf(f, "%lld", (long long)v->ints[i]);
    names += len;
    names += *names == ' ';
  }
  fputc('}', f);
}

static void print_type(const Value *v, FILE *f) {
  fprintf(f, " %s[", dtype_name(v->dtype));
  for (int32_t i = 0; i < v->shape.rank && i < IR_MAX_RANK; i++) {
    if (i) fputc(',', f);
    if (v->shape.d[i] == DIM_ROWS) fputs("ROWS", f);
    else if (dim_is_rows(v->shape.d[i])) fprintf(f, "ROWS%lld", (long long)dim_set(v->shape.d[i]));
    else fprintf(f, "%lld", (long long)v->shape.d[i]);
  }
  fputc(']', f);
}

void ir_print_value(const Graph *g, ValueId id, FILE *f) {
  const Value *v = &g->v[id];
  fprintf(f, "%%%u = %s", id, op_name(v->op));
  if (v->op == OP_CONST) print_constant(v, f);
  for (uint32_t i = 0; i < v->n_args; i++) fprintf(f, " %%%u", v->args[i]);
  print_ints(v, f);
  print_type(v, f);
  if (v->phase == PHASE_ADJOINT) fputs(" adjoint", f);
  if (v->phase == PHASE_UPDATE) fputs(" update", f);
  const char *before = " origins=";
  for (int i = 0; i < 64; i++)
    if (v->origins >> i & 1) fprintf(f, "%s%d", before, i), before = ",";
  if (v->span.file) fprintf(f, " @%u:%u-%u", v->span.file, v->span.start, v->span.end);
  if (v->name) fputs(" ; ", f), print_text(v->name, f);
}

void graph_print(const Graph *g, FILE *f) {
  static const char *const root_names[] = {
      [ROOT_LOSS] = "loss",     [ROOT_GRAD] = "grad", [ROOT_PARAM] = "param",     [ROOT_STATE] = "state",
      [ROOT_METRIC] = "metric", [ROOT_KEY] = "key",   [ROOT_PICTURE] = "picture", [ROOT_SELECTION] = "selection",
      [ROOT_KEEP] = "keep"};
  fputs("graph \"", f);
  print_text(g->name ? g->name : "", f);
  fputs("\"\n", f);
  for (ValueId id = 1; id < g->n; id++) {
    ir_print_value(g, id, f);
    fputc('\n', f);
  }
  for (uint32_t i = 0; i < g->n_roots; i++) {
    const Root *r = &g->roots[i];
    fprintf(f, "root %s %u", (unsigned)r->kind <= ROOT_KEEP ? root_names[r->kind] : "?", r->a);
    if (root_has_b(r->kind)) fprintf(f, " %u", r->b);
    fprintf(f, " %%%u\n", r->value);
  }
}

static bool same_number(double a, double b) {
  return (isnan(a) && isnan(b)) || memcmp(&a, &b, sizeof a) == 0;
}

static bool same_value(const Value *a, const Value *b) {
  if (a->op != b->op || a->dtype != b->dtype || a->phase != b->phase || a->n_args != b->n_args ||
      a->n_ints != b->n_ints || a->origins != b->origins || !shape_equal(&a->shape, &b->shape) ||
      !a->data != !b->data || !a->name != !b->name)
    return false;
  for (uint32_t i = 0; i < a->n_args; i++)
    if (a->args[i] != b->args[i]) return false;
  for (uint32_t i = 0; i < a->n_ints; i++)
    if (a->ints[i] != b->ints[i]) return false;
  if (a->op == OP_CONST && !a->data && !same_number(a->num, b->num)) return false;
  for (int64_t i = 0; a->data && i < shape_count(&a->shape, 0); i++)
    if (!same_number(a->data[i], b->data[i])) return false;
  return !a->name || strcmp(a->name, b->name) == 0;
}

bool graph_equal(const Graph *a, const Graph *b) {
  if (a->n != b->n || a->n_roots != b->n_roots || strcmp(a->name ? a->name : "", b->name ? b->name : "") != 0)
    return false;
  for (ValueId id = 1; id < a->n; id++)
    if (!same_value(&a->v[id], &b->v[id])) return false;
  for (uint32_t i = 0; i < a->n_roots; i++) {
    const Root *r = &a->roots[i], *s = &b->roots[i];
    if (r->kind != s->kind || r->a != s->a || (r->kind == ROOT_STATE && r->b != s->b) || r->value != s->value)
      return false;
  }
  return true;
}
