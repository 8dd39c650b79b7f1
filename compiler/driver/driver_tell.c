/* SPDX-License-Identifier: Apache-2.0
 * driver_tell.c -- the commands that only tell something: check, plan, explain, doctor, fmt. */
#include "driver.h"
#include "driver_cache.h"
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void print_count(uint32_t n, const char *what) { printf(", %u %s%s", n, what, n == 1 ? "" : "s"); }

static void print_check_summary(const Compilation *c) {
  const Program *p = c->program;
  double numbers = 0;
  uint32_t losses = 0, routes = 0;
  for (uint32_t i = 0; i < p->n_params; i++) numbers += (double)shape_count(&p->params[i].shape, 1);
  for (uint32_t i = 0; i < p->n_origins; i++) losses += !p->origins[i].regularizer;
  for (uint32_t i = 0, j; i < p->n_routes; i++) { /* one of parameters is there once for each that it masks */
    for (j = 0; j < i && strcmp(p->routes[j].name, p->routes[i].name); j++) {}
    routes += j == i;
  }
  printf("%s: no errors", c->o->argument);
  print_count(p->n_params, "parameter");
  printf(" with %.0f numbers", numbers);
  print_count(losses, losses == 1 ? "loss" : "losse");
  print_count(p->n_origins - losses, "regularizer");
  print_count(routes, "route");
  print_count(p->n_evals, "evaluation");
  fputc('\n', stdout);
}

int driver_command_check(const Options *o) {
  Compilation c;
  bool stopped;
  driver_open(&c, o);
  const int code = driver_compile(&c, o->argument, STAGE_PROVE, &stopped);
  if (code == RT_OK && !stopped && !o->dump && !o->rt.json && !o->rt.quiet) print_check_summary(&c);
  if (o->rt.verbose) driver_print_times(&c, stderr);
  driver_close(&c);
  return code;
}

int driver_command_plan(const Options *o) {
  Compilation c;
  bool stopped;
  driver_open(&c, o);
  RtMemory memory;
  int code = driver_compile(&c, o->argument, STAGE_PLAN, &stopped);
  if (code == RT_OK && !stopped && o->measure) code = driver_measure(&c);
  else if (code == RT_OK && !stopped && !o->dump) {
    code = rt_memory(plan_bind(c.arena, c.plan), &o->rt, o->memory, &memory);
    if (code == RT_OK && o->rt.json) driver_report_json(&c, &memory, stdout);
    else if (code == RT_OK) driver_report_text(&c, &memory, stdout);
  }
  if (o->rt.verbose) driver_print_times(&c, stderr);
  driver_close(&c);
  return code;
}

/* Codes of the compiler (diag.def) and of the runtime (error.def) as one list. */
typedef struct Page { const char *code, *message, *text; } Page;
static const Page pages[] = {
#define DIAG(code, level, message, explain) {#code, message, explain},
#include "diag.def"
#undef DIAG
#define RT_ERROR(code, level, message, explain) {#code, message, explain},
#include "error.def"
#undef RT_ERROR
};
#define N_PAGES (sizeof pages / sizeof *pages)

/* The message with `...` where a name or number of the user's goes (%s, %lld, %.4g). */
static const char *page_title(const Page *p, char *text, size_t size) {
  size_t n = 0;
  for (const char *m = p->message; *m && n + 4 < size; m++) {
    if (*m != '%' || m[1] == '%') {
      m += *m == '%';
      text[n++] = *m;
      continue;
    }
    m += strcspn(m + 1, "cdefgisuxX") + 1;
    memcpy(text + n, "...", 3);
    n += 3;
  }
  text[n] = 0;
  return text;
}

int driver_command_explain(const Options *o) {
  const char *names[N_PAGES];
  char title[512];
  json_t *all = o->rt.json && !o->argument ? json_array() : NULL;
  for (size_t i = 0; i < N_PAGES; i++) {
    const Page *p = &pages[i];
    names[i] = p->code;
    if (o->argument && strcmp(o->argument, p->code) != 0) continue;
    page_title(p, title, sizeof title);
    json_t *page = o->rt.json ? json_pack("{s:s,s:s,s:s}", "code", p->code, "message", title, "text", p->text) : NULL;
    if (all) json_array_append_new(all, page);
    else if (page) {
      json_dumpf(page, stdout, JSON_INDENT(2));
      printf("\n");
      json_decref(page);
    } else if (o->argument) printf("%s: %s\n\n%s\n", p->code, title, p->text);
    else printf("%s  %s\n", p->code, title);
    if (o->argument) return RT_OK;
  }
  if (all) {
    json_dumpf(all, stdout, JSON_INDENT(2));
    printf("\n");
    json_decref(all);
  }
  if (!o->argument) return RT_OK;
  return driver_fail_near(o, RT_USAGE, o->argument, names, N_PAGES, E0511, o->argument, NULL);
}

int driver_command_doctor(const Options *o) {
  TargetInfo t;
  HostInfo h;
  const char *why = NULL;
  if (!driver_host(o, &h, &why)) return driver_fail(o, RT_RUN_FAILED, E0525, why, NULL);
  printf("routec %s, %s\n", ROUTEC_VERSION, h.llvm);
  const int unknown = driver_target(o, &h, &t);
  if (unknown) return unknown;
  printf("cpu %s: %d floats a vector, %s fused multiply-add; caches of a core %lld KiB, %lld KiB\n", t.cpu,
         t.vector_floats, t.fma ? "with" : "no", (long long)t.l1 >> 10, (long long)t.l2 >> 10);
  const char *folder = cache_folder(o, &why);
  printf("compiled code is kept in %s%s\n", folder ? folder : "no cache: ", folder ? "" : why);
  printf("targets: native, x86-64-v2, x86-64-v3, x86-64-v4\n");
  if (rt_doctor(stdout, o->rt.verbose > 0)) return RT_OK;
  return driver_fail(o, RT_RUN_FAILED, E0522, NULL, NULL);
}

/* Writes the formatted text beside the file and renames it over: an interruption leaves the old one whole. */
static int format_in_place(const Options *o, const ParseResult *r) {
  const size_t n = strlen(o->argument);
  char *temporary = malloc(n + 8);
  if (!temporary) return driver_fail(o, RT_INTERNAL, E0517, o->argument, "out of memory");
  memcpy(temporary, o->argument, n);
  memcpy(temporary + n, ".XXXXXX", 8);
  const int fd = mkstemp(temporary);
  FILE *f = fd >= 0 ? fdopen(fd, "wb") : NULL;
  if (f) dsl_format(r, f);
  bool ok = f && fflush(f) == 0 && fsync(fd) == 0;
  if (f && fclose(f) != 0) ok = false;
  if (ok && rename(temporary, o->argument) != 0) ok = false;
  if (!ok && fd >= 0) unlink(temporary);
  free(temporary);
  return ok ? RT_OK : driver_fail(o, RT_RUN_FAILED, E0517, o->argument, "the formatted text could not be written");
}

int driver_command_fmt(const Options *o) {
  Compilation c;
  bool stopped;
  driver_open(&c, o);
  int code = driver_compile(&c, o->argument, STAGE_PARSE, &stopped);
  if (code == RT_OK && o->in_place) code = format_in_place(o, &c.parse);
  else if (code == RT_OK) dsl_format(&c.parse, stdout);
  driver_close(&c);
  return code;
}
