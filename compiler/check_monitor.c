/* SPDX-License-Identifier: Apache-2.0
 * check_monitor.c -- `monitor`: what is recorded during training, by class and region. */
#include "model.h"

void check_monitor(Elab *e) {
  Model *m = e->m;
  if (m->monitor) err(m, E0324, m->monitor->span, "`monitor`");
}
