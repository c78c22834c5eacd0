// The pixels of a tile with those around them, as the left operand of a convolution whose taps are one pixel apart.
//
// Gathered tap by tap, a tile of a 3x3 convolution reads each pixel nine times from the L2 cache, and its threads look for it as
// often. Here the pixels of a slice of channels are copied to shared memory once, with their halo, and every tap reads them there.
//
// For that, images lie in one line of places: row by row, with a gap of zeros behind each row and some rows of zeros behind
// each image, as wide as the padding. Then the pixel under a tap is a fixed number of places from the pixel under the first
// tap, for all pixels of all images, and what a tile needs is one piece of the line.
#pragma once
#include "divisor.cuh"
#include "pipeline.cuh"

// As in cnn-cuda/src/conv2d/halo/line.rs.
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

// Which tap of which slice of channels a step is of: all taps of one slice before the next.
struct HaloStep {
    i32 tap = 0, slice = 0;
    i32 column = 0;  // of the tap in its row
    i32 offset = 0;  // places from the pixel under the first tap to that under this one

    DEVICE void advance(const Halo& halo) {
        tap++, column++, offset += halo.apart[1];
        if (column < halo.taps[1]) return;
        column = 0, offset += halo.apart[0] * halo.pitch.value - halo.taps[1] * halo.apart[1];
        if (tap < halo.tap_count()) return;
        tap = 0, offset = 0, slice++;
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

    // Where in the images a place is, in elements; a negative number, aligned as the others, for zeros. Every slice of channels has
    // the same places and every place has eight chunks, so this is looked up when they are copied.
    DEVICE i32 source_of(i32 at) const {
        i32 line = halo.pitch.quotient(first + at), c = first + at - line * halo.pitch.value - halo.lead[1];
        i32 image = halo.rows.quotient(line), r = line - image * halo.rows.value - halo.lead[0];
        bool inside = image < halo.images && u32(r) < u32(halo.size[0]) && u32(c) < u32(halo.size[1]);
        return inside ? ((image * halo.size[0] + r) * halo.size[1] + c) * halo.pixel : -CHUNK;
    }

    // Writes the table of them.
    DEVICE void look_up(i32* sources) const {
        for (i32 at = threadIdx.x; at < count; at += THREADS) sources[at] = source_of(at);
    }

    // Starts the copies of places `begin`, a multiple of eight, to `end` of a table, of the channels of a step from `slice` on.
    DEVICE void fetch(unsigned char* room, const i32* sources, i32 slice, i32 begin, i32 end) const {
        static_assert(THREADS / ROW_CHUNKS % 8 == 0, "a thread's chunks are swizzled alike");
        i32 column = threadIdx.x % ROW_CHUNKS, channel = slice + column * CHUNK, at = begin + i32(threadIdx.x) / ROW_CHUNKS;
        bool there = channel < halo.depth;
        const element* from = images + channel;
        unsigned char* to = (unsigned char*)chunk_of_block(room, at, column);
#pragma unroll 1
        for (; at < end; at += THREADS / ROW_CHUNKS, to += THREADS * 16) {
            i32 source = sources[at];
            copy_async_16(to, from + source, there && source >= 0);
        }
    }
};

// A tile's piece in shared memory, of which a warp multiplies ROWS groups of 16 rows.
template <class T, int ROWS> struct HaloRows : HaloPiece<T::THREADS> {
    using HaloPiece<T::THREADS>::halo;
    using HaloPiece<T::THREADS>::first;
    using HaloPiece<T::THREADS>::count;
    unsigned char* rooms;  // one for slices of even numbers, and where there are more one for the others
    i32* sources;
    i32 base[ROWS];        // places of this lane's rows under the first tap, from `first` on
    i32 offset;            // of the step's tap, see HaloStep
    unsigned char* room;   // of the step's slice
    i32 part;              // places that are copied with a step

    // Of the tile whose first pixel is `tile`; `row(i)` is the first of a warp's rows. A slice is copied in `parts`.
    template <class Row>
    DEVICE HaloRows(const Halo& halo, const element* images, unsigned char* rooms, i32* sources, i32 tile, i32 parts, Row row)
        : HaloPiece<T::THREADS>(halo, images), rooms(rooms), sources(sources) {
        constexpr i32 AT_ONCE = T::THREADS / ROW_CHUNKS;
        i32 last = min(tile + T::M, halo.pixels) - 1;
        this->locate(tile, last);
#pragma unroll
        for (int i = 0; i < ROWS; i++) base[i] = halo.place_of(min(tile + row(i) + i32(threadIdx.x % 16), last)) - first;
        part = (count + AT_ONCE * parts - 1) / (AT_ONCE * parts) * AT_ONCE;
    }

    // Starts the copies of the first slice.
    DEVICE void begin() const {
        this->look_up(sources);
        __syncthreads();  // the table is there
        HaloPiece<T::THREADS>::fetch(room_of(0), sources, 0, 0, count);
    }

    DEVICE unsigned char* room_of(i32 slice) const { return rooms + (slice & 1) * halo.room_bytes(); }

    // Starts the copies of one of a slice's parts.
    DEVICE void fetch_part(i32 slice, i32 number) const {
        HaloPiece<T::THREADS>::fetch(room_of(slice), sources, slice * STEP, number * part, min(count, (number + 1) * part));
    }

    DEVICE void at(const HaloStep& step) {
        offset = step.offset;
        room = room_of(step.slice);
    }

    // Rows 16 * i and the next of the warp, chunks 2 * k and the next, of the step.
    DEVICE void read(u32 (&left)[4], int i, int k) const {
        ldmatrix_x4(left, chunk_of_block(room, base[i] + offset, 2 * k + i32(threadIdx.x % 32) / 16));
    }
};

// Steps whose right operands are on their way. A product that is late goes on behind the next barrier, and its operand stays.
template <class T, class Product> DEVICE constexpr int halo_ahead() { return T::STAGES - 1 - Product::LATE; }

// How many parts a slice of channels comes in, with the steps of the one before: the first when nobody reads the slice before
// that any more, the last so that whoever waits for the last of these steps has waited for it. There is one, as a pass has at least
// FEWEST_TAPS (cnn-cuda/src/conv2d/halo/tiled.rs).
template <class T, class Product> DEVICE i32 halo_parts(const Halo& halo) {
    static_assert(halo_ahead<T, Product>() < 3, "fewer than FEWEST_TAPS");
    return halo.tap_count() - halo_ahead<T, Product>();
}

// The walk along the sum. `right.fetch(stage)` starts the copies of its operand's chunks of the next step; `product.step(rows,
// stage, fetch_left, fetch_right, next)` adds a step's product, calls both when the copies of later steps may be started, and
// `next` when it has read all rows of the step. The next step's rows it may read from then on. The stages are of the right operand
// alone.
template <class T, class B, class Product, class Rows, class Right>
DEVICE void multiply_halo(Product& product, const Halo& halo, Rows& rows, Right& right, unsigned char* shared) {
    constexpr int AHEAD = halo_ahead<T, Product>();
    i32 slices = halo.slices(), taps = halo.tap_count(), steps = slices * taps, parts = halo_parts<T, Product>(halo);
    HaloStep now;
    auto stage = [&](i32 step) { return shared + step % T::STAGES * B::BYTES; };
    auto fetch = [&](i32 step) {
        if (step < steps) right.fetch(stage(step));
    };
#pragma unroll
    for (int step = 0; step < AHEAD; step++) fetch(step);
    rows.begin();
#pragma unroll
    for (int step = 0; step < AHEAD; step++) copy_async_commit();  // all in the first, so that groups are counted as steps
    copy_async_wait<AHEAD - 1>();
    __syncthreads();  // the first slice is there
    rows.at(now);
    product.begin(rows);
#pragma unroll 1
    for (i32 step = 0; step < steps; step++) {
        copy_async_wait<AHEAD - 1>();
        product.arrived();
        __syncthreads();  // all chunks of this step are there, and nobody reads the rows of the step before it any more
        product.template step<B>(
            rows, stage(step), [&] { if (now.tap < parts && now.slice + 1 < slices) rows.fetch_part(now.slice + 1, now.tap); },
            [&] {
                fetch(step + AHEAD);
                copy_async_commit();  // an empty group too
            },
            [&] {
                if (step + 1 < steps) now.advance(halo);
                rows.at(now);
            });
    }
    copy_async_wait<0>();
    product.end();
    __syncthreads();  // the stages are free for what follows
}
