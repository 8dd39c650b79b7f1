/* SPDX-License-Identifier: Apache-2.0
 * driver_plugin_show.c -- `routec plugin show`: what a plugin's own tables say of it. */
#include "driver_plugin.h"
#include "builtin_plugins.h"
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct {
  const char *name, *id;
} abilities[] = {{"expr", ROUTE_EXT_EXPR},
                 {"span", ROUTE_EXT_SPAN},
                 {"reduce", ROUTE_EXT_REDUCE},
                 {"gate", ROUTE_EXT_GATE},
                 {"schedule", ROUTE_EXT_SCHEDULE}};
enum { N_ABILITIES = 5 };

static const char *kind_name(const RouteOp *op) {
  return op->kind == ROUTE_REGULARIZER ? "regularizer" : op->kind == ROUTE_GATE ? "gate" : "schedule";
}

/* First line of a doc, or what comes behind it. */
static int first_line(const char *doc) { return (int)strcspn(doc, "\n"); }

/* ---- JSON
 * -------------------------------------------------------------------------------------------------------- */
static json_t *number_or_null(double x) { return isfinite(x) ? json_real(x) : json_null(); }

static json_t *op_json(const RouteOp *op) {
  json_t *inputs = json_array(), *params = json_array(), *can = json_array();
  for (uint32_t i = 0; i < op->n_inputs; i++) {
    const RouteInput *in = rt_op_input(op, i);
    json_array_append_new(inputs, json_pack("{s:s,s:s,s:s}", "name", in->name, "doc", in->doc, "kind",
                                            in->kind == ROUTE_LABEL ? "label" : "real"));
  }
  for (uint32_t i = 0; i < op->n_params; i++) {
    const RouteParam *p = rt_op_param(op, i);
    json_array_append_new(params,
                          json_pack("{s:s,s:s,s:o,s:o,s:o,s:b,s:b}", "name", p->name, "doc", p->doc,
                                    "default", number_or_null(p->def), "min", number_or_null(p->min), "max",
                                    number_or_null(p->max), "integer", (int)(p->flags & ROUTE_PARAM_INT),
                                    "structural", (int)(p->flags & ROUTE_PARAM_STRUCTURAL) != 0));
  }
  for (uint32_t i = 0; i < N_ABILITIES; i++)
    if (op->extension(op, abilities[i].id)) json_array_append_new(can, json_string(abilities[i].name));
  return json_pack("{s:s,s:s,s:s,s:o,s:o,s:o}", "name", op->name, "kind", kind_name(op), "doc", op->doc,
                   "inputs", inputs, "params", params, "abilities", can);
}

static json_t *plugin_json(const RoutePlugin *p, const char *path, const char *sha256) {
  json_t *ops = json_array();
  for (uint32_t i = 0; p->ops[i]; i++) json_array_append_new(ops, op_json(p->ops[i]));
  char abi[32];
  snprintf(abi, sizeof abi, "%u.%u", p->abi.major, p->abi.minor);
  return json_pack("{s:s,s:s,s:s,s:s,s:s?,s:s?,s:o}", "name", p->name, "version", p->version, "license",
                   p->license, "abi", abi, "path", *path ? path : NULL, "sha256", *sha256 ? sha256 : NULL,
                   "ops", ops);
}

/* ---- text
 * -------------------------------------------------------------------------------------------------------- */
static void print_number(double x) {
  if (isnan(x)) printf("-");
  else printf("%.6g", x);
}

/* topk_sparsity(x, k = 8) */
static void print_call(const RoutePlugin *p, const RouteOp *op, bool builtin) {
  const bool own = builtin || strcmp(p->name, op->name) == 0;
  printf("%s%s%s(", own ? "" : p->name, own ? "" : ".", op->name);
  for (uint32_t i = 0; i < op->n_inputs; i++) printf("%s%s", i ? ", " : "", rt_op_input(op, i)->name);
  for (uint32_t i = 0; i < op->n_params; i++) {
    const RouteParam *a = rt_op_param(op, i);
    printf("%s%s = ", i || op->n_inputs ? ", " : "", a->name);
    if (isnan(a->def)) printf("...");
    else print_number(a->def);
  }
  printf(")");
}

static void print_param(const RouteParam *p) {
  printf("  %-14s %s%s", p->name, p->flags & ROUTE_PARAM_INT ? "integer" : "number",
         isnan(p->def) ? ", must be given" : "");
  if (isfinite(p->min) && isfinite(p->max)) printf(", %.6g to %.6g", p->min, p->max);
  else if (isfinite(p->min)) printf(", at least %.6g", p->min);
  else if (isfinite(p->max)) printf(", at most %.6g", p->max);
  if (!isnan(p->def)) printf(", default %.6g", p->def);
  printf("%s: %s\n", p->flags & ROUTE_PARAM_STRUCTURAL ? ", known when compiling" : "", p->doc);
}

static void print_op(const RoutePlugin *p, const RouteOp *op, bool builtin) {
  bool expr = false;
  print_call(p, op, builtin);
  printf("\n  %s; ", kind_name(op));
  for (uint32_t i = 0, n = 0; i < N_ABILITIES; i++)
    if (op->extension(op, abilities[i].id))
      printf("%s%s", n++ ? ", " : "abilities: ", abilities[i].name), expr |= i == 0;
  printf("%s\n\n", expr ? " (a formula: differentiated, masked and inlined by the compiler)" : "");
  for (const char *line = op->doc; *line;) {
    printf("  %.*s\n", first_line(line), line);
    line += first_line(line);
    line += *line == '\n';
  }
  printf("\n");
  for (uint32_t i = 0; i < op->n_inputs; i++) {
    const RouteInput *in = rt_op_input(op, i);
    printf("  %-14s %s: %s\n", in->name, in->kind == ROUTE_LABEL ? "labels" : "tensor", in->doc);
  }
  for (uint32_t i = 0; i < op->n_params; i++) print_param(rt_op_param(op, i));
}

static void print_plugin(const RoutePlugin *p, const char *path, const char *sha256) {
  printf("%s %s, license %s, ABI %u.%u\n", p->name, p->version, p->license, p->abi.major, p->abi.minor);
  if (*path) printf("%s\nsha256 %s\n", path, sha256);
  else printf("built in: its ops need no declaration\n");
  for (uint32_t i = 0; p->ops[i]; i++) {
    printf("\n");
    print_op(p, p->ops[i], !*path);
  }
}

/* ---- what there is
 * ----------------------------------------------------------------------------------------------- */
static void print_row(const RoutePlugin *p, const char *where) {
  printf("%s %s (%s)\n", p->name, p->version, where);
  for (uint32_t i = 0; p->ops[i]; i++)
    printf("  %-22s %-12s %.*s\n", p->ops[i]->name, kind_name(p->ops[i]), first_line(p->ops[i]->doc),
           p->ops[i]->doc);
}

/* Has the file the name of the entry in it? One that has not is never loaded: a folder may hold any library,
 * and loading runs its code. What cannot be read is left to the loader, which says why. */
static bool names_entry(const char *path) {
  static const char entry[] = "route_plugin_v1";
  struct stat st;
  const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return true;
  bool found = true;
  if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0 && st.st_size <= 1 << 30) {
    void *bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (bytes != MAP_FAILED) {
      found = memmem(bytes, (size_t)st.st_size, entry, sizeof entry - 1) != NULL;
      munmap(bytes, (size_t)st.st_size);
    }
  }
  close(fd);
  return found;
}

static void list_file(const Options *o, const char *file, json_t *all) {
  RtError e = {0};
  char path[PATH_MAX], sha256[RT_SHA256_TEXT] = "";
  const RoutePlugin *p = NULL;
  if (!realpath(file, path)) rt_fail(&e, RT_E0750, file, strerror(errno));
  else if (!names_entry(path)) rt_fail(&e, RT_E0753, file, "it does not have route_plugin_v1");
  else p = rt_plugin_load(path, NULL, sha256, &e);
  if (p) {
    if (o->rt.json) json_array_append_new(all, plugin_json(p, path, sha256));
    else print_row(p, path);
  } else if (o->rt.json) {
    json_array_append_new(all, json_pack("{s:s*,s:s,s:s*}", "path", file, "code", rt_code_name(e.code),
                                         "refused", e.message));
  } else {
    printf("%s: no plugin that could be used: %s\n", file, e.message);
  }
}

/* The shared objects of a folder. */
static void list_folder(const Options *o, const char *folder, json_t *all) {
  char pattern[PATH_MAX];
  glob_t found = {0};
  snprintf(pattern, sizeof pattern, "%s/*.so", folder);
  if (glob(pattern, 0, NULL, &found) != 0) found.gl_pathc = 0;
  for (size_t i = 0; i < found.gl_pathc; i++) list_file(o, found.gl_pathv[i], all);
  globfree(&found);
}

/* Built-in plugins, those of this folder, and those of the folders that specifications look into. */
static int list_all(const Options *o) {
  json_t *all = json_array();
  Arena *arena = arena_create();
  const RoutePlugin *p;
  for (uint32_t i = 0; (p = plugin_builtin_at(i)); i++) {
    if (o->rt.json) json_array_append_new(all, plugin_json(p, "", ""));
    else print_row(p, "built in");
  }
  list_folder(o, ".", all);
  for (const char *const *folder = driver_plugin_folders(arena, o->plugin_path); *folder; folder++)
    list_folder(o, *folder, all);
  if (o->rt.json) json_dumpf(all, stdout, JSON_INDENT(2)), printf("\n");
  json_decref(all);
  arena_destroy(arena);
  return RT_OK;
}

static int show_op(const Options *o, const RoutePlugin *p, bool builtin) {
  const char *names[257];
  uint32_t n = 0;
  for (; p->ops[n]; n++) {
    names[n] = p->ops[n]->name;
    if (strcmp(names[n], o->arguments[2]) != 0) continue;
    json_t *json = o->rt.json ? op_json(p->ops[n]) : NULL;
    if (json) json_dumpf(json, stdout, JSON_INDENT(2)), printf("\n");
    else print_op(p, p->ops[n], builtin);
    json_decref(json);
    return RT_OK;
  }
  return driver_fail_near(o, RT_USAGE, o->arguments[2], names, n, E0566, p->name, o->arguments[2]);
}

int plugin_show(const Options *o) {
  char path[PATH_MAX], sha256[RT_SHA256_TEXT] = "";
  const RoutePlugin *p = NULL;
  RtError e = {0};
  if (o->n_arguments == 1) return list_all(o);
  const int code = plugin_named(o, o->arguments[1], &p, path);
  if (code != RT_OK) return code;
  if (o->n_arguments == 3) return show_op(o, p, !*path);
  if (*path) rt_plugin_sha256(path, sha256, &e);
  json_t *json = o->rt.json ? plugin_json(p, path, sha256) : NULL;
  if (json) json_dumpf(json, stdout, JSON_INDENT(2)), printf("\n");
  else print_plugin(p, path, sha256);
  json_decref(json);
  return RT_OK;
}
