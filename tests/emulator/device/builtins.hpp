// The parts of CUDA C++ that NVRTC knows without a header: qualifiers, indices, barriers, exchanges within a warp.
#pragma once
#include "runtime.hpp"

namespace emulator {
static Runtime* runtime;  // set when the module is loaded
}

typedef decltype(sizeof 0) size_t;

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(bytes) __attribute__((aligned(bytes)))
// Static shared memory is the module's thread-local storage: the driver can find that as one piece, in templates as
// well, and poisons it before every block.
#define __shared__ static thread_local

#define threadIdx (emulator::runtime->thread->index)
#define blockIdx (emulator::runtime->block_index)
#define blockDim (emulator::runtime->block_size)
#define gridDim (emulator::runtime->grid_size)

// The line that a function with such a last argument is called from.
#define EMULATOR_SITE emulator::Site site = {__builtin_FILE(), __builtin_LINE()}

struct alignas(8) uint2 {
    u32 x, y;
};
struct alignas(16) uint4 {
    u32 x, y, z, w;
};
struct alignas(8) int2 {
    i32 x, y;
};
struct alignas(16) int4 {
    i32 x, y, z, w;
};
struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(16) double2 {
    double x, y;
};
inline uint2 make_uint2(u32 x, u32 y) { return {x, y}; }
inline uint4 make_uint4(u32 x, u32 y, u32 z, u32 w) { return {x, y, z, w}; }
inline int2 make_int2(i32 x, i32 y) { return {x, y}; }
inline int4 make_int4(i32 x, i32 y, i32 z, i32 w) { return {x, y, z, w}; }
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline double2 make_double2(double x, double y) { return {x, y}; }

// ---- barriers ----

inline void __syncthreads(EMULATOR_SITE) { emulator::runtime->sync_threads(site); }
inline void __syncwarp(u32 mask = ~0u, EMULATOR_SITE) { emulator::runtime->sync_warp(site, mask); }
inline void __threadfence() {}
inline void __threadfence_block() {}
[[noreturn]] inline void __trap(EMULATOR_SITE) {
    emulator::runtime->fail(site, emulator::Error::launch_failed, "__trap");
    __builtin_unreachable();
}

// ---- exchanges within a warp ----

namespace emulator {

inline u32 lane() {
    const dim3 &thread = threadIdx, &size = blockDim;
    return (thread.x + size.x * (thread.y + size.y * thread.z)) % 32;
}

// A lane whose source lies outside its group of `width` lanes keeps its own value.
template <class T> T shuffle(u32 mask, T value, u32 source, u32 width, Site site) {
    T result;
    bool inside = source / width == lane() / width;
    runtime->shuffle(site, mask, &value, &result, sizeof(T), inside ? source : lane());
    return result;
}

}  // namespace emulator

template <class T> T __shfl_sync(u32 mask, T value, int source, int width = 32, EMULATOR_SITE) {
    u32 first = emulator::lane() / width * width;
    return emulator::shuffle(mask, value, first + (u32)source % width, width, site);
}
template <class T> T __shfl_xor_sync(u32 mask, T value, int lanes, int width = 32, EMULATOR_SITE) {
    return emulator::shuffle(mask, value, emulator::lane() ^ lanes, width, site);
}
template <class T> T __shfl_down_sync(u32 mask, T value, u32 lanes, int width = 32, EMULATOR_SITE) {
    return emulator::shuffle(mask, value, emulator::lane() + lanes, width, site);
}
template <class T> T __shfl_up_sync(u32 mask, T value, u32 lanes, int width = 32, EMULATOR_SITE) {
    return emulator::shuffle(mask, value, emulator::lane() - lanes, width, site);
}
inline u32 __ballot_sync(u32 mask, bool predicate, EMULATOR_SITE) {
    return emulator::runtime->ballot(site, mask, predicate);
}
inline bool __any_sync(u32 mask, bool predicate, EMULATOR_SITE) {
    return emulator::runtime->ballot(site, mask, predicate) != 0;
}
inline bool __all_sync(u32 mask, bool predicate, EMULATOR_SITE) {
    return emulator::runtime->ballot(site, mask, predicate) == ~0u;
}

// ---- memory ----

template <class T> T __ldg(const T* address) { return *address; }

// Integers only: sums of floating-point numbers by atomics have other bits in every run. Threads take turns only where
// they wait, so that plain operations are atomic.
#define EMULATOR_ATOMIC_FUNCTION __attribute__((no_sanitize("thread"))) inline
#define EMULATOR_ATOMIC(T)                                                                                             \
    EMULATOR_ATOMIC_FUNCTION T atomicExch(T* address, T value) {                                                       \
        T old = *address;                                                                                              \
        *address = value;                                                                                              \
        return old;                                                                                                    \
    }                                                                                                                  \
    EMULATOR_ATOMIC_FUNCTION T atomicAdd(T* address, T value) { return atomicExch(address, (T)(*address + value)); }   \
    EMULATOR_ATOMIC_FUNCTION T atomicOr(T* address, T value) { return atomicExch(address, (T)(*address | value)); }    \
    EMULATOR_ATOMIC_FUNCTION T atomicAnd(T* address, T value) { return atomicExch(address, (T)(*address & value)); }   \
    EMULATOR_ATOMIC_FUNCTION T atomicMax(T* address, T value) {                                                        \
        return atomicExch(address, *address < value ? value : *address);                                               \
    }                                                                                                                  \
    EMULATOR_ATOMIC_FUNCTION T atomicMin(T* address, T value) {                                                        \
        return atomicExch(address, value < *address ? value : *address);                                               \
    }                                                                                                                  \
    EMULATOR_ATOMIC_FUNCTION T atomicCAS(T* address, T compare, T value) {                                             \
        return atomicExch(address, *address == compare ? value : *address);                                            \
    }
EMULATOR_ATOMIC(i32)
EMULATOR_ATOMIC(u32)
EMULATOR_ATOMIC(u64)
#undef EMULATOR_ATOMIC
#undef EMULATOR_ATOMIC_FUNCTION
