// Activations and dropout, element by element.
#include "activations.cuh"
#include "grid.cuh"

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
