// One product of tensor cores each: d [16, 8] = a [16, k] b [k, 8].
#include "prim.cuh"

__device__ void store(float* d, const float (&sums)[4]) {
    u32 row = threadIdx.x / 4, column = threadIdx.x % 4 * 2;
    for (int i = 0; i < 4; i++) d[(row + i / 2 * 8) * 8 + column + i % 2] = sums[i];
}

// k = 16; b is [k, 8] in memory and comes to its fragments transposed. Rows of shared memory have 24 elements for a.
KERNEL(32) product_bf16(const bf16* a, const bf16* b, float* d) {
    __shared__ __align__(16) bf16 tile_a[16][24], tile_b[16][8];
    u32 lane = threadIdx.x;
    for (u32 i = lane; i < 256; i += 32) tile_a[i / 16][i % 16] = a[i];
    for (u32 i = lane; i < 128; i += 32) tile_b[i / 8][i % 8] = b[i];
    __syncwarp();
    u32 left[4], right[4];
    float sums[4] = {};
    ldmatrix_x4(left, &tile_a[lane % 16][lane / 16 * 8]);
    ldmatrix_x4_trans(right, tile_b[lane % 16]);
    const u32 used[2] = {right[0], right[1]};
    mma_bf16(sums, left, used);
    store(d, sums);
}

// k = 8.
KERNEL(32) product_tf32(const float* a, const float* b, float* d) {
    u32 group = threadIdx.x / 4, column = threadIdx.x % 4;
    u32 left[4], right[2];
    float sums[4] = {};
    for (int i = 0; i < 4; i++) left[i] = to_tf32(a[(group + i % 2 * 8) * 8 + column + i / 2 * 4]);
    for (int i = 0; i < 2; i++) right[i] = to_tf32(b[(column + i * 4) * 8 + group]);
    mma_tf32(sums, left, right);
    store(d, sums);
}
