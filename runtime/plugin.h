/* SPDX-License-Identifier: Apache-2.0
 * plugin.h -- plugins on their way in: compared, tried in a child process, checked, loaded. Used by the
 * compiler and by built trainers alike. What is returned has the tables that route_plugin.h promises; nobody
 * needs to look again. */
#ifndef ROUTEC_PLUGIN_H
#define ROUTEC_PLUGIN_H
#include "error.h"
#include "route_plugin.h"

#define RT_SHA256_TEXT 65 /* 64 hex digits and the end */

/* SHA-256 of a file in lower-case hex. false: error filled. */
bool rt_plugin_sha256(const char *path, char hex[RT_SHA256_TEXT], RtError *e);

/* Loads the shared object `path`. `sha256` NULL: any contents; what they are goes to `found`, if it is not NULL: "" where the file
 * could not be read. Its ABI is compared before any other code of
 * it is called, and all of it happens first in a child process, with a time limit: constructors may crash or
 * hang. NULL: error filled, E0750 to E0754. Plugins are never unloaded; the same file is loaded once. Any
 * thread. */
const RoutePlugin *rt_plugin_load(const char *path, const char *sha256, char found[RT_SHA256_TEXT], RtError *e);

/* NULL if `p` is what route_plugin.h promises, else the first thing that it is not, in words, in `why`. First
 * the ABI, before any function that the tables name is called. */
bool rt_plugin_abi_same(const RoutePlugin *p, char *why, size_t n_why);
bool rt_plugin_verify(const RoutePlugin *p, char *why, size_t n_why);

void rt_plugin_one_line(char *said); /* blanks for control characters: what a plugin said goes to terminals */

const RouteOp *rt_plugin_op(const RoutePlugin *p, const char *name); /* NULL: none of that name */
const RouteInput *rt_op_input(const RouteOp *op, uint32_t i);
const RouteParam *rt_op_param(const RouteOp *op, uint32_t i);

/* ---- crashes (plugin_fault.c) ---- */
/* The op whose functions this thread runs, NULL: none. Whoever calls them sets it: a signal is laid at its door. */
extern _Thread_local const char *rt_plugin_running;
/* For handlers of signals: while a plugin runs in this thread, says so (E0763; as JSON on standard output) and ends the process; else
 * returns. */
void rt_plugin_fault(int signal_number, bool json);
/* The handler of the signals of a crash, on a stack of its own. */
void rt_faults_catch(void (*handler)(int signal_number));

/* ---- formulas (plugin_formula.c) ---- */
enum { RT_FORMULA_MAX = 4096, RT_FORMULA_SLOTS = 16, RT_FORMULA_STACK = 64 };
/* How many values an instruction takes from the stack, and how many it leaves there. */
typedef struct RtFormulaRow {
  const char *name;
  uint32_t pops, pushes;
} RtFormulaRow;
const RtFormulaRow *rt_formula_row(uint32_t op); /* NULL: no such instruction */
/* Is it well formed: stack, slots, numbers of inputs and parameters, kinds of operands and result? */
bool rt_formula_verify(const RouteOp *op, const RouteExpr *x, char *why, size_t n_why);
#endif
