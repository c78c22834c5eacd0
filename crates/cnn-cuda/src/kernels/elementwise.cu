// Addition and conversion, 16 bytes of elements a thread at a time.
#include "grid.cuh"
#include "vectors.cuh"

// y = a + b; y may be a.
KERNEL(256) add(const element* a, const element* b, element* y, u64 count) {
    FOR_EACH_VECTOR(VECTOR, at, count) {
        float sum[VECTOR], other[VECTOR];
        load_some(sum, a + at, count - at);
        load_some(other, b + at, count - at);
#pragma unroll
        for (int i = 0; i < VECTOR; i++) sum[i] += other[i];
        store_some(y + at, sum, count - at);
    }
}

KERNEL(256) widen(const element* x, float* y, u64 count) {
    FOR_EACH_VECTOR(VECTOR, at, count) {
        float numbers[VECTOR];
        load_some(numbers, x + at, count - at);
        store_some(y + at, numbers, count - at);
    }
}

KERNEL(256) narrow(const float* x, element* y, u64 count) {
    FOR_EACH_VECTOR(VECTOR, at, count) {
        float numbers[VECTOR];
        load_some(numbers, x + at, count - at);
        store_some(y + at, numbers, count - at);
    }
}

// Fills with copies of four bytes, of which the last one may be cut.
KERNEL(256) fill(u8* y, u32 bytes, u64 count) {
    FOR_EACH_VECTOR(16, at, count) {
        if (count - at >= 16) {
            *(uint4*)(y + at) = make_uint4(bytes, bytes, bytes, bytes);
        } else {
            for (u64 i = at; i < count; i++) y[i] = u8(bytes >> i % 4 * 8);
        }
    }
}
