/* SPDX-License-Identifier: Apache-2.0
 * entries.h -- what the optimizer does with each entry of a parameter: the regions cut it, each entry has one setting. */
#ifndef ROUTEC_ENTRIES_H
#define ROUTEC_ENTRIES_H
#include "partial.h"

typedef struct EntrySetting {
  MaskedPolicy policy;
  bool decay;
  uint32_t region; /* 1 + the region whose clip group it is in; 0: that of its parameter */
} EntrySetting;

typedef struct Entries Entries;
Entries *entries_of(const Program *p, uint32_t param, Arena *a);
/* The different settings in it. */
const EntrySetting *entries_settings(const Entries *e, uint32_t *n);
/* The entries whose setting `holds`, as constants. */
Partial entries_where(Graph *g, const Entries *e, bool (*holds)(const EntrySetting *, uint32_t arg), uint32_t arg);
#endif
