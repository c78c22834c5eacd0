// What follows the sum of a convolution or a dense layer: bias, residual, activation, moments, one pass over the tile.
#pragma once
#include "activations.cuh"
#include "conv2d.cuh"

// Pointers that are null for what is not there. `mean` and `squares` [tiles, columns] are the moments of each tile's rows.
struct Epilogue {
    const float* bias;
    const element* residual;
    float* mean;
    float* squares;
    i32 activation;
};

// Writes the tile to `rows` of y, of which `at(m)` gives the place of row m of the tile. The tile's first column is `column`
// of `columns`; `end` is where this group's end. WHOLE: chunks of channels are whole and aligned.
template <class T, bool WHOLE, class At>
DEVICE void finish_tile(float* tile, const Epilogue& epilogue, element* y, At at, i32 rows, i32 column, i32 end, i32 part, i32 columns) {
    constexpr int ACROSS = T::N / CHUNK, APART = T::THREADS / ACROSS;
    int n = int(threadIdx.x) % ACROSS * CHUNK, first = int(threadIdx.x) / ACROSS;
    i32 here = column + n;
    float bias[CHUNK], sums[CHUNK];
#pragma unroll
    for (int e = 0; e < CHUNK; e++) {
        bias[e] = epilogue.bias && here + e < end ? epilogue.bias[here + e] : 0.0f;
        sums[e] = 0.0f;
    }
    if (here < end) {
        for (int m = first; m < min(rows, T::M); m += APART) {
            float* values = tile + m * tile_row<T>() + n;
            i64 place = at(m) + here;
            float x[CHUNK];
#pragma unroll
            for (int e = 0; e < CHUNK; e++) x[e] = values[e] + bias[e];
            if (epilogue.residual) {
                float r[CHUNK];
                if (WHOLE) {
                    unpack(r, load<CHUNK>(epilogue.residual + place));
                } else {
#pragma unroll
                    for (int e = 0; e < CHUNK; e++) r[e] = here + e < end ? to_f32(epilogue.residual[place + e]) : 0.0f;
                }
#pragma unroll
                for (int e = 0; e < CHUNK; e++) x[e] += r[e];
            }
#pragma unroll
            for (int e = 0; e < CHUNK; e++) {
                // As it will be read: moments are those of the rounded numbers.
                x[e] = to_f32(from_f32<element>(activate(epilogue.activation, x[e])));
                sums[e] += x[e];
            }
            if (WHOLE) {
                store_floats(y + place, x);
            } else {
#pragma unroll
                for (int e = 0; e < CHUNK; e++) if (here + e < end) y[place + e] = from_f32<element>(x[e]);
            }
            if (epilogue.mean) {
#pragma unroll
                for (int e = 0; e < CHUNK; e++) values[e] = x[e];
            }
        }
    }
    if (!epilogue.mean) return;
    // Mean, then squared deviations from it, of the rows of each column; a row of threads at a time adds up, in order.
    float* room = tile + T::M * tile_row<T>();  // [APART, T::N]
    float count = float(min(rows, T::M)), mean[CHUNK];
    auto total = [&](float (&x)[CHUNK]) {
        __syncthreads();
#pragma unroll
        for (int e = 0; e < CHUNK; e++) room[first * T::N + n + e] = x[e];
        __syncthreads();
#pragma unroll
        for (int e = 0; e < CHUNK; e++) {
            float sum = 0.0f;
            for (int r = 0; r < APART; r++) sum += room[r * T::N + n + e];
            x[e] = sum;
        }
    };
    total(sums);
#pragma unroll
    for (int e = 0; e < CHUNK; e++) mean[e] = sums[e] / count, sums[e] = 0.0f;
    if (here < end) {
        for (int m = first; m < min(rows, T::M); m += APART) {
#pragma unroll
            for (int e = 0; e < CHUNK; e++) {
                float away = tile[m * tile_row<T>() + n + e] - mean[e];
                sums[e] += away * away;
            }
        }
    }
    total(sums);
    if (first == 0) {
#pragma unroll
        for (int e = 0; e < CHUNK; e++) {
            if (here + e < end) {
                epilogue.mean[i64(part) * columns + here + e] = mean[e];
                epilogue.squares[i64(part) * columns + here + e] = sums[e];
            }
        }
    }
}

// Writes the tile, as sums, to a matrix of `rows` and `columns`. The tile's first are row `m` and column `n` of it; `end` is
// where this group's columns end.
template <class T> DEVICE void write_sums(const float* tile, float* matrix, i32 m, i32 rows, i32 n, i32 end, i32 columns) {
    float* to = matrix + i64(m) * columns + n;
    for (int i = threadIdx.x; i < T::M * T::N; i += T::THREADS) {
        int row = i / T::N, column = i % T::N;
        if (m + row < rows && n + column < end) to[i64(row) * columns + column] = tile[row * tile_row<T>() + column];
    }
}
