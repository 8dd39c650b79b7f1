/* SPDX-License-Identifier: Apache-2.0
 * rewrite.h -- copying a graph value by value into a new one: what every pass that removes or inserts
 * values in the middle is made of. map[old] is the new id, 0 while not copied. */
#ifndef ROUTEC_REWRITE_H
#define ROUTEC_REWRITE_H
#include "program.h"

typedef struct Rewrite {
  const Graph *from;
  Graph *to;
  ValueId *map;
} Rewrite;

Rewrite rewrite_begin(const Graph *from, Arena *a);
/* Copies value v with its arguments mapped; records and returns the new id. */
ValueId rewrite_copy(Rewrite *r, ValueId v);
/* Copies the roots. */
void rewrite_roots(Rewrite *r);
/* Replaces p->step by r->to and maps every value that the program's tables name. */
void rewrite_program(Rewrite *r, Program *p);
#endif
