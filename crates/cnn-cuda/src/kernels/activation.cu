// Activations and dropout, element by element.
#include "activations.cuh"
#include "grid.cuh"
#include "philox.cuh"
#include "vectors.cuh"

// y may be x.
KERNEL(256) activate_forward(const element* x, element* y, i32 activation, u64 count) {
    FOR_EACH_ELEMENT(i, count) y[i] = from_f32<element>(activate(activation, to_f32(x[i])));
}

// dx may be dy.
KERNEL(256) activate_gradient(const element* saved, const element* dy, element* dx, i32 activation, u64 count) {
    FOR_EACH_ELEMENT(i, count) {
        dx[i] = from_f32<element>(activate_backward(activation, to_f32(saved[i]), to_f32(dy[i])));
    }
}

// Zeroes elements whose random word has upper 24 bits below `dropped`, and divides the others by `keep`. y may be x.
KERNEL(256) dropout(const element* x, element* y, Philox mask, u32 dropped, float keep, u64 count) {
    // A block of random words is for four elements.
    FOR_EACH_ELEMENT(block, (count + 3) / 4) {
        u64 at = block * 4;
        Words words = random_block(mask, u32(block));
        float numbers[4];
        load_some(numbers, x + at, count - at);
        for (int lane = 0; lane < 4; lane++) {
            numbers[lane] = words.of[lane] >> 8 < dropped ? 0.0f : numbers[lane] / keep;
        }
        store_some(y + at, numbers, count - at);
    }
}
