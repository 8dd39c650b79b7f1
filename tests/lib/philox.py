# SPDX-License-Identifier: Apache-2.0
"""Philox4x32-10 and the shuffle of runtime/data.c, written a second time: tests and the PyTorch twin need the same
held-out data and the same order of data as routec."""

_MASK = 0xffffffff


def philox(counter, key):
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = ((p1 >> 32) ^ c1 ^ k0) & _MASK, p1 & _MASK, ((p0 >> 32) ^ c3 ^ k1) & _MASK, p0 & _MASK
        k0, k1 = (k0 + 0x9E3779B9) & _MASK, (k1 + 0xBB67AE85) & _MASK
    return c0, c1, c2, c3


def shuffle(n, seed, epoch):
    """The order of n data: Fisher-Yates, one draw a place."""
    order, key = list(range(n)), (seed & _MASK, seed >> 32)
    for i in range(n - 1, 0, -1):
        w = philox((i, epoch & _MASK, epoch >> 32, 0x53485546), key)
        j = (w[0] * (i + 1) + (w[1] * (i + 1) >> 32)) >> 32
        order[i], order[j] = order[j], order[i]
    return order


def holdout_order(n, seed=1234):
    """A reader's `holdout = k` makes the last k of this order its part `test`."""
    return shuffle(n, seed, (1 << 64) - 1)
