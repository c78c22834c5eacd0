// Products by warpgroups: what a warp has of them, as its rows depend on no other warp. They are computed at the latest possible
// moment, when they are waited for, from what registers and shared memory hold then.
#pragma once
#include "../device/runtime.hpp"

namespace emulator {

void warpgroup_arrive(Site site);
void warpgroup_multiply(Site site, float* d, u32 columns, const u32* a, u64 b, bool across);
void warpgroup_commit(Site site);
void warpgroup_wait(Site site, u32 groups_left);

}  // namespace emulator
