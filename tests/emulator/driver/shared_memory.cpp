#include "shared_memory.hpp"

#include <algorithm>
#include <cstring>
#include <new>
#include <sys/mman.h>

namespace emulator {

static constexpr u8 poison_byte = 0xff;
static constexpr size_t page = 4096;
// What a kernel may ask for at most, and what a GPU gives to dynamic memory that comes first.
static constexpr u32 alignment = 1024;

void SharedMemory::lay_out(u32 dynamic_bytes, u8* fixed, u32 fixed_bytes) {
    if (!end_) {
        size_t bytes = (max_shared_memory + page - 1) / page * page;
        void* memory = mmap(nullptr, bytes + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) throw std::bad_alloc();
        u8* begin = static_cast<u8*>(memory) + page;
        mprotect(begin, bytes, PROT_READ | PROT_WRITE);
        end_ = begin + bytes;
    }
    dynamic_bytes_ = dynamic_bytes;
    dynamic_ = end_ - (dynamic_bytes + alignment - 1) / alignment * alignment;
    fixed_ = fixed;
    fixed_bytes_ = fixed_bytes;
}

void SharedMemory::poison() {
    memset(dynamic_, poison_byte, end_ - dynamic_);
    if (fixed_bytes_) memset(fixed_, poison_byte, fixed_bytes_);
}

bool SharedMemory::contains(const void* address, u32 bytes) const {
    auto begin = static_cast<const u8*>(address);
    auto within = [&](const u8* memory, u32 size) { return begin >= memory && begin + bytes <= memory + size; };
    return within(dynamic_, dynamic_bytes_) || within(fixed_, fixed_bytes_);
}

bool SharedMemory::ends_at(const void* address) const { return address >= end_ && address < end_ + page; }

bool SharedMemory::damaged() const {
    return std::any_of(dynamic_ + dynamic_bytes_, end_, [](u8 byte) { return byte != poison_byte; });
}

}  // namespace emulator
