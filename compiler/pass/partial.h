/* SPDX-License-Identifier: Apache-2.0
 * partial.h -- yes or no for each element of a tensor, given on some of its axes only: uniform along the others. What a
 * route blocks mostly depends on the datum or on the unit alone, so the answer stays small until somebody needs it whole. */
#ifndef ROUTEC_PARTIAL_H
#define ROUTEC_PARTIAL_H
#include "program.h"

/* `v` is F32, 1 or 0, and has the axes of the tensor whose bits are set in `axes`, in their order; or one of the two
 * constants, with no axes. */
typedef struct Partial { ValueId v; uint32_t axes; } Partial;
#define PARTIAL_NO ((ValueId)0xfffffffeu)
#define PARTIAL_YES ((ValueId)0xffffffffu)

static inline Partial partial_of(bool yes) { return (Partial){yes ? PARTIAL_YES : PARTIAL_NO, 0}; }
static inline bool partial_is(Partial p, bool yes) { return p.v == (yes ? PARTIAL_YES : PARTIAL_NO); }

/* a and b, a or b: of the same tensor, which has shape `of`. */
Partial partial_and(Graph *g, Partial a, Partial b, const Shape *of);
Partial partial_or(Graph *g, Partial a, Partial b, const Shape *of);
/* p on at least the axes `axes`, as a value (constants become values): its shape is that of p.axes | axes. */
Partial partial_on(Graph *g, Partial p, uint32_t axes, const Shape *of);
/* BOOL of shape `of`. */
ValueId partial_whole(Graph *g, Partial p, const Shape *of);

/* The value `v` with its axes named: id[i] is the name of axis i. Gives it the axes `to[0 .. n)` of extents `shape`, in
 * this order; those that it lacks are filled by repetition. Every axis of v must be named in `to`. */
ValueId partial_arrange(Graph *g, ValueId v, const int64_t *id, const int64_t *to, const Shape *shape);
/* The axes of a tensor of shape `of` that are in the set, as ids, ascending; and their shape. */
uint32_t partial_axes(uint32_t set, const Shape *of, int64_t *id, Shape *shape);
#endif
