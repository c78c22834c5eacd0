// c [m, n] = a [m, k] b [k, n], by tiles in static shared memory.
#include "prim.cuh"

constexpr int TILE = 16;

KERNEL(TILE* TILE) matmul(const element* a, const element* b, float* c, int m, int n, int k) {
    __shared__ float tile_a[TILE][TILE + 1], tile_b[TILE][TILE + 1];
    int x = threadIdx.x, y = threadIdx.y, row = blockIdx.y * TILE + y, column = blockIdx.x * TILE + x;
    float sum = 0.0f;
    for (int first = 0; first < k; first += TILE) {
        tile_a[y][x] = row < m && first + x < k ? to_f32(a[row * k + first + x]) : 0.0f;
        tile_b[y][x] = column < n && first + y < k ? to_f32(b[(first + y) * n + column]) : 0.0f;
        __syncthreads();  // tiles are full
        for (int i = 0; i < TILE; i++) sum += tile_a[y][i] * tile_b[i][x];
        __syncthreads();  // tiles were read
    }
    if (row < m && column < n) c[row * n + column] = sum;
}
