/* SPDX-License-Identifier: Apache-2.0
 * check_data.c -- data blocks: readers, columns, fields. No data is opened here. */
#include "model.h"
#include <math.h>
#include <string.h>

/* What a reader's arguments mean. Columns are known (mnist), named by arguments (idx, npy, csv) or free
 * (npz). */
struct Reader {
  const char *name, *signature;
  bool path;          /* a positional path */
  bool columns_named; /* other arguments name columns */
  bool any_column;    /* columns need no argument */
  bool has_test;      /* built in; else `holdout` makes one */
};
static const Reader readers[] = {
    {"mnist", "mnist(\"folder\")", true, false, false, true},
    {"idx", "idx(name = \"file\", ..., holdout = n)", false, true, false, false},
    {"csv", "csv(\"file\", name = column, other = first .. past, skip = lines, holdout = n)", true, true,
     false, false},
    {"npy", "npy(name = \"file\", ..., holdout = n)", false, true, false, false},
    {"npz", "npz(\"file\", holdout = n)", true, false, true, false},
};
enum { N_READERS = sizeof readers / sizeof *readers };

/* Options come first in this list where a reader lacks them: mnist has its test part, only csv has lines. */
static const char *const options[] = {"skip", "holdout", "holdout_seed"};
static uint32_t n_options(const Reader *r, const char *const **list) {
  *list = options + (strcmp(r->name, "csv") != 0);
  return r->has_test ? 0 : (uint32_t)(options + 3 - *list);
}

static bool option_arg(const Reader *r, const char *key) {
  const char *const *list;
  uint32_t n = n_options(r, &list);
  for (uint32_t i = 0; i < n; i++)
    if (!strcmp(list[i], key)) return true;
  return false;
}

static const Reader *find_reader(Model *m, const Ast *call) {
  const char *names[N_READERS];
  const Ast *callee = ast_is(call, AST_CALL) ? call->kids[0] : call;
  for (uint32_t i = 0; i < N_READERS; i++) {
    names[i] = readers[i].name;
    if (ast_is_name(callee, names[i])) return &readers[i];
  }
  Diag *g = err(m, E0401, callee->span, ast_source_text(m, callee));
  if (ast_is(callee, AST_NAME)) diag_choices(m, g, callee->text, names, N_READERS);
  return NULL;
}

static void data_fields(Model *m, Data *d) {
  const Ast *a = d->decl->ast;
  d->fields = ARENA_NEWS(m->a, Field, a->n_kids + 1);
  for (uint32_t i = 0; i < a->n_kids; i++) {
    const Ast *b = a->kids[i];
    if (!ast_is(b, AST_BIND)) continue;
    for (uint32_t k = 3; k < b->n_kids; k++) {
      const char *name = b->kids[k]->text;
      if (b->n_kids > 4) {
        if (k == 3) err(m, E0221, b->span, b->n_kids - 3);
        continue;
      }
      if (!strcmp(name, "source")) {
        if (d->source) err(m, E0203, b->kids[k]->span, name);
        d->source = b->kids[0];
        continue;
      }
      Field *before = strmap_get(&d->by_name, name);
      if (before) {
        Diag *g = err(m, E0203, b->kids[k]->span, name);
        diag_also(m->diags, g, before->bind->span, "already declared here");
        continue;
      }
      Field *f = &d->fields[d->n_fields++];
      f->name = name, f->bind = b;
      strmap_put(m->a, &d->by_name, name, f);
    }
  }
}

bool data_has_part(const Data *d, const char *part) {
  return !strcmp(part, "train") || (!strcmp(part, "test") && d->has_test);
}

/* ---- arguments of a reader ---- */
static bool source_arg(Elab *e, Scope *s, Data *d, const Ast *arg, uint32_t pos, ProgSourceArg *out) {
  Model *m = e->m;
  const Ast *value = ast_is(arg, AST_ARG) ? arg->kids[0] : arg;
  out->key = ast_is(arg, AST_ARG) ? arg->text : "path";
  bool option = ast_is(arg, AST_ARG) && option_arg(d->reader, out->key);
  if ((!ast_is(arg, AST_ARG) && (!d->reader->path || pos > 0)) ||
      (ast_is(arg, AST_ARG) && !option && !d->reader->columns_named)) {
    const char *const *keys;
    uint32_t n_keys = n_options(d->reader, &keys);
    Diag *g = err(m, E0207, arg->name_span.file ? arg->name_span : arg->span, d->reader->name,
                  ast_is(arg, AST_ARG) ? arg->text : ast_source_text(m, arg));
    if (ast_is(arg, AST_ARG)) diag_suggest(m->diags, g, arg->text, keys, n_keys);
    diag_note(m->diags, g, "it is `%s`", d->reader->signature);
    return false;
  }
  if (ast_is(value, AST_RANGE)) {
    int64_t lo = 0, hi = 0;
    if (!static_int(e, elab(e, s, ast_kid(value, 0)), "the first column", 0, 1 << 24, &lo)) return false;
    if (!static_int(e, elab(e, s, ast_kid(value, 1)), "the end of the columns", 0, 1 << 24, &hi))
      return false;
    if (!strcmp(value->text, "..=")) hi++;
    if (hi <= lo) {
      err(m, E0315, value->span, ast_source_text(m, value));
      return false;
    }
    out->num = (double)lo, out->num2 = (double)hi;
    return true;
  }
  Val *v = elab(e, s, value);
  use_static(e, v);
  if (val_bad(v)) return false;
  if (v->kind == VAL_STRING) out->text = v->text;
  else if (v->kind == VAL_NUM) out->num = v->num, out->num2 = v->num + 1;
  bool wants_text = !option && strcmp(d->reader->name, "csv") != 0;
  if (!strcmp(out->key, "path")) wants_text = true;
  if (wants_text ? v->kind != VAL_STRING
                 : v->kind != VAL_NUM || v->num < 0 ||
                       (strcmp(out->key, "holdout") != 0 && v->num != floor(v->num))) {
    err(m, E0302, v->span, arena_printf(m->a, "`%s` of `%s`", out->key, d->reader->name),
        wants_text ? "a path in quotes" : "a number from 0", val_text(e, v));
    return false;
  }
  return true;
}

static void check_source(Model *m, Elab *e, Data *d, uint32_t index) {
  ProgSource *src = &m->p->data[index];
  *src = (ProgSource){.name = d->decl->name, .reader = "none", .span = d->decl->ast->span};
  if (!d->source || !d->reader) return;
  src->reader = d->reader->name, src->span = d->source->span;
  Scope *s = scope_create(e, SCOPE_EMPTY, NULL, d->decl->file, "", "");
  uint32_t n = ast_is(d->source, AST_CALL) ? d->source->n_kids - 1 : 0, pos = 0;
  src->args = ARENA_NEWS(m->a, ProgSourceArg, n + 1);
  d->has_test = d->reader->has_test;
  StrMap seen = {0};
  bool path = false;
  for (uint32_t i = 0; i < n; i++) {
    const Ast *arg = d->source->kids[i + 1];
    ProgSourceArg *out = &src->args[src->n_args];
    if (!source_arg(e, s, d, arg, pos, out)) continue;
    if (!ast_is(arg, AST_ARG)) pos++, path = true;
    if (strmap_get(&seen, out->key)) err(m, E0209, arg->span, out->key);
    strmap_put(m->a, &seen, out->key, out);
    if (!strcmp(out->key, "holdout")) d->has_test = true;
    src->n_args++;
  }
  if (d->reader->path && !path) {
    Diag *g = err(m, E0208, d->source->span, d->reader->name, "needs a path");
    diag_note(m->diags, g, "it is `%s`", d->reader->signature);
  }
}

void check_data_names(Model *m) {
  m->datas = ARENA_NEWS(m->a, Data, m->data.n + 1);
  for (uint32_t i = 0; i < m->data.n; i++) {
    Data *d = &m->datas[i];
    d->decl = m->data.v[i];
    data_fields(m, d);
    if (!d->source)
      err(m, E0406, d->decl->ast->name_span, arena_printf(m->a, "data `%s`", d->decl->name), "`source`");
    else d->reader = find_reader(m, d->source);
  }
}

/* Data without fields: what a specification without `data` trains and evaluates on. */
static void no_data(Model *m, double rows) {
  ProgSourceArg *arg = ARENA_NEW(m->a, ProgSourceArg);
  *arg = (ProgSourceArg){.key = "rows", .num = rows, .num2 = rows + 1};
  m->p->data[m->p->n_data++] = (ProgSource){.name = "nothing", .reader = "none", .args = arg, .n_args = 1};
}

void check_data(Model *m) {
  m->p->data = ARENA_NEWS(m->a, ProgSource, m->data.n + 2);
  m->p->n_data = m->data.n;
  if (!m->data.n && m->train) no_data(m, 1000); /* the length of an epoch bounds a block of steps */
  if (!m->data.n && m->evals.n) no_data(m, 1);
  Elab *e = elab_create(m, "data", false, NO_DATA);
  for (uint32_t i = 0; i < m->data.n; i++) check_source(m, e, &m->datas[i], i);
}

/* ---- columns ---- */
static uint32_t program_column(Elab *e, uint32_t data, const char *name, Dtype t, const Shape *shape,
                               Span span) {
  Model *m = e->m;
  Program *p = m->p;
  for (uint32_t i = 0; i < p->n_columns; i++)
    if (p->columns[i].source == data && !strcmp(p->columns[i].name, name)) return i;
  *PUSH(m->a, p->columns, p->n_columns) =
      (ProgColumn){.source = data, .name = name, .dtype = t, .shape = *shape, .span = span};
  return p->n_columns - 1;
}

/* Shape and memory type of an annotated column. */
static bool annotated(Elab *e, const Data *d, const Ast *type, Shape *shape, Dtype *t) {
  static const char *const words[] = {"f32", "real", "int", "u8", "bool", "token"};
  static const Dtype types[] = {DT_F32, DT_F32, DT_I32, DT_U8, DT_I32, DT_I32};
  Scope *s = scope_create(e, SCOPE_EMPTY, NULL, d->decl->file, "", "");
  uint32_t k = 0;
  while (k < 6 && strcmp(words[k], type->text) != 0) k++;
  if (k == 6) {
    Diag *g = err(e->m, E0201, type->name_span.file ? type->name_span : type->span, "type", type->text);
    diag_choices(e->m, g, type->text, words, 6);
    return false;
  }
  *t = types[k];
  if (type->n_kids + 1 > IR_MAX_RANK) {
    err(e->m, E0307, type->span, "a field", "more than seven axes");
    return false;
  }
  shape->rank = 1, shape->d[0] = DIM_ROWS;
  for (uint32_t i = 0; i < type->n_kids; i++) {
    const Ast *dim = ast_is(type->kids[i], AST_ARG) ? type->kids[i]->kids[0] : type->kids[i];
    if (!static_int(e, elab(e, s, dim), "a dimension", 1, MAX_ELEMENTS, &shape->d[shape->rank++]))
      return false;
  }
  return shape_ok(e, type->span, shape, "a field");
}

/* Known type of source.NAME without an annotation. 1: known, 0: needs one, -1: no such column (reported). */
static int known_column(Elab *e, uint32_t data, const Ast *member, Shape *shape, Dtype *t) {
  Model *m = e->m;
  const Data *d = &m->datas[data];
  const char *name = member->text, *names[64];
  uint32_t n = 0;
  Span at = member->name_span.file ? member->name_span : member->span;
  if (!strcmp(d->reader->name, "mnist")) {
    bool image = !strcmp(name, "image");
    *shape = image ? shape_of(3, DIM_ROWS, 28, 28) : shape_of(1, DIM_ROWS), *t = DT_U8;
    if (image || !strcmp(name, "label")) return 1;
    names[n++] = "image", names[n++] = "label";
  } else {
    const ProgSource *src = &m->p->data[data];
    for (uint32_t i = 0; i < src->n_args; i++) {
      const ProgSourceArg *a = &src->args[i];
      if (option_arg(d->reader, a->key) || (!strcmp(a->key, "path") && d->reader->path)) continue;
      if (n < 64) names[n++] = a->key;
      if (strcmp(a->key, name) != 0) continue;
      if (strcmp(d->reader->name, "csv") != 0) return 0;
      *t = DT_F32, *shape = shape_of(1, DIM_ROWS);
      if (a->num2 > a->num + 1) *shape = shape_of(2, DIM_ROWS, (int64_t)(a->num2 - a->num));
      return 1;
    }
    if (d->reader->any_column) return 0;
  }
  Diag *g = err(m, E0402, at, name, d->decl->name);
  diag_suggest(m->diags, g, name, names, n);
  return -1;
}

/* Integers the language can count on: u8 and i32 columns become i32; mnist's pixels become [0, 1]. */
static ValueId column_value(Elab *e, uint32_t column, Span span) {
  const ProgColumn *c = &e->m->p->columns[column];
  ValueId id = ir_make(e->g, OP_COLUMN, span, NULL, 0, (int64_t[]){column}, 1, 0, &c->shape, c->dtype);
  e->g->v[id].name = arena_printf(e->m->a, "%s.%s", e->m->datas[c->source].decl->name, c->name);
  if (c->dtype == DT_F32 || c->dtype == DT_I32) return id;
  bool pixels = !strcmp(e->m->p->data[c->source].reader, "mnist") && !strcmp(c->name, "image");
  id = ir_cast(e->g, id, pixels ? DT_F32 : DT_I32);
  return pixels ? ir_bin(e->g, OP_MUL, id, f32_const(e, span, 1.0 / 255)) : id;
}

/* One value per column and graph, so that two fields of one column are known to be equal. */
static ValueId column_once(Elab *e, uint32_t column, Span span) {
  const char *key = arena_printf(e->m->a, "column %u", column);
  uintptr_t id = (uintptr_t)strmap_get(&e->params, key);
  if (!id) strmap_put(e->m->a, &e->params, key, (void *)(id = column_value(e, column, span)));
  return (ValueId)id;
}

Val *data_source_member(Elab *e, uint32_t data, const Ast *member, const Ast *type, const Field *f) {
  Model *m = e->m;
  Data *d = &m->datas[data];
  Shape shape = {0}, want = {0};
  Dtype t = DT_F32, wt = DT_F32;
  if (!d->reader) return val_poison(e, member->span);
  int known = known_column(e, data, member, &shape, &t);
  if (known < 0) return val_poison(e, member->span);
  if (type && !annotated(e, d, type, &want, &wt)) return val_poison(e, member->span);
  bool csv = !strcmp(d->reader->name, "csv");
  if (!known && !type) {
    for (uint32_t i = 0; i < m->p->n_columns; i++) /* typed by another field */
      if (m->p->columns[i].source == data && !strcmp(m->p->columns[i].name, member->text))
        return val_tensor(e, member->span, column_once(e, i, member->span));
    Diag *g = err(m, E0403, member->span, member->text);
    diag_help(m->diags, g, "bind it to a field of its own with a type: `raw: f32[28, 28] = source.%s`",
              member->text);
    return val_poison(e, member->span);
  }
  if (!known || (csv && type)) {
    if (known && !shape_equal(&shape, &want)) {
      Diag *g = err(m, E0305, member->span, arena_printf(m->a, "`%s`", f->name), ast_source_text(m, type),
                    shape_text(e, &shape, wt, NULL));
      diag_also(m->diags, g, type->span, "declared here");
      return val_poison(e, member->span);
    }
    shape = want, t = wt;
  }
  uint32_t column = program_column(e, data, member->text, t, &shape, member->span);
  const ProgColumn *c = &m->p->columns[column];
  if (type && !known && (c->dtype != t || !shape_equal(&c->shape, &shape))) {
    Diag *g = err(m, E0305, member->span, arena_printf(m->a, "`%s`", f->name), ast_source_text(m, type),
                  shape_text(e, &c->shape, c->dtype, NULL));
    diag_also(m->diags, g, c->span, "this field gives the column another type");
    return val_poison(e, member->span);
  }
  Val *v = val_tensor(e, member->span, column_once(e, column, member->span));
  if (type && !strcmp(type->text, "bool"))
    v = val_tensor(e, member->span,
                   ir_bin(e->g, OP_NE, v->id, ir_const(e->g, member->span, 0, &(Shape){0}, DT_I32)));
  return v;
}

/* ---- fields ---- */
void add_finite(Elab *e, ValueId id, Field *f) {
  for (uint32_t i = 0; i < e->n_finite; i++)
    if (e->finite[i].id == id) return;
  *PUSH(e->m->a, e->finite, e->n_finite) = (struct FieldOf){id, f};
}

static bool field_range(Elab *e, Scope *s, Field *f, const Val *v) {
  const Ast *r = ast_kid(f->bind, 2);
  if (!r) return true;
  if (val_dtype(e, v) != DT_I32) {
    err(e->m, E0407, r->span, f->name, "only fields of integers have one");
    return false;
  }
  int64_t lo = 0, hi = 0;
  if (!ast_kid(r, 0) || !ast_kid(r, 1)) {
    err(e->m, E0407, r->span, f->name, "both ends are needed");
    return false;
  }
  if (!static_int(e, elab(e, s, r->kids[0]), "the lower end", -(1 << 30), 1 << 30, &lo)) return false;
  if (!static_int(e, elab(e, s, r->kids[1]), "the upper end", -(1 << 30), 1 << 30, &hi)) return false;
  if (!strcmp(r->text, "..")) hi--;
  if (hi < lo) {
    err(e->m, E0315, r->span, ast_source_text(e->m, r));
    return false;
  }
  f->has_range = true, f->lo = (double)lo, f->hi = (double)hi;
  return true;
}

/* A computed field's range is proved over all values of the fields that it is made of. */
static void prove_range(Elab *e, const Field *f, const Val *v) {
  Finite fin;
  double x;
  if (!finite_collect(e, &v->id, 1, &fin)) {
    Diag *g = err(e->m, E0407, f->bind->kids[2]->span, f->name,
                  "the data cannot be checked against the range of a computed field");
    diag_help(e->m->diags, g, "give ranges to the fields that it is computed from, or leave this one out");
    return;
  }
  for (double k = 0; k < fin.count; k++) {
    finite_eval(e, &fin, k, &v->id, 1, &x);
    if (x >= f->lo && x <= f->hi) continue;
    Diag *g = err(e->m, E0407, f->bind->kids[2]->span, f->name, "it takes other values");
    diag_note(e->m->diags, g, "it is %s where %s", number_text(e->m->a, x), finite_describe(e, &fin, k));
    return;
  }
}

static bool direct_column(const Ast *value) {
  return ast_is(value, AST_MEMBER) && ast_is_name(value->kids[0], "source");
}

static Val *elab_field(Elab *e, uint32_t data, Field *f) {
  Model *m = e->m;
  Data *d = &m->datas[data];
  const Ast *value = f->bind->kids[0], *type = ast_kid(f->bind, 1);
  Scope *s = scope_create(e, SCOPE_DATA, NULL, d->decl->file, "", "");
  s->data = data;
  Val *src = val_new(e, VAL_SOURCE, value->span);
  src->data = data;
  scope_add(e, s, ENTRY_VALUE, "source")->val = src;
  for (uint32_t i = 0; i < d->n_fields; i++)
    if (e->fields[data][i] || e->field_busy[data][i]) /* busy: the cycle was reported */
      scope_add(e, s, ENTRY_VALUE, d->fields[i].name)->val =
          e->fields[data][i] ? e->fields[data][i] : val_poison(e, f->bind->span);
  bool direct = direct_column(value);
  Val *v = direct ? data_source_member(e, data, value, type, f) : elab(e, s, value);
  if (val_bad(v)) return v;
  v = as_tensor(e, v, arena_printf(m->a, "field `%s`", f->name));
  if (val_bad(v)) return v;
  v = val_at(e, v, f->bind->span);
  if (!check_type(e, s, type, v, arena_printf(m->a, "`%s`", f->name), NULL))
    return val_poison(e, value->span);
  if (!val_has_rows(e, v)) {
    err(m, E0404, value->span, f->name);
    return val_poison(e, value->span);
  }
  if (!field_range(e, s, f, v)) return val_poison(e, value->span);
  if (f->has_range && !direct) prove_range(e, f, v);
  for (uint32_t i = 0; f->has_range && direct && i < m->p->n_columns; i++) {
    ProgColumn *c = &m->p->columns[i];
    if (c->source == data && !strcmp(c->name, value->text)) c->has_range = true, c->lo = f->lo, c->hi = f->hi;
  }
  f->is_bool = val_dtype(e, v) == DT_BOOL;
  if (direct && (f->has_range || f->is_bool))
    add_finite(e, v->id, f);
  if (!e->g->v[v->id].name) e->g->v[v->id].name = f->name;
  Place *p = ARENA_NEW(m->a, Place);
  p->path = f->name, p->value = v->id, p->span = ast_kid(f->bind, 3)->span;
  v->place = p;
  return v;
}

static void fields_before(Elab *e, uint32_t data, const Ast *n) {
  Data *d = &e->m->datas[data];
  if (!n) return;
  Field *f = n->kind == AST_NAME ? strmap_get(&d->by_name, n->text) : NULL;
  if (f) data_field(e, data, (uint32_t)(f - d->fields), n->span);
  for (uint32_t i = n->kind == AST_CALL ? 1 : 0; i < n->n_kids; i++) fields_before(e, data, n->kids[i]);
}

Val *data_field(Elab *e, uint32_t data, uint32_t field, Span use) {
  Model *m = e->m;
  Data *d = &m->datas[data];
  Field *f = &d->fields[field];
  if (e->data != data && e->data != NO_DATA) {
    Diag *g = err(m, E0418, use, f->name,
                  arena_printf(m->a, "it is of data `%s`, the rows here are of `%s`", d->decl->name,
                               m->datas[e->data].decl->name));
    diag_also(m->diags, g, f->bind->span, "declared here");
    return val_poison(e, use);
  }
  if (e->fields[data][field]) return val_at(e, e->fields[data][field], use);
  if (e->field_busy[data][field]) {
    err(m, E0204, use, f->name);
    return val_poison(e, use);
  }
  e->field_busy[data][field] = 1;
  fields_before(e, data, f->bind->kids[0]); /* fields may use each other in any order */
  Val *v = elab_field(e, data, f);
  e->field_busy[data][field] = 0;
  e->fields[data][field] = v;
  return val_at(e, v, use);
}

Val *elab_data_member(Elab *e, uint32_t data, const Ast *member) {
  Model *m = e->m;
  Data *d = &m->datas[data];
  Field *f = strmap_get(&d->by_name, member->text);
  d->decl->used = true;
  if (f) return data_field(e, data, (uint32_t)(f - d->fields), member->span);
  if (data_has_part(d, member->text)) {
    Val *v = val_new(e, VAL_PART, member->span);
    v->data = data, v->text = !strcmp(member->text, "train") ? "train" : "test";
    return v;
  }
  const char **names = ARENA_NEWS(m->a, const char *, d->n_fields + 2);
  uint32_t n = 0;
  for (; n < d->n_fields; n++) names[n] = d->fields[n].name;
  names[n++] = "train";
  if (d->has_test) names[n++] = "test";
  Span at = member->name_span.file ? member->name_span : member->span;
  Diag *g = err(m, E0408, at, d->decl->name, member->text);
  if (!strcmp(member->text, "test") && d->reader && !d->reader->has_test)
    diag_help(m->diags, g, "this reader has no test part of its own: add `holdout = 1000` to it");
  else diag_suggest(m->diags, g, member->text, names, n);
  return val_poison(e, member->span);
}
