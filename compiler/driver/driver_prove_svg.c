/* SPDX-License-Identifier: Apache-2.0
 * driver_prove_svg.c -- the proof as a picture: fields, layers, routed places and losses from left to right, and in each layer
 * a bar for entries with the same influences, in the colours of the classes that may change them. Plain SVG. */
#include "driver_prove.h"
#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { BOX = 196, GAP_X = 70, GAP_Y = 18, HEAD = 20, BAR = 16, TOP = 64, LEFT = 20, MAX_LAYERS = 48 };

typedef enum NodeKind { NODE_FIELD, NODE_LAYER, NODE_PLACE, NODE_ORIGIN } NodeKind;
typedef struct Bar { const char *label; ProofHull *hull, *routed; } Bar; /* [class]: over all origins, over those that routes apply to */
typedef struct Node {
  NodeKind kind;
  const char *name;
  Bar *bars; uint32_t n_bars;
  int column;
  double x, y, h, order;
} Node;

typedef struct Drawing {
  const ProveTable *t;
  const Graph *g;
  Arena *a;
  Node *v; uint32_t n;
  uint64_t **from; /* [value]: nodes that it comes from, as a bit set */
  bool *edge;      /* [n * n] from, to */
  uint32_t words, *layer_of; /* [param] */
  bool *live, *raw;          /* [value]; raw: a parameter, or views of one */
} Drawing;

static const char *const colours[] = {"#4477aa", "#ee7733", "#228833", "#cc3377", "#66ccee", "#ccbb44", "#aa3377", "#888888"};
#define N_COLOURS (sizeof colours / sizeof *colours)

/* ---- the graph of the model -------------------------------------------------------------------------------------------- */
static uint32_t node_of(Drawing *d, NodeKind kind, const char *name) {
  for (uint32_t i = 0; i < d->n; i++)
    if (d->v[i].kind == kind && !strcmp(d->v[i].name, name)) return i;
  d->v[d->n] = (Node){.kind = kind, .name = name};
  return d->n++;
}

static const char *prefix(Arena *a, const char *path, bool whole_module) {
  const char *dot = whole_module ? strchr(path, '.') : strrchr(path, '.');
  return dot ? arena_strndup(a, path, (size_t)(dot - path)) : path;
}

static void make_layers(Drawing *d) {
  const Program *p = d->t->proof->program;
  for (int whole = 0; whole < 2; whole++) {
    d->n = 0;
    for (uint32_t i = 0; i < p->n_params; i++) d->layer_of[i] = node_of(d, NODE_LAYER, prefix(d->a, p->params[i].path, whole));
    if (d->n <= MAX_LAYERS) return; /* else whole modules */
  }
}

static void mark_live(Drawing *d) {
  const Program *p = d->t->proof->program;
  for (uint32_t i = 0; i < p->n_origins; i++) d->live[p->origins[i].value] = true;
  for (ValueId v = d->g->n - 1; v >= 1; v--)
    for (uint32_t i = 0; d->live[v] && i < ir_value(d->g, v)->n_args; i++) d->live[ir_value(d->g, v)->args[i]] = true;
}

static bool has(const uint64_t *set, uint32_t i) { return set[i / 64] >> (i % 64) & 1; }

static void become(Drawing *d, ValueId v, uint32_t node) {
  for (uint32_t i = 0; i < d->n; i++)
    if (has(d->from[v], i) && i != node) d->edge[i * d->words * 64 + node] = true;
  memset(d->from[v], 0, d->words * sizeof(uint64_t));
  d->from[v][node / 64] |= (uint64_t)1 << (node % 64);
}

/* A value comes from the nearest nodes upstream; what a parameter joins is that parameter's layer. */
static void trace(Drawing *d, ValueId id) {
  const Program *p = d->t->proof->program;
  const Value *v = ir_value(d->g, id);
  d->from[id] = ARENA_NEWS(d->a, uint64_t, d->words);
  int64_t layer = -1;
  bool views = v->n_args > 0 && (op_class(v->op) == OPC_VIEW || v->op == OP_TAP || v->op == OP_CAST);
  for (uint32_t i = 0; i < v->n_args; i++) {
    const ValueId arg = v->args[i];
    views = views && d->raw[arg];
    for (uint32_t k = 0; k < d->words; k++) d->from[id][k] |= d->from[arg][k];
    for (uint32_t k = 0; d->raw[arg] && k < d->n; k++)
      if (has(d->from[arg], k)) layer = k;
  }
  d->raw[id] = v->op == OP_PARAM || views;
  if (v->op == OP_PARAM) become(d, id, d->layer_of[v->ints[0]]);
  else if (v->op == OP_COLUMN) become(d, id, node_of(d, NODE_FIELD, p->columns[v->ints[0]].name));
  else if (layer >= 0 && !views) become(d, id, (uint32_t)layer);
  if (v->op == OP_TAP && !d->raw[id]) become(d, id, node_of(d, NODE_PLACE, p->taps[v->ints[0]].name));
}

/* ---- bars ---------------------------------------------------------------------------------------------------------------- */
static bool same_hulls(const ProofHull *a, const ProofHull *b, uint32_t n) {
  for (uint32_t i = 0; i < n; i++)
    if (a[i].lo != b[i].lo || a[i].hi != b[i].hi) return false;
  return true;
}

static void add_cell(Drawing *d, uint32_t param, uint32_t cell, const char *label) {
  const ProveTable *t = d->t;
  Node *node = &d->v[d->layer_of[param]];
  ProofHull *h = ARENA_NEWS(d->a, ProofHull, 2 * t->n_cls + 1), *routed = h + t->n_cls;
  OriginSet set = 0;
  for (uint32_t i = 0; i < t->n_origins; i++)
    if (t->proof->program->origins[i].routed) set |= (OriginSet)1 << i;
  for (uint32_t c = 0; c < t->n_cls; c++) {
    const KindSet kinds = t->proof->classes[t->cls[c]].kinds;
    h[c] = proof_cell(t->proof, param, cell, kinds, ~(OriginSet)0, t->strictly);
    routed[c] = proof_cell(t->proof, param, cell, kinds, set, t->strictly);
  }
  for (uint32_t i = 0; i < node->n_bars; i++) {
    Bar *b = &node->bars[i];
    if (!same_hulls(b->hull, h, 2 * t->n_cls)) continue;
    b->label = arena_printf(d->a, "%s, %s", b->label, label);
    return;
  }
  Bar *bars = ARENA_NEWS(d->a, Bar, node->n_bars + 1);
  if (node->n_bars) memcpy(bars, node->bars, node->n_bars * sizeof *bars);
  bars[node->n_bars++] = (Bar){label, h, routed};
  node->bars = bars;
}

static void make_bars(Drawing *d) {
  const Program *p = d->t->proof->program;
  for (uint32_t i = 0; i < p->n_params; i++) {
    const char *path = p->params[i].path, *layer = d->v[d->layer_of[i]].name;
    const char *tail = strlen(path) > strlen(layer) ? path + strlen(layer) + 1 : path;
    for (uint32_t c = 0; c < d->t->proof->params[i].n_cells; c++)
      add_cell(d, i, c, arena_printf(d->a, "%s%s", tail, prove_cell_text(d->a, &d->t->proof->params[i], &p->params[i].shape, c)));
  }
}

/* ---- layout -------------------------------------------------------------------------------------------------------------- */
static bool edge(const Drawing *d, uint32_t from, uint32_t to) { return d->edge[from * d->words * 64 + to]; }

static int make_columns(Drawing *d) {
  int last = 0;
  for (uint32_t turn = 0; turn < d->n; turn++) { /* a module used twice makes a cycle: then it stops here */
    bool moved = false;
    for (uint32_t i = 0; i < d->n; i++)
      for (uint32_t j = 0; j < d->n; j++)
        if (edge(d, i, j) && d->v[j].column <= d->v[i].column && d->v[i].column < (int)d->n)
          d->v[j].column = d->v[i].column + 1, moved = true;
    if (!moved) break;
  }
  for (uint32_t i = 0; i < d->n; i++)
    if (d->v[i].column > last) last = d->v[i].column;
  return last + 1;
}

/* In each column from top to bottom, near what they come from. */
static double place_nodes(Drawing *d, int n_columns) {
  double height = 0;
  for (int c = 0; c < n_columns; c++) {
    double y = TOP;
    for (uint32_t i = 0; i < d->n; i++) {
      Node *v = &d->v[i];
      double sum = 0, n = 0;
      v->h = HEAD + BAR * (double)v->n_bars + (v->n_bars ? 4 : 0);
      for (uint32_t k = 0; k < d->n; k++)
        if (edge(d, k, i) && d->v[k].column < v->column) sum += d->v[k].y, n++;
      if (v->column == c) v->order = n > 0 ? sum / n : 1e6 + i, v->y = -1;
    }
    for (;;) {
      Node *next = NULL;
      for (uint32_t i = 0; i < d->n; i++)
        if (d->v[i].column == c && d->v[i].y < 0 && (!next || d->v[i].order < next->order)) next = &d->v[i];
      if (!next) break;
      next->x = LEFT + c * (double)(BOX + GAP_X), next->y = y;
      y += next->h + GAP_Y;
    }
    if (y > height) height = y;
  }
  return height;
}

/* ---- drawing ------------------------------------------------------------------------------------------------------------- */
static void print_escaped(FILE *f, const char *s) {
  for (; *s; s++) {
    if (*s == '<') fputs("&lt;", f);
    else if (*s == '>') fputs("&gt;", f);
    else if (*s == '&') fputs("&amp;", f);
    else if (*s == '"') fputs("&quot;", f);
    else fputc(*s, f);
  }
}

static void print_text(FILE *f, double x, double y, const char *style, const char *text, size_t max) {
  fprintf(f, "<text x=\"%.1f\" y=\"%.1f\" %s>", x, y, style);
  char cut[128];
  snprintf(cut, sizeof cut, "%.*s%s", (int)(strlen(text) > max ? max - 2 : max), text, strlen(text) > max ? ".." : "");
  print_escaped(f, cut);
  fputs("</text>\n", f);
}

static void print_bar(const Drawing *d, const Bar *b, double x, double y, FILE *f) {
  const ProveTable *t = d->t;
  uint32_t n = 0, at = 0;
  for (uint32_t c = 0; c < t->n_cls; c++) n += !proof_is_none(b->hull[c]);
  fputs("<g><title>", f);
  print_escaped(f, b->label);
  for (uint32_t c = 0; c < t->n_cls; c++) {
    fputs("\n", f);
    print_escaped(f, t->proof->classes[t->cls[c]].name);
    fprintf(f, ": %s", prove_hull_text(d->a, b->hull[c]));
    if (!proof_is_none(b->hull[c]) && proof_is_none(b->routed[c])) fputs(", by unrouted origins only", f);
  }
  fputs("</title>\n", f);
  fprintf(f, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%d\" height=\"%d\" fill=\"#ffffff\" stroke=\"#999999\"/>\n", x, y, BOX - 8, BAR - 2);
  for (uint32_t c = 0; c < t->n_cls; c++) {
    if (proof_is_none(b->hull[c])) continue;
    const double w = (BOX - 8) / (double)n;
    fprintf(f, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%d\" fill=\"%s\" fill-opacity=\"%s\"/>\n", x + w * at++, y, w, BAR - 2,
            colours[c % N_COLOURS], proof_is_full(b->routed[c]) ? "0.6" : "0.2");
  }
  print_text(f, x + 4, y + 11, "font-size=\"10\"", b->label, 34);
  fputs("</g>\n", f);
}

static void print_node(const Drawing *d, const Node *v, FILE *f) {
  static const char *const fill[] = {"#eeeeee", "#f8f8f8", "#ffffff", "#eeeeee"};
  fprintf(f, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%d\" height=\"%.1f\" rx=\"%d\" fill=\"%s\" stroke=\"#333333\"%s/>\n", v->x, v->y, BOX, v->h,
          v->kind == NODE_LAYER ? 3 : 10, fill[v->kind], v->kind == NODE_PLACE ? " stroke-dasharray=\"4 2\"" : "");
  print_text(f, v->x + 8, v->y + 14, v->kind == NODE_LAYER ? "font-weight=\"bold\"" : v->kind == NODE_PLACE ? "font-style=\"italic\"" : "", v->name, 28);
  for (uint32_t i = 0; i < v->n_bars; i++) print_bar(d, &v->bars[i], v->x + 4, v->y + HEAD + BAR * (double)i, f);
}

static void print_edge(const Node *a, const Node *b, FILE *f) {
  const double x = a->x + BOX, y = a->y + 10, to = b->x, ty = b->y + 10, bend = (to - x) / 2 > 20 ? (to - x) / 2 : 40;
  fprintf(f, "<path d=\"M%.1f %.1fC%.1f %.1f %.1f %.1f %.1f %.1f\" fill=\"none\" stroke=\"#777777\" marker-end=\"url(#tip)\"/>\n", x, y, x + bend, y,
          to - bend, ty, to, ty);
}

static void print_legend(const Drawing *d, FILE *f) {
  const ProveTable *t = d->t;
  double x = LEFT;
  print_text(f, LEFT, 18, "font-weight=\"bold\" font-size=\"13\"",
             arena_printf(d->a, "%s: which data may change which parameters in one step", t->proof->program->title), 110);
  for (uint32_t c = 0; c < t->n_cls; c++) {
    const char *name = t->proof->classes[t->cls[c]].name;
    fprintf(f, "<rect x=\"%.1f\" y=\"30\" width=\"14\" height=\"14\" fill=\"%s\" fill-opacity=\"0.6\"/>\n", x, colours[c % N_COLOURS]);
    print_text(f, x + 18, 41, "", name, 40);
    x += 34 + 7 * (double)strlen(name);
  }
  print_text(f, x + 8, 41, "fill=\"#555555\"", "white: no data; pale: scaled, or by unrouted origins only; dashed: a routed place; hover for more", 90);
}

void prove_print_svg(const ProveTable *t, FILE *f) {
  const Program *p = t->proof->program;
  Arena *a = t->c->arena;
  const uint32_t cap = p->n_params + p->n_columns + p->n_taps + p->n_origins + 1;
  Drawing d = {.t = t, .g = t->proof->graph, .a = a, .words = (cap + 63) / 64};
  d.v = ARENA_NEWS(a, Node, cap), d.layer_of = ARENA_NEWS(a, uint32_t, p->n_params + 1);
  d.from = ARENA_NEWS(a, uint64_t *, d.g->n), d.edge = ARENA_NEWS(a, bool, (size_t)d.words * 64 * d.words * 64);
  d.live = ARENA_NEWS(a, bool, d.g->n), d.raw = ARENA_NEWS(a, bool, d.g->n);
  make_layers(&d);
  mark_live(&d);
  for (ValueId v = 1; v < d.g->n; v++)
    if (d.live[v]) trace(&d, v);
  for (uint32_t i = 0; i < p->n_origins; i++) become(&d, p->origins[i].value, node_of(&d, NODE_ORIGIN, p->origins[i].name));
  make_bars(&d);
  const int n_columns = make_columns(&d);
  const double height = place_nodes(&d, n_columns), width = LEFT + n_columns * (double)(BOX + GAP_X);
  fprintf(f, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" viewBox=\"0 0 %.0f %.0f\" font-family=\"sans-serif\" "
             "font-size=\"11\">\n<defs><marker id=\"tip\" markerWidth=\"8\" markerHeight=\"8\" refX=\"7\" refY=\"4\" orient=\"auto\">"
             "<path d=\"M0 0L8 4L0 8z\" fill=\"#777777\"/></marker></defs>\n<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n",
          width < 900 ? 900 : width, height + 10, width < 900 ? 900 : width, height + 10);
  print_legend(&d, f);
  for (uint32_t i = 0; i < d.n; i++)
    for (uint32_t j = 0; j < d.n; j++)
      if (edge(&d, i, j)) print_edge(&d.v[i], &d.v[j], f);
  for (uint32_t i = 0; i < d.n; i++) print_node(&d, &d.v[i], f);
  fputs("</svg>\n", f);
}
