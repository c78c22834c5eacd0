// Convolution, gradient of the input: a convolution of the gradient with the turned weight. Pixels of the input whose rows
// and columns leave the same remainder by the stride are reached by the same taps; each such class is a product of its own,
// [pixels of the class, its taps * out channels] and [its taps * out channels, channels].
#include "epilogue.cuh"
#include "tiles.cuh"

// One axis of a class: the taps that reach it, and where they read.
struct ClassAxis {
    i32 places;       // pixels of the input
    i32 first, apart; // taps first, first + apart, ...
    i32 taps;
    i32 base, step;   // pixel i reads the gradient at i + base + tap * step

    DEVICE ClassAxis(const Conv2dSpec& spec, int axis, i32 remainder) {
        i32 stride = spec.stride[axis], dilation = spec.dilation[axis], kernel = spec.kernel[axis];
        places = max(0, (spec.input[axis] - remainder + stride - 1) / stride);
        i32 start = remainder + spec.padding[axis];
        first = 0;
        while (first < kernel && (start - first * dilation) % stride != 0) first++;
        apart = 1;
        while (apart * dilation % stride != 0) apart++;
        taps = first < kernel ? (kernel - first + apart - 1) / apart : 0;
        base = first < kernel ? (start - first * dilation) / stride : 0;
        step = -(apart * dilation / stride);
    }
};

// The turned weight: rows are channels of the input, the sum is over taps and out channels.
template <class T, class O, bool WHOLE> struct TurnedSource {
    const element* weight;   // of the first tap, the tile's first channel, the group's first out channel
    i64 row, tap_row, tap_column;  // elements from channel to channel, and from tap to tap along both axes
    i32 rows;                // channels from the tile's first on
    i32 taps[2], depth;
    i32 channel, tap[2];     // of this thread's chunk in the next step
    i32 next;

    DEVICE void begin() {
        next = O::column() * CHUNK;
        channel = next, tap[0] = tap[1] = 0;
        settle();
    }

    DEVICE void settle() {
        while (channel >= depth) {
            channel -= depth;
            if (++tap[1] == taps[1]) tap[1] = 0, tap[0]++;
        }
    }

    DEVICE void fetch(unsigned char* stage) {
#pragma unroll
        for (int i = 0; i < O::COUNT; i++) {
            element* to = O::chunk(stage, O::row(i), O::column());
            const element* from = weight + O::row(i) * row;
            bool real = O::row(i) < rows;
            if (WHOLE) {
                bool inside = real && tap[0] < taps[0];
                copy_async_16(to, from + tap[0] * tap_row + tap[1] * tap_column + channel, inside);
            } else {
#pragma unroll 1
                for (int e = 0; e < CHUNK; e++) {
                    i32 place = (next + e) / depth, channel = (next + e) % depth;
                    bool inside = real && place < taps[0] * taps[1];
                    i64 at = place / taps[1] * tap_row + place % taps[1] * tap_column + channel;
                    to[e] = inside ? from[at] : zero_element();
                }
            }
        }
        channel += STEP, next += STEP;
        if (WHOLE) settle();
    }
};

template <class T, bool WHOLE>
DEVICE void backward_data(const Conv2dSpec& spec, const element* dy, const element* weight, const Epilogue& epilogue, element* dx) {
    typedef Operand<T, ALONG_SUM, T::M> A;
    typedef Operand<T, ALONG_SUM, T::N> B;
    DYNAMIC_SHARED(shared);

    i32 channels = spec.in_channels / spec.groups, depth = spec.out_channels / spec.groups;
    i32 across = (channels + T::N - 1) / T::N;
    i32 classes = spec.stride[0] * spec.stride[1];
    i32 group = blockIdx.z / classes, remainder[2] = {i32(blockIdx.z) % classes / spec.stride[1], i32(blockIdx.z) % spec.stride[1]};
    i32 part = blockIdx.x / across, tile_m = part * T::M, tile_n = blockIdx.x % across * T::N;
    ClassAxis rows(spec, 0, remainder[0]), columns(spec, 1, remainder[1]);
    i32 area = rows.places * columns.places, pixels = spec.batch * area;
    if (tile_m >= pixels) return;  // the grid is that of the largest class
    bool reached = rows.taps > 0 && columns.taps > 0;
    if (!reached && epilogue.residual == dx) return;  // nothing is added to what is there
    i32 sum = reached ? rows.taps * columns.taps * depth : 0;

    PixelSource<A, WHOLE> left;
#pragma unroll
    for (int i = 0; i < A::COUNT; i++) {
        i32 m = tile_m + A::row(i);
        bool real = m < pixels;
        i32 image = real ? m / area : 0, pixel = m % area;
        left.image[i] = dy + i64(image) * spec.output[0] * spec.output[1] * spec.out_channels + group * depth;
        left.base[i][0] = real ? pixel / columns.places + rows.base : -(1 << 30);
        left.base[i][1] = pixel % columns.places + columns.base;
    }
    left.size[0] = spec.output[0], left.size[1] = spec.output[1];
    left.taps[0] = rows.taps, left.taps[1] = max(1, columns.taps);
    left.step[0] = rows.step, left.step[1] = columns.step;
    left.pixel = spec.out_channels, left.depth = depth;
    left.begin();

    TurnedSource<T, B, WHOLE> right;
    i64 tap = i64(channels) * spec.out_channels;
    right.weight = weight + (i64(reached ? rows.first : 0) * spec.kernel[1] + (reached ? columns.first : 0)) * tap
        + i64(tile_n) * spec.out_channels + group * depth;
    right.row = spec.out_channels, right.tap_row = rows.apart * spec.kernel[1] * tap, right.tap_column = columns.apart * tap;
    right.rows = channels - tile_n;
    right.taps[0] = rows.taps, right.taps[1] = max(1, columns.taps), right.depth = depth;
    right.begin();

    BlockProduct<T> product;
    multiply<T, A, B>(product, left, right, (sum + STEP - 1) / STEP, shared);
    float* tile = (float*)shared;
    // Where each row of the tile is: found by one thread, and not with divisions by all that write a part of it.
    i64* places = (i64*)(tile + finish_floats<T>());
    for (int m = threadIdx.x; m < T::M; m += T::THREADS) {
        i32 image = (tile_m + m) / area, pixel = (tile_m + m) % area;
        i32 row = pixel / columns.places * spec.stride[0] + remainder[0], column = pixel % columns.places * spec.stride[1] + remainder[1];
        places[m] = ((i64(image) * spec.input[0] + row) * spec.input[1] + column) * spec.in_channels;
    }
    __syncthreads();
    auto at = [&](int m) { return places[m]; };
    i32 first = group * channels;
    finish<T, WHOLE, A, B>(product, tile, epilogue, dx, at, pixels - tile_m, first + tile_n, first + channels, part, spec.in_channels);
}

#define ARGUMENTS Conv2dSpec spec, const element *dy, const element *weight, Epilogue epilogue, element *dx
#define GIVEN spec, dy, weight, epilogue, dx

KERNEL(Large::THREADS) data_large(ARGUMENTS) { backward_data<Large, true>(GIVEN); }
KERNEL(Narrow::THREADS) data_narrow(ARGUMENTS) { backward_data<Narrow, true>(GIVEN); }
KERNEL(Small::THREADS) data_small(ARGUMENTS) { backward_data<Small, true>(GIVEN); }
KERNEL(Small::THREADS) data_any(ARGUMENTS) { backward_data<Small, false>(GIVEN); }
