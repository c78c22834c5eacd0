// What the parts of a pass over an activation left for each channel, combined: the second kernel of a pass that sums.
//
// A block has COMBINED channels, which are 32 bytes of each part, as much as memory hands out at once. Its threads are lines of
// so many; a thread merges every `lines`th part of its channel, and then the threads of a channel are merged, in a fixed order.
#pragma once
#include "prim.cuh"

// Channels of a block. It has at least as many warps, and at most 32.
constexpr u32 COMBINED = 8;

// The parts that are a thread's: of `channel` every `lines`th from `line` on. Threads beyond the last channel read it once more.
struct Column {
    u32 channel, channels, line, lines;

    DEVICE explicit Column(u32 channels) : channels(channels) {
        channel = min(blockIdx.x * COMBINED + threadIdx.x % COMBINED, channels - 1);
        line = threadIdx.x / COMBINED;
        lines = blockDim.x / COMBINED;
    }

    // Part `i` of the few that begin with `part`, and where it is in a list [parts, channels].
    DEVICE u32 part_of(u32 part, int i) const { return part + i * lines; }
    DEVICE u64 at(u32 part, int i) const { return u64(part_of(part, i)) * channels + channel; }
};

// Parts that a thread reads at once: all reads are under way before the first is waited for.
constexpr int FEW = 8;
#define FOR_EACH_FEW(part, column, parts) for (u32 part = (column).line; part < (parts); part += FEW * (column).lines)

// The channel that this warp goes on with after merge_threads, and whether it is one.
DEVICE u32 merged_channel() { return blockIdx.x * COMBINED + threadIdx.x / 32; }
DEVICE bool has_merged_channel(u32 channels) { return threadIdx.x < 32 * COMBINED && merged_channel() < channels; }

// A number of the lane that is `lanes` further on, and of the first lane of a warp.
struct FromLaneBelow {
    u32 lanes;
    template <class Number> DEVICE Number operator()(Number x) const { return __shfl_down_sync(~0u, x, lanes); }
};
struct FromFirstLane {
    template <class Number> DEVICE Number operator()(Number x) const { return __shfl_sync(~0u, x, 0); }
};

// Merges what the lanes of a warp have with that of lanes further on, by halves from `lanes` to `least`.
template <class T> DEVICE void merge_lanes(T& mine, u32 lanes, u32 least) {
    for (; lanes >= least; lanes /= 2) mine.merge(mine.each(FromLaneBelow{lanes}));
}

// Merges what the threads of each channel have: lanes of a warp, then warps. Warp w has those of the block's channel w, the
// same in each lane. T{} is what nobody has; T::each gives each number of T to a function.
template <class T> DEVICE T merge_threads(T mine) {
    __shared__ T room[COMBINED][32];
    u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    merge_lanes(mine, 16, COMBINED);
    if (lane < COMBINED) room[lane][warp] = mine;
    __syncthreads();
    mine = warp < COMBINED && lane < blockDim.x / 32 ? room[warp][lane] : T{};
    merge_lanes(mine, 16, 1);
    return mine.each(FromFirstLane{});
}

// K sums.
template <int K> struct Sums {
    double of[K];

    DEVICE void merge(const Sums& other) {
#pragma unroll
        for (int k = 0; k < K; k++) of[k] += other.of[k];
    }
    template <class F> DEVICE Sums each(F f) const {
        Sums result;
#pragma unroll
        for (int k = 0; k < K; k++) result.of[k] = f(of[k]);
        return result;
    }
};

// The sums of K lists [parts, channels] over all parts, of merged_channel. A few numbers are added in f32, and their sums in
// f64, which some GPUs are slow at.
template <int K> DEVICE Sums<K> sum_parts_of(const float* const (&lists)[K], u32 parts, u32 channels) {
    Column column(channels);
    Sums<K> sums = {};
    FOR_EACH_FEW(part, column, parts) {
        float few[K][FEW];
#pragma unroll
        for (int k = 0; k < K; k++) {
#pragma unroll
            for (int i = 0; i < FEW; i++) few[k][i] = column.part_of(part, i) < parts ? lists[k][column.at(part, i)] : 0.0f;
        }
#pragma unroll
        for (int k = 0; k < K; k++) {
            float (&x)[FEW] = few[k];
            sums.of[k] += ((x[0] + x[1]) + (x[2] + x[3])) + ((x[4] + x[5]) + (x[6] + x[7]));
        }
    }
    return merge_threads(sums);
}
