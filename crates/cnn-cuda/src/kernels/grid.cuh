// Loops and sums over the threads of a grid, a block or a warp.
#pragma once
#include "prim.cuh"

// `i` of every element below `count` that is this thread's, for a row of blocks.
#define FOR_EACH_ELEMENT(i, count) \
    for (u64 i = u64(blockIdx.x) * blockDim.x + threadIdx.x; i < (count); i += u64(gridDim.x) * blockDim.x)

// The same by vectors: `at` of the first of each N elements, of which the last vector may have fewer than N below `count`.
#define FOR_EACH_VECTOR(N, at, count) \
    for (u64 at = (u64(blockIdx.x) * blockDim.x + threadIdx.x) * (N); at < (count); at += u64(gridDim.x) * blockDim.x * (N))

// The sum over the lanes of a warp, the same in each.
template <class T> DEVICE T warp_sum(T x) {
    for (int other = 16; other > 0; other /= 2) x += __shfl_xor_sync(~0u, x, other);
    return x;
}

// The sum over the threads of a block, in a fixed order, the same in each. `room` is shared, of a number for each warp.
template <class T> DEVICE T block_sum(T x, T* room) {
    x = warp_sum(x);
    int warps = blockDim.x / 32;
    __syncthreads();  // what the room was used for before is over
    if (threadIdx.x % 32 == 0) room[threadIdx.x / 32] = x;
    __syncthreads();
    T sum = T(0);
    for (int warp = 0; warp < warps; warp++) sum += room[warp];
    return sum;
}
