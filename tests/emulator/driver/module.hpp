// Modules: shared libraries that the emulated compiler has made, loaded from memory.
#pragma once
#include <string>
#include <vector>

#include "../device/runtime.hpp"
#include "result.hpp"

namespace emulator {

struct LoadedModule;

// A kernel of a loaded module: what the API calls a function.
struct Function {
    const Kernel* kernel;
    LoadedModule* module;
    u32 max_dynamic_shared;  // as cuFuncSetAttribute allows

    std::vector<u32> parameter_sizes() const;
};

struct LoadedModule {
    void* handle;
    int file;
    const Module* module;
    u32 shared_bytes;  // static shared memory of all kernels together
    std::vector<Function*> functions;
};

// `image` must be complete; its size is read from its header.
Result load_module(LoadedModule** module, const void* image);
Result unload_module(LoadedModule* module);
Result find_function(Function** function, LoadedModule* module, const char* name);
// This thread's static shared memory of a module.
u8* static_shared_memory(const LoadedModule& module);

}  // namespace emulator
