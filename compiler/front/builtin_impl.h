/* SPDX-License-Identifier: Apache-2.0
 * builtin_impl.h -- the lowerings that builtin.def names, and what they share. */
#ifndef ROUTEC_BUILTIN_IMPL_H
#define ROUTEC_BUILTIN_IMPL_H
#include "builtin.h"

#define BUILTIN(name, signature, args, fn, aux, doc) Val *fn(BuiltinCall *c);
#include "builtin.def"
#undef BUILTIN

/* Slot i as F32, or 0 after an error. */
ValueId bi_f32(BuiltinCall *c, int i);
/* Slot i as an F32 tensor value with its axes; NULL after an error. */
Val *bi_tensor(BuiltinCall *c, int i);
Val *bi_error_rank(BuiltinCall *c, const Val *v, const char *want);
/* Axis of an `over` slot; the last one when left out; -1 after an error. */
int bi_axis(BuiltinCall *c, const Val *x, int slot);
/* r, of x's shape without `axis`, repeated along it. */
ValueId bi_spread(Elab *e, ValueId r, const Shape *x, int axis);
/* index == label along a new last axis of extent n: BOOL. */
ValueId bi_is_label(Elab *e, Span span, ValueId label, int64_t n);
/* A label's declared range must lie in 0 .. n-1; false after an error. */
bool bi_labels_fit(Elab *e, const Val *label, int64_t n);
ValueId bi_log_softmax(Elab *e, ValueId x, int axis);
ValueId bi_softmax_of(Elab *e, ValueId x, int axis);
#endif
