// Sums over the rows of an activation.
#include "channels.cuh"
#include "combine.cuh"

// Over the rows of each part: sums [parts, channels].
template <int N> DEVICE void sum_part(const element* x, float* sums, const Parts& parts) {
    constexpr int BATCH = 8;
    Share<N> share(parts);
    float totals[1][N] = {};
    FOR_EACH_BATCH(row, share, BATCH) {
        Packed<N> packed[BATCH];
        share.load_batch(packed, x, row);
        float few[N] = {};  // shorter sums are rounded less
#pragma unroll
        for (int i = 0; i < BATCH; i++) {
            float numbers[N];
            unpack(numbers, packed[i]);
#pragma unroll
            for (int c = 0; c < N; c++) few[c] += numbers[c];
        }
#pragma unroll
        for (int c = 0; c < N; c++) totals[0][c] += few[c];
    }
    sum_over_lines(totals, share, parts);
    if (share.has_results()) store_floats(sums + share.result_at(), totals[0]);
}

KERNEL(256) sum_parts(const element* x, float* sums, Parts parts) { sum_part<VECTOR>(x, sums, parts); }
KERNEL(256) sum_parts_any(const element* x, float* sums, Parts parts) { sum_part<1>(x, sums, parts); }

// Of the sums of all parts.
KERNEL(1024) combine_sums(const float* sums, float* total, u32 parts, u32 channels) {
    Sums<1> sum = sum_parts_of({sums}, parts, channels);
    if (has_merged_channel(channels) && threadIdx.x % 32 == 0) total[merged_channel()] = float(sum.of[0]);
}
