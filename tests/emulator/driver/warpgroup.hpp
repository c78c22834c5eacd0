// Products by warpgroups: what a warp has of them, as its rows depend on no other warp. They are computed at the latest possible
// moment, when they are waited for, from what registers and shared memory hold then.
#pragma once
#include "../device/runtime.hpp"

namespace emulator {

struct Thread;

// What a thread has written to shared memory by itself or by a copy that has landed: warpgroups see it behind its next
// fence.proxy.async.
void wrote_unfenced(Thread& thread, const void* address, u32 bytes);
void fence_for_warpgroups(Thread& thread);
// At the begin of a block.
void forget_unfenced();

void warpgroup_arrive(Site site);
void warpgroup_multiply(Site site, float* d, u32 columns, const u32* registers, u64 a, bool a_across, u64 b, bool b_across);
void warpgroup_commit(Site site);
void warpgroup_wait(Site site, u32 groups_left);

}  // namespace emulator
