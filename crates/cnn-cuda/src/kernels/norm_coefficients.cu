// Batch normalisation as a scale and a shift for each channel: by a batch's own statistics, or by running ones.
#include "combine.cuh"
#include "moments.cuh"

// A scale and the shift that belongs to it.
struct Folded {
    float scale, shift;
    double error;  // of the shift, by rounding
};

// The `order`th scale that is tried, from the given one outwards, with its shift.
DEVICE Folded candidate(float scale, double mean, double beta, u32 order) {
    constexpr double EPSILON = 1.0 / (1 << 23);
    double step = order % 2 ? double((order + 1) / 2) : -double(order / 2);
    float near = float(double(scale) * (1.0 + step * EPSILON));
    double exact = beta - mean * double(near);
    float shift = float(exact);
    return Folded{near, shift, fabs(double(shift) - exact)};
}

// `scale` and `shift`, or what serves better where the mean is so many deviations from 0 that the rounding of
// `beta - mean * scale` would be seen in the output. The same in each lane of the warp, which tries candidates together.
//
// A channel of constants far from 0 (all 1e4) is normalised by factors of some hundred, and a shift of some million is
// rounded to quarters. Scales near the given one have shifts that are rounded otherwise; this is the one whose shift is
// rounded least, of as many as change the output no more by their scale than they save in the shift.
DEVICE Folded balanced(float scale, float shift, double mean, double beta) {
    constexpr double SEEN = 1e-3 * (1 << 23);  // up to here the rounding is below a thousandth of a deviation
    constexpr double TRIES = 4096.0;           // scales on each side at most
    double product = fabs(mean * double(scale));
    if (!isfinite(product) || product <= SEEN) return Folded{scale, shift, 0.0};
    u32 last = 2 * u32(fmin(sqrt(product / 3.0), TRIES));
    u32 best = threadIdx.x % 32;  // SEEN is large enough for more candidates than lanes
    double error = candidate(scale, mean, beta, best).error;
    for (u32 order = best + 32; order <= last; order += 32) {
        double other = candidate(scale, mean, beta, order).error;
        if (other < error) error = other, best = order;
    }
    // Of equally good ones the nearest.
    for (int lanes = 16; lanes > 0; lanes /= 2) {
        double other = __shfl_xor_sync(~0u, error, lanes);
        u32 order = __shfl_xor_sync(~0u, best, lanes);
        if (other < error || (other == error && order < best)) error = other, best = order;
    }
    return candidate(scale, mean, beta, best);
}

// The coefficients of a normalisation by these statistics, written by a warp for channel `c`.
struct Coefficients {
    const float *gammas, *betas;
    float *inv_std, *scales, *shifts;
    double eps;

    DEVICE void write(u32 c, double mean, double variance) const {
        double inverse = 1.0 / sqrt(variance + eps), beta = betas[c];
        double scale = double(gammas[c]) * inverse;
        Folded folded = balanced(float(scale), float(beta - mean * scale), mean, beta);
        if (threadIdx.x % 32 != 0) return;
        inv_std[c] = float(inverse);
        scales[c] = folded.scale;
        shifts[c] = folded.shift;
    }
};

// By given statistics, a warp for each channel.
KERNEL(256) norm_by_statistics(const float* means, const float* variances, Coefficients coefficients, u32 channels) {
    u32 c = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
    if (c < channels) coefficients.write(c, means[c], variances[c]);
}

// The moments of a batch in parts of `rows_per_part` rows each but the last, which has the rest.
struct PartMoments {
    const float *means, *m2s;
    u64 rows, rows_per_part;
};

// Those of all parts, of merged_channel; the mean as what it is more than that of the first part, in which a mean far from zero
// is not rounded, and equal means have the same number.
DEVICE Moments<1> merge_parts(const PartMoments& of, u32 parts, const Column& column) {
    float whole = float(of.rows_per_part), last = float(of.rows - (parts - 1) * of.rows_per_part);
    float first = of.means[column.channel];
    Moments<1> moments = {};
    FOR_EACH_FEW(part, column, parts) {
        float rows[FEW], mean[FEW], m2[FEW];
#pragma unroll
        for (int i = 0; i < FEW; i++) {
            u32 here = column.part_of(part, i);
            rows[i] = here < parts ? here + 1 < parts ? whole : last : 0.0f;
            mean[i] = here < parts ? of.means[column.at(part, i)] - first : 0.0f;
            m2[i] = here < parts ? of.m2s[column.at(part, i)] : 0.0f;
        }
        Moments<1> few = {};
#pragma unroll
        for (int i = 0; i < FEW; i++) few.count += rows[i], few.mean[0] += rows[i] * mean[i];
        few.mean[0] /= few.count;
#pragma unroll
        for (int i = 0; i < FEW; i++) {
            float difference = mean[i] - few.mean[0];
            few.m2[0] += m2[i] + rows[i] * difference * difference;
        }
        moments.merge(few);
    }
    return merge_threads(moments);
}

// Running statistics, and where those after this batch go: the same place or another.
struct Running {
    const float *mean, *variance;
    float *next_mean, *next_variance;
    double momentum;

    // Moved towards a batch's mean and unbiased variance; those that are not finite move nothing.
    DEVICE void move(u32 c, double batch_mean, double batch_variance) const {
        double weight = isfinite(batch_mean) && isfinite(batch_variance) ? momentum : 0.0;
        auto moved = [=](float from, double to) { return weight == 0.0 ? from : float((1.0 - weight) * from + weight * to); };
        next_mean[c] = moved(mean[c], batch_mean);
        next_variance[c] = moved(variance[c], batch_variance);
    }
};

// By the statistics of a batch of at least one part, towards which running ones move. A block combines COMBINED channels, and a
// warp of it goes on with each.
KERNEL(1024) norm_by_batch(PartMoments batch, float* means, Coefficients coefficients, Running running, u32 parts, u32 channels) {
    Column column(channels);
    Moments<1> moments = merge_parts(batch, parts, column);
    if (!has_merged_channel(channels)) return;
    u32 c = merged_channel();
    // As the way back will read it.
    float mean = float(double(batch.means[c]) + double(moments.mean[0]));
    double squares = moments.m2[0], rows = double(batch.rows);
    coefficients.write(c, mean, squares / rows);
    if (threadIdx.x % 32 != 0) return;
    means[c] = mean;
    running.move(c, mean, squares / (rows - 1.0));
}
