/* SPDX-License-Identifier: Apache-2.0
 * known.h -- what a value is, element by element, for each kind of datum: a number where declarations alone say it
 * (conditions are constants of a kind, masks and their factors follow), nothing elsewhere. */
#ifndef ROUTEC_KNOWN_H
#define ROUTEC_KNOWN_H
#include "program.h"

/* Numbers along one axis (-1: the same for all elements), for each kind: num[kind * n + i], NaN where nothing is known. */
typedef struct Known {
  int32_t axis;
  int64_t n;   /* extent of the axis, 1 for -1 */
  double *num; /* NULL: nothing is known */
} Known;

enum { KNOWN_MAX_KINDS = 64 };
typedef struct Kinds {
  const Graph *g;
  Arena *arena;
  uint32_t n;  /* 1: kinds are not told apart */
  Known *of;   /* [value] */
} Kinds;

/* Adjoints beyond a mask count as finite, as everywhere: 0 times anything is 0. */
Kinds known_of_graph(const Program *p, const Graph *g, Arena *a);
/* The axis of a shape that is counted in rows, or -1. */
int32_t rows_axis(const Shape *s);
#endif
