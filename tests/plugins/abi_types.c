/* SPDX-License-Identifier: Apache-2.0
 * abi_types.c -- one function that takes every type of the contract: abi.sh compares what the compiler makes
 * of it with route_plugin-1.0.abi. */
#include "route_plugin.h"

int route_abi_types(const RouteAbi *a, const RouteHost *b, const RouteParam *c, const RouteInput *d,
                    const RouteOp *e, const RoutePlugin *f, const RouteView *g, const RouteInsn *h,
                    const RouteExpr *i, const RouteSpan *j, const RouteReduce *k, const RouteKey *l,
                    const RouteGate *m, const RouteClock *n, const RouteSchedule *o, enum RouteKind p,
                    enum RouteInputKind q, RouteExprOp r, enum RouteParamFlags s, enum RouteGateFlags t);
int route_abi_types(const RouteAbi *a, const RouteHost *b, const RouteParam *c, const RouteInput *d,
                    const RouteOp *e, const RoutePlugin *f, const RouteView *g, const RouteInsn *h,
                    const RouteExpr *i, const RouteSpan *j, const RouteReduce *k, const RouteKey *l,
                    const RouteGate *m, const RouteClock *n, const RouteSchedule *o, enum RouteKind p,
                    enum RouteInputKind q, RouteExprOp r, enum RouteParamFlags s, enum RouteGateFlags t) {
  return a && b && c && d && e && f && g && h && i && j && k && l && m && n && o && p && q && (r || s || t);
}
const RoutePlugin *route_plugin_v1(void) { return 0; }
