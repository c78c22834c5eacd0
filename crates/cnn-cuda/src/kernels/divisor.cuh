// Division of numbers below 2^31 by one that does not change.
#pragma once
#include "prim.cuh"

// As cnn-cuda/src/conv2d/divisor.rs makes it: magic = ceil(2^shift / value), shift = 31 + ceil(log2(value)). Granlund and
// Montgomery, "Division by invariant integers using multiplication", 1994.
struct Divisor {
    u32 value, magic, shift;

    DEVICE u32 quotient(u32 x) const { return u32(u64(x) * magic >> shift); }
};
