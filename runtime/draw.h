/* SPDX-License-Identifier: Apache-2.0
 * draw.h -- labels that are drawn: exact counts, and who gets them a pure function of (seed, part, number of
 * the datum). */
#ifndef ROUTEC_DRAW_H
#define ROUTEC_DRAW_H
#include "error.h"

typedef struct DrawShares {
  double recall;          /* of the class: labelled yes */
  double precision;       /* of those labelled yes: in the class; below 0: not given */
  double false_positives; /* of what is not in the class: labelled yes; below 0: not given */
  double no;              /* of what is neither in the class nor labelled yes: labelled no */
} DrawShares;

enum { LABEL_YES = 1, LABEL_NO = 0, LABEL_NONE = -1 };
/* label[n]: 1 in the class, else 0; becomes YES, NO or NONE. False: the shares cannot be had from these data.
 */
bool draw_observe(int32_t *label, int64_t n, const DrawShares *s, uint64_t seed, const char *name,
                  const JobSpan *span, RtError *e);
/* The same labels at other data: a random permutation. */
bool draw_random_like(int32_t *label, int64_t n, uint64_t seed, RtError *e);
#endif
