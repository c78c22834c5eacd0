// The shape of a convolution, and the operands that are gathered from images.
#pragma once
#include "activations.cuh"
#include "pipeline.cuh"
#include "vectors.cuh"

// As cnn-cuda/src/conv2d/shape.rs; channels are of all groups.
struct Conv2dSpec {
    i32 batch;
    i32 input[2], output[2];
    i32 in_channels, out_channels;
    i32 kernel[2], stride[2], dilation[2], padding[2];
    i32 groups;
};

DEVICE element zero_element() { return from_f32<element>(0.0f); }

// Rows of the product are pixels of an image, the sum is over taps and channels: the left operand of the forward pass and of
// the gradient of the input. Place `t` of a tap reads row `base[0] + t * step[0]` of the image, and likewise columns.
template <class O, bool WHOLE> struct PixelSource {
    static constexpr bool LOOKS_UP = false;
    const element* image[O::COUNT];   // of each of the thread's rows; its channels are this group's
    i32 base[O::COUNT][2];
    i32 size[2], taps[2], step[2];
    i32 pixel, depth;                 // elements from pixel to pixel, and channels of the sum
    i32 channel, tap[2];              // of this thread's chunk in the step that is fetched next
    i32 next;                         // the same as a place of the sum, where elements are fetched one by one
    // Where chunks are whole: the pixel under the first tap, which may be outside of the image, and which taps are inside, a bit
    // for each row of them and above these one for each column (cnn-cuda/src/conv2d/tile.rs has MASKED).
    static constexpr int MASKED = 16;
    const element* first[O::COUNT];
    u32 inside[O::COUNT];

    // From place `place` of the sum on, a multiple of a step.
    DEVICE void begin(i32 place = 0) {
        next = place + O::column() * CHUNK;
        channel = next, tap[0] = tap[1] = 0;
        settle(channel, tap);
        if constexpr (WHOLE) {
#pragma unroll
            for (int i = 0; i < O::COUNT; i++) {
                first[i] = image[i] + (i64(base[i][0]) * size[1] + base[i][1]) * pixel;
                inside[i] = 0;
                for (int t = 0; t < taps[0]; t++) inside[i] |= u32(u32(base[i][0] + t * step[0]) < u32(size[0])) << t;
                for (int t = 0; t < taps[1]; t++) inside[i] |= u32(u32(base[i][1] + t * step[1]) < u32(size[1])) << (MASKED + t);
            }
        }
    }

    DEVICE void settle(i32& channel, i32 (&tap)[2]) {
        while (channel >= depth) {
            channel -= depth;
            if (++tap[1] == taps[1]) tap[1] = 0, tap[0]++;
        }
    }

    DEVICE const element* at(int i, i32 row, i32 column, i32 channel) {
        return image[i] + (i64(row) * size[1] + column) * pixel + channel;
    }

    DEVICE bool within(i32 row, i32 column) {
        return u32(row) < u32(size[0]) && u32(column) < u32(size[1]);
    }

    DEVICE void fetch(unsigned char* stage) {
        if (WHOLE) {
            bool more = tap[0] < taps[0];
            u32 wanted = 1u << tap[0] | 1u << (MASKED + tap[1]);
            i64 offset = (i64(tap[0] * step[0]) * size[1] + tap[1] * step[1]) * pixel + channel;
#pragma unroll
            for (int i = 0; i < O::COUNT; i++) {
                bool here = more && (inside[i] & wanted) == wanted;
                copy_async_16(O::chunk(stage, O::row(i), O::column()), first[i] + offset, here);
            }
            channel += STEP;
            settle(channel, tap);
        } else {
#pragma unroll
            for (int i = 0; i < O::COUNT; i++) {
                element* to = O::chunk(stage, O::row(i), O::column());
#pragma unroll 1
                for (int e = 0; e < CHUNK; e++) {
                    i32 place = (next + e) / depth, channel = (next + e) % depth;
                    i32 row = base[i][0] + place / taps[1] * step[0], column = base[i][1] + place % taps[1] * step[1];
                    bool inside = place < taps[0] * taps[1] && within(row, column);
                    to[e] = inside ? *at(i, row, column, channel) : zero_element();
                }
            }
            next += STEP;
        }
    }
};

// A matrix [rows, columns] whose rows are places of the sum: weights of the forward pass, gradients in that of the weight.
template <class O, bool WHOLE> struct MatrixSource {
    const element* matrix;
    i64 stride;              // elements from row to row
    i32 rows, columns;       // rows of the sum that are left, columns from the tile's first on

    DEVICE void fetch(unsigned char* stage) {
        i32 column = O::column() * CHUNK;
#pragma unroll
        for (int i = 0; i < O::COUNT; i++) {
            i32 row = O::row(i);
            element* to = O::chunk(stage, row, O::column());
            const element* from = matrix + row * stride + column;
            if (WHOLE) {
                bool inside = row < rows && column < columns;
                copy_async_16(to, from, inside);
            } else {
#pragma unroll
                for (int e = 0; e < CHUNK; e++) {
                    to[e] = row < rows && column + e < columns ? from[e] : zero_element();
                }
            }
        }
        matrix += STEP * stride, rows -= STEP;
    }
};
