/* SPDX-License-Identifier: Apache-2.0
 * driver_cache.c -- files of the cache: a head (magic, length, XXH3 of the contents), then the contents. */
#include "driver_cache.h"
#include <cpuid.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define CACHE_BYTES ((int64_t)256 << 20)
#define CACHE_MAGIC 0x32306f6365747572u /* "rutec o02", little-endian */
typedef struct Head { uint64_t magic, size, hash[2]; } Head;

/* ---- the folder ---------------------------------------------------------------------------------------------------- */
static bool make_folder(char *path, const char **why) {
  for (char *p = path + 1; *p; p++) {
    if (*p != '/') continue;
    *p = 0;
    mkdir(path, 0700);
    *p = '/';
  }
  if (mkdir(path, 0700) == 0) return true;
  struct stat s;
  if (errno != EEXIST || stat(path, &s) != 0) *why = strerror(errno);
  else if (!S_ISDIR(s.st_mode)) *why = "it is no folder";
  else if (s.st_uid != geteuid() || (s.st_mode & 022)) *why = "somebody else may write there, and it holds machine code";
  else return true;
  return false;
}

const char *cache_folder(const Options *o, const char **why) {
  static char path[4096];
  const char *base = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
  int n = -1;
  *why = "--no-cache";
  if (o->no_cache) return NULL;
#ifdef ROUTEC_FAULTS
  *why = "this build has faults, which no key knows";
  return NULL;
#endif
  if (base && *base == '/') n = snprintf(path, sizeof path, "%s/routec", base);
  else if (home && *home == '/') n = snprintf(path, sizeof path, "%s/.cache/routec", home);
  *why = "neither XDG_CACHE_HOME nor HOME names a folder";
  if (n < 0 || n >= (int)sizeof path - 128) return NULL;
  return make_folder(path, why) ? path : NULL;
}

/* ---- entries --------------------------------------------------------------------------------------------------------- */
static bool entry_path(const Options *o, const char *name, char *path, size_t n) {
  const char *why, *folder = cache_folder(o, &why);
  return folder && snprintf(path, n, "%s/%s", folder, name) < (int)n;
}

/* The contents, in `a`; NULL: not there, or damaged (then it is taken away). */
static uint8_t *entry_read(const Options *o, const char *name, Arena *a, size_t *size) {
  char path[4224];
  Head h;
  struct stat s;
  if (!entry_path(o, name, path, sizeof path)) return NULL;
  FILE *f = fopen(path, "rbe");
  if (!f) return NULL;
  uint8_t *bytes = NULL;
  bool ok = fstat(fileno(f), &s) == 0 && s.st_uid == geteuid() && fread(&h, sizeof h, 1, f) == 1 && h.magic == CACHE_MAGIC &&
            h.size > 0 && (int64_t)h.size == s.st_size - (int64_t)sizeof h;
  if (ok) {
    bytes = arena_alloc(a, h.size);
    ok = fread(bytes, 1, h.size, f) == h.size;
    const XXH128_hash_t x = ok ? XXH3_128bits(bytes, h.size) : (XXH128_hash_t){0, 0};
    ok = ok && x.low64 == h.hash[0] && x.high64 == h.hash[1];
  }
  if (ok) futimens(fileno(f), NULL); /* used now: kept for longer */
  fclose(f);
  if (!ok) unlink(path);
  *size = ok ? h.size : 0;
  return ok ? bytes : NULL;
}

static bool entry_write(const Options *o, const char *name, const void *bytes, size_t size) {
  char path[4224], temporary[4240];
  if (!entry_path(o, name, path, sizeof path)) return false;
  snprintf(temporary, sizeof temporary, "%s.XXXXXX", path);
  const int fd = mkstemp(temporary);
  FILE *f = fd >= 0 ? fdopen(fd, "wb") : NULL;
  if (!f) {
    if (fd >= 0) close(fd), unlink(temporary);
    return false;
  }
  const XXH128_hash_t x = XXH3_128bits(bytes, size);
  const Head h = {CACHE_MAGIC, size, {x.low64, x.high64}};
  bool ok = fwrite(&h, sizeof h, 1, f) == 1 && fwrite(bytes, 1, size, f) == size;
  ok = (fclose(f) == 0) && ok && rename(temporary, path) == 0;
  if (!ok) unlink(temporary);
  return ok;
}

typedef struct Entry { int64_t used, bytes; char name[64]; } Entry;

static int older_first(const void *a, const void *b) {
  const int64_t x = ((const Entry *)a)->used, y = ((const Entry *)b)->used;
  return (x > y) - (x < y);
}

static void sweep(const char *folder) {
  DIR *d = opendir(folder);
  Entry *all = NULL;
  size_t n = 0, cap = 0;
  int64_t bytes = 0;
  for (struct dirent *e; d && (e = readdir(d));) {
    struct stat s;
    if (e->d_name[0] == '.' || strlen(e->d_name) >= sizeof all->name || fstatat(dirfd(d), e->d_name, &s, 0) != 0) continue;
    if (n == cap) {
      Entry *more = realloc(all, (cap = 2 * cap + 64) * sizeof *all);
      if (!more) break;
      all = more;
    }
    all[n] = (Entry){.used = (int64_t)s.st_mtim.tv_sec, .bytes = (int64_t)s.st_size};
    strcpy(all[n++].name, e->d_name);
    bytes += (int64_t)s.st_size;
  }
  if (n && bytes > CACHE_BYTES) qsort(all, n, sizeof *all, older_first);
  for (size_t i = 0; i < n && bytes > CACHE_BYTES; i++)
    if (unlinkat(dirfd(d), all[i].name, 0) == 0) bytes -= all[i].bytes;
  free(all);
  if (d) closedir(d);
}

/* ---- code ------------------------------------------------------------------------------------------------------------- */
static void put_graph(const PlanFn *f, FILE *to) {
  if (!f->graph) return;
  fprintf(to, "%s %lld\n", f->symbol, (long long)f->max_rows);
  graph_print(f->graph, to);
}

CacheKey cache_key(const Compilation *c, const BackendOptions *b) {
  CacheKey key = {""};
  char *text = NULL;
  size_t n = 0;
  uint64_t id[12];
  const char *why;
  FILE *f = cache_folder(c->o, &why) ? open_memstream(&text, &n) : NULL;
  if (!f) return key;
  driver_identity(id);
  fwrite(id, sizeof id, 1, f);
  fwrite(&c->target, sizeof c->target, 1, f);
  fprintf(f, "%d %d %d\n", (int)b->opt_level, (int)b->sanitize, b->profile);
  plan_print(c->plan, f);
  put_graph(&c->plan->train, f);
  for (uint32_t i = 0; i < c->program->n_evals; i++) put_graph(&c->plan->evals[i], f);
  for (uint32_t i = 0; i < c->program->n_derived; i++) put_graph(&c->plan->derived[i], f);
  put_graph(&c->plan->gradient, f);
  const bool ok = !ferror(f);
  if (fclose(f) == 0 && ok) {
    const XXH128_hash_t x = XXH3_128bits(text, n);
    snprintf(key.hex, sizeof key.hex, "%016llx%016llx", (unsigned long long)x.high64, (unsigned long long)x.low64);
  }
  free(text);
  return key;
}

/* Number and sizes of the objects, then each from a multiple of 16 bytes on. */
typedef struct CodeHead { uint64_t n, size[OBJECT_PARTS], unused[7]; } CodeHead;
_Static_assert(sizeof(CodeHead) % 16 == 0, "objects behind it are aligned");

static size_t padded(size_t n) { return (n + 15) & ~(size_t)15; }

bool cache_find(const Options *o, const CacheKey *k, Arena *a, ObjectCode *out) {
  size_t size = 0, at = sizeof(CodeHead);
  uint8_t *bytes = k->hex[0] ? entry_read(o, k->hex, a, &size) : NULL;
  CodeHead h = {0};
  *out = (ObjectCode){.n = 0};
  if (!bytes || size < sizeof h) return false;
  memcpy(&h, bytes, sizeof h);
  for (uint64_t i = 0; i < h.n && i < OBJECT_PARTS; i++) {
    if (at > size || h.size[i] > size - at) return false;
    out->part[out->n++] = (ObjectPart){bytes + at, h.size[i]};
    at += padded(h.size[i]);
  }
  return out->n > 0;
}

void cache_keep(const Options *o, const CacheKey *k, const ObjectCode *code) {
  const char *why, *folder;
  CodeHead h = {.n = code->n};
  size_t size = sizeof h, at = sizeof h;
  if (!k->hex[0]) return;
  for (uint32_t i = 0; i < code->n; i++) size += padded(h.size[i] = code->part[i].size);
  uint8_t *bytes = calloc(1, size);
  if (!bytes) return;
  memcpy(bytes, &h, sizeof h);
  for (uint32_t i = 0; i < code->n; at += padded(code->part[i++].size)) memcpy(bytes + at, code->part[i].bytes, code->part[i].size);
  const bool kept = entry_write(o, k->hex, bytes, size);
  free(bytes);
  if (kept && (folder = cache_folder(o, &why))) sweep(folder);
}

/* ---- the machine --------------------------------------------------------------------------------------------------------- */
typedef struct HostKey { uint64_t id[12]; unsigned r[6][4]; } HostKey;
/* What tells processors apart, without what differs between the cores of one. */
static HostKey host_key(void) {
  HostKey key;
  memset(&key, 0, sizeof key);
  driver_identity(key.id);
  unsigned *r = key.r[0], unused;
  __get_cpuid(1, &r[0], &unused, &r[1], &r[2]);
  __get_cpuid_count(7, 0, &key.r[1][0], &key.r[1][1], &key.r[1][2], &key.r[1][3]);
  __get_cpuid_count(7, 1, &key.r[2][0], &key.r[2][1], &key.r[2][2], &key.r[2][3]);
  for (unsigned i = 0; i < 3; i++)
    __get_cpuid(0x80000002u + i, &key.r[3 + i][0], &key.r[3 + i][1], &key.r[3 + i][2], &key.r[3 + i][3]);
  return key;
}

static void host_name(char name[64]) {
  const HostKey key = host_key();
  const XXH128_hash_t x = XXH3_128bits(&key, sizeof key);
  snprintf(name, 64, "host-%016llx%016llx", (unsigned long long)x.high64, (unsigned long long)x.low64);
}

bool cache_host(const Options *o, HostInfo *out) {
  char name[64];
  size_t n = 0;
  host_name(name);
  Arena *a = arena_create();
  const uint8_t *bytes = entry_read(o, name, a, &n);
  const bool ok = bytes && n == sizeof *out;
  if (ok) memcpy(out, bytes, n);
  arena_destroy(a);
  return ok;
}

void cache_keep_host(const Options *o, const HostInfo *h) {
  char name[64];
  host_name(name);
  entry_write(o, name, h, sizeof *h);
}

/* ---- what was measured ---------------------------------------------------------------------------------------------------- */
/* The BLAS is asked for its name only where there is a file: its name is the file's first line. */
static void choices_name(const Compilation *c, int threads, char name[64]) {
  struct { HostKey host; TargetInfo target; int64_t threads; char core[64]; } key;
  const char *core = getenv("OPENBLAS_CORETYPE");
  memset(&key, 0, sizeof key);
  key.host = host_key(), key.target = c->target, key.threads = threads;
  snprintf(key.core, sizeof key.core, "%s", core ? core : "");
  const XXH128_hash_t x = XXH3_128bits(&key, sizeof key);
  snprintf(name, 64, "gemm-%016llx%016llx", (unsigned long long)x.high64, (unsigned long long)x.low64);
}

const char *cache_choices(const Compilation *c, int threads, Arena *a) {
  char name[64];
  size_t n = 0;
  choices_name(c, threads, name);
  const uint8_t *bytes = entry_read(c->o, name, a, &n);
  const char *text = bytes ? arena_strndup(a, (const char *)bytes, n) : NULL, *end = text ? strchr(text, '\n') : NULL;
  const char *blas = end ? rt_blas_name() : NULL;
  return blas && strlen(blas) == (size_t)(end - text) && memcmp(text, blas, (size_t)(end - text)) == 0 ? end + 1 : NULL;
}

bool cache_keep_choices(const Compilation *c, int threads, const char *text) {
  char name[64];
  const char *all = arena_printf(c->arena, "%s\n%s", rt_blas_name(), text);
  choices_name(c, threads, name);
  return entry_write(c->o, name, all, strlen(all));
}
