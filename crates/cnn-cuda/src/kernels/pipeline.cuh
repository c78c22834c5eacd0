// The walk along the sum: copies of later steps go on while a step is multiplied.
//
// A source of an operand has
//     fetch(stage)    starts the copies of this thread's chunks of the next step into a stage
//
// `product` has the sums of what was multiplied before; it begins with zeros. A left source with LOOKS_UP has
//     look_up(step)   all threads together find what `fetch` of that step needs; a barrier is between them
#pragma once
#include "product.cuh"
#include "warpgroup.cuh"

#if WARPGROUPS && ELEMENT_BF16
template <class T> using BlockProduct = GroupProduct<T>;
#else
template <class T> using BlockProduct = Product<T>;
// A block has the registers that it needs, also where the assembler would rather have room for another beside it, and spill.
#undef BLOCKS_AT_LEAST
#define BLOCKS_AT_LEAST , 1
#endif

template <class T, class A, class B, class P, class LeftSource, class RightSource>
DEVICE void multiply(P& product, LeftSource& left, RightSource& right, int steps, unsigned char* shared) {
    auto a = [&](int step) { return shared + step % T::STAGES * stage_bytes<T>(); };
    auto b = [&](int step) { return a(step) + A::BYTES; };
    auto fetch = [&](int step) {
        if (step < steps) {
            left.fetch(a(step));
            right.fetch(b(step));
        }
        copy_async_commit();  // an empty group too, so that groups are counted as steps
    };
    constexpr int AHEAD = T::STAGES - 1;
    if constexpr (LeftSource::LOOKS_UP) {
        for (int step = 0; step < AHEAD; step++) left.look_up(step);
        __syncthreads();
    }
#pragma unroll
    for (int step = 0; step < AHEAD; step++) fetch(step);
    if constexpr (LeftSource::LOOKS_UP) {
        __syncthreads();
        left.look_up(AHEAD);
    }
#pragma unroll 1
    for (int step = 0; step < steps; step++) {
        copy_async_wait<AHEAD - 1>();
        product.arrived();
        __syncthreads();  // all chunks of this step are there, and nobody reads the step before it any more
        product.template add<A, B>(a(step), b(step), [&] {
            fetch(step + AHEAD);
            if constexpr (LeftSource::LOOKS_UP) left.look_up(step + AHEAD + 1);
        });
    }
    copy_async_wait<0>();
    __syncthreads();  // the stages are free for what follows
}
