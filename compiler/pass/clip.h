/* SPDX-License-Identifier: Apache-2.0
 * clip.h -- bounds on gradient norms, group by group. */
#ifndef ROUTEC_CLIP_H
#define ROUTEC_CLIP_H
#include "entries.h"

/* What the optimizer knows of one parameter that has a gradient. */
typedef struct UpdateItem {
  uint32_t param;
  ValueId grad;
  Entries *entries;
  Partial reached; /* entries that some datum and origin reach in this step; yes where nobody asks */
  Partial kept;    /* entries whose states and clip share go on: reached, or not under `freeze` */
  Partial moved;   /* entries whose value moves: reached, or under `zero_grad` */
} UpdateItem;

/* Replaces each item's gradient by its clipped one. An entry belongs to the group of the region that bounds it; else, where
 * nothing but probes trains the parameter, to these probes' group; else to the model's. Groups do not know each other, so
 * that a probe that comes or goes changes no bit of the model. Entries that are not `kept` have no share. Each scale is
 * added to p->cuts. */
void clip_items(Program *p, UpdateItem *items, uint32_t n);
#endif
