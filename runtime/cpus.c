/* SPDX-License-Identifier: Apache-2.0
 * cpus.c -- how many CPUs this process may use: those of its affinity mask, but no more than its control groups pay for.
 * A quota is CPU time per period, of the group and of every group above it; what a thread spins counts too. */
#include "pool.h"
#include "mem.h"
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static FILE *open_file(const char *root, const char *group, const char *name) {
  char *path = mem_printf("%s/sys/fs/cgroup%s/%s", root, group, name);
  FILE *f = path ? fopen(path, "r") : NULL;
  free(path);
  return f;
}

/* "QUOTA PERIOD" or "max PERIOD" in one file (version 2), or each in its own, a quota of -1 for none (version 1). */
static double quota_of_group(const char *root, const char *group, bool v2) {
  double quota = -1, period = -1;
  FILE *f = open_file(root, group, v2 ? "cpu.max" : "cpu.cfs_quota_us");
  if (!f) return INFINITY;
  const int n = fscanf(f, "%lf %lf", &quota, &period);
  fclose(f);
  if (!v2 && n == 1 && (f = open_file(root, group, "cpu.cfs_period_us"))) {
    if (fscanf(f, "%lf", &period) != 1) period = -1;
    fclose(f);
  }
  return quota > 0 && quota < INFINITY && period > 0 ? quota / period : INFINITY;
}

/* The least of the group at `path`, which it cuts off from the end, and all above it. `mount`: before the path. */
static double quota_of_path(const char *root, const char *mount, char *path, bool v2) {
  double least = INFINITY;
  for (;;) {
    char *group = mem_printf("%s%s", mount, path);
    const double quota = group ? quota_of_group(root, group, v2) : INFINITY;
    free(group);
    if (quota < least) least = quota;
    char *slash = strrchr(path, '/');
    if (!slash) return least;
    *slash = 0;
  }
}

/* Is `cpu` one of the words of a list such as "cpu,cpuacct"? */
static bool names_cpu(const char *list) {
  for (const char *p = list; *p; p += *p == ',') {
    const size_t n = strcspn(p, ",");
    if (n == 3 && !strncmp(p, "cpu", 3)) return true;
    p += n;
  }
  return false;
}

double cpus_quota(const char *root) {
  double least = INFINITY;
  char *line = NULL, *proc = mem_printf("%s/proc/self/cgroup", root);
  size_t cap = 0;
  FILE *f = proc ? fopen(proc, "r") : NULL;
  free(proc);
  while (f && getline(&line, &cap, f) > 0) { /* "ID:CONTROLLERS:/PATH"; version 2 names no controllers */
    char *list = strchr(line, ':'), *path = list ? strchr(list + 1, ':') : NULL;
    if (!path) continue;
    *list++ = 0, *path++ = 0, path[strcspn(path, "\n")] = 0;
    const bool v2 = !*list;
    if (!v2 && !names_cpu(list)) continue;
    const double quota = quota_of_path(root, v2 ? "" : "/cpu", path, v2);
    if (quota < least) least = quota;
  }
  if (f) fclose(f);
  free(line);
  return least;
}

int pool_cpus(void) {
  cpu_set_t set;
  int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 0;
  if (n < 1) n = (int)sysconf(_SC_NPROCESSORS_ONLN);
  const double quota = ceil(cpus_quota("") - 1e-6); /* the last of 1.5 CPUs is worth more than it waits */
  if (quota < n) n = (int)quota;
  return n > 0 ? n : 1;
}
