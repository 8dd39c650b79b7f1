/* SPDX-License-Identifier: Apache-2.0
 * object.c -- machine code: object bytes in memory, assembly for readers. */
#include "kernel.h"
#include <string.h>

static bool assembly(Backend *be, LLVMTargetMachineRef tm, const char *path, const char **why) {
  char *text = NULL;
  LLVMModuleRef copy = LLVMCloneModule(be->e.mod); /* code generation changes the module */
  bool failed = LLVMTargetMachineEmitToFile(tm, copy, path, LLVMAssemblyFile, &text);
  if (failed) {
    *why = arena_printf(be->e.arena, "%s: %s", path, text);
    LLVMDisposeMessage(text);
  }
  LLVMDisposeModule(copy);
  return !failed;
}

bool object_emit(Backend *be, LLVMTargetMachineRef tm, ObjectPart *out, const char **why) {
  if (be->options->dump_asm && !assembly(be, tm, be->options->dump_asm, why)) return false;
  LLVMMemoryBufferRef buffer;
  char *text = NULL;
  if (LLVMTargetMachineEmitToMemoryBuffer(tm, be->e.mod, LLVMObjectFile, &text, &buffer)) {
    *why = arena_printf(be->e.arena, "code generation: %s", text);
    LLVMDisposeMessage(text);
    return false;
  }
  out->size = LLVMGetBufferSize(buffer);
  out->bytes = arena_alloc(be->e.arena, out->size);
  memcpy(out->bytes, LLVMGetBufferStart(buffer), out->size);
  LLVMDisposeMemoryBuffer(buffer);
  return true;
}
