/* span.store: from store(), and grad() adds */
/* SPDX-License-Identifier: Apache-2.0 */
#include "bad.h"

static void grad(const void *state, const RouteView *x, float scale, float *dx, size_t ldd) {
  for (size_t i = 0; i < x->rows; i++)
    for (size_t j = 0; j < x->cols; j++) dx[i * ldd + j] += scale * 2 * *(const float *)state * x->x[i * x->ld + j];
}
static const RouteSpan span = {.size = sizeof span, .value = good_value, .grad = grad, .store = grad};
BAD_PLUGIN(ROUTE_REGULARIZER, ROUTE_EXT_SPAN, span)
