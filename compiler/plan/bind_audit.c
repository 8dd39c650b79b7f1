/* SPDX-License-Identifier: Apache-2.0
 * bind_audit.c -- the proof as constant data: what an audit holds the run against. */
#include "compiler.h"
#include "plan.h"
#include <math.h>
#include <string.h>

/* Clip scales and denominators count: the audit compares bits, and these carry them. */
static JobAtoms job_atoms(const ProofParam *q) {
  JobAtoms a = {.n_cells = q->n_cells, .reach = q->reach_strictly};
  memcpy(a.n_labels, q->n_labels, sizeof a.n_labels);
  memcpy(a.label, q->label, sizeof a.label);
  return a;
}

/* The job's regions are the program's; where there are none, one of all parameters. */
static JobProved proved_of(const Proof *f, uint32_t region, uint64_t kinds) {
  const Program *p = f->program;
  ProofHull h = {INFINITY, -INFINITY};
  if (p->n_regions) h = proof_region(f, region, kinds, ~(OriginSet)0, true);
  for (uint32_t i = 0; !p->n_regions && i < p->n_params; i++) {
    const RegionPiece all = {.param = i, .axis = -1};
    const ProofHull one = proof_piece(f, &all, kinds, ~(OriginSet)0, true);
    if (proof_is_none(one)) continue;
    h = (ProofHull){fmin(h.lo, one.lo), fmax(h.hi, one.hi)};
  }
  return (JobProved){h.lo, h.hi};
}

void plan_bind_audit(Arena *a, Job *j, const Proof *f) {
  const Program *p = f->program;
  j->audit = (JobAudit){.unproved = f->failure};
  if (f->failure) return;
  JobAtoms *atoms = ARENA_NEWS(a, JobAtoms, p->n_params);
  for (uint32_t i = 0; i < p->n_params; i++) atoms[i] = job_atoms(&f->params[i]);
  j->audit.atoms = atoms;
  JobProved *proved = ARENA_NEWS(a, JobProved, j->n_data_classes * j->n_regions);
  for (uint32_t c = 0; c < j->n_data_classes; c++)
    for (uint32_t k = 0; k < j->n_regions; k++)
      proved[c * j->n_regions + k] = proved_of(f, k, j->data_classes[c].kinds);
  j->audit.proved = proved;
}
