// Neighbouring elements, read and written 16 bytes at a time where they can be, else one by one.
#pragma once
#include "prim.cuh"

// Elements of 16 bytes.
constexpr int VECTOR = 16 / sizeof(element);

// N elements as they lie in memory: few registers until they are needed as numbers.
template <int N> struct Packed;
template <> struct Packed<1> {
    element bits;
};
template <> struct Packed<VECTOR> {
    uint4 bits;
};

template <int N> DEVICE Packed<N> load(const element* from) { return *reinterpret_cast<const Packed<N>*>(from); }
template <int N> DEVICE void store(element* to, Packed<N> x) { *reinterpret_cast<Packed<N>*>(to) = x; }

DEVICE void unpack(float (&x)[1], Packed<1> packed) { x[0] = to_f32(packed.bits); }
DEVICE void pack(Packed<1>& packed, const float (&x)[1]) { packed.bits = from_f32<element>(x[0]); }

#if ELEMENT_BF16
DEVICE void unpack(float (&x)[VECTOR], Packed<VECTOR> packed) {
    u32 words[4] = {packed.bits.x, packed.bits.y, packed.bits.z, packed.bits.w};
#pragma unroll
    for (int i = 0; i < 4; i++) {
        x[2 * i] = low_bf16(words[i]);
        x[2 * i + 1] = high_bf16(words[i]);
    }
}
DEVICE void pack(Packed<VECTOR>& packed, const float (&x)[VECTOR]) {
    packed.bits = make_uint4(pack_bf16(x[0], x[1]), pack_bf16(x[2], x[3]), pack_bf16(x[4], x[5]), pack_bf16(x[6], x[7]));
}
#else
DEVICE void unpack(float (&x)[VECTOR], Packed<VECTOR> packed) {
    u32 words[4] = {packed.bits.x, packed.bits.y, packed.bits.z, packed.bits.w};
#pragma unroll
    for (int i = 0; i < 4; i++) x[i] = __uint_as_float(words[i]);
}
DEVICE void pack(Packed<VECTOR>& packed, const float (&x)[VECTOR]) {
    packed.bits = make_uint4(__float_as_uint(x[0]), __float_as_uint(x[1]), __float_as_uint(x[2]), __float_as_uint(x[3]));
}
#endif

// N floats side by side, such as the coefficients of N channels; `otherwise` for each where there is no list.
template <int N> DEVICE void load_floats(float (&x)[N], const float* from, float otherwise = 0.0f) {
    if (!from) {
#pragma unroll
        for (int i = 0; i < N; i++) x[i] = otherwise;
    } else if constexpr (N == 1) {
        x[0] = from[0];
    } else {
#pragma unroll
        for (int i = 0; i < N; i += 4) {
            float4 four = *reinterpret_cast<const float4*>(from + i);
            x[i] = four.x, x[i + 1] = four.y, x[i + 2] = four.z, x[i + 3] = four.w;
        }
    }
}
template <int N> DEVICE void store_floats(float* to, const float (&x)[N]) {
    if constexpr (N == 1) {
        to[0] = x[0];
    } else {
#pragma unroll
        for (int i = 0; i < N; i += 4) {
            *reinterpret_cast<float4*>(to + i) = make_float4(x[i], x[i + 1], x[i + 2], x[i + 3]);
        }
    }
}
