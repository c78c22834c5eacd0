// What threads say to each other through shared memory: to neighbours on either side, and one to all.
#include "prim.cuh"

KERNEL(256) from_next(float* x) {
    __shared__ float shared[256];
    shared[threadIdx.x] = threadIdx.x;
    __syncthreads();  // for the next
    x[threadIdx.x] = shared[(threadIdx.x + 1) % 256];
}
KERNEL(256) from_previous(float* x) {
    __shared__ float shared[256];
    shared[threadIdx.x] = threadIdx.x;
    __syncthreads();  // for the previous
    x[threadIdx.x] = shared[(threadIdx.x + 255) % 256];
}
KERNEL(256) from_first(float* x) {
    __shared__ float shared;
    if (threadIdx.x == 0) shared = 3.0f;
    __syncthreads();  // for all
    x[threadIdx.x] = shared;
}
// Bytes of one word are of different threads, which is no race; the word that is read is of all four.
KERNEL(256) bytes_of_words(float* x) {
    __shared__ __align__(4) u8 shared[256];
    shared[threadIdx.x] = threadIdx.x;
    __syncthreads();  // for words
    x[threadIdx.x] = ((u32*)shared)[threadIdx.x / 4] >> 24;
}
