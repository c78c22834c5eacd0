// The driver's rules: who may call what, sizes, limits, memory.
#include <cmath>
#include <thread>

#include "device.hpp"

CASE(contexts) {
    Address address;
    CHECK_EQUAL(cuMemAlloc_v2(&address, 16), NOT_INITIALIZED);
    CHECK_EQUAL(cuInit(0), SUCCESS);
    CHECK_EQUAL(cuMemAlloc_v2(&address, 16), INVALID_CONTEXT);
    open_device();
    CHECK_EQUAL(cuMemAlloc_v2(&address, 16), SUCCESS);
    // A context is the current one of a thread.
    std::thread([&] { CHECK_EQUAL(cuMemFree_v2(address), INVALID_CONTEXT); }).join();
    int major, shared;
    CHECK_EQUAL(cuDeviceGetAttribute(&major, 75, 0), SUCCESS);
    CHECK_EQUAL(cuDeviceGetAttribute(&shared, 97, 0), SUCCESS);
    CHECK_EQUAL(major, 9);
    CHECK_EQUAL(shared, 227 << 10);
}

// With EMULATOR_GPUS=0.
CASE(no_gpu) {
    CHECK_EQUAL(cuInit(0), NO_DEVICE);
    void* context;
    CHECK_EQUAL(cuDevicePrimaryCtxRetain(&context, 0), NOT_INITIALIZED);
}

// With EMULATOR_LOST=1: the second kernel is not run, and its launch is the last call that succeeds.
CASE(lost) {
    open_device();
    void* function = kernel(load_kernels("pipeline"), "sum_rows");
    Buffer<float> x(std::vector<float>(128, 3)), first(128), second(128);
    CHECK_EQUAL(launch(function, {1}, {128}, 1536, nullptr, x.address, first.address, 1), SUCCESS);
    CHECK_EQUAL(first.read()[0], 3);
    CHECK_EQUAL(launch(function, {1}, {128}, 1536, nullptr, x.address, second.address, 1), SUCCESS);
    float number;
    CHECK_EQUAL(cuMemcpyDtoH_v2(&number, first.address, sizeof number), ECC_UNCORRECTABLE);
    CHECK_EQUAL(cuMemFree_v2(second.address), ECC_UNCORRECTABLE);
    CHECK_EQUAL(cuCtxSynchronize(), ECC_UNCORRECTABLE);
    CHECK_EQUAL(launch(function, {1}, {128}, 1536, nullptr, x.address, first.address, 1), ECC_UNCORRECTABLE);
}

CASE(memory) {
    open_device();
    size_t free, total, free_now;
    CHECK_EQUAL(cuMemGetInfo_v2(&free, &total), SUCCESS);
    Buffer<float> x(100);
    for (float value : x.read()) CHECK(std::isnan(value));
    CHECK_EQUAL(x.address % 256, 0u);
    CHECK_EQUAL(cuMemGetInfo_v2(&free_now, &total), SUCCESS);
    CHECK_EQUAL(free_now, free - 400);
    float values[101] = {};
    CHECK_EQUAL(cuMemcpyHtoD_v2(x.address, values, 404), INVALID_VALUE);
    CHECK_EQUAL(cuMemcpyHtoD_v2(x.address + 4, values, 396), SUCCESS);
    CHECK_EQUAL(cuMemcpyHtoD_v2(x.address + 4, values, 400), INVALID_VALUE);
    CHECK_EQUAL(cuMemcpyDtoH_v2(values, x.address - 4, 8), INVALID_VALUE);
    CHECK_EQUAL(cuMemsetD32Async(x.address, 0x3f800000, 100, nullptr), SUCCESS);
    CHECK_EQUAL(cuMemsetD32Async(x.address, 0, 101, nullptr), INVALID_VALUE);
    for (float value : x.read()) CHECK_EQUAL(value, 1);
    CHECK_EQUAL(cuMemFree_v2(x.address + 4), INVALID_VALUE);
    CHECK_EQUAL(cuMemFree_v2(x.address), SUCCESS);
    CHECK_EQUAL(cuMemFree_v2(x.address), INVALID_VALUE);
    Address large;
    CHECK_EQUAL(cuMemAlloc_v2(&large, total + 1), OUT_OF_MEMORY);
    CHECK_EQUAL(cuMemAlloc_v2(&large, 0), INVALID_VALUE);
    void* pinned;
    CHECK_EQUAL(cuMemAllocHost_v2(&pinned, 100), SUCCESS);
    CHECK_EQUAL(cuMemFreeHost(pinned), SUCCESS);
    CHECK_EQUAL(cuMemFreeHost(pinned), INVALID_VALUE);
}

// With a limit of 1000 bytes from the environment.
CASE(small_memory) {
    open_device();
    Buffer<float> x(200);
    Address address;
    CHECK_EQUAL(cuMemAlloc_v2(&address, 201), OUT_OF_MEMORY);
    CHECK_EQUAL(cuMemFree_v2(x.address), SUCCESS);
    CHECK_EQUAL(cuMemAlloc_v2(&address, 201), SUCCESS);
}

CASE(launch_limits) {
    open_device();
    void *module = load_kernels("pipeline"), *function = kernel(module, "sum_rows"), *missing;
    CHECK_EQUAL(cuModuleGetFunction(&missing, module, "sum_columns"), NOT_FOUND);
    Buffer<float> x(128), sums(128);
    auto with = [&](Size grid, Size block, unsigned shared) {
        return launch(function, grid, block, shared, nullptr, x.address, sums.address, 1);
    };
    CHECK_EQUAL(with({1}, {128}, 1536), SUCCESS);
    CHECK_EQUAL(with({0}, {128}, 1536), INVALID_VALUE);
    CHECK_EQUAL(with({1, 65536}, {128}, 1536), INVALID_VALUE);
    CHECK_EQUAL(with({1}, {0}, 1536), INVALID_VALUE);
    CHECK_EQUAL(with({1}, {1025}, 1536), INVALID_VALUE);
    CHECK_EQUAL(with({1}, {256}, 1536), LAUNCH_OUT_OF_RESOURCES);
    // More than 48 KiB must be asked for.
    CHECK_EQUAL(with({1}, {128}, 50000), INVALID_VALUE);
    CHECK_EQUAL(cuFuncSetAttribute(function, 8, 232449), INVALID_VALUE);
    CHECK_EQUAL(cuFuncSetAttribute(function, 8, 232448), SUCCESS);
    CHECK_EQUAL(with({1}, {128}, 232448), SUCCESS);
    int blocks, threads;
    CHECK_EQUAL(cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, function, 128, 100 << 10), SUCCESS);
    CHECK_EQUAL(blocks, 2);
    CHECK_EQUAL(cuFuncGetAttribute(&threads, 0, function), SUCCESS);
    CHECK_EQUAL(threads, 128);
    CHECK_EQUAL(cuCtxSynchronize(), SUCCESS);
    CHECK_EQUAL(cuModuleUnload(module), SUCCESS);
}

CASE(compiler) {
    open_device();
    Compiled wrong = compile_text("wrong.cu", "#include \"prim.cuh\"\nKERNEL(32) wrong(float* x) { x = y; }\n");
    CHECK(wrong.result == 6);
    CHECK(wrong.log.find("wrong.cu:2:") != std::string::npos);
    std::string text = "#include \"prim.cuh\"\n#if ELEMENT_BF16\nKERNEL(32) of_bf16(bf16* x) { *x = to_bf16(1.0f); "
                       "}\n#else\nKERNEL(32) of_f32(float* x) { *x = 1.0f; }\n#endif\n";
    CHECK_EQUAL(compile_text("element.cu", text, {"--unheard-of"}).result, 5);
    Compiled compiled = compile_text(
        "element.cu", text, {"--gpu-architecture=sm_90", "--std=c++17", "--ptxas-options=-v", "-DELEMENT_BF16=1"});
    CHECK_EQUAL(compiled.result, 0);
    void *module, *function;
    CHECK_EQUAL(cuModuleLoadData(&module, compiled.image.data()), SUCCESS);
    CHECK_EQUAL(cuModuleGetFunction(&function, module, "of_bf16"), SUCCESS);
    CHECK_EQUAL(cuModuleGetFunction(&function, module, "of_f32"), NOT_FOUND);
    // Of another generation, and no image at all.
    compiled = compile_text("element.cu", text, {"--gpu-architecture=sm_80"});
    CHECK_EQUAL(cuModuleLoadData(&module, compiled.image.data()), NO_BINARY_FOR_GPU);
    CHECK_EQUAL(cuModuleLoadData(&module, std::string(1000, 'x').data()), INVALID_IMAGE);
}

// Several threads of the host with a device, each with buffers of its own.
CASE(threads) {
    open_device();
    void* function = kernel(load_kernels("pipeline"), "sum_rows");
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; t++) {
        threads.emplace_back([=] {
            open_device();
            Buffer<float> x(std::vector<float>(1280, t)), sums(128);
            for (int i = 0; i < 20; i++)
                CHECK_EQUAL(launch(function, {1}, {128}, 1536, nullptr, x.address, sums.address, 10), SUCCESS);
            for (float sum : sums.read()) CHECK_EQUAL(sum, 10 * t);
        });
    }
    for (auto& thread : threads) thread.join();
}
