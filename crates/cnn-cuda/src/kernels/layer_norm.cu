// Layer normalisation: rows by their own mean and deviation. Elements are fewer than 2^31.
//
// A row is read several times, of which all but the first find it in the cache: by a warp for what is known of it as a whole, and
// then to be written.
#include "channels.cuh"
#include "grid.cuh"

constexpr u32 WARP = 32;

// `c` of the first of every N channels of a row that are this thread's.
#define FOR_EACH_CHANNEL(c, channels, N) for (u32 c = threadIdx.x % WARP * (N); c < (channels); c += WARP * (N))

// What a row is normalised by: its mean, and one over its deviation.
struct Row {
    float mean;
    float inverse;
};

// By a warp, the same in each lane: the mean squared deviation in a second pass, as the mean of squares less the square of the
// mean would cancel.
template <int N> DEVICE Row row_statistics(const element* row, u32 channels, float eps) {
    float sum = 0.0f, squares = 0.0f;
    FOR_EACH_CHANNEL(c, channels, N) {
        float x[N];
        unpack(x, load<N>(row + c));
#pragma unroll
        for (int i = 0; i < N; i++) sum += x[i];
    }
    float mean = warp_sum(sum) / float(channels);
    FOR_EACH_CHANNEL(c, channels, N) {
        float x[N];
        unpack(x, load<N>(row + c));
#pragma unroll
        for (int i = 0; i < N; i++) squares = fmaf(x[i] - mean, x[i] - mean, squares);
    }
    return {mean, 1.0f / sqrtf(warp_sum(squares) / float(channels) + eps)};
}

template <int N>
DEVICE void normalise_rows(const element* x, const float* gamma, const float* beta, element* y, u64 rows, u32 channels, float eps) {
    u32 warps = blockDim.x / WARP;
    for (u64 row = u64(blockIdx.x) * warps + threadIdx.x / WARP; row < rows; row += u64(gridDim.x) * warps) {
        const element* of_row = x + row * channels;
        Row known = row_statistics<N>(of_row, channels, eps);
        FOR_EACH_CHANNEL(c, channels, N) {
            float numbers[N], scale[N], shift[N];
            unpack(numbers, load<N>(of_row + c));
            load_floats(scale, gamma + c);
            load_floats(shift, beta + c);
#pragma unroll
            for (int i = 0; i < N; i++) numbers[i] = fmaf((numbers[i] - known.mean) * known.inverse, scale[i], shift[i]);
            store_floats(y + row * channels + c, numbers);
        }
    }
}

KERNEL(256) layer_norm(const element* x, const float* gamma, const float* beta, element* y, u64 rows, u32 channels, float eps) {
    if (channels % VECTOR == 0) normalise_rows<VECTOR>(x, gamma, beta, y, rows, channels, eps);
    else normalise_rows<1>(x, gamma, beta, y, rows, channels, eps);
}

// What a row's gradient is made of: what it was normalised by, and the means of g = dy * gamma and of g times the normalised x.
struct RowGradient {
    float mean;
    float inverse;
    float g;
    float g_x;
};

// By a warp, the same in each lane.
template <int N> DEVICE RowGradient row_gradient(const element* dy, const element* x, const float* gamma, u32 channels, float eps) {
    Row known = row_statistics<N>(x, channels, eps);
    float sum = 0.0f, by_x = 0.0f;
    FOR_EACH_CHANNEL(c, channels, N) {
        float g[N], numbers[N], scale[N];
        unpack(g, load<N>(dy + c));
        unpack(numbers, load<N>(x + c));
        load_floats(scale, gamma + c);
#pragma unroll
        for (int i = 0; i < N; i++) {
            g[i] = __fmul_rn(g[i], scale[i]);
            sum += g[i];
            by_x = fmaf(g[i], (numbers[i] - known.mean) * known.inverse, by_x);
        }
    }
    return {known.mean, known.inverse, warp_sum(sum) / float(channels), warp_sum(by_x) / float(channels)};
}

// Rows of which a block knows this at a time, at most.
constexpr u32 KNOWN = 256;

// The gradient of the input, and sums over the rows of each part: of dy and of dy times the normalised x, [parts, channels] each. A
// block takes some rows at a time, by warps for what is known of each, and then by threads for a few channels each.
template <int N>
DEVICE void gradient_of_part(const element* dy, const element* x, const float* gamma, element* dx, float* dy_sums, float* dy_x_sums,
                             const Parts& parts, float eps) {
    __shared__ RowGradient known[KNOWN];
    Share<N> share(parts);
    u64 first = u64(blockIdx.x) * parts.rows_per_part;
    u32 rows = u32(min(parts.rows - first, u64(parts.rows_per_part)));
    u32 warp = threadIdx.x / WARP, warps = blockDim.x / WARP, at_once = min(8 * parts.lines, KNOWN);
    float scale[N] = {}, totals[2][N] = {};
    if (share.rows > 0) load_floats(scale, gamma + share.channel);
    for (u32 from = 0; from < rows; from += at_once) {
        u32 end = min(from + at_once, rows);
        __syncthreads();  // the rows before are written
        for (u32 row = from + warp; row < end; row += warps) {
            u64 at = (first + row) * parts.channels;
            RowGradient of_row = row_gradient<N>(dy + at, x + at, gamma, parts.channels, eps);
            if (threadIdx.x % WARP == 0) known[row - from] = of_row;
        }
        __syncthreads();  // what is known of these rows is there
        for (u32 row = from + share.line; row < min(end, share.rows); row += share.lines) {
            RowGradient of_row = known[row - from];
            u64 at = share.start + u64(row) * share.channels;
            float gradient[N], numbers[N];
            unpack(gradient, load<N>(dy + at));
            unpack(numbers, load<N>(x + at));
#pragma unroll
            for (int i = 0; i < N; i++) {
                float xhat = (numbers[i] - of_row.mean) * of_row.inverse;
                totals[0][i] += gradient[i];
                totals[1][i] = fmaf(gradient[i], xhat, totals[1][i]);
                // Rounded as when its mean was taken: equal numbers leave nothing.
                float g = __fmul_rn(gradient[i], scale[i]);
                gradient[i] = (g - of_row.g - xhat * of_row.g_x) * of_row.inverse;
            }
            store_floats(dx + at, gradient);
        }
    }
    sum_over_lines(totals, share, parts);
    if (share.has_results()) {
        store_floats(dy_sums + share.result_at(), totals[0]);
        store_floats(dy_x_sums + share.result_at(), totals[1]);
    }
}

// 80 registers: what is free to have as many as it likes is given 48 for f32, and spills.
#undef BLOCKS_AT_LEAST
#define BLOCKS_AT_LEAST , 3
// dx may be dy where a single block has whole rows.
KERNEL(256) layer_norm_backward(const element* dy, const element* x, const float* gamma, element* dx, float* dy_sums,
                                float* dy_x_sums, float eps, Parts parts) {
    gradient_of_part<VECTOR>(dy, x, gamma, dx, dy_sums, dy_x_sums, parts, eps);
}
KERNEL(256) layer_norm_backward_any(const element* dy, const element* x, const float* gamma, element* dx, float* dy_sums,
                                    float* dy_x_sums, float eps, Parts parts) {
    gradient_of_part<1>(dy, x, gamma, dx, dy_sums, dy_x_sums, parts, eps);
}
