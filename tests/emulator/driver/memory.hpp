// The device's memory: pages of the host, each allocation between pages that cannot be touched.
#pragma once
#include <cstddef>

#include "../device/runtime.hpp"
#include "result.hpp"

namespace emulator {

// The end of an allocation is, but for alignment to 256 bytes, the end of a page; all is filled with 0xff, which is NaN
// in every format.
Result allocate(u64* address, size_t bytes);
Result release(u64 address);
// Whether all of it lies in one allocation.
bool allocated(u64 address, size_t bytes);
// An allocation whose surroundings were written to, described; or false.
bool find_damage(char* text, size_t length);
// Where an address lies, for people.
void describe_address(const void* address, char* text, size_t length);

size_t total_memory();
size_t free_memory();

}  // namespace emulator
