/* SPDX-License-Identifier: Apache-2.0
 * units.h -- labels on the elements of a value, and how views and contractions carry them. A unit map says
 * for each element whose it is, as a function of its index along some axes; the datum axis is never one of
 * them. */
#ifndef ROUTEC_UNITS_H
#define ROUTEC_UNITS_H
#include "ir.h"

#define UNIT_NONE  (-1) /* nobody's: nothing of a labelled value is there */
#define UNIT_MIXED (-2) /* several labels meet here */

typedef struct UnitMap {
  uint32_t axes;  /* bit i: the label depends on the index along axis i */
  int32_t *label; /* row-major over these axes, in ascending order; one entry if there are none */
} UnitMap;

/* A map of values of `shape` along one axis; label[i] is copied. */
UnitMap units_along(Arena *a, int axis, const int32_t *label, int64_t n);
UnitMap units_uniform(Arena *a, int32_t label);
int64_t units_count(const UnitMap *m, const Shape *s);
bool units_equal(const UnitMap *x, const UnitMap *y, const Shape *s);

/* The labels of argument `arg` of v, when v's elements have those of m: each element of the argument gets the
 * label of the elements of v that it is in, UNIT_NONE if it is in none, UNIT_MIXED if they differ.
 * Element-wise operations, views, sums and maxima, DOT (the axes must all be the argument's), GATHER's table;
 * false: not to be said. */
bool units_back(const Graph *g, Arena *a, ValueId v, uint32_t arg, const UnitMap *m, UnitMap *out);
/* The other way: the labels of v's elements, each the one of the element of the argument that it comes from,
 * UNIT_NONE for what does not come from it. false where one element comes from several with different labels.
 */
bool units_forward(const Graph *g, Arena *a, ValueId v, uint32_t arg, const UnitMap *m, UnitMap *out);
/* The labels of the other operand of DOT v along the axes that it is contracted with argument `arg`; false if
 * m's axes are not all contracted. */
bool units_contracted(const Graph *g, Arena *a, ValueId v, uint32_t arg, const UnitMap *m, UnitMap *out);
#endif
