// The emulated device's prim.cuh: the names of cnn-cuda's header of that name, without its instructions.
#pragma once
#include "builtins.hpp"
#include "math.hpp"

#define KERNEL(threads) extern "C" void
#define DEVICE inline
#define DYNAMIC_SHARED(name) unsigned char* name = emulator::runtime->dynamic_shared

// ---- elements ----

struct bf16 {
    u16 bits;
};

inline float to_f32(float x) { return x; }
inline float to_f32(bf16 x) { return __uint_as_float((u32)x.bits << 16); }
inline bf16 to_bf16(float x) {
    u32 bits = __float_as_uint(x);
    if (isnan(x)) return {0x7fff};
    return {(u16)((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}
inline u32 pack_bf16(float low, float high) { return to_bf16(low).bits | (u32)to_bf16(high).bits << 16; }
inline float low_bf16(u32 pair) { return __uint_as_float(pair << 16); }
inline float high_bf16(u32 pair) { return __uint_as_float(pair & 0xffff0000u); }

template <class T> T from_f32(float x);
template <> inline float from_f32<float>(float x) { return x; }
template <> inline bf16 from_f32<bf16>(float x) { return to_bf16(x); }

#if ELEMENT_BF16
typedef bf16 element;
#else
typedef float element;
#endif

// ---- tensor cores ----

inline void ldmatrix_x4(u32 (&r)[4], const void* row, EMULATOR_SITE) {
    emulator::runtime->load_matrices(site, r, row, false);
}
inline void ldmatrix_x4_trans(u32 (&r)[4], const void* row, EMULATOR_SITE) {
    emulator::runtime->load_matrices(site, r, row, true);
}
inline void mma_bf16(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2], EMULATOR_SITE) {
    emulator::runtime->multiply_bf16(site, d, a, b);
}
inline void mma_tf32(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2], EMULATOR_SITE) {
    emulator::runtime->multiply_tf32(site, d, a, b);
}
// cvt.rna: to the nearest number of 10 bits after the point, ties away from zero.
inline u32 to_tf32(float x) {
    u32 bits = __float_as_uint(x);
    return isfinite(x) ? (bits + 0x1000) & ~0x1fffu : bits;
}

// ---- products by warpgroups ----

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define WARPGROUPS 1

// As the instruction takes it; shared memory begins at address 0.
inline u64 shared_matrix(const void* first, u32 block) {
    u64 at = (const unsigned char*)first - emulator::runtime->dynamic_shared;
    return (u64)1 << 62 | (u64)(1024 / 16) << 32 | (u64)(block / 16) << 16 | (at >> 4 & 0x3fff);
}
inline void warpgroup_arrive(EMULATOR_SITE) { emulator::runtime->warpgroup_arrive(site); }
inline void warpgroup_commit(EMULATOR_SITE) { emulator::runtime->warpgroup_commit(site); }
template <int N> void warpgroup_wait(EMULATOR_SITE) { emulator::runtime->warpgroup_wait(site, N); }
inline void fence_for_warpgroups() { emulator::runtime->fence_for_warpgroups(); }
template <int I, int J> void settle(float (&)[I][J][4]) {}
template <bool ACROSS, int J> void warpgroup_mma(float (&d)[J][4], const u32 (&a)[4], u64 b, EMULATOR_SITE) {
    emulator::runtime->warpgroup_multiply(site, &d[0][0], 8 * J, a, 0, false, b, ACROSS);
}
template <bool A_ACROSS, bool B_ACROSS, int J> void warpgroup_mma(float (&d)[J][4], u64 a, u64 b, EMULATOR_SITE) {
    emulator::runtime->warpgroup_multiply(site, &d[0][0], 8 * J, nullptr, a, A_ACROSS, b, B_ACROSS);
}
#else
#define WARPGROUPS 0
#endif

// ---- asynchronous copies ----

inline void copy_async_16(void* shared, const void* global, bool valid, EMULATOR_SITE) {
    emulator::runtime->copy_async(site, shared, global, 16, valid);
}
inline void copy_async_8(void* shared, const void* global, bool valid, EMULATOR_SITE) {
    emulator::runtime->copy_async(site, shared, global, 8, valid);
}
inline void copy_async_4(void* shared, const void* global, bool valid, EMULATOR_SITE) {
    emulator::runtime->copy_async(site, shared, global, 4, valid);
}
inline void copy_async_commit() { emulator::runtime->copy_async_commit(); }
template <int N> void copy_async_wait() { emulator::runtime->copy_async_wait(N); }
