/* SPDX-License-Identifier: Apache-2.0
 * parse.c -- reads what print.c writes. Any text is allowed: what is malformed, or breaks an op's rule, gives
 * NULL and a reason with its line. */
#include "ops.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef struct Reader {
  Arena *arena;
  const char *p;
  uint32_t line;
  const char *why; /* the first thing wrong; NULL so far */
} Reader;

static bool bad(Reader *r, const char *what) {
  if (!r->why) r->why = arena_printf(r->arena, "line %u: %s", r->line, what);
  return false;
}

static void blanks(Reader *r) {
  while (*r->p == ' ' || *r->p == '\t') r->p++;
}

/* Takes `text` if it stands next. */
static bool take(Reader *r, const char *text) {
  blanks(r);
  size_t n = strlen(text);
  if (strncmp(r->p, text, n) != 0) return false;
  r->p += n;
  return true;
}

static bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static size_t word(Reader *r, const char **start) {
  blanks(r);
  *start = r->p;
  while (is_letter(*r->p) || (r->p > *start && is_digit(*r->p))) r->p++;
  return (size_t)(r->p - *start);
}
static bool word_is(const char *start, size_t n, const char *text) {
  return strlen(text) == n && memcmp(start, text, n) == 0;
}

static bool integer(Reader *r, int64_t lo, int64_t hi, int64_t *out) {
  blanks(r);
  if (!is_digit(*r->p) && *r->p != '-') return bad(r, "a whole number is missing");
  char *end;
  errno = 0;
  long long x = strtoll(r->p, &end, 10);
  if (errno || end == r->p || x < lo || x > hi) return bad(r, "a whole number is out of range");
  r->p = end;
  *out = x;
  return true;
}

static bool u32(Reader *r, uint32_t *out) {
  int64_t x;
  if (!integer(r, 0, UINT32_MAX, &x)) return false;
  *out = (uint32_t)x;
  return true;
}

/* strtod would skip line ends. */
static bool number(Reader *r, double *out) {
  blanks(r);
  if (*r->p == '\n' || *r->p == '\r' || *r->p == '\v' || *r->p == '\f') return bad(r, "a number is missing");
  char *end;
  *out = strtod(r->p, &end);
  if (end == r->p) return bad(r, "a number is missing");
  r->p = end;
  return true;
}

/* A growing list in the arena. */
static void *grown(Arena *a, void *list, size_t n, size_t elem) {
  if (n & (n - 1) || n == 1) return list; /* room doubles at 0, 2, 4, 8 ... */
  void *more = arena_array(a, n ? 2 * n : 2, elem);
  if (n) memcpy(more, list, n * elem);
  return more;
}

static int hex(char c) { return is_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; }

/* Text with escapes up to `end` (a quote, or the line's end). */
static const char *text_until(Reader *r, char end) {
  size_t n = strcspn(r->p, "\n");
  char *out = arena_alloc(r->arena, n + 1), *w = out;
  while (*r->p && *r->p != '\n' && *r->p != end) {
    if (*r->p != '\\') *w++ = *r->p++;
    else if (r->p[1] == '\\') *w++ = '\\', r->p += 2;
    else if (r->p[1] == 'x' && hex(r->p[2]) >= 0 && hex(r->p[3]) >= 0 && (hex(r->p[2]) || hex(r->p[3])))
      *w++ = (char)(hex(r->p[2]) * 16 + hex(r->p[3])), r->p += 4;
    else {
      bad(r, "an unknown escape");
      return NULL;
    }
  }
  *w = 0;
  return out;
}

/* ---- parts of a value's line -------------------------------------------------------------------- */
typedef struct Line {
  Op op;
  ValueId *args;
  uint32_t n_args;
  int64_t *ints;
  uint32_t n_ints;
  double num, *data;
  size_t n_data;
  Dtype dtype;
  Shape shape;
  Phase phase;
  OriginSet origins;
  Span span;
  const char *name;
} Line;

static bool read_op(Reader *r, Op *op) {
  const char *w;
  size_t n = word(r, &w);
  for (int i = 1; i < OP_COUNT; i++)
    if (word_is(w, n, op_name((Op)i))) {
      *op = (Op)i;
      return true;
    }
  return bad(r, "an unknown operation");
}

static bool read_constant(Reader *r, Line *l) {
  if (!take(r, "[")) return number(r, &l->num);
  while (!take(r, "]")) {
    l->data = grown(r->arena, l->data, l->n_data, sizeof *l->data);
    if (!number(r, &l->data[l->n_data])) return false;
    l->n_data++;
  }
  return l->n_data > 0 || bad(r, "an empty list of data");
}

static bool read_ints(Reader *r, Line *l) {
  while (!take(r, "}")) {
    const char *w;
    if (word(r, &w) && !take(r, "=")) return bad(r, "'=' is missing");
    l->ints = grown(r->arena, l->ints, l->n_ints, sizeof *l->ints);
    if (!integer(r, INT64_MIN, INT64_MAX, &l->ints[l->n_ints])) return false;
    l->n_ints++;
  }
  return true;
}

static bool read_type(Reader *r, Line *l) {
  const char *w;
  size_t n = word(r, &w);
  for (int t = DT_F32; t <= DT_BOOL; t++)
    if (word_is(w, n, dtype_name((Dtype)t))) l->dtype = (Dtype)t;
  if (l->dtype == DT_NONE) return bad(r, "an unknown type");
  if (!take(r, "[")) return bad(r, "'[' is missing");
  while (!take(r, "]")) {
    if (l->shape.rank && !take(r, ",")) return bad(r, "',' is missing");
    if (l->shape.rank == IR_MAX_RANK) return bad(r, "too many axes");
    int64_t *d = &l->shape.d[l->shape.rank++];
    if (take(r, "ROWS")) {
      int64_t set = 0;
      if (*r->p >= '0' && *r->p <= '9' && !integer(r, 1, IR_MAX_SETS - 1, &set)) return false;
      *d = dim_of_set(set);
    } else if (!integer(r, 1, INT64_MAX, d)) return false;
  }
  return true;
}

static bool read_origins(Reader *r, Line *l) {
  do {
    int64_t i;
    if (!integer(r, 0, 63, &i)) return false;
    l->origins |= (OriginSet)1 << i;
  } while (take(r, ","));
  return true;
}

static bool read_tail(Reader *r, Line *l) {
  if (take(r, "adjoint")) l->phase = PHASE_ADJOINT;
  else if (take(r, "update")) l->phase = PHASE_UPDATE;
  if (take(r, "origins=") && !read_origins(r, l)) return false;
  if (take(r, "@") &&
      !(u32(r, &l->span.file) && (take(r, ":") || bad(r, "':' is missing")) && u32(r, &l->span.start) &&
        (take(r, "-") || bad(r, "'-' is missing")) && u32(r, &l->span.end)))
    return false;
  if (!take(r, ";")) return true;
  r->p += *r->p == ' ';
  l->name = text_until(r, '\n');
  return l->name != NULL;
}

static bool add_value(Reader *r, Graph *g, Line *l) {
  const char *why = ir_check_args(g, l->op, l->args, l->n_args, l->ints, l->n_ints, &l->shape, l->dtype);
  if (why) return bad(r, why);
  ValueId id;
  if (l->data) {
    for (int32_t i = 0; i < l->shape.rank; i++)
      if (dim_is_rows(l->shape.d[i])) return bad(r, "constant data over ROWS");
    if (shape_count(&l->shape, 0) != (int64_t)l->n_data) return bad(r, "the data does not fill the shape");
    id = ir_const_data(g, l->span, l->data, &l->shape, l->dtype);
  } else {
    id = ir_make(g, l->op, l->span, l->args, l->n_args, l->ints, l->n_ints, l->num, &l->shape, l->dtype);
  }
  Value *v = ir_value(g, id);
  v->phase = l->phase, v->origins = l->origins, v->name = l->name, v->span = l->span;
  return true;
}

/* After '%'. */
static bool read_value(Reader *r, Graph *g) {
  Line l = {0};
  uint32_t id;
  if (!u32(r, &id)) return false;
  if (id != g->n) return bad(r, "values are numbered 1, 2, 3 ...");
  if (!take(r, "=")) return bad(r, "'=' is missing");
  if (!read_op(r, &l.op) || (l.op == OP_CONST && !read_constant(r, &l))) return false;
  while (take(r, "%")) {
    l.args = grown(r->arena, l.args, l.n_args, sizeof *l.args);
    if (!u32(r, &l.args[l.n_args])) return false;
    l.n_args++;
  }
  if (take(r, "{") && !read_ints(r, &l)) return false;
  return read_type(r, &l) && read_tail(r, &l) && add_value(r, g, &l);
}

/* After "root". */
static bool read_root(Reader *r, Graph *g) {
  static const char *const names[] = {"loss", "grad", "param", "state", "metric", "key", "picture", "selection", "keep"};
  const char *w;
  size_t n = word(r, &w);
  uint32_t kind = 0, a, b = 0, value;
  while (kind <= ROOT_KEEP && !word_is(w, n, names[kind])) kind++;
  if (kind > ROOT_KEEP) return bad(r, "an unknown kind of root");
  if (!u32(r, &a) || (root_has_b((RootKind)kind) && !u32(r, &b))) return false;
  if (!take(r, "%") || !u32(r, &value) || !value || value >= g->n) return bad(r, "a root of no value");
  graph_root(g, (RootKind)kind, a, b, value);
  return true;
}

static bool end_line(Reader *r) {
  blanks(r);
  if (*r->p == '\r') r->p++;
  if (!*r->p) return true;
  if (*r->p != '\n') return bad(r, "more than was expected");
  r->p++, r->line++;
  return true;
}

Graph *graph_parse(Arena *a, const char *text, const char **why) {
  Reader r = {.arena = a, .p = text, .line = 1};
  Graph *g = NULL;
  while (*r.p && !r.why) {
    if (take(&r, "graph")) {
      const char *name = g ? NULL : take(&r, "\"") ? text_until(&r, '"') : NULL;
      if (!name || !take(&r, "\"")) bad(&r, g ? "a second graph" : "the graph's name is missing");
      else g = graph_create(a, name);
    } else if (!g && *r.p != '\n' && *r.p != '\r' && *r.p) {
      bad(&r, "'graph \"name\"' is missing");
    } else if (take(&r, "%")) {
      read_value(&r, g);
    } else if (take(&r, "root")) {
      read_root(&r, g);
    }
    if (!r.why) end_line(&r);
  }
  if (!g) bad(&r, "no graph");
  if (why) *why = r.why;
  return r.why ? NULL : g;
}
