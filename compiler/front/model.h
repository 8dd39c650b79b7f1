/* SPDX-License-Identifier: Apache-2.0
 * model.h -- what checking knows about a specification; shared by check*.c, lower*.c and builtin*.c only.
 *
 * Checking is elaboration: every expression is lowered to a value of a graph, and its type is that value's.
 * A specification is elaborated twice. The first walk finds all errors and which params reach a shape
 * (`structural`); the second makes the Program, where structural params are constants and the others
 * run-time scalars. All memory is the arena given to model_check. */
#ifndef ROUTEC_MODEL_H
#define ROUTEC_MODEL_H
#include "compiler.h"

/* ---- names ------------------------------------------------------------------------------------------------
 */
typedef struct StrMap {
  struct StrSlot {
    const char *key;
    void *value;
  } * slots;
  uint32_t cap, n;
} StrMap;
void *strmap_get(const StrMap *m, const char *key);
void strmap_put(Arena *a, StrMap *m, const char *key, void *value);

typedef struct FileScope FileScope;
typedef struct Decl Decl;
typedef struct Scope Scope;
typedef struct Elab Elab;
typedef struct Val Val;
typedef struct Inst Inst;
typedef struct Ablated Ablated;

/* One file's declarations: the spec itself (with what it extends), or a file that is used under a name. */
struct FileScope {
  const char *path;
  const char *ns; /* "" or "gpt." : prefix of its params and modules as the user writes them */
  StrMap names;   /* params, data, modules, defs, classes, regions, raw parameters, used files */
  bool is_spec;
};

typedef enum DeclKind {
  DECL_PARAM,
  DECL_DATA,
  DECL_MODULE,
  DECL_DEF,
  DECL_CLASS,
  DECL_REGION,
  DECL_PARAMETER,
  DECL_PLUGIN,
  DECL_GATE,
  DECL_USE, /* those up to here share one space of names */
  DECL_SPLIT,
  DECL_ROUTE,
  DECL_ORIGIN,
  DECL_EVAL,
  DECL_SWEEP,
  DECL_EXPECT,
  DECL_FORBID
} DeclKind;

struct Decl {
  DeclKind kind;
  const Ast *ast;
  const char *name;
  FileScope *file;   /* where its names are looked up */
  FileScope *target; /* USE: the file */
  uint32_t index;    /* among its kind */
  bool used;
  bool busy;          /* PARAM, CLASS: being elaborated: a cycle if met again */
  StrMap layer_names; /* MODULE and the model: call node -> "linear1", made on first use */
  bool layers_done;
};

typedef struct DeclList {
  Decl **v;
  uint32_t n;
} DeclList;

typedef enum ParamType { PT_INT, PT_REAL, PT_BOOL, PT_STRING, PT_QUANTITY, PT_LIST } ParamType;
typedef struct Param {
  Decl *decl;
  const char *name; /* with namespace */
  ParamType type;
  Val *value;           /* NULL until resolved */
  const char *override; /* text of --set, or NULL */
  bool has_range, lo_open;
  double lo, hi;
  uint32_t scalar; /* 1 + index in Program.scalars once used at run time in this walk; else 0 */
} Param;

/* ---- data
 * ---------------------------------------------------------------------------------------------------- */
typedef struct Reader Reader;
typedef struct Field {
  const char *name;
  const Ast *bind;
  bool has_range, is_bool, is_label; /* is_label: drawn labels, 1 yes, 0 no, -1 unlabelled */
  double lo, hi;
} Field;
typedef struct Data {
  Decl *decl;
  const Ast *source; /* the reader call */
  const Reader *reader;
  bool has_test;
  Field *fields;
  uint32_t n_fields;
  StrMap by_name; /* Field* */
} Data;

/* ---- splits and routes
 * ------------------------------------------------------------------------------------------- */
/* A place as written: names, and index ranges for repeats. `[*]` is lo 0, hi INT64_MAX. */
typedef struct PathPart {
  const char *name;
  int64_t lo, hi;
} PathPart; /* name NULL: index in [lo, hi) */
typedef struct PathPat {
  PathPart *v;
  uint32_t n;
  Span span;
  const char *text;
} PathPat;

typedef struct SplitPart {
  const char *name;
  int64_t *units;
  int64_t n;
  Span span;
  const Ast *ast;
} SplitPart;
typedef struct Split {
  Decl *decl;
  PathPat place;
  bool place_ok;
  SplitPart *parts;
  uint32_t n_parts;
  int64_t extent; /* units of the place when the parts were computed; 0 = not yet */
  int axis;
  bool bad, matched;
  uint32_t region;     /* of its first part, made by check_regions; parts have three each: all, .made_by, .read_by */
  const char *tangled; /* a parameter whose entries its units own along no one axis, or NULL */
} Split;

typedef struct RouteDecl {
  Decl *decl;
  PathPat place;
  bool ok, matched, arms_checked;
  bool also;
  bool of_gate; /* the gradient policy of a gate: data that no arm takes need no word */
  const Ast *strength, *cross;
} RouteDecl;

/* A declared plugin, loaded. */
typedef struct PluginDecl {
  Decl *decl;
  const struct RoutePlugin *code;   /* NULL: it could not be loaded, and that was said */
  const char *path, *sha256;        /* NULL: it is a built-in one */
} PluginDecl;
/* A gate's settings as written, or NULL. */
typedef struct Gate {
  Decl *decl;
  PathPat place;
  bool ok, matched;
  const Ast *train, *gradient, *target, *when, *weight, *deploy;
  RouteDecl route; /* its gradient policy; decl NULL: all passes */
} Gate;

/* ---- values
 * ---------------------------------------------------------------------------------------------------------
 */
typedef enum ValKind {
  VAL_POISON, /* an error was reported here: say nothing more */
  VAL_TENSOR, /* a graph value */
  VAL_NUM,    /* a number known now; id is its run-time twin (rank-0 F64) when it depends on params, else 0 */
  VAL_BOOL,   /* a truth value known now (num) */
  VAL_STRING,
  VAL_QUANTITY,
  VAL_LIST,
  VAL_RANGE,
  VAL_SCOPE,  /* the inside of a module call, of a layer or of one round of a repeat */
  VAL_REPEAT, /* all rounds of a repeat */
  VAL_INST,   /* a module instance */
  VAL_DATA,
  VAL_PART,
  VAL_SOURCE,
  VAL_NAMESPACE
} ValKind;

/* A named value of one graph. */
typedef struct Place {
  const char *path;    /* "encoder.fc1.out" */
  ValueId value;       /* what readers read: after TAP and MASK */
  struct Place *under; /* the place this one is a second name of, or NULL */
  Span span;
  const Ast *unnamed; /* the call of a layer without a name, else NULL */
  const Val *val;     /* with the names of its axes */
} Place;

struct Val {
  ValKind kind;
  Span span;
  ValueId id;
  const char
      *axis[IR_MAX_RANK]; /* names of axes; axis 0 is "example" when its extent is DIM_ROWS; NULL: unnamed */
  bool is_int;            /* NUM */
  double num;             /* NUM, BOOL, QUANTITY */
  uint64_t deps;          /* params it depends on (bit = index) */
  const char *text;       /* STRING; QUANTITY: unit word; PART: "train" or "test" */
  const Ast *ast;         /* RANGE: the node */
  Val **items;
  uint32_t n_items; /* LIST; mix: operands, with `names` */
  const char **names;
  Place *place;
  Scope *scope; /* SCOPE; TENSOR: inside of the call it came from */
  Inst *inst;
  struct Entry *repeat;
  uint32_t data; /* DATA, PART, SOURCE */
  ValueId labels; /* TENSOR of a drawn class: its column of labels, else 0 */
  Decl *decl;    /* NAMESPACE; NUM straight from a param */
};

/* A gate at a value of one graph. */
typedef struct GateUse {
  Gate *gate;
  Place *place;  /* whose value is what readers read */
  ValueId raw;   /* the gate's own value */
  ValueId own;   /* the same, behind the routes of the place: what its loss reads */
  const Val *val; /* with the names of raw's axes */
} GateUse;

struct Inst {
  const char *path; /* prefix of its parameters */
  Decl *module;
  Scope **calls;
  uint32_t n_calls;
  Span first_call;
  const char *own; /* prefix of the values of its first call, if that has no other name than the module's */
};

typedef enum EntryKind { ENTRY_VALUE, ENTRY_BIND, ENTRY_INST, ENTRY_LAYER, ENTRY_REPEAT } EntryKind;
typedef struct Entry Entry;
struct Entry {
  EntryKind kind;
  const char *name;
  Val *val;        /* VALUE; BIND once done */
  const Ast *bind; /* BIND, REPEAT: the statement */
  uint32_t target; /* BIND: which of its names */
  uint32_t stmt;   /* number of the statement in its block */
  bool busy, used;
  Inst *inst;
  Scope *scope; /* LAYER; BIND: inside of the call being bound, known early */
  Scope **rounds;
  uint32_t n_rounds; /* REPEAT */
  Entry *older;      /* a carried name: the version before this statement */
  Entry *carry_of;   /* version made by a repeat: the REPEAT entry */
};

typedef enum ScopeKind {
  SCOPE_MODEL,
  SCOPE_MODULE,
  SCOPE_ROUND,
  SCOPE_DEF,
  SCOPE_DATA,
  SCOPE_LAYER,
  SCOPE_EMPTY
} ScopeKind;
struct Scope {
  ScopeKind kind;
  Scope *up; /* ROUND: the body it stands in; else NULL */
  FileScope *file;
  const char *ppath; /* prefix of parameters, "" or "encoder." */
  const char *vpath; /* prefix of values */
  StrMap entries;    /* Entry* (newest version) */
  Entry **order;
  uint32_t n_order;
  uint32_t stmt; /* statement being elaborated, for versions of carried names */
  uint32_t data; /* DATA */
  Decl *module;  /* whose body; NULL for the model */
  Scope *owner;  /* the body that owns module instances made here: itself, for a DEF the caller's */
  Inst *inst;    /* MODULE: the instance that is called */
};

/* ---- one graph being made
 * --------------------------------------------------------------------------------------- */
typedef struct Model Model;
struct Elab {
  Model *m;
  Graph *g;
  bool training; /* taps, forward masks and dropout are in */
  uint32_t data; /* data block whose rows these are, or NO_DATA */
  Scope *model;
  Val **classes; /* [class]; NULL: not yet */
  Val ***fields; /* [data][field] */
  uint8_t **field_busy;
  ValueId *columns; /* [program column]: language-level value, 0: not yet */
  Place **places;
  uint32_t n_places;
  struct FieldOf {
    ValueId id;
    Field *field;
  } * finite;
  uint32_t n_finite;
  struct PlaceUse {
    Inst *inst;
    Span span;
  } * inst_uses;
  uint32_t n_inst_uses;
  Inst **twice; /* called twice, the first time without a name: whose values are meant by the module's name? */
  uint32_t n_twice;
  const Ast *bind_ast; /* outermost expression of the binding being elaborated */
  Entry *bind_entry;
  const char *bind_path;
  uint32_t depth, n_expressions, n_selections;
  StrMap dropouts; /* path of the binding -> how many it has */
  bool in_condition;  /* of an arm */
  bool in_class;      /* of a class declaration: draws may stand there */
  bool broken;        /* the model has errors: places that are not there may be their fault */
  ValueId clocks[4];  /* by ClockKind */
  const Ast *unnamed; /* set around place_add for the output of a layer without a name */
  struct Ablated *ablated; /* of an evaluation: what is 0 in it */
  uint32_t n_ablated;
  GateUse **gate_uses;
  uint32_t n_gate_uses;
  const Ast **gate_set; /* of an evaluation: [gate] its SET, or NULL; NULL elsewhere */
  ValueId *mix_weights; /* by which some `mix` or `select` weighs */
  uint32_t n_mix_weights;
  struct Removed { ValueId weight, share; } *removed; /* weights of gates that are removed; share: 1 where they are */
  uint32_t n_removed;
  StrMap params;      /* path -> ParamUse*: one PARAM value per parameter and graph */
  StrMap hidden;      /* "z.upper", "z": what a `value of` route gives the weight 0 for some data; of the training step */
  struct Owner *owner; /* of the finished forward graph (check_regions) */
};
#define NO_DATA UINT32_MAX

struct Model {
  Arena *a;
  Sources *sources;
  Diags *diags;
  FileScope *root;
  const char *path;
  uint32_t spec_file;
  DeclList params, data, modules, defs, classes, uses, splits, routes, origins, evals, sweeps, expects, regions, raw_params, forbids, plugins, gates;
  StrMap origin_names, route_names, eval_names, sweep_names;
  const Ast *model, *optimize, *train, *monitor; /* NULL: none */
  FileScope *model_file;
  Decl model_decl;
  Param *param;
  uint32_t n_param;
  StrMap param_names; /* Param* by full name */
  Data *datas;
  Split *split;
  uint32_t n_split;
  RouteDecl *route;
  uint32_t n_route;
  PluginDecl *plugin;
  Gate *gate; /* [gates] */
  uint64_t structural; /* bit per param */
  uint32_t walk;       /* 0: finding errors and structure; 1: making the program */
  uint64_t seed;
  bool seed_set;
  const Override *sets;
  uint32_t n_sets;
  bool *set_used;
  Program *p;
  Elab *step;        /* the training step's elaboration */
  StrMap model_used; /* model values that something reads (kept over graphs) */
  StrMap similar_warned;
  StrMap param_paths; /* path -> 1 + index in p->params, of this walk */
  bool too_big, too_many_conds;
  bool param_routes; /* some route masks parameters: their uses get taps */
  struct DrawnClass *drawn; /* [class] */
};

/* What a class declaration needs besides its predicate: labels that are drawn, a check of weights. */
typedef struct DrawnClass {
  const Ast *call;  /* of `observe` or `random_like`, or NULL */
  bool made, bad;   /* in this walk */
  uint32_t derived; /* its labels */
  uint32_t of;      /* the class that it labels */
  int32_t entry;    /* in Program.classes, or -1 */
  Field labels;     /* its labels as a field with finitely many values */
} DrawnClass;

/* ---- check_util.c ---- */
bool ast_is(const Ast *n, AstKind k);
const Ast *ast_kid(const Ast *n, uint32_t i);
bool ast_is_name(const Ast *n, const char *text);
const char *ast_source_text(const Model *m, const Ast *n); /* what was written, blanks joined */
const char *ast_dotted(const Model *m, const Ast *n);      /* "a.b.c", or NULL if it is no such path */
void decl_push(Model *m, DeclList *l, Decl *d);
const Ast *block_setting(const Ast *block, const char *key); /* the SETTING node or NULL */
const Decl *class_named(const Model *m, const Ast *name); /* the declared class, or NULL */
/* Reports keys of `block` that are not in `keys`. */
/* Is a declared name one of the words that mean something where it would stand? E0358. */
bool name_is_word(Model *m, Span at, const char *name, const char *what, const char *const *words, uint32_t n);
bool block_check_keys(Model *m, const Ast *block, const char *where, const char *const *keys, uint32_t n);
/* err(m, code, span, arguments of the code's message); warnings are given in the first walk only. */
#define err(m, code, ...) diag_add((m)->diags, code, __VA_ARGS__)
/* Adds a suggestion for `word`, or if none is near, the whole list as a note. */
void diag_choices(Model *m, Diag *g, const char *word, const char *const *names, uint32_t n);
const char *number_text(Arena *a, double x);
/* Room for one more after n entries: capacity is n rounded up to a power of two. Old contents are copied. */
void *array_grow(Arena *a, void *v, uint32_t n, size_t elem);
#define PUSH(a, v, n) ((v) = array_grow((a), (v), (n), sizeof *(v)), &(v)[(n)++])
const char *plural(int64_t n, const char *one, const char *many);

/* ---- check_file.c: imports, extend, replace, drop ---- */
void check_files(Model *m, const ParseResult *spec, uint32_t file);
const char *path_from(Model *m, Span at, const char *name); /* a path, from the folder of the file that `at` lies in */
const char *path_real(Model *m, const char *path);                /* without links, absolute; what was given if there is no such file */
/* ---- check_decl.c ---- */
void check_declarations(Model *m, FileScope *file, Ast *const *decls, uint32_t n);
void check_params(Model *m);
Val *param_value(Elab *e, Param *p, Span use);
void check_unused(Model *m);
bool param_in_range(const Param *p, double x);
/* ---- check_plugin.c: plugins that are declared, and which of their ops a call means ---- */
void check_plugins(Model *m); /* loads them */
typedef struct PluginUse {
  const struct RoutePlugin *plugin;
  const struct RouteOp *op;
  const PluginDecl *decl; /* NULL: of a built-in plugin that nobody declared */
  const char *shown;      /* "ortho", "ortho.other" */
} PluginUse;
typedef enum PluginFound { PLUGIN_NONE, PLUGIN_FOUND, PLUGIN_WRONG /* reported */ } PluginFound;
/* `declared`: of a plugin that the file declares. Else: of a built-in one. */
PluginFound plugin_find(Elab *e, Scope *s, const Ast *callee, bool declared, PluginUse *use);
uint32_t plugin_row(Elab *e, const PluginUse *use, Span span); /* index in Program.plugins */
/* ---- builtin_plugin.c, builtin_formula.c: calls of their ops ---- */
Val *plugin_call(Elab *e, Scope *s, const PluginUse *use, const Ast *call, Val *first);
/* ---- check_data.c ---- */
void check_data_names(Model *m); /* once, before anything is elaborated */
void check_data(Model *m);
void add_finite(Elab *e, ValueId id, Field *f);
Val *data_field(Elab *e, uint32_t data, uint32_t field, Span use);
Val *data_source_member(Elab *e, uint32_t data, const Ast *member, const Ast *type, const Field *f);
bool data_has_part(const Data *d, const char *part);
Val *elab_data_member(Elab *e, uint32_t data, const Ast *member);
/* ---- check_split.c ---- */
void check_splits(Model *m);
bool path_pattern(Elab *e, const Ast *place, PathPat *out);
bool path_matches(Elab *e, const PathPat *pat, const char *path);
/* How long the prefix is that the pattern's first name stands for as a binding; 0: it is the path's own. */
size_t path_alias(Elab *e, const PathPat *pat, const char *path);
bool path_is_under(const PathPat *pat, const char *path); /* the path itself or what lies inside of it */
Split *split_of_place(Elab *e, const Place *p);
Split *split_with_part(Elab *e, const Place *p, const char *part);
bool split_resolve(Elab *e, Split *s,
                   const Val *v); /* computes units against v's shape; false after an error */
int unit_axis(Elab *e, const PathPat *place, const Val *v); /* the axis that holds the units of a place; -1: none */
/* The units that `a` lists, of `extent`; `decl` is what messages name. false after an error. */
bool units_listed(Elab *e, Decl *decl, const Ast *a, int64_t extent, SplitPart *out);
Val *split_part_value(Elab *e, Split *s, const SplitPart *part, Val *v, Span span);
/* ---- check_arm.c ---- */
typedef struct Parts { /* what targets may name: of a split, or the operands of a mix */
  Split *split;
  const char **names;
  uint32_t n;
} Parts;
/* The factor with v's shape: a chain over the arms. `only`: the one part whose weight counts (the operands of a mix,
 * the regions of a `parameters of` route), or -1. 0 after an error. */
ValueId route_factor(Elab *e, RouteDecl *r, const char *path, const Parts *parts, const Val *v, int only);
/* A condition on data: a truth value, or the weight of a soft class. `what`: "of this arm"; *axes: the condition as it was
 * written, for the names of its axes. 0 after an error. */
ValueId condition_of(Elab *e, const Ast *ast, const char *what, const Val **axes);
/* own where cond holds, else m; w * own + (1 - w) * m for a weight w, written so that 0 and 1 give m and own to the bit. */
ValueId condition_blend(Elab *e, ValueId cond, ValueId own, ValueId m);
/* Weights of parts as a tensor of v's shape. */
ValueId part_weights(Elab *e, const Parts *p, const double *w, const Val *v);
/* ---- check_route.c ---- */
void check_routes(Model *m);
/* Puts TAPs and MASKs on a value that has just got a path. */
ValueId route_apply(Elab *e, const char *path, Val *v, Place *p);
/* The same for the operands of `mix`; parts are weights of whole operands. */
void route_apply_mix(Elab *e, const char *path, Val *mix, Val **operands, const char **names, uint32_t n,
                     Span span);
void routes_finish(Elab *e);
/* E0331 where the pattern names values of a module that is called twice by the module's name. */
void check_ambiguous(Elab *e, const PathPat *pat);
/* ---- check_gate.c, check_gate_loss.c ---- */
void check_gates(Model *m); /* once, before anything is elaborated */
/* At a value that gets its path: v becomes what stands in its place. NULL: there is no gate. */
GateUse *gate_begin(Elab *e, const char *path, Val *v, Place *p);
void gates_finish(Elab *e);
void gate_record(Elab *e, const Gate *gate, int32_t origin); /* into Program.gates */
void gate_region(Elab *e, uint32_t gate, bool *params); /* [param] sets those that its value is computed from */
/* What `mix` and `select` tell of their weights, and ask: what of it takes from the last branch? Nothing does where the gate is
 * removed, so that all weigh 1; NULL: nowhere. */
void gate_note_weight(Elab *e, ValueId weight);
Val *gate_not_removed(Elab *e, Val *weight);
void gate_set_begin(Elab *e, const Ast *block); /* `set` in an evaluation */
void gate_set_finish(Elab *e, const char *evaluation);
Val *gate_front(Elab *e, const Val *v, ValueId id); /* id, of v's first axes, with their names */
/* A term for each datum (and position) of the gate's own loss; NULL after an error. */
Val *gate_terms(Elab *e, const Gate *gate);
bool gate_is_share(const Graph *g, ValueId weights); /* known to lie in 0 to 1. check_gate_loss.c */
/* ---- check_parameters.c ---- */
/* A use of a parameter of its own, as a place that routes of parameters mask. */
ValueId param_tap(Elab *e, uint32_t param, ValueId v, Span span);
/* v, or if it is such a use, another one: tied weights are masked reader by reader. */
Val *param_read_again(Elab *e, Val *v, Span span);
void route_parameters(Elab *e, RouteDecl *r); /* after check_regions */
void check_inst_uses(Elab *e); /* last, for every graph */
void routes_set_origins(Elab *e);
/* The origins that a list `for a, b.c` names; false after an error. */
bool origins_named(Elab *e, const Ast *list, OriginSet *out);
/* ---- check_region.c, check_forbid.c, check_monitor.c ---- */
void check_regions(Elab *e); /* once the forward graph of the model is there */
/* The region that an expression means, made if need be: a part of a split, a declared region, units of a value, a module,
 * layer or parameter, each with `.made_by` or `.read_by`, and sums of them. Index in Program.regions; UINT32_MAX after an
 * error. */
uint32_t region_resolve(Elab *e, const Ast *expr);
void check_forbids(Elab *e);
void check_monitor(Elab *e);
/* ---- check_parameter.c: raw parameters as values of the model, before its body ---- */
void elab_parameters(Elab *e);
/* ---- check_ablate.c: evaluations with parts at 0 ---- */
bool ablate_begin(Elab *e, const Ast *setting); /* the setting may be NULL; false after an error */
ValueId ablate_value(Elab *e, const char *path, const Val *v, const Place *p);
ValueId ablate_operand(Elab *e, const char *path, const char *name, ValueId id); /* of a mix */
void ablate_finish(Elab *e, const char *evaluation);
#define MAX_CONDS 31u /* of a program: bits of what a datum is for the routes */
/* ---- check_class.c ---- */
void check_class_names(Model *m); /* once, before anything is elaborated */
void check_classes(Elab *e);
Val *class_value(Elab *e, Decl *d, Span use);
Val *class_is(Elab *e, const Ast *a, Val *x); /* `x is yes`, `is no`, `is unlabelled` */
ValueId label_is(Elab *e, ValueId labels, int which);
bool class_label_possible(const Model *m, uint32_t class, bool member, double label);
/* A derived column: an elaboration of its own, then its value for each datum, [ROWS]. Returns its number. */
Elab *derived_begin(Elab *e, const char *name);
uint32_t program_derive(Program *p, uint32_t source, Graph *g, ValueId value, const char *name, Span span); /* value: I32 [ROWS] */
uint32_t derived_end(Elab *d, ValueId value, const char *name, DrawKind draw, Span span);
/* ---- check_kind.c ---- */
/* False after an error: the value depends on parameters or on other data of the batch. */
bool cond_reads_data(Elab *e, ValueId id, const char *what, Span span);
bool cond_is_steady(Elab *e, ValueId id); /* the same in all steps */
bool value_same(const Graph *g, ValueId a, ValueId b); /* equal computations */
/* The number of a condition in the program's table; -1: not the training step's, or too many. */
int32_t cond_add(Elab *e, ValueId id, const char *text, Span span);
void check_kinds(Elab *e);
/* ---- check_finite.c ---- */
typedef struct Finite {
  struct FieldOf *vars;
  uint32_t n_vars;
  double count;
  double *value;
  uint32_t *stamp, epoch;
} Finite;
/* The fields with finite ranges that `ids` depend on; false if they depend on anything else. */
bool finite_collect(Elab *e, const ValueId *ids, uint32_t n, Finite *out);
/* Values of ids under assignment number k (mixed radix over vars). */
void finite_eval(Elab *e, Finite *f, double k, const ValueId *ids, uint32_t n, double *out);
const char *finite_describe(Elab *e, const Finite *f, double k);
bool finite_eval_fixed(Elab *e, ValueId var, double value, ValueId id, double *out);
/* ---- check_train.c, check_loss.c, check_eval.c ---- */
void check_origins(Elab *e);
void check_params_policy(Model *m);
void check_region_settings(Model *m); /* check_policy.c, when regions are known */
uint32_t training_data(Model *m);
ValueId schedule_steps(Elab *e, Scope *s, const Ast *a,
                       const char *what); /* a length as rank-0 F64 steps; 0 after an error */
void check_optimize(Elab *e);
void check_train(Elab *e);
void check_evals(Model *m);
void check_sweeps(Model *m);
bool amount_of(Elab *e, Scope *s, const Ast *a, const char *what, Amount *out);
uint32_t default_data(Model *m);
/* ---- check_batch.c ---- */
/* `digits.test`, or `filter(digits.test, condition)`: *filter is the condition or NULL. */
bool data_part_of(Elab *e, const Ast *a, uint32_t *data, const char **part, const Ast **filter);
uint32_t filter_column(Elab *e, const Ast *cond, const char *name); /* 1 + derived column; 0 after an error */
void check_batches(Elab *e, const Ast *setting, ProgTrain *t);

/* ---- lower.c: scopes, bindings, modules ---- */
Elab *elab_create(Model *m, const char *name, bool training, uint32_t data);
void elab_model(Elab *e);
Scope *scope_create(Elab *e, ScopeKind k, Scope *up, FileScope *file, const char *ppath, const char *vpath);
Entry *scope_add(Elab *e, Scope *s, EntryKind k, const char *name);
Entry *scope_find(Elab *e, Scope *s, const char *name);
Val *elab_entry(Elab *e, Scope *s, Entry *n, Span use);
void elab_body(Elab *e, Scope *s, const Ast *block);
Val *elab_module_call(Elab *e, Scope *s, const Ast *call, Inst *inst, Val **args, const Ast **arg_ast,
                      const char **arg_names, uint32_t n_args, const char *call_name);
/* Makes `name` the inside of a layer or a named call. A binding may have the name of a layer in its own
 * expression: `q = x |> q: linear(8)` binds the result, and `q.out` and `q.weight` are the layer's. false
 * after an error. */
bool layer_declare(Elab *e, Scope *owner, const char *name, Scope *inside, Span span);
Scope *layer_inside(Scope *owner, const char *name); /* NULL: none of that name */
Inst *inst_get(Elab *e, Scope *s, const char *name, Decl *module, Span span);
Place *place_add(Elab *e, const char *path, Val *v, Span span);
const char *layer_name(Elab *e, Scope *s, const Ast *call, const char *kind);
/* The PARAM value of a path, made at its first use; 0 after an error (a second use with another shape). */
ValueId param_use(Elab *e, const char *path, const Shape *shape, InitKind init, double a, double b,
                  Span span);

/* ---- lower_expr.c ---- */
Val *elab(Elab *e, Scope *s, const Ast *a);
Val *elab_call_with(Elab *e, Scope *s, const Ast *call, const Ast *callee, Val *first, const char *layer);
Val *elab_name(Elab *e, Scope *s, const Ast *a);
Val *elab_member_of(Elab *e, Scope *s, Val *obj, const Ast *member);

/* ---- lower_type.c ---- */
typedef struct Symbols {
  struct {
    const char *name;
    int64_t value;
    Span from;
  } v[32];
  uint32_t n;
} Symbols;
bool check_type(Elab *e, Scope *s, const Ast *type, Val *v, const char *what, Symbols *symbols);
const char *val_text(Elab *e, const Val *v); /* "f32[784] for each datum" */
const char *shape_text(Elab *e, const Shape *s, Dtype t, const char *const *axes);
const char *shape_dims_text(Elab *e, const Shape *s);

/* ---- lower_op.c: values and arithmetic ---- */
Val *val_new(Elab *e, ValKind k, Span span);
Val *val_poison(Elab *e, Span span);
Val *val_num(Elab *e, Span span, double num, bool is_int);
Val *val_bool(Elab *e, Span span, bool b);
Val *val_tensor(Elab *e, Span span, ValueId id); /* axes: example, rest unnamed */
Val *val_like(Elab *e, Span span, ValueId id, const Val *axes_of);
Val *val_at(Elab *e, const Val *v, Span span); /* a copy with another span */
bool val_bad(const Val *v);
const Shape *val_shape(Elab *e, const Val *v);
Dtype val_dtype(Elab *e, const Val *v);
bool val_has_rows(Elab *e, const Val *v);
bool static_int(Elab *e, const Val *v, const char *what, int64_t lo, int64_t hi, int64_t *out);
bool static_num(Elab *e, const Val *v, const char *what, double lo, double hi, double *out);
void use_static(Elab *e, const Val *v); /* its params become structural */
/* As a graph value of float type; numbers become constants or run-time scalars. 0 after an error. */
ValueId as_f32(Elab *e, const Val *v, const char *what);
ValueId as_f64_scalar(Elab *e, const Val *v, const char *what);
ValueId as_bool(Elab *e, const Val *v, const char *what);
ValueId as_i32(Elab *e, const Val *v, const char *what);
/* The number of a stream of draws: of the binding that is made, and the place in it. */
int64_t draw_stream(Elab *e, Scope *s, const char *what);
Val *as_tensor(Elab *e, Val *v, const char *what); /* any dtype; numbers become rank 0 */
Val *elab_binary(Elab *e, const Ast *at, const char *op, Val *a, Val *b);
/* Makes both tensors one shape by the broadcasting rule; false after an error. */
bool broadcast_pair(Elab *e, Span at, const char *what, Val *a, Val *b, ValueId *ia, ValueId *ib, Val **axes);
bool broadcast_to(Elab *e, Span at, const char *what, Val *v, const Val *like, ValueId *out);
bool shape_ok(Elab *e, Span at, const Shape *s, const char *what);       /* size limit */
int find_axis(Elab *e, const Val *v, const Ast *word, const char *what); /* -1 after an error */
ValueId f32_const(Elab *e, Span s, double x);
ValueId mean_rest(Elab *e, ValueId id); /* over all axes but the datum axis */
Val *select_units(Elab *e, Span span, Val *v, int axis, const int64_t *units, int64_t n);
Val *reduce_val(Elab *e, Span span, Val *v, Op op, const int64_t *axes, uint32_t n, bool mean);
ValueId rows_f32(Elab *e);
ValueId clock_f64(Elab *e, ClockKind k);
#define MAX_ELEMENTS    (((int64_t)1 << 40) - 1)
#define MAX_VALUES      500000u
#define MAX_EXPRESSIONS 1500000u /* elaborated for one graph; a scope counts as 64 */
#define MAX_DEPTH       2500u
#endif
