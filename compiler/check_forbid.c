/* SPDX-License-Identifier: Apache-2.0
 * check_forbid.c -- `forbid`: which data may not change which region. */
#include "model.h"

void check_forbids(Elab *e) {
  Model *m = e->m;
  for (uint32_t i = 0; i < m->forbids.n; i++) err(m, E0324, m->forbids.v[i]->ast->span, "proofs (`forbid`)");
}
