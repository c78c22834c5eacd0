#include "device.hpp"

#include <cstdlib>

#include "block.hpp"

namespace emulator {

static Result lost = Result::success;

u32 capability() {
    static const u32 value = [] {
        const char* text = getenv("EMULATOR_CAPABILITY");
        return text ? strtoul(text, nullptr, 10) : 90;
    }();
    return value;
}

bool present() {
    const char* text = getenv("EMULATOR_GPUS");
    return !text || strtoul(text, nullptr, 10) > 0;
}

// An H100's limits, with the numbers of CUdevice_attribute; but little of what makes measurements long.
bool attribute(int* value, int number) {
    static constexpr struct {
        int number, value;
    } table[] = {
        {1, max_block_size},  // MAX_THREADS_PER_BLOCK
        {2, 1024},            // MAX_BLOCK_DIM_X, Y, Z
        {3, 1024},
        {4, 64},
        {5, 0x7fffffff},  // MAX_GRID_DIM_X, Y, Z
        {6, 65535},
        {7, 65535},
        {8, default_shared_memory},  // MAX_SHARED_MEMORY_PER_BLOCK
        {9, 65536},                  // TOTAL_CONSTANT_MEMORY
        {10, warp_size},             // WARP_SIZE
        {12, 65536},                 // MAX_REGISTERS_PER_BLOCK
        {13, 1980000},               // CLOCK_RATE
        {14, 512},                   // TEXTURE_ALIGNMENT
        {16, multiprocessors},       // MULTIPROCESSOR_COUNT
        {31, 1},                     // CONCURRENT_KERNELS
        {36, 2619000},               // MEMORY_CLOCK_RATE
        {37, 5120},                  // GLOBAL_MEMORY_BUS_WIDTH
        {38, 1 << 16},               // L2_CACHE_SIZE
        {39, 2048},                  // MAX_THREADS_PER_MULTIPROCESSOR
        {40, 3},                     // ASYNC_ENGINE_COUNT
        {41, 1},                     // UNIFIED_ADDRESSING
        {81, 233472},                // MAX_SHARED_MEMORY_PER_MULTIPROCESSOR
        {82, 65536},                 // MAX_REGISTERS_PER_MULTIPROCESSOR
        {97, max_shared_memory},     // MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
        {106, 32},                   // MAX_BLOCKS_PER_MULTIPROCESSOR
        {111, 1024},                 // RESERVED_SHARED_MEMORY_PER_BLOCK
        {115, 0},                    // MEMORY_POOLS_SUPPORTED
    };
    if (number == 75 || number == 76) {  // COMPUTE_CAPABILITY_MAJOR, MINOR
        *value = number == 75 ? capability() / 10 : capability() % 10;
        return true;
    }
    for (auto entry : table) {
        if (entry.number == number) {
            *value = entry.value;
            return true;
        }
    }
    // Most others say whether something is supported.
    *value = 0;
    return number > 0 && number < 150;
}

Result sticky_error() { return lost; }
void lose_device(Result error) { lost = error; }

void count_kernel() {
    static const char* text = getenv("EMULATOR_LOST");
    static u64 kernels;
    if (text && kernels++ == strtoull(text, nullptr, 10)) lose_device(Result::ecc_uncorrectable);
}

}  // namespace emulator
