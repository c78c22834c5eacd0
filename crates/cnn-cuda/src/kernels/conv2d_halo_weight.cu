// Convolution with 3x3 taps one pixel apart, on tensor cores: gradient of the weight. As conv2d_weight.cu but for the pixels of
// the input, which are read from a piece of the images in shared memory (halo.cuh) by all taps.
//
// A block has 64 channels of the input, 64 of the output and all nine taps of them in registers: a group of four warps for
// each row of taps, of which a warp has 16 channels. It walks over its part of the pixels; other parts are other blocks',
// and a second kernel adds up their sums in order (split.cu).
//
// Counted for tiles of 128 pixels: 16 KiB of the gradient and some 26 to 30 KiB of the input from the L2 cache for 9.4 MFLOP,
// three times as many for each byte as tiles of 128 by 128 whose pixels are gathered for each tap.
#include "halo.cuh"
#include "vectors.cuh"

#if ELEMENT_BF16

// How the sum is cut: parts of so many steps.
struct HaloSplit {
    i32 steps;
};

constexpr int SIDE = 3;        // rows and columns of taps
constexpr int CHANNELS = 64;   // of both operands
constexpr int PIXELS = 128;    // of a step
constexpr int DEPTH = 16;      // pixels of a product
constexpr int THREADS = 128 * SIDE;
constexpr int STAGES = 3;
constexpr int GRADIENT_BYTES = PIXELS * CHANNELS * sizeof(element);

// The sums of a warp's row of taps: 16 channels of the input, from four times a warp's number in its group on, by all of the
// output. Both operands have pixels as rows of 128 bytes.
struct TapSums {
    float sums[SIDE][CHANNELS / 8][4] = {};

    static DEVICE i32 tap_row() { return threadIdx.x / 128; }
    static DEVICE i32 channel() { return threadIdx.x / 32 % 4 * 16; }

    // DEPTH pixels under one tap, of the warp's channels. `place` is where this lane's pixel is.
    static DEVICE void read(u32 (&left)[4], unsigned char* piece, i32 place) {
        ldmatrix_x4_trans(left, chunk_of_block(piece, place, channel() / 8 + i32(threadIdx.x) % 32 / 8 % 2));
    }

#if WARPGROUPS
    // Pixels whose products are under way at once, in units of DEPTH: registers are few.
    static constexpr int AT_ONCE = 2;

    // Adds the products of a step. `place(k, tap)` is that of this lane's pixel of part k.
    template <class Place> DEVICE void add(unsigned char* piece, unsigned char* gradient, Place place) {
        u64 right = shared_matrix(gradient, 16);
#pragma unroll 1
        for (int k = 0; k < PIXELS / DEPTH; k += AT_ONCE) {
            u32 left[AT_ONCE][SIDE][4];
#pragma unroll
            for (int i = 0; i < AT_ONCE; i++)
#pragma unroll
                for (int tap = 0; tap < SIDE; tap++) read(left[i][tap], piece, place(k + i, tap));
            warpgroup_arrive();
#pragma unroll
            for (int i = 0; i < AT_ONCE; i++)
#pragma unroll
                for (int tap = 0; tap < SIDE; tap++) warpgroup_mma<true>(sums[tap], left[i][tap], right + (k + i) * 128);
            warpgroup_commit();
            warpgroup_wait<0>();
            settle(sums);
        }
    }

    static DEVICE void arrived() { fence_for_warpgroups(); }
#else
    template <class Place> DEVICE void add(unsigned char* piece, unsigned char* gradient, Place place) {
        i32 lane = threadIdx.x % 32;
#pragma unroll 2
        for (int k = 0; k < PIXELS / DEPTH; k++) {
            u32 left[SIDE][4], right[CHANNELS / 8][2];
#pragma unroll
            for (int tap = 0; tap < SIDE; tap++) read(left[tap], piece, place(k, tap));
#pragma unroll
            for (int j = 0; j < CHANNELS / 8; j += 2) {
                u32 two[4];
                ldmatrix_x4_trans(two, chunk_of_block(gradient, DEPTH * k + lane % 16, j + lane / 16));
                right[j][0] = two[0], right[j][1] = two[1];
                right[j + 1][0] = two[2], right[j + 1][1] = two[3];
            }
#pragma unroll
            for (int tap = 0; tap < SIDE; tap++)
#pragma unroll
                for (int j = 0; j < CHANNELS / 8; j++) mma_bf16(sums[tap][j], left[tap], right[j]);
        }
    }

    static DEVICE void arrived() {}
#endif

    // Writes them: `to(tap)` is where the first channels' sums of a tap of the row are, `rows` and `columns` are the channels
    // that there are from these on, `stride` the numbers from row to row.
    template <class To> DEVICE void write(To to, i32 rows, i32 columns, i32 stride) const {
        i32 lane = threadIdx.x % 32;
#pragma unroll
        for (int tap = 0; tap < SIDE; tap++)
#pragma unroll
            for (int j = 0; j < CHANNELS / 8; j++)
#pragma unroll
                for (int half = 0; half < 2; half++) {
                    i32 row = channel() + 8 * half + lane / 4, column = 8 * j + lane % 4 * 2;
                    if (row >= rows || column >= columns) continue;
                    float two[2] = {sums[tap][j][2 * half], sums[tap][j][2 * half + 1]};
                    store_floats(to(tap) + i64(row) * stride + column, two);
                }
    }
};

// `width` channels of the output in each group.
KERNEL(THREADS) halo_weight(Halo halo, HaloSplit split, const element* x, const element* dy, float* dw, i32 width) {
    DYNAMIC_SHARED(shared);
    i32 across = (width + CHANNELS - 1) / CHANNELS, group = blockIdx.z;
    i32 channel = blockIdx.x / across * CHANNELS, column = blockIdx.x % across * CHANNELS, columns = gridDim.z * width;
    i32 begin = blockIdx.y * split.steps * PIXELS, end = min(halo.pixels, begin + split.steps * PIXELS);
    i32 steps = (end - begin + PIXELS - 1) / PIXELS;
    const element* gradient = dy + group * width + column;
    HaloPiece<THREADS> piece{halo, x + group * halo.depth};

    auto stage = [&](i32 step) { return shared + step % STAGES * (halo.room_bytes() + GRADIENT_BYTES); };
    auto gradient_of = [&](i32 step) { return stage(step) + halo.room_bytes(); };
    auto fetch = [&](i32 step) {
        i32 first = begin + step * PIXELS, last = min(first + PIXELS, end) - 1;
        if (step < steps) {
            piece.locate(first, last);
            piece.fetch(stage(step), channel, 0, piece.count);
            i32 chunk = threadIdx.x % ROW_CHUNKS;
            for (i32 row = threadIdx.x / ROW_CHUNKS; row < PIXELS; row += THREADS / ROW_CHUNKS) {
                bool inside = first + row <= last && column + chunk * CHUNK < width;
                const element* from = inside ? gradient + i64(first + row) * columns + chunk * CHUNK : dy;
                copy_async_16(chunk_of_block(gradient_of(step), row, chunk), from, inside);
            }
        }
        copy_async_commit();  // an empty group too, so that groups are counted as steps
    };

    TapSums sums;
#pragma unroll
    for (int step = 0; step < STAGES - 1; step++) fetch(step);
#pragma unroll 1
    for (i32 step = 0; step < steps; step++) {
        copy_async_wait<STAGES - 2>();
        sums.arrived();
        __syncthreads();  // all chunks of this step are there, and nobody reads the step before it any more
        fetch(step + STAGES - 1);
        i32 tile = begin + step * PIXELS, last = min(tile + PIXELS, end) - 1, first = halo.place_of(tile);
        i32 pixel = tile + i32(threadIdx.x) % 8 + i32(threadIdx.x) % 32 / 16 * 8;
        i32 offset = halo.offset_of(TapSums::tap_row(), 0) - first;
        // Pixels behind the last are multiplied by zeros; they are read where the last is, where there are numbers.
        auto place = [&](int k, int tap) { return halo.place_of(min(pixel + DEPTH * k, last)) + offset + tap * halo.apart[1]; };
        sums.add(stage(step), gradient_of(step), place);
    }
    copy_async_wait<0>();
    i64 tap_numbers = i64(halo.depth) * columns, part = blockIdx.y * SIDE * SIDE * tap_numbers;
    float* to = dw + part + (TapSums::tap_row() * SIDE) * tap_numbers + i64(channel) * columns + group * width + column;
    sums.write([&](int tap) { return to + tap * tap_numbers; }, halo.depth - channel, width - column, columns);
}

#endif
