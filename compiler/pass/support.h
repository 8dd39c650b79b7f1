/* SPDX-License-Identifier: Apache-2.0
 * support.h -- which elements of an adjoint are reached at all, in this step, by declared factors alone. */
#ifndef ROUTEC_SUPPORT_H
#define ROUTEC_SUPPORT_H
#include "program.h"

typedef struct Support Support;
Support *support_create(Graph *g, Arena *a);
/* The support of adjoint v: SUPPORT_ALL (every element, whatever the data), SUPPORT_NONE (no element, ever), or a
 * value of v's shape, F32, that is 1 where some datum and origin reach the element with a nonzero product of
 * declared factors, else 0. Values of gradients do not count: a dead ReLU is reached. */
ValueId support_of(Support *s, ValueId v);
#define SUPPORT_ALL ((ValueId)0xffffffffu)
#define SUPPORT_NONE ((ValueId)0xfffffffeu)
#endif
