/* SPDX-License-Identifier: Apache-2.0
 * rt.h -- the runtime's door: run a Job. Used by routec's driver and by built trainers alike. */
#ifndef ROUTEC_RT_H
#define ROUTEC_RT_H
#include "job.h"
#include <stdio.h>

/* Exit codes of routec and of built trainers. */
enum { RT_OK = 0, RT_DIAGNOSTICS = 1, RT_USAGE = 2, RT_RUN_FAILED = 3, RT_EXPECT_FAILED = 4, RT_PLUGIN_REFUSED = 5,
       RT_INTERNAL = 70, RT_INTERRUPTED = 130 };

typedef struct RtOptions {
  const char *run_dir;        /* NULL: runs/<title>-s<seed>[-n], the first that does not exist */
  const char *data_dir;       /* replaces $ROUTEC_DATA; NULL: the environment's, else "data" */
  const char *init_weights;   /* safetensors by path, or NULL */
  const char *resume;         /* run folder to go on with, or NULL (then run_dir is ignored) */
  const char *checkpoint;     /* eval: checkpoint file or run folder */
  int threads;                /* 0: online CPUs */
  int quiet, verbose;         /* -q, -v */
  bool json;                  /* progress and tables as JSON lines on stdout */
  bool color;
  uint64_t seed; bool has_seed;
  int64_t audit;              /* > 0: each so manyth step is repeated with every class's contents exchanged */
  int64_t stop_after_steps;   /* > 0: stop (checkpoint, exit 0) after this many steps of the whole run: tests */
  const char *profile;        /* where the trace goes, "": into the run folder; NULL: no profile */
  double compile_seconds;     /* shown beside the first step */
} RtOptions;

/* Processors that this process may use. */
int rt_cpus(void);
/* What a run maps. END: when training is done. EARLY: comes and goes before training; PASSING: comes and goes while
 * it goes on. One at a time. */
#define RT_MEMORY_PARTS 64
typedef enum RtMemoryWhen { RT_MEMORY_ALWAYS, RT_MEMORY_TRAINING, RT_MEMORY_END, RT_MEMORY_EARLY, RT_MEMORY_PASSING } RtMemoryWhen;
typedef struct RtMemoryPart { char what[128]; int64_t bytes; RtMemoryWhen when; } RtMemoryPart;
typedef struct RtMemory {
  RtMemoryPart parts[RT_MEMORY_PARTS]; uint32_t n;
  int64_t datum_bytes;        /* of all columns */
  bool with_data;             /* the parts that depend on the number of data are there */
  int64_t reading;            /* most while data are read, before anything else is there */
  int64_t peak;
} RtMemory;
/* Before a run; `read`: reads the data to know how many there are. RT_OK, or a message was printed. */
int rt_memory(const Job *job, const RtOptions *o, bool read, RtMemory *out);

/* Starts reading the job's data in the background, drawing initial values and making a step's memory; optional, before rt_train
 * or rt_eval of the same job (entries may still be unset). job and o must live on. */
void rt_prefetch(const Job *job, const RtOptions *o);
/* Waits for a reader that nobody took data from; the job may go then. */
void rt_prefetch_end(void);
int rt_train(Job *job, const RtOptions *o);  /* train, evaluate, expect; returns an exit code */
int rt_eval(Job *job, const RtOptions *o);   /* evaluations of a checkpoint only */
int rt_sweep(Job *job, const RtOptions *o, const JobSweep *s); /* a run per value, then a table of means and intervals */
/* `routec grad`: the gradients of one batch. */
typedef struct RtGrad {
  const char *what;           /* told and recorded: "routed gradient of `low`, ..." */
  const char *output;         /* safetensors file, or NULL: only tell */
  int64_t batch;              /* number of the batch in training's order, from 0 */
  int32_t class;              /* whose data, or -1: all */
  /* NULL, or who computes them instead of the job's function: f as that would see it (one step of `rows` rows);
   * values[param] holds the parameter, dense, and takes its gradient. */
  void (*oracle)(void *user, const JobFrame *f, int64_t rows, float **values);
  void *user;
} RtGrad;
int rt_grad(Job *job, const RtOptions *o, const RtGrad *g);
/* Ways to compute a product, timed in turns (measure.c). Strides and distances in floats, all extents as they are in a run. */
typedef struct RtProduct {
  int64_t m, n, k, n_batch, batch[4], a_batch[4], b_batch[4], c_batch[4], am, ak, bk, bn, cm;
  const char *cpu, *features; /* that compiled code is for */
  int64_t rows;               /* of every row set: for compiled code */
  int64_t b_at, out_at;       /* compiled code finds A at store, B b_at behind it, C at work, and out_at behind that where it */
  bool plain;                 /* stores what it made of C, unless plain: then C is the result */
} RtProduct;
typedef struct RtWay { JobEntry entry; /* NULL: the BLAS */ bool columns; /* BLAS: threads share columns, else rows */ } RtWay;
enum { RT_MAX_ROUNDS = 25 };
/* ms[way][round]: milliseconds; a way whose result is wrong gets INFINITY. Returns how many rounds were made, 0: no memory,
 * no threads, or a CPU that lacks a feature, which was told. */
int rt_product_measure(const RtProduct *p, const RtWay *ways, int n, int threads, double (*ms)[RT_MAX_ROUNDS]);
/* Version of the BLAS and its kernels for this CPU, as one text that stays. */
const char *rt_blas_name(void);
int rt_threads(int asked);    /* that a run has: 0 asks for one a CPU */
/* What was measured for the products of a run folder's newest readable checkpoint (Job.choices); NULL: no checkpoint. The
 * caller frees it. */
char *rt_checkpoint_choices(const char *run);
/* The command line of a built trainer: run | resume | eval | --help | --version with rt's options. */
int rt_trainer_main(Job *job, int argc, char **argv);
/* Checks the BLAS against a naive product; prints to f what was found. false: wrong results. */
bool rt_doctor(FILE *f, bool verbose);
/* The explain page of a runtime code ("E0701"), or NULL. */
const char *rt_explain(const char *code);
#endif
