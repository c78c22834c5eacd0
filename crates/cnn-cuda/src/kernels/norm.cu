// Batch normalisation: its coefficients, and the passes that apply them, forwards and backwards.
#include "activations.cuh"
#include "channels.cuh"

// ---- coefficients ----

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

// Running statistics, and where those after this batch go: the same place or another.
struct Running {
    const float *mean, *variance;
    float *next_mean, *next_variance;
};

// The coefficients of a normalisation by these statistics, a warp for each channel. Where running statistics are given they
// are moved by `momentum` towards these, whose variance is `unbias` times as large for that; those that are not finite
// move nothing.
KERNEL(256) norm_coefficients(const float* means, const float* variances, const float* gammas, const float* betas,
                              float* inv_std, float* scales, float* shifts, Running running, double eps,
                              double momentum, double unbias, u32 channels) {
    u32 c = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
    if (c >= channels) return;
    double mean = means[c], variance = variances[c], beta = betas[c];
    double inverse = 1.0 / sqrt(variance + eps);
    double scale = double(gammas[c]) * inverse;
    Folded folded = balanced(float(scale), float(beta - mean * scale), mean, beta);
    if (threadIdx.x % 32 != 0) return;
    inv_std[c] = float(inverse);
    scales[c] = folded.scale;
    shifts[c] = folded.shift;
    double unbiased = variance * unbias;
    if (running.mean) {
        double weight = isfinite(mean) && isfinite(unbiased) ? momentum : 0.0;
        auto moved = [=](float from, double to) { return weight == 0.0 ? from : float((1.0 - weight) * from + weight * to); };
        running.next_mean[c] = moved(running.mean[c], mean);
        running.next_variance[c] = moved(running.variance[c], unbiased);
    }
}

// ---- forwards ----

// A normalisation as a pass reads it: `floor` is 0 for a ReLU, else minus infinity. Without coefficients it is x itself.
struct Norm {
    const element* x;
    const float *scale, *shift;
    float floor;
};

// The coefficients of a thread's channels.
template <int N> struct Affine {
    float scale[N], shift[N];

    // By x itself where there are none.
    DEVICE Affine(const float* scales, const float* shifts, u32 channel) {
        load_floats(scale, scales ? scales + channel : nullptr, 1.0f);
        load_floats(shift, shifts ? shifts + channel : nullptr, 0.0f);
    }
    DEVICE float of(int c, float x) const { return fmaf(x, scale[c], shift[c]); }
};

// NaN stays NaN.
DEVICE float at_least(float floor, float x) { return x < floor ? floor : x; }

// y = the normalisation of x, `residual` added before the floor where RESIDUAL.
template <int N, bool RESIDUAL>
DEVICE void normalise_part(const Norm& norm, const Norm& residual, element* y, const Parts& parts) {
    constexpr int BATCH = RESIDUAL ? 2 : 4;  // of two activations or of one
    Share<N> share(parts);
    if (share.rows == 0) return;
    Affine<N> affine(norm.scale, norm.shift, share.channel);
    Affine<N> of_residual(residual.scale, residual.shift, share.channel);
    FOR_EACH_BATCH(row, share, BATCH) {
        Packed<N> xs[BATCH], rs[BATCH];
        share.load_batch(xs, norm.x, row);
        if (RESIDUAL) share.load_batch(rs, residual.x, row);
#pragma unroll
        for (int i = 0; i < BATCH; i++) {
            if (!share.has(row, i)) break;
            float x[N], r[N], sum[N];
            unpack(x, xs[i]);
            if (RESIDUAL) unpack(r, rs[i]);
#pragma unroll
            for (int c = 0; c < N; c++) {
                sum[c] = affine.of(c, x[c]);
                if (RESIDUAL) sum[c] += at_least(residual.floor, of_residual.of(c, r[c]));
                sum[c] = at_least(norm.floor, sum[c]);
            }
            Packed<N> packed;
            pack(packed, sum);
            store(y + share.at(row, i), packed);
        }
    }
}

KERNEL(256) normalise(const element* x, const float* scale, const float* shift, float floor, element* y, Parts parts) {
    normalise_part<VECTOR, false>(Norm{x, scale, shift, floor}, Norm{}, y, parts);
}
KERNEL(256) normalise_any(const element* x, const float* scale, const float* shift, float floor, element* y,
                          Parts parts) {
    normalise_part<1, false>(Norm{x, scale, shift, floor}, Norm{}, y, parts);
}
KERNEL(256) normalise_add(const element* x, const float* scale, const float* shift, float floor,
                          const element* residual, const float* residual_scale, const float* residual_shift,
                          float residual_floor, element* y, Parts parts) {
    Norm added{residual, residual_scale, residual_shift, residual_floor};
    normalise_part<VECTOR, true>(Norm{x, scale, shift, floor}, added, y, parts);
}
KERNEL(256) normalise_add_any(const element* x, const float* scale, const float* shift, float floor,
                              const element* residual, const float* residual_scale, const float* residual_shift,
                              float residual_floor, element* y, Parts parts) {
    Norm added{residual, residual_scale, residual_shift, residual_floor};
    normalise_part<1, true>(Norm{x, scale, shift, floor}, added, y, parts);
}

// ---- backwards ----

// The coefficients of a ReLU's mask, which is open where the normalisation is above 0 or NaN: everywhere without a mask.
template <int N> struct Mask {
    float scale[N], shift[N];

    DEVICE Mask(const float* scales, const float* shifts, u32 channel) {
        load_floats(scale, scales ? scales + channel : nullptr, 0.0f);
        load_floats(shift, shifts ? shifts + channel : nullptr, 1.0f);
    }
    DEVICE float of(int c, float x, float dy) const { return activate_backward(RELU, fmaf(x, scale[c], shift[c]), dy); }
};

// The sums over the rows of each part of dy and of dy * (x - mean): [parts, channels] each. dy counts as 0 where the mask
// says so: with OUTPUT that is where `output` is at most 0, and the masked dy is written to `masked`, which may be dy.
template <int N, bool OUTPUT>
DEVICE void gradient_sums_of_part(const element* dy, const element* x, const float* means, const float* mask_scale,
                                  const float* mask_shift, const element* output, element* masked, float* dy_sums,
                                  float* dy_x_sums, const Parts& parts) {
    constexpr int BATCH = 4;
    Share<N> share(parts);
    u32 channel = share.rows > 0 ? share.channel : 0;  // threads without channels have none to read, but join the sums
    Mask<N> mask(mask_scale, mask_shift, channel);
    float mean[N];
    load_floats(mean, means + channel);
    float totals[2][N] = {};
    FOR_EACH_BATCH(row, share, BATCH) {
        Packed<N> dys[BATCH], xs[BATCH], ys[BATCH];
        share.load_batch(dys, dy, row);
        share.load_batch(xs, x, row);
        if (OUTPUT) share.load_batch(ys, output, row);
        float few[2][N] = {};  // shorter sums are rounded less
#pragma unroll
        for (int i = 0; i < BATCH; i++) {
            if (!share.has(row, i)) break;
            float gradient[N], number[N];
            unpack(gradient, dys[i]);
            unpack(number, xs[i]);
            if (OUTPUT) {
                float y[N];
                unpack(y, ys[i]);
#pragma unroll
                for (int c = 0; c < N; c++) gradient[c] = activate_backward(RELU, y[c], gradient[c]);
                Packed<N> packed;
                pack(packed, gradient);
                store(masked + share.at(row, i), packed);
            } else {
#pragma unroll
                for (int c = 0; c < N; c++) gradient[c] = mask.of(c, number[c], gradient[c]);
            }
#pragma unroll
            for (int c = 0; c < N; c++) {
                few[0][c] += gradient[c];
                few[1][c] = fmaf(gradient[c], number[c] - mean[c], few[1][c]);
            }
        }
#pragma unroll
        for (int c = 0; c < N; c++) totals[0][c] += few[0][c], totals[1][c] += few[1][c];
    }
    sum_over_lines(totals, share, parts);
    if (share.has_results()) {
        store_floats(dy_sums + share.result_at(), totals[0]);
        store_floats(dy_x_sums + share.result_at(), totals[1]);
    }
}

KERNEL(256) gradient_sums(const element* dy, const element* x, const float* mean, const float* mask_scale,
                          const float* mask_shift, float* dy_sums, float* dy_x_sums, Parts parts) {
    gradient_sums_of_part<VECTOR, false>(dy, x, mean, mask_scale, mask_shift, nullptr, nullptr, dy_sums, dy_x_sums, parts);
}
KERNEL(256) gradient_sums_any(const element* dy, const element* x, const float* mean, const float* mask_scale,
                              const float* mask_shift, float* dy_sums, float* dy_x_sums, Parts parts) {
    gradient_sums_of_part<1, false>(dy, x, mean, mask_scale, mask_shift, nullptr, nullptr, dy_sums, dy_x_sums, parts);
}
KERNEL(256) masked_gradient_sums(const element* dy, const element* x, const float* mean, const element* output,
                                 element* masked, float* dy_sums, float* dy_x_sums, Parts parts) {
    gradient_sums_of_part<VECTOR, true>(dy, x, mean, nullptr, nullptr, output, masked, dy_sums, dy_x_sums, parts);
}
KERNEL(256) masked_gradient_sums_any(const element* dy, const element* x, const float* mean, const element* output,
                                     element* masked, float* dy_sums, float* dy_x_sums, Parts parts) {
    gradient_sums_of_part<1, true>(dy, x, mean, nullptr, nullptr, output, masked, dy_sums, dy_x_sums, parts);
}

// From the sums of all parts the gradients of gamma and beta, and the coefficients of the gradient of the input:
//
//     dbeta = sum(dy)        dgamma = sum(dy * (x - mean)) * inv_std
//     dx = scale * dy + x_scale * x + shift = scale * (dy - dbeta / rows - (x - mean) * inv_std * dgamma / rows)
//
// By running statistics (`batch` is 0) the batch does not act on them, and dx = scale * dy.
KERNEL(1024) combine_gradient_sums(const float* dy_sums, const float* dy_x_sums, const float* means,
                                   const float* inv_stds, const float* scales, float* dgammas, float* dbetas,
                                   float* x_scales, float* shifts, u64 rows, i32 batch, u32 parts, u32 channels) {
    u32 c = combined_channel(channels);
    double dbeta = sum_over_parts(parts, [&](u32 part) { return dy_sums[u64(part) * channels + c]; });
    double dy_x = sum_over_parts(parts, [&](u32 part) { return dy_x_sums[u64(part) * channels + c]; });
    if (!combines(channels)) return;
    double mean = means[c], inv_std = inv_stds[c], scale = scales[c];
    double dgamma = dy_x * inv_std;
    double x_scale = -scale * inv_std * dgamma / double(rows);
    dgammas[c] = float(dgamma);
    dbetas[c] = float(dbeta);
    x_scales[c] = batch ? float(x_scale) : 0.0f;
    shifts[c] = batch ? float(-scale * dbeta / double(rows) - x_scale * mean) : 0.0f;
}

// The gradient of a normalisation's input as its coefficients give it.
struct NormGradient {
    const element *dy, *x;
    const float *dy_scale, *x_scale, *shift, *mask_scale, *mask_shift;
};

// dx = dy_scale * dy + x_scale * x + shift; dx may be dy.
template <int N> DEVICE void normalise_backward_part(const NormGradient& gradient, element* dx, const Parts& parts) {
    constexpr int BATCH = 2;  // of two activations
    Share<N> share(parts);
    if (share.rows == 0) return;
    Mask<N> mask(gradient.mask_scale, gradient.mask_shift, share.channel);
    float dy_scale[N], x_scale[N], shift[N];
    load_floats(dy_scale, gradient.dy_scale + share.channel);
    load_floats(x_scale, gradient.x_scale + share.channel);
    load_floats(shift, gradient.shift + share.channel);
    FOR_EACH_BATCH(row, share, BATCH) {
        Packed<N> dys[BATCH], xs[BATCH];
        share.load_batch(dys, gradient.dy, row);
        share.load_batch(xs, gradient.x, row);
#pragma unroll
        for (int i = 0; i < BATCH; i++) {
            if (!share.has(row, i)) break;
            float dy[N], x[N], result[N];
            unpack(dy, dys[i]);
            unpack(x, xs[i]);
#pragma unroll
            for (int c = 0; c < N; c++) {
                result[c] = fmaf(mask.of(c, x[c], dy[c]), dy_scale[c], fmaf(x[c], x_scale[c], shift[c]));
            }
            Packed<N> packed;
            pack(packed, result);
            store(dx + share.at(row, i), packed);
        }
    }
}

KERNEL(256) normalise_backward(const element* dy, const element* x, const float* dy_scale, const float* x_scale,
                               const float* shift, const float* mask_scale, const float* mask_shift, element* dx,
                               Parts parts) {
    NormGradient gradient{dy, x, dy_scale, x_scale, shift, mask_scale, mask_shift};
    normalise_backward_part<VECTOR>(gradient, dx, parts);
}
KERNEL(256) normalise_backward_any(const element* dy, const element* x, const float* dy_scale, const float* x_scale,
                                   const float* shift, const float* mask_scale, const float* mask_shift, element* dx,
                                   Parts parts) {
    NormGradient gradient{dy, x, dy_scale, x_scale, shift, mask_scale, mask_shift};
    normalise_backward_part<1>(gradient, dx, parts);
}
