// The product of a step by warpgroups: their left operand is in registers, the right one they read from shared memory
// themselves, and they multiply while their threads start the copies of later steps.
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
    float sums[ROWS][COLUMNS][4] = {};

    // The warp's `i`th sixteen rows of the tile.
    static DEVICE i32 row(int i) {
        i32 warp = threadIdx.x / 32;
        return warp / 4 * (T::M / GROUPS) + 64 * i + warp % 4 * 16;
    }

    // What this thread has copied is to be read by warpgroups.
    DEVICE void arrived() { fence_for_warpgroups(); }

    // Adds the product of a step. Its rows are read before it begins: the assembler lets products wait for each other where
    // registers that they read are written while others are under way.
    template <class B, class Rows, class Fetch> DEVICE void step(const Rows& rows, unsigned char* b, Fetch fetch) {
        constexpr bool ACROSS = B::MAJOR == ACROSS_SUM;
        constexpr int PARTS = ROW_CHUNKS / 2;  // of two chunks of the sum
        u32 left[PARTS][ROWS][4];
#pragma unroll
        for (int k = 0; k < PARTS; k++)
#pragma unroll
            for (int i = 0; i < ROWS; i++) rows.read(left[k][i], i, k);
        u64 right = shared_matrix(b, ACROSS ? B::ROWS * 128 : 16);
        warpgroup_arrive();
#pragma unroll
        for (int k = 0; k < PARTS; k++)
#pragma unroll
            for (int i = 0; i < ROWS; i++) warpgroup_mma<ACROSS>(sums[i], left[k][i], right + k * (ACROSS ? 128 : 2));
        warpgroup_commit();
        fetch();
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
