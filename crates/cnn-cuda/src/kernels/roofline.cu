// What the GPU does at most: nothing but multiply-adds, and nothing but memory.
#include "grid.cuh"

// Multiply-adds of a warp in one turn of the loop below; cnn-cuda/src/roofline.rs knows how many.
#if ELEMENT_BF16 || TF32
// Eight independent products on tensor cores: [16, 16] by [16, 8] of bf16, or [16, 8] by [8, 8] of tf32.
KERNEL(256) multiply_adds(float* sums, u32 start, i32 turns) {
    float d[8][4];
    u32 a[4] = {start, start, start, start}, b[2] = {start, start};
#pragma unroll
    for (int i = 0; i < 8; i++)
#pragma unroll
        for (int e = 0; e < 4; e++) d[i][e] = 0.0f;
#pragma unroll 1
    for (i32 turn = 0; turn < turns; turn++) {
#pragma unroll
        for (int i = 0; i < 8; i++) {
#if TF32
            mma_tf32(d[i], a, b);
#else
            mma_bf16(d[i], a, b);
#endif
        }
    }
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < 8; i++)
#pragma unroll
        for (int e = 0; e < 4; e++) sum += d[i][e];
    sums[u64(blockIdx.x) * blockDim.x + threadIdx.x] = sum;
}
#else
// 64 independent chains of each lane.
KERNEL(256) multiply_adds(float* sums, u32 start, i32 turns) {
    float x = __uint_as_float(start), d[64];
#pragma unroll
    for (int i = 0; i < 64; i++) d[i] = float(i);
#pragma unroll 1
    for (i32 turn = 0; turn < turns; turn++) {
#pragma unroll
        for (int i = 0; i < 64; i++) d[i] = fmaf(d[i], x, x);
    }
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < 64; i++) sum += d[i];
    sums[u64(blockIdx.x) * blockDim.x + threadIdx.x] = sum;
}
#endif

// a = b + 3 c, by chunks of four.
KERNEL(256) triad(float4* a, const float4* b, const float4* c, u64 count) {
    FOR_EACH_ELEMENT(i, count) {
        float4 x = b[i], y = c[i];
        a[i] = make_float4(x.x + 3.0f * y.x, x.y + 3.0f * y.y, x.z + 3.0f * y.z, x.w + 3.0f * y.w);
    }
}
