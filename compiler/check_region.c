/* SPDX-License-Identifier: Apache-2.0
 * check_region.c -- declared regions: named sets of parameter entries with policies of their own. */
#include "model.h"

void check_regions(Elab *e) {
  Model *m = e->m;
  for (uint32_t i = 0; i < m->regions.n; i++) err(m, E0324, m->regions.v[i]->ast->span, "declared regions");
}
