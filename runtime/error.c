/* SPDX-License-Identifier: Apache-2.0
 * error.c -- the table of error.def, filling and printing. */
#include "error.h"
#include "rt.h"
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

typedef struct CodeRow {
  const char *name;
  RtLevel level;
  const char *message, *explain;
} CodeRow;
static const CodeRow code_table[RT_N_CODES] = {
    {"E0700", RT_LEVEL_ERROR, "no error", ""},
#define RT_ERROR(code, level, message, explain) {#code, level, message, explain},
#include "error.def"
#undef RT_ERROR
};

void rt_error_fill(RtError *e, const JobSpan *span, RtCode code, va_list args) {
  if (e->code != RT_NO_ERROR) return;
  if (code <= RT_NO_ERROR || code >= RT_N_CODES)
    fprintf(stderr, "runtime: error code %d\n", (int)code), abort();
  e->code = code;
  e->span = span ? *span : (JobSpan){0};
  vsnprintf(e->message, sizeof e->message, code_table[code].message, args);
}

bool rt_fail(RtError *e, RtCode code, ...) {
  va_list args;
  va_start(args, code);
  rt_error_fill(e, NULL, code, args);
  va_end(args);
  return false;
}

bool rt_fail_at(RtError *e, const JobSpan *span, RtCode code, ...) {
  va_list args;
  va_start(args, code);
  rt_error_fill(e, span, code, args);
  va_end(args);
  return false;
}

static void error_print_json(const RtError *e, FILE *f) {
  json_t *o = json_object();
  json_object_set_new(o, "level",
                      json_string(code_table[e->code].level == RT_LEVEL_ERROR ? "error" : "warning"));
  json_object_set_new(o, "code", json_string(code_table[e->code].name));
  json_t *message = json_string(e->message); /* NULL when a file name in it is not UTF-8 */
  json_object_set_new(o, "message", message ? message : json_string("(not UTF-8)"));
  if (e->span.file) {
    json_object_set_new(o, "file", json_string(e->span.file));
    json_object_set_new(o, "line", json_integer(e->span.line));
    json_object_set_new(o, "column", json_integer(e->span.col));
  }
  json_dumpf(o, f, JSON_COMPACT);
  fputc('\n', f);
  json_decref(o);
}

void rt_error_print(const RtError *e, FILE *f, bool json, bool color) {
  if (e->code == RT_NO_ERROR) return;
  const CodeRow *row = &code_table[e->code];
  bool warning = row->level == RT_LEVEL_WARNING;
  if (json) {
    error_print_json(e, f);
  } else {
    fprintf(f, "%s%s[%s]%s: %s\n", color ? warning ? "\033[1;33m" : "\033[1;31m" : "",
            warning ? "warning" : "error", row->name, color ? "\033[0m" : "", e->message);
    if (e->span.file) fprintf(f, "  --> %s:%u:%u\n", e->span.file, e->span.line, e->span.col);
  }
  fflush(f);
}

const char *rt_code_name(RtCode c) { return code_table[c].name; }
const char *rt_code_message(RtCode c) { return code_table[c].message; }
RtLevel rt_code_level(RtCode c) { return code_table[c].level; }
bool rt_code_is_plugin(RtCode c) {
  const char *name = c ? code_table[c].name : "";
  return !strncmp(name, "E075", 4) || !strncmp(name, "E076", 4);
}

const char *rt_explain(const char *code) {
  for (int i = RT_NO_ERROR + 1; i < RT_N_CODES; i++)
    if (!strcmp(code_table[i].name, code)) return code_table[i].explain;
  return NULL;
}
