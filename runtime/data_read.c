/* SPDX-License-Identifier: Apache-2.0
 * data_read.c -- the table of readers. */
#include "data_read.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const JobSourceArg *source_arg(const JobSource *s, const char *key) {
  for (uint32_t i = 0; i < s->n_args; i++)
    if (s->args[i].key && !strcmp(s->args[i].key, key)) return &s->args[i];
  return NULL;
}

static bool variable_value(const char *name, const char *data_dir, const char **out) {
  const char *v = getenv(name);
  if (!strcmp(name, "ROUTEC_DATA")) v = data_dir ? data_dir : v && *v ? v : "data";
  return *out = v, v != NULL;
}

static bool path_substitute(const char *text, const char *data_dir, const JobSpan *span, FILE *f,
                            RtError *e) {
  for (const char *p = text; *p;) {
    if (*p != '$') {
      fputc(*p++, f);
      continue;
    }
    bool braces = *++p == '{';
    p += braces;
    size_t n = strspn(p, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_");
    char name[256];
    snprintf(name, sizeof name, "%.*s", (int)(n < 255 ? n : 255), p);
    const char *value;
    if (!n || n > 255 || (braces && p[n] != '}') || !variable_value(name, data_dir, &value))
      return rt_fail_at(e, span, RT_E0706, text, n ? name : "$");
    fputs(value, f);
    p += n + braces;
  }
  return true;
}

bool data_expand_path(const char *text, const char *data_dir, const char *spec_path, const JobSpan *span,
                      char **out, RtError *e) {
  size_t size = 0;
  *out = NULL;
  FILE *f = open_memstream(out, &size);
  if (!f) return rt_fail(e, RT_E0719, 0LL, "a path");
  bool ok = path_substitute(text, data_dir, span, f, e);
  fclose(f);
  if (!ok) return free(*out), *out = NULL, false;
  const char *slash = spec_path ? strrchr(spec_path, '/') : NULL;
  if (**out != '/' && slash) {
    char *beside = mem_printf("%.*s/%s", (int)(slash - spec_path), spec_path, *out);
    if (access(beside, F_OK) == 0) {
      free(*out);
      *out = beside;
    } else {
      free(beside);
    }
  }
  return true;
}

/* The text argument `key` as a path. */
static bool request_path(ReadRequest *r, const char *key, char **out) {
  const JobSourceArg *a = source_arg(r->source, key);
  char why[160];
  snprintf(why, sizeof why, !strcmp(key, "path") ? "the path is missing" : "the file of `%.100s` is missing",
           key);
  if (!a || !a->text) return rt_fail_at(r->e, &r->source->span, RT_E0711, r->source->name, why);
  return data_expand_path(a->text, r->data_dir, r->spec_path, &r->source->span, out, r->e);
}

static bool column_missing(ReadRequest *r, const JobColumn *c, const char *hint) {
  return rt_fail_at(r->e, &c->span, RT_E0712, r->source->name, c->name, hint);
}

/* ---- mnist: four IDX files under fixed names, plain or gzip
 * ----------------------------------------------------- */
static bool mnist_read_one(ReadRequest *r, const char *folder, const JobColumn *c, RawArray *out) {
  bool image = !strcmp(c->name, "image");
  if (!image && strcmp(c->name, "label") != 0)
    return column_missing(r, c, ": mnist gives `image` and `label`");
  const char *stem = !strcmp(r->part, "test") ? "t10k" : "train",
             *tail = image ? "images-idx3-ubyte" : "labels-idx1-ubyte";
  char *plain = mem_printf("%s/%s-%s", folder, stem, tail), *packed = mem_printf("%s.gz", plain);
  const char *path = access(packed, F_OK) == 0 && access(plain, F_OK) != 0 ? packed : plain;
  Slab file;
  bool ok = mem_read_file(path, &file, r->e) && idx_parse(path, &file, out, r->e);
  if (ok && (out->type != RAW_U8 || out->rank != (image ? 3 : 1)))
    ok = rt_fail(r->e, RT_E0702, path, "MNIST",
                 image ? "images must be bytes with three axes" : "labels must be bytes with one axis");
  free(plain), free(packed);
  return ok;
}

static bool mnist_read(ReadRequest *r) {
  char *folder;
  if (!request_path(r, "path", &folder)) return false;
  bool ok = true;
  for (uint32_t i = 0; ok && i < r->job->n_columns; i++)
    if (r->job->columns[i].source == r->source_index && !r->job->columns[i].derived)
      ok = mnist_read_one(r, folder, &r->job->columns[i], &r->out[i]);
  free(folder);
  return ok;
}

/* ---- idx, npy: one file a column
 * ------------------------------------------------------------------------------- */
static bool files_read(ReadRequest *r, bool (*parse)(const char *, Slab *, RawArray *, RtError *)) {
  for (uint32_t i = 0; i < r->job->n_columns; i++) {
    const JobColumn *c = &r->job->columns[i];
    if (c->source != r->source_index || c->derived) continue;
    if (!source_arg(r->source, c->name)) return column_missing(r, c, ": name its file as an argument");
    char *path;
    Slab file;
    if (!request_path(r, c->name, &path)) return false;
    bool ok = mem_read_file(path, &file, r->e) && parse(path, &file, &r->out[i], r->e);
    free(path);
    if (!ok) return false;
  }
  return true;
}
static bool idx_read(ReadRequest *r) { return files_read(r, idx_parse); }
static bool npy_read(ReadRequest *r) { return files_read(r, npy_parse); }

static bool npz_read(ReadRequest *r) {
  char *path;
  Slab file;
  if (!request_path(r, "path", &path)) return false;
  bool ok = mem_read_raw(path, &file, r->e);
  if (!ok) return free(path), false;
  for (uint32_t i = 0; ok && i < r->job->n_columns; i++) {
    const JobColumn *c = &r->job->columns[i];
    bool found = true;
    if (c->source == r->source_index && !c->derived) ok = npz_parse(path, &file, c->name, &r->out[i], &found, r->e);
    if (ok && !found) ok = column_missing(r, c, ": the archive has no array of this name");
  }
  slab_free(&file);
  free(path);
  return ok;
}

/* ---- csv
 * ------------------------------------------------------------------------------------------------------- */
static bool csv_columns(ReadRequest *r, CsvColumn *out, uint32_t *at, uint32_t *n) {
  for (uint32_t i = *n = 0; i < r->job->n_columns; i++) {
    const JobColumn *c = &r->job->columns[i];
    if (c->source != r->source_index || c->derived) continue;
    const JobSourceArg *a = source_arg(r->source, c->name);
    if (!a) return column_missing(r, c, ": give its place, as in `name = 3` or `name = 0 .. 64`");
    double past = a->num2 > a->num ? a->num2 : a->num + 1;
    if (a->text || !(a->num >= 0) || past > 1e9 || a->num != floor(a->num) || past != floor(past)) {
      char why[160];
      snprintf(why, sizeof why, "the place of column `%.80s` must be a number of fields", c->name);
      return rt_fail_at(r->e, &r->source->span, RT_E0711, r->source->name, why);
    }
    at[*n] = i;
    out[(*n)++] =
        (CsvColumn){c->name, (int64_t)a->num, (int64_t)past, c->dtype == JOB_I32 || c->dtype == JOB_F64};
  }
  return true;
}

static bool csv_read(ReadRequest *r) {
  uint32_t all = r->job->n_columns + 1, n;
  CsvColumn *columns = calloc(all, sizeof *columns);
  uint32_t *at = calloc(all, sizeof *at);
  RawArray *out = calloc(all, sizeof *out);
  const JobSourceArg *skip = source_arg(r->source, "skip");
  char *path = NULL;
  Slab file = {0};
  bool ok = columns && at && out ? true : rt_fail(r->e, RT_E0719, (long long)all, "columns");
  if (ok && skip && !(skip->num >= 0 && skip->num < 1e15 && !skip->text))
    ok = rt_fail_at(r->e, &r->source->span, RT_E0711, r->source->name, "`skip` must be a number of lines");
  ok = ok && csv_columns(r, columns, at, &n) && request_path(r, "path", &path) &&
       mem_read_file(path, &file, r->e) &&
       csv_parse(path, &file, skip ? (int64_t)skip->num : 0, columns, n, out, r->e);
  for (uint32_t i = 0; ok && i < n; i++) r->out[at[i]] = out[i];
  slab_free(&file);
  free(path), free(columns), free(at), free(out);
  return ok;
}

/* No data: a spec of the theory's small problems. It has `rows` data (default 1) and no columns. */
static bool none_read(ReadRequest *r) {
  for (uint32_t i = 0; i < r->job->n_columns; i++)
    if (r->job->columns[i].source == r->source_index && !r->job->columns[i].derived)
      return column_missing(r, &r->job->columns[i], ": `none` has no columns");
  return true;
}

static const Reader reader_table[] = {
    {"mnist", true, mnist_read}, {"idx", false, idx_read}, {"npy", false, npy_read},
    {"npz", false, npz_read},    {"csv", false, csv_read}, {"none", false, none_read},
};

const Reader *reader_find(const char *name) {
  for (size_t i = 0; i < sizeof reader_table / sizeof *reader_table; i++)
    if (!strcmp(reader_table[i].name, name)) return &reader_table[i];
  return NULL;
}
