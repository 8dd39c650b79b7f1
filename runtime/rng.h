/* SPDX-License-Identifier: Apache-2.0
 * rng.h -- Philox4x32-10 (Salmon et al. 2011), counter-based: a draw is a pure function of its coordinates,
 * so it depends neither on threads nor on resuming. Emitted code (compiler/llvm/math.c), the interpreter
 * (compiler/ir/eval.c) and the runtime use the same keying:
 *   key     = { low, high } words of the seed
 *   counter = { index within the datum, datum number, low word of the step, low word of the stream }
 *   uniform = (first output word >> 8) * 2^-24                                                          */
#ifndef ROUTEC_RNG_H
#define ROUTEC_RNG_H
#include <stdint.h>

static inline void rng_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
  uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3], k0 = key[0], k1 = key[1];
  for (int round = 0; round < 10; round++) {
    uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
    uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
    c1 = (uint32_t)p1, c3 = (uint32_t)p0, c0 = n0, c2 = n2;
    k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
  }
  out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

/* Uniform in [0,1) with 24 bits. */
static inline float rng_uniform(uint64_t seed, uint64_t stream, uint64_t step, uint32_t datum, uint32_t index) {
  const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
  const uint32_t counter[4] = {index, datum, (uint32_t)step, (uint32_t)stream};
  uint32_t out[4];
  rng_philox(counter, key, out);
  return (float)(out[0] >> 8) * 0x1p-24f;
}
#endif
