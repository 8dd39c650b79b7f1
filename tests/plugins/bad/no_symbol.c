/* SPDX-License-Identifier: Apache-2.0
 * no_symbol.c -- no plugin at all. */
int route_test_something(void);
int route_test_something(void) { return 1; }
