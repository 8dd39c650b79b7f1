/* SPDX-License-Identifier: Apache-2.0
 * dsl_parse.c -- the front end's contracts: arena, sources, tree shapes, soft keywords, diagnostics,
 * suggestions, JSON, explain pages, depth and size limits. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <jansson.h>
#include <time.h>
#include "dsl_text.h"

static const Ast *decl(const Parsed *p, uint32_t i) {
  assert_int_equal(p->diags->n_errors, 0);
  assert_true(i < p->r.file->n_kids);
  return p->r.file->kids[i];
}
/* Parses `edition 1` and one declaration. */
static Parsed one(const char *text) {
  char buf[4096];
  snprintf(buf, sizeof buf, "edition 1\n%s\n", text);
  Parsed p = parse_text(buf);
  if (p.diags->n_errors) {
    diags_print_text(p.diags, stderr, false);
    fail_msg("does not parse: %s", text);
  }
  assert_int_equal(p.r.file->n_kids, 2);
  return p;
}
static void assert_name(const Ast *n, const char *text) {
  assert_non_null(n);
  assert_int_equal(n->kind, AST_NAME);
  assert_string_equal(n->text, text);
}
static const Diag *only_error(const Parsed *p, DiagCode code) {
  if (p->diags->n != 1 || p->diags->items[0]->code != code) {
    diags_print_text(p->diags, stderr, false);
    fail_msg("expected one %s", diag_code_name(code));
  }
  return p->diags->items[0];
}

/* --- arena, sources
 * ------------------------------------------------------------------------------------------- */
static void arena_blocks(void **state) {
  (void)state;
  Arena *a = arena_create();
  for (size_t n = 0; n < 300000; n = n * 3 + 1) {
    unsigned char *p = arena_alloc(a, n);
    assert_int_equal((uintptr_t)p % 16, 0);
    for (size_t i = 0; i < n; i++) assert_int_equal(p[i], 0);
    memset(p, 0xff, n);
    unsigned char *q = arena_alloc(a, 8);
    assert_int_equal(q[0] | q[7], 0);
  }
  assert_string_equal(arena_printf(a, "%s-%d", "x", 7), "x-7");
  assert_string_equal(arena_strndup(a, "abcdef", 3), "abc");
  arena_destroy(a);
  arena_destroy(NULL);
}

static void source_lines(void **state) {
  (void)state;
  Arena *a = arena_create();
  Sources *s = sources_create(a);
  uint32_t id = sources_add_text(s, "x", "ab\n\ncd\n", 7);
  const SourceFile *f = s->files[id];
  static const uint32_t want[][2] = {{1, 1}, {1, 2}, {1, 3}, {2, 1}, {3, 1}, {3, 2}, {3, 3}, {4, 1}, {4, 1}};
  assert_int_equal(f->n_lines, 4);
  for (uint32_t i = 0; i < 9; i++) {
    LineCol at = source_line_col(f, i);
    assert_int_equal(at.line, want[i][0]);
    assert_int_equal(at.col, want[i][1]);
  }
  for (int i = 0; i < 20; i++) assert_int_equal(sources_add_text(s, "y", "", 0), id + 1 + (uint32_t)i);
  const char *why = NULL;
  assert_int_equal(sources_add_file(s, "/nonexistent/x.route", &why), 0);
  assert_string_equal(why, "No such file or directory");
  assert_int_equal(sources_add_file(s, "/", &why), 0);
  assert_string_equal(why, "it is a directory");
  assert_int_equal(sources_add_file(s, "/dev/zero", &why), 0);
  assert_string_equal(why, "it is larger than 64 MiB");
  arena_destroy(a);
}

/* --- shapes of the tree
 * --------------------------------------------------------------------------------------- */
static void shape_param(void **state) {
  (void)state;
  Parsed p = one("param l1: real in 0 ..= 1 = 3e-3");
  const Ast *n = decl(&p, 1);
  assert_int_equal(n->kind, AST_PARAM);
  assert_string_equal(n->text, "l1");
  assert_int_equal(n->name_span.start, 16);
  assert_int_equal(n->name_span.end, 18);
  assert_int_equal(n->kids[0]->kind, AST_TYPE);
  assert_int_equal(n->kids[1]->kind, AST_RANGE);
  assert_string_equal(n->kids[1]->text, "..=");
  assert_true(n->kids[2]->num == 3e-3 && n->kids[2]->flag == 0);
  assert_string_equal(n->kids[2]->text, "3e-3");
  parsed_free(&p);
}

static void shape_route(void **state) {
  (void)state;
  Parsed p =
      one("route r: parameters of z.a for l1, l2 ordered { when c to { a = 1; b = -0.5 }; unlabelled to all\n"
          "otherwise to a + b } { strength = 1 }");
  const Ast *n = decl(&p, 1);
  assert_int_equal(n->kind, AST_ROUTE);
  assert_true(n->num == ROUTE_PARAMETERS);
  assert_int_equal(n->flag, 1);
  assert_int_equal(n->n_kids, 4);
  assert_int_equal(n->kids[0]->kind, AST_MEMBER);
  assert_int_equal(n->kids[1]->kind, AST_LIST);
  assert_name(n->kids[1]->kids[1], "l2");
  const Ast *arms = n->kids[2];
  assert_int_equal(arms->n_kids, 3);
  assert_string_equal(arms->kids[0]->text, "when");
  assert_name(arms->kids[0]->kids[0], "c");
  assert_int_equal(arms->kids[0]->kids[1]->kind, AST_BLOCK);
  assert_int_equal(arms->kids[0]->kids[1]->kids[1]->kids[0]->kind, AST_UNARY);
  assert_null(arms->kids[1]->kids[0]);
  assert_string_equal(arms->kids[2]->text, "otherwise");
  assert_int_equal(arms->kids[2]->kids[1]->kind, AST_BINARY);
  assert_int_equal(n->kids[3]->kind, AST_BLOCK);
  parsed_free(&p);
  p = one("route r: value of z { otherwise to all }");
  n = decl(&p, 1);
  assert_true(n->num == ROUTE_VALUE && n->flag == 0 && !n->kids[1] && !n->kids[3]);
  parsed_free(&p);
}

static void shape_proofs(void **state) {
  (void)state;
  Parsed p = parse_text("edition 1\nregion f = a.h[-4 ..] + b { masked = zero_grad; joint }\n"
                        "forbid strictly not low to f for l, next.hit\nforbid otherwise to z.a\n"
                        "forbid at hit to f\nforbid strictly loss of hit to f for next\nforbid at to f\nforbid loss to f\nforbid at in [1] to f\n"
                        "parameter w: f32[3] = normal(std = 1) { decay = false }\nmonitor { every = 1 epochs }\n");
  assert_int_equal(p.diags->n, 0);
  const Ast *n = decl(&p, 1);
  assert_int_equal(n->kind, AST_REGION);
  assert_string_equal(n->text, "f");
  assert_int_equal(n->kids[0]->kind, AST_BINARY);
  assert_int_equal(n->kids[1]->n_kids, 2);
  n = decl(&p, 2);
  assert_int_equal(n->kind, AST_FORBID);
  assert_string_equal(n->text, "strictly");
  assert_int_equal(n->kids[0]->kind, AST_UNARY);
  assert_name(n->kids[1], "f");
  assert_name(n->kids[2]->kids[0], "l");
  assert_int_equal(n->kids[2]->kids[1]->kind, AST_MEMBER);
  n = decl(&p, 3);
  assert_null(n->text);
  assert_name(n->kids[0], "otherwise");
  assert_null(n->kids[2]);
  static const struct { const char *name; ForbidAbout about; } about[] = {{"hit", FORBID_AT}, {"hit", FORBID_LOSS}, {"at", FORBID_DATA}, {"loss", FORBID_DATA}};
  for (uint32_t i = 0; i < 4; i++) { /* `at` and `loss` may be names of classes */
    n = decl(&p, 4 + i);
    assert_int_equal((int)n->num, about[i].about);
    assert_name(n->kids[0], about[i].name);
  }
  assert_string_equal(decl(&p, 5)->text, "strictly");
  assert_int_equal((int)decl(&p, 8)->num, FORBID_DATA);
  n = decl(&p, 9);
  assert_int_equal(n->kind, AST_PARAMETER);
  assert_int_equal(n->kids[0]->kind, AST_TYPE);
  assert_int_equal(n->kids[1]->kind, AST_CALL);
  assert_int_equal(n->kids[2]->kind, AST_BLOCK);
  n = decl(&p, 10);
  assert_int_equal(n->kind, AST_MONITOR);
  assert_int_equal(n->kids[0]->n_kids, 1);
  parsed_free(&p);
}

static void shape_bodies(void **state) {
  (void)state;
  Parsed p = one("module m(x: f32[n], k = 3) -> f32[n] { a, b: f32[n] in 0 .. 1 = f(x)\n"
                 "repeat blocks[i in 0 .. 3] carry a, b { a = g(a) } }");
  const Ast *n = decl(&p, 1);
  assert_int_equal(n->kids[0]->kind, AST_FORMALS);
  assert_null(n->kids[0]->kids[1]->kids[0]);
  assert_int_equal(n->kids[0]->kids[1]->kids[1]->kind, AST_NUMBER);
  assert_int_equal(n->kids[1]->kind, AST_TYPE);
  const Ast *bind = n->kids[2]->kids[0], *repeat = n->kids[2]->kids[1];
  assert_int_equal(bind->n_kids, 5);
  assert_int_equal(bind->kids[0]->kind, AST_CALL);
  assert_int_equal(bind->kids[1]->kind, AST_TYPE);
  assert_int_equal(bind->kids[2]->kind, AST_RANGE);
  assert_name(bind->kids[4], "b");
  assert_string_equal(repeat->text, "blocks");
  assert_name(repeat->kids[0], "i");
  assert_int_equal(repeat->kids[1]->kind, AST_RANGE);
  assert_int_equal(repeat->kids[2]->kind, AST_BLOCK);
  assert_name(repeat->kids[4], "b");
  parsed_free(&p);
  p = one("train 5000 steps { checkpoint { every = 10 epochs }; lonely }");
  n = decl(&p, 1);
  assert_true(n->kids[0]->kind == AST_QUANTITY && n->kids[0]->num == 5000 && n->kids[0]->n_kids == 0);
  assert_string_equal(n->kids[0]->text, "steps");
  assert_int_equal(n->kids[1]->kids[0]->kids[0]->kind, AST_BLOCK);
  assert_int_equal(n->kids[1]->kids[1]->n_kids, 1);
  assert_null(n->kids[1]->kids[1]->kids[0]);
  parsed_free(&p);
}

static void shape_files(void **state) {
  (void)state;
  Parsed p = parse_text("edition 1\nuse \"a.route\" as a\nuse \"b\"\nextend \"c\"\nreplace m.x = f(1)\n"
                        "replace loss l = x { mean_by = c }\ndrop m.y\n");
  assert_name(decl(&p, 1)->kids[0], "a");
  assert_string_equal(decl(&p, 1)->text, "a.route");
  assert_null(decl(&p, 2)->kids[0]);
  assert_int_equal(decl(&p, 3)->kind, AST_EXTEND);
  assert_int_equal(decl(&p, 4)->kids[0]->kind, AST_MEMBER);
  assert_int_equal(decl(&p, 4)->kids[1]->kind, AST_CALL);
  assert_int_equal(decl(&p, 5)->kids[0]->kind, AST_LOSS);
  assert_null(decl(&p, 5)->kids[1]);
  assert_int_equal(decl(&p, 6)->kind, AST_DROP);
  parsed_free(&p);
}

/* Precedence: each pair must give the same tree. */
static void precedence(void **state) {
  (void)state;
  static const char *const same[][2] = {
      {"a + b * c", "a + (b * c)"},
      {"a - b - c", "(a - b) - c"},
      {"-a * b", "(-a) * b"},
      {"not a and b or c", "((not a) and b) or c"},
      {"not a == b", "not (a == b)"},
      {"a + 1 .. b * 2", "(a + 1) .. (b * 2)"},
      {"x in 0 .. n - 1", "x in (0 .. (n - 1))"},
      {"a < b + c", "a < (b + c)"},
      {"a or b |> f", "(a or b) |> f"},
      {"if a then b else c |> f", "if a then b else (c |> f)"},
      {"if a then b else if c then d else e", "if a then b else (if c then d else e)"},
      {"-x.y[1](2)", "-(((x.y)[1])(2))"},
      {"2 * n steps", "2 * (n steps)"},
      {"(a\n + b)", "a + b"},
      {"a\n and b\n or c", "a and b or c"},
      {"a\n\n # comment\n |> f", "a |> f"},
  };
  for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
    char left[200], right[200];
    snprintf(left, sizeof left, "class c = %s", same[i][0]);
    snprintf(right, sizeof right, "class c = %s", same[i][1]);
    Parsed p = one(left), q = one(right);
    if (!ast_equal(p.r.file, q.r.file)) fail_msg("`%s` is not `%s`", same[i][0], same[i][1]);
    parsed_free(&p);
    parsed_free(&q);
  }
  Parsed p = one("class c = (x |> f) |> g"), q = one("class c = x |> f |> g");
  assert_false(ast_equal(p.r.file, q.r.file));
  parsed_free(&p);
  parsed_free(&q);
}

/* Every word of the language is a plain name after `.`, as a key, as an argument, as a bound name; most as a
 * value. */
static void soft_keywords(void **state) {
  (void)state;
  static const char *const words[] = {
      "edition",  "param",      "data",     "module", "model",    "split",   "class",      "route",
      "loss",     "regularize", "optimize", "train",  "evaluate", "expect",  "sweep",      "def",
      "use",      "extend",     "replace",  "drop",   "repeat",   "when",    "unlabelled", "otherwise",
      "gradient", "parameters", "value",    "of",     "for",      "ordered", "to",         "as",
      "carry",    "steps",      "epochs",   "tokens", "rest",     "and",     "or",         "not",
      "in",       "is",         "if",       "then",   "else",     "region",  "forbid",     "parameter",
      "monitor",  "strictly", "at"};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
    const char *w = words[i];
    bool hard = strchr("aonite", w[0]) && (strlen(w) <= 4) &&
                (!strcmp(w, "and") || !strcmp(w, "or") || !strcmp(w, "not") || !strcmp(w, "in") ||
                 !strcmp(w, "is") || !strcmp(w, "if") || !strcmp(w, "then") || !strcmp(w, "else"));
    char text[1000];
    snprintf(text, sizeof text,
             "model { %s, x = f(y.%s, %s = 1)\n%s: f32[n] = x.%s.z |> %s: g(2) }\n"
             "train { %s = 1; %s { a = 2 } }\nmodule m(%s: f32[n]) { out = 1 }",
             w, w, w, w, w, w, w, w, w);
    char all[1200];
    snprintf(all, sizeof all, "edition 1\n%s\n", text);
    Parsed p = parse_text(all);
    if (p.diags->n_errors) {
      diags_print_text(p.diags, stderr, false);
      fail_msg("`%s` is no plain name", w);
    }
    assert_string_equal(p.r.file->kids[1]->kids[0]->kids[1]->kids[3]->text, w);
    parsed_free(&p);
    if (hard) continue;
    snprintf(all, sizeof all,
             "edition 1\nclass %s = %s + f(%s) * -%s[%s] == %s(1)\nroute r: gradient of %s { when %s to %s; "
             "otherwise to %s }",
             w, w, w, w, w, w, w, w, w, w);
    p = parse_text(all);
    if (p.diags->n_errors) {
      diags_print_text(p.diags, stderr, false);
      fail_msg("`%s` is no value", w);
    }
    parsed_free(&p);
  }
}

/* --- diagnostics
 * ---------------------------------------------------------------------------------------------- */
static void fill_sample(Parsed *p) {
  static const char text[] = "split z { lower = 0 .. 17\n          upper = 16 .. 32 }\n";
  *p = (Parsed){.arena = arena_create()};
  p->sources = sources_create(p->arena);
  p->diags = diags_create(p->arena, p->sources);
  uint32_t id = sources_add_text(p->sources, "split.route", text, strlen(text));
  Diag *g = diag_add(p->diags, E0116, (Span){id, 44, 52});
  diag_label(p->diags, g, "unit %d is already in `%s`", 16, "lower");
  diag_also(p->diags, g, (Span){id, 18, 25}, "`lower` takes units 0 to 16");
  diag_note(p->diags, g, "a note");
  diag_help(p->diags, g, "write `%s`", "upper = 17 .. 32");
  diag_fix(p->diags, g, (Span){id, 44, 52}, "17 .. 32");
}

static void text_form(void **state) {
  (void)state;
  Parsed p;
  fill_sample(&p);
  char *got = print_to_string(&p, PRINT_TEXT);
  assert_string_equal(got, "error[E0116]: `=` does not compare\n"
                           " --> split.route:2:19\n"
                           "  |\n"
                           "1 | split z { lower = 0 .. 17\n"
                           "  |                   ------- `lower` takes units 0 to 16\n"
                           "2 |           upper = 16 .. 32 }\n"
                           "  |                   ^^^^^^^^ unit 16 is already in `lower`\n"
                           "  = note: a note\n"
                           "  = help: write `upper = 17 .. 32`\n"
                           "\n"
                           "1 error\n");
  free(got);
  char *colored = NULL;
  size_t n = 0;
  FILE *f = open_memstream(&colored, &n);
  diags_print_text(p.diags, f, true);
  fclose(f);
  assert_non_null(strstr(colored, "\033[1;31merror[E0116]\033[0m"));
  free(colored);
  parsed_free(&p);
}

static void text_without_place(void **state) {
  (void)state;
  Parsed p = parse_text("edition 1\n");
  diag_add(p.diags, E0101, (Span){0}, "x\033[31m.route", "no");
  diag_add(p.diags, E0101, (Span){0}, "y.route", "no");
  diag_add(p.diags, E0101, (Span){0}, "y.route", "no"); /* a duplicate */
  char *got = print_to_string(&p, PRINT_TEXT);
  assert_string_equal(got, "error[E0101]: cannot read `x\\x1b[31m.route`: no\n\nerror[E0101]: cannot read "
                           "`y.route`: no\n\n2 errors\n");
  free(got);
  parsed_free(&p);
}

static void two_files_and_long_spans(void **state) {
  (void)state;
  Parsed p = parse_text("edition 1\n\n  class a = f(\n    1,\n    2,\n    3)\n");
  uint32_t other = sources_add_text(p.sources, "base.route", "first\nsecond\n", 13);
  Diag *g = diag_add(p.diags, E0112, (Span){1, 23, 46}, "f");
  diag_label(p.diags, g, "all of it");
  diag_also(p.diags, g, (Span){other, 6, 12}, "and this");
  char *got = print_to_string(&p, PRINT_TEXT);
  assert_string_equal(got, "error[E0112]: `f` closes nothing\n"
                           " --> test.route:3:13\n"
                           "  |\n"
                           "3 |   class a = f(\n"
                           "  |             ^^\n"
                           "...\n"
                           "6 |     3)\n"
                           "  |     ^^ all of it\n"
                           " ::: base.route:2:1\n"
                           "  |\n"
                           "2 | second\n"
                           "  | ------ and this\n"
                           "\n"
                           "1 error\n");
  free(got);
  parsed_free(&p);
}

static void many_errors(void **state) {
  (void)state;
  Arena *a = arena_create();
  Sources *s = sources_create(a);
  Diags *d = diags_create(a, s);
  uint32_t id = sources_add_text(s, "x", "0123456789012345678901234567890123456789", 40);
  for (uint32_t i = 40; i-- > 0;)
    for (int twice = 0; twice < 2; twice++) assert_non_null(diag_add(d, E0116, (Span){id, i, i + 1}));
  assert_int_equal(d->n, DIAG_MAX_ERRORS);
  /* Beyond the limit duplicates are not told apart: they are counted only. */
  assert_true(d->n_errors >= 40);
  char *text = NULL;
  size_t n = 0;
  FILE *f = open_memstream(&text, &n);
  diags_print_text(d, f, false);
  fclose(f);
  assert_true(strstr(text, " --> x:1:21\n") < strstr(text, " --> x:1:40\n"));
  assert_non_null(strstr(text, "(20 shown)"));
  free(text);
  arena_destroy(a);
}

static void json_form(void **state) {
  (void)state;
  Parsed p;
  fill_sample(&p);
  char *got = print_to_string(&p, PRINT_JSON);
  json_t *j = json_loads(got, 0, NULL), *g = json_array_get(j, 0);
  assert_int_equal(json_array_size(j), 1);
  assert_string_equal(json_string_value(json_object_get(g, "code")), "E0116");
  assert_string_equal(json_string_value(json_object_get(g, "level")), "error");
  assert_string_equal(json_string_value(json_object_get(g, "file")), "split.route");
  assert_string_equal(json_string_value(json_object_get(g, "label")), "unit 16 is already in `lower`");
  json_t *span = json_object_get(g, "span");
  assert_int_equal(json_integer_value(json_object_get(span, "line")), 2);
  assert_int_equal(json_integer_value(json_object_get(span, "col")), 19);
  assert_int_equal(json_integer_value(json_object_get(span, "end_col")), 27);
  assert_int_equal(json_integer_value(json_object_get(span, "start")), 44);
  assert_int_equal(json_integer_value(json_object_get(span, "end")), 52);
  json_t *label = json_array_get(json_object_get(g, "labels"), 0);
  assert_int_equal(json_integer_value(json_object_get(json_object_get(label, "span"), "line")), 1);
  assert_string_equal(json_string_value(json_array_get(json_object_get(g, "notes"), 0)), "a note");
  assert_string_equal(json_string_value(json_array_get(json_object_get(g, "helps"), 0)),
                      "write `upper = 17 .. 32`");
  assert_string_equal(json_string_value(json_object_get(json_object_get(g, "fix"), "text")), "17 .. 32");
  json_decref(j);
  free(got);
  parsed_free(&p);
  p = parse_text("edition 1\n");
  got = print_to_string(&p, PRINT_JSON);
  assert_string_equal(got, "[]\n");
  free(got);
  parsed_free(&p);
}

static void suggestions(void **state) {
  (void)state;
  static const struct {
    const char *word, *want;
  } cases[] = {{"modle", "model"},
               {"regularise", "regularize"},
               {"trian", "train"},
               {"LOSS", "loss"},
               {"evalute", "evaluate"},
               {"xyzzy", NULL},
               {"banana", NULL},
               {"", NULL},
               {"q", NULL}};
  static const char *const words[] = {"module", "model", "regularize", "train", "loss", "evaluate", "class"};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    Parsed p = parse_text("edition 1\n");
    Diag *g = diag_add(p.diags, E0113, (Span){1, 0, 7}, cases[i].word);
    diag_suggest(p.diags, g, cases[i].word, words, 7);
    if (cases[i].want) {
      assert_non_null(g->fix_text);
      assert_string_equal(g->fix_text, cases[i].want);
      assert_int_equal(g->n_helps, 1);
    } else {
      assert_null(g->fix_text);
    }
    parsed_free(&p);
  }
}

static void codes(void **state) {
  (void)state;
  assert_int_equal(diag_code_parse("E0101"), E0101);
  assert_int_equal(diag_code_parse("E9999"), -1);
  assert_int_equal(diag_code_parse(""), -1);
  for (int i = 0; i < DIAG_N_CODES; i++) {
    const char *name = diag_code_name((DiagCode)i);
    assert_int_equal(diag_code_parse(name), i);
    assert_true(strlen(diag_code_explain((DiagCode)i)) > 20);
    if (i) assert_true(strcmp(diag_code_name((DiagCode)(i - 1)), name) < 0);
  }
}

/* The four-space-indented lines behind `heading` in a page, without the indent; malloc'd, NULL without them.
 */
static char *page_example(const char *page, const char *heading) {
  const char *at = strstr(page, heading);
  if (!at) return NULL;
  char *out = calloc(1, strlen(at) + 1), *w = out;
  for (at = strchr(at, '\n') + 1; strncmp(at, "    ", 4) == 0;) {
    size_t n = strcspn(at, "\n");
    w += sprintf(w, "%.*s\n", (int)(n - 4), at + 4);
    at += n + (at[n] != 0);
  }
  return out;
}

/* The examples of the pages on syntax: the wrong one gives its code, the mended one nothing. */
static void explain_pages(void **state) {
  (void)state;
  int checked = 0;
  for (int i = 0; i < DIAG_N_CODES; i++) {
    const char *name = diag_code_name((DiagCode)i);
    if (strncmp(name + 1, "01", 2) != 0) continue;
    char *wrong = page_example(diag_code_explain((DiagCode)i), "Wrong:\n");
    char *mended = page_example(diag_code_explain((DiagCode)i), "Mended:\n");
    if (!wrong) continue;
    assert_non_null(mended);
    Parsed p = parse_text(wrong), q = parse_text(mended);
    bool found = false;
    for (uint32_t k = 0; k < p.diags->n; k++) found = found || p.diags->items[k]->code == (DiagCode)i;
    if (!found) fail_msg("%s: its wrong example does not give it:\n%s", name, wrong);
    if (q.diags->n) fail_msg("%s: its mended example is not clean:\n%s", name, mended);
    parsed_free(&p);
    parsed_free(&q);
    free(wrong);
    free(mended);
    checked++;
  }
  assert_true(checked >= 14);
}

/* --- recovery and limits
 * -------------------------------------------------------------------------------------- */
static void recovery(void **state) {
  (void)state;
  Parsed p = parse_text(
      "edition 1\nmodel {\n  a = = 1\n  b = f(x)\n  c = (y\n  d = g(x)\n}\nclass k = = 2\nclass l = x\n");
  assert_int_equal(p.diags->n_errors, 3);
  /* What was right around the errors is in the tree. */
  const Ast *f = p.r.file;
  assert_int_equal(f->n_kids, 3);
  assert_int_equal(f->kids[1]->kids[0]->n_kids, 2);
  assert_name(f->kids[1]->kids[0]->kids[1]->kids[3], "d");
  assert_string_equal(f->kids[2]->text, "l");
  parsed_free(&p);
}

static void unclosed_brace_is_blamed_where_it_opened(void **state) {
  (void)state;
  Parsed p = parse_text("edition 1\nmodel {\n  z = f(x)\nclass low = label == 3\n");
  const Diag *g = only_error(&p, E0111);
  assert_int_equal(g->span.start, 16);
  assert_int_equal(g->n_labels, 1);
  assert_int_equal(p.r.file->n_kids, 3);
  parsed_free(&p);
}

static char *repeated(const char *head, const char *part, size_t times, const char *tail) {
  size_t h = strlen(head), n = strlen(part), t = strlen(tail);
  char *s = malloc(h + n * times + t + 1);
  memcpy(s, head, h);
  for (size_t i = 0; i < times; i++) memcpy(s + h + i * n, part, n);
  memcpy(s + h + n * times, tail, t + 1);
  return s;
}

static void deep_nesting(void **state) {
  (void)state;
  static const char *const parts[][2] = {
      {"class a = ", "("},    {"class a = ", "["},           {"train ", "{ a "},
      {"class a = ", "-"},    {"class a = ", "not "},        {"class a = ", "if a then b else "},
      {"class a = x", ".x"},  {"class a = x", " + x"},       {"class a = x", "()"},
      {"class a = x", "[(f"}, {"def f(x) = x", " |> a: (x"}, {"class a = x", " or (x"}};
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
    char head[64];
    snprintf(head, sizeof head, "edition 1\n%s", parts[i][0]);
    char *s = repeated(head, parts[i][1], 200000, "\n");
    Parsed p = parse_text(s);
    only_error(&p, E0109);
    assert_true(p.r.file->depth <= AST_MAX_DEPTH);
    parsed_free(&p);
    free(s);
  }
  /* A list is not deep, nor is nesting just below the limit. */
  char *s = repeated("edition 1\nclass a = f(", "x, ", 200000, "x)\n");
  Parsed p = parse_text(s);
  assert_int_equal(p.diags->n_errors, 0);
  assert_int_equal(p.r.file->kids[1]->kids[0]->n_kids, 200002);
  parsed_free(&p);
  free(s);
  s = repeated("edition 1\nclass a = ", "-", AST_MAX_DEPTH - 10, "x\n");
  p = parse_text(s);
  assert_int_equal(p.diags->n_errors, 0);
  char *formatted = print_to_string(&p, PRINT_FORMAT);
  assert_string_equal(formatted, s);
  free(formatted);
  parsed_free(&p);
  free(s);
}

static void ten_megabytes(void **state) {
  (void)state;
  static const char part[] =
      "loss reconstruction = mae(recon, image) { mean_by = low } # the sum of the two groups' means\n"
      "module encoder(x: f32[784]) -> f32[latent] {\n"
      "  out = x |> fc1: linear(2048) |> relu |> top: linear(latent, bias = false)\n}\n";
  size_t times = 10 * 1024 * 1024 / strlen(part);
  char *s = repeated("edition 1\n", part, times, "");
  struct timespec a, b;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
  Parsed p = parse_text(s);
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
  double seconds = (double)(b.tv_sec - a.tv_sec) + 1e-9 * (double)(b.tv_nsec - a.tv_nsec);
  assert_int_equal(p.diags->n_errors, 0);
  assert_int_equal(p.r.file->n_kids, 1 + 2 * times);
  print_message("10 MB in %.2f s of CPU\n", seconds);
  assert_true(seconds < 20); /* an order above what it takes: catches quadratic work, not a busy machine */
  parsed_free(&p);
  free(s);
}

static void comments_are_kept(void **state) {
  (void)state;
  Parsed p = parse_text("# one\r\nedition 1 # two\r\nclass a = \"# no\" # three");
  assert_int_equal(p.diags->n_errors, 0);
  assert_int_equal(p.r.n_comments, 3);
  assert_string_equal(p.r.comments[0].text, "# one");
  assert_string_equal(p.r.comments[1].text, "# two");
  assert_int_equal(p.r.comments[2].span.start, 41);
  char *f = print_to_string(&p, PRINT_FORMAT);
  assert_string_equal(f, "# one\nedition 1  # two\nclass a = \"# no\"  # three\n");
  free(f);
  parsed_free(&p);
}

static void equality(void **state) {
  (void)state;
  static const char *const differ[][2] = {
      {"class a = 1", "class a = 1.0"},
      {"class a = x", "class b = x"},
      {"class a = x", "class a = \"x\""},
      {"train 3 steps {}", "train 4 steps {}"},
      {"class a = f(x)", "class a = f(x, x)"},
      {"param a = 1", "param a: int = 1"},
      {"route r: gradient of z { otherwise to a }", "route r: value of z { otherwise to a }"},
      {"class a = 0 .. 1", "class a = 0 ..= 1"}};
  for (size_t i = 0; i < sizeof differ / sizeof *differ; i++) {
    Parsed p = one(differ[i][0]), q = one(differ[i][1]), r = one(differ[i][0]);
    assert_false(ast_equal(p.r.file, q.r.file));
    assert_true(ast_equal(p.r.file, r.r.file));
    parsed_free(&p);
    parsed_free(&q);
    parsed_free(&r);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(arena_blocks),
                                     cmocka_unit_test(source_lines),
                                     cmocka_unit_test(shape_param),
                                     cmocka_unit_test(shape_route), cmocka_unit_test(shape_proofs),
                                     cmocka_unit_test(shape_bodies),
                                     cmocka_unit_test(shape_files),
                                     cmocka_unit_test(precedence),
                                     cmocka_unit_test(soft_keywords),
                                     cmocka_unit_test(text_form),
                                     cmocka_unit_test(text_without_place),
                                     cmocka_unit_test(two_files_and_long_spans),
                                     cmocka_unit_test(many_errors),
                                     cmocka_unit_test(json_form),
                                     cmocka_unit_test(suggestions),
                                     cmocka_unit_test(codes),
                                     cmocka_unit_test(explain_pages),
                                     cmocka_unit_test(recovery),
                                     cmocka_unit_test(unclosed_brace_is_blamed_where_it_opened),
                                     cmocka_unit_test(deep_nesting),
                                     cmocka_unit_test(ten_megabytes),
                                     cmocka_unit_test(comments_are_kept),
                                     cmocka_unit_test(equality)};
  return cmocka_run_group_tests_name("dsl_parse", tests, NULL, NULL);
}
