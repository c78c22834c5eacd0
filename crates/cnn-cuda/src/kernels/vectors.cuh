// Neighbouring numbers, read and written 16 bytes at a time where they can be, else one by one.
#pragma once
#include "prim.cuh"

// Elements of 16 bytes, the most that one instruction moves.
constexpr int VECTOR = 16 / sizeof(element);

// N numbers as they lie in memory: few registers until they are needed as f32. The alignment makes one instruction of 16
// bytes.
template <int N, class T = element, bool WORDS = (N * sizeof(T) >= sizeof(u32))> struct alignas(N * sizeof(T)) Packed {
    u32 words[N * sizeof(T) / sizeof(u32)];
};
template <int N, class T> struct Packed<N, T, false> {
    T bits;
};

template <int N, class T> DEVICE Packed<N, T> load(const T* from) {
    return *reinterpret_cast<const Packed<N, T>*>(from);
}
template <int N, class T> DEVICE void store(T* to, const Packed<N, T>& x) { *reinterpret_cast<Packed<N, T>*>(to) = x; }

template <int N, class T> DEVICE void unpack(float (&x)[N], const Packed<N, T>& packed) {
    if constexpr (sizeof(T) == sizeof(float)) {
#pragma unroll
        for (int i = 0; i < N; i++) x[i] = __uint_as_float(packed.words[i]);
    } else if constexpr (N == 1) {
        x[0] = to_f32(packed.bits);
    } else {
#pragma unroll
        for (int i = 0; i < N; i += 2) {
            x[i] = low_bf16(packed.words[i / 2]);
            x[i + 1] = high_bf16(packed.words[i / 2]);
        }
    }
}
template <int N, class T> DEVICE void pack(Packed<N, T>& packed, const float (&x)[N]) {
    if constexpr (sizeof(T) == sizeof(float)) {
#pragma unroll
        for (int i = 0; i < N; i++) packed.words[i] = __float_as_uint(x[i]);
    } else if constexpr (N == 1) {
        packed.bits = from_f32<T>(x[0]);
    } else {
#pragma unroll
        for (int i = 0; i < N; i += 2) packed.words[i / 2] = pack_bf16(x[i], x[i + 1]);
    }
}

// N elements as they would lie in memory.
template <int N, class T> DEVICE Packed<N, T> packed(const T (&x)[N]) {
    Packed<N, T> packed;
#pragma unroll
    for (int i = 0; i < N; i++) {
        if constexpr (sizeof(T) == sizeof(float)) {
            packed.words[i] = __float_as_uint(x[i]);
        } else if (i % 2 == 0) {
            packed.words[i / 2] = x[i].bits | u32(x[i + 1].bits) << 16;
        }
    }
    return packed;
}

// N floats side by side, such as the coefficients of N channels; `otherwise` for each where there is no list.
template <int N> DEVICE void load_floats(float (&x)[N], const float* from, float otherwise = 0.0f) {
    if (from) {
        unpack(x, load<N>(from));
    } else {
#pragma unroll
        for (int i = 0; i < N; i++) x[i] = otherwise;
    }
}
// N floats side by side, as floats or as elements.
template <int N, class T> DEVICE void store_floats(T* to, const float (&x)[N]) {
    Packed<N, T> packed;
    pack(packed, x);
    store(to, packed);
}

// Near the end of a list, `left` of which may be fewer than N: zeros are read for the others, and they are not written.
template <int N, class T> DEVICE void load_some(float (&x)[N], const T* from, u64 left) {
    if (left >= N) {
        unpack(x, load<N>(from));
    } else {
#pragma unroll
        for (int i = 0; i < N; i++) x[i] = i < left ? to_f32(from[i]) : 0.0f;
    }
}
template <int N, class T> DEVICE void store_some(T* to, const float (&x)[N], u64 left) {
    if (left >= N) {
        store_floats(to, x);
    } else {
#pragma unroll
        for (int i = 0; i < N; i++) {
            if (i < left) to[i] = from_f32<T>(x[i]);
        }
    }
}
