// sums[t] = over all rows of x [rows, 128], of the number beside t's: a pipeline of asynchronous copies.
#include "prim.cuh"

constexpr int STAGES = 3;

KERNEL(128) sum_rows(const float* x, float* sums, int rows) {
    DYNAMIC_SHARED(shared);
    float* stages = (float*)shared;
    u32 thread = threadIdx.x;
    auto load = [&](int row) {
        // Zeros behind the last row.
        if (thread % 4 == 0)
            copy_async_16(stages + row % STAGES * 128 + thread, row < rows ? x + row * 128 + thread : x, row < rows);
        copy_async_commit();
    };
    for (int row = 0; row < STAGES - 1; row++) load(row);
    float sum = 0.0f;
    for (int row = 0; row < rows; row++) {
        copy_async_wait<STAGES - 2>();
        __syncthreads();
        load(row + STAGES - 1);
        sum += stages[row % STAGES * 128 + (thread + 64) % 128];
    }
    sums[thread] = sum;
}
