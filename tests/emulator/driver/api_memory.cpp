// The driver's interface: memory of the device and pinned memory of the host, copies and fills.
#include <cstdlib>
#include <cstring>
#include <map>

#include "api.hpp"
#include "memory.hpp"
#include "stream.hpp"

using namespace emulator;

namespace {

// Sizes by address.
std::map<const u8*, size_t> pinned;

bool is_pinned(const void* address, size_t bytes) {
    auto at = static_cast<const u8*>(address);
    auto after = pinned.upper_bound(at);
    if (after == pinned.begin()) return false;
    auto [begin, size] = *std::prev(after);
    return at + bytes <= begin + size;
}

u8* pointer(u64 address) { return reinterpret_cast<u8*>(address); }

Result copy(Stream* stream, void* to, const void* from, size_t bytes) {
    return enqueue(stream, {Work::Kind::copy, nullptr, [=] { memmove(to, from, bytes); }});
}

template <class T> Result fill(Stream* stream, u64 address, T value, size_t count) {
    if (address % sizeof(T) || !allocated(address, count * sizeof(T))) return Result::invalid_value;
    return enqueue(stream, {Work::Kind::fill, nullptr, [=] {
                                for (size_t i = 0; i < count; i++)
                                    memcpy(pointer(address) + i * sizeof(T), &value, sizeof(T));
                            }});
}

// Of a call without a stream, which waits for all others.
template <class F> Result synchronous(F work) {
    return in_context([&] {
        Result result = forbid_capture(Result::stream_capture_implicit);
        return result == Result::success ? work() : result;
    });
}

Result allocate_pinned(void** memory, size_t bytes) {
    Result result = forbid_capture();
    if (result != Result::success) return result;
    if (bytes == 0) return Result::invalid_value;
    *memory = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    if (!*memory) return Result::out_of_memory;
    memset(*memory, 0xff, bytes);
    pinned[static_cast<u8*>(*memory)] = bytes;
    return Result::success;
}

}  // namespace

API Result cuMemAlloc_v2(u64* address, size_t bytes) {
    return in_context([&] {
        Result result = forbid_capture();
        return result == Result::success ? allocate(address, bytes) : result;
    });
}

API Result cuMemFree_v2(u64 address) {
    return in_context([&] {
        Result result = forbid_capture();
        if (result != Result::success || address == 0) return result;
        drain();
        return release(address);
    });
}

API Result cuMemGetInfo_v2(size_t* available, size_t* total) {
    return in_context([&] {
        *available = free_memory();
        *total = total_memory();
        return Result::success;
    });
}

API Result cuMemHostAlloc(void** memory, size_t bytes, unsigned) {
    return in_context([&] { return allocate_pinned(memory, bytes); });
}

API Result cuMemAllocHost_v2(void** memory, size_t bytes) {
    return in_context([&] { return allocate_pinned(memory, bytes); });
}

API Result cuMemFreeHost(void* memory) {
    return in_context([&] {
        Result result = forbid_capture();
        if (result != Result::success) return result;
        if (!pinned.count(static_cast<u8*>(memory))) return Result::invalid_value;
        drain();
        pinned.erase(static_cast<u8*>(memory));
        free(memory);
        return Result::success;
    });
}

API Result cuMemcpyHtoDAsync_v2(u64 to, const void* from, size_t bytes, Stream* stream) {
    return in_context([&] {
        if (!allocated(to, bytes)) return Result::invalid_value;
        // Memory that is not the driver's is read before the call returns, but for a graph, which reads it when it runs.
        Result result = copy(stream, pointer(to), from, bytes);
        Stream* into = find_stream(stream);
        if (into && !into->capture && !is_pinned(from, bytes)) synchronize(stream);
        return result;
    });
}

API Result cuMemcpyDtoHAsync_v2(void* to, u64 from, size_t bytes, Stream* stream) {
    return in_context([&] {
        if (!allocated(from, bytes)) return Result::invalid_value;
        Result result = copy(stream, to, pointer(from), bytes);
        // Likewise memory that is not the driver's is written before the call returns.
        Stream* out_of = find_stream(stream);
        if (out_of && !out_of->capture && !is_pinned(to, bytes)) synchronize(stream);
        return result;
    });
}

API Result cuMemcpyDtoDAsync_v2(u64 to, u64 from, size_t bytes, Stream* stream) {
    return in_context([&] {
        if (!allocated(to, bytes) || !allocated(from, bytes)) return Result::invalid_value;
        return copy(stream, pointer(to), pointer(from), bytes);
    });
}

API Result cuMemcpyHtoD_v2(u64 to, const void* from, size_t bytes) {
    return synchronous([&] { return cuMemcpyHtoDAsync_v2(to, from, bytes, nullptr); });
}

API Result cuMemcpyDtoH_v2(void* to, u64 from, size_t bytes) {
    return synchronous([&] { return cuMemcpyDtoHAsync_v2(to, from, bytes, nullptr); });
}

API Result cuMemcpyDtoD_v2(u64 to, u64 from, size_t bytes) {
    return synchronous([&] { return cuMemcpyDtoDAsync_v2(to, from, bytes, nullptr); });
}

API Result cuMemsetD8Async(u64 address, u8 value, size_t count, Stream* stream) {
    return in_context([&] { return fill(stream, address, value, count); });
}

API Result cuMemsetD16Async(u64 address, u16 value, size_t count, Stream* stream) {
    return in_context([&] { return fill(stream, address, value, count); });
}

API Result cuMemsetD32Async(u64 address, u32 value, size_t count, Stream* stream) {
    return in_context([&] { return fill(stream, address, value, count); });
}

API Result cuMemsetD8_v2(u64 address, u8 value, size_t count) {
    return synchronous([&] { return fill(nullptr, address, value, count); });
}

API Result cuMemsetD32_v2(u64 address, u32 value, size_t count) {
    return synchronous([&] { return fill(nullptr, address, value, count); });
}
