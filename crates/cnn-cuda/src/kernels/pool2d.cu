// Maximum and average pooling, both ways.
//
// A thread has some neighbouring channels of one pixel of what is written, and reads what it needs for them: also in the
// backward passes, so that nothing is added by two threads.
#include "grid.cuh"
#include "vectors.cuh"

// A pooling of images [N, H, W, C], rows before columns. As cnn-cuda/src/pool2d.rs has it.
struct Pooling {
    i32 input[2];
    i32 output[2];
    i32 window[2];  // 0 where the output's size makes the windows
    i32 stride[2];
    i32 padding_before[2];
    i32 padding_after[2];
    i32 channels;
    i32 count_include_pad;
};

struct Place {
    u32 image;
    i32 row;
    i32 column;
    u32 channel;
};

// Of vector `i` of N channels in images of such a size.
template <int N> DEVICE Place place_of(u32 i, const i32 (&size)[2], i32 channels) {
    u32 vectors = u32(channels) / N;
    u32 pixel = i / vectors, row = pixel / u32(size[1]), image = row / u32(size[0]);
    return {image, i32(row - image * size[0]), i32(pixel - row * size[1]), (i - pixel * vectors) * N};
}

// Where a channel of an image of such a size begins.
DEVICE u64 image_at(const Place& place, const i32 (&size)[2], i32 channels) {
    return u64(place.image) * u32(size[0]) * u32(size[1]) * u32(channels) + place.channel;
}

// Rows or columns from `first` to before `end`.
struct Span {
    i32 first;
    i32 end;
};

// Windows are small: unrolled, the loop takes registers, and most passes go through what is left over.
#define FOR_EACH_IN(i, span) _Pragma("unroll 1") for (i32 i = (span).first; i < (span).end; i++)

// Which of `of` places share `part` of `parts` equal parts of them. The host has refused products that take more than 31 bits:
// a division of 64 is a call, around which registers are spilled.
DEVICE Span shares(u32 of, u32 parts, u32 part) {
    u32 at = part * of;
    return {i32(at / parts), i32((at + of + parts - 1) / parts)};
}

// The rows (axis 0) or columns (axis 1) of the image under window `o`.
DEVICE Span pixels_under(const Pooling& p, int axis, i32 o) {
    if (p.window[axis] == 0) return shares(p.input[axis], p.output[axis], o);
    i32 start = o * p.stride[axis] - p.padding_before[axis];
    return {max(start, 0), min(start + p.window[axis], p.input[axis])};
}

// How many rows or columns an average over window `o` counts.
DEVICE i32 counted_under(const Pooling& p, int axis, i32 o) {
    Span inside = pixels_under(p, axis, o);
    if (!p.count_include_pad) return inside.end - inside.first;
    i32 start = o * p.stride[axis] - p.padding_before[axis];
    return min(start + p.window[axis], p.input[axis] + p.padding_after[axis]) - start;
}

// The windows that cover row or column `i` of the image.
DEVICE Span windows_over(const Pooling& p, int axis, i32 i) {
    if (p.window[axis] == 0) return shares(p.output[axis], p.input[axis], i);
    u32 stride = p.stride[axis], padded = i + p.padding_before[axis];
    // The first is the least o with o * stride + window > padded.
    u32 first = u32(max(i32(padded) - p.window[axis] + i32(stride), 0)) / stride;
    return {i32(first), min(i32(padded / stride) + 1, p.output[axis])};
}

template <int N> DEVICE void maxima(const element* x, element* y, u32* places, const Pooling& p, u64 count) {
    FOR_EACH_ELEMENT(i, count / N) {
        Place place = place_of<N>(u32(i), p.output, p.channels);
        Span rows = pixels_under(p, 0, place.row), columns = pixels_under(p, 1, place.column);
        const element* image = x + image_at(place, p.input, p.channels);
        float largest[N];
        Packed<N, u32> where;
        for (int lane = 0; lane < N; lane++) {
            largest[lane] = __uint_as_float(0xff800000u);  // minus infinity
            where.words[lane] = rows.first * p.input[1] + columns.first;
        }
        FOR_EACH_IN(row, rows) {
            FOR_EACH_IN(column, columns) {
                u32 pixel = row * p.input[1] + column;
                float numbers[N];
                unpack(numbers, load<N>(image + u64(pixel) * u32(p.channels)));
                for (int lane = 0; lane < N; lane++) {
                    // Of equal numbers the first stays. A comparison with NaN is false: no number takes its place.
                    float number = numbers[lane];
                    bool wins = number > largest[lane] || isnan(number);
                    largest[lane] = wins ? number : largest[lane];
                    where.words[lane] = wins ? pixel : where.words[lane];
                }
            }
        }
        store_floats(y + i * N, largest);
        store(places + i * N, where);
    }
}

// The maximum of every window and its pixel.
KERNEL(256) max_pool2d(const element* x, element* y, u32* places, Pooling p, u64 count) {
    if (p.channels % VECTOR == 0) maxima<VECTOR>(x, y, places, p, count);
    else maxima<1>(x, y, places, p, count);
}

template <int N>
DEVICE void maxima_backward(const element* dy, const u32* places, element* dx, const Pooling& p, u64 count) {
    FOR_EACH_ELEMENT(i, count / N) {
        Place place = place_of<N>(u32(i), p.input, p.channels);
        Span rows = windows_over(p, 0, place.row), columns = windows_over(p, 1, place.column);
        u64 image = image_at(place, p.output, p.channels);
        u32 pixel = place.row * p.input[1] + place.column;
        float sum[N] = {};
        FOR_EACH_IN(row, rows) {
            FOR_EACH_IN(column, columns) {
                u64 at = image + u64(u32(row * p.output[1] + column)) * u32(p.channels);
                Packed<N, u32> where = load<N>(places + at);
                float gradient[N];
                unpack(gradient, load<N>(dy + at));
                for (int lane = 0; lane < N; lane++) {
                    if (where.words[lane] == pixel) sum[lane] += gradient[lane];
                }
            }
        }
        store_floats(dx + i * N, sum);
    }
}

// The gradients of the maxima that a pixel is.
KERNEL(256) max_pool2d_backward(const element* dy, const u32* places, element* dx, Pooling p, u64 count) {
    if (p.channels % VECTOR == 0) maxima_backward<VECTOR>(dy, places, dx, p, count);
    else maxima_backward<1>(dy, places, dx, p, count);
}

template <int N> DEVICE void add(float (&sum)[N], const element* from) {
    float numbers[N];
    unpack(numbers, load<N>(from));
    for (int lane = 0; lane < N; lane++) sum[lane] += numbers[lane];
}

template <int N> DEVICE void store_average(element* to, const float (&sum)[N], i32 counted) {
    float average[N];
    for (int lane = 0; lane < N; lane++) average[lane] = sum[lane] * (1.0f / float(counted));
    store_floats(to, average);
}

template <int N> DEVICE void averages(const element* x, element* y, const Pooling& p, u64 count) {
    FOR_EACH_ELEMENT(i, count / N) {
        Place place = place_of<N>(u32(i), p.output, p.channels);
        Span rows = pixels_under(p, 0, place.row), columns = pixels_under(p, 1, place.column);
        const element* image = x + image_at(place, p.input, p.channels);
        float sum[N] = {};
        FOR_EACH_IN(row, rows) {
            FOR_EACH_IN(column, columns) {
                add(sum, image + u64(u32(row * p.input[1] + column)) * u32(p.channels));
            }
        }
        store_average(y + i * N, sum, counted_under(p, 0, place.row) * counted_under(p, 1, place.column));
    }
}

// The average of every window.
KERNEL(256) avg_pool2d(const element* x, element* y, Pooling p, u64 count) {
    if (p.channels % VECTOR == 0) averages<VECTOR>(x, y, p, count);
    else averages<1>(x, y, p, count);
}

// One window of `lanes` vectors of channels by a block: its other threads have other pixels, the next ones `slices` on.
template <int N> DEVICE void large_average(const element* x, element* y, const Pooling& p, u32 lanes) {
    __shared__ float sums[N][256];
    u32 vectors = u32(p.channels) / N, slices = 256 / lanes;
    u32 vector = blockIdx.y * lanes + threadIdx.x % lanes, slice = threadIdx.x / lanes;
    Place place = place_of<N>(blockIdx.x * vectors, p.output, p.channels);
    Span rows = pixels_under(p, 0, place.row), columns = pixels_under(p, 1, place.column);
    const element* image = x + image_at(place, p.input, p.channels) + u64(vector) * N;
    float sum[N] = {};
    if (vector < vectors) {
        u32 width = columns.end - columns.first, pixels = (rows.end - rows.first) * width;
        for (u32 pixel = slice; pixel < pixels; pixel += slices) {
            u32 row = pixel / width, column = pixel - row * width;
            u32 at = (rows.first + row) * p.input[1] + columns.first + column;
            add(sum, image + u64(at) * u32(p.channels));
        }
    }
    for (int lane = 0; lane < N; lane++) sums[lane][threadIdx.x] = sum[lane];
    for (u32 half = slices / 2; half > 0; half /= 2) {
        __syncthreads();
        if (slice >= half) continue;
        for (int lane = 0; lane < N; lane++) {
            sum[lane] += sums[lane][threadIdx.x + half * lanes];
            sums[lane][threadIdx.x] = sum[lane];
        }
    }
    if (slice == 0 && vector < vectors) {
        i32 counted = counted_under(p, 0, place.row) * counted_under(p, 1, place.column);
        store_average(y + (u64(blockIdx.x) * vectors + vector) * N, sum, counted);
    }
}

// The same where windows are so large that there are few of them. `lanes` is a power of two, at most 32.
KERNEL(256) avg_pool2d_large(const element* x, element* y, Pooling p, u32 lanes) {
    if (p.channels % VECTOR == 0) large_average<VECTOR>(x, y, p, lanes);
    else large_average<1>(x, y, p, lanes);
}

template <int N> DEVICE void averages_backward(const element* dy, element* dx, const Pooling& p, u64 count) {
    FOR_EACH_ELEMENT(i, count / N) {
        Place place = place_of<N>(u32(i), p.input, p.channels);
        Span rows = windows_over(p, 0, place.row), columns = windows_over(p, 1, place.column);
        const element* image = dy + image_at(place, p.output, p.channels);
        float sum[N] = {};
        FOR_EACH_IN(row, rows) {
            i32 counted_rows = counted_under(p, 0, row);
            FOR_EACH_IN(column, columns) {
                float share = 1.0f / float(counted_rows * counted_under(p, 1, column));
                float gradient[N];
                unpack(gradient, load<N>(image + u64(u32(row * p.output[1] + column)) * u32(p.channels)));
                for (int lane = 0; lane < N; lane++) sum[lane] = fmaf(gradient[lane], share, sum[lane]);
            }
        }
        store_floats(dx + i * N, sum);
    }
}

// Every pixel's share of the gradients of the windows that it is in.
KERNEL(256) avg_pool2d_backward(const element* dy, element* dx, Pooling p, u64 count) {
    if (p.channels % VECTOR == 0) averages_backward<VECTOR>(dy, dx, p, count);
    else averages_backward<1>(dy, dx, p, count);
}
