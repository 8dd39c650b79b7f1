/* SPDX-License-Identifier: Apache-2.0
 * support.h -- which elements of an adjoint are reached at all, in this step, by declared factors alone. */
#ifndef ROUTEC_SUPPORT_H
#define ROUTEC_SUPPORT_H
#include "partial.h"

typedef struct Support Support;
Support *support_create(Graph *g, Arena *a);
/* The elements of adjoint v that some datum and origin reach with a nonzero product of declared factors: yes for all
 * whatever the data, no for all ever, or a value that depends on the batch. Values of gradients do not count: a dead ReLU
 * is reached. */
Partial support_of(Support *s, ValueId v);
#endif
