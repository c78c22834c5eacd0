// The pixels of a tile with those around them, as the left operand of a convolution whose taps are one pixel apart.
//
// Gathered tap by tap, a tile of a 3x3 convolution reads each pixel nine times from the L2 cache, and that seems to be what it
// waits for: by the bytes counted and the times measured on an H200, those of 64, 128, 256 and 512 channels moved 4.6, 4.3,
// 4.6 and 4.9 TB/s from there, at 196 to 311 TFLOP/s. Here the pixels of a slice of channels are copied to shared memory once, with their halo, and every tap reads them there.
//
// For that, images lie in one line of places: row by row, with a gap of zeros behind each row and some rows of zeros behind
// each image, as wide as the padding. Then the pixel under a tap is a fixed number of places from the pixel under the first
// tap, for all pixels of all images, and what a tile needs is one piece of the line.
#pragma once
#include "divisor.cuh"
#include "pipeline.cuh"

// As in cnn-cuda/src/conv2d/halo.rs.
struct Halo {
    i32 images;
    i32 size[2];            // rows and columns of an image
    i32 lead[2];            // of zeros above it and to its left that taps read
    i32 taps[2], apart[2];  // rows and columns of taps, and pixels from one to the next
    i32 depth, pixel;       // channels of the sum, and elements from pixel to pixel
    i32 pixels;             // of the product
    i32 places;             // of the line, the most that a tile needs
    i32 rooms;              // for slices of channels in shared memory: two, or one where there is one slice
    Divisor pitch, rows;    // places of a row with its gap, rows of an image with those behind it
    Divisor area, columns;  // pixels of the product in an image, and in a row of it

    // Where under the first tap a pixel of the product is.
    DEVICE i32 place_of(i32 index) const {
        i32 image = area.quotient(index), within = index - image * area.value;
        i32 row = columns.quotient(within), column = within - row * columns.value;
        return (image * rows.value + row) * pitch.value + column;
    }

    // How much further a tap is.
    DEVICE i32 offset_of(i32 row, i32 column) const { return row * apart[0] * pitch.value + column * apart[1]; }

    DEVICE i32 slices() const { return (depth + STEP - 1) / STEP; }
    DEVICE i32 tap_count() const { return taps[0] * taps[1]; }
    DEVICE i32 room_bytes() const { return places * ROW_CHUNKS * 16; }
};

// Which tap of which slice a step is of: all taps of one slice before the next.
struct HaloStep {
    i32 tap[2] = {0, 0}, slice = 0;

    DEVICE void advance(const Halo& halo) {
        if (++tap[1] < halo.taps[1]) return;
        tap[1] = 0;
        if (++tap[0] < halo.taps[0]) return;
        tap[0] = 0, slice++;
    }
};

// The places of the line that some pixels of the product need, and their copies to shared memory.
template <int THREADS> struct HaloPiece {
    const Halo& halo;
    const element* images;  // this group's channels
    i32 first, count;       // places

    DEVICE HaloPiece(const Halo& halo, const element* images) : halo(halo), images(images) {}

    // Of these pixels and those between them.
    DEVICE void locate(i32 first_pixel, i32 last_pixel) {
        first = halo.place_of(first_pixel);
        count = halo.place_of(last_pixel) - first + halo.offset_of(halo.taps[0] - 1, halo.taps[1] - 1) + 1;
    }

    // Starts the copies of places `begin` to `end`, of the channels of a step from `slice` on.
    DEVICE void fetch(unsigned char* room, i32 slice, i32 begin, i32 end) const {
        i32 column = threadIdx.x % ROW_CHUNKS, channel = slice + column * CHUNK;
#pragma unroll 1
        for (i32 at = begin + i32(threadIdx.x) / ROW_CHUNKS; at < end; at += THREADS / ROW_CHUNKS) {
            i32 line = halo.pitch.quotient(first + at), c = first + at - line * halo.pitch.value - halo.lead[1];
            i32 image = halo.rows.quotient(line), r = line - image * halo.rows.value - halo.lead[0];
            bool inside = channel < halo.depth && image < halo.images && u32(r) < u32(halo.size[0]) && u32(c) < u32(halo.size[1]);
            i64 pixel = (i64(image) * halo.size[0] + r) * halo.size[1] + c;
            copy_async_16(chunk_of_block(room, at, column), inside ? images + pixel * halo.pixel + channel : images, inside);
        }
    }
};

// A tile's piece in shared memory, of which a warp multiplies ROWS groups of 16 rows.
template <class T, int ROWS> struct HaloRows : HaloPiece<T::THREADS> {
    using HaloPiece<T::THREADS>::halo;
    using HaloPiece<T::THREADS>::first;
    using HaloPiece<T::THREADS>::count;
    unsigned char* rooms;
    i32 base[ROWS];       // places of this lane's rows under the first tap, from `first` on
    i32 offset;           // of the step's tap
    unsigned char* room;  // of the step's slice

    // Of the tile whose first pixel is `tile`; `row(i)` is the first of a warp's rows.
    template <class Row> DEVICE HaloRows(const Halo& halo, const element* images, unsigned char* rooms, i32 tile, Row row)
        : HaloPiece<T::THREADS>(halo, images), rooms(rooms) {
        i32 last = min(tile + T::M, halo.pixels) - 1;
        this->locate(tile, last);
#pragma unroll
        for (int i = 0; i < ROWS; i++) base[i] = halo.place_of(min(tile + row(i) + i32(threadIdx.x % 16), last)) - first;
    }

    DEVICE unsigned char* room_of(i32 slice) const { return rooms + slice % halo.rooms * halo.room_bytes(); }

    // Starts the copies of part `part` of `parts` of a slice.
    DEVICE void fetch(i32 slice, i32 part, i32 parts) const {
        HaloPiece<T::THREADS>::fetch(room_of(slice), slice * STEP, count * part / parts, count * (part + 1) / parts);
    }

    DEVICE void at(const HaloStep& step) {
        offset = halo.offset_of(step.tap[0], step.tap[1]);
        room = room_of(step.slice);
    }

    // Rows 16 * i and the next of the warp, chunks 2 * k and the next, of the step.
    DEVICE void read(u32 (&left)[4], int i, int k) const {
        ldmatrix_x4(left, chunk_of_block(room, base[i] + offset, 2 * k + i32(threadIdx.x % 32) / 16));
    }
};

// The walk along the sum. `right.fetch(stage, step)` starts the copies of its operand's chunks; `product.step(rows, stage,
// fetch)` adds a step's product, and calls `fetch` when the copies of later steps may be started.
//
// The stages are of the right operand alone. The next slice of channels comes in parts, with the steps of the one before: the
// first when nobody reads the slice before that any more, the last so that whoever waits for the next slice's first step has
// waited for it.
template <class T, class B, class Product, class Rows, class Right>
DEVICE void multiply_halo(Product& product, const Halo& halo, Rows& rows, const Right& right, unsigned char* shared) {
    constexpr int AHEAD = T::STAGES - 1;
    i32 slices = halo.slices(), taps = halo.tap_count(), steps = slices * taps, parts = taps - AHEAD + 1;
    HaloStep now, next;
    auto stage = [&](i32 step) { return shared + step % T::STAGES * B::BYTES; };
    auto fetch = [&](i32 step) {
        if (step < steps) {
            right.fetch(stage(step), next);
            next.advance(halo);
        }
        copy_async_commit();  // an empty group too, so that groups are counted as steps
    };
    rows.fetch(0, 0, 1);
#pragma unroll
    for (int step = 0; step < AHEAD; step++) fetch(step);
    i32 part = 0;
#pragma unroll 1
    for (i32 step = 0; step < steps; step++) {
        copy_async_wait<AHEAD - 1>();
        product.arrived();
        __syncthreads();  // all chunks of this step are there, and nobody reads the step before it any more
        rows.at(now);
        product.template step<B>(rows, stage(step), [&] {
            if (part < parts && now.slice + 1 < slices) rows.fetch(now.slice + 1, part, parts);
            fetch(step + AHEAD);
        });
        part = part + 1 < taps ? part + 1 : 0;
        now.advance(halo);
    }
    copy_async_wait<0>();
    __syncthreads();  // the stages are free for what follows
}
