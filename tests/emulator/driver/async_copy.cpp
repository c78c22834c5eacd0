#include "async_copy.hpp"

#include <cstdint>
#include <cstring>

#include "block.hpp"
#include "fault.hpp"
#include "races.hpp"
#include "warpgroup.hpp"

namespace emulator {

void copy_async(Site site, void* shared, const void* global, u32 bytes, bool valid) {
    if ((uintptr_t)shared % bytes || (uintptr_t)global % bytes)
        fail_at(site, Error::misaligned_address, "cp.async of %u bytes from %p to %p: must be aligned to its size",
                bytes, global, shared);
    if (!block.shared.contains(shared, bytes))
        fail_at(site, Error::illegal_address, "cp.async to %p: must be in shared memory", shared);
    // What was there is gone from now on, and what comes is not there yet: whoever reads it reads NaN.
    on_access(shared, bytes, true);
    memset(shared, 0xff, bytes);
    Thread& thread = block.current();
    auto from = valid ? static_cast<const u8*>(global) : nullptr;
    thread.copies.push_back({static_cast<u8*>(shared), from, bytes, thread.committed_groups});
}

void copy_async_commit() { block.current().committed_groups++; }

void copy_async_wait(u32 groups_left) {
    Thread& thread = block.current();
    size_t landed = 0;
    for (const AsyncCopy& copy : thread.copies) {
        if (copy.group + groups_left >= thread.committed_groups) break;
        if (copy.global)
            memcpy(copy.shared, copy.global, copy.bytes);
        else
            memset(copy.shared, 0, copy.bytes);
        on_access(copy.shared, copy.bytes, true);
        wrote_unfenced(thread, copy.shared, copy.bytes);
        landed++;
    }
    thread.copies.erase(thread.copies.begin(), thread.copies.begin() + landed);
}

}  // namespace emulator
