// Sums that were cut into parts.
#include "grid.cuh"

// sum [count] of the parts [splits, count], in order.
KERNEL(256) add_splits(const float* parts, float* sums, i32 splits, u64 count) {
    FOR_EACH_ELEMENT(i, count) {
        float sum = parts[i];
        for (i32 part = 1; part < splits; part++) sum += parts[part * count + i];
        sums[i] = sum;
    }
}
