/* SPDX-License-Identifier: Apache-2.0
 * plugin_fault.c -- a plugin's function that crashes inside of a run: whose fault it is is told, and the process
 * ends. */
#include "plugin.h"
#include "rt.h"
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

_Thread_local const char *rt_plugin_running;

/* The runtime was in the middle of anything when the signal came: no stdio and no memory from here on. */
typedef struct Line {
  char text[1024];
  size_t n;
  bool json;
} Line;

static void line_put(Line *l, const char *s) {
  for (; *s && l->n < sizeof l->text; s++) l->text[l->n++] = *s;
}

/* A plugin's name may be anything by now: what JSON does not take as it is becomes `?`. */
static void line_put_name(Line *l, const char *s) {
  for (size_t i = 0; s[i] && i < 128; i++) {
    const char c = l->json && (s[i] < 32 || s[i] > 126 || s[i] == '"' || s[i] == '\\') ? '?' : s[i];
    line_put(l, (const char[]){c, 0});
  }
}

/* The message of the table, a name in each of its places. */
static void line_put_message(Line *l, RtCode code, const char *const *names) {
  for (const char *m = rt_code_message(code); *m; m++) {
    if (m[0] == '%' && m[1] == 's') line_put_name(l, *names++), m++;
    else line_put(l, (const char[]){*m, 0});
  }
}

void rt_plugin_fault(int signal_number, bool json) {
  static atomic_flag told = ATOMIC_FLAG_INIT;
  if (!rt_plugin_running) return;
  while (atomic_flag_test_and_set(&told)) pause(); /* another thread tells, and ends us */
  const char *name = sigabbrev_np(signal_number), *words = sigdescr_np(signal_number);
  Line l = {.json = json};
  line_put(&l, json ? "{\"level\":\"error\",\"code\":\"" : "error["), line_put(&l, rt_code_name(RT_E0763));
  line_put(&l, json ? "\",\"message\":\"" : "]: ");
  line_put_message(&l, RT_E0763, (const char *const[]){rt_plugin_running, name ? name : "?", words ? words : "?"});
  line_put(&l, json ? "\"}\n" : "\n");
  const ssize_t written = write(json ? STDOUT_FILENO : STDERR_FILENO, l.text, l.n);
  (void)written; /* there is nobody left to tell */
  _exit(RT_PLUGIN_REFUSED);
}

void rt_faults_catch(void (*handler)(int signal_number)) {
  static const int signals[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
  static uint8_t stack[1 << 16]; /* in case the first is used up */
  sigaltstack(&(stack_t){.ss_sp = stack, .ss_size = sizeof stack}, NULL);
  struct sigaction act = {.sa_handler = handler, .sa_flags = SA_ONSTACK};
  sigemptyset(&act.sa_mask);
  for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) sigaction(signals[i], &act, NULL);
}
