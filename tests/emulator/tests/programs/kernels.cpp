// Kernels without faults give what plain loops give.
#include <cmath>

#include "device.hpp"

static bool close(double a, double b) { return std::abs(a - b) <= 1e-4 * (1 + std::abs(b)); }

CASE(matmul) {
    open_device();
    int m = 45, n = 37, k = 70;
    auto a = numbers(m * k), b = numbers(k * n);
    Buffer<float> device_a(a), device_b(b), device_c(m * n);
    CHECK_EQUAL(launch(kernel(load_kernels("matmul"), "matmul"), {3, 3}, {16, 16}, 0, nullptr, device_a.address,
                       device_b.address, device_c.address, m, n, k),
                SUCCESS);
    auto c = device_c.read();
    for (int i = 0; i < m; i++) {
        for (int j = 0; j < n; j++) {
            double sum = 0;
            for (int l = 0; l < k; l++) sum += (double)a[i * k + l] * b[l * n + j];
            CHECK(close(c[i * n + j], sum));
        }
    }
}

CASE(warp) {
    open_device();
    void* module = load_kernels("warp");
    auto x = numbers(5 * 128);
    Buffer<float> device_x(x), device_sums(5);
    CHECK_EQUAL(launch(kernel(module, "sum_blocks"), {5}, {128}, 0, nullptr, device_x.address, device_sums.address),
                SUCCESS);
    auto sums = device_sums.read();
    for (int block = 0; block < 5; block++) {
        double sum = 0;
        for (int i = 0; i < 128; i++) sum += x[block * 128 + i];
        CHECK(close(sums[block], sum));
    }
    std::vector<double> lanes(32);
    for (int lane = 0; lane < 32; lane++) lanes[lane] = lane;
    Buffer<double> device_lanes(lanes), device_y(96);
    Buffer<unsigned> device_votes(3);
    CHECK_EQUAL(launch(kernel(module, "exchange"), {1}, {32}, 0, nullptr, device_lanes.address, device_y.address,
                       device_votes.address),
                SUCCESS);
    auto y = device_y.read();
    for (int lane = 0; lane < 32; lane++) {
        CHECK_EQUAL(y[lane], 5);
        CHECK_EQUAL(y[32 + lane], lane < 3 ? lane : lane - 3);
        CHECK_EQUAL(y[64 + lane], lane / 8 * 8);
    }
    auto votes = device_votes.read();
    CHECK_EQUAL(votes[0], 0xaaaaaaaau);
    CHECK_EQUAL(votes[1], 1u);
    CHECK_EQUAL(votes[2], 0u);
}

CASE(tensor_core_bf16) {
    open_device();
    std::vector<uint16_t> a(16 * 16), b(16 * 8);
    for (auto& value : a) value = to_bf16(numbers(1)[0]);
    for (auto& value : b) value = to_bf16(numbers(1)[0]);
    Buffer<uint16_t> device_a(a), device_b(b);
    Buffer<float> device_d(16 * 8);
    CHECK_EQUAL(launch(kernel(load_kernels("tensor_core"), "product_bf16"), {1}, {32}, 0, nullptr, device_a.address,
                       device_b.address, device_d.address),
                SUCCESS);
    auto d = device_d.read();
    for (int i = 0; i < 16; i++) {
        for (int j = 0; j < 8; j++) {
            double sum = 0;
            for (int k = 0; k < 16; k++) sum += (double)from_bf16(a[i * 16 + k]) * from_bf16(b[k * 8 + j]);
            CHECK(close(d[i * 8 + j], sum));
        }
    }
}

// Operands have numbers right below a rounding step of tf32: cut off rather than rounded, the product is too small.
CASE(tensor_core_tf32) {
    open_device();
    std::vector<float> a(16 * 8), b(8 * 8);
    for (size_t i = 0; i < a.size(); i++) a[i] = (1 + i % 7) * (1 - std::ldexp(1.0f, -20));
    for (size_t i = 0; i < b.size(); i++) b[i] = (1 + i % 5) * (1 - std::ldexp(1.0f, -20));
    Buffer<float> device_a(a), device_b(b), device_d(16 * 8);
    CHECK_EQUAL(launch(kernel(load_kernels("tensor_core"), "product_tf32"), {1}, {32}, 0, nullptr, device_a.address,
                       device_b.address, device_d.address),
                SUCCESS);
    auto d = device_d.read();
    for (int i = 0; i < 16; i++) {
        for (int j = 0; j < 8; j++) {
            double sum = 0;
            for (int k = 0; k < 8; k++) sum += (double)std::round(a[i * 8 + k]) * std::round(b[k * 8 + j]);
            CHECK_EQUAL(d[i * 8 + j], sum);
        }
    }
}

CASE(pipeline) {
    open_device();
    int rows = 9;
    auto x = numbers(rows * 128);
    Buffer<float> device_x(x), device_sums(128);
    CHECK_EQUAL(launch(kernel(load_kernels("pipeline"), "sum_rows"), {1}, {128}, 3 * 512, nullptr, device_x.address,
                       device_sums.address, rows),
                SUCCESS);
    auto sums = device_sums.read();
    for (int i = 0; i < 128; i++) {
        double sum = 0;
        for (int row = 0; row < rows; row++) sum += x[row * 128 + (i + 64) % 128];
        CHECK(close(sums[i], sum));
    }
}

CASE(neighbours) {
    open_device();
    void* module = load_kernels("neighbours");
    auto check = [&](const char* name, float (*expected)(int)) {
        Buffer<float> x(256);
        CHECK_EQUAL(launch(kernel(module, name), {1}, {256}, 0, nullptr, x.address), SUCCESS);
        auto values = x.read();
        for (int i = 0; i < 256; i++) CHECK_EQUAL(values[i], expected(i));
    };
    check("from_next", [](int i) { return float((i + 1) % 256); });
    check("from_previous", [](int i) { return float((i + 255) % 256); });
    check("from_first", [](int) { return 3.0f; });
    check("bytes_of_words", [](int i) { return float(i | 3); });
}
