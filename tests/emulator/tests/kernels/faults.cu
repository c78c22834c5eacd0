// Kernels that a GPU does not forgive, or that it forgives today.
#include "prim.cuh"

KERNEL(128) conditional_barrier(float* x) {
    if (threadIdx.x < 64) __syncthreads();
    x[threadIdx.x] = 1.0f;
}
KERNEL(128) two_barriers(float* x) {
    if (threadIdx.x < 64) {
        __syncthreads();
    } else {
        __syncthreads();
    }
    x[threadIdx.x] = 1.0f;
}
KERNEL(128) early_return(float* x) {
    if (threadIdx.x == 100) return;
    __syncthreads();
    x[threadIdx.x] = 1.0f;
}
KERNEL(64) deadlock(float* x) {
    if (threadIdx.x % 32 < 16) __syncthreads();
    x[threadIdx.x] = __shfl_xor_sync(~0u, x[threadIdx.x], 1);
}
KERNEL(32) divergent_shuffle(float* x) {
    if (threadIdx.x < 16)
        x[threadIdx.x] = __shfl_xor_sync(~0u, 1.0f, 1);
    else
        x[threadIdx.x] = __shfl_down_sync(~0u, 1.0f, 1);
}
KERNEL(32) partial_mask(float* x) {
    if (threadIdx.x < 16) x[threadIdx.x] = __shfl_xor_sync(0xffffu, 1.0f, 1);
}
KERNEL(32) read_behind(float* x, int count) { x[threadIdx.x] = x[threadIdx.x + count]; }
KERNEL(32) write_behind(float* x, int count) { x[threadIdx.x + count] = 1.0f; }
KERNEL(32) write_before(float* x, int count) { x[(int)threadIdx.x - 32] = count; }
KERNEL(32) null_pointer(float* x) {
    float* nowhere = 0;
    x[threadIdx.x] = nowhere[threadIdx.x];
}
KERNEL(32) misaligned_vector(float* x) { *(float4*)(x + 1 + 4 * threadIdx.x) = make_float4(0.0f, 0.0f, 0.0f, 0.0f); }
KERNEL(32) misaligned_pair(float* x) { *(float2*)(x + 1 + 2 * threadIdx.x) = make_float2(0.0f, 0.0f); }
KERNEL(32) misaligned_copy(float* x) {
    DYNAMIC_SHARED(shared);
    copy_async_16(shared + 16 * threadIdx.x, x + 1, true);
}
KERNEL(32) copy_to_global(float* x) { copy_async_16(x, x, true); }
KERNEL(32) misaligned_ldmatrix(float* x) {
    DYNAMIC_SHARED(shared);
    u32 r[4];
    ldmatrix_x4(r, shared + 8 * threadIdx.x);
    x[threadIdx.x] = r[0];
}
KERNEL(32) shared_overflow(float* x) {
    DYNAMIC_SHARED(shared);
    ((float*)shared)[threadIdx.x] = 1.0f;
    x[threadIdx.x] = 1.0f;
}
KERNEL(32) deep_stack(float* x) {
    volatile float large[100000];
    for (int i = 0; i < 100000; i++) large[i] = x[0];
    x[threadIdx.x] = large[7];
}
KERNEL(32) trap(float* x) {
    if (threadIdx.x == 3) __trap();
}
