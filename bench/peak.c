/* SPDX-License-Identifier: Apache-2.0
 * peak.c -- what this machine can do at most: multiply-adds in registers by instruction set, and memory bandwidth.
 *   bench_peak [-t threads]... [-r rounds] [-j]       the table: medians over the rounds (least to most); -j: as JSON lines
 *   bench_peak -p [-t threads] [-s seconds]           one sample of the widest FMA as JSON, to be taken between other samples
 *   bench_peak -l                                     how long a cache line takes from one core to another, as JSON
 * Bandwidth counts the bytes that a loop names: copy 8 for each element, triad 12; that stores may read lines first is
 * not counted, and `triad, streaming` uses stores that do not. Three arrays of 128 MiB each, in huge pages. */
#include <errno.h>
#include <immintrin.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { MAX_THREADS = 64, MAX_ROUNDS = 99, ARRAY_FLOATS = 32 << 20 };

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- what is measured: each returns the floating point operations or bytes that it did ------------------------------- */
typedef struct Share { /* of one thread: elements lo ..< hi of the arrays */
  float *a, *b, *c;
  int64_t lo, hi;
  volatile float sink;
} Share;
typedef double (*Loop)(Share *s, int64_t times);

/* Twelve independent chains, as many as hide the latency of FMA on CPUs with two such units. The empty asm keeps the compiler
 * from folding them; single variables, not an array, stay in registers. */
#define CHAINS_12(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
#define FMA_LOOP(NAME, TARGET, VECTOR, SET1)                                                     \
  __attribute__((target(TARGET))) static double NAME(Share *s, int64_t times) {                                        \
    VECTOR x = SET1(0.999f), y = SET1(1e-3f), CHAINS_12(FMA_START_##VECTOR) sum = x;                                   \
    for (int64_t t = 0; t < times; t++) {                                                                              \
      CHAINS_12(FMA_STEP_##VECTOR) CHAINS_12(FMA_STEP_##VECTOR) CHAINS_12(FMA_STEP_##VECTOR) CHAINS_12(FMA_STEP_##VECTOR) \
    }                                                                                                                  \
    CHAINS_12(FMA_ADD_##VECTOR)                                                                                        \
    float out[sizeof(VECTOR) / sizeof(float)];                                                                         \
    memcpy(out, &sum, sizeof out);                                                                                     \
    s->sink = out[0];                                                                                                  \
    return 2.0 * 4 * 12 * (double)times * (double)(sizeof(VECTOR) / sizeof(float));                                    \
  }
#define FMA_START___m512(i) v##i = _mm512_set1_ps(1.0f + i),
#define FMA_STEP___m512(i) v##i = _mm512_fmadd_ps(v##i, x, y); __asm__ volatile("" : "+v"(v##i));
#define FMA_ADD___m512(i) sum = _mm512_add_ps(sum, v##i);
#define FMA_START___m256(i) v##i = _mm256_set1_ps(1.0f + i),
#define FMA_STEP___m256(i) v##i = _mm256_fmadd_ps(v##i, x, y); __asm__ volatile("" : "+x"(v##i));
#define FMA_ADD___m256(i) sum = _mm256_add_ps(sum, v##i);
FMA_LOOP(fma_avx512, "avx512f", __m512, _mm512_set1_ps)
FMA_LOOP(fma_avx2, "avx2,fma", __m256, _mm256_set1_ps)

/* The empty asm makes each repetition go through memory. */
static double copy(Share *s, int64_t times) {
  for (int64_t t = 0; t < times; t++) {
    float *restrict a = s->a;
    const float *restrict b = s->b;
    for (int64_t i = s->lo; i < s->hi; i++) a[i] = b[i] * 1.5f; /* scaled, lest it become memcpy with stores of its own choice */
    __asm__ volatile("" ::: "memory");
  }
  return 8.0 * (double)(s->hi - s->lo) * (double)times;
}

static double triad(Share *s, int64_t times) {
  for (int64_t t = 0; t < times; t++) {
    float *restrict a = s->a;
    const float *restrict b = s->b, *restrict c = s->c;
    for (int64_t i = s->lo; i < s->hi; i++) a[i] = b[i] + 3.0f * c[i];
    __asm__ volatile("" ::: "memory");
  }
  return 12.0 * (double)(s->hi - s->lo) * (double)times;
}

__attribute__((target("avx2,fma"))) static double triad_streaming(Share *s, int64_t times) {
  const __m256 three = _mm256_set1_ps(3.0f);
  for (int64_t t = 0; t < times; t++) {
    for (int64_t i = s->lo; i < s->hi; i += 8)
      _mm256_stream_ps(s->a + i, _mm256_fmadd_ps(three, _mm256_load_ps(s->c + i), _mm256_load_ps(s->b + i)));
    _mm_sfence();
  }
  return 12.0 * (double)(s->hi - s->lo) * (double)times;
}

typedef struct Probe {
  const char *name, *unit;
  Loop loop;
  bool memory, available;
} Probe;
enum { FMA_512, FMA_256, COPY, TRIAD, TRIAD_STREAMING, N_PROBES };
static Probe probes[N_PROBES] = {
    {"FMA, AVX-512", "GFLOP/s", fma_avx512, false, false},
    {"FMA, AVX2", "GFLOP/s", fma_avx2, false, false},
    {"copy", "GB/s", copy, true, true},
    {"triad", "GB/s", triad, true, true},
    {"triad, streaming", "GB/s", triad_streaming, true, false},
};

/* ---- threads: each on a CPU of its own among those that the process may use ------------------------------------------ */
typedef struct Task {
  const Probe *probe;
  Share share;
  int cpu;
  int64_t times;
  double work, began, ended;
  pthread_barrier_t *gate;
} Task;
static cpu_set_t allowed;

static int cpu_number(int k) {
  int n = CPU_COUNT(&allowed), seen = 0;
  for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
    if (CPU_ISSET((size_t)cpu, &allowed) && seen++ == k % n) return cpu;
  return 0;
}

static void *task_main(void *arg) {
  Task *t = arg;
  cpu_set_t own;
  CPU_ZERO(&own);
  CPU_SET((size_t)t->cpu, &own);
  pthread_setaffinity_np(pthread_self(), sizeof own, &own);
  if (t->probe->memory) /* first touch by who uses it */
    for (int64_t i = t->share.lo; i < t->share.hi; i += 1024) t->share.a[i] = t->share.b[i] = t->share.c[i] = 1;
  t->probe->loop(&t->share, t->times / 16 + 1); /* clocks rise */
  pthread_barrier_wait(t->gate);
  t->began = now();
  t->work = t->probe->loop(&t->share, t->times);
  t->ended = now();
  return NULL;
}

/* Work of all threads over the time from the first one's start to the last one's end, in 1e9 a second. */
static double sample(const Probe *p, int n_threads, int64_t times, float *arrays) {
  pthread_t id[MAX_THREADS];
  Task task[MAX_THREADS];
  pthread_barrier_t gate;
  pthread_barrier_init(&gate, NULL, (unsigned)n_threads);
  for (int k = 0; k < n_threads; k++) {
    int64_t lo = ARRAY_FLOATS / 1024 * k / n_threads * 1024, hi = ARRAY_FLOATS / 1024 * (k + 1) / n_threads * 1024;
    task[k] = (Task){.probe = p, .cpu = cpu_number(k), .times = times, .gate = &gate};
    if (arrays) task[k].share = (Share){.a = arrays, .b = arrays + ARRAY_FLOATS, .c = arrays + 2 * (int64_t)ARRAY_FLOATS, .lo = lo, .hi = hi};
    if (pthread_create(&id[k], NULL, task_main, &task[k])) {
      fprintf(stderr, "bench_peak: cannot start thread %d\n", k);
      exit(1);
    }
  }
  double work = 0, began = 0, ended = 0;
  for (int k = 0; k < n_threads; k++) {
    pthread_join(id[k], NULL);
    work += task[k].work;
    if (k == 0 || task[k].began < began) began = task[k].began;
    if (k == 0 || task[k].ended > ended) ended = task[k].ended;
  }
  pthread_barrier_destroy(&gate);
  return work / (ended - began) * 1e-9;
}

/* Repetitions that take about `seconds`; doubled until they can be timed. */
static int64_t times_for(const Probe *p, double seconds, float *arrays) {
  for (int64_t times = 1;; times *= 2) {
    Share s = {.a = arrays, .b = arrays ? arrays + ARRAY_FLOATS : NULL, .c = arrays ? arrays + 2 * (int64_t)ARRAY_FLOATS : NULL, .hi = arrays ? ARRAY_FLOATS : 0};
    double t = now();
    p->loop(&s, times);
    t = now() - t;
    if (t > 1e-2) return (int64_t)((double)times * seconds / t) + 1;
  }
}

/* ---- a line that two cores write in turn: what threads that share data wait for. On a virtual machine it tells where the
 * host has put its CPUs: within one cache or apart. ------------------------------------------------------------------------ */
enum { HANDS = 20000, HAND_SAMPLES = 15 };
typedef struct Ball {
  _Alignas(128) atomic_int turn; /* even: ours */
  int cpu;
} Ball;

static void play(Ball *b, int from, int to) {
  for (int i = from; i < to; i += 2) {
    while (atomic_load_explicit(&b->turn, memory_order_acquire) != i) {
    }
    atomic_store_explicit(&b->turn, i + 1, memory_order_release);
  }
}

static void stay_on(int cpu) {
  cpu_set_t own;
  CPU_ZERO(&own);
  CPU_SET((size_t)cpu, &own);
  pthread_setaffinity_np(pthread_self(), sizeof own, &own);
}

static void *other_player(void *arg) {
  Ball *b = arg;
  stay_on(b->cpu);
  play(b, 1, 2 * HANDS * HAND_SAMPLES);
  return NULL;
}

static int by_value(const void *x, const void *y) {
  return (*(const double *)x > *(const double *)y) - (*(const double *)x < *(const double *)y);
}

/* Nanoseconds of one way, median of samples of milliseconds. */
static double line_time(void) {
  static Ball b;
  double took[HAND_SAMPLES], began;
  pthread_t id;
  b.cpu = cpu_number(1);
  if (pthread_create(&id, NULL, other_player, &b)) {
    fprintf(stderr, "bench_peak: cannot start a second thread\n");
    exit(1);
  }
  stay_on(cpu_number(0));
  for (int s = 0; s < HAND_SAMPLES; s++) {
    began = now();
    play(&b, 2 * HANDS * s, 2 * HANDS * (s + 1));
    took[s] = (now() - began) / (2 * HANDS) * 1e9;
  }
  pthread_join(id, NULL);
  qsort(took, HAND_SAMPLES, sizeof *took, by_value);
  return took[HAND_SAMPLES / 2];
}

static float *arrays_make(void) {
  size_t bytes = 3 * (size_t)ARRAY_FLOATS * sizeof(float);
  void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) {
    fprintf(stderr, "bench_peak: no memory for three arrays: %s\n", strerror(errno));
    exit(1);
  }
  madvise(p, bytes, MADV_HUGEPAGE);
  memset(p, 0, bytes);
  return p;
}

static void table(const int *threads, int n_counts, int rounds, bool json) {
  static double got[N_PROBES][MAX_THREADS][MAX_ROUNDS];
  float *arrays = arrays_make();
  int64_t times[N_PROBES] = {0};
  for (int p = 0; p < N_PROBES; p++)
    if (probes[p].available) times[p] = times_for(&probes[p], probes[p].memory ? 0.15 : 0.05, probes[p].memory ? arrays : NULL);
  for (int r = 0; r < rounds; r++)
    for (int p = 0; p < N_PROBES; p++)
      for (int k = 0; k < n_counts && probes[p].available; k++)
        got[p][k][r] = sample(&probes[p], threads[k], times[p], probes[p].memory ? arrays : NULL);
  if (!json) printf("| | threads | median (least to most) |\n|---|---|---|\n");
  for (int p = 0; p < N_PROBES; p++)
    for (int k = 0; k < n_counts && probes[p].available; k++) {
      double *v = got[p][k];
      qsort(v, (size_t)rounds, sizeof *v, by_value);
      double median = (v[(rounds - 1) / 2] + v[rounds / 2]) / 2;
      printf(json ? "{\"what\": \"%s\", \"threads\": %d, \"median\": %.2f, \"least\": %.2f, \"most\": %.2f, \"unit\": \"%s\"}\n"
                  : "| %s | %d | %.1f (%.1f to %.1f) %s |\n",
             probes[p].name, threads[k], median, v[0], v[rounds - 1], probes[p].unit);
    }
  munmap(arrays, 3 * (size_t)ARRAY_FLOATS * sizeof(float));
}

static int number(const char *text, int least, int most) {
  char *end;
  long n = strtol(text, &end, 10);
  if (*end || n < least || n > most) {
    fprintf(stderr, "bench_peak: %s is no number from %d to %d\n", text, least, most);
    exit(2);
  }
  return (int)n;
}

int main(int argc, char **argv) {
  int threads[MAX_THREADS], n_counts = 0, rounds = 9;
  bool one = false, json = false, line = false;
  double seconds = 0.1;
  for (int opt; (opt = getopt(argc, argv, "t:r:s:pjl")) != -1;) switch (opt) {
    case 't':
      if (n_counts < MAX_THREADS) threads[n_counts++] = number(optarg, 1, MAX_THREADS);
      break;
    case 'r': rounds = number(optarg, 1, MAX_ROUNDS); break;
    case 's': seconds = strtod(optarg, NULL); break;
    case 'p': one = true; break;
    case 'j': json = true; break;
    case 'l': line = true; break;
    default: fprintf(stderr, "usage: bench_peak [-t threads]... [-r rounds] [-j] | -p [-t threads] [-s seconds] | -l\n"); return 2;
    }
  if (!(seconds > 0 && seconds <= 60)) {
    fprintf(stderr, "bench_peak: seconds must be above 0 and at most 60\n");
    return 2;
  }
  if (!n_counts) threads[n_counts++] = 1, threads[n_counts++] = 2;
  if (one) n_counts = 1;
  sched_getaffinity(0, sizeof allowed, &allowed);
  if (line && CPU_COUNT(&allowed) < 2) {
    fprintf(stderr, "bench_peak: one CPU only\n");
    return 1;
  }
  if (line) {
    printf("{\"what\": \"line from core to core\", \"ns\": %.1f}\n", line_time());
    return 0;
  }
  probes[FMA_512].available = __builtin_cpu_supports("avx512f");
  probes[FMA_256].available = probes[TRIAD_STREAMING].available = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const Probe *widest = &probes[probes[FMA_512].available ? FMA_512 : FMA_256];
  if (!widest->available) {
    fprintf(stderr, "bench_peak: this CPU has no FMA\n");
    return 1;
  }
  if (one)
    printf("{\"what\": \"%s\", \"threads\": %d, \"gflops\": %.3f}\n", widest->name, threads[0],
           sample(widest, threads[0], times_for(widest, seconds, NULL), NULL));
  else table(threads, n_counts, rounds, json);
  return 0;
}
