// What every function of the driver's interface begins with: the lock, and the state that all depend on.
#pragma once
#include <mutex>
#include <new>

#include "device.hpp"
#include "result.hpp"

#define API extern "C" __attribute__((visibility("default")))

namespace emulator {

// One lock around everything: kernels, tables, the one block that runs.
inline std::recursive_mutex lock;
inline bool initialized;
// The context of the calling thread; there is one context, the device's primary one.
inline thread_local void* current_context;

// Calls `work` under the lock, unless the driver was not initialised.
template <class F> Result locked(F work) {
    std::lock_guard<std::recursive_mutex> guard(lock);
    if (!initialized) return Result::not_initialized;
    try {
        return work();
    } catch (const std::bad_alloc&) {
        return Result::operating_system;
    }
}

// Likewise, for what needs a context that was not lost.
template <class F> Result in_context(F work) {
    return locked([&] {
        if (!current_context) return Result::invalid_context;
        if (sticky_error() != Result::success) return sticky_error();
        return work();
    });
}

}  // namespace emulator
