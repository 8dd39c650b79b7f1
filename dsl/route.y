/* SPDX-License-Identifier: Apache-2.0
 * route.y -- tokens to tree, edition 1. Actions only build nodes. filter.c has already decided which words are
 * keywords, where statements end (SEP) and where brackets close, so braces and parentheses are balanced here. */
%require "3.8"
%define api.pure full
%define api.prefix {route_}
%define api.location.type {Span}
%define parse.error custom
%define parse.lac full
%locations
%expect 0
%param {Parser *p}

%code requires {
#include "parse_internal.h"
}
%code {
#define YYMAXDEPTH 60000 /* brackets are bounded by filter.c; this bounds chains of `-`, `not`, `else if` */
#define YYLLOC_DEFAULT(Cur, Rhs, N)                                                                           \
  do {                                                                                                        \
    if (N) (Cur) = (Span){YYRHSLOC(Rhs, 1).file, YYRHSLOC(Rhs, 1).start, YYRHSLOC(Rhs, N).end};               \
    else (Cur) = (Span){YYRHSLOC(Rhs, 0).file, YYRHSLOC(Rhs, 0).end, YYRHSLOC(Rhs, 0).end};                   \
  } while (0)
static int route_lex(ROUTE_STYPE *value, Span *at, Parser *p) {
  value->tok = filter_next(p);
  *at = value->tok.span;
  return value->tok.kind;
}
static void route_error(Span *at, Parser *p, const char *msg);
#define LEAF(k, s, t) build_leaf(p, AST_##k, s, t)
#define NODE(k, s, t, ...)                                                                                    \
  build_node(p, AST_##k, s, t, sizeof((Ast *[]){__VA_ARGS__}) / sizeof(Ast *), (Ast *[]){__VA_ARGS__})
#define NODES(k, s, t, v, ...)                                                                                \
  build_list(p, AST_##k, s, t, sizeof((Ast *[]){__VA_ARGS__}) / sizeof(Ast *), (Ast *[]){__VA_ARGS__}, v)
/* An expression in parentheses spans them too, so that carets cover what was written. */
static Ast *wide(Ast *n, Span s) {
  n->span = s;
  return n;
}
static Ast *with_num(Ast *n, double num) {
  n->num = num;
  return n;
}
static Ast *with_flag(Ast *n, uint32_t flag) {
  n->flag = flag;
  return n;
}
static Ast *quantity(Parser *p, Span s, Ast *amount, const Token *unit) {
  if (amount->kind == AST_NUMBER) return with_num(LEAF(QUANTITY, s, unit), amount->num);
  return NODE(QUANTITY, s, unit, amount);
}
}

%union {
  Token tok;
  Ast *node;
  AstVec *vec;
}
%destructor { vec_free($$); } <vec>

%token <tok> NAME "a name" NUMBER "a number" STRING "a string" UNIT "a unit"
%token END 0 "the end of the file"
%token <tok> SEP "the end of the statement"
%token <tok> RESYNC "the next statement"
%token LBRACE "`{`" RBRACE "`}`" LPAREN "`(`" RPAREN "`)`" LBRACKET "`[`" RBRACKET "`]`"
%token COMMA "`,`" COLON "`:`" DOT "`.`" ASSIGN "`=`" ARROW "`->`"
%token <tok> PIPE "`|>`" DOTDOT "`..`" DOTDOTEQ "`..=`"
%token <tok> EQ "`==`" NE "`!=`" LE "`<=`" GE "`>=`" LT "`<`" GT "`>`" PLUS "`+`" MINUS "`-`" STAR "`*`" SLASH "`/`"
%token <tok> AND "`and`" OR "`or`" NOT "`not`" IN "`in`" IS "`is`"
%token IF "`if`" THEN "`then`" ELSE "`else`"
%token EDITION "`edition`" PARAM "`param`" DATA "`data`" MODULE "`module`" MODEL "`model`" SPLIT "`split`"
%token CLASS "`class`" ROUTE "`route`" LOSS "`loss`" REGULARIZE "`regularize`" OPTIMIZE "`optimize`" TRAIN "`train`"
%token EVALUATE "`evaluate`" EXPECT "`expect`" SWEEP "`sweep`" DEF "`def`" USE "`use`" EXTEND "`extend`"
%token GATE "`gate`" SET "`set`" REGION "`region`" FORBID "`forbid`" PARAMETER "`parameter`" MONITOR "`monitor`" PLUGIN "`plugin`"
%token REPLACE "`replace`" DROP "`drop`" REPEAT "`repeat`"
%token <tok> WHEN "`when`" UNLABELLED "`unlabelled`" OTHERWISE "`otherwise`"
%token <tok> STRICTLY "`strictly`"
%token AT "`at`"
%token TO "`to`" CARRY "`carry`" AS "`as`" OF "`of`" FOR "`for`" ORDERED "`ordered`"
%token GRADIENT "`gradient`" PARAMETERS "`parameters`" VALUE "`value`"

%type <node> decl simple_decl replace expr pipe or and not cmp range strict_range add mul unary postfix places primary
%type <node> stage arg sub type opt_type opt_in opt_default opt_result formals formal
%type <node> bind repeat body_item body settings opt_settings setting arms arm target origins origin
%type <vec> list_items args subs names formal_list body_items setting_items arm_items binds pipe_stages opt_carry origin_list
%type <tok> cmp_op add_op mul_op dots
%type <node> name policy
%type <tok> primitive opt_ordered about
%%
file: %empty | decls ;
decls
  : decl                        { build_decl(p, $decl); }
  | decls SEP decl              { build_decl(p, $decl); }
  | error RESYNC                { yyerrok; }
  | decls SEP error RESYNC      { yyerrok; }
  | decls error RESYNC          { yyerrok; }
  ;
decl: simple_decl | replace ;

simple_decl
  : EDITION NUMBER              { $$ = with_num(LEAF(EDITION, @$, NULL), $2.num); }
  | PARAM NAME opt_type opt_in ASSIGN expr
                                { $$ = NODE(PARAM, @$, &$2, $3, $4, $6); }
  | DATA NAME LBRACE binds RBRACE { $$ = build_list(p, AST_DATA, @$, &$2, 0, NULL, $4); }
  | MODULE NAME formals opt_result body { $$ = NODE(MODULE, @$, &$2, $3, $4, $5); }
  | MODEL body                  { $$ = NODE(MODEL, @$, NULL, $2); }
  | SPLIT postfix settings      { $$ = NODE(SPLIT, @$, NULL, $2, $3); }
  | CLASS NAME ASSIGN expr      { $$ = NODE(CLASS, @$, &$2, $4); }
  | ROUTE NAME COLON primitive OF places origins opt_ordered arms opt_settings
                                { $$ = with_flag(with_num(NODE(ROUTE, @$, &$2, $6, $7, $9, $10), $4.num), (uint32_t)$8.num); }
  | LOSS NAME ASSIGN expr opt_settings       { $$ = NODE(LOSS, @$, &$2, $4, $5); }
  | REGULARIZE NAME ASSIGN expr opt_settings { $$ = NODE(REGULARIZE, @$, &$2, $4, $5); }
  | REGION NAME ASSIGN expr opt_settings     { $$ = NODE(REGION, @$, &$2, $4, $5); }
  | GATE NAME settings          { $$ = NODE(GATE, @$, &$2, $3); }
  | FORBID about expr TO postfix origins          { $$ = with_num(NODE(FORBID, @$, NULL, $3, $5, $6), $2.num); }
  | FORBID STRICTLY about expr TO postfix origins { $$ = with_num(NODE(FORBID, @$, &$2, $4, $6, $7), $3.num); }
  | PARAMETER NAME COLON type ASSIGN expr opt_settings { $$ = NODE(PARAMETER, @$, &$2, $4, $6, $7); }
  | MONITOR settings            { $$ = NODE(MONITOR, @$, NULL, $2); }
  | PLUGIN NAME opt_settings    { $$ = NODE(PLUGIN, @$, &$2, $3); }
  | OPTIMIZE expr opt_settings  { $$ = NODE(OPTIMIZE, @$, NULL, $2, $3); }
  | TRAIN settings              { $$ = NODE(TRAIN, @$, NULL, NULL, $2); }
  | TRAIN postfix UNIT settings { Span s = span_join(@2, @3); $$ = NODE(TRAIN, @$, NULL, quantity(p, s, $2, &$3), $4); }
  | EVALUATE NAME settings      { $$ = NODE(EVALUATE, @$, &$2, $3); }
  | EXPECT expr                 { $$ = NODE(EXPECT, @$, NULL, $2); }
  | SWEEP NAME settings         { $$ = NODE(SWEEP, @$, &$2, $3); }
  | DEF NAME formals opt_result ASSIGN expr  { $$ = NODE(DEF, @$, &$2, $3, $4, $6); }
  | USE STRING                  { $$ = NODE(USE, @$, &$2, NULL); }
  | USE STRING AS name          { $$ = NODE(USE, @$, &$2, $4); }
  | EXTEND STRING               { $$ = LEAF(EXTEND, @$, &$2); }
  | DROP postfix                { $$ = NODE(DROP, @$, NULL, $2); }
  ;
replace
  : REPLACE postfix ASSIGN expr { $$ = NODE(REPLACE, @$, NULL, $2, $4); }
  | REPLACE simple_decl         { $$ = NODE(REPLACE, @$, NULL, $2, NULL); }
  ;

/* --- names, types, formals ------------------------------------------------------------------------------ */
name: NAME                      { $$ = LEAF(NAME, @$, &$1); } ;
names
  : name                        { $$ = vec_add(NULL, $1); }
  | names COMMA name            { $$ = vec_add($1, $3); }
  ;
type
  : NAME                        { $$ = LEAF(TYPE, @$, &$1); }
  | NAME LBRACKET RBRACKET      { $$ = LEAF(TYPE, @$, &$1); }
  | NAME LBRACKET args opt_comma RBRACKET { $$ = build_list(p, AST_TYPE, @$, &$1, 0, NULL, $3); }
  ;
opt_type: %empty { $$ = NULL; } | COLON type { $$ = $2; } ;
opt_in: %empty { $$ = NULL; } | IN strict_range { $$ = $2; } ;
opt_result: %empty { $$ = NULL; } | ARROW type { $$ = $2; } ;
opt_default: %empty { $$ = NULL; } | ASSIGN expr { $$ = $2; } ;
opt_comma: %empty | COMMA ;
formals
  : LPAREN RPAREN               { $$ = LEAF(FORMALS, @$, NULL); }
  | LPAREN formal_list opt_comma RPAREN { $$ = build_list(p, AST_FORMALS, @$, NULL, 0, NULL, $2); }
  ;
formal_list
  : formal                      { $$ = vec_add(NULL, $1); }
  | formal_list COMMA formal    { $$ = vec_add($1, $3); }
  ;
formal: NAME opt_type opt_default { $$ = NODE(FORMAL, @$, &$1, $2, $3); } ;

/* --- bodies --------------------------------------------------------------------------------------------- */
bind: names opt_type opt_in ASSIGN expr { $$ = NODES(BIND, @$, NULL, $1, $5, $2, $3); } ;
binds
  : %empty                      { $$ = NULL; }
  | bind                        { $$ = vec_add(NULL, $1); }
  | binds SEP bind              { $$ = vec_add($1, $3); }
  | error RESYNC                { $$ = NULL; yyerrok; }
  | binds SEP error RESYNC      { $$ = $1; yyerrok; }
  ;
body
  : LBRACE RBRACE               { $$ = LEAF(BLOCK, @$, NULL); }
  | LBRACE body_items RBRACE    { $$ = build_list(p, AST_BLOCK, @$, NULL, 0, NULL, $2); }
  ;
body_items
  : body_item                   { $$ = vec_add(NULL, $1); }
  | body_items SEP body_item    { $$ = vec_add($1, $3); }
  | error RESYNC                { $$ = NULL; yyerrok; }
  | body_items SEP error RESYNC { $$ = $1; yyerrok; }
  | body_items error RESYNC     { $$ = $1; yyerrok; }
  ;
body_item: bind | repeat ;
repeat
  : REPEAT NAME LBRACKET name IN strict_range RBRACKET opt_carry body
                                { $$ = NODES(REPEAT, @$, &$2, $8, $4, $6, $9); }
  ;
opt_carry: %empty { $$ = NULL; } | CARRY names { $$ = $2; } ;

settings
  : LBRACE RBRACE               { $$ = LEAF(BLOCK, @$, NULL); }
  | LBRACE setting_items RBRACE { $$ = build_list(p, AST_BLOCK, @$, NULL, 0, NULL, $2); }
  ;
opt_settings: %empty { $$ = NULL; } | settings ;
setting_items
  : setting                     { $$ = vec_add(NULL, $1); }
  | setting_items SEP setting   { $$ = vec_add($1, $3); }
  | error RESYNC                { $$ = NULL; yyerrok; }
  | setting_items SEP error RESYNC { $$ = $1; yyerrok; }
  | setting_items error RESYNC  { $$ = $1; yyerrok; }
  ;
setting
  : NAME                        { $$ = NODE(SETTING, @$, &$1, NULL); }
  | NAME ASSIGN policy          { $$ = NODE(SETTING, @$, &$1, $3); }
  | SET NAME ASSIGN policy      { $$ = NODE(SET, @$, &$2, $4); }
  | NAME settings               { $$ = NODE(SETTING, @$, &$1, $2); }
  ;

/* `when` and `for` are words in the settings of a gate and behind `set` only (filter.c). */
policy
  : expr
  | expr FOR origin_list        { Ast *o = build_list(p, AST_LIST, @3, NULL, 0, NULL, $3); $$ = NODE(POLICY, @$, NULL, $1, NULL, o); }
  | expr FOR origin_list WHEN list_items
                                { Ast *o = build_list(p, AST_LIST, @3, NULL, 0, NULL, $3), *w = build_list(p, AST_LIST, @5, NULL, 0, NULL, $5);
                                  $$ = NODE(POLICY, @$, NULL, $1, w, o); }
  | expr WHEN list_items origins
                                { Ast *w = build_list(p, AST_LIST, @3, NULL, 0, NULL, $3); $$ = NODE(POLICY, @$, NULL, $1, w, $4); }
  ;

/* --- routes --------------------------------------------------------------------------------------------- */
primitive
  : GRADIENT                    { $$ = (Token){.num = ROUTE_GRADIENT}; }
  | PARAMETERS                  { $$ = (Token){.num = ROUTE_PARAMETERS}; }
  | VALUE                       { $$ = (Token){.num = ROUTE_VALUE}; }
  ;
origins: %empty { $$ = NULL; } | FOR origin_list { $$ = build_list(p, AST_LIST, @2, NULL, 0, NULL, $2); } ;
origin_list
  : origin                      { $$ = vec_add(NULL, $1); }
  | origin_list COMMA origin    { $$ = vec_add($1, $3); }
  ;
origin: name | origin DOT NAME  { $$ = NODE(MEMBER, @$, &$3, $1); } ;
about
  : %empty                      { $$ = (Token){.num = FORBID_DATA}; }
  | AT                          { $$ = (Token){.num = FORBID_AT}; }
  | LOSS OF                     { $$ = (Token){.num = FORBID_LOSS}; }
  ;
opt_ordered: %empty { $$ = (Token){.num = 0}; } | ORDERED { $$ = (Token){.num = 1}; } ;
arms
  : LBRACE RBRACE               { $$ = LEAF(ARMS, @$, NULL); }
  | LBRACE arm_items RBRACE     { $$ = build_list(p, AST_ARMS, @$, NULL, 0, NULL, $2); }
  ;
arm_items
  : arm                         { $$ = vec_add(NULL, $1); }
  | arm_items SEP arm           { $$ = vec_add($1, $3); }
  | error RESYNC                { $$ = NULL; yyerrok; }
  | arm_items SEP error RESYNC  { $$ = $1; yyerrok; }
  | arm_items error RESYNC      { $$ = $1; yyerrok; }
  ;
arm
  : WHEN expr TO target         { $$ = NODE(ARM, @$, &$1, $2, $4); }
  | UNLABELLED TO target        { $$ = NODE(ARM, @$, &$1, NULL, $3); }
  | OTHERWISE TO target         { $$ = NODE(ARM, @$, &$1, NULL, $3); }
  ;
target: expr | settings ;

/* --- expressions, loosest first ------------------------------------------------------------------------- */
places: postfix | places PLUS postfix { $$ = NODE(BINARY, @$, &$2, $1, $3); } ; /* several: `parameters of` */
expr
  : pipe
  | IF expr THEN expr ELSE expr { $$ = NODE(IF, @$, NULL, $2, $4, $6); }
  ;
pipe: or | pipe_stages          { $$ = build_list(p, AST_PIPE, @$, NULL, 0, NULL, $1); } ;
pipe_stages
  : or PIPE stage               { $$ = vec_add(vec_add(NULL, $1), $3); }
  | pipe_stages PIPE stage      { $$ = vec_add($1, $3); }
  ;
stage
  : postfix
  | NAME COLON postfix          { $$ = NODE(LAYER, @$, &$1, $3); }
  ;
or: and | or OR and             { $$ = NODE(BINARY, @$, &$2, $1, $3); } ;
and: not | and AND not          { $$ = NODE(BINARY, @$, &$2, $1, $3); } ;
not: cmp | NOT not              { $$ = NODE(UNARY, @$, &$1, $2); } ;
cmp
  : range
  | range cmp_op range          { $$ = NODE(BINARY, @$, &$2, $1, $3); }
  ;
cmp_op: EQ | NE | LE | GE | LT | GT | IN | IS ;
range: add | strict_range ;
strict_range
  : add dots add                { $$ = NODE(RANGE, @$, &$2, $1, $3); }
  | add dots                    { $$ = NODE(RANGE, @$, &$2, $1, NULL); }
  | dots add                    { $$ = NODE(RANGE, @$, &$1, NULL, $2); }
  | dots                        { $$ = NODE(RANGE, @$, &$1, NULL, NULL); }
  ;
dots: DOTDOT | DOTDOTEQ ;
add: mul | add add_op mul       { $$ = NODE(BINARY, @$, &$2, $1, $3); } ;
add_op: PLUS | MINUS ;
mul: unary | mul mul_op unary   { $$ = NODE(BINARY, @$, &$2, $1, $3); } ;
mul_op: STAR | SLASH ;
unary
  : postfix
  | postfix UNIT                { $$ = quantity(p, @$, $1, &$2); }
  | MINUS unary                 { $$ = NODE(UNARY, @$, &$1, $2); }
  ;
postfix
  : primary
  | postfix DOT NAME            { $$ = NODE(MEMBER, @$, &$3, $1); }
  | postfix LPAREN RPAREN       { $$ = NODE(CALL, @$, NULL, $1); }
  | postfix LPAREN args opt_comma RPAREN   { $$ = NODES(CALL, @$, NULL, $3, $1); }
  | postfix LBRACKET subs opt_comma RBRACKET { $$ = NODES(INDEX, @$, NULL, $3, $1); }
  ;
args
  : arg                         { $$ = vec_add(NULL, $1); }
  | args COMMA arg              { $$ = vec_add($1, $3); }
  ;
arg
  : expr
  | NAME ASSIGN expr            { $$ = NODE(ARG, @$, &$1, $3); }
  ;
subs
  : sub                         { $$ = vec_add(NULL, $1); }
  | subs COMMA sub              { $$ = vec_add($1, $3); }
  ;
sub: arg | STAR                 { $$ = LEAF(STAR, @$, NULL); } ;
list_items
  : expr                        { $$ = vec_add(NULL, $1); }
  | list_items COMMA expr       { $$ = vec_add($1, $3); }
  ;
primary
  : name
  | NUMBER                      { $$ = with_num(with_flag(LEAF(NUMBER, @$, &$1), $1.is_int), $1.num); }
  | STRING                      { $$ = LEAF(STRING, @$, &$1); }
  | LPAREN expr RPAREN          { $$ = wide($2, @$); }
  | LBRACKET RBRACKET           { $$ = LEAF(LIST, @$, NULL); }
  | LBRACKET list_items opt_comma RBRACKET { $$ = build_list(p, AST_LIST, @$, NULL, 0, NULL, $2); }
  ;
%%

static ExpectClass expect_class(yysymbol_kind_t k) {
  switch (k) {
  case YYSYMBOL_NAME: return EXPECT_NAME;
  case YYSYMBOL_NUMBER: case YYSYMBOL_STRING: case YYSYMBOL_NOT: case YYSYMBOL_IF: return EXPECT_VALUE;
  case YYSYMBOL_LPAREN: case YYSYMBOL_LBRACKET: case YYSYMBOL_MINUS: case YYSYMBOL_DOTDOT: case YYSYMBOL_DOTDOTEQ:
    return EXPECT_EITHER;
  case YYSYMBOL_PIPE: case YYSYMBOL_EQ: case YYSYMBOL_NE: case YYSYMBOL_LE: case YYSYMBOL_GE: case YYSYMBOL_LT:
  case YYSYMBOL_GT: case YYSYMBOL_PLUS: case YYSYMBOL_STAR: case YYSYMBOL_SLASH: case YYSYMBOL_AND:
  case YYSYMBOL_OR: case YYSYMBOL_IN: case YYSYMBOL_IS: case YYSYMBOL_DOT: case YYSYMBOL_UNIT:
    return EXPECT_OPERATOR;
  case YYSYMBOL_EDITION: case YYSYMBOL_PARAM: case YYSYMBOL_DATA: case YYSYMBOL_MODULE: case YYSYMBOL_MODEL:
  case YYSYMBOL_SPLIT: case YYSYMBOL_CLASS: case YYSYMBOL_ROUTE: case YYSYMBOL_LOSS: case YYSYMBOL_REGULARIZE:
  case YYSYMBOL_OPTIMIZE: case YYSYMBOL_TRAIN: case YYSYMBOL_EVALUATE: case YYSYMBOL_EXPECT: case YYSYMBOL_SWEEP:
  case YYSYMBOL_DEF: case YYSYMBOL_USE: case YYSYMBOL_EXTEND: case YYSYMBOL_REPLACE: case YYSYMBOL_DROP:
  case YYSYMBOL_GATE: case YYSYMBOL_REGION: case YYSYMBOL_FORBID: case YYSYMBOL_PARAMETER: case YYSYMBOL_MONITOR: case YYSYMBOL_PLUGIN:
    return EXPECT_DECL;
  case YYSYMBOL_SEP: return EXPECT_SEP;
  case YYSYMBOL_YYEOF: return EXPECT_EOF;
  case YYSYMBOL_RESYNC: case YYSYMBOL_SET: return EXPECT_HIDDEN;
  default: return EXPECT_WORD;
  }
}

/* The token number of an expected symbol, found by asking the translation table. */
static int token_of(yysymbol_kind_t k) {
  for (int t = NAME; t <= VALUE; t++)
    if (YYTRANSLATE(t) == k) return t;
  return 0;
}

static int yyreport_syntax_error(const yypcontext_t *ctx, Parser *p) {
  yysymbol_kind_t kinds[YYNTOKENS];
  Expected e[YYNTOKENS];
  int n = yypcontext_expected_tokens(ctx, kinds, YYNTOKENS);
  if (n < 0) return n;
  for (int i = 0; i < n; i++)
    e[i] = (Expected){yysymbol_name(kinds[i]), expect_class(kinds[i]), token_of(kinds[i])};
  report_syntax_error(p, e, (uint32_t)n);
  filter_resync(p);
  return 0;
}

/* Reached only when the parser's own stack is exhausted: parse.error is custom. */
static void route_error(Span *at, Parser *p, const char *msg) {
  (void)msg;
  report_too_deep(p, *at);
}
