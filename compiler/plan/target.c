/* SPDX-License-Identifier: Apache-2.0
 * target.c -- what the plan asks of a machine. */
#include "plan.h"
#include <string.h>
#include <unistd.h>

typedef struct NamedTarget {
  const char *name;
  int32_t vector_floats;
  bool fma;
} NamedTarget;
static const NamedTarget named[] = {{"x86-64-v2", 4, false}, {"x86-64-v3", 8, true}, {"x86-64-v4", 16, true}};

static int64_t cache_bytes(int name, int64_t otherwise) {
  long n = sysconf(name);
  return n > 0 ? n : otherwise;
}

static void clear(TargetInfo *t) {
  memset(t, 0, sizeof *t); /* padding too: its bytes are part of a key */
  t->l1 = cache_bytes(_SC_LEVEL1_DCACHE_SIZE, 32 << 10);
  t->l2 = cache_bytes(_SC_LEVEL2_CACHE_SIZE, 512 << 10);
}

static bool has_feature(const char *features, const char *name) {
  const char *p = strstr(features, name);
  size_t n = strlen(name);
  return p && (p[n] == ',' || p[n] == 0);
}

void target_of_host(TargetInfo *t, const char *cpu, const char *features) {
  clear(t);
  snprintf(t->cpu, sizeof t->cpu, "%s", cpu);
  snprintf(t->features, sizeof t->features, "%s", features);
  bool avx512 = has_feature(features, "+avx512f") && has_feature(features, "+avx512vl") && has_feature(features, "+avx512dq");
  t->fma = has_feature(features, "+fma");
  t->vector_floats = avx512 ? 16 : has_feature(features, "+avx2") && t->fma ? 8 : 4;
}

bool target_named(const char *name, TargetInfo *out) {
  clear(out);
  for (size_t i = 0; i < sizeof named / sizeof *named; i++) {
    if (strcmp(name, named[i].name) != 0) continue;
    snprintf(out->cpu, sizeof out->cpu, "%s", name);
    out->vector_floats = named[i].vector_floats;
    out->fma = named[i].fma;
    return true;
  }
  return false;
}
