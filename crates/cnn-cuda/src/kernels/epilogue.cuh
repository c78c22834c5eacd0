// What follows the sum of a convolution or a dense layer: bias, residual, activation, moments.
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

// A thread's chunk of a row of the tile. Lanes that are four apart would use the same banks: half of them begin with the
// chunk's other half.
DEVICE void read_chunk(float (&x)[CHUNK], const float* values) {
    bool turned = CHUNK == 8 && threadIdx.x & 4;
    float4 halves[CHUNK / 4];
#pragma unroll
    for (int i = 0; i < CHUNK / 4; i++) halves[i] = *(const float4*)(values + 4 * (i ^ int(turned)));
#pragma unroll
    for (int i = 0; i < CHUNK / 4; i++) {
        const float4& here = halves[i];
        const float4& there = halves[CHUNK / 4 - 1 - i];
        x[4 * i] = turned ? there.x : here.x, x[4 * i + 1] = turned ? there.y : here.y;
        x[4 * i + 2] = turned ? there.z : here.z, x[4 * i + 3] = turned ? there.w : here.w;
    }
}
DEVICE void write_chunk(float* values, const float (&x)[CHUNK]) {
    bool turned = CHUNK == 8 && threadIdx.x & 4;
#pragma unroll
    for (int i = 0; i < CHUNK / 4; i++) {
        const int j = CHUNK / 4 - 1 - i;
        *(float4*)(values + 4 * (i ^ int(turned))) =
            make_float4(turned ? x[4 * j] : x[4 * i], turned ? x[4 * j + 1] : x[4 * i + 1], turned ? x[4 * j + 2] : x[4 * i + 2],
                        turned ? x[4 * j + 3] : x[4 * i + 3]);
    }
}

// Floats of shared memory that `finish_tile` uses: the tile, a row of sums for each row of threads, and one of totals.
template <class T> DEVICE constexpr int finish_floats() { return T::M * tile_row<T>() + (T::THREADS * CHUNK / T::N + 1) * T::N; }

// Writes the tile to `rows` of y, of which `at(m)` gives the place of row m of the tile. The tile's first column is `column`
// of `columns`; `end` is where this group's end. WHOLE: chunks of channels are whole and aligned.
template <class T, bool WHOLE, class At>
DEVICE void finish_tile(float* tile, const Epilogue& epilogue, element* y, At at, i32 rows, i32 column, i32 end, i32 part, i32 columns) {
    constexpr int ACROSS = T::N / CHUNK, APART = T::THREADS / ACROSS;
    // Rows whose residuals are on their way at once.
    constexpr int AT_ONCE = 2;
    int n = int(threadIdx.x) % ACROSS * CHUNK, first = int(threadIdx.x) / ACROSS;
    i32 here = column + n, count = here < end ? min(rows, T::M) : 0;
    float bias[CHUNK], sums[CHUNK];
#pragma unroll
    for (int e = 0; e < CHUNK; e++) {
        bias[e] = epilogue.bias && here + e < end ? epilogue.bias[here + e] : 0.0f;
        sums[e] = 0.0f;
    }
    auto add = [&](float (&x)[CHUNK], const Packed<CHUNK, element>& whole, i64 place) {
        float residual[CHUNK];
        if (WHOLE) {
            unpack(residual, whole);
        } else {
#pragma unroll
            for (int e = 0; e < CHUNK; e++) residual[e] = here + e < end ? to_f32(epilogue.residual[place + e]) : 0.0f;
        }
#pragma unroll
        for (int e = 0; e < CHUNK; e++) x[e] += residual[e];
    };
    bool ready = epilogue.activation != NONE && epilogue.activation != RELU;
    if (ready) {
        // By itself, as it is long and seldom asked for: code that is jumped over again and again is waited for.
#pragma unroll 1
        for (int m = first; m < count; m += APART) {
            i64 place = at(m) + here;
            float* values = tile + m * tile_row<T>() + n;
            float x[CHUNK];
            read_chunk(x, values);
#pragma unroll
            for (int e = 0; e < CHUNK; e++) x[e] += bias[e];
            if (epilogue.residual) add(x, WHOLE ? load<CHUNK>(epilogue.residual + place) : Packed<CHUNK, element>{}, place);
#pragma unroll
            for (int e = 0; e < CHUNK; e++) x[e] = activate(epilogue.activation, x[e]);
            write_chunk(values, x);
        }
#pragma unroll
        for (int e = 0; e < CHUNK; e++) bias[e] = 0.0f;
    }
    bool has_residual = epilogue.residual && !ready;
#pragma unroll 1
    for (int begin = first; begin < count; begin += AT_ONCE * APART) {
        i64 places[AT_ONCE];
        Packed<CHUNK, element> residuals[AT_ONCE];
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++) {
            int m = begin + i * APART;
            places[i] = at(m < count ? m : begin) + here;
            if (WHOLE && has_residual && m < count) residuals[i] = load<CHUNK>(epilogue.residual + places[i]);
        }
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++) {
            int m = begin + i * APART;
            if (m >= count) break;
            float* values = tile + m * tile_row<T>() + n;
            float x[CHUNK];
            read_chunk(x, values);
#pragma unroll
            for (int e = 0; e < CHUNK; e++) x[e] += bias[e];
            if (has_residual) add(x, residuals[i], places[i]);
#pragma unroll
            for (int e = 0; e < CHUNK; e++) {
                if (epilogue.activation == RELU) x[e] = relu(x[e]);
                x[e] = to_f32(from_f32<element>(x[e]));  // as it will be read: moments are those of the rounded numbers
                sums[e] += x[e];
            }
            if (WHOLE) {
                store_floats(y + places[i], x);
            } else {
#pragma unroll
                for (int e = 0; e < CHUNK; e++) if (here + e < end) y[places[i] + e] = from_f32<element>(x[e]);
            }
            if (epilogue.mean) write_chunk(values, x);
        }
    }
    if (!epilogue.mean) return;
    // Mean, then squared deviations from it, of the rows of each column; rows of threads add up their own, and a thread adds
    // up a column's sums in order.
    float* room = tile + T::M * tile_row<T>();  // [APART, T::N], and a row of totals
    float* totals = room + APART * T::N;
    auto total = [&](float (&x)[CHUNK], float divisor) {
        write_chunk(room + first * T::N + n, x);
        __syncthreads();
        for (int c = threadIdx.x; c < T::N; c += T::THREADS) {
            float sum = 0.0f;
#pragma unroll
            for (int r = 0; r < APART; r++) sum += room[r * T::N + c];
            totals[c] = sum / divisor;
        }
        __syncthreads();
        read_chunk(x, totals + n);
    };
    float mean[CHUNK];
    total(sums, float(min(rows, T::M)));
#pragma unroll
    for (int e = 0; e < CHUNK; e++) mean[e] = sums[e], sums[e] = 0.0f;
#pragma unroll 2
    for (int m = first; m < count; m += APART) {
        float x[CHUNK];
        read_chunk(x, tile + m * tile_row<T>() + n);
#pragma unroll
        for (int e = 0; e < CHUNK; e++) {
            float away = x[e] - mean[e];
            sums[e] += away * away;
        }
    }
    total(sums, 1.0f);
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

#if ELEMENT_BF16

// Four words of each of four lanes: lane i gives word j to lane j, and has lane j's word i in its place.
DEVICE void transpose_words(u32 (&words)[4]) {
#pragma unroll
    for (int apart = 1; apart < 4; apart *= 2) {
        bool upper = threadIdx.x & apart;
#pragma unroll
        for (int i = 0; i < 4; i++) {
            if (i & apart) continue;
            u32 received = __shfl_xor_sync(~0u, upper ? words[i] : words[i + apart], apart);
            words[i] = upper ? received : words[i];
            words[i + apart] = upper ? words[i + apart] : received;
        }
    }
}

// Adds up N numbers of each of the eight lanes that are four apart; each is left with N / 8 of the sums, from
// `first_of_lane<N>()` on.
template <int N, int LEFT = N / 2, int APART = 16> DEVICE void add_lanes(float (&x)[N]) {
    bool upper = threadIdx.x & APART;
#pragma unroll
    for (int i = 0; i < LEFT; i++) {
        float received = __shfl_xor_sync(~0u, upper ? x[i] : x[i + LEFT], APART);
        x[i] = (upper ? x[i + LEFT] : x[i]) + received;
    }
    if constexpr (APART > 4) add_lanes<N, LEFT / 2, APART / 2>(x);
}
template <int N> DEVICE i32 first_of_lane() {
    i32 lane = threadIdx.x;
    return (lane >> 4 & 1) * (N / 2) + (lane >> 3 & 1) * (N / 4) + (lane >> 2 & 1) * (N / 8);
}

// The sum of `of(x, i)` over the rows of a column, for a thread of each column: x is a number of this lane's column i. Lanes add
// up, then warps that have the same columns, in order.
template <class T, class P, class Of> DEVICE float total(const P& product, float* room, i32 count, Of of) {
    constexpr int N = 2 * P::COLUMNS;
    static_assert(T::N <= T::THREADS, "a thread for each column");
    i32 lane = threadIdx.x % 32, column = threadIdx.x;
    float x[N];
#pragma unroll
    for (int c = 0; c < N; c++) {
        x[c] = 0.0f;
#pragma unroll
        for (int i = 0; i < P::ROWS; i++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                bool inside = P::row(i) + 8 * half + lane / 4 < count;
                x[c] += inside ? of(product.sums[i][c / 2][2 * half + c % 2], c) : 0.0f;
            }
    }
    add_lanes(x);
#pragma unroll
    for (int i = 0; i < N / 8; i++) {
        i32 c = first_of_lane<N>() + i;
        room[P::line() * T::N + P::column() + c / 2 * 8 + lane % 4 * 2 + c % 2] = x[i];
    }
    __syncthreads();
    float sum = 0.0f;
    if (column < T::N) {
#pragma unroll
        for (int line = 0; line < P::LINES; line++) sum += room[line * T::N + column];
    }
    return sum;
}

// The same as `finish_tile`, for whole chunks and no activation but a ReLU, from the registers that the product left the sums in:
// the tile is not written to shared memory. Four lanes have eight columns of a row, two each, and exchange them for chunks.
template <class T, class P, class At>
DEVICE void finish_fragments(P& product, float* room, const Epilogue& epilogue, element* y, At at, i32 rows, i32 column, i32 end, i32 part,
                             i32 columns) {
    constexpr int ROWS = P::ROWS, COLUMNS = P::COLUMNS;
    float (&sums)[ROWS][COLUMNS][4] = product.sums;
    i32 lane = threadIdx.x % 32, quad = lane % 4, first = P::column(), count = min(rows, T::M);
    auto row = [&](int i, int half) { return P::row(i) + 8 * half + lane / 4; };
    // The chunk that this lane has of 32 columns.
    auto chunk = [&](int j) { return column + first + 8 * (j + quad); };
    if (epilogue.bias) {
#pragma unroll
        for (int j = 0; j < COLUMNS; j++) {
            i32 here = column + first + 8 * j + 2 * quad;
            float2 two = here < end ? *(const float2*)(epilogue.bias + here) : make_float2(0.0f, 0.0f);
#pragma unroll
            for (int i = 0; i < ROWS; i++) {
                sums[i][j][0] += two.x, sums[i][j][1] += two.y;
                sums[i][j][2] += two.x, sums[i][j][3] += two.y;
            }
        }
    }
    if (epilogue.residual) {
#pragma unroll
        for (int i = 0; i < ROWS; i++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                i32 m = row(i, half);
                const element* from = epilogue.residual + at(min(m, count - 1));
#pragma unroll
                for (int j = 0; j < COLUMNS; j += 4) {
                    Packed<CHUNK, element> words = {};
                    if (m < count && chunk(j) < end) words = load<CHUNK>(from + chunk(j));
                    transpose_words(words.words);
#pragma unroll
                    for (int e = 0; e < 4; e++) {
                        sums[i][j + e][2 * half] += low_bf16(words.words[e]);
                        sums[i][j + e][2 * half + 1] += high_bf16(words.words[e]);
                    }
                }
            }
    }
#pragma unroll
    for (int i = 0; i < ROWS; i++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            i32 m = row(i, half);
            element* to = y + at(min(m, count - 1));
#pragma unroll
            for (int j = 0; j < COLUMNS; j += 4) {
                Packed<CHUNK, element> words;
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    float (&x)[4] = sums[i][j + e];
                    if (epilogue.activation == RELU) x[2 * half] = relu(x[2 * half]), x[2 * half + 1] = relu(x[2 * half + 1]);
                    words.words[e] = pack_bf16(x[2 * half], x[2 * half + 1]);
                    // As it will be read: moments are those of the rounded numbers.
                    x[2 * half] = low_bf16(words.words[e]), x[2 * half + 1] = high_bf16(words.words[e]);
                }
                transpose_words(words.words);
                if (m < count && chunk(j) < end) store(to + chunk(j), words);
            }
        }
    if (!epilogue.mean) return;
    // Mean, then squared deviations from it, of the rows of each column.
    constexpr int N = 2 * COLUMNS;
    float* totals = room + P::LINES * T::N;
    float mean = total<T>(product, room, count, [](float x, int) { return x; }) / float(count);
    if (threadIdx.x < T::N) totals[threadIdx.x] = mean;
    __syncthreads();
    float means[N];
#pragma unroll
    for (int j = 0; j < COLUMNS; j++) {
        float2 two = *(const float2*)(totals + first + 8 * j + 2 * quad);
        means[2 * j] = two.x, means[2 * j + 1] = two.y;
    }
    float squares = total<T>(product, room, count, [&](float x, int i) {
        float away = x - means[i];
        return away * away;
    });
    i32 here = column + i32(threadIdx.x);
    if (threadIdx.x < T::N && here < end) {
        epilogue.mean[i64(part) * columns + here] = mean;
        epilogue.squares[i64(part) * columns + here] = squares;
    }
}

#endif

// What follows a block's sums, as `finish_tile` says. A and B are the operands of the product.
template <class T, bool WHOLE, class A, class B, class P, class At>
DEVICE void finish(P& product, float* shared, const Epilogue& epilogue, element* y, At at, i32 rows, i32 column, i32 end, i32 part,
                   i32 columns) {
#if ELEMENT_BF16
    if (WHOLE && (epilogue.activation == NONE || epilogue.activation == RELU)) {
        finish_fragments<T>(product, shared, epilogue, y, at, rows, column, end, part, columns);
        return;
    }
#endif
    product.template write<A, B>(shared);
    __syncthreads();
    finish_tile<T, WHOLE>(shared, epilogue, y, at, rows, column, end, part, columns);
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
