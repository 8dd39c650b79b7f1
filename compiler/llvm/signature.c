/* SPDX-License-Identifier: Apache-2.0
 * signature.c -- which steps are one kernel. The text names all that the emission of a step looks at, with
 * values and memory numbered in order of first visit; steps with equal texts get the same function and differ
 * in its arguments only. The walk must visit what the emission visits. */
#include "kernel.h"
#include <string.h>
#include <xxhash.h>

typedef struct Sig {
  Kernel *k;
  char *text;
  size_t n, cap;
  uint32_t *number;
  ValueId *numbered;
  uint32_t n_numbered;
} Sig;

static void put(Sig *s, const void *bytes, size_t n) {
  if (s->n + n > s->cap) {
    size_t cap = 2 * (s->n + n) + 256;
    char *grown = arena_alloc(s->k->e->arena, cap);
    memcpy(grown, s->text ? s->text : "", s->n);
    s->text = grown, s->cap = cap;
  }
  memcpy(s->text + s->n, bytes, n);
  s->n += n;
}
/* Decimal numbers, so that the text holds no NUL. */
static void put_int(Sig *s, char tag, int64_t v) {
  char text[32];
  char *p = text + sizeof text;
  uint64_t u = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
  do *--p = (char)('0' + u % 10), u /= 10;
  while (u);
  if (v < 0) *--p = '-';
  *--p = tag;
  put(s, p, (size_t)(text + sizeof text - p));
}
static void put_ints(Sig *s, char tag, const int64_t *v, int64_t n) {
  put_int(s, tag, n);
  for (int64_t i = 0; i < n; i++) put_int(s, ',', v[i]);
}
static void put_bits(Sig *s, const void *data, size_t n) {
  XXH128_hash_t h = XXH3_128bits(data, n);
  put_int(s, 'h', (int64_t)h.low64);
  put_int(s, 'h', (int64_t)h.high64);
}

static void give_number(Sig *s, ValueId id) {
  s->numbered[s->n_numbered++] = id;
  s->number[id] = s->n_numbered;
}

/* ---- leaves
 * ---------------------------------------------------------------------------------------------------- */

static bool same_memory(const Leaf *a, const Leaf *b) {
  if (a->kind != b->kind || a->space != b->space) return false;
  switch (a->kind) {
  case LEAF_STREAM: return a->value == b->value;
  case LEAF_SCRATCH: return true;
  case LEAF_OPERAND:
  case LEAF_COUNT: return a->index == b->index;
  case LEAF_BUFFER: break;
  }
  switch (a->space) {
  case SPACE_WORK:
  case SPACE_OWN:
  case SPACE_STORE: return a->offset == b->offset;
  case SPACE_CONST: return a->value == b->value;
  default: return a->index == b->index;
  }
}

static uint32_t add_leaf(Sig *s, const Leaf *leaf) {
  Kernel *k = s->k;
  for (uint32_t i = 0; i < k->n_leaves; i++)
    if (same_memory(&k->leaves[i], leaf)) {
      k->leaves[i].written |= leaf->written;
      if (leaf->bytes > k->leaves[i].bytes) k->leaves[i].bytes = leaf->bytes;
      return i;
    }
  if (k->n_leaves == k->cap_leaves) {
    uint32_t cap = k->cap_leaves ? 2 * k->cap_leaves : 16;
    Leaf *grown = ARENA_NEWS(k->e->arena, Leaf, cap);
    if (k->n_leaves) memcpy(grown, k->leaves, k->n_leaves * sizeof *grown);
    k->leaves = grown, k->cap_leaves = cap;
  }
  k->leaves[k->n_leaves] = *leaf;
  return k->n_leaves++;
}

/* ---- extents ------------------------------------------------------------------------------------------- */

static bool is_packed(const Sig *s, int64_t set) { return s->k->pf->packed >> set & 1; }
/* A kernel serves any packed row set: their counts are arguments, numbered in order of first visit. */
static void put_set(Sig *s, int64_t set) {
  if (is_packed(s, set)) {
    put_int(s, 'q', add_leaf(s, &(Leaf){.kind = LEAF_COUNT, .index = (uint32_t)set}));
    return;
  }
  put_int(s, 'r', set);
  s->k->row_sets |= (uint64_t)1 << set;
}
static void put_shape(Sig *s, const Shape *x) {
  put_int(s, 's', x->rank);
  for (int32_t i = 0; i < x->rank; i++)
    if (dim_is_rows(x->d[i])) put_set(s, dim_set(x->d[i]));
    else put_int(s, ',', x->d[i]);
}
static void put_extent(Sig *s, Extent e) {
  put_int(s, 'e', e.n);
  if (e.rows) put_set(s, e.rows - 1);
}

static int64_t extent_bytes(const PlanFn *f, Dtype t, const Shape *s, const int64_t *strides) {
  int64_t n = 1;
  for (int32_t i = 0; i < s->rank; i++) n += (plan_max_extent(f, s->d[i]) - 1) * strides[i];
  return n * (int64_t)dtype_size(t);
}

static Leaf buffer_leaf(const PlanFn *f, BufferId id, bool written) {
  const Buffer *b = &f->buffers[id];
  return (Leaf){.kind = LEAF_BUFFER,
                .space = b->space,
                .offset = b->offset,
                .index = b->index,
                .value = b->value,
                .buffer = id,
                .written = written,
                .bytes = extent_bytes(f, b->dtype, &b->shape, b->strides)};
}

static void put_buffer(Sig *s, BufferId id, bool written) {
  const PlanFn *f = s->k->pf;
  const Buffer *b = &f->buffers[id];
  Leaf leaf = buffer_leaf(f, id, written);
  put_int(s, 'L', add_leaf(s, &leaf));
  put_int(s, 't', b->dtype);
  put_int(s, 'p', b->space);
  put_shape(s, &b->shape);
  put_ints(s, 'z', b->strides, b->shape.rank);
}

static void put_operand(Sig *s, const View *v, uint32_t which) {
  const PlanFn *f = s->k->pf;
  Leaf leaf = buffer_leaf(f, v->buffer, false);
  leaf.kind = LEAF_OPERAND, leaf.index = which;
  leaf.offset += v->start * (int64_t)dtype_size(f->buffers[v->buffer].dtype);
  leaf.bytes = extent_bytes(f, DT_F32, &v->shape, v->strides);
  leaf.set = v->set, leaf.row_bytes = v->set_stride * (int64_t)dtype_size(DT_F32);
  put_int(s, 'O', add_leaf(s, &leaf));
}

/* ---- values
 * ---------------------------------------------------------------------------------------------------- */

static void put_value(Sig *s, ValueId id);

static void put_constant(Sig *s, const Value *v) {
  if (v->data) put_bits(s, v->data, (size_t)shape_count(&v->shape, 1) * sizeof *v->data);
  else put_bits(s, &v->num, sizeof v->num);
}

static void put_fresh(Sig *s, ValueId id) {
  Kernel *k = s->k;
  const Value *v = &k->g->v[id];
  put_int(s, 'v', v->op);
  put_int(s, 't', v->dtype);
  put_shape(s, &v->shape);
  if (value_is_leaf(k, id)) {
    put_buffer(s, k->pf->buffer_of[id], false);
    return;
  }
  bool identity = v->op == OP_TAP || v->op == OP_ADJTAP || v->op == OP_RANDOM;
  if (!identity) put_ints(s, 'i', v->ints, v->n_ints);
  if (v->op == OP_RANDOM) add_leaf(s, &(Leaf){.kind = LEAF_STREAM, .value = id});
  if (v->op == OP_CONST) put_constant(s, v);
  for (uint32_t i = 0; i < v->n_args; i++) put_value(s, v->args[i]);
}

static void put_value(Sig *s, ValueId id) {
  if (s->number[id]) {
    put_int(s, '#', s->number[id]);
    return;
  }
  put_fresh(s, id);
  give_number(s, id);
}

/* ---- steps
 * ------------------------------------------------------------------------------------------------------ */

static void put_gemm(Sig *s) {
  const Step *t = s->k->step;
  const GemmGeom *g = &t->geom;
  const Value *dot = &s->k->g->v[t->dot];
  put_extent(s, g->m), put_extent(s, g->n), put_extent(s, g->k);
  put_int(s, 'b', g->n_batch);
  for (uint32_t i = 0; i < g->n_batch; i++) put_extent(s, g->batch[i]);
  put_ints(s, 'a', g->a_batch, g->n_batch), put_ints(s, 'b', g->b_batch, g->n_batch),
      put_ints(s, 'c', g->c_batch, g->n_batch);
  put_ints(s, 'g', (int64_t[]){g->am, g->ak, g->bk, g->bn, g->cm}, 5);
  const GemmTile *x = &t->tile;
  put_ints(
      s, 'T',
      (int64_t[]){x->mr, x->nv, x->kc, x->mc, x->nc, x->pack_a, x->pack_b, x->pad_b, x->split, t->impl, t->swapped, x->whole,
                  x->grain, x->flip},
      14);
  put_ints(s, 'd', dot->ints, dot->n_ints);
  put_shape(s, &dot->shape);
  put_int(s, 'k', s->k->g->v[dot->args[0]].shape.rank);
  put_operand(s, &t->a, 0);
  put_operand(s, &t->b, 1);
  give_number(s, t->dot);
}

static void put_step(Sig *s, int64_t scratch_offset) {
  Kernel *k = s->k;
  const Step *t = k->step;
  put_int(s, 'S', t->kind);
  put_shape(s, &t->space);
  for (int32_t i = 0; i < t->space.rank; i++) put_int(s, 'o', t->order[i]);
  put_int(s, 'R', t->reduced);
  if (t->n_calls) put_ints(s, 'X', (int64_t[]){t->tile_position, t->tile_chunk}, 2);
  if (t->kind == STEP_GEMM) put_gemm(s);
  for (uint32_t i = 0; i < t->n_outs; i++) {
    const Value *v = &k->g->v[t->outs[i].value];
    if (v->op == OP_ROWLIST) add_leaf(s, &(Leaf){.kind = LEAF_COUNT, .index = (uint32_t)v->ints[0], .written = true});
    const bool own = t->kind == STEP_SCATTER || t->kind == STEP_REDUCE || t->kind == STEP_PACK;
    if (own) { /* the output's own op, then its arguments */
      put_int(s, 'v', v->op);
      if (v->op != OP_ROWLIST) put_ints(s, 'i', v->ints, v->n_ints);
      put_shape(s, &v->shape);
      for (uint32_t a = 0; a < v->n_args; a++) put_value(s, v->args[a]);
    } else {
      put_value(s, t->outs[i].value);
    }
    put_buffer(s, t->outs[i].buffer, true);
  }
  /* How threads share and how reductions are cut depends on the batch planned for: an evaluation's need not be that of training. */
  const Share share = plan_step_share(k->pf, t);
  put_ints(s, 'Q', (int64_t[]){share.axis, share.grain}, 2);
  if (t->kind == STEP_REDUCE) {
    Split p = plan_reduce_split(k->pf, t);
    put_ints(s, 'P', (int64_t[]){p.chunk, p.n_chunks, p.kept, p.axis}, 4);
    if (p.n_chunks)
      add_leaf(s, &(Leaf){.kind = LEAF_SCRATCH,
                          .offset = scratch_offset,
                          .written = true,
                          .shared = true,
                          .aligned = true});
  }
}

static bool overlaps(const Leaf *a, const Leaf *b) {
  bool memory = (a->kind == LEAF_BUFFER || a->kind == LEAF_OPERAND) &&
                (b->kind == LEAF_BUFFER || b->kind == LEAF_OPERAND);
  if (!memory || a->space != b->space || a->space > SPACE_STORE) return false;
  return a->offset < b->offset + b->bytes && b->offset < a->offset + a->bytes;
}

static void put_leaves(Sig *s) {
  Kernel *k = s->k;
  for (uint32_t i = 0; i < k->n_leaves; i++) {
    Leaf *a = &k->leaves[i];
    bool placed = a->kind == LEAF_BUFFER || a->kind == LEAF_OPERAND;
    if (placed)
      a->aligned = a->space == SPACE_CONST ||
                   (a->space <= SPACE_STORE && a->offset % 64 == 0 && a->row_bytes % 64 == 0);
    for (uint32_t j = 0; j < k->n_leaves; j++)
      if (i != j && (a->written || k->leaves[j].written) && overlaps(a, &k->leaves[j])) a->shared = true;
  }
  /* By threads: a matrix from the BLAS is read behind a barrier inside the kernel. */
  bool blas = k->step->kind == STEP_GEMM && k->step->impl == GEMM_BLAS;
  for (uint32_t i = 0; i < k->n_leaves; i++) {
    Leaf *a = &k->leaves[i];
    if (blas) a->shared = true;
    put_ints(s, 'l', (int64_t[]){a->kind, a->written, a->shared, a->aligned}, 4);
  }
}

const char *signature_of_step(Kernel *k, int64_t scratch_offset) {
  Sig s = {.k = k, .number = k->be->number, .numbered = k->be->numbered};
  put_step(&s, scratch_offset);
  put_leaves(&s);
  put(&s, "", 1);
  for (uint32_t i = 0; i < s.n_numbered; i++) s.number[s.numbered[i]] = 0;
  return s.text;
}
