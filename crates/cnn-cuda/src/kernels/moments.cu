// Mean and variance of every channel.
//
// Never as the mean of squares minus the square of the mean, which would cancel: of a few rows in two passes while they are
// in registers, and these are merged by the formula of Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm
// for computing sample variances" (1979).
#include "channels.cuh"

// Mean and sum of squared deviations from it, of `count` numbers in each of N channels.
template <int N> struct Moments {
    float count = 0.0f;
    float mean[N] = {}, m2[N] = {};

    // The moments of these numbers and others together. Not both are none.
    DEVICE void merge(float other_count, const float (&other_mean)[N], const float (&other_m2)[N]) {
        float total = count + other_count;
        float share = other_count / total;
        float weight = count * share;
#pragma unroll
        for (int c = 0; c < N; c++) {
            float difference = other_mean[c] - mean[c];
            mean[c] += difference * share;
            m2[c] += other_m2[c] + difference * difference * weight;
        }
        count = total;
    }
};

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
        if (share.line < half && share.line + half < share.lines && counts[other] > 0.0f) {
            float mean[N], m2[N];
#pragma unroll
            for (int c = 0; c < N; c++) mean[c] = means[c][other], m2[c] = m2s[c][other];
            moments.merge(counts[other], mean, m2);
        }
        // No barrier here: the next givers were takers, and nobody reads their places again before the next barrier.
    }
}

// Of each part: means and m2s [parts, channels].
template <int N> DEVICE void moments_of_part(const element* x, float* means, float* m2s, const Parts& parts) {
    constexpr int BATCH = 8;
    Share<N> share(parts);
    Moments<N> moments;
    FOR_EACH_BATCH(row, share, BATCH) {
        Packed<N> packed[BATCH];
        share.load_batch(packed, x, row);
        float count = 0.0f, mean[N] = {}, m2[N] = {};
#pragma unroll
        for (int i = 0; i < BATCH; i++) {
            float numbers[N];
            unpack(numbers, packed[i]);
            count += share.has(row, i) ? 1.0f : 0.0f;
#pragma unroll
            for (int c = 0; c < N; c++) mean[c] += numbers[c];  // rows that are not there are 0
        }
#pragma unroll
        for (int c = 0; c < N; c++) mean[c] = count == BATCH ? mean[c] * (1.0f / BATCH) : mean[c] / count;
#pragma unroll
        for (int i = 0; i < BATCH; i++) {
            float numbers[N];
            unpack(numbers, packed[i]);
            float counts = share.has(row, i) ? 1.0f : 0.0f;
#pragma unroll
            for (int c = 0; c < N; c++) {
                float deviation = numbers[c] - mean[c];
                m2[c] += counts != 0.0f ? deviation * deviation : 0.0f;
            }
        }
        moments.merge(count, mean, m2);
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

// Of the moments of all parts, of `rows_per_part` rows each but the last, which has the rest:
//
//     mean = sum n_i mean_i / sum n_i,   M2 = sum M2_i + n_i (mean_i - mean)^2
//
// Without rows both are NaN.
KERNEL(1024) combine_moments(const float* means, const float* m2s, float* mean, float* variance, u64 rows,
                             u64 rows_per_part, u32 parts, u32 channels) {
    u32 c = combined_channel(channels);
    float whole = float(rows_per_part), last = float(rows - (parts - 1) * rows_per_part);
    // Relative to the first part's, so that the mean of equal means is the same number.
    float first = parts > 0 ? means[c] : 0.0f;
    double sum = sum_over_parts(parts, [&](u32 part) {
        float difference = means[u64(part) * channels + c] - first;
        return part + 1 < parts ? difference : difference * (last / whole);
    });
    float center = float(first + sum * double(rows_per_part) / double(rows));
    double squares = sum_over_parts(parts, [&](u32 part) {
        u64 at = u64(part) * channels + c;
        float difference = means[at] - center;
        return m2s[at] + (part + 1 < parts ? whole : last) * difference * difference;
    });
    if (combines(channels)) {
        mean[c] = center;
        variance[c] = float(squares / double(rows));
    }
}
