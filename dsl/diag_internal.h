/* SPDX-License-Identifier: Apache-2.0
 * diag_internal.h -- shared by diag.c and diag_text.c. */
#ifndef ROUTEC_DIAG_INTERNAL_H
#define ROUTEC_DIAG_INTERNAL_H
#include "diag.h"

/* The kept diagnostics by file and place, earlier ones first; d->n of them, in the arena. */
const Diag **diags_sorted(const Diags *d);
#endif
