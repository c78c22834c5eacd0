// What the lanes of a warp do together; see the fields of the same names in Runtime.
#pragma once
#include "../device/runtime.hpp"

namespace emulator {

void sync_warp(Site site, u32 mask);
void shuffle(Site site, u32 mask, const void* value, void* result, u32 bytes, u32 source);
u32 ballot(Site site, u32 mask, bool predicate);
void load_matrices(Site site, u32* fragments, const void* row, bool transposed);
void multiply_bf16(Site site, float* d, const u32* a, const u32* b);
void multiply_tf32(Site site, float* d, const u32* a, const u32* b);

}  // namespace emulator
