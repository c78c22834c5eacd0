// A device, kernels and buffers for cases.
#pragma once
#include <random>
#include <string>
#include <vector>

#include "check.hpp"
#include "cuda.hpp"

// Initialises the driver and makes the device's context the current one.
void open_device();

struct Compiled {
    int result;
    std::string log, image;
};

// Compiles a source's text.
Compiled compile_text(const std::string& name, const std::string& text,
                      std::vector<const char*> options = {"--gpu-architecture=sm_90"});
// Compiles and loads the kernels of tests/kernels/NAME.cu. A source that does not compile ends the case.
void* load_kernels(const std::string& name);
void* kernel(void* module, const char* name);

// Memory of the device, with numbers.
template <class T> struct Buffer {
    Address address;
    size_t count;

    explicit Buffer(size_t count) : count(count) { CHECK_EQUAL(cuMemAlloc_v2(&address, count * sizeof(T)), SUCCESS); }
    explicit Buffer(const std::vector<T>& values) : Buffer(values.size()) { write(values); }
    void write(const std::vector<T>& values) {
        CHECK_EQUAL(cuMemcpyHtoD_v2(address, values.data(), values.size() * sizeof(T)), SUCCESS);
    }
    std::vector<T> read() const {
        std::vector<T> values(count);
        CHECK_EQUAL(cuMemcpyDtoH_v2(values.data(), address, count * sizeof(T)), SUCCESS);
        return values;
    }
};

struct Size {
    unsigned x = 1, y = 1, z = 1;
};

// Launches into a stream; the arguments are passed as they are.
template <class... T> int launch(void* kernel, Size grid, Size block, unsigned shared, void* stream, T... arguments) {
    void* pointers[] = {&arguments..., nullptr};
    return cuLaunchKernel(kernel, grid.x, grid.y, grid.z, block.x, block.y, block.z, shared, stream, pointers, nullptr);
}

// Of a normal distribution, the same in every run.
std::vector<float> numbers(size_t count);
// The nearest bf16.
uint16_t to_bf16(float value);
float from_bf16(uint16_t bits);
