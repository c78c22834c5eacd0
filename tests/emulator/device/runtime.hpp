// What a kernel's module and the emulated driver know of each other.
//
// A module is a shared library with kernels in it; it calls what a GPU's hardware would do through the function
// pointers of Runtime, which belongs to the driver and is one for the whole process. This file is included by both, and
// uses no other header, so that kernels see as little as they do with NVRTC.
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef int i32;
typedef long long i64;

struct dim3 {
    u32 x = 1, y = 1, z = 1;
};

namespace emulator {

// Where in a kernel's source something was called: a barrier is one only if all threads wait at the same line.
struct Site {
    const char* file;
    int line;
};

// Error codes of the driver that a kernel can end with.
enum class Error : int { none = 0, illegal_address = 700, misaligned_address = 716, launch_failed = 719 };

// What a kernel reads about the thread that runs.
struct ThreadIndex {
    dim3 index;
};

struct Runtime {
    const ThreadIndex* thread;  // the one that runs now
    dim3 block_index, block_size, grid_size;
    u8* dynamic_shared;
    u8* static_shared;
    u64 dynamic_shared_bytes, static_shared_bytes;

    void (*sync_threads)(Site);
    void (*sync_warp)(Site, u32 mask);
    // Every lane gets the `bytes` of lane `source`'s value.
    void (*shuffle)(Site, u32 mask, const void* value, void* result, u32 bytes, u32 source);
    u32 (*ballot)(Site, u32 mask, bool predicate);
    void (*load_matrices)(Site, u32* fragments, const void* row, bool transposed);
    void (*multiply_bf16)(Site, float* d, const u32* a, const u32* b);
    void (*multiply_tf32)(Site, float* d, const u32* a, const u32* b);
    // Products by warpgroups, of 16 rows by each warp and `columns` columns; sums are added to when they are waited for. The left
    // operand is in registers, or where these are null in shared memory.
    void (*warpgroup_arrive)(Site);
    void (*warpgroup_multiply)(Site, float* d, u32 columns, const u32* registers, u64 a, bool a_across, u64 b, bool b_across);
    void (*warpgroup_commit)(Site);
    void (*warpgroup_wait)(Site, u32 groups_left);
    void (*fence_for_warpgroups)();
    void (*copy_async)(Site, void* shared, const void* global, u32 bytes, bool valid);
    void (*copy_async_commit)();
    void (*copy_async_wait)(u32 groups_left);
    void (*fail)(Site, Error, const char* what);                 // does not return
    void (*access)(const void* address, u32 bytes, bool write);  // of shared memory, before it happens
};

struct Kernel {
    const char* name;
    u32 max_threads;             // __launch_bounds__
    const u32* parameter_sizes;  // in bytes, ended by a zero
    void (*call)(void** arguments);
};

struct Module {
    u32 architecture;              // 90 for sm_90
    const Kernel* kernels;         // ended by one without a name
    void* (*first_shared_byte)();  // makes this thread's static shared memory exist
};

}  // namespace emulator
