// The one device: what it says about itself, and whether it was lost.
#pragma once
#include "../device/runtime.hpp"
#include "result.hpp"

namespace emulator {

constexpr u32 multiprocessors = 4;
constexpr u32 default_shared_memory = 48 << 10;  // of a block that has not asked for more

// 90 for compute capability 9.0, from the environment variable EMULATOR_CAPABILITY.
u32 capability();
// Whether there is one: not where the environment variable EMULATOR_GPUS is 0.
bool present();
// False for what is unknown here.
bool attribute(int* value, int number);

// An error that every call after it returns: of a kernel, or of the device itself.
Result sticky_error();
void lose_device(Result error);
// Called before each kernel: the device is lost at that whose number, from 0, is EMULATOR_LOST.
void count_kernel();

}  // namespace emulator
