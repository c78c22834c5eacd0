// Convolution, gradient of the weight: a product of [taps * channels, pixels] and the gradient [pixels, out channels]. The
// sum over pixels is cut into splits, which write sums of their own that a second kernel adds up in order (split.cu).
#include "divisor.cuh"
#include "epilogue.cuh"
#include "tiles.cuh"

// How the sum is cut, and how its places become pixels.
struct Split {
    i32 pixels;        // of a split: a multiple of a step
    Divisor area, columns;  // of the output
};

// Places of the sum are pixels of the output, rows of the product are taps and channels of the input.
template <class T, class O, bool WHOLE> struct TapSource {
    // Where chunks are whole, a pixel of the input is looked up by one thread for all taps and channels of the tile.
    struct Found {
        i32 row, column;   // of the input, under a tap of no offset
        i32 at;            // the same in pixels from the first image on; -1 behind the split's last
        i32 unused;
    };
    static constexpr bool LOOKS_UP = WHOLE;
    static constexpr int SLOTS = T::STAGES - 1;
    Found* table;          // [SLOTS, STEP]
    i32 first, step;       // the split's first pixel, and the step that is fetched next
    const element* of_tap; // x from this thread's tap and channel on
    const element* x;      // this group's channels
    i32 input[2], output[2], stride[2];
    Divisor area, output_columns;
    i32 pixel;             // elements from pixel to pixel
    i32 place, end;        // the next step's first pixel, and where this split's end
    bool real;             // whether this thread's chunk is of a tap at all
    i32 offset[2], channel;  // of its tap, and its first channel
    i32 chunk_first, depth, kernel_columns, sums, padding[2], dilation[2];  // to find them element by element

    DEVICE void begin(i32 first) {
        chunk_first = first + O::column() * CHUNK;
        real = chunk_first < sums;
        locate(chunk_first, offset, channel);
        of_tap = x + (i64(offset[0]) * input[1] + offset[1]) * pixel + channel;
        step = 0, this->first = place;
    }

    DEVICE void look_up(i32 step) {
        if (threadIdx.x >= STEP) return;
        i32 at = this->first + step * STEP + i32(threadIdx.x);
        i32 image = area.quotient(at), within = at - image * area.value;
        i32 row = output_columns.quotient(within), column = within - row * output_columns.value;
        row *= stride[0], column *= stride[1];
        table[step % SLOTS * STEP + threadIdx.x] = Found{row, column, at < end ? (image * input[0] + row) * input[1] + column : -1, 0};
    }

    DEVICE void locate(i32 row, i32 (&offset)[2], i32& channel) {
        i32 tap = row / depth;
        channel = row % depth;
        offset[0] = tap / kernel_columns * dilation[0] - padding[0];
        offset[1] = tap % kernel_columns * dilation[1] - padding[1];
    }

    DEVICE void fetch(unsigned char* stage) {
        if constexpr (WHOLE) {
#pragma unroll
            for (int i = 0; i < O::COUNT; i++) {
                Found found = table[step % SLOTS * STEP + O::row(i)];
                bool inside = real && found.at >= 0 && u32(found.row + offset[0]) < u32(input[0]) && u32(found.column + offset[1]) < u32(input[1]);
                copy_async_16(O::chunk(stage, O::row(i), O::column()), of_tap + i64(found.at) * pixel, inside);
            }
            step++;
        } else {
#pragma unroll
            for (int i = 0; i < O::COUNT; i++) {
                i32 at = place + O::row(i);
                i32 image = area.quotient(at), within = at - image * area.value;
                i32 row = output_columns.quotient(within), column = within - row * output_columns.value;
                row *= stride[0], column *= stride[1];
                const element* from = x + i64(image) * input[0] * input[1] * pixel;
                element* to = O::chunk(stage, O::row(i), O::column());
#pragma unroll 1
                for (int e = 0; e < CHUNK; e++) {
                    i32 offset[2], channel;
                    locate(chunk_first + e, offset, channel);
                    i32 r = row + offset[0], c = column + offset[1];
                    bool inside = chunk_first + e < sums && at < end && u32(r) < u32(input[0]) && u32(c) < u32(input[1]);
                    to[e] = inside ? from[(i64(r) * input[1] + c) * pixel + channel] : zero_element();
                }
            }
            place += STEP;
        }
    }
};

template <class T, bool WHOLE>
DEVICE void backward_weight(const Conv2dSpec& spec, const Split& split, const element* x, const element* dy, float* dw) {
    typedef Operand<T, ACROSS_SUM, T::M> A;
    typedef Operand<T, ACROSS_SUM, T::N> B;
    DYNAMIC_SHARED(shared);

    i32 depth = spec.in_channels / spec.groups, width = spec.out_channels / spec.groups;
    i32 across = (width + T::N - 1) / T::N;
    i32 tile_m = blockIdx.x / across * T::M, tile_n = blockIdx.x % across * T::N;
    i32 group = blockIdx.z, part = blockIdx.y;
    i32 pixels = spec.batch * spec.output[0] * spec.output[1];
    i32 begin = part * split.pixels, end = min(pixels, begin + split.pixels);
    i32 sums = spec.kernel[0] * spec.kernel[1] * depth;

    TapSource<T, A, WHOLE> left;
    left.x = x + group * depth;
#pragma unroll
    for (int axis = 0; axis < 2; axis++) {
        left.input[axis] = spec.input[axis], left.stride[axis] = spec.stride[axis];
        left.padding[axis] = spec.padding[axis], left.dilation[axis] = spec.dilation[axis];
    }
    left.area = split.area, left.output_columns = split.columns;
    left.pixel = spec.in_channels, left.depth = depth, left.kernel_columns = spec.kernel[1], left.sums = sums;
    left.place = begin, left.end = end;
    typedef TapSource<T, A, WHOLE> Left;
    left.table = (typename Left::Found*)(shared + T::STAGES * stage_bytes<T>());
    left.begin(tile_m);

    const element* gradient = dy + i64(begin) * spec.out_channels + group * width + tile_n;
    MatrixSource<B, WHOLE> right{gradient, spec.out_channels, end - begin, width - tile_n};

    BlockProduct<T> product;
    multiply<T, A, B>(product, left, right, (end - begin + STEP - 1) / STEP, shared);
    float* tile = (float*)shared;
    product.template write<A, B>(tile);
    __syncthreads();
    i32 first = group * width;
    write_sums<T>(tile, dw + i64(part) * sums * spec.out_channels, tile_m, sums, first + tile_n, first + width, spec.out_channels);
}

#define ARGUMENTS Conv2dSpec spec, Split split, const element *x, const element *dy, float *dw
#define GIVEN spec, split, x, dy, dw

KERNEL(Large::THREADS) weight_large(ARGUMENTS) { backward_weight<Large, true>(GIVEN); }
KERNEL(Narrow::THREADS) weight_narrow(ARGUMENTS) { backward_weight<Narrow, true>(GIVEN); }
KERNEL(Small::THREADS) weight_small(ARGUMENTS) { backward_weight<Small, true>(GIVEN); }
KERNEL(Small::THREADS) weight_any(ARGUMENTS) { backward_weight<Small, false>(GIVEN); }
