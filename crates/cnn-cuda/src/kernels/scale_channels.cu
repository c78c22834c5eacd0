// Images times a factor for each channel of each of them, both ways.
//
// A thread has some neighbouring channels of one pixel at a time. Elements are fewer than 2^31, so 32 bits count them.
#include "grid.cuh"
#include "vectors.cuh"

template <int N>
DEVICE void scale(const element* x, const element* factors, element* y, u32 pixels, u32 channels, u64 count) {
    u32 vectors = channels / N;
    FOR_EACH_ELEMENT(i, count / N) {
        u32 pixel = u32(i) / vectors, channel = (u32(i) - pixel * vectors) * N;
        float numbers[N], factor[N];
        unpack(numbers, load<N>(x + i * N));
        unpack(factor, load<N>(factors + u64(pixel / pixels) * channels + channel));
#pragma unroll
        for (int e = 0; e < N; e++) numbers[e] *= factor[e];
        store_floats(y + i * N, numbers);
    }
}

// y may be x.
KERNEL(256) scale_channels(const element* x, const element* factors, element* y, u32 pixels, u32 channels, u64 count) {
    if (channels % VECTOR == 0) scale<VECTOR>(x, factors, y, pixels, channels, count);
    else scale<1>(x, factors, y, pixels, channels, count);
}

// A part of an image's pixels and `lanes` vectors of its channels by a block: its other threads have other pixels, the next ones
// `slices` on.
template <int N>
DEVICE void scale_backward(const element* dy, const element* x, const element* factors, element* dx, float* sums_of_parts,
                           u32 pixels, u32 channels, u32 lanes, u32 parts, u32 of_part) {
    __shared__ float sums[N][256];
    u32 vectors = channels / N, slices = 256 / lanes;
    u32 vector = blockIdx.y * lanes + threadIdx.x % lanes, slice = threadIdx.x / lanes;
    u32 image = blockIdx.x / parts, part = blockIdx.x % parts, images = gridDim.x / parts;
    u32 first = part * of_part, end = min(pixels, first + of_part);
    float sum[N] = {};
    if (vector < vectors) {
        float factor[N];
        unpack(factor, load<N>(factors + u64(image) * channels + vector * N));
        for (u32 pixel = first + slice; pixel < end; pixel += slices) {
            u64 at = (u64(image) * pixels + pixel) * channels + vector * N;
            float gradient[N], numbers[N];
            unpack(gradient, load<N>(dy + at));
            unpack(numbers, load<N>(x + at));
#pragma unroll
            for (int e = 0; e < N; e++) {
                sum[e] = fmaf(gradient[e], numbers[e], sum[e]);
                gradient[e] *= factor[e];
            }
            store_floats(dx + at, gradient);
        }
    }
#pragma unroll
    for (int e = 0; e < N; e++) sums[e][threadIdx.x] = sum[e];
    for (u32 half = slices / 2; half > 0; half /= 2) {
        __syncthreads();
        if (slice >= half) continue;
#pragma unroll
        for (int e = 0; e < N; e++) {
            sum[e] += sums[e][threadIdx.x + half * lanes];
            sums[e][threadIdx.x] = sum[e];
        }
    }
    if (slice > 0 || vector >= vectors) return;
    float* result = sums_of_parts + (u64(part) * images + image) * channels + vector * N;
#pragma unroll
    for (int e = 0; e < N; e++) result[e] = sum[e];
}

// dx = dy * factor, and the sum of dy * x over each of `parts` parts of each image's pixels, `of_part` but for the last one: sums
// [parts, images, channels]. `lanes` is a power of two, at most 32. dx may be dy.
KERNEL(256) scale_channels_backward(const element* dy, const element* x, const element* factors, element* dx, float* sums,
                                    u32 pixels, u32 channels, u32 lanes, u32 parts, u32 of_part) {
    if (channels % VECTOR == 0) scale_backward<VECTOR>(dy, x, factors, dx, sums, pixels, channels, lanes, parts, of_part);
    else scale_backward<1>(dy, x, factors, dx, sums, pixels, channels, lanes, parts, of_part);
}
