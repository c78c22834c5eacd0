// Sums that were cut into parts.
#include "epilogue.cuh"
#include "grid.cuh"

// sums [count] of the parts [splits, count], N of them a thread. The threads of a block are so many `slices`, a power of two, of
// such as lie side by side; slice s adds up every part s, s + slices and so on, and then slices are added by halves.
template <int N> DEVICE void add_parts(const float* parts, float* sums, u32 splits, u64 count, u32 slices) {
    constexpr int FEW = 4;  // parts that are read at once
    __shared__ float room[N][256];
    u32 across = 256 / slices, slice = threadIdx.x / across;
    u64 at = (u64(blockIdx.x) * across + threadIdx.x % across) * N;
    float sum[N] = {};
    if (at < count) {
        for (u32 part = slice; part < splits; part += FEW * slices) {
            Packed<N, float> few[FEW];
#pragma unroll
            for (int i = 0; i < FEW; i++) {
                u32 here = part + i * slices;
                few[i] = here < splits ? load<N>(parts + here * count + at) : Packed<N, float>{};
            }
#pragma unroll
            for (int i = 0; i < FEW; i++) {
                float numbers[N];
                unpack(numbers, few[i]);
#pragma unroll
                for (int n = 0; n < N; n++) sum[n] += numbers[n];
            }
        }
    }
    for (u32 half = slices / 2; half > 0; half /= 2) {
        for (int n = 0; n < N; n++) {
            if (slice >= half && slice < 2 * half) room[n][threadIdx.x] = sum[n];
        }
        __syncthreads();
        for (int n = 0; n < N; n++) {
            if (slice < half) sum[n] += room[n][threadIdx.x + half * across];
        }
        // No barrier here: the next givers were takers, and nobody reads their places again before the next barrier.
    }
    if (slice == 0 && at < count) store_floats(sums + at, sum);
}

KERNEL(256) add_splits(const float* parts, float* sums, u32 splits, u64 count, u32 slices) {
    add_parts<4>(parts, sums, splits, count, slices);
}
// The same for counts that are no multiple of four.
KERNEL(256) add_splits_any(const float* parts, float* sums, u32 splits, u64 count, u32 slices) {
    add_parts<1>(parts, sums, splits, count, slices);
}

// y [count] of such sums and what follows them, `channels` in a row.
KERNEL(256) finish_splits(const float* parts, i32 splits, u64 count, Epilogue epilogue, i32 channels, element* y) {
    FOR_EACH_ELEMENT(i, count) {
        float sum = parts[i];
        for (i32 part = 1; part < splits; part++) sum += parts[part * count + i];
        if (epilogue.bias) sum += epilogue.bias[i % channels];
        if (epilogue.residual) sum += to_f32(epilogue.residual[i]);
        y[i] = from_f32<element>(activate(epilogue.activation, sum));
    }
}
