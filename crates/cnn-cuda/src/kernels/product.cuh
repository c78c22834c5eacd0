// The product of the operands of one step, in registers.
//
// On tensor cores, with sums in f32: bf16 as it is, and f32 rounded to tf32 where TF32 says so. Else f32 by fused
// multiply-adds, which round as the CPU's do. Each leaves a warp's tile spread over its lanes; `place` says where.
#pragma once
#include "tile.cuh"

#if ELEMENT_BF16 || TF32

template <class T> struct Product {
    // Products of 16 rows and 8 columns, and two chunks of the sum.
    static constexpr int ROWS = T::WARP_M / 16, COLUMNS = T::WARP_N / 8;
    float sums[ROWS][COLUMNS][4];

    DEVICE Product() {
#pragma unroll
        for (int i = 0; i < ROWS; i++)
#pragma unroll
            for (int j = 0; j < COLUMNS; j++)
#pragma unroll
                for (int e = 0; e < 4; e++) sums[i][j][e] = 0.0f;
    }

#if ELEMENT_BF16
    // The warp's `i`th sixteen rows of the tile, its first column, and which of the warps with its columns it is.
    static constexpr int LINES = T::M / T::WARP_M;
    static DEVICE i32 row(int i) { return T::warp_m() + 16 * i; }
    static DEVICE i32 column() { return T::warp_n(); }
    static DEVICE i32 line() { return threadIdx.x / 32 % LINES; }

    // Row (or column) `i` of the warp's `eight`th group of eight.
    static DEVICE int place(Major, int eight, int i) { return 8 * eight + i; }

    // 16 rows from `m` on: registers 0 and 1 are of the upper and lower eight in the first chunk, 2 and 3 in the second.
    template <class A> static DEVICE void read_left(u32 (&left)[4], unsigned char* a, int i, int k, int lane) {
        int m = T::warp_m() + 16 * i;
        if (A::MAJOR == ALONG_SUM) {
            ldmatrix_x4(left, A::chunk(a, m + lane % 16, 2 * k + lane / 16));
        } else {
            ldmatrix_x4_trans(left, A::chunk(a, 16 * k + lane % 8 + lane / 16 * 8, m / 8 + lane / 8 % 2));
        }
    }

    // Two times 8 columns from `n` on: registers 0 and 1 are of the first eight in both chunks, 2 and 3 of the others.
    template <class B> static DEVICE void read_right(u32 (&two)[4], unsigned char* b, int j, int k, int lane) {
        int n = T::warp_n() + 8 * j;
        if (B::MAJOR == ALONG_SUM) {
            ldmatrix_x4(two, B::chunk(b, n + lane % 8 + lane / 16 * 8, 2 * k + lane / 8 % 2));
        } else {
            ldmatrix_x4_trans(two, B::chunk(b, 16 * k + lane % 16, n / 8 + lane / 16));
        }
    }

    // Numbers are bf16 already.
    static DEVICE void round(u32 (&)[4]) {}

    static DEVICE void multiply(float (&sums)[4], const u32 (&left)[4], const u32 (&right)[2]) { mma_bf16(sums, left, right); }
#else
    // Row (or column) `i` of the warp's `eight`th group of eight. Where rows are side by side in memory, a group has four of
    // one chunk and four of the fourth chunk after it: so what a warp reads at once lies in different banks.
    static DEVICE int place(Major major, int eight, int i) {
        return major == ALONG_SUM ? 8 * eight + i : 32 * (eight / 4) + 4 * (eight % 4) + 16 * (i / 4) + i % 4;
    }

    // The number of a row (or column) of the block's tile and a place of the step's sum, for operands across the sum.
    template <class O> static DEVICE u32 number(unsigned char* stage, int row, int place) {
        return to_tf32(O::chunk(stage, place, row / CHUNK)[row % CHUNK]);
    }

    static DEVICE void round(u32 (&numbers)[4]) {
#pragma unroll
        for (int e = 0; e < 4; e++) numbers[e] = to_tf32(__uint_as_float(numbers[e]));
    }

    // As of bf16: what is loaded as two numbers of 16 bits each is one of 32.
    template <class A> static DEVICE void read_left(u32 (&left)[4], unsigned char* a, int i, int k, int lane) {
        if (A::MAJOR == ALONG_SUM) {
            ldmatrix_x4(left, A::chunk(a, T::warp_m() + 16 * i + lane % 16, 2 * k + lane / 16));
            round(left);
        } else {
#pragma unroll
            for (int e = 0; e < 4; e++) {
                left[e] = number<A>(a, T::warp_m() + place(A::MAJOR, 2 * i + e % 2, lane / 4), 8 * k + lane % 4 + 4 * (e / 2));
            }
        }
    }

    template <class B> static DEVICE void read_right(u32 (&two)[4], unsigned char* b, int j, int k, int lane) {
        if (B::MAJOR == ALONG_SUM) {
            ldmatrix_x4(two, B::chunk(b, T::warp_n() + 8 * j + lane % 8 + lane / 16 * 8, 2 * k + lane / 8 % 2));
            round(two);
        } else {
#pragma unroll
            for (int e = 0; e < 4; e++) {
                two[e] = number<B>(b, T::warp_n() + place(B::MAJOR, j + e / 2, lane / 4), 8 * k + lane % 4 + 4 * (e % 2));
            }
        }
    }

    static DEVICE void multiply(float (&sums)[4], const u32 (&left)[4], const u32 (&right)[2]) { mma_tf32(sums, left, right); }
#endif

    // What this thread has copied has arrived.
    static DEVICE void arrived() {}

    // Adds the product of a stage's operands; `fetch` starts the copies of a later step's.
    template <class A, class B, class Fetch> DEVICE void add(unsigned char* a, unsigned char* b, Fetch fetch) {
        fetch();
        int lane = threadIdx.x % 32;
        add_from<B>([&](u32 (&left)[4], int i, int k) { read_left<A>(left, a, i, k, lane); }, b);
    }

    // The same with a left operand that lies otherwise: read(left, i, k) reads the warp's rows 16 * i and the next.
    template <class B, class Read> DEVICE void add_from(Read read, unsigned char* b) {
        int lane = threadIdx.x % 32;
#pragma unroll
        for (int k = 0; k < ROW_CHUNKS / 2; k++) {
            u32 left[ROWS][4], right[COLUMNS][2];
#pragma unroll
            for (int i = 0; i < ROWS; i++) read(left[i], i, k);
#pragma unroll
            for (int j = 0; j < COLUMNS; j += 2) {
                u32 two[4];
                read_right<B>(two, b, j, k, lane);
                right[j][0] = two[0], right[j][1] = two[1];
                right[j + 1][0] = two[2], right[j + 1][1] = two[3];
            }
#pragma unroll
            for (int i = 0; i < ROWS; i++)
#pragma unroll
                for (int j = 0; j < COLUMNS; j++) multiply(sums[i][j], left[i], right[j]);
        }
    }

    // Writes the warp's sums into the block's tile.
    template <class A, class B> DEVICE void write(float* tile) {
        int lane = threadIdx.x % 32;
#pragma unroll
        for (int i = 0; i < ROWS; i++)
#pragma unroll
            for (int j = 0; j < COLUMNS; j++)
#pragma unroll
                for (int half = 0; half < 2; half++) {
                    int m = T::warp_m() + place(A::MAJOR, 2 * i + half, lane / 4);
                    int n = T::warp_n() + place(B::MAJOR, j, lane % 4 * 2);  // and the next, which is beside it
                    *(float2*)(tile + m * tile_row<T>() + n) = make_float2(sums[i][j][2 * half], sums[i][j][2 * half + 1]);
                }
    }
};

#else

// The lanes of a warp are 4 rows by 8 columns of threads.
template <class T> struct Product {
    static constexpr int ROWS = T::WARP_M / 4, COLUMNS = T::WARP_N / 8;
    float sums[ROWS][COLUMNS];

    DEVICE Product() {
#pragma unroll
        for (int i = 0; i < ROWS; i++)
#pragma unroll
            for (int j = 0; j < COLUMNS; j++) sums[i][j] = 0.0f;
    }

    // Row or column `i` of a lane that is one of `lanes`: neighbours where four lie in a chunk.
    static DEVICE int place(Major major, int lane, int lanes, int i) {
        return major == ALONG_SUM ? lane + lanes * i : 4 * (lane + lanes * (i / 4)) + i % 4;
    }

    // Four places of the sum of one operand: [i][k] = element at sum 4 * chunk + k.
    template <class O, int COUNT>
    static DEVICE void read(float (&x)[COUNT][4], unsigned char* stage, int chunk, int first, int lane, int lanes) {
        if (O::MAJOR == ALONG_SUM) {
#pragma unroll
            for (int i = 0; i < COUNT; i++) {
                float4 four = *(float4*)O::chunk(stage, first + lane + lanes * i, chunk);
                x[i][0] = four.x, x[i][1] = four.y, x[i][2] = four.z, x[i][3] = four.w;
            }
        } else {
#pragma unroll
            for (int k = 0; k < 4; k++)
#pragma unroll
                for (int i = 0; i < COUNT; i += 4) {
                    float4 four = *(float4*)O::chunk(stage, 4 * chunk + k, first / 4 + lane + lanes * (i / 4));
                    x[i][k] = four.x, x[i + 1][k] = four.y, x[i + 2][k] = four.z, x[i + 3][k] = four.w;
                }
        }
    }

    static DEVICE void arrived() {}

    template <class A, class B, class Fetch> DEVICE void add(unsigned char* a, unsigned char* b, Fetch fetch) {
        fetch();
        int lane = threadIdx.x % 32;
#pragma unroll 1
        for (int chunk = 0; chunk < ROW_CHUNKS; chunk++) {
            float left[ROWS][4], right[COLUMNS][4];
            read<A>(left, a, chunk, T::warp_m(), lane / 8, 4);
            read<B>(right, b, chunk, T::warp_n(), lane % 8, 8);
#pragma unroll
            for (int k = 0; k < 4; k++)
#pragma unroll
                for (int i = 0; i < ROWS; i++)
#pragma unroll
                    for (int j = 0; j < COLUMNS; j++) sums[i][j] = fmaf(left[i][k], right[j][k], sums[i][j]);
        }
    }

    template <class A, class B> DEVICE void write(float* tile) {
        int lane = threadIdx.x % 32;
#pragma unroll
        for (int i = 0; i < ROWS; i++)
#pragma unroll
            for (int j = 0; j < COLUMNS; j++) {
                int m = T::warp_m() + place(A::MAJOR, lane / 8, 4, i), n = T::warp_n() + place(B::MAJOR, lane % 8, 8, j);
                tile[m * tile_row<T>() + n] = sums[i][j];
            }
    }
};

#endif
