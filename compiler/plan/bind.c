/* SPDX-License-Identifier: Apache-2.0
 * bind.c -- program and plan as a Job: constant data and nothing else. Texts are shared with the program. */
#include <xxhash.h>
#include "compiler.h"
#include "plan_work.h"
#include "route_plugin.h"
#include <stdlib.h>
#include <string.h>

#ifndef ROUTEC_VERSION
#define ROUTEC_VERSION "0"
#endif

_Static_assert(IR_MAX_RANK == JOB_MAX_RANK, "ranks differ");
_Static_assert(sizeof(((JobParam *)0)->state_offset) == sizeof(((ParamPlace *)0)->state_offset),
               "states differ");
_Static_assert((int)DT_F32 == (int)JOB_F32 && (int)DT_BOOL == (int)JOB_BOOL, "dtypes differ");
_Static_assert((int)DRAW_CHECK == (int)JOB_DRAW_CHECK, "draws differ");
_Static_assert((int)BATCH_HOMOGENEOUS == (int)JOB_BATCH_HOMOGENEOUS && (int)BATCH_BLOCKS == (int)JOB_ORDER_BLOCKS,
               "ways to make batches differ");
_Static_assert((int)CALL_SCHEDULE == (int)JOB_SCHEDULE, "abilities differ");
_Static_assert((int)EX_NOT == (int)JX_NOT && (int)EX_METRIC == (int)JX_METRIC, "expect operations differ");
_Static_assert((int)UNIT_SECONDS == (int)JOB_SECONDS && (int)INIT_NORMAL == (int)JOB_INIT_NORMAL,
               "enumerations differ");

typedef struct Bind {
  Arena *a;
  const Plan *plan;
  const Program *p;
} Bind;

JobSpan bind_span(const Program *p, Span s) {
  const Sources *src = p->sources;
  if (!src || !s.file || s.file >= src->n || !src->files[s.file]) return (JobSpan){NULL, 0, 0};
  LineCol at = source_line_col(src->files[s.file], s.start);
  return (JobSpan){src->files[s.file]->path, at.line, at.col};
}

static JobSpan job_span(const Bind *b, Span s) { return bind_span(b->p, s); }

static JobAmount job_amount(Amount x) { return (JobAmount){x.n, (JobUnit)x.unit}; }

static void copy_shape(const Shape *s, int skip, int32_t *rank, int64_t *dims) {
  *rank = s->rank - skip;
  for (int i = skip; i < s->rank; i++) dims[i - skip] = s->d[i];
}

static JobOutput job_output(const PlanFn *f, uint32_t root, const char *name) {
  const Buffer *b = &f->buffers[f->root_buffer[root]];
  JobOutput o = {.name = name, .offset = b->offset, .dtype = (JobDtype)b->dtype};
  copy_shape(&b->shape, 0, &o.rank, o.dims);
  memcpy(o.strides, b->strides, sizeof o.strides);
  return o;
}

/* What to look at after a step when a value that is not finite is searched. */
static JobProbe job_probe(const Bind *b, const PlanFn *f, const Step *s) {
  JobProbe p = {.name = "", .space = -1};
  if (!s->n_outs) return p;
  const Buffer *x = &f->buffers[s->outs[0].buffer];
  const Value *v = &f->graph->v[s->outs[0].value];
  for (uint32_t i = 1; !v->name && i < s->n_outs; i++) v = &f->graph->v[s->outs[i].value];
  p.name = v->name ? v->name : op_name(f->graph->v[s->outs[0].value].op);
  p.offset = x->offset + (x->space == SPACE_OWN ? plan_own_at(f) : 0), p.dtype = (JobDtype)x->dtype;
  p.space = x->space == SPACE_STORE ? 1 : 0;
  copy_shape(&x->shape, 0, &p.rank, p.dims);
  memcpy(p.strides, x->strides, sizeof p.strides);
  p.span = job_span(b, s->span);
  return p;
}

static JobFunction job_function(const Bind *b, const PlanFn *f) {
  JobFunction j = {
      .symbol = f->symbol, .work_bytes = plan_work_bytes(f), .own_at = plan_own_at(f), .own_bytes = f->own_bytes, .max_rows = f->max_rows, .n_probes = f->n_steps};
  JobProbe *probes = ARENA_NEWS(b->a, JobProbe, f->n_steps);
  for (uint32_t i = 0; i < f->n_steps; i++) {
    probes[i] = job_probe(b, f, &f->steps[i]);
    j.blas = j.blas || (f->steps[i].kind == STEP_GEMM && f->steps[i].impl == GEMM_BLAS);
  }
  j.probes = probes;
  return j;
}

static void bind_settings(const Bind *b, Job *j) {
  const Program *p = b->p;
  JobSetting *s = ARENA_NEWS(b->a, JobSetting, p->n_settings);
  j->scalars = ARENA_NEWS(b->a, JobScalar, p->n_scalars);
  for (uint32_t i = 0; i < p->n_scalars; i++) {
    const ProgScalar *x = &p->scalars[i];
    j->scalars[i] = (JobScalar){x->name, x->value, x->lo, x->hi, x->is_int};
  }
  for (uint32_t i = 0; i < p->n_settings; i++) {
    const ProgSetting *x = &p->settings[i];
    s[i] = (JobSetting){x->name, x->value, x->doc, x->structural, -1};
    for (uint32_t k = 0; k < p->n_scalars; k++)
      if (!x->structural && strcmp(p->scalars[k].name, x->name) == 0) s[i].scalar = (int32_t)k;
  }
  j->settings = s, j->n_settings = p->n_settings, j->n_scalars = p->n_scalars;
}

static void bind_data(const Bind *b, Job *j) {
  const Program *p = b->p;
  JobSource *s = ARENA_NEWS(b->a, JobSource, p->n_data);
  JobColumn *c = ARENA_NEWS(b->a, JobColumn, p->n_columns);
  for (uint32_t i = 0; i < p->n_data; i++) {
    const ProgSource *x = &p->data[i];
    JobSourceArg *args = ARENA_NEWS(b->a, JobSourceArg, x->n_args);
    for (uint32_t k = 0; k < x->n_args; k++)
      args[k] = (JobSourceArg){x->args[k].key, x->args[k].text, x->args[k].num, x->args[k].num2};
    s[i] = (JobSource){x->name, x->reader, args, x->n_args, job_span(b, x->span)};
  }
  for (uint32_t i = 0; i < p->n_columns; i++) {
    const ProgColumn *x = &p->columns[i];
    c[i] = (JobColumn){.source = x->source,
                       .name = x->name,
                       .dtype = (JobDtype)x->dtype,
                       .has_range = x->has_range,
                       .lo = x->lo,
                       .hi = x->hi,
                       .span = job_span(b, x->span),
                       .derived = x->derived};
    copy_shape(&x->shape, 1, &c[i].rank, c[i].dims);
  }
  j->sources = s, j->n_sources = p->n_data;
  j->columns = c, j->n_columns = p->n_columns;
}

static JobShare job_share(ProgShare s) { return (JobShare){s.value, s.scalar}; }

static void bind_derived(const Bind *b, Job *j) {
  const Program *p = b->p;
  JobClass *c = ARENA_NEWS(b->a, JobClass, p->n_classes);
  j->derived = ARENA_NEWS(b->a, JobDerived, p->n_derived), j->n_derived = p->n_derived;
  for (uint32_t i = 0; i < p->n_derived; i++) {
    const ProgDerived *x = &p->derived[i];
    const PlanFn *f = &b->plan->derived[i];
    j->derived[i] = (JobDerived){.name = x->name,
                                 .source = x->source,
                                 .column = x->column,
                                 .draw = (JobDraw)x->draw,
                                 .recall = job_share(x->recall),
                                 .precision = job_share(x->precision),
                                 .false_positives = job_share(x->false_positives),
                                 .no = job_share(x->no),
                                 .has_seed = x->has_seed,
                                 .seed = x->seed,
                                 .out = job_output(f, 0, x->name),
                                 .fn = job_function(b, f),
                                 .span = job_span(b, x->span)};
  }
  for (uint32_t i = 0; i < p->n_classes; i++) c[i] = (JobClass){p->classes[i].name, p->classes[i].cond, p->classes[i].of};
  j->classes = c, j->n_classes = p->n_classes;
  j->kinds = p->kind_column ? 1 + p->derived[p->kind_column - 1].column : 0;
}

static void bind_params(const Bind *b, Job *j) {
  const Program *p = b->p;
  JobParam *q = ARENA_NEWS(b->a, JobParam, p->n_params);
  for (uint32_t i = 0; i < p->n_params; i++) {
    const ProgParam *x = &p->params[i];
    const ParamPlace *place = &b->plan->params[i];
    q[i] = (JobParam){.path = x->path,
                      .floats = place->floats,
                      .offset = place->offset,
                      .n_states = x->n_states,
                      .init = (JobInit)x->init,
                      .a = x->a,
                      .b = x->b,
                      .stream = x->stream,
                      .trainable = x->trainable,
                      .span = job_span(b, x->span)};
    copy_shape(&x->shape, 0, &q[i].rank, q[i].dims);
    memcpy(q[i].strides, place->strides, sizeof q[i].strides);
    memcpy(q[i].state_offset, place->state_offset, sizeof q[i].state_offset);
  }
  j->params = q, j->n_params = p->n_params, j->store_bytes = b->plan->store_bytes;
}

static JobGroups job_groups(const Program *p) {
  const ProgGroups *g = &p->groups;
  if (!g->n_sets) return (JobGroups){0};
  return (JobGroups){.column = p->derived[g->column].column,
                     .n_kinds = p->n_kinds,
                     .kinds = p->kinds,
                     .group_of_kind = g->group_of_kind,
                     .n_groups = g->n_groups,
                     .n_sets = g->n_sets,
                     .lo = g->lo,
                     .hi = g->hi};
}

/* 1 + column of a derived column given as 1 + its number. */
static uint32_t job_derived_column(const Program *p, uint32_t derived) { return derived ? 1 + p->derived[derived - 1].column : 0; }

static void bind_train(const Bind *b, Job *j) {
  const Program *p = b->p;
  const ProgTrain *t = &p->train;
  JobOrigin *o = ARENA_NEWS(b->a, JobOrigin, p->n_origins);
  for (uint32_t i = 0; i < p->n_origins; i++)
    o[i] = (JobOrigin){p->origins[i].name, p->origins[i].regularizer, job_span(b, p->origins[i].span)};
  j->origins = o, j->n_origins = p->n_origins;
  j->train = (JobTrain){.present = t->present,
                        .groups = job_groups(p),
                        .source = t->source,
                        .batch = t->batch,
                        .filter = job_derived_column(p, t->filter),
                        .by = job_derived_column(p, t->batches.by),
                        .batches = (JobBatches)t->batches.kind,
                        .order = (JobBatchOrder)t->batches.order,
                        .n_classes = t->batches.n_names,
                        .class_names = t->batches.names,
                        .share = t->batches.share,
                        .length = job_amount(t->length),
                        .checkpoint_every = job_amount(t->checkpoint_every),
                        .log_every = job_amount(t->log_every),
                        .evaluate_every = job_amount(t->evaluate_every),
                        .checkpoint_keep = t->checkpoint_keep,
                        .shuffle = t->shuffle,
                        .drop_last = t->drop_last};
  const PlanFn *fn = &b->plan->train;
  if (fn->graph) j->train.fn = job_function(b, fn);
}

static void bind_gradient(const Bind *b, Job *j) {
  const PlanFn *fn = &b->plan->gradient;
  if (!fn->graph) return;
  JobOutput *grads = ARENA_NEWS(b->a, JobOutput, b->p->n_params);
  for (uint32_t i = 0; i < fn->graph->n_roots; i++) {
    const uint32_t param = fn->graph->roots[i].a;
    grads[param] = job_output(fn, i, b->p->params[param].path);
  }
  j->gradient = (JobGradient){.fn = job_function(b, fn), .grads = grads};
}

static JobRegion bind_region(const Bind *b, const ProgRegion *r) {
  JobPiece *pieces = ARENA_NEWS(b->a, JobPiece, r->n_pieces);
  for (uint32_t i = 0; i < r->n_pieces; i++)
    pieces[i] = (JobPiece){r->pieces[i].param, r->pieces[i].axis, r->pieces[i].index, r->pieces[i].n};
  return (JobRegion){r->name, pieces, r->n_pieces};
}

/* Where the specification names no region. */
static JobRegion whole_model(const Bind *b) {
  JobPiece *pieces = ARENA_NEWS(b->a, JobPiece, b->p->n_params);
  for (uint32_t i = 0; i < b->p->n_params; i++) pieces[i] = (JobPiece){i, -1, NULL, 0};
  return (JobRegion){"all parameters", pieces, b->p->n_params};
}

/* Regions keep their numbers, so that monitor, proof and job speak of the same. */
static void bind_moves(const Bind *b, Job *j) {
  const Program *p = b->p;
  JobRegion *regions = ARENA_NEWS(b->a, JobRegion, p->n_regions + 1);
  for (uint32_t i = 0; i < p->n_regions; i++) regions[i] = bind_region(b, &p->regions[i]);
  if (!p->n_regions) regions[0] = whole_model(b);
  const ProgDataClass *c = p->data_classes;
  j->n_data_classes = p->n_data_classes;
  JobDataClass *classes = ARENA_NEWS(b->a, JobDataClass, j->n_data_classes + 1);
  for (uint32_t i = 0; i < j->n_data_classes; i++)
    classes[i] = (JobDataClass){c[i].name, c[i].conds, c[i].none, c[i].by_datum, program_kinds_of(p, &c[i])};
  j->regions = regions, j->n_regions = p->n_regions ? p->n_regions : 1, j->data_classes = classes;
  const ProgMonitor *m = &p->monitor;
  static const uint32_t whole = 0;
  j->monitor = (JobMonitor){m->present, job_amount(m->every), m->regions, m->n_regions, m->classes, m->n_classes};
  if (!m->n_regions) j->monitor.regions = &whole, j->monitor.n_regions = 1;
}

static JobEval bind_eval(const Bind *b, const ProgEval *x, const PlanFn *f) {
  JobOutput *metrics = ARENA_NEWS(b->a, JobOutput, x->n_metrics);
  JobPicture *pictures = ARENA_NEWS(b->a, JobPicture, x->n_pictures);
  JobEval e = {.name = x->name,
               .source = x->source,
               .part = x->part,
               .filter = job_derived_column(b->p, x->filter),
               .batch = f->max_rows,
               .key_name = x->key_name,
               .key_lo = x->key_lo,
               .key_hi = x->key_hi,
               .key_names = x->key_names,
               .n_metrics = x->n_metrics,
               .n_pictures = x->n_pictures,
               .picture_rows = x->picture_rows,
               .fn = job_function(b, f),
               .span = job_span(b, x->span)};
  for (uint32_t i = 0; i < x->n_pictures; i++) {
    const ProgPicture *q = &x->pictures[i];
    pictures[i] =
        (JobPicture){.name = q->name, .height = q->height, .width = q->width, .lo = q->lo, .hi = q->hi};
  }
  for (uint32_t i = 0; i < f->graph->n_roots; i++) {
    const Root *r = &f->graph->roots[i];
    if (r->kind == ROOT_METRIC) metrics[r->a] = job_output(f, i, x->metrics[r->a].name);
    if (r->kind == ROOT_KEY) e.key = job_output(f, i, x->key_name);
    if (r->kind == ROOT_PICTURE) pictures[r->a].out = job_output(f, i, x->pictures[r->a].name);
  }
  e.metrics = metrics, e.pictures = pictures;
  return e;
}

static void bind_claims(const Bind *b, Job *j) {
  const Program *p = b->p;
  JobExpect *e = ARENA_NEWS(b->a, JobExpect, p->n_expects);
  JobSweep *s = ARENA_NEWS(b->a, JobSweep, p->n_sweeps);
  for (uint32_t i = 0; i < p->n_expects; i++) {
    const ProgExpect *x = &p->expects[i];
    JobExpectInsn *code = ARENA_NEWS(b->a, JobExpectInsn, x->n);
    for (uint32_t k = 0; k < x->n; k++)
      code[k] = (JobExpectInsn){(JobExpectOp)x->code[k].op, x->code[k].num,  x->code[k].eval,
                                x->code[k].metric,          x->code[k].keys, x->code[k].n_keys};
    e[i] = (JobExpect){x->text, code, x->n, job_span(b, x->span)};
  }
  for (uint32_t i = 0; i < p->n_sweeps; i++)
    s[i] = (JobSweep){p->sweeps[i].name, p->sweeps[i].param, (const char *const *)p->sweeps[i].values,
                      p->sweeps[i].n};
  j->expects = e, j->n_expects = p->n_expects;
  j->sweeps = s, j->n_sweeps = p->n_sweeps;
}

/* ---- calls of plugins ---- */
static void bind_plugins(const Bind *b, Job *j) {
  const Program *p = b->p;
  JobCall *c = ARENA_NEWS(b->a, JobCall, p->n_calls);
  j->plugins = ARENA_NEWS(b->a, JobPlugin, p->n_plugins), j->n_plugins = p->n_plugins;
  for (uint32_t i = 0; i < p->n_plugins; i++) {
    const ProgPlugin *x = &p->plugins[i];
    j->plugins[i] = (JobPlugin){x->name, x->version, x->path, x->sha256, x->code, NULL, job_span(b, x->span)};
  }
  for (uint32_t i = 0; i < p->n_calls; i++) {
    const ProgCall *x = &p->calls[i];
    JobShare *params = ARENA_NEWS(b->a, JobShare, x->n_params);
    for (uint32_t k = 0; k < x->n_params; k++) params[k] = job_share(x->params[k]);
    c[i] = (JobCall){x->plugin, x->op->name, (JobAbility)x->ability, params, x->n_params, x->stream, job_span(b, x->span)};
  }
  j->calls = c, j->n_calls = p->n_calls;
  j->call_steps = ARENA_NEWS(b->a, JobCallStep, b->plan->n_call_steps), j->n_call_steps = b->plan->n_call_steps;
}

static int64_t ld_of(const Bind *b, const View *v, int lead) {
  int64_t ld;
  if (plan_call_rows(v, lead, &ld)) return ld;
  fprintf(stderr, "routec: internal error: %s: rows of a call's argument do not collapse\n", b->p->title ? b->p->title : "?");
  abort();
}

static int64_t out_ld(const Bind *b, const PlanFn *f, BufferId id, int lead) {
  const Buffer *x = &f->buffers[id];
  View v = {.shape = x->shape};
  memcpy(v.strides, x->strides, sizeof v.strides);
  return ld_of(b, &v, lead);
}

static uint32_t step_of_value(const PlanFn *f, ValueId v) {
  for (uint32_t i = 0; i < f->n_steps; i++)
    if (f->steps[i].kind == STEP_CALL && f->steps[i].outs[0].value == v) return f->steps[i].call_step;
  fprintf(stderr, "routec: internal error: %s: %%%u is the value of no call\n", f->symbol, v);
  abort();
}

/* In rows and columns of the plugin's view. */
static void cut_tiles(const Value *x, JobCallStep *c) {
  const int lead = ir_call_lead(x);
  const TileCut cut = plan_tile_cut(x);
  const bool units = cut.axis == lead && lead < x->shape.rank;
  c->tile_cols = units ? cut.chunk : c->inputs[0].cols, c->tile_rows = units ? 1 : cut.chunk;
  c->tile_period = units ? 1 : dim_is_rows(x->shape.rank ? x->shape.d[cut.axis] : 1) ? 0 : x->shape.rank ? x->shape.d[cut.axis] : 1;
  for (int i = cut.axis + 1; i < lead; i++) c->tile_rows *= x->shape.d[i], c->tile_period *= x->shape.d[i];
}

static JobCallStep call_step(const Bind *b, const PlanFn *f, const Step *s) {
  const Graph *g = f->graph;
  const Value *v = &g->v[s->outs[0].value];
  const bool gradient = ir_call_is_gradient(v), gate = v->ints[2] == CALL_GATE, schedule = v->ints[2] == CALL_SCHEDULE;
  const uint32_t n = schedule ? v->n_args : ir_call_inputs(g, v);
  JobCallInput *in = ARENA_NEWS(b->a, JobCallInput, n);
  JobCallStep c = {.call = (uint32_t)v->ints[0], .site = s->call_step, .gradient = gradient, .training = v->ints[3] != 0, .per = 1,
                   .n_inputs = n, .inputs = in, .out_cols = 1};
  for (uint32_t i = 0; i < n; i++) {
    const Value *x = &g->v[v->args[i]];
    const int lead = ir_call_lead(x);
    in[i] = (JobCallInput){.cols = lead < x->shape.rank ? x->shape.d[lead] : 1, .ld = ld_of(b, &s->args[i], lead), .label = x->dtype == DT_I32};
    for (int k = 0; i == 0 && k < lead; k++) {
      if (dim_is_rows(x->shape.d[k])) c.by_datum = true;
      else c.per *= x->shape.d[k];
    }
  }
  c.max_rows = c.by_datum ? c.per * f->max_rows : c.per;
  const Value *y = gradient ? &g->v[v->args[v->n_args - 2]] : v;
  const int lead = y->shape.rank - 1;
  if (gate) c.out_cols = y->shape.d[lead];
  if (gate && gradient) c.value_ld = ld_of(b, &s->args[v->n_args - 2], lead), c.dy_ld = ld_of(b, &s->args[v->n_args - 1], lead);
  if (gate && !gradient) c.value_ld = out_ld(b, f, s->outs[0].buffer, lead);
  for (uint32_t i = 0; gradient && i < s->n_outs; i++) {
    const Value *dx = &g->v[s->outs[i].value];
    in[dx->ints[1] - 1].dx_ld = out_ld(b, f, s->outs[i].buffer, ir_call_lead(&g->v[v->args[dx->ints[1] - 1]]));
  }
  if (gradient && v->ints[2] == CALL_SPAN) cut_tiles(&g->v[v->args[0]], &c);
  if (gradient && v->ints[2] == CALL_REDUCE) c.site = step_of_value(f, v->args[v->n_args - 2]);
  return c;
}

static void bind_call_steps(const Bind *b, const PlanFn *f, Job *j) {
  JobCallStep *to = (JobCallStep *)(uintptr_t)j->call_steps;
  for (uint32_t i = 0; f->graph && i < f->n_steps; i++) {
    const Step *s = &f->steps[i];
    if (s->kind == STEP_CALL) to[s->call_step] = call_step(b, f, s);
    for (uint32_t k = 0; k < s->n_calls; k++) to[s->calls[k].call_step] = call_step(b, f, &s->calls[k]);
    if (s->n_calls) to[s->calls[0].call_step].together = s->n_calls;
  }
}

static void bind_calls(const Bind *b, Job *j) {
  bind_plugins(b, j);
  bind_call_steps(b, &b->plan->train, j);
  for (uint32_t i = 0; i < b->p->n_evals; i++) bind_call_steps(b, &b->plan->evals[i], j);
  for (uint32_t i = 0; i < b->p->n_derived; i++) bind_call_steps(b, &b->plan->derived[i], j);
  bind_call_steps(b, &b->plan->gradient, j);
}

/* Of all that a run depends on beside its data: the texts, and the plugins' files. */
static uint64_t sources_hash(const Program *p) {
  const Sources *s = p->sources;
  uint64_t hash = 0;
  for (uint32_t i = 1; s && i < s->n; i++) hash = XXH64(s->files[i]->text, s->files[i]->len, hash);
  for (uint32_t i = 0; i < p->n_plugins; i++)
    if (p->plugins[i].sha256) hash = XXH64(p->plugins[i].sha256, strlen(p->plugins[i].sha256), hash);
  return hash;
}

Job *plan_bind(Arena *a, const Plan *plan) {
  const Program *p = plan->program;
  Bind b = {a, plan, p};
  Job *j = ARENA_NEW(a, Job);
  const SourceFile *spec = p->sources && p->sources->n > 1 ? p->sources->files[1] : NULL;
  *j = (Job){.abi = JOB_ABI,
             .title = p->title ? p->title : "",
             .spec_path = spec ? spec->path : "",
             .spec_text = spec ? spec->text : "",
             .compiler = "routec " ROUTEC_VERSION,
             .target_cpu = plan->target.cpu,
             .target_features = plan->target.features,
             .sources_hash = sources_hash(p),
             .seed = p->seed,
             .plan_hash = plan->hash,
             .choices = plan->choices};
  bind_settings(&b, j);
  bind_data(&b, j);
  bind_derived(&b, j);
  bind_params(&b, j);
  bind_train(&b, j);
  bind_gradient(&b, j);
  bind_moves(&b, j);
  j->n_evals = p->n_evals;
  j->evals = ARENA_NEWS(a, JobEval, p->n_evals);
  for (uint32_t i = 0; i < p->n_evals; i++) j->evals[i] = bind_eval(&b, &p->evals[i], &plan->evals[i]);
  bind_claims(&b, j);
  bind_calls(&b, j);
  return j;
}
