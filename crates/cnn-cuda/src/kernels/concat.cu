// Channels side by side, some of them, and in another order. Elements are fewer than 2^31, so 32 bits count them.
#include "grid.cuh"
#include "vectors.cuh"

// Neighbouring channels that are copied from row to row. As cnn-cuda/src/concat.rs has it.
struct Copied {
    u32 from_channels;
    u32 to_channels;
    u32 from_first;
    u32 to_first;
    u32 count;
};

// Whether vectors of N neighbours lie as they are loaded in both.
DEVICE bool is_aligned(const Copied& c, u32 n) {
    return c.from_channels % n == 0 && c.to_channels % n == 0 && c.from_first % n == 0 && c.to_first % n == 0 && c.count % n == 0;
}

template <int N> DEVICE void copy(const element* from, element* to, const Copied& c, u64 count) {
    u32 vectors = c.count / N;
    FOR_EACH_ELEMENT(i, count / N) {
        u32 row = u32(i) / vectors, channel = (u32(i) - row * vectors) * N;
        u64 at = u64(row) * c.from_channels + c.from_first + channel;
        store(to + u64(row) * c.to_channels + c.to_first + channel, load<N>(from + at));
    }
}

// `count` elements of `from`, in their places of `to`.
KERNEL(256) copy_channels(const element* from, element* to, Copied c, u64 count) {
    if (is_aligned(c, VECTOR)) copy<VECTOR>(from, to, c, count);
    else copy<1>(from, to, c, count);
}

template <int N> DEVICE void spread(const element* from, element* to, const Copied& c, u64 count) {
    u32 vectors = c.to_channels / N;
    FOR_EACH_ELEMENT(i, count / N) {
        u32 row = u32(i) / vectors, channel = (u32(i) - row * vectors) * N, own = channel - c.to_first;
        Packed<N, element> numbers = {};
        if (own < c.count) numbers = load<N>(from + u64(row) * c.from_channels + own);  // below the first one it wraps around
        store(to + i * N, numbers);
    }
}

// All `count` elements of `to`: those of `from` in their places, and zeros.
KERNEL(256) spread_channels(const element* from, element* to, Copied c, u64 count) {
    if (is_aligned(c, VECTOR)) spread<VECTOR>(from, to, c, count);
    else spread<1>(from, to, c, count);
}

// Channels [groups, members] of every row as [members, groups].
KERNEL(256) shuffle_channels(const element* x, element* y, u32 channels, u32 groups, u64 count) {
    u32 members = channels / groups;
    FOR_EACH_ELEMENT(i, count) {
        u32 row = u32(i) / channels, channel = u32(i) - row * channels;
        y[i] = x[u64(row) * channels + channel % groups * members + channel / groups];
    }
}
