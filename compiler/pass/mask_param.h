/* SPDX-License-Identifier: Apache-2.0
 * mask_param.h -- routes of primitive P: factors on what each datum contributes to a parameter's gradient. */
#ifndef ROUTEC_MASK_PARAM_H
#define ROUTEC_MASK_PARAM_H
#include "program.h"

/* dw: the adjoint of one use of a parameter, in g, for `origins`. weight[k]: the factors of part k, in g.
 * Returns the adjoint in which the share of datum i in each entry is multiplied by weight[part of the
 * entry][i]; 0 selects 0. The values that dw is made of stay as they are, for whoever else reads them. */
ValueId mask_parameter(Graph *g, const ProgRoute *route, const ValueId *weight, OriginSet origins,
                       ValueId dw);
#endif
