#include "device.hpp"

#include <cstring>
#include <fstream>
#include <iterator>

void open_device() {
    void* context;
    CHECK_EQUAL(cuInit(0), SUCCESS);
    CHECK_EQUAL(cuDevicePrimaryCtxRetain(&context, 0), SUCCESS);
    CHECK_EQUAL(cuCtxSetCurrent(context), SUCCESS);
}

Compiled compile_text(const std::string& name, const std::string& text, std::vector<const char*> options) {
    // In place of the product's, which the emulated compiler does not read.
    const char *header = "#error the product's header was read", *header_name = "prim.cuh";
    void* program;
    Compiled compiled;
    CHECK_EQUAL(nvrtcCreateProgram(&program, text.c_str(), name.c_str(), 1, &header, &header_name), 0);
    compiled.result = nvrtcCompileProgram(program, options.size(), options.data());
    size_t bytes;
    CHECK_EQUAL(nvrtcGetProgramLogSize(program, &bytes), 0);
    compiled.log.resize(bytes);
    CHECK_EQUAL(nvrtcGetProgramLog(program, compiled.log.data()), 0);
    CHECK_EQUAL(nvrtcGetCUBINSize(program, &bytes), 0);
    compiled.image.resize(bytes);
    CHECK_EQUAL(nvrtcGetCUBIN(program, compiled.image.data()), 0);
    CHECK_EQUAL(nvrtcDestroyProgram(&program), 0);
    return compiled;
}

void* load_kernels(const std::string& name) {
    std::ifstream file(std::string(KERNELS) + "/" + name + ".cu");
    CHECK(file);
    Compiled compiled = compile_text(name + ".cu", {std::istreambuf_iterator<char>(file), {}});
    if (compiled.result) printf("%s\n", compiled.log.c_str());
    CHECK_EQUAL(compiled.result, 0);
    void* module;
    CHECK_EQUAL(cuModuleLoadData(&module, compiled.image.data()), SUCCESS);
    return module;
}

void* kernel(void* module, const char* name) {
    void* function;
    CHECK_EQUAL(cuModuleGetFunction(&function, module, name), SUCCESS);
    return function;
}

std::vector<float> numbers(size_t count) {
    static std::mt19937 random(1);
    std::normal_distribution<float> normal;
    std::vector<float> values(count);
    for (float& value : values) value = normal(random);
    return values;
}

uint16_t to_bf16(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

float from_bf16(uint16_t half) {
    uint32_t bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}
