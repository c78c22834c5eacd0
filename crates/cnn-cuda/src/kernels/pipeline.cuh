// The walk along the sum: copies of later steps go on while a step is multiplied.
//
// A source of an operand has
//     fetch(stage)    starts the copies of this thread's chunks of the next step into a stage
//     finish(stage)   changes this thread's chunks, which have arrived, before others read them
//
// `product` has the sums of what was multiplied before; it begins with zeros.
#pragma once
#include "product.cuh"

template <class T, class A, class B, class LeftSource, class RightSource>
DEVICE void multiply(Product<T>& product, LeftSource& left, RightSource& right, int steps, unsigned char* shared) {
    auto a = [&](int step) { return shared + step % T::STAGES * stage_bytes<T>(); };
    auto b = [&](int step) { return a(step) + A::BYTES; };
    auto fetch = [&](int step) {
        if (step < steps) {
            left.fetch(a(step));
            right.fetch(b(step));
        }
        copy_async_commit();  // an empty group too, so that groups are counted as steps
    };
#pragma unroll
    for (int step = 0; step < T::STAGES - 1; step++) fetch(step);
#pragma unroll 1
    for (int step = 0; step < steps; step++) {
        copy_async_wait<T::STAGES - 2>();
        left.finish(a(step));
        right.finish(b(step));
        __syncthreads();  // all chunks of this step are there, and nobody reads the step before it any more
        fetch(step + T::STAGES - 1);
        product.template add<A, B>(a(step), b(step));
    }
    copy_async_wait<0>();
    __syncthreads();  // the stages are free for what follows
}
