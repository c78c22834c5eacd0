// Exchanges within a warp.
#include "prim.cuh"

// sums[block] of the block's 128 numbers, by shuffles of both kinds.
KERNEL(128) sum_blocks(const float* x, float* sums) {
    __shared__ float of_warp[4];
    float sum = x[blockIdx.x * 128 + threadIdx.x];
    for (int other = 16; other; other /= 2) sum += __shfl_xor_sync(~0u, sum, other);
    if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = sum;
    __syncthreads();
    sum = threadIdx.x < 4 ? of_warp[threadIdx.x] : 0.0f;
    for (int lanes = 2; lanes; lanes /= 2) sum += __shfl_down_sync(~0u, sum, lanes);
    if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// Each lane's number from lane 5, from the one 3 below, and from the first of its group of 8; and votes.
KERNEL(32) exchange(const double* x, double* y, u32* votes) {
    u32 lane = threadIdx.x;
    y[lane] = __shfl_sync(~0u, x[lane], 5);
    y[32 + lane] = __shfl_up_sync(~0u, x[lane], 3);
    y[64 + lane] = __shfl_sync(~0u, x[lane], 0, 8);
    u32 odd = __ballot_sync(~0u, lane % 2 == 1);
    bool any = __any_sync(~0u, lane == 31), none = __any_sync(~0u, lane == 32);
    if (lane == 0) votes[0] = odd, votes[1] = any, votes[2] = none;
}
