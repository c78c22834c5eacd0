// Convolution of each channel by itself: a few multiply-adds for every number read, so neighbouring channels side by side and
// no tiles. Sums and weights are f32 throughout.
#include "conv2d.cuh"
#include "divisor.cuh"
#include "epilogue.cuh"
#include "grid.cuh"
#include "vectors.cuh"

// What a thread works on: N channels of a pixel.
struct Places {
    Divisor channels, columns, rows;  // chunks of N channels of a pixel, columns of a row, rows of an image
    u32 count;
};

struct Place {
    u32 image, row, column, channel;

    template <int N> static DEVICE Place of(const Places& places, u32 i) {
        u32 pixel = places.channels.quotient(i), row = places.columns.quotient(pixel), image = places.rows.quotient(row);
        return Place{image, row - image * places.rows.value, pixel - row * places.columns.value, (i - pixel * places.channels.value) * N};
    }
};

template <int N> DEVICE void add_products(float (&sum)[N], const float (&a)[N], const float (&b)[N]) {
#pragma unroll
    for (int e = 0; e < N; e++) sum[e] = fmaf(a[e], b[e], sum[e]);
}

// Adds N activations where there are any.
template <int N> DEVICE void add_elements(float (&sum)[N], const element* from) {
    if (!from) return;
    float x[N];
    unpack(x, load<N>(from));
#pragma unroll
    for (int e = 0; e < N; e++) sum[e] += x[e];
}

template <int N>
DEVICE void forward(const Conv2dSpec& spec, const Places& places, const element* x, const float* weight,
                    const Epilogue& epilogue, element* y) {
    i32 channels = spec.in_channels;
    FOR_EACH_ELEMENT(i, places.count) {
        Place at = Place::of<N>(places, i);
        float sum[N];
        load_floats(sum, epilogue.bias ? epilogue.bias + at.channel : nullptr);
        for (i32 r = 0; r < spec.kernel[0]; r++) {
            i32 row = i32(at.row) * spec.stride[0] - spec.padding[0] + r * spec.dilation[0];
            if (u32(row) >= u32(spec.input[0])) continue;
            for (i32 s = 0; s < spec.kernel[1]; s++) {
                i32 column = i32(at.column) * spec.stride[1] - spec.padding[1] + s * spec.dilation[1];
                if (u32(column) >= u32(spec.input[1])) continue;
                i64 pixel = (i64(at.image) * spec.input[0] + row) * spec.input[1] + column;
                float value[N], factor[N];
                unpack(value, load<N>(x + pixel * channels + at.channel));
                load_floats(factor, weight + (r * spec.kernel[1] + s) * i64(channels) + at.channel);
                add_products(sum, value, factor);
            }
        }
        i64 to = i64(i) * N;
        add_elements(sum, epilogue.residual ? epilogue.residual + to : nullptr);
#pragma unroll
        for (int e = 0; e < N; e++) sum[e] = activate(epilogue.activation, sum[e]);
        store_floats(y + to, sum);
    }
}

// dx = what reaches each pixel of the input, added to `accumulate` where it is given; dx may be `accumulate`.
template <int N>
DEVICE void backward_data(const Conv2dSpec& spec, const Places& places, const element* dy, const float* weight,
                          const element* accumulate, element* dx) {
    i32 channels = spec.in_channels;
    FOR_EACH_ELEMENT(i, places.count) {
        Place at = Place::of<N>(places, i);
        i64 to = i64(i) * N;
        float sum[N];
        load_floats(sum, nullptr);
#pragma unroll 1
        for (i32 r = 0; r < spec.kernel[0]; r++) {
            i32 row = i32(at.row) + spec.padding[0] - r * spec.dilation[0];
            if (row < 0 || row % spec.stride[0] || row / spec.stride[0] >= spec.output[0]) continue;
#pragma unroll 1
            for (i32 s = 0; s < spec.kernel[1]; s++) {
                i32 column = i32(at.column) + spec.padding[1] - s * spec.dilation[1];
                if (column < 0 || column % spec.stride[1] || column / spec.stride[1] >= spec.output[1]) continue;
                i64 line = i64(at.image) * spec.output[0] + row / spec.stride[0];
                i64 pixel = line * spec.output[1] + column / spec.stride[1];
                float value[N], factor[N];
                unpack(value, load<N>(dy + pixel * channels + at.channel));
                load_floats(factor, weight + (r * spec.kernel[1] + s) * i64(channels) + at.channel);
                add_products(sum, value, factor);
            }
        }
        add_elements(sum, accumulate ? accumulate + to : nullptr);
        store_floats(dx + to, sum);
    }
}

// The sum of one tap over some of the output's pixels: a warp has 32 chunks of channels, and each warp of the block some of
// the pixels. Parts are [parts, taps, channels].
template <int N>
DEVICE void backward_weight(const Conv2dSpec& spec, const Places& places, i32 pixels_of_part, const element* x, const element* dy, float* parts) {
    __shared__ float room[8][32 * N];
    i32 channels = spec.in_channels, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    i32 channel = (blockIdx.x * 32 + lane) * N, tap = blockIdx.z, taps = spec.kernel[0] * spec.kernel[1];
    i32 pixels = spec.batch * spec.output[0] * spec.output[1];
    i32 begin = blockIdx.y * pixels_of_part, end = min(pixels, begin + pixels_of_part);
    i32 down = tap / spec.kernel[1] * spec.dilation[0] - spec.padding[0];
    i32 right = tap % spec.kernel[1] * spec.dilation[1] - spec.padding[1];
    float sum[N];
    load_floats(sum, nullptr);
    if (channel < channels) {
        for (i32 pixel = begin + warp; pixel < end; pixel += 8) {
            u32 line = places.columns.quotient(pixel), image = places.rows.quotient(line);
            i32 row = i32(line - image * places.rows.value) * spec.stride[0] + down;
            i32 column = i32(pixel - line * places.columns.value) * spec.stride[1] + right;
            if (u32(row) >= u32(spec.input[0]) || u32(column) >= u32(spec.input[1])) continue;
            i64 from = (i64(image) * spec.input[0] + row) * spec.input[1] + column;
            float value[N], gradient[N];
            unpack(value, load<N>(x + from * channels + channel));
            unpack(gradient, load<N>(dy + i64(pixel) * channels + channel));
            add_products(sum, value, gradient);
        }
    }
#pragma unroll
    for (int e = 0; e < N; e++) room[warp][lane * N + e] = sum[e];
    __syncthreads();
    for (i32 c = threadIdx.x; c < 32 * N; c += 256) {
        i32 of = blockIdx.x * 32 * N + c;
        if (of >= channels) continue;
        float total = 0.0f;
        for (int other = 0; other < 8; other++) total += room[other][c];
        parts[(i64(blockIdx.y) * taps + tap) * channels + of] = total;
    }
}

#define FORWARD Conv2dSpec spec, Places places, const element *x, const float *weight, Epilogue epilogue, element *y
#define DATA Conv2dSpec spec, Places places, const element *dy, const float *weight, const element *accumulate, element *dx
#define WEIGHT Conv2dSpec spec, Places places, i32 pixels_of_part, const element *x, const element *dy, float *parts

KERNEL(256) depthwise_forward(FORWARD) { forward<VECTOR>(spec, places, x, weight, epilogue, y); }
KERNEL(256) depthwise_forward_any(FORWARD) { forward<1>(spec, places, x, weight, epilogue, y); }
KERNEL(256) depthwise_data(DATA) { backward_data<VECTOR>(spec, places, dy, weight, accumulate, dx); }
KERNEL(256) depthwise_data_any(DATA) { backward_data<1>(spec, places, dy, weight, accumulate, dx); }
KERNEL(256) depthwise_weight(WEIGHT) { backward_weight<VECTOR>(spec, places, pixels_of_part, x, dy, parts); }
KERNEL(256) depthwise_weight_any(WEIGHT) { backward_weight<1>(spec, places, pixels_of_part, x, dy, parts); }
