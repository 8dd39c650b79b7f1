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

void rt_plugin_fault(int signal_number) {
  static atomic_flag told = ATOMIC_FLAG_INIT;
  if (!rt_plugin_running) return;
  while (atomic_flag_test_and_set(&told)) pause(); /* another thread tells, and ends us */
  const char *name = sigabbrev_np(signal_number);
  RtError e = {0};
  char text[sizeof e.message + 64];
  rt_fail(&e, RT_E0763, rt_plugin_running, name ? name : "?", strsignal(signal_number));
  const int n = snprintf(text, sizeof text, "error[%s]: %s\n", rt_code_name(e.code), e.message);
  const ssize_t written = n > 0 ? write(STDERR_FILENO, text, (size_t)n) : 0;
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
