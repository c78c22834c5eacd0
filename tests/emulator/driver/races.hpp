// Races in shared memory: accesses of two threads to one byte, at least one of them a write, that no barrier orders.
//
// Modules report every access of a kernel, as they are compiled with the compiler's thread sanitizer, whose functions
// the emulated compiler defines in its own way. A byte remembers who has written and read it last; that is FastTrack
// (Flanagan, Freund 2009) with barriers for locks. What a barrier orders is all that comes before it in the block, and
// __syncwarp the same in a warp; exchanges within a warp order nothing, as on a GPU.
#pragma once
#include "../device/runtime.hpp"

namespace emulator {

// At the begin of a block and at each of its barriers: what comes is ordered after what came.
void order_block();
// The thread that runs accesses memory; only shared memory is looked at.
void on_access(const void* address, u32 bytes, bool write);

}  // namespace emulator
