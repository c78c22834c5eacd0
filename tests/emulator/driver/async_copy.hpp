// cp.async: copies that a thread asks for and that land, at the latest possible moment, when it waits for them.
#pragma once
#include "../device/runtime.hpp"

namespace emulator {

void copy_async(Site site, void* shared, const void* global, u32 bytes, bool valid);
void copy_async_commit();
void copy_async_wait(u32 groups_left);

}  // namespace emulator
