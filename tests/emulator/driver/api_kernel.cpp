// The driver's interface: modules, functions and their launches; and what the emulated cuBLASLt needs of the driver.
#include <algorithm>
#include <memory>
#include <set>

#include "api.hpp"
#include "block.hpp"
#include "launch.hpp"
#include "memory.hpp"
#include "stream.hpp"

using namespace emulator;

namespace {

std::set<LoadedModule*> modules;

// CUfunction_attribute.
enum FunctionAttribute {
    max_threads_per_block = 0,
    shared_size_bytes = 1,
    const_size_bytes = 2,
    local_size_bytes = 3,
    num_regs = 4,
    ptx_version = 5,
    binary_version = 6,
    cache_mode_ca = 7,
    max_dynamic_shared_size_bytes = 8,
    preferred_shared_memory_carveout = 9,
};

}  // namespace

API Result cuModuleLoadData(LoadedModule** module, const void* image) {
    return in_context([&] {
        Result result = load_module(module, image);
        if (result == Result::success) modules.insert(*module);
        return result;
    });
}

API Result cuModuleUnload(LoadedModule* module) {
    return in_context([&] {
        drain();
        return modules.erase(module) ? unload_module(module) : Result::invalid_handle;
    });
}

API Result cuModuleGetFunction(Function** function, LoadedModule* module, const char* name) {
    return in_context(
        [&] { return modules.count(module) ? find_function(function, module, name) : Result::invalid_handle; });
}

API Result cuFuncSetAttribute(Function* function, int attribute, int value) {
    return in_context([&] {
        if (attribute == preferred_shared_memory_carveout) return Result::success;
        if (attribute != max_dynamic_shared_size_bytes || value < 0 || value > (int)max_shared_memory)
            return Result::invalid_value;
        function->max_dynamic_shared = value;
        return Result::success;
    });
}

// Registers are a compiler's answer that there is none for here: as many as the launch bounds leave.
API Result cuFuncGetAttribute(int* value, int attribute, Function* function) {
    return in_context([&] {
        const Kernel& kernel = *function->kernel;
        switch (attribute) {
        case max_threads_per_block: *value = kernel.max_threads; break;
        case shared_size_bytes: *value = function->module->shared_bytes; break;
        case num_regs: *value = std::min(255u, 65536 / std::max(1u, kernel.max_threads)); break;
        case ptx_version:
        case binary_version: *value = function->module->module->architecture; break;
        case max_dynamic_shared_size_bytes: *value = function->max_dynamic_shared; break;
        case const_size_bytes:
        case local_size_bytes:
        case cache_mode_ca: *value = 0; break;
        case preferred_shared_memory_carveout: *value = -1; break;
        default: return Result::invalid_value;
        }
        return Result::success;
    });
}

// As threads, blocks and shared memory of a multiprocessor allow.
API Result cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, Function* function, int block_size,
                                                       size_t dynamic_shared) {
    return in_context([&] {
        if (block_size <= 0) return Result::invalid_value;
        bool fits = block_size <= (int)function->kernel->max_threads && dynamic_shared <= function->max_dynamic_shared;
        int by_threads = 2048 / block_size, by_shared = 233472 / (1024 + dynamic_shared);
        *blocks = fits ? std::min({32, by_threads, by_shared}) : 0;
        return Result::success;
    });
}

API Result cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, Function* function, int block_size,
                                                                size_t dynamic_shared, unsigned) {
    return cuOccupancyMaxActiveBlocksPerMultiprocessor(blocks, function, block_size, dynamic_shared);
}

API Result cuLaunchKernel(Function* function, u32 grid_x, u32 grid_y, u32 grid_z, u32 block_x, u32 block_y, u32 block_z,
                          u32 dynamic_shared, Stream* stream, void** arguments, void** extra) {
    return in_context([&] {
        if (!function) return Result::invalid_handle;
        if (extra) return Result::not_supported;
        auto launch = std::make_shared<Launch>();
        launch->function = function;
        launch->grid = {grid_x, grid_y, grid_z};
        launch->block = {block_x, block_y, block_z};
        launch->dynamic_shared = dynamic_shared;
        if (Result result = prepare(*launch, arguments); result != Result::success) return result;
        return enqueue(stream, {Work::Kind::kernel, function, [launch] { run(*launch); }});
    });
}

// ---- for the emulated cuBLASLt ----

// Puts work of a library into a stream. `state` is freed with `destroy` when the work can no longer run.
API Result emulator_enqueue(Stream* stream, void (*work)(void*), void (*destroy)(void*), void* state) {
    auto owned = std::shared_ptr<void>(state, destroy);
    return in_context([&] { return enqueue(stream, {Work::Kind::library, nullptr, [=] { work(owned.get()); }}); });
}

API bool emulator_allocated(u64 address, size_t bytes) {
    std::lock_guard<std::recursive_mutex> guard(lock);
    return allocated(address, bytes);
}
