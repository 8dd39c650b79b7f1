/* SPDX-License-Identifier: Apache-2.0
 * own.h -- which entries of parameters make the units of a value, and which read them (docs/routing.md,
 * Regions). */
#ifndef ROUTEC_OWN_H
#define ROUTEC_OWN_H
#include "units.h"

typedef struct OwnPiece {
  uint32_t param;
  bool made;      /* else it reads */
  int32_t axis;   /* the labels go along it; -1: the whole parameter has the label label[0] */
  int64_t extent; /* of the axis, or 1 */
  int32_t *label; /* [extent]: a label of the traced value, UNIT_NONE or UNIT_MIXED */
  bool tangled;   /* the labels go along several axes at once, so that no axis holds them: axis is -1, label
                     NULL */
} OwnPiece;
typedef struct Owned {
  OwnPiece *pieces;
  uint32_t n;
} Owned;

typedef struct Owner Owner; /* of one forward graph that does not change any more */
Owner *own_create(const Graph *g, Arena *a);
/* Who reads v; what was made after own_create is not among them. */
const uint32_t *own_users(const Owner *o, ValueId v, uint32_t *n);
/* Labels 0 .. of the units of `value`. Backwards through element-wise operations, views and contractions
 * whose other axes are the unit's, to the rows of parameters that make it; forwards likewise, to the columns
 * that contract it. */
Owned own_trace(Owner *o, ValueId value, const UnitMap *units);
#endif
