// Mean and squared deviations of every channel, of parts of the rows: of a few rows in two passes while they are in registers, then
// merged.
#include "channels.cuh"
#include "moments.cuh"

// Merges the moments of a block's lines, in a fixed order; line 0 has the result.
template <int N> DEVICE void merge_lines(Moments<N>& moments, const Share<N>& share, const Parts& parts) {
    __shared__ float counts[THREADS], means[N][THREADS], m2s[N][THREADS];
    for (u32 half = first_half(share.lines); half > 0; half /= 2) {
        if (share.line >= half && share.line < min(2 * half, share.lines)) {
            counts[threadIdx.x] = moments.count;
#pragma unroll
            for (int c = 0; c < N; c++) means[c][threadIdx.x] = moments.mean[c], m2s[c][threadIdx.x] = moments.m2[c];
        }
        __syncthreads();
        u32 other = threadIdx.x + half * parts.columns;
        if (share.line < half && share.line + half < share.lines) {
            Moments<N> others;
            others.count = counts[other];
#pragma unroll
            for (int c = 0; c < N; c++) others.mean[c] = means[c][other], others.m2[c] = m2s[c][other];
            moments.merge(others);
        }
        // No barrier here: the next givers were takers, and nobody reads their places again before the next barrier.
    }
}

// Of each part: means and m2s [parts, channels].
template <int N> DEVICE void moments_of_part(const element* x, float* means, float* m2s, const Parts& parts) {
    constexpr int BATCH = 8;
    Share<N> share(parts);
    Moments<N> moments = {};
    FOR_EACH_BATCH(row, share, BATCH) {
        Packed<N> packed[BATCH];
        share.load_batch(packed, x, row);
        Moments<N> few = {};
#pragma unroll
        for (int i = 0; i < BATCH; i++) {
            float numbers[N];
            unpack(numbers, packed[i]);
            few.count += share.has(row, i) ? 1.0f : 0.0f;
#pragma unroll
            for (int c = 0; c < N; c++) few.mean[c] += numbers[c];  // rows that are not there are 0
        }
#pragma unroll
        for (int c = 0; c < N; c++) few.mean[c] = few.count == BATCH ? few.mean[c] * (1.0f / BATCH) : few.mean[c] / few.count;
#pragma unroll
        for (int i = 0; i < BATCH; i++) {
            float numbers[N];
            unpack(numbers, packed[i]);
            float counts = share.has(row, i) ? 1.0f : 0.0f;
#pragma unroll
            for (int c = 0; c < N; c++) {
                float deviation = numbers[c] - few.mean[c];
                few.m2[c] += counts != 0.0f ? deviation * deviation : 0.0f;
            }
        }
        moments.merge(few);
    }
    merge_lines(moments, share, parts);
    if (share.has_results()) {
        store_floats(means + share.result_at(), moments.mean);
        store_floats(m2s + share.result_at(), moments.m2);
    }
}

KERNEL(256) moments_of_parts(const element* x, float* means, float* m2s, Parts parts) {
    moments_of_part<VECTOR>(x, means, m2s, parts);
}
KERNEL(256) moments_of_parts_any(const element* x, float* means, float* m2s, Parts parts) {
    moments_of_part<1>(x, means, m2s, parts);
}
