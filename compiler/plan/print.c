/* SPDX-License-Identifier: Apache-2.0
 * print.c -- the plan as tables. Deterministic: its hash names the plan in checkpoints. */
#include "plan_work.h"
#include <inttypes.h>
#include <string.h>

static const char *bytes_text(char *to, size_t n, int64_t bytes) {
  if (bytes < 10240) snprintf(to, n, "%" PRId64 " B", bytes);
  else if (bytes < (10 << 20)) snprintf(to, n, "%.1f KiB", (double)bytes / 1024);
  else snprintf(to, n, "%.1f MiB", (double)bytes / 1048576);
  return to;
}

static const char *shape_text(char *to, size_t n, const Shape *s) {
  size_t at = (size_t)snprintf(to, n, "[");
  for (int i = 0; i < s->rank && at < n; i++) {
    if (s->d[i] == DIM_ROWS) at += (size_t)snprintf(to + at, n - at, "%srows", i ? "," : "");
    else if (dim_is_rows(s->d[i]))
      at += (size_t)snprintf(to + at, n - at, "%srows%" PRId64, i ? "," : "", dim_set(s->d[i]));
    else at += (size_t)snprintf(to + at, n - at, "%s%" PRId64, i ? "," : "", s->d[i]);
  }
  if (at < n) snprintf(to + at, n - at, "]");
  return to;
}

static const char *list_text(char *to, size_t n, const int64_t *d, int rank) {
  Shape s = {.rank = rank};
  for (int i = 0; i < rank; i++) s.d[i] = d[i];
  return shape_text(to, n, &s);
}

static void extent_print(FILE *f, Extent e) {
  if (!e.rows || e.n != 1) fprintf(f, "%" PRId64 "%s", e.n, e.rows ? "*" : "");
  if (e.rows) fputs("rows", f);
  if (e.rows > 1) fprintf(f, "%u", e.rows - 1);
}

static void print_params(const Plan *p, FILE *f) {
  char a[256], b[256], c[32];
  fprintf(f, "parameters: %s with optimizer states\n", bytes_text(c, sizeof c, p->store_bytes));
  fprintf(f, "  %-32s %-18s %-20s %12s %12s\n", "path", "shape", "strides", "floats", "offset");
  for (uint32_t i = 0; i < p->program->n_params; i++) {
    const ProgParam *q = &p->program->params[i];
    const ParamPlace *s = &p->params[i];
    fprintf(f, "  %-32s %-18s %-20s %12" PRId64 " %12" PRId64, q->path, shape_text(a, sizeof a, &q->shape),
            list_text(b, sizeof b, s->strides, q->shape.rank), s->floats, s->offset);
    for (uint32_t k = 0; k < q->n_states && k < PLAN_MAX_STATES; k++)
      fprintf(f, "  state %u at %" PRId64, k, s->state_offset[k]);
    fputc('\n', f);
  }
}

static void print_value(const PlanFn *fn, ValueId v, FILE *f) {
  const Value *u = &fn->graph->v[v];
  fprintf(f, "%%%u", v);
  if (u->name) fprintf(f, " (%s)", u->name);
}

/* "+first1*784": behind the first row of row set 1. */
static const char *first_row_text(char *to, size_t n, const View *v) {
  *to = 0;
  if (v->set) snprintf(to, n, "+first%u*%" PRId64, v->set, v->set_stride);
  return to;
}

static void print_view(const View *v, FILE *f) {
  char first[64], shape[256], strides[256];
  fprintf(f, "        of b%u+%" PRId64 "%s %s %s\n", v->buffer, v->start, first_row_text(first, sizeof first, v),
          shape_text(shape, sizeof shape, &v->shape), list_text(strides, sizeof strides, v->strides, v->shape.rank));
}

static void print_gemm(const PlanFn *fn, const Step *s, FILE *f) {
  const GemmGeom *g = &s->geom;
  char a[64], b[64];
  fputs("        ", f);
  for (uint32_t i = 0; i < g->n_batch; i++) {
    extent_print(f, g->batch[i]);
    fprintf(f, "{%" PRId64 ",%" PRId64 ",%" PRId64 "} x ", g->a_batch[i], g->b_batch[i], g->c_batch[i]);
  }
  fputs("m=", f), extent_print(f, g->m);
  fputs(" n=", f), extent_print(f, g->n);
  fputs(" k=", f), extent_print(f, g->k);
  fprintf(f,
          "  a=b%u+%" PRId64 "%s(%" PRId64 ",%" PRId64 ") b=b%u+%" PRId64 "%s(%" PRId64 ",%" PRId64
          ") c=(%" PRId64 ",1)",
          s->a.buffer, s->a.start, first_row_text(a, sizeof a, &s->a), g->am, g->ak, s->b.buffer, s->b.start,
          first_row_text(b, sizeof b, &s->b), g->bk, g->bn, g->cm);
  if (s->impl == GEMM_BLAS) fputs("  blas\n", f);
  else
    fprintf(f, "  tile %dx%d kc=%d mc=%d nc=%d%s%s%s split %s\n", s->tile.mr, s->tile.nv, s->tile.kc,
            s->tile.mc, s->tile.nc, s->tile.pack_a ? " pack a" : "", s->tile.pack_b ? " pack b" : s->tile.pad_b ? " pad b" : "",
            s->tile.flip ? " flipped" : "", s->tile.split ? "n" : "m");
  fputs("        dot ", f), print_value(fn, s->dot, f);
  fputc('\n', f);
}

static void print_step(const PlanFn *fn, uint32_t i, FILE *f) {
  static const char *const kinds[] = {"map", "reduce", "gemm", "scatter", "pack", "call", "check"};
  const Step *s = &fn->steps[i];
  char a[256];
  fprintf(f, "  %4u w%-4u %-8s %-20s", i, s->wave, kinds[s->kind],
          s->kind == STEP_CHECK ? "" : shape_text(a, sizeof a, &s->space));
  if (s->kind == STEP_MAP || s->kind == STEP_REDUCE) {
    fputs(" order ", f);
    for (int k = 0; k < s->space.rank; k++) fprintf(f, "%u", s->order[k]);
  }
  for (int k = 0; s->kind == STEP_REDUCE && k < s->space.rank; k++)
    if (s->reduced >> k & 1) fprintf(f, " over %d", k);
  fprintf(f, "  flops %.6g/row + %.6g%s\n", s->flops_per_row, s->flops_fixed, s->barrier ? "  barrier" : "");
  if (s->follows) fputs("        without a barrier before it: each thread reads what it has itself stored\n", f);
  for (uint32_t k = 0; k < s->n_outs; k++) {
    fprintf(f, "        -> b%u = ", s->outs[k].buffer);
    print_value(fn, s->outs[k].value, f);
    fputc('\n', f);
  }
  for (uint32_t k = 0; s->kind == STEP_CALL && k < s->n_args; k++) print_view(&s->args[k], f);
  if (s->n_calls) fprintf(f, "        tiles: %" PRId64 " of axis %u\n", s->tile_chunk, s->order[s->tile_position]);
  for (uint32_t k = 0; k < s->n_calls; k++) {
    fprintf(f, "        -> b%u = ", s->calls[k].outs[0].buffer), print_value(fn, s->calls[k].outs[0].value, f);
    fprintf(f, ": %s\n", s->calls[k].reason);
    for (uint32_t j = 0; j < s->calls[k].n_args; j++) print_view(&s->calls[k].args[j], f);
  }
  if (s->kind == STEP_GEMM) print_gemm(fn, s, f);
  if (s->reason) fprintf(f, "        because: %s\n", s->reason);
}

static void print_buffer(const PlanFn *fn, BufferId id, FILE *f) {
  static const char *const spaces[] = {"work", "own", "store", "column", "const", "scalar", "tile"};
  const Buffer *b = &fn->buffers[id];
  char s[256], t[256];
  fprintf(f, "  b%-5u %-7s %-5s %-20s %-22s", id, spaces[b->space], dtype_name(b->dtype),
          shape_text(s, sizeof s, &b->shape), list_text(t, sizeof t, b->strides, b->shape.rank));
  if (b->space == SPACE_WORK) {
    fprintf(f, " %12" PRId64 " +%-10" PRId64 " steps %u..", b->offset, b->bytes, b->first);
    if (b->last == UINT32_MAX) fputs("end", f);
    else fprintf(f, "%u", b->last);
    if (b->over) fprintf(f, " in place of b%u", b->over);
  } else if (b->space == SPACE_STORE || b->space == SPACE_OWN) fprintf(f, " %12" PRId64 " +%-10" PRId64, b->offset, b->bytes);
  else if (b->space != SPACE_CONST) fprintf(f, " number %u", b->index);
  fputs("  ", f), print_value(fn, b->value, f);
  fputc('\n', f);
}

static void print_fn(const PlanFn *fn, FILE *f) {
  char a[32], b[32];
  double gemm_row = 0, gemm_fixed = 0, row = 0, fixed = 0;
  uint32_t n_gemm = 0, n_blas = 0, waves = fn->n_steps ? fn->steps[fn->n_steps - 1].wave + 1 : 0;
  for (uint32_t i = 0; i < fn->n_steps; i++) {
    const Step *s = &fn->steps[i];
    row += s->flops_per_row, fixed += s->flops_fixed;
    if (s->kind != STEP_GEMM) continue;
    double rows = 0, rest = 2; /* the products alone, without their epilogues */
    const Extent e[7] = {s->geom.m,        s->geom.n,        s->geom.k,       s->geom.batch[0],
                         s->geom.batch[1], s->geom.batch[2], s->geom.batch[3]};
    for (uint32_t k = 0; k < 3 + s->geom.n_batch; k++) {
      rest *= (double)e[k].n;
      if (e[k].rows && fn->set_share) rest *= fn->set_share[e[k].rows - 1];
      if (e[k].rows && rows++ > 0) rest *= (double)fn->max_rows;
    }
    if (rows > 0) gemm_row += rest;
    else gemm_fixed += rest;
    n_gemm++, n_blas += s->impl == GEMM_BLAS;
  }
  fprintf(f, "\nfunction %s: %s, at most %" PRId64 " rows\n", fn->symbol,
          fn->graph->name ? fn->graph->name : "", fn->max_rows);
  fprintf(f, "  %u steps in %u waves, %u gemms (%u by the BLAS)\n", fn->n_steps, waves, n_gemm, n_blas);
  fprintf(f, "  memory %s, %s without reuse\n", bytes_text(a, sizeof a, fn->work_bytes),
          bytes_text(b, sizeof b, fn->work_unshared));
  if (fn->own_bytes) fprintf(f, "  and %s for each thread\n", bytes_text(a, sizeof a, fn->own_bytes));
  fprintf(f, "  gemm flops a step %.6g, of %.6g in all\n", gemm_row * (double)fn->max_rows + gemm_fixed,
          row * (double)fn->max_rows + fixed);
  fputs("steps\n", f);
  for (uint32_t i = 0; i < fn->n_steps; i++) print_step(fn, i, f);
  fputs("buffers\n", f);
  for (BufferId i = 1; i < fn->n_buffers; i++) print_buffer(fn, i, f);
}

void plan_print(const Plan *p, FILE *f) {
  fprintf(f, "plan for %s, vectors of %d floats%s\n", p->target.cpu[0] ? p->target.cpu : "?",
          p->target.vector_floats, p->target.fma ? ", fma" : "");
  print_params(p, f);
  if (p->train.graph) print_fn(&p->train, f);
  for (uint32_t i = 0; i < p->program->n_evals; i++) print_fn(&p->evals[i], f);
  for (uint32_t i = 0; i < p->program->n_derived; i++) print_fn(&p->derived[i], f);
}
