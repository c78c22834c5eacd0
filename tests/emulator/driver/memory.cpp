#include "memory.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <sys/mman.h>
#include <vector>

namespace emulator {

namespace {

constexpr size_t page = 4096, alignment = 256;
constexpr u8 poison_byte = 0xff, guard_byte = 0xab;

struct Allocation {
    u8* begin;
    size_t bytes;
    u8* pages;  // with the one before and the one behind
    size_t mapped;

    // Bytes that may be touched but are nobody's, on both sides.
    u8* front() const { return std::max(pages + page, begin - alignment); }
    u8* back() const { return pages + mapped - page; }
};

std::map<u64, Allocation> allocations;
size_t used;

size_t limit() {
    static const size_t bytes = [] {
        const char* text = getenv("EMULATOR_MEMORY");
        return text ? strtoull(text, nullptr, 10) : size_t(8) << 30;
    }();
    return bytes;
}

// The first damaged byte of a guard, or null. Looked for in all allocations after every launch, so the first look is
// fast.
const u8* damage(const u8* from, const u8* to) {
    static const std::vector<u8> intact(alignment, guard_byte);
    if (!memcmp(from, intact.data(), to - from)) return nullptr;
    return std::find_if(from, to, [](u8 byte) { return byte != guard_byte; });
}

const u8* damage(const Allocation& allocation) {
    const u8* before = damage(allocation.front(), allocation.begin);
    return before ? before : damage(allocation.begin + allocation.bytes, allocation.back());
}

void describe(const Allocation& allocation, const u8* address, char* text, size_t length) {
    const u8* end = allocation.begin + allocation.bytes;
    long distance = address < allocation.begin ? allocation.begin - address : address - end;
    const char* side = address < allocation.begin ? "before the begin"
                     : address < end              ? "before the end"
                                                  : "behind the end";
    if (address >= allocation.begin && address < end) distance = end - address;
    snprintf(text, length, "%ld bytes %s of an allocation of %zu bytes", distance, side, allocation.bytes);
}

}  // namespace

Result allocate(u64* address, size_t bytes) {
    if (bytes == 0) return Result::invalid_value;
    if (bytes > limit() - used) return Result::out_of_memory;
    size_t aligned = (bytes + alignment - 1) / alignment * alignment;
    size_t middle = (aligned + page - 1) / page * page;
    size_t mapped = middle + 2 * page;
    void* pages = mmap(nullptr, mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (pages == MAP_FAILED) return Result::out_of_memory;
    u8* first = static_cast<u8*>(pages) + page;
    if (mprotect(first, middle, PROT_READ | PROT_WRITE)) {
        munmap(pages, mapped);
        return Result::out_of_memory;
    }
    u8* begin = first + middle - aligned;
    Allocation allocation = {begin, bytes, static_cast<u8*>(pages), mapped};
    memset(allocation.front(), guard_byte, begin - allocation.front());
    memset(begin, poison_byte, bytes);
    memset(begin + bytes, guard_byte, allocation.back() - begin - bytes);
    *address = reinterpret_cast<u64>(begin);
    allocations[*address] = allocation;
    used += bytes;
    return Result::success;
}

Result release(u64 address) {
    auto found = allocations.find(address);
    if (found == allocations.end()) return Result::invalid_value;
    used -= found->second.bytes;
    munmap(found->second.pages, found->second.mapped);
    allocations.erase(found);
    return Result::success;
}

bool allocated(u64 address, size_t bytes) {
    auto next = allocations.upper_bound(address);
    if (next == allocations.begin()) return false;
    const auto& [begin, allocation] = *--next;
    u64 offset = address - begin;
    return offset <= allocation.bytes && bytes <= allocation.bytes - offset;
}

bool find_damage(char* text, size_t length) {
    for (const auto& [address, allocation] : allocations) {
        if (const u8* found = damage(allocation)) {
            describe(allocation, found, text, length);
            return true;
        }
    }
    return false;
}

void describe_address(const void* address, char* text, size_t length) {
    auto byte = static_cast<const u8*>(address);
    // The nearest allocation that the address is likely meant for: one whose neighbouring megabyte it lies in.
    const Allocation* nearest = nullptr;
    size_t least = 1 << 20;
    for (const auto& [begin, allocation] : allocations) {
        const u8* end = allocation.begin + allocation.bytes;
        size_t distance = byte < allocation.begin ? allocation.begin - byte : byte < end ? 0 : byte - end;
        if (distance < least) {
            least = distance;
            nearest = &allocation;
        }
    }
    if (nearest)
        describe(*nearest, byte, text, length);
    else
        snprintf(text, length, "far from any allocation");
}

size_t total_memory() { return limit(); }
size_t free_memory() { return limit() - used; }

}  // namespace emulator
