/* SPDX-License-Identifier: Apache-2.0
 * driver_job_c.c -- prints a Job as a C translation unit: what it points to first, as named static arrays, then the
 * job, then a main(). Floats are hexadecimal, so the trainer's constants are the compiler's, bit for bit. Field names
 * are written out: a change of job.h that this printer missed leaves a zero that the build tests see. */
#include "driver.h"
#include "fault.h"
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void print_string(FILE *f, const char *s) {
  if (!s) {
    fputs("0", f);
    return;
  }
  fputc('"', f);
  for (; *s; s++) {
    const unsigned char ch = (unsigned char)*s;
    if (ch == '\n') fputs(s[1] ? "\\n\"\n  \"" : "\\n", f);
    else if (ch < 32 || ch > 126 || ch == '"' || ch == '\\' || ch == '?') fprintf(f, "\\%03o", ch);
    else fputc(ch, f);
  }
  fputc('"', f);
}

static void print_double(FILE *f, double v) {
  if (isnan(v)) fputs("__builtin_nan(\"\")", f);
  else if (isinf(v)) fputs(v < 0 ? "-__builtin_inf()" : "__builtin_inf()", f);
  else fprintf(f, fault("short-floats") ? "%.5g" : "%a", v);
}

static void print_string_field(FILE *f, const char *field, const char *s) {
  fprintf(f, ".%s = ", field);
  print_string(f, s);
  fputs(", ", f);
}
static void print_double_field(FILE *f, const char *field, double v) {
  fprintf(f, ".%s = ", field);
  print_double(f, v);
  fputs(", ", f);
}
static void print_int_field(FILE *f, const char *field, int64_t v) {
  if (v == INT64_MIN) fprintf(f, ".%s = INT64_MIN, ", field);
  else fprintf(f, ".%s = INT64_C(%" PRId64 "), ", field, v);
}
static void print_uint_field(FILE *f, const char *field, uint64_t v) {
  fprintf(f, ".%s = UINT64_C(%" PRIu64 "), ", field, v);
}
static void print_dims(FILE *f, const char *field, int32_t rank, const int64_t *d) {
  fprintf(f, ".%s = {", field);
  for (int32_t i = 0; i < rank; i++) fprintf(f, "%s%" PRId64, i ? ", " : "", d[i]);
  fprintf(f, "%s}, ", rank ? "" : "0");
}
/* A trainer runs in any folder, and looks for data beside the file that names them: paths become absolute. */
static void print_path(FILE *f, const char *path) {
  char real[PATH_MAX];
  print_string(f, path && realpath(path, real) ? real : path);
}
static void print_span(FILE *f, JobSpan s) {
  fputs(".span = {", f);
  print_path(f, s.file);
  fprintf(f, ", %u, %u}, ", s.line, s.col);
}

/* `static T name[] = {` ... or, for an empty table, nothing: C has no empty arrays. */
static bool table_begin(FILE *f, const char *type, const char *name, uint32_t n) {
  if (n) fprintf(f, "static %s %s[] = {\n", type, name);
  return n > 0;
}
static void table_end(FILE *f) { fputs("};\n", f); }
static void print_table_field(FILE *f, const char *field, const char *count, const char *table, uint32_t n) {
  if (n) fprintf(f, ".%s = %s, .%s = %u, ", field, table, count, n);
}

static void print_settings(FILE *f, const Job *j) {
  if (table_begin(f, "const JobSetting", "settings", j->n_settings)) {
    for (uint32_t i = 0; i < j->n_settings; i++) {
      const JobSetting *s = &j->settings[i];
      fputs("  {", f);
      print_string_field(f, "name", s->name);
      print_string_field(f, "value", s->value);
      print_string_field(f, "doc", s->doc);
      fprintf(f, ".structural = %d, .scalar = %d},\n", s->structural, s->scalar);
    }
    table_end(f);
  }
  if (table_begin(f, "JobScalar", "scalars", j->n_scalars)) {
    for (uint32_t i = 0; i < j->n_scalars; i++) {
      const JobScalar *s = &j->scalars[i];
      fputs("  {", f);
      print_string_field(f, "name", s->name);
      print_double_field(f, "value", s->value);
      print_double_field(f, "lo", s->lo);
      print_double_field(f, "hi", s->hi);
      fprintf(f, ".is_int = %d},\n", s->is_int);
    }
    table_end(f);
  }
}

static void print_sources(FILE *f, const Job *j) {
  char name[48];
  for (uint32_t i = 0; i < j->n_sources; i++) {
    const JobSource *s = &j->sources[i];
    snprintf(name, sizeof name, "source_args_%u", i);
    if (!table_begin(f, "const JobSourceArg", name, s->n_args)) continue;
    for (uint32_t k = 0; k < s->n_args; k++) {
      fputs("  {", f);
      print_string_field(f, "key", s->args[k].key);
      print_string_field(f, "text", s->args[k].text);
      print_double_field(f, "num", s->args[k].num);
      print_double_field(f, "num2", s->args[k].num2);
      fputs("},\n", f);
    }
    table_end(f);
  }
  if (!table_begin(f, "const JobSource", "sources", j->n_sources)) return;
  for (uint32_t i = 0; i < j->n_sources; i++) {
    const JobSource *s = &j->sources[i];
    snprintf(name, sizeof name, "source_args_%u", i);
    fputs("  {", f);
    print_string_field(f, "name", s->name);
    print_string_field(f, "reader", s->reader);
    print_table_field(f, "args", "n_args", name, s->n_args);
    print_span(f, s->span);
    fputs("},\n", f);
  }
  table_end(f);
}

static void print_columns(FILE *f, const Job *j) {
  if (!table_begin(f, "const JobColumn", "columns", j->n_columns)) return;
  for (uint32_t i = 0; i < j->n_columns; i++) {
    const JobColumn *c = &j->columns[i];
    fprintf(f, "  {.source = %u, ", c->source);
    print_string_field(f, "name", c->name);
    fprintf(f, ".dtype = %d, .rank = %d, ", (int)c->dtype, c->rank);
    print_dims(f, "dims", c->rank, c->dims);
    fprintf(f, ".has_range = %d, ", c->has_range);
    print_double_field(f, "lo", c->lo);
    print_double_field(f, "hi", c->hi);
    print_span(f, c->span);
    fprintf(f, ".derived = %u},\n", c->derived);
  }
  table_end(f);
}

static void print_params(FILE *f, const Job *j) {
  if (!table_begin(f, "const JobParam", "params", j->n_params)) return;
  for (uint32_t i = 0; i < j->n_params; i++) {
    const JobParam *p = &j->params[i];
    fputs("  {", f);
    print_string_field(f, "path", p->path);
    fprintf(f, ".rank = %d, ", p->rank);
    print_dims(f, "dims", p->rank, p->dims);
    print_dims(f, "strides", p->rank, p->strides);
    print_int_field(f, "floats", p->floats);
    print_int_field(f, "offset", p->offset);
    fprintf(f, ".n_states = %u, ", p->n_states);
    print_dims(f, "state_offset", (int32_t)(sizeof p->state_offset / sizeof *p->state_offset), p->state_offset);
    fprintf(f, ".init = (JobInit)%d, ", (int)p->init);
    print_double_field(f, "a", p->a);
    print_double_field(f, "b", p->b);
    print_uint_field(f, "stream", p->stream);
    fprintf(f, ".trainable = %d, ", p->trainable);
    print_span(f, p->span);
    fputs("},\n", f);
  }
  table_end(f);
}

static void print_origins(FILE *f, const Job *j) {
  if (!table_begin(f, "const JobOrigin", "origins", j->n_origins)) return;
  for (uint32_t i = 0; i < j->n_origins; i++) {
    fputs("  {", f);
    print_string_field(f, "name", j->origins[i].name);
    fprintf(f, ".regularizer = %d, ", j->origins[i].regularizer);
    print_span(f, j->origins[i].span);
    fputs("},\n", f);
  }
  table_end(f);
}

static void print_output(FILE *f, const JobOutput *o) {
  fputs("{", f);
  print_string_field(f, "name", o->name);
  print_int_field(f, "offset", o->offset);
  fprintf(f, ".rank = %d, ", o->rank);
  print_dims(f, "dims", o->rank, o->dims);
  print_dims(f, "strides", o->rank, o->strides);
  fprintf(f, ".dtype = (JobDtype)%d}", (int)o->dtype);
}

static void print_probes(FILE *f, const char *prefix, const JobFunction *fn) {
  char name[64];
  snprintf(name, sizeof name, "%.48s_probes", prefix);
  if (!table_begin(f, "const JobProbe", name, fn->n_probes)) return;
  for (uint32_t i = 0; i < fn->n_probes; i++) {
    const JobProbe *p = &fn->probes[i];
    fputs("  {", f);
    print_string_field(f, "name", p->name);
    print_int_field(f, "offset", p->offset);
    fprintf(f, ".rank = %d, ", p->rank);
    print_dims(f, "dims", p->rank, p->dims);
    print_dims(f, "strides", p->rank, p->strides);
    fprintf(f, ".dtype = (JobDtype)%d, .space = %d, ", (int)p->dtype, p->space);
    print_span(f, p->span);
    fputs("},\n", f);
  }
  table_end(f);
}

/* What a profile counts by: of code that was compiled for one. */
static void print_steps(FILE *f, const char *prefix, const JobFunction *fn) {
  uint32_t n = 0, n_share = 1;
  for (uint32_t i = 0; i < fn->n_probes; i++) n += fn->steps[i].n_costs;
  if (n) fprintf(f, "static const JobCost %s_costs[] = {\n", prefix);
  for (uint32_t i = 0; i < fn->n_probes; i++)
    for (uint32_t k = 0; k < fn->steps[i].n_costs; k++) {
      const JobCost *c = &fn->steps[i].costs[k];
      fputs("  {", f);
      print_double_field(f, "flops", c->flops), print_double_field(f, "products", c->products), print_double_field(f, "bytes", c->bytes);
      fprintf(f, ".n = %u, .sets = {", c->n);
      for (uint32_t s = 0; s < c->n; s++) {
        fprintf(f, "%u, ", c->sets[s]);
        if (c->sets[s] >= n_share) n_share = c->sets[s] + 1u; /* nobody asks for others */
      }
      fputs("0}},\n", f);
    }
  if (n) table_end(f);
  fprintf(f, "static const JobStep %s_steps[] = {\n", prefix);
  for (uint32_t i = 0, at = 0; i < fn->n_probes; at += fn->steps[i++].n_costs) {
    const JobStep *s = &fn->steps[i];
    fputs("  {", f);
    print_string_field(f, "what", s->what);
    print_string_field(f, "kernel", s->kernel);
    fprintf(f, ".phase = (JobPhase)%d, ", (int)s->phase);
    if (s->n_costs) fprintf(f, ".costs = %s_costs + %u, .n_costs = %u, ", prefix, at, s->n_costs);
    print_span(f, s->span);
    fputs("},\n", f);
  }
  table_end(f);
  if (!fn->set_share) return;
  fprintf(f, "static const double %s_share[] = {", prefix);
  for (uint32_t i = 0; i < n_share; i++) print_double(f, fn->set_share[i]), fputs(", ", f);
  table_end(f);
}

/* The tables that print_function() names by the prefix: they must stand before it. */
static void print_function_tables(FILE *f, const char *prefix, const JobFunction *fn) {
  print_probes(f, prefix, fn);
  if (fn->steps && fn->n_probes) print_steps(f, prefix, fn);
}

static void print_function(FILE *f, const char *prefix, const JobFunction *fn) {
  char name[64];
  snprintf(name, sizeof name, "%.48s_probes", prefix);
  fputs(".fn = {", f);
  print_string_field(f, "symbol", fn->symbol);
  if (fn->symbol) fprintf(f, ".entry = %s, ", fn->symbol);
  print_int_field(f, "work_bytes", fn->work_bytes);
  if (fn->own_bytes) print_int_field(f, "own_at", fn->own_at), print_int_field(f, "own_bytes", fn->own_bytes);
  print_int_field(f, "max_rows", fn->max_rows);
  fprintf(f, ".blas = %d, ", fn->blas);
  print_table_field(f, "probes", "n_probes", name, fn->n_probes);
  if (fn->steps && fn->n_probes) {
    fprintf(f, ".steps = %s_steps, .n_sets = %u, ", prefix, fn->n_sets);
    print_uint_field(f, "packed", fn->packed), print_int_field(f, "counts_at", fn->counts_at);
    if (fn->set_share) fprintf(f, ".set_share = %s_share, ", prefix);
    print_double_field(f, "products", fn->products);
  }
  fputs("}, ", f);
}

static void print_eval_tables(FILE *f, uint32_t i, const JobEval *e) {
  char name[64];
  snprintf(name, sizeof name, "eval_%u_keys", i);
  if (e->key_names && table_begin(f, "const char *const", name, (uint32_t)(e->key_hi - e->key_lo + 1))) {
    for (int64_t k = 0; k <= e->key_hi - e->key_lo; k++) fputs("  ", f), print_string(f, e->key_names[k]), fputs(",\n", f);
    table_end(f);
  }
  snprintf(name, sizeof name, "eval_%u_metrics", i);
  if (table_begin(f, "const JobOutput", name, e->n_metrics)) {
    for (uint32_t k = 0; k < e->n_metrics; k++) {
      fputs("  ", f);
      print_output(f, &e->metrics[k]);
      fputs(",\n", f);
    }
    table_end(f);
  }
  snprintf(name, sizeof name, "eval_%u_pictures", i);
  if (table_begin(f, "const JobPicture", name, e->n_pictures)) {
    for (uint32_t k = 0; k < e->n_pictures; k++) {
      const JobPicture *p = &e->pictures[k];
      fputs("  {", f);
      print_string_field(f, "name", p->name);
      print_int_field(f, "height", p->height);
      print_int_field(f, "width", p->width);
      print_double_field(f, "lo", p->lo);
      print_double_field(f, "hi", p->hi);
      fputs(".out = ", f);
      print_output(f, &p->out);
      fputs("},\n", f);
    }
    table_end(f);
  }
  snprintf(name, sizeof name, "eval_%u", i);
  print_function_tables(f, name, &e->fn);
}

static void print_share(FILE *f, const char *field, JobShare s) {
  fprintf(f, ".%s = {", field);
  print_double(f, s.value);
  fprintf(f, ", %d}, ", s.scalar);
}

static void print_derived(FILE *f, const Job *j) {
  char name[64];
  for (uint32_t i = 0; i < j->n_derived; i++) {
    snprintf(name, sizeof name, "derived_%u", i);
    print_function_tables(f, name, &j->derived[i].fn);
  }
  if (table_begin(f, "JobDerived", "derived", j->n_derived)) {
    for (uint32_t i = 0; i < j->n_derived; i++) {
      const JobDerived *d = &j->derived[i];
      fputs("  {", f);
      print_string_field(f, "name", d->name);
      fprintf(f, ".source = %u, .column = %u, .draw = (JobDraw)%d, ", d->source, d->column, (int)d->draw);
      print_share(f, "recall", d->recall), print_share(f, "precision", d->precision);
      print_share(f, "false_positives", d->false_positives), print_share(f, "no", d->no);
      fprintf(f, ".has_seed = %d, ", d->has_seed);
      print_uint_field(f, "seed", d->seed);
      fputs(".out = ", f);
      print_output(f, &d->out);
      fputs(", ", f);
      snprintf(name, sizeof name, "derived_%u", i);
      print_function(f, name, &d->fn);
      print_span(f, d->span);
      fputs("},\n", f);
    }
    table_end(f);
  }
  if (!table_begin(f, "const JobClass", "classes", j->n_classes)) return;
  for (uint32_t i = 0; i < j->n_classes; i++) {
    fputs("  {", f);
    print_string_field(f, "name", j->classes[i].name);
    fprintf(f, ".cond = %u, .of = %d},\n", j->classes[i].cond, j->classes[i].of);
  }
  table_end(f);
}

static void print_evals(FILE *f, const Job *j) {
  char name[64];
  for (uint32_t i = 0; i < j->n_evals; i++) print_eval_tables(f, i, &j->evals[i]);
  if (!table_begin(f, "JobEval", "evals", j->n_evals)) return;
  for (uint32_t i = 0; i < j->n_evals; i++) {
    const JobEval *e = &j->evals[i];
    fputs("  {", f);
    print_string_field(f, "name", e->name);
    fprintf(f, ".source = %u, ", e->source);
    print_string_field(f, "part", e->part);
    print_int_field(f, "batch", e->batch);
    fprintf(f, ".filter = %u, ", e->filter);
    print_string_field(f, "key_name", e->key_name);
    print_int_field(f, "key_lo", e->key_lo);
    print_int_field(f, "key_hi", e->key_hi);
    if (e->key_names) fprintf(f, ".key_names = eval_%u_keys, ", i);
    fputs(".key = ", f);
    print_output(f, &e->key);
    fputs(", ", f);
    snprintf(name, sizeof name, "eval_%u_metrics", i);
    print_table_field(f, "metrics", "n_metrics", name, e->n_metrics);
    snprintf(name, sizeof name, "eval_%u_pictures", i);
    print_table_field(f, "pictures", "n_pictures", name, e->n_pictures);
    print_int_field(f, "picture_rows", e->picture_rows);
    snprintf(name, sizeof name, "eval_%u", i);
    print_function(f, name, &e->fn);
    print_span(f, e->span);
    fputs("},\n", f);
  }
  table_end(f);
}

static void print_gradient_tables(FILE *f, const Job *j) {
  if (!j->gradient.fn.symbol) return;
  print_function_tables(f, "gradient", &j->gradient.fn);
  if (!table_begin(f, "const JobOutput", "gradient_grads", j->n_params)) return;
  for (uint32_t i = 0; i < j->n_params; i++) {
    fputs("  ", f);
    print_output(f, &j->gradient.grads[i]);
    fputs(",\n", f);
  }
  table_end(f);
}

/* ---- regions, classes, what monitors and audits know of them ---- */
static void print_indices(FILE *f, const char *name, const int64_t *index, int64_t n) {
  fprintf(f, "static const int64_t %s[] = {", name);
  for (int64_t i = 0; i < n; i++) fprintf(f, "%s%" PRId64 ",", i % 24 ? "" : "\n  ", index[i]);
  fputs("};\n", f);
}

static void print_regions(FILE *f, const Job *j) {
  char name[64];
  for (uint32_t i = 0; i < j->n_regions; i++) {
    const JobRegion *r = &j->regions[i];
    for (uint32_t k = 0; k < r->n_pieces; k++) {
      snprintf(name, sizeof name, "region_%u_index_%u", i, k);
      if (r->pieces[k].n) print_indices(f, name, r->pieces[k].index, r->pieces[k].n);
    }
    snprintf(name, sizeof name, "region_%u", i);
    if (!table_begin(f, "const JobPiece", name, r->n_pieces)) continue;
    for (uint32_t k = 0; k < r->n_pieces; k++) {
      fprintf(f, "  {%u, %d, ", r->pieces[k].param, r->pieces[k].axis);
      if (r->pieces[k].n) fprintf(f, "region_%u_index_%u", i, k);
      else fputs("0", f);
      fprintf(f, ", %" PRId64 "},\n", r->pieces[k].n);
    }
    table_end(f);
  }
  if (!table_begin(f, "const JobRegion", "regions", j->n_regions)) return;
  for (uint32_t i = 0; i < j->n_regions; i++) {
    fputs("  {", f);
    print_string_field(f, "name", j->regions[i].name);
    snprintf(name, sizeof name, "region_%u", i);
    print_table_field(f, "pieces", "n_pieces", name, j->regions[i].n_pieces);
    fputs("},\n", f);
  }
  table_end(f);
}

static void print_data_classes(FILE *f, const Job *j) {
  if (!table_begin(f, "const JobDataClass", "data_classes", j->n_data_classes)) return;
  for (uint32_t i = 0; i < j->n_data_classes; i++) {
    const JobDataClass *c = &j->data_classes[i];
    fputs("  {", f);
    print_string_field(f, "name", c->name);
    fprintf(f, ".conds = %u, .none = %d, .by_datum = %d, ", c->conds, c->none, c->by_datum);
    print_uint_field(f, "kinds", c->kinds);
    fputs("},\n", f);
  }
  table_end(f);
}

static void print_atoms(FILE *f, const Job *j, uint32_t param) {
  const JobAtoms *a = &j->audit.atoms[param];
  const JobParam *p = &j->params[param];
  for (int32_t i = 0; i < p->rank && a->n_cells; i++) {
    if (!a->label[i]) continue;
    fprintf(f, "static const int32_t atoms_%u_label_%d[] = {", param, i);
    for (int64_t k = 0; k < p->dims[i]; k++) fprintf(f, "%s%d,", k % 32 ? "" : "\n  ", a->label[i][k]);
    fputs("};\n", f);
  }
  if (!a->n_cells) return;
  fprintf(f, "static const uint64_t atoms_%u_reach[] = {", param);
  for (uint32_t k = 0; k < a->n_cells; k++) fprintf(f, "%sUINT64_C(%" PRIu64 "),", k % 8 ? "" : "\n  ", a->reach[k]);
  fputs("};\n", f);
}

static void print_audit(FILE *f, const Job *j) {
  for (uint32_t i = 0; j->audit.atoms && i < j->n_params; i++) print_atoms(f, j, i);
  if (j->audit.atoms && table_begin(f, "const JobAtoms", "atoms", j->n_params)) {
    for (uint32_t i = 0; i < j->n_params; i++) {
      const JobAtoms *a = &j->audit.atoms[i];
      fputs("  {.n_labels = {", f);
      for (int32_t k = 0; k < j->params[i].rank; k++) fprintf(f, "%d,", a->n_labels[k]);
      fputs("0}, .label = {", f);
      for (int32_t k = 0; k < j->params[i].rank; k++) {
        if (a->n_cells && a->label[k]) fprintf(f, "atoms_%u_label_%d, ", i, k);
        else fputs("0, ", f);
      }
      fprintf(f, "0}, .n_cells = %u, .reach = ", a->n_cells);
      fprintf(f, a->n_cells ? "atoms_%u_reach},\n" : "0},\n", i);
    }
    table_end(f);
  }
  if (j->audit.proved && table_begin(f, "const JobProved", "proved", j->n_data_classes * j->n_regions)) {
    for (uint32_t i = 0; i < j->n_data_classes * j->n_regions; i++) {
      fputs("  {", f);
      print_double(f, j->audit.proved[i].lo);
      fputs(", ", f);
      print_double(f, j->audit.proved[i].hi);
      fputs("},\n", f);
    }
    table_end(f);
  }
  for (int which = 0; which < 2; which++) {
    const uint32_t n = which ? j->monitor.n_classes : j->monitor.n_regions, *v = which ? j->monitor.classes : j->monitor.regions;
    if (!n) continue;
    fprintf(f, "static const uint32_t monitor_%s[] = {", which ? "classes" : "regions");
    for (uint32_t i = 0; i < n; i++) fprintf(f, "%u,", v[i]);
    fputs("};\n", f);
  }
}

static void print_expect_code(FILE *f, uint32_t i, const JobExpect *x) {
  char name[64];
  for (uint32_t k = 0; k < x->n; k++) {
    if (!x->code[k].n_keys) continue;
    fprintf(f, "static const int64_t expect_%u_keys_%u[] = {", i, k);
    for (uint32_t m = 0; m < x->code[k].n_keys; m++) fprintf(f, "%" PRId64 ", ", x->code[k].keys[m]);
    fputs("};\n", f);
  }
  snprintf(name, sizeof name, "expect_%u_code", i);
  if (!table_begin(f, "const JobExpectInsn", name, x->n)) return;
  for (uint32_t k = 0; k < x->n; k++) {
    const JobExpectInsn *n = &x->code[k];
    fprintf(f, "  {.op = (JobExpectOp)%d, ", (int)n->op);
    print_double_field(f, "num", n->num);
    fprintf(f, ".eval = %u, .metric = %u, ", n->eval, n->metric);
    if (n->n_keys) fprintf(f, ".keys = expect_%u_keys_%u, .n_keys = %u", i, k, n->n_keys);
    fputs("},\n", f);
  }
  table_end(f);
}

static void print_expects(FILE *f, const Job *j) {
  char name[64];
  for (uint32_t i = 0; i < j->n_expects; i++) print_expect_code(f, i, &j->expects[i]);
  if (!table_begin(f, "const JobExpect", "expects", j->n_expects)) return;
  for (uint32_t i = 0; i < j->n_expects; i++) {
    snprintf(name, sizeof name, "expect_%u_code", i);
    fputs("  {", f);
    print_string_field(f, "text", j->expects[i].text);
    print_table_field(f, "code", "n", name, j->expects[i].n);
    print_span(f, j->expects[i].span);
    fputs("},\n", f);
  }
  table_end(f);
}

static void print_sweeps(FILE *f, const Job *j) {
  char name[64];
  for (uint32_t i = 0; i < j->n_sweeps; i++) {
    snprintf(name, sizeof name, "sweep_%u_values", i);
    if (!table_begin(f, "const char *const", name, j->sweeps[i].n)) continue;
    for (uint32_t k = 0; k < j->sweeps[i].n; k++) {
      fputs("  ", f);
      print_string(f, j->sweeps[i].values[k]);
      fputs(",\n", f);
    }
    table_end(f);
  }
  if (!table_begin(f, "const JobSweep", "sweeps", j->n_sweeps)) return;
  for (uint32_t i = 0; i < j->n_sweeps; i++) {
    snprintf(name, sizeof name, "sweep_%u_values", i);
    fputs("  {", f);
    print_string_field(f, "name", j->sweeps[i].name);
    print_string_field(f, "param", j->sweeps[i].param);
    print_table_field(f, "values", "n", name, j->sweeps[i].n);
    fputs("},\n", f);
  }
  table_end(f);
}

static void print_amount(FILE *f, const char *field, JobAmount a) {
  fprintf(f, ".%s = {", field);
  print_double(f, a.n);
  fprintf(f, ", (JobUnit)%d}, ", (int)a.unit);
}

static void print_numbers(FILE *f, const char *name, const uint32_t *list, uint32_t n) {
  fprintf(f, ".%s = (const uint32_t[]){", name);
  for (uint32_t i = 0; i < n; i++) fprintf(f, "%u, ", list[i]);
  fputs("}, ", f);
}

static void print_groups(FILE *f, const JobGroups *g) {
  if (!g->n_sets) return;
  fprintf(f, ".groups = {.column = %u, .n_kinds = %u, .n_groups = %u, .n_sets = %u, ", g->column, g->n_kinds, g->n_groups, g->n_sets);
  print_numbers(f, "kinds", g->kinds, g->n_kinds);
  print_numbers(f, "group_of_kind", g->group_of_kind, g->n_kinds);
  print_numbers(f, "lo", g->lo, g->n_sets);
  print_numbers(f, "hi", g->hi, g->n_sets);
  fputs("}, ", f);
}

/* Names and shares of the classes that batches are made of: before print_train(). */
static void print_batch_classes(FILE *f, const JobTrain *t) {
  if (table_begin(f, "const char *const", "batch_classes", t->n_classes)) {
    for (uint32_t i = 0; i < t->n_classes; i++) fputs("  ", f), print_string(f, t->class_names[i]), fputs(",\n", f);
    table_end(f);
  }
  if (t->share && table_begin(f, "const double", "batch_shares", t->n_classes)) {
    for (uint32_t i = 0; i < t->n_classes; i++) fputs("  ", f), print_double(f, t->share[i]), fputs(",\n", f);
    table_end(f);
  }
}

static void print_train(FILE *f, const JobTrain *t) {
  fprintf(f, "  .train = {.present = %d, .source = %u, ", t->present, t->source);
  fprintf(f, ".filter = %u, .by = %u, .batches = (JobBatches)%d, .order = (JobBatchOrder)%d, ", t->filter, t->by, (int)t->batches,
          (int)t->order);
  print_table_field(f, "class_names", "n_classes", "batch_classes", t->n_classes);
  if (t->share && t->n_classes) fputs(".share = batch_shares, ", f);
  print_int_field(f, "batch", t->batch);
  print_amount(f, "length", t->length);
  print_amount(f, "checkpoint_every", t->checkpoint_every);
  print_amount(f, "log_every", t->log_every);
  print_amount(f, "evaluate_every", t->evaluate_every);
  print_int_field(f, "checkpoint_keep", t->checkpoint_keep);
  fprintf(f, ".shuffle = %d, .drop_last = %d, ", t->shuffle, t->drop_last);
  print_groups(f, &t->groups);
  print_function(f, "train", &t->fn);
  fputs("},\n", f);
}

/* The fields that speak of the tables above. */
static void print_moves(FILE *f, const Job *j) {
  if (j->gradient.fn.symbol) {
    fputs("  .gradient = {", f);
    print_function(f, "gradient", &j->gradient.fn);
    if (j->n_params) fputs(".grads = gradient_grads", f);
    fputs("},\n", f);
  }
  fputs("  ", f);
  print_table_field(f, "regions", "n_regions", "regions", j->n_regions);
  print_table_field(f, "data_classes", "n_data_classes", "data_classes", j->n_data_classes);
  fprintf(f, "\n  .monitor = {.present = %d, ", j->monitor.present);
  print_amount(f, "every", j->monitor.every);
  print_table_field(f, "regions", "n_regions", "monitor_regions", j->monitor.n_regions);
  print_table_field(f, "classes", "n_classes", "monitor_classes", j->monitor.n_classes);
  fputs("},\n  .audit = {", f);
  if (j->audit.atoms && j->n_params) fputs(".atoms = atoms, ", f);
  if (j->audit.proved && j->n_data_classes && j->n_regions) fputs(".proved = proved, ", f);
  print_string_field(f, "unproved", j->audit.unproved);
  fputs("},\n", f);
}

static void print_job(FILE *f, const Job *j) {
  fprintf(f, "static Job job = {\n  .abi = %u, ", j->abi);
  print_string_field(f, "title", j->title);
  fputs(".spec_path = ", f);
  print_path(f, j->spec_path);
  fputs(", ", f);
  print_string_field(f, "spec_text", j->spec_text);
  print_string_field(f, "compiler", j->compiler);
  print_string_field(f, "target_cpu", j->target_cpu);
  print_string_field(f, "target_features", j->target_features);
  print_uint_field(f, "seed", j->seed);
  print_uint_field(f, "plan_hash", j->plan_hash);
  print_uint_field(f, "sources_hash", j->sources_hash);
  print_string_field(f, "choices", j->choices);
  fputs("\n  ", f);
  print_table_field(f, "settings", "n_settings", "settings", j->n_settings);
  print_table_field(f, "scalars", "n_scalars", "scalars", j->n_scalars);
  print_table_field(f, "sources", "n_sources", "sources", j->n_sources);
  print_table_field(f, "columns", "n_columns", "columns", j->n_columns);
  print_table_field(f, "derived", "n_derived", "derived", j->n_derived);
  print_table_field(f, "plugins", "n_plugins", "plugins", j->n_plugins);
  print_table_field(f, "calls", "n_calls", "calls", j->n_calls);
  print_table_field(f, "call_steps", "n_call_steps", "call_steps", j->n_call_steps);
  print_table_field(f, "classes", "n_classes", "classes", j->n_classes);
  fprintf(f, ".kinds = %u, ", j->kinds);
  print_table_field(f, "params", "n_params", "params", j->n_params);
  print_int_field(f, "store_bytes", j->store_bytes);
  print_table_field(f, "origins", "n_origins", "origins", j->n_origins);
  fputs("\n", f);
  print_train(f, &j->train);
  print_moves(f, j);
  fputs("  ", f);
  print_table_field(f, "evals", "n_evals", "evals", j->n_evals);
  print_table_field(f, "expects", "n_expects", "expects", j->n_expects);
  print_table_field(f, "sweeps", "n_sweeps", "sweeps", j->n_sweeps);
  fputs("\n};\n", f);
}

/* Plugins that are linked in are named by their entries; others by their paths. */
static void print_plugins(FILE *f, const Job *j) {
  for (uint32_t i = 0; i < j->n_plugins; i++)
    if (!j->plugins[i].path) fprintf(f, "const struct RoutePlugin *route_plugin_%s(void);\n", j->plugins[i].name);
  if (!table_begin(f, "JobPlugin", "plugins", j->n_plugins)) return;
  for (uint32_t i = 0; i < j->n_plugins; i++) {
    const JobPlugin *p = &j->plugins[i];
    fputs("  {", f);
    print_string_field(f, "name", p->name);
    print_string_field(f, "version", p->version);
    print_string_field(f, "sha256", p->sha256);
    if (p->path) fputs(".path = ", f), print_path(f, p->path), fputs(", ", f);
    else fprintf(f, ".entry = route_plugin_%s, ", p->name);
    print_span(f, p->span);
    fputs("},\n", f);
  }
  table_end(f);
}

static void print_calls(FILE *f, const Job *j) {
  char name[48];
  for (uint32_t i = 0; i < j->n_calls; i++) {
    snprintf(name, sizeof name, "call_params_%u", i);
    if (!table_begin(f, "const JobShare", name, j->calls[i].n_params)) continue;
    for (uint32_t k = 0; k < j->calls[i].n_params; k++) {
      fputs("  {", f);
      print_double_field(f, "value", j->calls[i].params[k].value);
      fprintf(f, ".scalar = %d},\n", j->calls[i].params[k].scalar);
    }
    table_end(f);
  }
  if (!table_begin(f, "const JobCall", "calls", j->n_calls)) return;
  for (uint32_t i = 0; i < j->n_calls; i++) {
    const JobCall *c = &j->calls[i];
    fprintf(f, "  {.plugin = %u, ", c->plugin);
    print_string_field(f, "op", c->op);
    fprintf(f, ".ability = %d, ", (int)c->ability);
    snprintf(name, sizeof name, "call_params_%u", i);
    print_table_field(f, "params", "n_params", name, c->n_params);
    print_uint_field(f, "stream", c->stream);
    print_span(f, c->span);
    fputs("},\n", f);
  }
  table_end(f);
}

static void print_call_steps(FILE *f, const Job *j) {
  char name[48];
  for (uint32_t i = 0; i < j->n_call_steps; i++) {
    const JobCallStep *s = &j->call_steps[i];
    snprintf(name, sizeof name, "call_inputs_%u", i);
    if (!table_begin(f, "const JobCallInput", name, s->n_inputs)) continue;
    for (uint32_t k = 0; k < s->n_inputs; k++)
      fprintf(f, "  {%" PRId64 ", %" PRId64 ", %" PRId64 ", %d},\n", s->inputs[k].cols, s->inputs[k].ld, s->inputs[k].dx_ld, s->inputs[k].label);
    table_end(f);
  }
  if (!table_begin(f, "const JobCallStep", "call_steps", j->n_call_steps)) return;
  for (uint32_t i = 0; i < j->n_call_steps; i++) {
    const JobCallStep *s = &j->call_steps[i];
    fprintf(f, "  {.call = %u, .site = %u, .gradient = %d, .training = %d, .by_datum = %d, ", s->call, s->site, s->gradient, s->training,
            s->by_datum);
    print_int_field(f, "per", s->per);
    print_int_field(f, "max_rows", s->max_rows);
    snprintf(name, sizeof name, "call_inputs_%u", i);
    print_table_field(f, "inputs", "n_inputs", name, s->n_inputs);
    print_int_field(f, "out_cols", s->out_cols);
    print_int_field(f, "value_ld", s->value_ld);
    print_int_field(f, "dy_ld", s->dy_ld);
    print_int_field(f, "tile_rows", s->tile_rows);
    print_int_field(f, "tile_cols", s->tile_cols);
    print_int_field(f, "tile_period", s->tile_period);
    print_int_field(f, "together", s->together);
    fputs("},\n", f);
  }
  table_end(f);
}

static void print_entries(FILE *f, const Job *j) {
  if (j->gradient.fn.symbol) fprintf(f, "void %s(JobFrame *f, int64_t tid);\n", j->gradient.fn.symbol);
  if (j->train.fn.symbol) fprintf(f, "void %s(JobFrame *f, int64_t tid);\n", j->train.fn.symbol);
  for (uint32_t i = 0; i < j->n_evals; i++)
    if (j->evals[i].fn.symbol) fprintf(f, "void %s(JobFrame *f, int64_t tid);\n", j->evals[i].fn.symbol);
  for (uint32_t i = 0; i < j->n_derived; i++) fprintf(f, "void %s(JobFrame *f, int64_t tid);\n", j->derived[i].fn.symbol);
}

void driver_job_print_c(const Job *job, FILE *f) {
  fprintf(f, "/* written by %s */\n#include \"job.h\"\n#include \"rt.h\"\n#include <stdint.h>\n#include <stdio.h>\n\n", job->compiler);
  fprintf(f, "_Static_assert(JOB_ABI == %u, \"job.h and this job differ in version\");\n", job->abi);
  print_entries(f, job);
  print_settings(f, job);
  print_sources(f, job);
  print_columns(f, job);
  print_params(f, job);
  print_origins(f, job);
  print_function_tables(f, "train", &job->train.fn);
  print_evals(f, job);
  print_derived(f, job);
  print_gradient_tables(f, job);
  print_regions(f, job);
  print_data_classes(f, job);
  print_audit(f, job);
  print_expects(f, job);
  print_sweeps(f, job);
  print_plugins(f, job);
  print_calls(f, job);
  print_call_steps(f, job);
  print_batch_classes(f, &job->train);
  print_job(f, job);
  fputs("int main(int argc, char **argv) { return rt_trainer_main(&job, argc, argv); }\n", f);
}
