/* SPDX-License-Identifier: Apache-2.0
 * What units own: the regions of splits and of declared regions, as text. */
#include "check_jig.h"

typedef struct Case {
  const char *name, *x, *model, *rest, *region, *want;
} Case;

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* "fc1.bias/0:0,2; fc1.weight/0:0,2; fc2.weight/1:0,2": parameter, axis, indices. */
static const char *region_text(Jig *j, const ProgRegion *r) {
  char **piece = ARENA_NEWS(j->a, char *, r->n_pieces + 1);
  const char *all = "";
  for (uint32_t i = 0; i < r->n_pieces; i++) {
    const RegionPiece *p = &r->pieces[i];
    piece[i] = arena_printf(j->a, p->axis < 0 ? "%s" : "%s/%d:", j->p->params[p->param].path, p->axis);
    for (int64_t k = 0; p->axis >= 0 && k < p->n; k++)
      piece[i] = arena_printf(j->a, k ? "%s,%lld" : "%s%lld", piece[i], (long long)p->index[k]);
  }
  qsort(piece, r->n_pieces, sizeof *piece, by_text);
  for (uint32_t i = 0; i < r->n_pieces; i++) all = arena_printf(j->a, i ? "%s; %s" : "%s%s", all, piece[i]);
  return all;
}

#define SPLIT "split h { a = [0, 2]; b = rest }\nroute r: gradient of h { otherwise to a }"
#define HEADS                                                                                                \
  "  q = reshape(x |> q: linear(8), [3, 4, 2])\n  k = reshape(x |> k: linear(4, bias = false), [3, 2, 2])\n" \
  "  v = reshape(x |> v: linear(4), [3, 2, 2])\n  kk = reshape(concat(k, k), [3, 4, 2])\n  vv = "            \
  "reshape(concat(v, v), [3, 4, 2])\n"                                                                       \
  "  s = softmax(matmul(transpose(q, [1, 0, 2]), transpose(kk, [1, 2, 0])))\n"                               \
  "  h: f32[heads = 4, 3, 2] = matmul(s, transpose(vv, [1, 0, 2]))\n  y = reshape(transpose(h, [1, 0, 2]), " \
  "[3, 8]) |> o: linear(4)\n"

static const Case cases[] = {
    {"made by", "x: f32[6] = source.x", "h = x |> fc1: linear(4) |> relu\n y = h |> fc2: linear(3)", SPLIT,
     "h.a.made_by", "fc1.bias/0:0,2; fc1.weight/0:0,2"},
    {"read by", "x: f32[6] = source.x", "h = x |> fc1: linear(4) |> relu\n y = h |> fc2: linear(3)", SPLIT,
     "h.a.read_by", "fc2.weight/1:0,2"},
    {"several readers", "x: f32[6] = source.x",
     "h = x |> fc1: linear(4)\n y = (h |> fc2: linear(3)) + (tanh(h) |> fc3: linear(3, bias = false))", SPLIT,
     "h.a.read_by", "fc2.weight/1:0,2; fc3.weight/1:0,2"},
    {"a probe is no reader", "x: f32[6] = source.x",
     "h = x |> fc1: linear(4)\n y = (h |> fc2: linear(3)) + (stop(h) |> fc3: linear(3))", SPLIT,
     "h.a.read_by", "fc2.weight/1:0,2"},
    {"gated", "x: f32[6] = source.x",
     "g = x |> gate: linear(4)\n h = g * sigmoid(g) * (x |> up: linear(4, bias = false))\n y = h |> down: "
     "linear(3)",
     SPLIT, "h.a", "down.weight/1:0,2; gate.bias/0:0,2; gate.weight/0:0,2; up.weight/0:0,2"},
    {"norm behind", "x: f32[6] = source.x",
     "h = x |> fc1: linear(4)\n y = h |> ln: layer_norm |> fc2: linear(3)", SPLIT, "h.a.read_by",
     "fc2.weight/1:0,2; ln.bias/0:0,2; ln.weight/0:0,2"},
    {"norm before", "x: f32[6] = source.x",
     "h = x |> fc1: linear(4) |> ln: layer_norm\n y = h |> fc2: linear(3)", SPLIT, "h.a.made_by",
     "fc1.bias/0:0,2; fc1.weight/0:0,2; ln.bias/0:0,2; ln.weight/0:0,2"},
    {"residual stream", "x: f32[6] = source.x",
     "s = x |> fc1: linear(4)\n h = s + (tanh(s) |> fc2: linear(4))\n y = h |> fc3: linear(3)", SPLIT, "h.a",
     "fc1.bias/0:0,2; fc1.weight/0:0,2; fc2.bias/0:0,2; fc2.weight/0:0,2; fc3.weight/1:0,2"},
    {"residual branch", "x: f32[6] = source.x",
     "s = x |> fc1: linear(4)\n h = tanh(s) |> fc2: linear(4)\n y = s + h |> fc3: linear(3)", SPLIT,
     "h.a.made_by", "fc2.bias/0:0,2; fc2.weight/0:0,2"},
    {"channels, flattened", "x: f32[1, 4, 4] = reshape(source.x, [1, 4, 4])",
     "h = x |> k: conv2d(3, kernel = 3)\n y = flatten(relu(h)) |> fc: linear(2)", SPLIT, "h.a",
     "fc.weight/1:0,1,2,3,8,9,10,11; k.bias/0:0,2; k.weight/0:0,2"},
    {"channels, convolved", "x: f32[1, 4, 4] = reshape(source.x, [1, 4, 4])",
     "h = x |> k: conv2d(3, kernel = 3)\n y = flatten(h |> k2: conv2d(2, kernel = 2))", SPLIT, "h.a.read_by",
     "k2.weight/1:0,2"},
    {"channels, averaged", "x: f32[1, 4, 4] = reshape(source.x, [1, 4, 4])",
     "h = x |> k: conv2d(3, kernel = 3)\n y = mean(h, over = [1, 2]) |> fc: linear(2)", SPLIT, "h.a.read_by",
     "fc.weight/1:0,2"},
    {"embedding", "x: int in 0 ..= 4 = source.x", "h = x |> emb: embedding(5, 4)\n y = h |> fc: linear(3)",
     SPLIT, "h.a", "emb.weight/1:0,2; fc.weight/1:0,2"},
    {"tied embedding", "x: int in 0 ..= 4 = source.x",
     "h = x |> emb: embedding(5, 4)\n y = matmul(reshape(h, [1, 4]), transpose(emb.weight))", SPLIT, "h.a",
     "emb.weight/1:0,2; emb.weight/1:0,2"},
    {"heads: their own queries, grouped keys and values only as a whole",
     "x: f32[3, 6] = reshape(source.x, [3, 6])", HEADS, SPLIT, "h.a",
     "o.weight/1:0,1,4,5; q.bias/0:0,1,4,5; q.weight/0:0,1,4,5"},
    {"grouped keys with all their heads", "x: f32[3, 6] = reshape(source.x, [3, 6])", HEADS,
     "region r = h[2 ..].made_by", "r",
     "k.weight/0:2,3; q.bias/0:4,5,6,7; q.weight/0:4,5,6,7; v.bias/0:2,3; v.weight/0:2,3"},
    {"grouped keys of a head alone", "x: f32[3, 6] = reshape(source.x, [3, 6])", HEADS, "region r = h[1]",
     "r", "o.weight/1:2,3; q.bias/0:2,3; q.weight/0:2,3"},
    {"sums", "x: f32[6] = source.x", "h = x |> fc1: linear(4)\n y = h |> fc2: linear(3)",
     "region r = h[-1].made_by + fc2.bias + h[0 .. 2].read_by", "r",
     "fc1.bias/0:3; fc1.weight/0:3; fc2.bias; fc2.weight/1:0,1"},
    {"rounds", "x: f32[6] = source.x",
     "h = x\n repeat blocks[i in 0 .. 3] carry h { h = h |> fc: linear(6, bias = false) |> tanh }\n y = h |> "
     "top: linear(3)",
     "region r = blocks[1 ..] + blocks[0].fc.out[0]", "r",
     "blocks.0.fc.weight/0:0; blocks.1.fc.weight; blocks.1.fc.weight/1:0; blocks.2.fc.weight"},
    {"a slice is read", "x: f32[6] = source.x", "h = x |> fc1: linear(4)\n y = h[1 .. 4] |> fc2: linear(3)",
     SPLIT, "h.a.read_by", "fc2.weight/1:1"},
    {"a part of a concatenation", "x: f32[6] = source.x",
     "h = x |> fc1: linear(4)\n y = concat(x, h) |> fc2: linear(3)", SPLIT, "h.a.read_by",
     "fc2.weight/1:6,8"},
};

static void regions_of_units(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const Case *c = &cases[i];
    char text[4096];
    snprintf(text, sizeof text,
             "edition 1\ndata d {\n  source = csv(\"d.csv\", x = 0%s, c = 20)\n  %s\n}\nmodel "
             "{\n%s\n}\n%s\nloss l = mse(y, 0 * y)\n"
             "optimize sgd(lr = 0.1)\ntrain { batch = 4; for = 2 epochs }\n",
             strstr(c->x, "int")       ? ""
             : strstr(c->x, "1, 4, 4") ? " .. 16"
             : strstr(c->x, "3, 6")    ? " .. 18"
                                       : " .. 6",
             c->x, c->model, c->rest);
    Jig j = jig_open(text, NULL, 0);
    if (!j.p) {
      diags_print_text(j.diags, stderr, false);
      fail_msg("%s", c->name);
    }
    const char *got = NULL;
    for (uint32_t k = 0; k < j.p->n_regions; k++)
      if (!strcmp(j.p->regions[k].name, c->region)) got = region_text(&j, &j.p->regions[k]);
    if (!got || strcmp(got, c->want) != 0)
      fail_msg("%s: `%s` is %s, want %s", c->name, c->region, got ? got : "not there", c->want);
    jig_close(&j);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(regions_of_units)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
