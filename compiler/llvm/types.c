/* SPDX-License-Identifier: Apache-2.0
 * types.c -- what emitted code is written in: types, attributes, frame fields, constant tensors. */
#include "kernel.h"
#include <string.h>

void types_init(Emit *e) {
  LLVMContextRef c = e->ctx;
  e->i1 = LLVMInt1TypeInContext(c);
  e->i8 = LLVMInt8TypeInContext(c);
  e->i32 = LLVMInt32TypeInContext(c);
  e->i64 = LLVMInt64TypeInContext(c);
  e->f32 = LLVMFloatTypeInContext(c);
  e->f64 = LLVMDoubleTypeInContext(c);
  e->ptr = LLVMPointerTypeInContext(c, 0);
  e->v16f32 = LLVMVectorType(e->f32, EMIT_LANES);
  e->v16i32 = LLVMVectorType(e->i32, EMIT_LANES);
  e->v16i1 = LLVMVectorType(e->i1, EMIT_LANES);
  e->v16i64 = LLVMVectorType(e->i64, EMIT_LANES);
  e->v16f64 = LLVMVectorType(e->f64, EMIT_LANES);
}

LLVMTypeRef type_of_dtype(Emit *e, Dtype t) {
  switch (t) {
  case DT_F32: return e->f32;
  case DT_F64: return e->f64;
  case DT_BOOL: return e->i1;
  default: return e->i32;
  }
}

LLVMTypeRef type_in_memory(Emit *e, Dtype t) {
  return t == DT_U8 || t == DT_BOOL ? e->i8 : type_of_dtype(e, t);
}

bool type_is_vector(LLVMValueRef v) { return LLVMGetTypeKind(LLVMTypeOf(v)) == LLVMVectorTypeKind; }

LLVMValueRef frame_field(Emit *e, LLVMValueRef frame, size_t offset, LLVMTypeRef type, const char *name) {
  LLVMValueRef index = em_i64(e, (int64_t)offset);
  LLVMValueRef p = LLVMBuildInBoundsGEP2(e->b, e->i8, frame, &index, 1, "");
  LLVMValueRef v = LLVMBuildLoad2(e->b, type, p, name);
  LLVMSetAlignment(v, 8);
  return v;
}

/* 64 more bytes of zeros, so that a whole vector may be read at the last element. */
LLVMValueRef types_global_bytes(Emit *e, const char *name, const void *bytes, size_t size) {
  char *padded = arena_alloc(e->arena, size + 64);
  memcpy(padded, bytes, size);
  LLVMValueRef data = LLVMConstStringInContext(e->ctx, padded, (unsigned)(size + 64), 1);
  LLVMValueRef g = LLVMAddGlobal(e->mod, LLVMTypeOf(data), name);
  LLVMSetInitializer(g, data);
  LLVMSetGlobalConstant(g, 1);
  LLVMSetLinkage(g, LLVMPrivateLinkage);
  LLVMSetUnnamedAddress(g, LLVMGlobalUnnamedAddr);
  LLVMSetAlignment(g, 64);
  return g;
}

void types_attribute(Emit *e, LLVMValueRef fn, unsigned index, const char *name, uint64_t value) {
  unsigned kind = LLVMGetEnumAttributeKindForName(name, strlen(name));
  LLVMAddAttributeAtIndex(fn, index, LLVMCreateEnumAttribute(e->ctx, kind, value));
}

static void text_attribute(Emit *e, LLVMValueRef fn, const char *key, const char *value) {
  LLVMAttributeRef a =
      LLVMCreateStringAttribute(e->ctx, key, (unsigned)strlen(key), value, (unsigned)strlen(value));
  LLVMAddAttributeAtIndex(fn, ON_FUNCTION, a);
}

void types_fn_attributes(Emit *e, LLVMValueRef fn, Sanitizer sanitize) {
  types_attribute(e, fn, ON_FUNCTION, "nounwind", 0);
  text_attribute(e, fn, "target-cpu", e->target->cpu);
  text_attribute(e, fn, "target-features", e->target->features);
  if (e->target->vector_floats >= 16) text_attribute(e, fn, "prefer-vector-width", "512");
  if (sanitize == SANITIZE_ADDRESS) types_attribute(e, fn, ON_FUNCTION, "sanitize_address", 0);
}
