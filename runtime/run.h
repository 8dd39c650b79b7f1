/* SPDX-License-Identifier: Apache-2.0
 * run.h -- one run of a Job, shared between the rooms of the runtime. A Run owns all it points to but job and
 * options. */
#ifndef ROUTEC_RUN_H
#define ROUTEC_RUN_H
#include "data.h"
#include "group.h"
#include "order.h"
#include "params.h"
#include "plugin_call.h"
#include "pool.h"
#include "rt.h"
#include <jansson.h>

/* All that a checkpoint holds besides tensors. Everything that decides later bits or later lines of
 * metrics.jsonl. */
typedef struct RunState {
  int64_t step;                 /* steps done */
  int64_t log_steps;            /* of these since the last line of losses */
  double *loss_sums;            /* [origin] over log_steps; what JobFrame.loss_sums points to */
  double total_min, total_last; /* logged mean total loss; INFINITY and NAN before the first */
  int64_t evaluated;            /* step of the last evaluation during training, -1: none */
  int64_t metrics_bytes;        /* length of metrics.jsonl */
  double seconds;               /* of training */
  double *baseline, *peak; /* [plan step]: largest magnitude in the first step, and in any watched one since */
  uint32_t n_baseline;     /* plan steps recorded; 0: not taken yet */
} RunState;

/* Sums of an evaluation by key; without a key one group. */
typedef struct EvalTable {
  const JobEval *eval;
  bool done;
  int64_t n_keys, rows;
  int32_t *order; /* [kept] the data that are evaluated */
  int64_t kept;
  int64_t *counts; /* [key] */
  double *sums;    /* [metric][key] */
} EvalTable;

typedef enum CheckMode { CHECK_NONE, CHECK_FINITE, CHECK_GROWTH } CheckMode;

typedef struct Progress {
  double started, last_shown;
  int64_t started_step;
  bool line_open, tty, begun;
} Progress;

typedef struct Run {
  Job *job;
  const RtOptions *o;
  RtError error;
  double opened; /* mem_now() at the start */
  uint64_t seed;
  char *spec_path, *data_dir, *init_path; /* from options or, when resuming, the manifest; may be NULL */
  Data data;
  double data_seconds;
  Slab store, work, gradient_work;
  bool drawn; /* the store holds the initial values of drawn_seed, and nothing else was written there */
  uint64_t drawn_seed;
  Order order; /* of training */
  RowGroups groups;
  Slab *eval_work; /* [eval] */
  Pool *pool;
  PluginCalls *calls;   /* NULL: the job has none */
  JobFrame frame;       /* of training */
  double *losses;       /* [origin] of the last step */
  double *wide_scalars; /* [scalar], and one more: the class that gradient_run() asks for */
  double *scratch_losses; /* [2 * origin] where steps that do not count put theirs */
  int64_t frame_rows;   /* of frame_at()'s last frame */
  int64_t steps_per_epoch, total_steps;
  RunState state;
  EvalTable *tables; /* [eval] */
  uint32_t expects_failed;
  char *dir; /* run folder, or NULL: nothing is written */
  int dir_lock;
  FILE *metrics;
  json_t *manifest;
  Progress progress;
  CheckMode check; /* what check_step looks for */
  int64_t check_rows;
  bool found_bad;
  struct Audit *audit;     /* NULL: not begun */
  struct Monitor *monitor; /* likewise */
  struct Profile *profile; /* NULL: nobody asked */
} Run;

/* ---- run.c: opening, folder, manifest, signals ---- */
bool run_open(Run *r, Job *job, const RtOptions *o); /* seed, scalars; nothing is read yet */
void run_close(Run *r);
bool run_has_data(const Run *r);                      /* else a step has one datum without fields, and no epochs */
bool run_load(Run *r);                                 /* data, store, slabs, threads */
bool run_folder_parents(const char *path, RtError *e); /* mkdir -p of what is above path */
bool run_folder_create(Run *r);
bool run_folder_resume(Run *r, const char *dir); /* reads the manifest: seed, scalars, paths */
bool run_manifest_write(Run *r, const char *status, int exit_code);
void run_warn(const Run *r, RtCode code, ...);
int run_report(Run *r, int exit_code); /* prints r->error; returns exit_code */
json_t *json_number(double v);         /* null when not finite */
void signals_catch(void);              /* SIGINT, SIGTERM, SIGHUP: once a note, twice _exit(130) */
void signals_release(void);
int signals_seen(void);

/* ---- prefetch.c ---- */
/* Data of rt_prefetch, the store if it holds initial values, and a step's memory. false: there is none for this run. *ok false: it failed, r->error
 * says why. */
bool prefetch_take(Run *r, bool *ok);
void run_initial_values(Run *r); /* into the store, unless they are there */

/* ---- train.c ---- */
int train_run(Run *r); /* the whole of rt_train after run_open */
void frame_setup(Run *r, JobFrame *f, const DataPart *part, uint8_t *work);
/* Lengths and the frame of training, once data and store are there. */
bool frame_begin(Run *r);
/* A copy of the training's frame that holds step `step` alone; losses go to scratch. Sets r->frame_rows. */
bool frame_at(Run *r, JobFrame *f, int64_t step);
/* The first step count above `step` at which an amount falls due; INT64_MAX: never by steps. */
int64_t amount_next(JobAmount a, int64_t step, int64_t per_epoch);
double losses_total(const Run *r, const double *losses);
void run_scalars(Run *r); /* job's scalars to wide_scalars */
bool run_calls(Run *r);   /* states of plugins' ops, from the job's scalars; anew if there are some */

/* ---- gradient.c ---- */
/* Computes the gradients of the step's batch at the store's parameters; class -1: of all data. */
bool gradient_run(Run *r, int64_t step, int32_t class);
/* The last result for a parameter, in logical order; zeros where nothing reaches it. */
void gradient_read(const Run *r, uint32_t param, float *dense);

/* ---- derive.c ---- */
bool derive_columns(Run *r); /* of all parts; entries of the job must be set */
json_t *census_json(const Run *r); /* classes of the data trained on */
void census_show(Run *r); /* W0757 */
/* ---- region.c ---- */
typedef struct RegionSum {
  double square, most; /* sum of squares, largest magnitude */
} RegionSum;
/* Adds a - b (b NULL: a) over the region's entries of one parameter; a and b are dense. */
void region_add(RegionSum *s, const Job *job, uint32_t region, uint32_t param, const float *a, const float *b);
/* Whether an entry (row-major number) belongs to the region. */
bool region_has(const Job *job, uint32_t region, uint32_t param, int64_t entry);

/* ---- audit.c ---- */
typedef struct Audit Audit;
/* The first step from `step` on that is audited; INT64_MAX: none. */
int64_t audit_next(const Run *r, int64_t step);
bool audit_open(Run *r);   /* before training, from the run's step on */
void audit_begin(Run *r);  /* before the audited step: keeps the state */
bool audit_end(Run *r);    /* after it: repeats it from there for each class, and compares */
void audit_report(Run *r); /* the table at the end */
void audit_free(Run *r);

/* ---- monitor.c ---- */
typedef struct Monitor Monitor;
int64_t monitor_next(const Run *r, int64_t step); /* likewise */
bool monitor_open(Run *r);                        /* likewise */
bool monitor_record(Run *r);                      /* before the step it is about */
void monitor_report(Run *r);
void monitor_free(Run *r);

/* ---- profile.c: what the code that was compiled for a profile marks ---- */
bool profile_compiled(const Job *job); /* the code for one is there */
bool profile_open(Run *r); /* measures the machine; all memory */
void profile_mark(JobFrame *f, int64_t tid, int64_t s, int64_t plan_step, int64_t met, int64_t products);
void *profile_of(const Run *r, const JobFunction *fn); /* JobFrame.profile */
bool profile_report(Run *r); /* table and trace */
void profile_free(Run *r);

/* ---- memory.c: what was mapped, and what the process took ---- */
json_t *memory_json(void);
void memory_note(Run *r); /* -v */

/* ---- finite.c ---- */
void check_step(JobFrame *f, int64_t tid, int64_t plan_step);
/* Repeats the bad step with a look at every tensor; fills r->error. */
void finite_explain(Run *r, int64_t bad_step);
/* The parameters as they are now; false: r->error filled. A gradient that is not finite leaves its step's loss as it is, and a
 * parameter that it spoiled need not reach the next one's: it may be of a branch that no datum takes. */
bool params_finite(Run *r);
/* The frame's next block, of one step, is watched: largest magnitudes go to the state's baseline and peak. */
void growth_begin(Run *r, JobFrame *f);
void growth_end(Run *r, JobFrame *f);
void growth_report(Run *r); /* W0750, W0751 */

/* ---- checkpoint.c ---- */
bool checkpoint_save(Run *r);
void checkpoint_prune(const Run *r, int64_t keep); /* keeps the newest `keep` (0: all) */
/* The newest valid checkpoint of the run folder into store and state. *found false and true returned: there
 * is none. */
bool checkpoint_resume(Run *r, bool *found);
/* Parameters (and scalars, seed if it is a checkpoint) of a file or of a folder's newest valid checkpoint. */
bool checkpoint_load_params(Run *r, const char *path);

/* ---- metrics.c ---- */
bool metrics_open(Run *r, int64_t keep_bytes);
bool metrics_losses(Run *r); /* a line of mean losses; resets the sums */
bool metrics_table(Run *r, const EvalTable *t);
bool metrics_sync(Run *r);
/* RUN/NAME for more lines. What a resumed run finds there about steps from its own on is cut. NULL in *out without a
 * folder. */
bool lines_open(Run *r, const char *name, FILE **out);
bool lines_write(Run *r, FILE *f, const char *name, json_t *o); /* takes o over */
json_t *metrics_table_json(const EvalTable *t);

/* ---- progress.c ---- */
void progress_begin(Run *r);
void progress_update(Run *r, bool logged);
void progress_first_step(Run *r, double began, double ended); /* both by mem_now() */
void progress_end(Run *r); /* closes an open line */
void progress_note(Run *r, const char *fmt, ...)
    __attribute__((format(printf, 2, 3))); /* a line unless quiet */
void json_print(json_t *o);                /* one line on stdout; takes o over */

/* ---- eval.c, picture.c, expect.c ---- */
bool eval_alloc(Run *r);
/* Runs every evaluation; prints tables if `show`, writes pictures if `pictures`. *interrupted: a signal ended
 * it. */
bool eval_all(Run *r, bool show, bool pictures, bool *interrupted);
const char *table_key_name(const JobEval *v, int64_t k, char *number, size_t cap); /* of group k, from 0 */
double table_mean(const EvalTable *t, uint32_t metric, const int64_t *keys,
                  uint32_t n_keys); /* NAN if empty */
void eval_free(Run *r);
typedef struct Picture {
  uint8_t *pixels;
  int64_t width, height;
} Picture; /* grey, row-major */
bool picture_write(const char *path, const Picture *p, RtError *e);
double output_get(const uint8_t *work, const JobOutput *o, int64_t row, int64_t index);
int64_t output_size(const JobOutput *o); /* values of one datum */
bool expect_all(Run *r);                 /* prints each; counts r->expects_failed */

/* ---- sweep.c ---- */
double student_975(int64_t degrees); /* 97.5 % point of Student's t */
#endif
