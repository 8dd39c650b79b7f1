/* SPDX-License-Identifier: Apache-2.0
 * data_csv.c -- numbers in lines, separated by commas. Fields may be quoted and padded by blanks; line ends
 * are LF or CRLF. */
#include "array.h"
#include <stdlib.h>
#include <string.h>

typedef struct Csv {
  const char *path, *begin, *p, *end;
  int64_t line, rows, fields; /* fields: of the first line read, -1 before it */
  const CsvColumn *columns;
  uint32_t n_columns;
  RawArray *out;
  RtError *e;
} Csv;

static bool csv_fail(const Csv *c, const char *line_start, const char *at, const char *why) {
  return rt_fail(c->e, RT_E0705, c->path, (long long)c->line, (long long)(at - line_start) + 1, why);
}

static const char *csv_line_end(const char *p, const char *end) {
  const char *nl = memchr(p, '\n', (size_t)(end - p));
  return nl ? nl : end;
}

/* [p, q) without blanks, CR and one pair of quotes around it. */
static void csv_trim(const char **p, const char **q) {
  while (*p < *q && (**p == ' ' || **p == '\t')) ++*p;
  while (*p < *q && ((*q)[-1] == ' ' || (*q)[-1] == '\t' || (*q)[-1] == '\r')) --*q;
  if (*q - *p >= 2 && **p == '"' && (*q)[-1] == '"') ++*p, --*q;
}

/* Unsigned integers of up to 15 digits are the common case; all else goes through strtod. */
static bool csv_number(const char *p, const char *q, double *out) {
  int64_t n = 0;
  const char *s = p;
  for (; s < q && *s >= '0' && *s <= '9' && s - p < 15; s++) n = n * 10 + (*s - '0');
  if (s == q && s > p) return *out = (double)n, true;
  char copy[64], *stop;
  if (p >= q || (size_t)(q - p) >= sizeof copy || memchr(p, 0, (size_t)(q - p))) return false;
  if (*p == ' ' || *p == '\n') return false;
  memcpy(copy, p, (size_t)(q - p));
  copy[q - p] = 0;
  if (strpbrk(copy, "xX(")) return false; /* strtod would read hexadecimal and nan(...) */
  *out = strtod(copy, &stop);
  return *stop == 0;
}

static void csv_store(Csv *c, int64_t field, double v) {
  for (uint32_t i = 0; i < c->n_columns; i++) {
    const CsvColumn *col = &c->columns[i];
    if (field < col->first || field >= col->past) continue;
    int64_t at = c->rows * (col->past - col->first) + field - col->first;
    if (col->whole) ((double *)c->out[i].memory.bytes)[at] = v;
    else ((float *)c->out[i].memory.bytes)[at] = (float)v;
  }
}

static bool csv_wanted(const Csv *c, int64_t field) {
  for (uint32_t i = 0; i < c->n_columns; i++)
    if (field >= c->columns[i].first && field < c->columns[i].past) return true;
  return false;
}

static bool csv_line(Csv *c, const char *start, const char *stop) {
  int64_t field = 0;
  for (const char *p = start;; field++) {
    const char *comma = memchr(p, ',', (size_t)(stop - p)), *q = comma ? comma : stop;
    if (csv_wanted(c, field)) {
      const char *a = p, *b = q;
      double v;
      csv_trim(&a, &b);
      if (!csv_number(a, b, &v)) {
        char why[96];
        snprintf(why, sizeof why, a == b ? "the field is empty" : "`%.*s` is not a number",
                 (int)(b - a > 40 ? 40 : b - a), a);
        return csv_fail(c, start, a, why);
      }
      csv_store(c, field, v);
    }
    if (!comma) break;
    p = comma + 1;
  }
  if (c->fields < 0) c->fields = field + 1;
  if (field + 1 != c->fields) {
    char why[96];
    snprintf(why, sizeof why, "%lld fields, but the lines before have %lld", (long long)field + 1,
             (long long)c->fields);
    return csv_fail(c, start, stop, why);
  }
  for (uint32_t i = 0; i < c->n_columns; i++)
    if (c->columns[i].past > c->fields) {
      char why[160];
      snprintf(why, sizeof why, "column `%.60s` needs field %lld, but the line has %lld fields",
               c->columns[i].name, (long long)c->columns[i].past - 1, (long long)c->fields);
      return csv_fail(c, start, stop, why);
    }
  return true;
}

static bool csv_blank(const char *p, const char *q) {
  for (; p < q; p++)
    if (*p != ' ' && *p != '\t' && *p != '\r') return false;
  return true;
}

/* Calls csv_line for every line with data, or only counts them. */
static bool csv_walk(Csv *c, int64_t skip, bool store) {
  c->rows = 0, c->line = 0, c->fields = -1;
  for (c->p = c->begin; c->p < c->end;) {
    const char *stop = csv_line_end(c->p, c->end);
    c->line++;
    if (c->line > skip && !csv_blank(c->p, stop)) {
      if (store && !csv_line(c, c->p, stop)) return false;
      c->rows++;
    }
    c->p = stop < c->end ? stop + 1 : c->end;
  }
  return true;
}

bool csv_parse(const char *path, const Slab *file, int64_t skip, const CsvColumn *columns, uint32_t n,
               RawArray *out, RtError *e) {
  Csv c = {.path = path,
           .begin = (const char *)file->bytes,
           .end = (const char *)file->bytes + file->size,
           .columns = columns,
           .n_columns = n,
           .out = out,
           .e = e};
  for (uint32_t i = 0; i < n; i++) out[i] = (RawArray){0};
  csv_walk(&c, skip, false);
  bool ok = c.rows > 0 || rt_fail(e, RT_E0702, path, "CSV", file->size ? "no line with data" : "it is empty");
  for (uint32_t i = 0; ok && i < n; i++) {
    int64_t bytes;
    out[i].type = columns[i].whole ? RAW_F64 : RAW_F32;
    out[i].rank = 2, out[i].dims[0] = c.rows, out[i].dims[1] = columns[i].past - columns[i].first;
    /* a line of f fields has at least f - 1 commas, so a column wider than the file cannot be filled */
    if (columns[i].past > (int64_t)file->size)
      ok = rt_fail(e, RT_E0702, path, "CSV", "a column asks for more fields than the file has bytes");
    else
      ok = (mem_product(out[i].dims, 2, &bytes) && mem_mul(bytes, 8, &bytes)) ||
           rt_fail(e, RT_E0719, 0LL, path);
    if (ok) ok = slab_alloc(&out[i].memory, bytes, path, e);
    out[i].values = out[i].memory.bytes;
  }
  if (ok) ok = csv_walk(&c, skip, true);
  for (uint32_t i = 0; !ok && i < n; i++) raw_free(&out[i]);
  return ok;
}
