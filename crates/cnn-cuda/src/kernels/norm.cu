// Batch normalisation by its coefficients (norm_coefficients.cu): the passes that apply them, forwards and backwards.
#include "channels.cuh"
#include "combine.cuh"

// ---- forwards ----

// A normalisation as a pass reads it, with the bounds of its rectifier. Without coefficients it is x itself.
struct Norm {
    const element* x;
    const float *scale, *shift;
    float floor, ceiling;

    // NaN stays NaN.
    DEVICE float rectified(float y) const { return y < floor ? floor : y > ceiling ? ceiling : y; }
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

// y = the normalisation of x, `residual` added before the rectifier where RESIDUAL.
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
                if (RESIDUAL) sum[c] += residual.rectified(of_residual.of(c, r[c]));
                sum[c] = norm.rectified(sum[c]);
            }
            Packed<N> packed;
            pack(packed, sum);
            store(y + share.at(row, i), packed);
        }
    }
}

KERNEL(256) normalise(const element* x, const float* scale, const float* shift, float floor, float ceiling, element* y,
                      Parts parts) {
    normalise_part<VECTOR, false>(Norm{x, scale, shift, floor, ceiling}, Norm{}, y, parts);
}
KERNEL(256) normalise_any(const element* x, const float* scale, const float* shift, float floor, float ceiling,
                          element* y, Parts parts) {
    normalise_part<1, false>(Norm{x, scale, shift, floor, ceiling}, Norm{}, y, parts);
}
KERNEL(256) normalise_add(const element* x, const float* scale, const float* shift, float floor, float ceiling,
                          const element* residual, const float* residual_scale, const float* residual_shift,
                          float residual_floor, float residual_ceiling, element* y, Parts parts) {
    Norm added{residual, residual_scale, residual_shift, residual_floor, residual_ceiling};
    normalise_part<VECTOR, true>(Norm{x, scale, shift, floor, ceiling}, added, y, parts);
}
KERNEL(256) normalise_add_any(const element* x, const float* scale, const float* shift, float floor, float ceiling,
                              const element* residual, const float* residual_scale, const float* residual_shift,
                              float residual_floor, float residual_ceiling, element* y, Parts parts) {
    Norm added{residual, residual_scale, residual_shift, residual_floor, residual_ceiling};
    normalise_part<1, true>(Norm{x, scale, shift, floor, ceiling}, added, y, parts);
}

// ---- backwards ----

// What a rectifier lets back at y: where y is above 0 and at most `greatest`, or NaN.
DEVICE float rectifier_backward(float greatest, float y, float dy) { return y <= 0.0f || y > greatest ? 0.0f : dy; }

// A rectifier's mask: the coefficients of the normalisation before it. Without them it is open everywhere.
template <int N> struct Mask {
    float scale[N], shift[N], greatest;

    DEVICE Mask(const float* scales, const float* shifts, float greatest, u32 channel) : greatest(greatest) {
        load_floats(scale, scales ? scales + channel : nullptr, 0.0f);
        load_floats(shift, shifts ? shifts + channel : nullptr, 1.0f);
    }
    DEVICE float of(int c, float x, float dy) const {
        return rectifier_backward(greatest, fmaf(x, scale[c], shift[c]), dy);
    }
};

// The sums over the rows of each part of dy and of dy * (x - mean): [parts, channels] each. dy counts as 0 where the mask
// says so: with OUTPUT that is told by `output`, and the masked dy is written to `masked`, which may be dy.
template <int N, bool OUTPUT>
DEVICE void gradient_sums_of_part(const element* dy, const element* x, const float* means, const float* mask_scale,
                                  const float* mask_shift, float greatest, const element* output, element* masked,
                                  float* dy_sums, float* dy_x_sums, const Parts& parts) {
    constexpr int BATCH = 4;
    Share<N> share(parts);
    u32 channel = share.rows > 0 ? share.channel : 0;  // threads without channels have none to read, but join the sums
    Mask<N> mask(mask_scale, mask_shift, greatest, channel);
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
                for (int c = 0; c < N; c++) gradient[c] = rectifier_backward(greatest, y[c], gradient[c]);
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
                          const float* mask_shift, float greatest, float* dy_sums, float* dy_x_sums, Parts parts) {
    gradient_sums_of_part<VECTOR, false>(dy, x, mean, mask_scale, mask_shift, greatest, nullptr, nullptr, dy_sums, dy_x_sums,
                                     parts);
}
KERNEL(256) gradient_sums_any(const element* dy, const element* x, const float* mean, const float* mask_scale,
                              const float* mask_shift, float greatest, float* dy_sums, float* dy_x_sums, Parts parts) {
    gradient_sums_of_part<1, false>(dy, x, mean, mask_scale, mask_shift, greatest, nullptr, nullptr, dy_sums, dy_x_sums,
                                     parts);
}
KERNEL(256) masked_gradient_sums(const element* dy, const element* x, const float* mean, const element* output,
                                 float greatest, element* masked, float* dy_sums, float* dy_x_sums, Parts parts) {
    gradient_sums_of_part<VECTOR, true>(dy, x, mean, nullptr, nullptr, greatest, output, masked, dy_sums, dy_x_sums, parts);
}
KERNEL(256) masked_gradient_sums_any(const element* dy, const element* x, const float* mean, const element* output,
                                     float greatest, element* masked, float* dy_sums, float* dy_x_sums, Parts parts) {
    gradient_sums_of_part<1, true>(dy, x, mean, nullptr, nullptr, greatest, output, masked, dy_sums, dy_x_sums, parts);
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
    Sums<2> sums = sum_parts_of({dy_sums, dy_x_sums}, parts, channels);
    if (!has_merged_channel(channels) || threadIdx.x % 32 != 0) return;
    u32 c = merged_channel();
    double mean = means[c], inv_std = inv_stds[c], scale = scales[c];
    double dbeta = sums.of[0], dgamma = sums.of[1] * inv_std;
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
    float greatest;
};

// dx = dy_scale * dy + x_scale * x + shift; dx may be dy.
template <int N> DEVICE void normalise_backward_part(const NormGradient& gradient, element* dx, const Parts& parts) {
    constexpr int BATCH = 2;  // of two activations
    Share<N> share(parts);
    if (share.rows == 0) return;
    Mask<N> mask(gradient.mask_scale, gradient.mask_shift, gradient.greatest, share.channel);
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
                               const float* shift, const float* mask_scale, const float* mask_shift, float greatest,
                               element* dx, Parts parts) {
    NormGradient gradient{dy, x, dy_scale, x_scale, shift, mask_scale, mask_shift, greatest};
    normalise_backward_part<VECTOR>(gradient, dx, parts);
}
KERNEL(256) normalise_backward_any(const element* dy, const element* x, const float* dy_scale, const float* x_scale,
                                   const float* shift, const float* mask_scale, const float* mask_shift, float greatest,
                                   element* dx, Parts parts) {
    NormGradient gradient{dy, x, dy_scale, x_scale, shift, mask_scale, mask_shift, greatest};
    normalise_backward_part<1>(gradient, dx, parts);
}
