// Kernels with faults lose the device with the error that a GPU gives, and not the process.
#include "device.hpp"

// Launches a kernel of faults.cu over 128 numbers. The launch itself succeeds; what follows it does not, for ever.
template <class... T> static void check_fault(const char* name, unsigned threads, int error, T... more) {
    open_device();
    Buffer<float> x(std::vector<float>(128));
    void* function = kernel(load_kernels("faults"), name);
    CHECK_EQUAL(launch(function, {1}, {threads}, 512, nullptr, x.address, more...), SUCCESS);
    CHECK_EQUAL(cuCtxSynchronize(), error);
    Address other;
    CHECK_EQUAL(cuMemAlloc_v2(&other, 16), error);
    CHECK_EQUAL(launch(function, {1}, {threads}, 512, nullptr, x.address, more...), error);
    const char* text;
    CHECK_EQUAL(cuGetErrorName(error, &text), SUCCESS);
}

CASE(conditional_barrier) { check_fault("conditional_barrier", 128, LAUNCH_FAILED); }
CASE(two_barriers) { check_fault("two_barriers", 128, LAUNCH_FAILED); }
CASE(early_return) { check_fault("early_return", 128, LAUNCH_FAILED); }
CASE(deadlock) { check_fault("deadlock", 64, LAUNCH_FAILED); }
CASE(divergent_shuffle) { check_fault("divergent_shuffle", 32, LAUNCH_FAILED); }
CASE(partial_mask) { check_fault("partial_mask", 32, LAUNCH_FAILED); }
CASE(read_behind) { check_fault("read_behind", 32, ILLEGAL_ADDRESS, 128); }
CASE(write_behind) { check_fault("write_behind", 32, ILLEGAL_ADDRESS, 128); }
CASE(write_before) { check_fault("write_before", 32, ILLEGAL_ADDRESS, 0); }
CASE(null_pointer) { check_fault("null_pointer", 32, ILLEGAL_ADDRESS); }
CASE(misaligned_vector) { check_fault("misaligned_vector", 32, MISALIGNED_ADDRESS); }
CASE(misaligned_pair) { check_fault("misaligned_pair", 32, MISALIGNED_ADDRESS); }
CASE(misaligned_copy) { check_fault("misaligned_copy", 32, MISALIGNED_ADDRESS); }
CASE(copy_to_global) { check_fault("copy_to_global", 32, ILLEGAL_ADDRESS); }
CASE(misaligned_ldmatrix) { check_fault("misaligned_ldmatrix", 32, MISALIGNED_ADDRESS); }
CASE(deep_stack) { check_fault("deep_stack", 32, ILLEGAL_ADDRESS); }
CASE(trap) { check_fault("trap", 32, LAUNCH_FAILED); }

// Right behind the shared memory that the launch asks for, and far behind it.
CASE(shared_overflow) {
    open_device();
    Buffer<float> x(32);
    CHECK_EQUAL(launch(kernel(load_kernels("faults"), "shared_overflow"), {1}, {32}, 0, nullptr, x.address), SUCCESS);
    CHECK_EQUAL(cuCtxSynchronize(), ILLEGAL_ADDRESS);
}

CASE(shared_overflow_by_a_few) {
    open_device();
    Buffer<float> x(32);
    CHECK_EQUAL(launch(kernel(load_kernels("faults"), "shared_overflow"), {1}, {32}, 124, nullptr, x.address), SUCCESS);
    CHECK_EQUAL(cuCtxSynchronize(), ILLEGAL_ADDRESS);
}

// Of 33 numbers, behind which alignment leaves room: nobody's, so NaN, and a damaged guard if written to.
CASE(read_in_the_guard) {
    open_device();
    Buffer<float> x(std::vector<float>(33));
    CHECK_EQUAL(launch(kernel(load_kernels("faults"), "read_behind"), {1}, {1}, 0, nullptr, x.address, 33), SUCCESS);
    CHECK(x.read()[0] != 0);
}

CASE(write_in_the_guard) {
    open_device();
    Buffer<float> x(33);
    CHECK_EQUAL(launch(kernel(load_kernels("faults"), "write_behind"), {1}, {1}, 0, nullptr, x.address, 33), SUCCESS);
    CHECK_EQUAL(cuCtxSynchronize(), ILLEGAL_ADDRESS);
}

// A device that was lost in one launch does not run the next.
CASE(use_after_free) {
    open_device();
    Buffer<float> x(128);
    CHECK_EQUAL(cuMemFree_v2(x.address), SUCCESS);
    CHECK_EQUAL(launch(kernel(load_kernels("faults"), "write_behind"), {1}, {32}, 0, nullptr, x.address, 0), SUCCESS);
    CHECK_EQUAL(cuCtxSynchronize(), ILLEGAL_ADDRESS);
}
