/* SPDX-License-Identifier: Apache-2.0
 * eval.c -- runs an evaluation's function over a part, batch by batch, and averages by key in double, in the
 * order of rows. */
#include "run.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

int64_t output_size(const JobOutput *o) {
  int64_t n;
  if (!mem_product(o->dims + 1, o->rank > 0 ? o->rank - 1 : 0, &n))
    fprintf(stderr, "runtime: extents of %s\n", o->name), abort();
  return n;
}

/* Element `index` (row-major over the axes after the first) of row `row`. */
double output_get(const uint8_t *work, const JobOutput *o, int64_t row, int64_t index) {
  int64_t at = o->rank > 0 ? row * o->strides[0] : 0;
  for (int32_t i = o->rank - 1; i > 0; i--) {
    at += index % o->dims[i] * o->strides[i];
    index /= o->dims[i];
  }
  const uint8_t *p = work + o->offset;
  switch (o->dtype) {
  case JOB_F32: return (double)((const float *)(const void *)p)[at];
  case JOB_F64: return ((const double *)(const void *)p)[at];
  case JOB_I32: return (double)((const int32_t *)(const void *)p)[at];
  case JOB_U8:
  case JOB_BOOL: return (double)p[at];
  }
  fprintf(stderr, "runtime: dtype %d of %s\n", (int)o->dtype, o->name), abort();
}

bool eval_alloc(Run *r) {
  const Job *job = r->job;
  r->tables = calloc(job->n_evals + 1, sizeof *r->tables);
  r->eval_work = calloc(job->n_evals + 1, sizeof *r->eval_work);
  if (!r->tables || !r->eval_work) return rt_fail(&r->error, RT_E0719, 0LL, "evaluations");
  for (uint32_t i = 0; i < job->n_evals; i++) {
    const JobEval *v = &job->evals[i];
    EvalTable *t = &r->tables[i];
    const DataPart *part = data_part(&r->data, v->source, v->part);
    t->eval = v, t->n_keys = v->key_name ? v->key_hi - v->key_lo + 1 : 1;
    if (t->n_keys < 1 || t->n_keys > INT32_MAX)
      return rt_fail(&r->error, RT_E0719, (long long)t->n_keys, v->name);
    t->counts = calloc((size_t)t->n_keys, sizeof *t->counts);
    t->sums = calloc((size_t)t->n_keys * (v->n_metrics + 1), sizeof *t->sums);
    if (!t->counts || !t->sums) return rt_fail(&r->error, RT_E0719, (long long)t->n_keys, v->name);
    t->order = order_kept(part, v->filter, &t->kept);
    if (!t->order) return rt_fail(&r->error, RT_E0719, (long long)part->rows * 4, v->name);
    if (!t->kept) return rt_fail_at(&r->error, &v->span, RT_E0707, r->job->sources[v->source].name, part->name);
  }
  return true;
}

void eval_free(Run *r) {
  for (uint32_t i = 0; r->tables && i < r->job->n_evals; i++)
    free(r->tables[i].counts), free(r->tables[i].sums), mem_table_free(r->tables[i].order);
  for (uint32_t i = 0; r->eval_work && i < r->job->n_evals; i++) slab_free(&r->eval_work[i]);
  free(r->tables), free(r->eval_work);
  r->tables = NULL, r->eval_work = NULL;
}

double table_mean(const EvalTable *t, uint32_t metric, const int64_t *keys, uint32_t n_keys) {
  double sum = 0;
  int64_t count = 0;
  for (int64_t k = 0; k < t->n_keys; k++) {
    bool wanted = n_keys == 0;
    for (uint32_t i = 0; i < n_keys && !wanted; i++) wanted = keys[i] == t->eval->key_lo + k;
    if (wanted) sum += t->sums[metric * t->n_keys + k], count += t->counts[k];
  }
  return count ? sum / (double)count : NAN;
}

/* ---- pictures: rows of the grid are the first data of each key, columns the pictures
 * ------------------------------- */
typedef struct Grid {
  Picture image;
  int64_t *placed; /* [key] rows of it drawn so far */
  int64_t scale, cell_w, cell_h;
} Grid;
enum { GRID_GAP = 2, GRID_CELL = 48 /* pixels that a small picture is scaled up to, at least */ };

static bool grid_begin(Grid *g, const JobEval *v, int64_t n_keys) {
  int64_t height = 1, width = 1, side;
  *g = (Grid){0};
  for (uint32_t i = 0; i < v->n_pictures; i++) {
    if (v->pictures[i].height > height) height = v->pictures[i].height;
    if (v->pictures[i].width > width) width = v->pictures[i].width;
  }
  side = height > width ? height : width;
  g->scale = side < GRID_CELL ? (GRID_CELL + side - 1) / side : 1;
  g->cell_w = width * g->scale + GRID_GAP, g->cell_h = height * g->scale + GRID_GAP;
  int64_t lines, pixels;
  if (!mem_mul(n_keys, v->picture_rows, &lines) || !mem_mul(lines, g->cell_h, &lines) || lines > 1000000)
    return false;
  g->image.width = g->cell_w * v->n_pictures + GRID_GAP, g->image.height = lines + GRID_GAP;
  if (!mem_mul(g->image.width, g->image.height, &pixels) || pixels > (int64_t)1 << 30) return false;
  g->image.pixels = malloc((size_t)pixels);
  g->placed = calloc((size_t)n_keys, sizeof *g->placed);
  if (g->image.pixels) memset(g->image.pixels, 128, (size_t)pixels);
  return g->image.pixels && g->placed;
}

static void grid_free(Grid *g) { free(g->image.pixels), free(g->placed); }

static uint8_t grid_grey(const JobPicture *p, double v) {
  double x = (v - p->lo) / (p->hi - p->lo) * 255;
  return (uint8_t)(!(x > 0) ? 0 : x > 255 ? 255 : x + 0.5);
}

static void grid_draw(Grid *g, const JobEval *v, const uint8_t *work, int64_t row, int64_t line) {
  for (uint32_t i = 0; i < v->n_pictures; i++) {
    const JobPicture *p = &v->pictures[i];
    if (output_size(&p->out) < p->height * p->width) continue;
    int64_t left = GRID_GAP + i * g->cell_w, top = GRID_GAP + line * g->cell_h;
    for (int64_t y = 0; y < p->height * g->scale; y++)
      for (int64_t x = 0; x < p->width * g->scale; x++)
        g->image.pixels[(top + y) * g->image.width + left + x] =
            grid_grey(p, output_get(work, &p->out, row, y / g->scale * p->width + x / g->scale));
  }
}

static bool grid_finish(Run *r, Grid *g, const JobEval *v) {
  char *path = mem_printf("%s/%s.png", r->dir, v->name), first[32], last[32];
  bool ok = picture_write(path, &g->image, &r->error);
  if (ok && !r->o->json && r->o->quiet < 2) {
    printf("%s: columns", path);
    for (uint32_t i = 0; i < v->n_pictures; i++) printf("%s %s", i ? "," : "", v->pictures[i].name);
    if (v->key_name)
      printf("; rows %s %s to %s", v->key_name, table_key_name(v, 0, first, sizeof first),
             table_key_name(v, v->key_hi - v->key_lo, last, sizeof last));
    printf(v->picture_rows > 1 ? ", %lld of each\n" : "\n", (long long)v->picture_rows);
  } else if (ok && r->o->json) {
    json_print(json_pack("{s:s,s:s,s:s}", "event", "picture", "evaluation", v->name, "path", path));
  }
  free(path);
  return ok;
}

/* ---- running
 * ---------------------------------------------------------------------------------------------------------
 */
/* Adds one batch to the table. */
static bool batch_add(Run *r, EvalTable *t, const uint8_t *work, int64_t first, int64_t rows, Grid *grid) {
  const JobEval *v = t->eval;
  for (int64_t i = 0; i < rows; i++) {
    int64_t k = 0;
    if (v->key_name) {
      double key = output_get(work, &v->key, i, 0);
      if (!(key >= (double)v->key_lo && key <= (double)v->key_hi))
        return rt_fail_at(&r->error, &v->span, RT_E0732, v->name, v->key_name, (long long)key,
                          (long long)(first + i), (long long)v->key_lo, (long long)v->key_hi);
      k = (int64_t)key - v->key_lo;
    }
    t->counts[k]++;
    t->rows++;
    for (uint32_t m = 0; m < v->n_metrics; m++)
      t->sums[m * t->n_keys + k] += output_get(work, &v->metrics[m], i, 0);
    if (grid && grid->placed[k] < v->picture_rows)
      grid_draw(grid, v, work, i, k * v->picture_rows + grid->placed[k]++);
  }
  return true;
}

static bool eval_run(Run *r, uint32_t index, Grid *grid, bool *interrupted) {
  EvalTable *t = &r->tables[index];
  const JobEval *v = t->eval;
  const DataPart *part = data_part(&r->data, v->source, v->part);
  Slab *work = &r->eval_work[index];
  if (!work->bytes && !slab_alloc(work, v->fn.work_bytes, v->name, &r->error)) return false;
  if (v->batch < 1 || v->batch > v->fn.max_rows)
    fprintf(stderr, "runtime: batch %lld of %s\n", (long long)v->batch, v->name), abort();
  memset(t->counts, 0, (size_t)t->n_keys * sizeof *t->counts);
  memset(t->sums, 0, (size_t)t->n_keys * v->n_metrics * sizeof *t->sums);
  t->rows = 0, t->done = false;
  double *scratch = calloc(2 * (size_t)r->job->n_origins + 16, sizeof *scratch);
  if (!scratch) return rt_fail(&r->error, RT_E0719, 0LL, v->name);
  JobFrame f;
  frame_setup(r, &f, part, work->bytes);
  f.profile = profile_of(r, &v->fn);
  int64_t starts[2];
  f.order = t->order, f.starts = starts;
  f.losses = scratch, f.loss_sums = scratch + r->job->n_origins + 8, f.n_steps = 1;
  f.steps_per_epoch = (t->kept + v->batch - 1) / v->batch;
  bool ok = true;
  for (int64_t step = 0; ok && step < f.steps_per_epoch && !*interrupted; step++) {
    starts[0] = step * v->batch, starts[1] = starts[0] + v->batch < t->kept ? starts[0] + v->batch : t->kept;
    f.step = r->state.step;
    pool_run(r->pool, v->fn.entry, &f);
    ok = batch_add(r, t, work->bytes, starts[0], starts[1] - starts[0], grid);
    *interrupted = signals_seen() > 0;
  }
  free(scratch);
  t->done = ok && !*interrupted;
  return ok;
}

/* What a group is called: a class, a label, or a number. */
const char *table_key_name(const JobEval *v, int64_t k, char *number, size_t cap) {
  if (v->key_names) return v->key_names[k];
  snprintf(number, cap, "%lld", (long long)(v->key_lo + k));
  return number;
}

/* ---- printing
 * ---------------------------------------------------------------------------------------------------------
 */
static int key_width(const JobEval *v) {
  size_t width = 8;
  for (int64_t k = 0; v->key_names && k <= v->key_hi - v->key_lo; k++)
    if (strlen(v->key_names[k]) > width) width = strlen(v->key_names[k]);
  return (int)width;
}

static void table_print_row(const EvalTable *t, const char *name, int64_t n, const int64_t *key,
                            const int *width) {
  printf("  %*s %8lld", key_width(t->eval), name, (long long)n);
  for (uint32_t m = 0; m < t->eval->n_metrics; m++)
    printf("  %*.4g", width[m], table_mean(t, m, key, key ? 1 : 0));
  putchar('\n');
}

static void table_print(Run *r, const EvalTable *t) {
  const JobEval *v = t->eval;
  int *width = calloc(v->n_metrics + 1, sizeof *width);
  if (!width) return;
  progress_end(r);
  printf("%s", v->name);
  if (strcmp(r->job->sources[v->source].reader, "none") != 0)
    printf(" on %s.%s", r->job->sources[v->source].name, v->part);
  printf(", step %lld\n  %*s %8s", (long long)r->state.step, key_width(v), v->key_name ? v->key_name : "", "n");
  for (uint32_t m = 0; m < v->n_metrics; m++) {
    width[m] = (int)strlen(v->metrics[m].name) > 9 ? (int)strlen(v->metrics[m].name) : 9;
    printf("  %*s", width[m], v->metrics[m].name);
  }
  putchar('\n');
  for (int64_t k = 0; v->key_name && k < t->n_keys; k++) {
    int64_t key = v->key_lo + k;
    char name[32];
    if (!t->counts[k]) continue;
    table_print_row(t, table_key_name(v, k, name, sizeof name), t->counts[k], &key, width);
  }
  table_print_row(t, "all", t->rows, NULL, width);
  fflush(stdout);
  free(width);
}

static void table_show(Run *r, const EvalTable *t) {
  if (r->o->json) {
    json_t *o = metrics_table_json(t),
           *event = json_pack("{s:s,s:I}", "event", "evaluation", "step", (json_int_t)r->state.step);
    json_object_update(event, o);
    json_decref(o);
    json_print(event);
  } else if (r->o->quiet < 2) {
    table_print(r, t);
  }
  for (uint32_t m = 0; m < t->eval->n_metrics; m++)
    if (t->rows && !isfinite(table_mean(t, m, NULL, 0)))
      run_warn(r, RT_W0755, t->eval->name, t->eval->metrics[m].name);
}

bool eval_all(Run *r, bool show, bool pictures, bool *interrupted) {
  bool ok = true;
  for (uint32_t i = 0; ok && i < r->job->n_evals && !*interrupted; i++) {
    const JobEval *v = &r->job->evals[i];
    EvalTable *t = &r->tables[i];
    Grid grid;
    bool draw = pictures && v->n_pictures && v->picture_rows > 0 && r->dir;
    if (draw && !grid_begin(&grid, v, t->n_keys)) grid_free(&grid), draw = false;
    ok = eval_run(r, i, draw ? &grid : NULL, interrupted);
    if (ok && !*interrupted && show) table_show(r, t);
    if (ok && draw && !*interrupted) ok = grid_finish(r, &grid, v);
    if (draw) grid_free(&grid);
  }
  /* lines are written together: an evaluation that was interrupted half-way leaves none and is repeated as a
   * whole */
  for (uint32_t i = 0; ok && i < r->job->n_evals && !*interrupted; i++) ok = metrics_table(r, &r->tables[i]);
  return ok;
}

int rt_eval(Job *job, const RtOptions *o) {
  Run r;
  bool interrupted = false;
  const char *from = o->checkpoint ? o->checkpoint : o->init_weights;
  signals_catch();
  int code = RT_RUN_FAILED;
  bool ok = run_open(&r, job, o) && run_load(&r) &&
            (from ? checkpoint_load_params(&r, from) : (run_initial_values(&r), true));
  run_scalars(&r);
  ok = ok && run_calls(&r);
  if (ok && o->run_dir) r.dir = mem_printf("%s", o->run_dir); /* pictures only */
  if (ok && eval_all(&r, true, o->run_dir != NULL, &interrupted)) {
    if (interrupted) code = RT_INTERRUPTED;
    else if (expect_all(&r)) code = r.expects_failed ? RT_EXPECT_FAILED : RT_OK;
  }
  code = run_report(&r, code);
  run_close(&r);
  signals_release();
  return code;
}
