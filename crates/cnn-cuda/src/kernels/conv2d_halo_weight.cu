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

// The sums of a warp's row of taps: 16 channels of the input, from sixteen times a warp's number in its group on, by all of the
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
    // Whether the products of a step are still under way behind the barrier of the next.
    static constexpr int LATE = 1;
    u32 left[2][SIDE][4];

    // Starts the products of a step. `place(k)` is that of this lane's pixel of part k, under the first tap of the row; `fetch`
    // starts the copies of a later step. Pixels of a part are read while those before them are multiplied.
    template <class Place, class Fetch> DEVICE void add(unsigned char* piece, unsigned char* gradient, Place place, i32 apart, Fetch fetch) {
        u64 right = shared_matrix(gradient, 16);
#pragma unroll 1
        for (int k = 0; k < PIXELS / DEPTH; k += 2) {
#pragma unroll
            for (int i = 0; i < 2; i++) {
                i32 first = place(k + i);
#pragma unroll
                for (int tap = 0; tap < SIDE; tap++) read(left[i][tap], piece, first + tap * apart);
                end();
                warpgroup_arrive();
#pragma unroll
                for (int tap = 0; tap < SIDE; tap++) warpgroup_mma<true>(sums[tap], left[i][tap], right + (k + i) * 128);
                warpgroup_commit();
            }
            if (k == 0) fetch();
        }
    }

    static DEVICE void arrived() { fence_for_warpgroups(); }
    DEVICE void end() {
        warpgroup_wait<0>();
        settle(sums);
    }
#else
    static constexpr int LATE = 0;

    template <class Place, class Fetch> DEVICE void add(unsigned char* piece, unsigned char* gradient, Place place, i32 apart, Fetch fetch) {
        i32 lane = threadIdx.x % 32;
        fetch();
#pragma unroll 2
        for (int k = 0; k < PIXELS / DEPTH; k++) {
            u32 left[SIDE][4], right[CHANNELS / 8][2];
            i32 first = place(k);
#pragma unroll
            for (int tap = 0; tap < SIDE; tap++) read(left[tap], piece, first + tap * apart);
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
    DEVICE void end() {}
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

// Where the pixels of a step are, and what they need of the images: looked up once by all threads together.
struct StepTable {
    i32* places;   // of PIXELS, in the step's piece; those behind the last are where the last is, where there are numbers
    i32* sources;  // see HaloPiece
};

// `width` channels of the output in each group.
KERNEL(THREADS) halo_weight(Halo halo, HaloSplit split, const element* x, const element* dy, float* dw, i32 width) {
    DYNAMIC_SHARED(shared);
    constexpr int AHEAD = STAGES - 1 - TapSums::LATE;
    i32 across = (width + CHANNELS - 1) / CHANNELS, group = blockIdx.z;
    i32 channel = blockIdx.x / across * CHANNELS, column = blockIdx.x % across * CHANNELS, columns = gridDim.z * width;
    i32 begin = blockIdx.y * split.steps * PIXELS, end = min(halo.pixels, begin + split.steps * PIXELS);
    i32 steps = (end - begin + PIXELS - 1) / PIXELS;
    const element* gradient = dy + group * width + column;
    HaloPiece<THREADS> piece{halo, x + group * halo.depth};

    i32 stage_bytes = halo.room_bytes() + GRADIENT_BYTES;
    auto stage = [&](i32 step) { return shared + step % STAGES * stage_bytes; };
    auto gradient_of = [&](i32 step) { return stage(step) + halo.room_bytes(); };
    // A table is written a step before it is first used, and last used when the step is multiplied.
    auto table = [&](i32 step) {
        i32* at = (i32*)(shared + STAGES * stage_bytes) + step % (STAGES + 1) * (PIXELS + halo.places);
        return StepTable{at, at + PIXELS};
    };
    auto locate = [&](i32 step) { piece.locate(begin + step * PIXELS, min(begin + (step + 1) * PIXELS, end) - 1); };
    auto look_up = [&](i32 step) {
        if (step >= steps) return;
        StepTable here = table(step);
        locate(step);
        piece.look_up(here.sources);
        i32 first = begin + step * PIXELS;
        if (threadIdx.x < PIXELS) here.places[threadIdx.x] = halo.place_of(min(first + i32(threadIdx.x), end - 1)) - piece.first;
    };
    auto fetch = [&](i32 step) {
        if (step < steps) {
            locate(step);
            piece.fetch(stage(step), table(step).sources, channel, 0, piece.count);
            i32 first = begin + step * PIXELS, chunk = threadIdx.x % ROW_CHUNKS;
            bool there = column + chunk * CHUNK < width;
            for (i32 row = threadIdx.x / ROW_CHUNKS; row < PIXELS; row += THREADS / ROW_CHUNKS) {
                bool inside = first + row < end && there;
                copy_async_16(chunk_of_block(gradient_of(step), row, chunk), gradient + i64(first + row) * columns + chunk * CHUNK, inside);
            }
        }
        copy_async_commit();  // an empty group too, so that groups are counted as steps
    };

#pragma unroll
    for (int step = 0; step <= AHEAD; step++) look_up(step);
    __syncthreads();  // the first tables are there
    TapSums sums;
#pragma unroll
    for (int step = 0; step < AHEAD; step++) fetch(step);
    i32 tap_row = halo.offset_of(TapSums::tap_row(), 0);
    i32 pixel = i32(threadIdx.x) % 8 + i32(threadIdx.x) % 32 / 16 * 8;  // of DEPTH
    i32 step = 0;
    // There is a step: to the assembler this says that the sums are not written between the products.
#pragma unroll 1
    do {
        copy_async_wait<AHEAD - 1>();
        sums.arrived();
        __syncthreads();  // all chunks of this step are there, and nobody reads the pixels of the step before it any more
        const i32* places = table(step).places + pixel;
        sums.add(stage(step), gradient_of(step), [&](int k) { return places[DEPTH * k] + tap_row; }, halo.apart[1],
                 [&] { fetch(step + AHEAD); });
        look_up(step + AHEAD + 1);
    } while (++step < steps);
    copy_async_wait<0>();
    sums.end();
    i64 tap_numbers = i64(halo.depth) * columns, part = blockIdx.y * SIDE * SIDE * tap_numbers;
    float* to = dw + part + (TapSums::tap_row() * SIDE) * tap_numbers + i64(channel) * columns + group * width + column;
    sums.write([&](int tap) { return to + tap * tap_numbers; }, halo.depth - channel, width - column, columns);
}

#endif
