// Addition and conversion.
#include "grid.cuh"

// y = a + b; y may be a.
KERNEL(256) add(const element* a, const element* b, element* y, u64 count) {
    FOR_EACH_ELEMENT(i, count) y[i] = from_f32<element>(to_f32(a[i]) + to_f32(b[i]));
}

KERNEL(256) widen(const element* x, float* y, u64 count) {
    FOR_EACH_ELEMENT(i, count) y[i] = to_f32(x[i]);
}

KERNEL(256) narrow(const float* x, element* y, u64 count) {
    FOR_EACH_ELEMENT(i, count) y[i] = from_f32<element>(x[i]);
}

// Fills with copies of a number of so many bytes.
KERNEL(256) fill_1(u8* y, u32 value, u64 count) {
    FOR_EACH_ELEMENT(i, count) y[i] = u8(value);
}
KERNEL(256) fill_2(u16* y, u32 value, u64 count) {
    FOR_EACH_ELEMENT(i, count) y[i] = u16(value);
}
KERNEL(256) fill_4(u32* y, u32 value, u64 count) {
    FOR_EACH_ELEMENT(i, count) y[i] = value;
}
