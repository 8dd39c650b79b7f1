/* SPDX-License-Identifier: Apache-2.0
 * mem.c -- slabs and files. */
#include "mem.h"
#include <errno.h>
#include <fcntl.h>
#include <libdeflate.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

bool mem_mul(int64_t a, int64_t b, int64_t *out) {
  return a >= 0 && b >= 0 && !__builtin_mul_overflow(a, b, out);
}

bool mem_product(const int64_t *dims, int32_t rank, int64_t *out) {
  int64_t n = 1;
  for (int32_t i = 0; i < rank; i++)
    if (!mem_mul(n, dims[i], &n)) return false;
  return *out = n, true;
}

/* ---- how much there is ---- */
static _Atomic int64_t mem_now_bytes, mem_peak_bytes;

static void mem_count(int64_t bytes) {
  const int64_t now = atomic_fetch_add(&mem_now_bytes, bytes) + bytes;
  int64_t peak = atomic_load(&mem_peak_bytes);
  while (now > peak && !atomic_compare_exchange_weak(&mem_peak_bytes, &peak, now)) {}
}

MemUse mem_use(void) { return (MemUse){atomic_load(&mem_now_bytes), atomic_load(&mem_peak_bytes)}; }

void *mem_table(size_t bytes) {
  void *p = malloc(bytes);
  if (p) mem_count((int64_t)malloc_usable_size(p));
  return p;
}

void mem_table_free(void *table) {
  if (table) mem_count(-(int64_t)malloc_usable_size(table));
  free(table);
}

/* ---- slabs ---- */
#if defined(__SANITIZE_ADDRESS__)
#define SLAB_GUARDED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SLAB_GUARDED 1
#endif
#endif

#ifdef SLAB_GUARDED
/* From the sanitizer's heap, so that a read past the slack is seen. */
bool slab_alloc(Slab *s, int64_t bytes, const char *what, RtError *e) {
  *s = (Slab){0};
  void *p = bytes < 0 || bytes > (int64_t)1 << 36
                ? NULL
                : aligned_alloc(64, ((size_t)bytes + MEM_SLACK + 63) / 64 * 64);
  if (!p) return rt_fail(e, RT_E0719, (long long)bytes, what);
  *s = (Slab){p, (size_t)bytes, ((size_t)bytes + MEM_SLACK + 63) / 64 * 64};
  memset(p, 0, s->mapped);
  mem_count((int64_t)s->mapped);
  return true;
}

int64_t slab_mapped(int64_t bytes) { return (bytes + MEM_SLACK + 63) / 64 * 64; }

void slab_free(Slab *s) {
  if (s->bytes) mem_count(-(int64_t)s->mapped);
  free(s->bytes);
  *s = (Slab){0};
}
#else
#define SLAB_HUGE ((int64_t)2 << 20)

int64_t slab_mapped(int64_t bytes) {
  const int64_t want = bytes + MEM_SLACK, unit = want >= SLAB_HUGE ? SLAB_HUGE : 4096;
  return (want + unit - 1) / unit * unit;
}

bool slab_alloc(Slab *s, int64_t bytes, const char *what, RtError *e) {
  *s = (Slab){0};
  if (bytes < 0 || bytes > INT64_MAX - 4 * SLAB_HUGE) return rt_fail(e, RT_E0719, (long long)bytes, what);
  const size_t mapped = (size_t)slab_mapped(bytes), huge = (size_t)SLAB_HUGE, spare = mapped >= huge ? huge : 0;
  uint8_t *p = mmap(NULL, mapped + spare, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *start = p;
  if (p == MAP_FAILED) return rt_fail(e, RT_E0719, (long long)bytes, what);
  if (spare) { /* to start at a multiple of 2 MiB, so that huge pages fit; what is before and behind goes back */
    const size_t skip = (huge - (uintptr_t)p % huge) % huge;
    start += skip;
    if (skip) munmap(p, skip);
    if (skip < spare) munmap(start + mapped, spare - skip);
    madvise(start, mapped, MADV_HUGEPAGE); /* an advice: refusal costs speed only */
  }
  mem_count((int64_t)mapped);
  *s = (Slab){start, (size_t)bytes, mapped};
  return true;
}

void slab_free(Slab *s) {
  if (s->bytes) munmap(s->bytes, s->mapped), mem_count(-(int64_t)s->mapped);
  *s = (Slab){0};
}
#endif

void slab_touch(const Slab *s, int64_t share, int64_t n_shares) {
  const size_t page = 4096, pages = (s->size + page - 1) / page, n = (size_t)n_shares;
  volatile uint8_t *bytes = s->bytes;
  for (size_t i = pages * (size_t)share / n; i < pages * ((size_t)share + 1) / n; i++) bytes[i * page] = bytes[i * page];
}

/* Doubles a slab's room, keeping its first `used` bytes. */
static bool slab_grow(Slab *s, size_t used, RtError *e) {
  Slab bigger;
  if (s->size > (size_t)INT64_MAX / 4) return rt_fail(e, RT_E0719, (long long)s->size, "a file");
  if (!slab_alloc(&bigger, (int64_t)(s->size * 2), "a file", e)) return false;
  memcpy(bigger.bytes, s->bytes, used);
  slab_free(s);
  *s = bigger;
  return true;
}

/* First guess at the unpacked size of a gzip file: its last four bytes (size modulo 2^32), which are only believed as far as
 * deflate can compress. */
#define DEFLATE_MOST 1032
static int64_t gz_guess_size(const uint8_t *bytes, int64_t n) {
  const uint8_t *tail = bytes + n - 4;
  const int64_t said = (int64_t)tail[0] | (int64_t)tail[1] << 8 | (int64_t)tail[2] << 16 | (int64_t)tail[3] << 24;
  return said > 4096 && said <= n * DEFLATE_MOST ? said : n + 4096;
}
static bool gz_begins(const uint8_t *bytes, size_t n) { return n >= 2 && bytes[0] == 0x1f && bytes[1] == 0x8b; }

static bool file_open(const char *path, int *fd, int64_t *size, RtError *e) {
  struct stat st;
  *fd = open(path, O_RDONLY | O_CLOEXEC);
  if (*fd < 0) return rt_fail(e, RT_E0701, path, strerror(errno));
  if (fstat(*fd, &st) != 0 || S_ISDIR(st.st_mode)) {
    rt_fail(e, RT_E0701, path, S_ISDIR(st.st_mode) ? "it is a folder" : strerror(errno));
    return close(*fd), false;
  }
  *size = S_ISREG(st.st_mode) ? (int64_t)st.st_size : 65536;
  return true;
}

/* The rest of an open file. */
static bool file_fill(int fd, const char *path, Slab *out, RtError *e) {
  size_t used = 0;
  for (;;) {
    if (used == out->size && !slab_grow(out, used, e)) return false;
    const ssize_t got = read(fd, out->bytes + used, out->size - used);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return rt_fail(e, RT_E0701, path, strerror(errno));
    if (got == 0) return out->size = used, true;
    used += (size_t)got;
  }
}

bool mem_read_raw(const char *path, Slab *out, RtError *e) {
  int fd;
  int64_t on_disk;
  *out = (Slab){0};
  if (!file_open(path, &fd, &on_disk, e)) return false;
  /* one byte more, so that the end of the file is seen without growing */
  const bool ok = slab_alloc(out, on_disk + 1, path, e) && file_fill(fd, path, out, e);
  close(fd);
  if (!ok) slab_free(out);
  return ok;
}

/* A gzip file in memory, all of its members. false: it is not sound; the stream decoder says in which way. */
static bool gz_unpack(const Slab *packed, Slab *out, RtError *e) {
  struct libdeflate_decompressor *d = libdeflate_alloc_decompressor();
  size_t at = 0, used = 0, in = 0, got = 0;
  *out = (Slab){0};
  bool ok = d && packed->size >= 18 && slab_alloc(out, gz_guess_size(packed->bytes, (int64_t)packed->size), "a file", e);
  while (ok && at < packed->size) {
    ok = gz_begins(packed->bytes + at, packed->size - at);
    const enum libdeflate_result r =
        ok ? libdeflate_gzip_decompress_ex(d, packed->bytes + at, packed->size - at, out->bytes + used, out->size - used, &in, &got)
           : LIBDEFLATE_BAD_DATA;
    if (r == LIBDEFLATE_INSUFFICIENT_SPACE && out->size / DEFLATE_MOST <= packed->size) ok = slab_grow(out, used, e);
    else if (r != LIBDEFLATE_SUCCESS) ok = false;
    else at += in, used += got;
  }
  libdeflate_free_decompressor(d);
  if (ok) out->size = used;
  else slab_free(out);
  return ok;
}

static bool gz_fill(gzFile z, const char *path, Slab *out, RtError *e) {
  size_t used = 0;
  for (;;) {
    if (used == out->size && !slab_grow(out, used, e)) return false;
    size_t room = out->size - used;
    int got = gzread(z, out->bytes + used, (unsigned)(room > 1u << 30 ? 1u << 30 : room));
    if (got < 0) {
      int code = 0;
      const char *why = gzerror(z, &code);
      return code == Z_ERRNO ? rt_fail(e, RT_E0701, path, strerror(errno))
                             : rt_fail(e, RT_E0703, path, *why ? why : "gzip stream is broken");
    }
    if (got == 0) break;
    used += (size_t)got;
  }
  int code = 0;
  gzerror(z, &code);
  if (code == Z_BUF_ERROR) return rt_fail(e, RT_E0703, path, "the gzip stream ends too early");
  out->size = used;
  return true;
}

/* As the stream decoder reads it: step by step, with its own words for what is wrong. */
static bool gz_read(const char *path, Slab *out, RtError *e) {
  int fd;
  int64_t on_disk;
  if (!file_open(path, &fd, &on_disk, e)) return false;
  gzFile z = gzdopen(fd, "rb");
  if (!z) return close(fd), rt_fail(e, RT_E0719, 0LL, "zlib");
  gzbuffer(z, 1u << 18);
  bool ok = slab_alloc(out, on_disk + 1, path, e) && gz_fill(z, path, out, e);
  gzclose(z);
  if (!ok) slab_free(out);
  return ok;
}

bool mem_is_device(const char *path) {
  struct stat s;
  return stat(path, &s) == 0 && !S_ISREG(s.st_mode) && !S_ISDIR(s.st_mode);
}

bool mem_read_file(const char *path, Slab *out, RtError *e) {
  RtError ignored = {0};
  Slab packed;
  *out = (Slab){0};
  if (mem_is_device(path)) return gz_read(path, out, e); /* what can be read once only */
  if (!mem_read_raw(path, &packed, e)) return false;
  if (!gz_begins(packed.bytes, packed.size)) return *out = packed, true;
  const bool ok = gz_unpack(&packed, out, &ignored) || gz_read(path, out, e);
  slab_free(&packed);
  return ok;
}

bool mem_write_all(int fd, const void *bytes, size_t size) {
  const uint8_t *p = bytes;
  while (size) {
    ssize_t n = write(fd, p, size > (size_t)1 << 30 ? (size_t)1 << 30 : size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return false;
    p += n, size -= (size_t)n;
  }
  return true;
}

bool mem_sync_folder_of(const char *path) {
  char *folder = mem_printf("%s", path);
  char *slash = strrchr(folder, '/');
  if (slash) slash[slash == folder ? 1 : 0] = 0;
  int fd = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  free(folder);
  if (fd < 0) return false;
  bool ok = fsync(fd) == 0 || errno == EINVAL; /* some file systems cannot sync folders */
  return close(fd), ok;
}

bool mem_write_file(const char *path, const void *bytes, size_t size, RtError *e) {
  const bool device = mem_is_device(path);
  char *temporary = mem_printf(device ? "%s" : "%s.tmp", path);
  int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  bool ok = fd >= 0 && mem_write_all(fd, bytes, size) && (device || fsync(fd) == 0);
  int why = errno;
  if (fd >= 0 && close(fd) != 0 && ok) ok = false, why = errno;
  if (ok && !device && (rename(temporary, path) != 0 || !mem_sync_folder_of(path))) ok = false, why = errno;
  if (!ok) {
    if (fd >= 0 && !device) unlink(temporary);
    rt_fail(e, RT_E0720, path, strerror(why));
  }
  free(temporary);
  return ok;
}

char *mem_printf(const char *fmt, ...) {
  char *s = NULL;
  va_list args;
  va_start(args, fmt);
  int n = vasprintf(&s, fmt, args);
  va_end(args);
  if (n < 0) fprintf(stderr, "runtime: out of memory for a name\n"), abort();
  return s;
}

double mem_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
