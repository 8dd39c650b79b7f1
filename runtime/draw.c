/* SPDX-License-Identifier: Apache-2.0
 * draw.c -- who gets a label: of a set the k data with the smallest keys, which are Philox numbers of the
 * datum. */
#include "draw.h"
#include "rng.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef enum DrawStream { STREAM_YES = 0x59455300, STREAM_WRONG, STREAM_NO, STREAM_CONTROL } DrawStream;
typedef struct Ticket {
  uint64_t key;
  int64_t datum;
} Ticket;

static uint64_t datum_key(uint64_t seed, DrawStream stream, int64_t datum) {
  const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
  const uint32_t counter[4] = {(uint32_t)datum, (uint32_t)((uint64_t)datum >> 32), 0, (uint32_t)stream};
  uint32_t out[4];
  rng_philox(counter, key, out);
  return (uint64_t)out[0] << 32 | out[1];
}

static int ticket_compare(const void *a, const void *b) {
  const Ticket *x = a, *y = b;
  if (x->key != y->key) return x->key < y->key ? -1 : 1;
  return x->datum < y->datum ? -1 : x->datum > y->datum;
}

/* The data with label `from`, by key. Returns how many. */
static int64_t tickets_fill(Ticket *t, const int32_t *label, int64_t n, int32_t from, uint64_t seed,
                            DrawStream stream) {
  int64_t count = 0;
  for (int64_t i = 0; i < n; i++)
    if (label[i] == from) t[count++] = (Ticket){datum_key(seed, stream, i), i};
  qsort(t, (size_t)count, sizeof *t, ticket_compare);
  return count;
}

static double nearest(double x) { return floor(x + 0.5); }

static int64_t count_of(const int32_t *label, int64_t n, int32_t which) {
  int64_t count = 0;
  for (int64_t i = 0; i < n; i++) count += label[i] == which;
  return count;
}

/* How many outside of the class are labelled yes beside `hits` inside of it. */
static bool wrong_count(const DrawShares *s, int64_t hits, int64_t outside, int64_t *out, const char *name,
                        const JobSpan *span, RtError *e) {
  char why[160];
  const double want = s->precision >= 0
                          ? (hits ? nearest((double)hits * (1 - s->precision) / s->precision) : 0)
                          : nearest((s->false_positives > 0 ? s->false_positives : 0) * (double)outside);
  if (want <= (double)outside) return *out = (int64_t)want, true;
  snprintf(why, sizeof why,
           "a precision of %g needs %.0f wrong labels beside %lld right ones, but only %lld data are not in "
           "the class",
           s->precision, want, (long long)hits, (long long)outside);
  return rt_fail_at(e, span, RT_E0746, name, why);
}

static bool shares_check(const DrawShares *s, const char *name, const JobSpan *span, RtError *e) {
  const double v[] = {s->recall, s->precision, s->false_positives, s->no};
  for (int i = 0; i < 4; i++) {
    char why[96];
    const bool absent = (i == 1 || i == 2) && v[i] < 0;
    if (absent || (v[i] >= 0 && v[i] <= 1 && (i != 1 || v[i] > 0))) continue;
    static const char *const names[] = {"recall", "precision", "false_positives", "no"};
    snprintf(why, sizeof why, "`%s` is %g, which is no share", names[i], v[i]);
    return rt_fail_at(e, span, RT_E0746, name, why);
  }
  return true;
}

bool draw_observe(int32_t *label, int64_t n, const DrawShares *s, uint64_t seed, const char *name,
                  const JobSpan *span, RtError *e) {
  const int64_t inside = count_of(label, n, 1), hits = (int64_t)nearest(s->recall * (double)inside);
  int64_t wrong = 0;
  if (!shares_check(s, name, span, e) || !wrong_count(s, hits, n - inside, &wrong, name, span, e))
    return false;
  Ticket *t = malloc((size_t)(n + 1) * sizeof *t), *u = malloc((size_t)(n + 1) * sizeof *u);
  const bool ok = t && u;
  if (ok) {
    const int64_t members = tickets_fill(t, label, n, 1, seed, STREAM_YES),
                  others = tickets_fill(u, label, n, 0, seed, STREAM_WRONG);
    for (int64_t i = 0; i < members; i++) label[t[i].datum] = i < hits ? LABEL_YES : LABEL_NONE;
    for (int64_t i = 0; i < others; i++) label[u[i].datum] = i < wrong ? LABEL_YES : LABEL_NO;
    const int64_t rest = tickets_fill(t, label, n, LABEL_NO, seed, STREAM_NO),
                  noes = (int64_t)nearest(s->no * (double)rest);
    for (int64_t i = noes; i < rest; i++) label[t[i].datum] = LABEL_NONE;
  }
  free(t), free(u);
  return ok || rt_fail(e, RT_E0719, (long long)n * (long long)sizeof *t, "labels");
}

bool draw_random_like(int32_t *label, int64_t n, uint64_t seed, RtError *e) {
  Ticket *t = malloc((size_t)(n + 1) * sizeof *t);
  int32_t *from = malloc((size_t)(n + 1) * sizeof *from);
  for (int64_t i = 0; t && from && i < n; i++) t[i] = (Ticket){datum_key(seed, STREAM_CONTROL, i), i};
  if (t && from) {
    memcpy(from, label, (size_t)n * sizeof *from);
    qsort(t, (size_t)n, sizeof *t, ticket_compare);
    for (int64_t i = 0; i < n; i++) label[t[i].datum] = from[i];
  }
  const bool ok = t && from;
  free(t), free(from);
  return ok || rt_fail(e, RT_E0719, (long long)n * (long long)sizeof *t, "labels");
}
