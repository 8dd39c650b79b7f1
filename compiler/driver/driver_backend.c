/* SPDX-License-Identifier: Apache-2.0
 * driver_backend.c -- the back end is a shared object of its own, loaded when something must be compiled: LLVM takes longer to load
 * than code from the cache takes to start. These functions stand for those of backend.h. */
#include "driver.h"
#include "driver_cache.h"
#include <dlfcn.h>
#include <string.h>
#include <sys/stat.h>

#define MODULE "libroutec_llvm.so"

static const char *module_path(void) {
  static const char *const places[] = {".", "..", "../" ROUTEC_LIBDIR "/routec", "../lib/routec"};
  static char path[4096];
  if (*path) return path;
  Arena *a = arena_create();
  const char *folder = driver_find_beside(a, places, 4, MODULE);
  if (folder) snprintf(path, sizeof path, "%s/" MODULE, folder);
  arena_destroy(a);
  return *path ? path : NULL;
}

static void *module_symbol(const char *name, const char **why) {
  static void *module;
  static char text[1024];
  const char *path = module ? NULL : module_path();
  *why = text;
  if (!module && !path) {
    snprintf(text, sizeof text, "`" MODULE "` lies neither beside routec nor in the installation's folder of libraries");
    return NULL;
  }
  void *symbol = NULL;
  if (!module) module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (module) symbol = dlsym(module, name);
  if (!symbol) snprintf(text, sizeof text, "%s", dlerror());
  return symbol;
}

bool backend_compile(Arena *a, const Plan *p, const BackendOptions *o, ObjectCode *out, BackendTimes *t, const char **why) {
  bool (*compile)(Arena *, const Plan *, const BackendOptions *, ObjectCode *, BackendTimes *, const char **) = NULL;
  *(void **)&compile = module_symbol("backend_compile", why);
  return compile && compile(a, p, o, out, t, why);
}

bool backend_products(Arena *a, const TargetInfo *target, const BackendProduct *p, uint32_t n, ObjectCode *out, const char **why) {
  bool (*products)(Arena *, const TargetInfo *, const BackendProduct *, uint32_t, ObjectCode *, const char **) = NULL;
  *(void **)&products = module_symbol("backend_products", why);
  return products && products(a, target, p, n, out, why);
}

/* What only LLVM can say of this machine; remembered by the cache. */
static bool ask_llvm(HostInfo *h, const char **why) {
  bool (*target)(const char *, TargetInfo *) = NULL;
  const char *(*version)(void) = NULL;
  TargetInfo t;
  *(void **)&target = module_symbol("backend_target", why);
  *(void **)&version = module_symbol("backend_version", why);
  if (!target || !version || !target(NULL, &t)) return false;
  memset(h, 0, sizeof *h);
  snprintf(h->cpu, sizeof h->cpu, "%s", t.cpu);
  snprintf(h->features, sizeof h->features, "%s", t.features);
  snprintf(h->llvm, sizeof h->llvm, "%s", version());
  return true;
}

bool driver_host(const Options *o, HostInfo *out, const char **why) {
  if (cache_host(o, out)) return true;
  if (!ask_llvm(out, why)) return false;
  cache_keep_host(o, out);
  return true;
}

int driver_target(const Options *o, const HostInfo *h, TargetInfo *out) {
  const bool native = !o->target || !strcmp(o->target, "native");
  if (native) target_of_host(out, h->cpu, h->features);
  return native || target_named(o->target, out) ? RT_OK : driver_fail(o, RT_USAGE, E0510, o->target, NULL);
}

/* Size and time of the files that compiled code comes from: another build, or another LLVM, has other ones. */
void driver_identity(uint64_t id[12]) {
  const char *files[3] = {"/proc/self/exe", module_path(), ROUTEC_LLVM_LIBRARY};
  memset(id, 0, 12 * sizeof *id);
  for (int i = 0; i < 3; i++) {
    struct stat s;
    if (!files[i] || stat(files[i], &s) != 0) continue;
    id[4 * i] = (uint64_t)s.st_size, id[4 * i + 1] = (uint64_t)s.st_mtim.tv_sec, id[4 * i + 2] = (uint64_t)s.st_mtim.tv_nsec;
    id[4 * i + 3] = (uint64_t)s.st_ino;
  }
}
