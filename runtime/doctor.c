/* SPDX-License-Identifier: Apache-2.0
 * doctor.c -- checks of CPU and BLAS. */
#include "doctor.h"
#include "gemm.h"
#include "pool.h"
#include "mem.h"
#include "rt.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

void doctor_cpu_model(char *out, size_t cap) {
  FILE *f = fopen("/proc/cpuinfo", "r");
  char line[512];
  snprintf(out, cap, "unknown");
  while (f && fgets(line, sizeof line, f))
    if (!strncmp(line, "model name", 10) && strchr(line, ':')) {
      snprintf(out, cap, "%s", strchr(line, ':') + 2);
      out[strcspn(out, "\n")] = 0;
      break;
    }
  if (f) fclose(f);
}

/* The instruction sets that emitted code can contain; the rest of a feature list follows from them. */
static uint32_t features_here(CpuFeature *f) {
  uint32_t n = 0;
#if defined(__x86_64__)
  __builtin_cpu_init();
#define HAS(name)                                                                                            \
  f[n++] = (CpuFeature) { name, __builtin_cpu_supports(name) }
  HAS("sse4.1"), HAS("sse4.2"), HAS("popcnt"), HAS("avx"), HAS("avx2"), HAS("fma"), HAS("bmi"), HAS("bmi2");
  HAS("avx512f"), HAS("avx512vl"), HAS("avx512bw"), HAS("avx512dq"), HAS("avx512cd"), HAS("avx512ifma"), HAS("avx512vbmi");
  HAS("avx512vbmi2"), HAS("avx512vnni"), HAS("avx512bitalg"), HAS("avx512vpopcntdq");
#undef HAS
#endif
  return n;
}

/* What each level of x86-64 (the psABI's) adds to the one before, as far as features_here() asks. */
static const char *const levels[] = {"+sse4.1,+sse4.2,+popcnt", "+avx,+avx2,+fma,+bmi,+bmi2",
                                     "+avx512f,+avx512vl,+avx512bw,+avx512dq,+avx512cd"};
enum { N_LEVELS = sizeof levels / sizeof *levels };

static bool list_missing(const CpuFeature *has, uint32_t n, const char *list, char *out, size_t cap) {
  for (const char *p = list; *p;) {
    size_t length = strcspn(p, ",");
    for (uint32_t i = 0; i < n && *p == '+'; i++)
      if (strlen(has[i].name) == length - 1 && !memcmp(has[i].name, p + 1, length - 1) && !has[i].present)
        return snprintf(out, cap, "%s", has[i].name), true;
    p += length + (p[length] == ',');
  }
  return false;
}

bool doctor_missing_of(const CpuFeature *has, uint32_t n, const char *cpu, const char *features, char *out, size_t cap) {
  int level = 1;
  if (cpu) sscanf(cpu, "x86-64-v%d", &level);
  for (int i = 0; i < N_LEVELS && i + 2 <= level; i++)
    if (list_missing(has, n, levels[i], out, cap)) return true;
  return features && list_missing(has, n, features, out, cap);
}

bool doctor_missing_feature(const char *cpu, const char *features, char *out, size_t cap) {
  CpuFeature here[32];
  const uint32_t n = features_here(here);
  return doctor_missing_of(here, n, cpu, features, out, cap);
}

/* "$XDG_CACHE_HOME/routec/blas-<hash of core, build and CPU>"; caller frees. NULL without a home. */
static char *blas_mark(void) {
  const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
  char cpu[256];
  if ((!cache || *cache != '/') && (!home || *home != '/')) return NULL;
  doctor_cpu_model(cpu, sizeof cpu);
  char *key = mem_printf("%s\n%s\n%s", rt_gemm_core(), rt_gemm_config(), cpu);
  char *folder =
      cache && *cache == '/' ? mem_printf("%s/routec", cache) : mem_printf("%s/.cache/routec", home);
  char *mark = mem_printf("%s/blas-%016llx", folder, (unsigned long long)XXH64(key, strlen(key), 0));
  char *slash = strrchr(folder, '/');
  *slash = 0, mkdir(folder, 0777), *slash = '/', mkdir(folder, 0777);
  free(key), free(folder);
  return mark;
}

bool doctor_blas_once(void) {
  RtGemmReport report;
  char *mark = blas_mark();
  bool good = mark && access(mark, F_OK) == 0;
  if (!good && (good = rt_gemm_check(rt_sgemm, 64, &report)) && mark) {
    int fd = open(mark, O_WRONLY | O_CREAT | O_CLOEXEC,
                  0666); /* if it cannot be made, the check is repeated next time */
    if (fd >= 0) close(fd);
  }
  free(mark);
  return good;
}

bool rt_doctor(FILE *f, bool verbose) {
  char cpu[256];
  CpuFeature here[32];
  uint32_t n = features_here(here);
  doctor_cpu_model(cpu, sizeof cpu);
  fprintf(f, "CPU: %s, %d usable, %ld online\n", cpu, pool_cpus(), sysconf(_SC_NPROCESSORS_ONLN));
  fprintf(f, "Instruction sets:");
  for (uint32_t i = 0; i < n; i++)
    if (here[i].present) fprintf(f, " %s", here[i].name);
  fprintf(f, "\nMemory: %.1f GB\n", (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGE_SIZE) * 1e-9);
  return rt_gemm_doctor(f, verbose);
}
