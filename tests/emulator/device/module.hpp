// The end of every module: its kernels by name, and how each is called. The emulated compiler includes this after the
// source, between the definitions of the kernels and a list of EMULATED_KERNEL(name, threads).
#pragma once
#include "builtins.hpp"

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
    extern "C" __attribute__((visibility("default"))) const emulator::Module* emulator_module(emulator::Runtime* runtime) { \
        static const emulator::Module module = {EMULATOR_ARCHITECTURE, kernels, emulator::first_shared_byte};         \
        emulator::runtime = runtime;                                                                                  \
        return &module;                                                                                               \
    }
