/* SPDX-License-Identifier: Apache-2.0
 * driver_report.c -- what `routec plan` prints: parameters, data, splits, routes, the passes that autodiff needs,
 * memory, matrix products with their FLOPs and reasons. All of it is read from the plan; nothing is measured. */
#include "driver.h"
#include "route_plugin.h"
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <string.h>

static const char *place(const Compilation *c, Span s) {
  if (!s.file || s.file >= c->sources->n) return "";
  const LineCol at = source_line_col(c->sources->files[s.file], s.start);
  return arena_printf(c->arena, "%s:%u", c->sources->files[s.file]->path, at.line);
}

static const char *shape_text(Arena *a, const Shape *s) {
  const char *text = "[";
  for (int32_t i = 0; i < s->rank; i++)
    text = s->d[i] == DIM_ROWS ? arena_printf(a, "%s%srows", text, i ? ", " : "")
                               : arena_printf(a, "%s%s%" PRId64, text, i ? ", " : "", s->d[i]);
  return arena_printf(a, "%s]", text);
}

static const char *init_text(Arena *a, const ProgParam *p) {
  switch (p->init) {
  case INIT_CONSTANT: return arena_printf(a, "%.9g", p->a);
  case INIT_UNIFORM: return arena_printf(a, "uniform in [%.6g, %.6g)", p->a, p->b);
  case INIT_NORMAL: return arena_printf(a, "normal, mean %.6g, deviation %.6g", p->a, p->b);
  }
  return "";
}

static const char *origins_text(Arena *a, const Program *p, OriginSet set) {
  const char *text = "";
  for (uint32_t i = 0; i < p->n_origins; i++)
    if (set & ((OriginSet)1 << i)) text = arena_printf(a, "%s%s%s", text, *text ? ", " : "", p->origins[i].name);
  return text;
}

static double step_flops(const Step *s, int64_t rows) { return s->flops_fixed + s->flops_per_row * (double)rows; }

static double function_flops(const PlanFn *f, Phase phase, bool gemm) {
  double sum = 0;
  for (uint32_t i = 0; i < f->n_steps; i++) {
    const Step *s = &f->steps[i];
    if ((s->kind == STEP_GEMM) != gemm || !s->n_outs) continue;
    if (plan_step_phase(f, s) == phase) sum += step_flops(s, f->max_rows);
  }
  return sum;
}

/* ---- routes: which part of its place each one leaves open is in the factor's constants ------------------------------- */
static const char *primitive_text(RoutePrimitive p) {
  return p == ROUTE_GRADIENT ? "gradient of" : p == ROUTE_PARAMETERS ? "parameters of" : "value of";
}

static const char *source_text(const Compilation *c, Span s) {
  if (!s.file || s.file >= c->sources->n) return "";
  const SourceFile *f = c->sources->files[s.file];
  char *text = arena_strndup(c->arena, f->text + s.start, s.end - s.start);
  char *to = text;
  for (const char *from = text; *from; from++) { /* one line, single spaces */
    const bool space = *from == '\n' || *from == ' ' || *from == '\t';
    if (space && (to == text || to[-1] == ' ')) continue;
    *to++ = space ? ' ' : *from;
  }
  *to = 0;
  return text;
}

static void print_declarations(const Compilation *c, FILE *f, const char *title, AstKind kind) {
  bool any = false;
  for (uint32_t i = 0; i < c->parse.file->n_kids; i++) {
    const Ast *n = c->parse.file->kids[i];
    if (!n || n->kind != kind) continue;
    if (!any) fprintf(f, "\n%s\n", title);
    any = true;
    fprintf(f, "  %s\n", source_text(c, n->span));
  }
}

static void print_settings(const Compilation *c, FILE *f) {
  const Program *p = c->program;
  if (p->n_settings) fputs("\nparams\n", f);
  for (uint32_t i = 0; i < p->n_settings; i++)
    fprintf(f, "  %-20s = %-14s %s\n", p->settings[i].name, p->settings[i].value,
            p->settings[i].structural ? "structural: fixed by this compilation" : "read at run time");
}

static void print_params(const Compilation *c, FILE *f) {
  const Program *p = c->program;
  double total = 0;
  fputs("\nparameters\n", f);
  for (uint32_t i = 0; i < p->n_params; i++) {
    const ProgParam *q = &p->params[i];
    const double n = (double)shape_count(&q->shape, 1);
    total += n;
    fprintf(f, "  %-30s %-14s %11.0f  %s%s%s\n", q->path, shape_text(c->arena, &q->shape), n, init_text(c->arena, q),
            q->trainable ? "" : "; fixed", q->n_states ? arena_printf(c->arena, "; %u states", q->n_states) : "");
  }
  fprintf(f, "  %-30s %-14s %11.0f  %" PRId64 " bytes with states and padding\n", "all", "", total, c->plan->store_bytes);
}

static void print_data(const Compilation *c, FILE *f) {
  const Program *p = c->program;
  uint32_t shown = 0;
  for (uint32_t i = 0; i < p->n_data; i++) {
    if (!strcmp(p->data[i].reader, "none")) continue; /* there is no data block */
    if (!shown++) fputs("\ndata\n", f);
    fprintf(f, "  %s: reader %s\n", p->data[i].name, p->data[i].reader);
    for (uint32_t k = 0; k < p->n_columns; k++)
      if (p->columns[k].source == i)
        fprintf(f, "    %-20s %s %s%s\n", p->columns[k].name, dtype_name(p->columns[k].dtype),
                shape_text(c->arena, &p->columns[k].shape), p->columns[k].derived ? "  computed when the data are read" : "");
  }
}

/* Ops that are formulas have become ordinary operations; what is left of the others are calls. */
static void print_plugins(const Compilation *c, FILE *f) {
  static const char *const abilities[] = {[CALL_SPAN] = "span", [CALL_REDUCE] = "reduce", [CALL_GATE] = "gate", [CALL_SCHEDULE] = "schedule"};
  const Program *p = c->program;
  bool declared = false;
  for (uint32_t i = 0; i < c->parse.file->n_kids; i++) declared |= c->parse.file->kids[i] && c->parse.file->kids[i]->kind == AST_PLUGIN;
  print_declarations(c, f, "plugins", AST_PLUGIN);
  if (!declared && p->n_calls) fputs("\nplugins\n", f);
  for (uint32_t i = 0; i < p->n_calls; i++)
    fprintf(f, "  called: %s of %s %s (%s), %s\n", p->calls[i].op->name, p->plugins[p->calls[i].plugin].name, p->plugins[p->calls[i].plugin].version,
            abilities[p->calls[i].ability], place(c, p->calls[i].span));
  if (declared && !p->n_calls) fputs("  called: nothing; formulas are inlined\n", f);
}

static void print_routes(const Compilation *c, FILE *f) {
  const Program *p = c->program;
  print_declarations(c, f, "splits", AST_SPLIT);
  print_declarations(c, f, "classes", AST_CLASS);
  if (p->n_routes) fputs("\nroutes\n", f);
  for (uint32_t i = 0; i < p->n_routes; i++) {
    const ProgRoute *r = &p->routes[i];
    fprintf(f, "  %s: %s %s, for %s (%s)\n", r->name, primitive_text(r->primitive), p->taps[r->tap].name,
            origins_text(c->arena, p, r->origins), place(c, r->span));
  }
}

/* A pass is a set of origins whose adjoints are carried together: they are merged where no mask tells them apart. */
static void print_passes(const Compilation *c, FILE *f) {
  const Program *p = c->program;
  OriginSet seen[64];
  uint32_t count[64] = {0}, dots[64] = {0}, n = 0;
  if (!p->step) return;
  for (ValueId id = 1; id < p->step->n; id++) {
    const Value *v = &p->step->v[id];
    if (v->phase != PHASE_ADJOINT || !v->origins) continue;
    uint32_t k = 0;
    while (k < n && seen[k] != v->origins) k++;
    if (k == 64) continue;
    if (k == n) seen[n++] = v->origins;
    count[k]++;
    dots[k] += v->op == OP_DOT;
  }
  fputs("\nbackward passes (origins whose adjoints travel together)\n", f);
  for (uint32_t k = 0; k < n; k++)
    fprintf(f, "  %-50s %5u values, %3u matrix products\n", origins_text(c->arena, p, seen[k]), count[k], dots[k]);
}

static const char *extent_text(Arena *a, Extent e) {
  const char *rows = e.rows > 1 ? arena_printf(a, "rows%u", e.rows - 1) : "rows";
  return e.rows ? e.n == 1 ? rows : arena_printf(a, "%" PRId64 "*%s", e.n, rows) : arena_printf(a, "%" PRId64, e.n);
}

static const char *gemm_shape_text(Arena *a, const GemmGeom *g) {
  const char *text = "";
  for (uint32_t i = 0; i < g->n_batch; i++) text = arena_printf(a, "%s%s of ", text, extent_text(a, g->batch[i]));
  return arena_printf(a, "%s%s x %s x %s", text, extent_text(a, g->m), extent_text(a, g->n), extent_text(a, g->k));
}

static const char *step_name(const PlanFn *f, const Step *s) {
  const ValueId id = s->dot ? s->dot : s->n_outs ? s->outs[0].value : 0;
  const char *name = id ? f->graph->v[id].name : NULL;
  if (name) return name;
  for (uint32_t i = 0; i < s->n_outs; i++)
    if (f->graph->v[s->outs[i].value].name) return f->graph->v[s->outs[i].value].name;
  return "";
}

static void print_gemms(const Compilation *c, const PlanFn *fn, FILE *f) {
  for (uint32_t i = 0; i < fn->n_steps; i++) {
    const Step *s = &fn->steps[i];
    if (s->kind != STEP_GEMM) continue;
    fprintf(f, "  %-26s %9.2f MFLOP  %s%s (%s)\n      %s\n", gemm_shape_text(c->arena, &s->geom),
            1e-6 * step_flops(s, fn->max_rows), *step_name(fn, s) ? "for " : "", step_name(fn, s), place(c, s->span),
            s->reason ? s->reason : "");
  }
}

static void print_function(const Compilation *c, const PlanFn *fn, const char *title, FILE *f) {
  uint32_t kinds[STEP_CHECK + 1] = {0};
  for (uint32_t i = 0; i < fn->n_steps; i++) kinds[fn->steps[i].kind]++;
  fprintf(f, "\n%s: %u steps (%u matrix products, %u maps, %u reductions, %u scatters%s) at %" PRId64 " rows\n", title,
          fn->n_steps, kinds[STEP_GEMM], kinds[STEP_MAP], kinds[STEP_REDUCE], kinds[STEP_SCATTER],
          kinds[STEP_PACK] ? arena_printf(c->arena, ", %u packings", kinds[STEP_PACK]) : "", fn->max_rows);
  fprintf(f, "  memory: %" PRId64 " bytes of work, %" PRId64 " of them for partial sums (%" PRId64 " without reuse)\n",
          plan_work_bytes(fn), plan_scratch_bytes(fn), fn->work_unshared + plan_scratch_bytes(fn));
  if (fn->own_bytes) fprintf(f, "  and %" PRId64 " bytes for each thread: what every thread makes for itself\n", fn->own_bytes);
  static const char *const phases[] = {"forward", "backward", "update"};
  for (int k = 0; k < 3; k++) {
    const double gemm = function_flops(fn, (Phase)k, true), rest = function_flops(fn, (Phase)k, false);
    if (gemm + rest > 0) fprintf(f, "  %-8s %10.2f MFLOP in matrix products, %9.2f elsewhere\n", phases[k], 1e-6 * gemm, 1e-6 * rest);
  }
  print_gemms(c, fn, f);
}

void driver_report_text(const Compilation *c, const RtMemory *m, FILE *f) {
  const Program *p = c->program;
  fprintf(f, "%s for %s (%d floats a vector)\n", p->title, c->plan->target.cpu, c->plan->target.vector_floats);
  print_settings(c, f);
  print_data(c, f);
  print_params(c, f);
  print_plugins(c, f);
  print_routes(c, f);
  print_passes(c, f);
  driver_groups_text(c, f);
  driver_packing_text(c, f);
  if (c->plan->train.graph) print_function(c, &c->plan->train, "training step", f);
  for (uint32_t i = 0; i < p->n_evals; i++)
    print_function(c, &c->plan->evals[i], arena_printf(c->arena, "evaluation %s", p->evals[i].name), f);
  for (uint32_t i = 0; i < p->n_derived; i++)
    print_function(c, &c->plan->derived[i], arena_printf(c->arena, "column %s", p->derived[i].name), f);
  driver_memory_text(m, f);
}

/* ---- the same as JSON ------------------------------------------------------------------------------------------------ */
static json_t *json_dims(const Shape *s) {
  json_t *a = json_array();
  for (int32_t i = 0; i < s->rank; i++) json_array_append_new(a, json_integer(s->d[i]));
  return a;
}

static json_t *json_origins(const Program *p, OriginSet set) {
  json_t *a = json_array();
  for (uint32_t i = 0; i < p->n_origins; i++)
    if (set & ((OriginSet)1 << i)) json_array_append_new(a, json_string(p->origins[i].name));
  return a;
}

static json_t *json_params(const Program *p) {
  json_t *a = json_array();
  for (uint32_t i = 0; i < p->n_params; i++)
    json_array_append_new(a, json_pack("{s:s, s:o, s:b, s:i}", "path", p->params[i].path, "shape",
                                       json_dims(&p->params[i].shape), "trainable", p->params[i].trainable, "states",
                                       (int)p->params[i].n_states));
  return a;
}

static json_t *json_routes(const Compilation *c) {
  const Program *p = c->program;
  json_t *a = json_array();
  for (uint32_t i = 0; i < p->n_routes; i++)
    json_array_append_new(a, json_pack("{s:s, s:s, s:s, s:o, s:s}", "name", p->routes[i].name, "primitive",
                                       primitive_text(p->routes[i].primitive), "place", p->taps[p->routes[i].tap].name,
                                       "origins", json_origins(p, p->routes[i].origins), "at", place(c, p->routes[i].span)));
  return a;
}

static json_t *json_function(const Compilation *c, const PlanFn *fn, const char *name) {
  json_t *gemms = json_array();
  double flops = 0;
  for (uint32_t i = 0; i < fn->n_steps; i++) {
    const Step *s = &fn->steps[i];
    flops += step_flops(s, fn->max_rows);
    if (s->kind != STEP_GEMM) continue;
    json_array_append_new(gemms, json_pack("{s:s, s:s, s:f, s:s, s:s, s:s}", "value", step_name(fn, s), "shape",
                                           gemm_shape_text(c->arena, &s->geom), "flop", step_flops(s, fn->max_rows), "kernel",
                                           s->impl == GEMM_BLAS ? "blas" : "emitted", "reason", s->reason ? s->reason : "",
                                           "at", place(c, s->span)));
  }
  return json_pack("{s:s, s:i, s:I, s:I, s:I, s:I, s:f, s:o}", "name", name, "steps", (int)fn->n_steps, "rows",
                   (json_int_t)fn->max_rows, "work_bytes", (json_int_t)plan_work_bytes(fn),
                   "work_bytes_without_reuse", (json_int_t)(fn->work_unshared + plan_scratch_bytes(fn)), "thread_bytes",
                   (json_int_t)fn->own_bytes, "flop", flops, "gemms", gemms);
}

void driver_report_json(const Compilation *c, const RtMemory *m, FILE *f) {
  const Program *p = c->program;
  json_t *functions = json_array();
  if (c->plan->train.graph) json_array_append_new(functions, json_function(c, &c->plan->train, "train"));
  for (uint32_t i = 0; i < p->n_evals; i++)
    json_array_append_new(functions, json_function(c, &c->plan->evals[i], p->evals[i].name));
  for (uint32_t i = 0; i < p->n_derived; i++)
    json_array_append_new(functions, json_function(c, &c->plan->derived[i], p->derived[i].name));
  json_t *settings = json_object();
  for (uint32_t i = 0; i < p->n_settings; i++)
    json_object_set_new(settings, p->settings[i].name, json_string(p->settings[i].value));
  json_t *diags = c->json_text ? json_loads(c->json_text, 0, NULL) : NULL;
  json_t *root = json_pack("{s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:o, s:o}", "title", p->title, "target", c->plan->target.cpu,
                           "diagnostics", diags ? diags : json_array(), "params", settings, "parameters", json_params(p), "routes", json_routes(c), "masked_work", driver_groups_json(c), "branches",
                           driver_packing_json(c), "store_bytes",
                           (json_int_t)c->plan->store_bytes, "functions", functions, "memory", driver_memory_json(m));
  json_dumpf(root, f, JSON_INDENT(2));
  fputc('\n', f);
  json_decref(root);
}
