/* SPDX-License-Identifier: Apache-2.0
 * error.h -- runtime errors as data: a code of error.def, the finished sentence, and a place in the spec if
 * it has one. Functions that can fail take an RtError * and return false after filling it; the first error
 * stays. */
#ifndef ROUTEC_ERROR_H
#define ROUTEC_ERROR_H
#include "job.h"
#include <stdarg.h>
#include <stdio.h>

typedef enum RtLevel { RT_LEVEL_ERROR, RT_LEVEL_WARNING } RtLevel;
typedef enum RtCode {
  RT_NO_ERROR,
#define RT_ERROR(code, level, message, explain) RT_##code,
#include "error.def"
#undef RT_ERROR
  RT_N_CODES
} RtCode;

typedef struct RtError {
  RtCode code;  /* RT_NO_ERROR: nothing happened */
  JobSpan span; /* file NULL: none */
  char message[1200];
} RtError;

/* Fills e from the code's format unless it holds an error already. Always returns false, for `return
 * rt_fail(...)`. */
bool rt_fail(RtError *e, RtCode code, ...);
bool rt_fail_at(RtError *e, const JobSpan *span, RtCode code, ...);
void rt_error_fill(RtError *e, const JobSpan *span, RtCode code, va_list args);
/* "error[E0701]: message" and "  --> file:line:col", or one JSON object a line. */
void rt_error_print(const RtError *e, FILE *f, bool json, bool color);
const char *rt_code_name(RtCode c);
const char *rt_code_message(RtCode c); /* as in the table: with the places of its arguments */
RtLevel rt_code_level(RtCode c);
bool rt_code_is_plugin(RtCode c); /* a plugin was refused: E0750 to E0769 */
#endif
