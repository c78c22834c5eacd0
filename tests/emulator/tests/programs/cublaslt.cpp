// Products of cuBLASLt are those of plain loops.
#include <cmath>

#include "device.hpp"

extern "C" {
int cublasLtCreate(void**);
int cublasLtMatmulDescCreate(void**, int, int);
int cublasLtMatmulDescSetAttribute(void*, int, const void*, size_t);
int cublasLtMatrixLayoutCreate(void**, int, uint64_t, uint64_t, int64_t);
int cublasLtMatmulPreferenceCreate(void**);
int cublasLtMatmulAlgoGetHeuristic(void*, void*, void*, void*, void*, void*, void*, int, void*, int*);
int cublasLtMatmul(void*, void*, const float*, Address, void*, Address, void*, const float*, Address, void*, Address,
                   void*, const void*, void*, size_t, void*);
}

constexpr int BF16 = 14, F32 = 0, COMPUTE_F32 = 68;

// d [5, 3] = relu(a^T b + bias), a [7, 5] and d in bf16, with room below the columns of b; the second time into a
// graph.
CASE(cublaslt) {
    open_device();
    int rows = 5, columns = 3, depth = 7, leading_b = 8;
    std::vector<uint16_t> a(depth * rows), b(leading_b * columns), bias(rows);
    for (auto* values : {&a, &b, &bias})
        for (auto& value : *values) value = to_bf16(numbers(1)[0]);
    Buffer<uint16_t> device_a(a), device_b(b), device_bias(bias), device_d(rows * columns);
    void *handle, *description, *layout_a, *layout_b, *layout_d, *preference;
    CHECK_EQUAL(cublasLtCreate(&handle), 0);
    CHECK_EQUAL(cublasLtMatmulDescCreate(&description, COMPUTE_F32, F32), 0);
    int transposed = 1, relu_bias = 6;
    CHECK_EQUAL(cublasLtMatmulDescSetAttribute(description, 3, &transposed, sizeof transposed), 0);
    CHECK_EQUAL(cublasLtMatmulDescSetAttribute(description, 7, &relu_bias, sizeof relu_bias), 0);
    CHECK_EQUAL(cublasLtMatmulDescSetAttribute(description, 8, &device_bias.address, sizeof(Address)), 0);
    CHECK_EQUAL(cublasLtMatrixLayoutCreate(&layout_a, BF16, depth, rows, depth), 0);
    CHECK_EQUAL(cublasLtMatrixLayoutCreate(&layout_b, BF16, depth, columns, leading_b), 0);
    CHECK_EQUAL(cublasLtMatrixLayoutCreate(&layout_d, BF16, rows, columns, rows), 0);
    CHECK_EQUAL(cublasLtMatmulPreferenceCreate(&preference), 0);
    uint64_t heuristic[12];
    int found;
    CHECK_EQUAL(cublasLtMatmulAlgoGetHeuristic(handle, description, layout_a, layout_b, layout_d, layout_d, preference,
                                               1, heuristic, &found),
                0);
    CHECK_EQUAL(found, 1);
    float one = 1, zero = 0;
    auto product = [&](void* stream, Address d) {
        return cublasLtMatmul(handle, description, &one, device_a.address, layout_a, device_b.address, layout_b, &zero,
                              d, layout_d, d, layout_d, heuristic, nullptr, 0, stream);
    };
    CHECK_EQUAL(product(nullptr, device_d.address), 0);
    auto d = device_d.read();
    for (int i = 0; i < rows; i++) {
        for (int j = 0; j < columns; j++) {
            double sum = from_bf16(bias[i]);
            for (int k = 0; k < depth; k++) sum += from_bf16(a[k + i * depth]) * from_bf16(b[k + j * leading_b]);
            CHECK(std::abs(from_bf16(d[i + j * rows]) - std::fmax(sum, 0)) < 1e-2 * (1 + std::abs(sum)));
        }
    }
    CHECK_EQUAL(product(nullptr, device_d.address + 2), 13);  // one element too far
    void *stream, *graph, *instance;
    CHECK_EQUAL(cuStreamCreate(&stream, 1), SUCCESS);
    CHECK_EQUAL(cuMemsetD8Async(device_d.address, 0, rows * columns * 2, stream), SUCCESS);
    CHECK_EQUAL(cuStreamBeginCapture_v2(stream, 1), SUCCESS);
    CHECK_EQUAL(product(stream, device_d.address), 0);
    CHECK_EQUAL(cuStreamEndCapture(stream, &graph), SUCCESS);
    CHECK(device_d.read() != d);
    CHECK_EQUAL(cuGraphInstantiateWithFlags(&instance, graph, 0), SUCCESS);
    CHECK_EQUAL(cuGraphLaunch(instance, stream), SUCCESS);
    CHECK(device_d.read() == d);
}
