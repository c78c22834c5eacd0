// Activations and dropout, 16 bytes of elements a thread at a time.
#include "activations.cuh"
#include "grid.cuh"
#include "philox.cuh"
#include "vectors.cuh"

// y may be x.
KERNEL(256) activate_forward(const element* x, element* y, i32 activation, u64 count) {
    FOR_EACH_VECTOR(VECTOR, at, count) {
        float numbers[VECTOR];
        load_some(numbers, x + at, count - at);
#pragma unroll
        for (int i = 0; i < VECTOR; i++) numbers[i] = activate(activation, numbers[i]);
        store_some(y + at, numbers, count - at);
    }
}

// dx may be dy.
KERNEL(256) activate_gradient(const element* saved, const element* dy, element* dx, i32 activation, u64 count) {
    FOR_EACH_VECTOR(VECTOR, at, count) {
        float numbers[VECTOR], gradient[VECTOR];
        load_some(numbers, saved + at, count - at);
        load_some(gradient, dy + at, count - at);
#pragma unroll
        for (int i = 0; i < VECTOR; i++) gradient[i] = activate_backward(activation, numbers[i], gradient[i]);
        store_some(dx + at, gradient, count - at);
    }
}

// Zeroes elements whose random word has upper 24 bits below `dropped`, and divides the others by `keep`. y may be x.
KERNEL(256) dropout(const element* x, element* y, Philox mask, u32 dropped, float keep, u64 count) {
    FOR_EACH_VECTOR(VECTOR, at, count) {
        float numbers[VECTOR];
        load_some(numbers, x + at, count - at);
#pragma unroll
        for (int i = 0; i < VECTOR; i += 4) {
            Words words = random_block(mask, u32((at + i) / 4));
#pragma unroll
            for (int lane = 0; lane < 4; lane++) {
                numbers[i + lane] = words.of[lane] >> 8 < dropped ? 0.0f : numbers[i + lane] / keep;
            }
        }
        store_some(y + at, numbers, count - at);
    }
}
