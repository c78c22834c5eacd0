// A matrix product by blocks: how a block's operands lie in shared memory, and who computes what.
//
// A block computes a tile [M, N] of a product. It walks along the sum in steps of 128 bytes of each row (64 bf16 or 32 f32)
// and keeps the operands of some steps in shared memory at once, so that the next ones are on their way while it multiplies.
// Everything moves in chunks of 16 bytes.
#pragma once
#include "prim.cuh"

// Elements of a chunk, and chunks of a row of 128 bytes.
constexpr int CHUNK = 16 / sizeof(element);
constexpr int ROW_CHUNKS = 8;
// Elements of the sum in a step.
constexpr int STEP = ROW_CHUNKS * CHUNK;

// Which way an operand's elements are contiguous, in global as in shared memory.
enum Major {
    ALONG_SUM,    // a row of memory is one row (or column) of the product, and a step of the sum
    ACROSS_SUM,   // a row of memory is one place of the sum, and the rows (or columns) of the tile
};

// The chunk of a row and column in a block of rows of 128 bytes, likewise in different banks.
DEVICE element* chunk_of_block(unsigned char* block, int row, int column) {
    return (element*)(block + 16 * (row * ROW_CHUNKS + (column ^ (row & 7))));
}

// M rows and N columns of the product, computed by WARPS_M by WARPS_N warps.
template <int M_, int N_, int WARPS_M, int WARPS_N, int STAGES_ = 3> struct Tile {
    static constexpr int M = M_, N = N_;
    static constexpr int WARP_M = M / WARPS_M, WARP_N = N / WARPS_N;
    static constexpr int THREADS = 32 * WARPS_M * WARPS_N;
    static constexpr int STAGES = STAGES_;

    // Where this warp's part begins.
    static DEVICE int warp_m() { return int(threadIdx.x) / 32 % WARPS_M * WARP_M; }
    static DEVICE int warp_n() { return int(threadIdx.x) / 32 / WARPS_M * WARP_N; }
};

// An operand of SIDE rows (or columns) of the tile. Eight chunks of a row are a block with those of the rows below.
template <class T, Major MAJOR_, int SIDE_> struct Operand {
    static constexpr Major MAJOR = MAJOR_;
    static constexpr int SIDE = SIDE_;
    // Rows of memory, chunks of each, and bytes of a stage.
    static constexpr int ROWS = MAJOR == ALONG_SUM ? SIDE : STEP;
    static constexpr int COLUMNS = MAJOR == ALONG_SUM ? ROW_CHUNKS : SIDE / CHUNK;
    static constexpr int BYTES = SIDE * ROW_CHUNKS * 16;
    // Each thread copies COUNT chunks of one column, from rows that are APART.
    static constexpr int COUNT = SIDE * ROW_CHUNKS / T::THREADS;
    static constexpr int APART = T::THREADS / COLUMNS;

    static DEVICE int column() { return int(threadIdx.x) % COLUMNS; }
    static DEVICE int row(int i) { return int(threadIdx.x) / COLUMNS + i * APART; }

    // The chunk of a row and column. Neighbours in a column lie in different banks, as eight of them are read at once.
    static DEVICE element* chunk(unsigned char* stage, int row, int column) {
        return chunk_of_block(stage + column / ROW_CHUNKS * ROWS * 128, row, column % ROW_CHUNKS);
    }
};

// What a block needs: the stages, or later the tile itself in f32.
template <class T> DEVICE constexpr int stage_bytes() { return (T::M + T::N) * ROW_CHUNKS * 16; }
// Floats from a row of the tile to the next: so that the rows of which a warp writes pairs at once lie in different banks.
template <class T> DEVICE constexpr int tile_row() { return T::N + 8; }
