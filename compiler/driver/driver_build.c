/* SPDX-License-Identifier: Apache-2.0
 * driver_build.c -- `routec build`: the job as C initialisers and the very object bytes that the JIT would load,
 * compiled and linked with the runtime library by `cc`. The trainer holds no LLVM. */
#include "driver.h"
#include <errno.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

const char *driver_find_beside(Arena *a, const char *const *places, uint32_t n, const char *file) {
  const char *exe = driver_own_folder(a);
  if (!exe) return NULL;
  for (uint32_t i = 0; i < n; i++) {
    const char *folder = arena_printf(a, "%s/%s", exe, places[i]);
    if (access(arena_printf(a, "%s/%s", folder, file), R_OK) == 0) return folder;
  }
  return NULL;
}

/* Runs argv[0] from PATH without a shell. Exit status, or -1 if it could not be started. */
static int spawn_and_wait(char *const *argv) {
  pid_t pid;
  int status = 0;
  if (posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ) != 0) return -1;
  while (waitpid(pid, &status, 0) < 0)
    if (errno != EINTR) return -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

static bool write_bytes(const char *path, const uint8_t *bytes, size_t n) {
  FILE *f = fopen(path, "wb");
  if (!f) return false;
  const bool ok = fwrite(bytes, 1, n, f) == n;
  return (fclose(f) == 0) && ok;
}

static bool write_job(const char *path, const Job *job) {
  FILE *f = fopen(path, "w");
  if (!f) return false;
  driver_job_print_c(job, f);
  const bool ok = !ferror(f);
  return (fclose(f) == 0) && ok;
}

static int link_trainer(Compilation *c, const char *folder, const char *output) {
  static const char *const lib_places[] = {".", "../" ROUTEC_LIBDIR "/routec", "../lib/routec"};
  static const char *const include_places[] = {"include/routec", "../include/routec"};
  Arena *a = c->arena;
  const char *lib = driver_find_beside(a, lib_places, 3, "libroutec_rt.a");
  const char *include = driver_find_beside(a, include_places, 2, "rt.h");
  if (!lib) return driver_fail(c->o, RT_RUN_FAILED, E0515, "libroutec_rt.a", NULL);
  if (!include) return driver_fail(c->o, RT_RUN_FAILED, E0515, "rt.h", NULL);
  const char *cc = getenv("CC");
  char *argv[40];
  uint32_t n = 0;
#define ADD(...) (argv[n++] = arena_printf(a, __VA_ARGS__))
  ADD("%s", cc && *cc ? cc : "cc");
  ADD("-std=gnu11");
  ADD("-O1");
  ADD("-I%s", include);
  ADD("%s/job.c", folder);
  for (uint32_t i = 0; i < c->object.n; i++) ADD("%s/code%u.o", folder, i);
#ifdef ROUTEC_SANITIZE
  ADD("%s", ROUTEC_SANITIZE_FLAG);
#endif
  ADD("-o");
  ADD("%s", output);
  ADD("%s/libroutec_rt.a", lib);
  ADD("%s/libroutec_plugins.a", lib);
  static const char *const libraries[] = {"-lz", "-ldeflate", "-lpng", "-ljansson", "-lxxhash", "-lmd", "-lpthread", "-ldl", "-lm"};
  for (uint32_t i = 0; i < sizeof libraries / sizeof *libraries; i++) ADD("%s", libraries[i]);
#undef ADD
  argv[n] = NULL;
  const int status = spawn_and_wait(argv);
  if (status == 0) return RT_OK;
  return driver_fail(c->o, RT_RUN_FAILED, E0516, argv[0],
                     status < 0 ? "it could not be started" : arena_printf(a, "exit status %d", status));
}

int driver_build(Compilation *c, const char *output) {
  const char *base = getenv("TMPDIR");
  char *folder = arena_printf(c->arena, "%s/routec-build-XXXXXX", base && *base ? base : "/tmp");
  if (!mkdtemp(folder)) return driver_fail(c->o, RT_RUN_FAILED, E0517, folder, strerror(errno));
  const char *job_c = arena_printf(c->arena, "%s/job.c", folder), *code_o[OBJECT_PARTS];
  int code = RT_OK;
  bool written = write_job(job_c, c->job);
  for (uint32_t i = 0; i < c->object.n; i++) {
    code_o[i] = arena_printf(c->arena, "%s/code%u.o", folder, i);
    written = written && write_bytes(code_o[i], c->object.part[i].bytes, c->object.part[i].size);
  }
  if (!written) code = driver_fail(c->o, RT_RUN_FAILED, E0517, folder, strerror(errno));
  if (code == RT_OK) code = link_trainer(c, folder, output);
  unlink(job_c);
  for (uint32_t i = 0; i < c->object.n; i++) unlink(code_o[i]);
  rmdir(folder);
  if (code == RT_OK && !c->o->rt.quiet && !c->o->rt.json) printf("%s: a trainer for %s\n", output, c->job->target_cpu);
  return code;
}
