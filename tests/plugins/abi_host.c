/* SPDX-License-Identifier: Apache-2.0
 * abi_host.c -- loads the plugin `every` and calls all that it has. abi.sh compiles it, and the loader,
 * against a header whose structs have grown; the plugin was compiled against the header as it is. */
#include "plugin.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int n_failed;
#define HOLDS(what) ((what) ? (void)0 : (void)(n_failed++, fprintf(stderr, "does not hold: %s\n", #what)))

static void fail(void *ctx, const char *msg) { fprintf(stderr, "%s\n", msg), *(int *)ctx = 1; }
static void *alloc(void *ctx, size_t n, size_t align) {
  (void)ctx, (void)align;
  return calloc(1, n);
}

static const void *ability(const RoutePlugin *p, const char *name, const char *id, void **state) {
  const RouteOp *op = rt_plugin_op(p, name);
  int failed = 0;
  const RouteHost host = {.size = sizeof host, .ctx = &failed, .fail = fail, .alloc = alloc};
  const double values[] = {3, 2};
  *state = op->create(op, &host, values);
  HOLDS(!failed && *state);
  HOLDS(!strcmp(rt_op_param(op, 0)->name, "weight") && !strcmp(rt_op_param(op, 1)->name, "power") &&
        rt_op_param(op, 1)->max == 3);
  if (op->n_inputs == 2)
    HOLDS(!strcmp(rt_op_input(op, 1)->name, "id") && rt_op_input(op, 1)->kind == ROUTE_LABEL);
  return op->extension(op, id);
}

int main(int argc, char **argv) {
  RtError e = {0};
  const RoutePlugin *p = argc == 2 ? rt_plugin_load(argv[1], NULL, NULL, &e) : NULL;
  if (!p) {
    fprintf(stderr, "%s\n", e.message);
    return 1;
  }
  printf("plugin %u of %zu bytes, op %u of %zu, minor %u of %u\n", p->size, sizeof *p, p->ops[0]->size,
         sizeof **p->ops, p->abi.minor, ROUTE_ABI_MINOR);
  void *state;
  const RouteExpr *x = ability(p, "every", ROUTE_EXT_EXPR, &state);
  HOLDS(x && x->code[0].op == ROUTE_X_INPUT && x->code[2].arg == 1 && x->code[8].op == ROUTE_X_END);
  const float in[] = {1, -2, 3, 0, 0.5f, -1}; /* 2 rows of 2 columns, 3 apart */
  const int32_t label[] = {4, -1};
  float dx[4] = {1, 1, 1, 1};
  const RouteView v = {.size = sizeof v, .x = in, .rows = 2, .cols = 2, .ld = 3};
  const RouteSpan *s = ability(p, "sum", ROUTE_EXT_SPAN, &state);
  HOLDS(s->value(state, &v) == 3 * (1 + 4 + 0 + 0.25));
  s->grad(state, &v, 2, dx, 2);
  HOLDS(dx[0] == 13 && dx[1] == -23 && dx[2] == 1 && dx[3] == 7);
  const RouteReduce *r = ability(p, "square", ROUTE_EXT_REDUCE, &state);
  const size_t cols = 2;
  double acc = 0;
  HOLDS(r->acc_size(state, &cols, 2) == sizeof acc);
  r->partial(state, &v, &acc);
  HOLDS(r->finish(state, &cols, 2, &acc) == 3 * 0.25);
  const RouteGate *g = ability(p, "pick", ROUTE_EXT_GATE, &state);
  const RouteView two[] = {v, {.size = sizeof v, .label = label, .rows = 2, .cols = 1, .ld = 1}};
  const int32_t datum[] = {5, 6}, position[] = {0, 0};
  float y[2] = {9, 9};
  uint64_t seed = 0; /* one whose first draw is below 1/2 */
  RouteKey key = {
      .size = sizeof key, .training = 1, .stream = 7, .step = 11, .datum = datum, .position = position};
  for (; key.seed = seed, route_uniform(&key, 0, 0, 1) >= 0.5f; seed++) {
  }
  g->value(state, two, &key, y, 1);
  HOLDS(y[0] == 3 && y[1] == 0);
  const RouteSchedule *l = ability(p, "line", ROUTE_EXT_SCHEDULE, &state);
  const RouteClock clock = {.size = sizeof clock, .step = 5, .total_steps = 10, .steps_per_epoch = 1};
  HOLDS(l->value(state, &clock) == 1.5);
  return n_failed ? 1 : 0;
}
