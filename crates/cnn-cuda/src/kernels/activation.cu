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

DEVICE void shared_dropout(const element* x, element* y, Philox mask, u32 dropped, float keep, u32 shared_by, u64 count) {
    FOR_EACH_VECTOR(VECTOR, at, count) {
        float numbers[VECTOR];
        load_some(numbers, x + at, count - at);
        u32 draw = u32(at) / shared_by, left = shared_by - u32(at) % shared_by;
        bool drops = random_word(mask, draw) >> 8 < dropped;
#pragma unroll
        for (int i = 0; i < VECTOR; i++, left--) {
            if (left == 0) {
                drops = random_word(mask, ++draw) >> 8 < dropped;
                left = shared_by;
            }
            numbers[i] = drops ? 0.0f : numbers[i] / keep;
        }
        store_some(y + at, numbers, count - at);
    }
}

// Zeroes elements whose random word has upper 24 bits below `dropped`, and divides the others by `keep`. y may be x. Of elements,
// which are fewer than 2^31, `shared_by` neighbours have the same word.
KERNEL(256) dropout(const element* x, element* y, Philox mask, u32 dropped, float keep, u32 shared_by, u64 count) {
    if (shared_by > 1) return shared_dropout(x, y, mask, dropped, keep, shared_by, count);
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
