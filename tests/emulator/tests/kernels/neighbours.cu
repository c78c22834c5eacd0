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
