// The end of every module: its kernels by name, and how each is called. The emulated compiler includes this after the
// source, between the definitions of the kernels and a list of EMULATED_KERNEL(name, threads).
#pragma once
#include "builtins.hpp"

namespace emulator {

// Only shared memory is looked at, and most accesses are of other memory.
__attribute__((no_sanitize("thread"))) inline void access(const void* address, u64 bytes, bool write) {
    const Runtime& device = *runtime;
    auto byte = static_cast<const u8*>(address);
    bool is_shared = (u64)(byte - device.dynamic_shared) < device.dynamic_shared_bytes ||
                     (u64)(byte - device.static_shared) < device.static_shared_bytes;
    if (__builtin_expect(is_shared, 0)) device.access(address, bytes, write);
}

}  // namespace emulator

// What the compiler's thread sanitizer calls before an access to memory.
#define EMULATOR_ACCESS(name, bytes, write)                                                                            \
    extern "C" __attribute__((no_sanitize("thread"))) void __tsan_##name(const void* address) {                        \
        emulator::access(address, bytes, write);                                                                       \
    }
#define EMULATOR_ACCESSES(bytes)                                                                                       \
    EMULATOR_ACCESS(read##bytes, bytes, false)                                                                         \
    EMULATOR_ACCESS(write##bytes, bytes, true)                                                                         \
    EMULATOR_ACCESS(unaligned_read##bytes, bytes, false)                                                               \
    EMULATOR_ACCESS(unaligned_write##bytes, bytes, true)
EMULATOR_ACCESSES(1)
EMULATOR_ACCESSES(2)
EMULATOR_ACCESSES(4)
EMULATOR_ACCESSES(8)
EMULATOR_ACCESSES(16)
extern "C" {
__attribute__((no_sanitize("thread"))) void __tsan_read_range(const void* address, unsigned long bytes) {
    emulator::access(address, bytes, false);
}
__attribute__((no_sanitize("thread"))) void __tsan_write_range(const void* address, unsigned long bytes) {
    emulator::access(address, bytes, true);
}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_init() {}
}

namespace emulator {

template <auto kernel> struct Entry;
template <class... Parameters, void (*kernel)(Parameters...)> struct Entry<kernel> {
    static constexpr u32 sizes[] = {sizeof(Parameters)..., 0};

    struct Call {
        Call(Parameters... parameters) { kernel(parameters...); }
    };
    static void call(void** arguments) {
        // Braces, as only there are operands evaluated from left to right.
        Call{*static_cast<Parameters*>(*arguments++)...};
    }
};

static void* first_shared_byte() {
    static thread_local char first;
    return &first;
}

}  // namespace emulator

#define EMULATED_KERNEL(name, threads) {#name, threads, emulator::Entry<&name>::sizes, emulator::Entry<&name>::call},

#define EMULATED_MODULE(kernels)                                                                                       \
    extern "C" __attribute__((visibility("default"), no_sanitize("thread"))) const emulator::Module* emulator_module(  \
        emulator::Runtime* runtime) {                                                                                  \
        static const emulator::Module module = {EMULATOR_ARCHITECTURE, kernels, emulator::first_shared_byte};          \
        emulator::runtime = runtime;                                                                                   \
        return &module;                                                                                                \
    }
