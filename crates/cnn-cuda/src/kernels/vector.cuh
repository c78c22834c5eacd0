// Neighbouring numbers that a thread reads and writes at once, and computes with as f32.
#pragma once
#include "prim.cuh"

// Activations of 16 bytes, the most that one instruction moves.
constexpr int LANES = 16 / sizeof(element);

template <int N> struct Vector {
    float of[N];
};

// The same in memory. Its alignment is what makes one instruction of it.
template <class T, int N> struct alignas(sizeof(T) * N) Packed {
    T of[N];
};

template <int N> DEVICE Vector<N> filled(float value) {
    Vector<N> x;
    for (int lane = 0; lane < N; lane++) x.of[lane] = value;
    return x;
}

template <int N, class T> DEVICE Packed<T, N> load_packed(const T* from) {
    return *reinterpret_cast<const Packed<T, N>*>(from);
}

template <int N, class T> DEVICE void store_packed(T* to, const Packed<T, N>& x) {
    *reinterpret_cast<Packed<T, N>*>(to) = x;
}

template <int N, class T> DEVICE Vector<N> load(const T* from) {
    Packed<T, N> packed = load_packed<N>(from);
    Vector<N> x;
    for (int lane = 0; lane < N; lane++) x.of[lane] = to_f32(packed.of[lane]);
    return x;
}

template <int N, class T> DEVICE void store(T* to, const Vector<N>& x) {
    Packed<T, N> packed;
    for (int lane = 0; lane < N; lane++) packed.of[lane] = from_f32<T>(x.of[lane]);
    store_packed<N>(to, packed);
}

// The end of a row of numbers, where `left` of them may be fewer than N: zeros are read for the others.
template <int N, class T> DEVICE Vector<N> load_some(const T* from, u64 left) {
    if (left >= N) return load<N>(from);
    Vector<N> x = filled<N>(0.0f);
    for (int lane = 0; lane < N; lane++) {
        if (lane < left) x.of[lane] = to_f32(from[lane]);
    }
    return x;
}

template <int N, class T> DEVICE void store_some(T* to, const Vector<N>& x, u64 left) {
    if (left >= N) return store<N>(to, x);
    for (int lane = 0; lane < N; lane++) {
        if (lane < left) to[lane] = from_f32<T>(x.of[lane]);
    }
}
