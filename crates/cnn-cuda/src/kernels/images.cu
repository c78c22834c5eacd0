// Stored bytes cropped, flipped, stretched and normalised into a batch.
#include "prim.cuh"

// The stored images and the samples cut from them, rows before columns. As cnn-cuda/src/images.rs has it.
struct Images {
    i32 stored[2];
    u32 output[2];
    u32 channels;
    u32 reflect;  // what is outside the image: the image mirrored, or else black
};

// How a sample is cut. As cnn-cuda/src/images.rs has it.
struct Sample {
    u32 index;
    i32 offset[2];
    u32 shown[2];   // rows and columns of the stored image that it shows
    u32 cutout[2];  // of each axis: the first that is cut out in the lower half, the one after the last in the upper
    u32 flip;
};

// Whether row or column `i` lies in the cutout.
DEVICE bool is_cut(u32 cutout, u32 i) { return i >= (cutout & 0xffffu) && i < cutout >> 16; }

// Which row (or column) of `size` is read at `i`; -1 for the border's zeros.
DEVICE i32 position(i64 i, i32 size, bool reflect) {
    if (i >= 0 && i < size) return i32(i);
    if (!reflect) return -1;
    if (size == 1) return 0;
    // There and back again: the pattern repeats after 2 * (size - 1).
    i64 period = 2 * (i64(size) - 1);
    i = (i % period + period) % period;
    return i32(min(i, period - i));
}

// One stored number; 0 outside the image.
DEVICE float byte_at(const u8* image, const Images& spec, i32 row, i32 column, u32 channel) {
    if (row < 0 || column < 0) return 0.0f;
    return float(image[(u64(row) * u32(spec.stored[1]) + column) * spec.channels + channel]);
}

// Two rows (or columns) of the stored image, and how much of the second a number takes.
struct Taps {
    i32 first;
    i32 second;
    float part;
};

// a / b and the remainder, by short numbers where they are short, which is nearly always.
DEVICE u64 divide(u64 a, u64 b, u64& remainder) {
    u64 quotient = (a | b) >> 32 ? a / b : u32(a) / u32(b);
    remainder = a - quotient * b;
    return quotient;
}

// Between which rows (or columns) pixel `i` of the sample lies.
DEVICE Taps taps(const Images& spec, const Sample& sample, int axis, u32 i) {
    u64 size = spec.output[axis], shown = sample.shown[axis];
    // (i + 1/2) * shown / size - 1/2 as a whole number of 2 * size-ths: far out, a fraction would lose digits.
    u64 unit = 2 * size, place = (2 * u64(i) + 1) * shown;
    place = min(place > size ? place - size : 0, (shown - 1) * unit);
    u64 rest, first = divide(place, unit, rest), second = min(first + 1, shown - 1);
    i64 offset = sample.offset[axis];
    return {position(i64(first) + offset, spec.stored[axis], spec.reflect),
            position(i64(second) + offset, spec.stored[axis], spec.reflect), float(rest) / float(unit)};
}

// A sample for each block along x; its pixels are those of all blocks along y. The words are the samples and, from
// `scale_at` on, a scale and then a shift for each channel, whose numbers are byte * scale + shift.
KERNEL(256) load_images(const u8* bytes, const u32* words, u32 scale_at, element* y, Images spec) {
    Sample sample = reinterpret_cast<const Sample*>(words)[blockIdx.x];
    const float *scale = reinterpret_cast<const float*>(words + scale_at), *shift = scale + spec.channels;
    u32 width = spec.output[1], pixels = spec.output[0] * width;
    const u8* image = bytes + u64(sample.index) * u32(spec.stored[0]) * u32(spec.stored[1]) * spec.channels;
    bool stretched = sample.shown[0] != spec.output[0] || sample.shown[1] != width;
    for (u64 pixel = blockIdx.y * 256 + threadIdx.x; pixel < pixels; pixel += gridDim.y * 256) {
        u32 row = u32(pixel) / width, column = u32(pixel) - row * width;
        element* to = y + (u64(blockIdx.x) * pixels + pixel) * spec.channels;
        if (is_cut(sample.cutout[0], row) && is_cut(sample.cutout[1], column)) {
            for (u32 c = 0; c < spec.channels; c++) to[c] = from_f32<element>(0.0f);
            continue;
        }
        if (sample.flip) column = width - 1 - column;
        if (!stretched) {
            i32 from_row = position(i64(row) + sample.offset[0], spec.stored[0], spec.reflect);
            i32 from_column = position(i64(column) + sample.offset[1], spec.stored[1], spec.reflect);
            for (u32 c = 0; c < spec.channels; c++) {
                to[c] = from_f32<element>(fmaf(byte_at(image, spec, from_row, from_column, c), scale[c], shift[c]));
            }
            continue;
        }
        Taps rows = taps(spec, sample, 0, row), columns = taps(spec, sample, 1, column);
        for (u32 c = 0; c < spec.channels; c++) {
            float upper = (1.0f - columns.part) * byte_at(image, spec, rows.first, columns.first, c) +
                          columns.part * byte_at(image, spec, rows.first, columns.second, c);
            float lower = (1.0f - columns.part) * byte_at(image, spec, rows.second, columns.first, c) +
                          columns.part * byte_at(image, spec, rows.second, columns.second, c);
            float byte = (1.0f - rows.part) * upper + rows.part * lower;
            to[c] = from_f32<element>(fmaf(byte, scale[c], shift[c]));
        }
    }
}

// A batch whose images are mixed. As cnn-cuda/src/images.rs has it.
struct Mixing {
    u32 images;
    u32 height;
    u32 width;
    u32 channels;
    float own;     // part of an image's own in its numbers
    float rest;    // of the image before it
    u16 patch[4];  // what is the other's alone: first row and column, and those after the last
};

// An image for each block along x, mixed with the one before it; its pixels are those of all blocks along y.
KERNEL(256) mix_images(const element* x, element* y, Mixing mix) {
    u32 pixels = mix.height * mix.width, before = blockIdx.x == 0 ? mix.images - 1 : blockIdx.x - 1;
    u64 image = u64(pixels) * mix.channels;
    const element *own = x + blockIdx.x * image, *other = x + before * image;
    for (u64 pixel = blockIdx.y * 256 + threadIdx.x; pixel < pixels; pixel += gridDim.y * 256) {
        u32 row = u32(pixel) / mix.width, column = u32(pixel) - row * mix.width;
        bool patched = row >= mix.patch[0] && row < mix.patch[2] && column >= mix.patch[1] && column < mix.patch[3];
        for (u64 i = pixel * mix.channels; i < (pixel + 1) * mix.channels; i++) {
            float mixed = fmaf(mix.own, to_f32(own[i]), mix.rest * to_f32(other[i]));
            y[blockIdx.x * image + i] = patched ? other[i] : from_f32<element>(mixed);
        }
    }
}
