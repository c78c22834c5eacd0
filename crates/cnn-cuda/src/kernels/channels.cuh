// Passes over an activation [rows, channels]: which elements are a thread's, and sums over rows for each channel.
//
// A thread keeps to a few channels, whose coefficients and sums stay in its registers, and walks down the rows of its
// block's part. What it sums is added over the block's threads in shared memory, and over the parts by a second kernel:
// combine.cuh.
#pragma once
#include "vectors.cuh"

// How a pass is cut, as cnn-cuda/src/channels.rs has it. Block (x, y) has part x of the rows; its threads lie in `lines`
// of `columns` each, beside which those of block (x, y + 1) go on.
struct Parts {
    u64 rows;
    u32 channels;
    u32 rows_per_part;  // the last part has the rest
    u32 columns;
    u32 lines;
};

constexpr u32 THREADS = 256;

// What of its block's part is a thread's: N channels of every `lines`th row from `line` on.
template <int N> struct Share {
    u32 line, lines, channels;
    u32 channel;  // the first of N
    u32 rows;     // of the part; none for a thread without channels
    u64 start;    // where `channel` is in the first row

    DEVICE explicit Share(const Parts& parts) {
        line = threadIdx.x / parts.columns;
        lines = parts.lines;
        channels = parts.channels;
        channel = (blockIdx.y * parts.columns + threadIdx.x % parts.columns) * N;
        u64 first = u64(blockIdx.x) * parts.rows_per_part;
        bool idle = line >= lines || channel >= channels;
        rows = idle ? 0 : u32(min(parts.rows - first, u64(parts.rows_per_part)));
        start = first * channels + channel;
    }

    // Row `i` of the batch of rows that begins with `row`, and whether there is one.
    DEVICE u32 row_of(u32 row, int i) const { return row + i * lines; }
    DEVICE bool has(u32 row, int i) const { return row_of(row, i) < rows; }
    DEVICE u64 at(u32 row, int i) const { return start + u64(row_of(row, i)) * channels; }

    // A batch of rows: all reads are under way before the first is waited for.
    template <int BATCH> DEVICE void load_batch(Packed<N> (&x)[BATCH], const element* from, u32 row) const {
#pragma unroll
        for (int i = 0; i < BATCH; i++) x[i] = has(row, i) ? load<N>(from + at(row, i)) : Packed<N>{};
    }

    // Whether this thread has the block's results for its channels, and where they go in a list [parts, channels].
    DEVICE bool has_results() const { return line == 0 && rows > 0; }
    DEVICE u64 result_at() const { return u64(blockIdx.x) * channels + channel; }
};

// `row` for the first of each batch of rows of a share.
#define FOR_EACH_BATCH(row, share, BATCH) for (u32 row = (share).line; row < (share).rows; row += (BATCH) * (share).lines)

// The largest power of two below `lines`: the first distance of a sum over lines by halves; 0 for one line.
DEVICE u32 first_half(u32 lines) {
    u32 half = 1;
    while (half < lines) half *= 2;
    return half / 2;
}

// The sums over a block's lines of K * N numbers a thread, in a fixed order; line 0 has them.
template <int K, int N> DEVICE void sum_over_lines(float (&sums)[K][N], const Share<N>& share, const Parts& parts) {
    __shared__ float room[K][N][THREADS];
    for (u32 half = first_half(share.lines); half > 0; half /= 2) {
        bool gives = share.line >= half && share.line < min(2 * half, share.lines);
        bool takes = share.line < half && share.line + half < share.lines;
#pragma unroll
        for (int k = 0; k < K; k++) {
#pragma unroll
            for (int i = 0; i < N; i++) {
                if (gives) room[k][i][threadIdx.x] = sums[k][i];
            }
        }
        __syncthreads();
#pragma unroll
        for (int k = 0; k < K; k++) {
#pragma unroll
            for (int i = 0; i < N; i++) {
                if (takes) sums[k][i] += room[k][i][threadIdx.x + half * parts.columns];
            }
        }
        // No barrier here: the next givers were takers, and nobody reads their places again before the next barrier.
    }
}
