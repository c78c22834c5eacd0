// Sums that were cut into parts.
#include "epilogue.cuh"
#include "grid.cuh"

// sum [count] of the parts [splits, count], in order.
KERNEL(256) add_splits(const float* parts, float* sums, i32 splits, u64 count) {
    FOR_EACH_ELEMENT(i, count) {
        float sum = parts[i];
        for (i32 part = 1; part < splits; part++) sum += parts[part * count + i];
        sums[i] = sum;
    }
}

// y [count] of such sums and what follows them, `channels` in a row.
KERNEL(256) finish_splits(const float* parts, i32 splits, u64 count, Epilogue epilogue, i32 channels, element* y) {
    FOR_EACH_ELEMENT(i, count) {
        float sum = parts[i];
        for (i32 part = 1; part < splits; part++) sum += parts[part * count + i];
        if (epilogue.bias) sum += epilogue.bias[i % channels];
        if (epilogue.residual) sum += to_f32(epilogue.residual[i]);
        y[i] = from_f32<element>(activate(epilogue.activation, sum));
    }
}
