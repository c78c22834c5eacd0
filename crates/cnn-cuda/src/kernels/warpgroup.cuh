// The product of a step by warpgroups: they read operands from shared memory themselves, or the left one from registers, and
// multiply while their threads start the copies of later steps.
//
// For 128 by 128 and a part of the sum, four warps for themselves read 16 KiB from shared memory, and a warpgroup 12: its
// right operand is read once for all four.
#pragma once
#include "tile.cuh"

#if WARPGROUPS && ELEMENT_BF16

template <class T> struct GroupProduct {
    static constexpr int GROUPS = T::THREADS / 128;
    // Products of 64 rows by each group, of which a warp has 16, and of 8 columns.
    static constexpr int ROWS = T::M / GROUPS / 64, COLUMNS = T::N / 8;
    // Products of two chunks of the sum, the left operands of which are read while those of the half before are multiplied.
    static constexpr int HALF = ROW_CHUNKS / 4;
    // The second half is multiplied until behind the next step's barrier.
    static constexpr int LATE = 1;
    float sums[ROWS][COLUMNS][4] = {};
    u32 left[2][HALF][ROWS][4];

    // The warp's `i`th sixteen rows of the tile.
    static DEVICE i32 row(int i) {
        i32 warp = threadIdx.x / 32;
        return warp / 4 * (T::M / GROUPS) + 64 * i + warp % 4 * 16;
    }

    // All warps have all columns.
    static constexpr int LINES = T::THREADS / 32;
    static DEVICE i32 column() { return 0; }
    static DEVICE i32 line() { return threadIdx.x / 32; }

    // What this thread has copied is to be read by warpgroups.
    DEVICE void arrived() { fence_for_warpgroups(); }

    // Adds the product of a stage's operands; `fetch` starts the copies of a later step's.
    template <class A, class B, class Fetch> DEVICE void add(unsigned char* a, unsigned char* b, Fetch fetch) {
        static_assert(GROUPS == 1, "it has all rows");
        constexpr bool A_ACROSS = A::MAJOR == ACROSS_SUM, B_ACROSS = B::MAJOR == ACROSS_SUM;
        u64 left = shared_matrix(a, A_ACROSS ? A::ROWS * 128 : 16), right = shared_matrix(b, B_ACROSS ? B::ROWS * 128 : 16);
        warpgroup_arrive();
#pragma unroll
        for (int k = 0; k < ROW_CHUNKS / 2; k++)
#pragma unroll
            for (int i = 0; i < ROWS; i++) {
                // 64 rows, or the block of 64 columns that they are, have 64 times 128 bytes.
                u64 rows = left + i * (64 * 128 / 16) + k * (A_ACROSS ? 128 : 2);
                warpgroup_mma<A_ACROSS, B_ACROSS>(sums[i], rows, right + k * (B_ACROSS ? 128 : 2));
            }
        warpgroup_commit();
        fetch();
        wait();
    }

    template <class Rows> DEVICE void read(const Rows& rows, int half) {
#pragma unroll
        for (int k = 0; k < HALF; k++)
#pragma unroll
            for (int i = 0; i < ROWS; i++) rows.read(left[half][k][i], i, half * HALF + k);
    }

    // The same of a left operand that lies otherwise and is read into registers: half a step is read while the other half is
    // multiplied. Each half waits for the one before it when its own rows have been read: the assembler lets all products wait for
    // each other where registers of one are written while two groups are under way.
    template <class Rows> DEVICE void begin(const Rows& rows) { read(rows, 0); }
    template <class B, class Rows, class FetchLeft, class FetchRight, class Next>
    DEVICE void step(Rows& rows, unsigned char* b, FetchLeft fetch_left, FetchRight fetch_right, Next next) {
        constexpr bool ACROSS = B::MAJOR == ACROSS_SUM;
        u64 right = shared_matrix(b, ACROSS ? B::ROWS * 128 : 16);
#pragma unroll
        for (int half = 0; half < 2; half++) {
            wait();
            warpgroup_arrive();
#pragma unroll
            for (int k = 0; k < HALF; k++)
#pragma unroll
                for (int i = 0; i < ROWS; i++) {
                    warpgroup_mma<ACROSS>(sums[i], left[half][k][i], right + (half * HALF + k) * (ACROSS ? 128 : 2));
                }
            warpgroup_commit();
            if (half == 0) {
                read(rows, 1);
                fetch_left();
            } else {
                next();
                read(rows, 0);
                fetch_right();
            }
        }
    }

    DEVICE void end() { wait(); }

    DEVICE void wait() {
        warpgroup_wait<0>();
        settle(sums);
    }

    // Writes the sums into the block's tile.
    template <class A, class B> DEVICE void write(float* tile) {
        i32 lane = threadIdx.x % 32;
#pragma unroll
        for (int i = 0; i < ROWS; i++)
#pragma unroll
            for (int j = 0; j < COLUMNS; j++)
#pragma unroll
                for (int half = 0; half < 2; half++) {
                    float* to = tile + (row(i) + 8 * half + lane / 4) * tile_row<T>() + 8 * j + lane % 4 * 2;
                    *(float2*)to = make_float2(sums[i][j][2 * half], sums[i][j][2 * half + 1]);
                }
    }
};

#endif
