// Convolution of few channels, such as a network's first: no chunk of 16 bytes is of one tap, so operands cannot be copied
// as they lie. The sum runs over all taps and channels as one list of KH * KW * C places, padded to the product's step. The
// rows of the input that a block needs are copied to shared memory once, padded there, and chunks of places
// are gathered from that patch. Forward a block has one tile of pixels and its patch; in the gradient of the weight it has
// many pixels and one patch after another. What follows the gather is the product of all convolutions.
//
// Counted for ResNet's first layer on CIFAR, bf16, 512 images, 3x3, 3 to 64 channels:
//     forward    67 MB written, 3 MB read: 20 us at 3.3 TB/s; 1.8 GFLOP, 4.3 as the sum of 27 is padded to 64: 7 us at 600 TFLOP/s
//     weight     67 MB read, 3 MB read: 20 us; as many multiplications, as the 27 rows of the product are padded to 64
// and of ResNet's on ImageNet, 256 images of 224x224, 7x7, stride 2, a sum of 147 that is padded to 192:
//     forward    411 MB written, 77 MB read: 148 us; 60 GFLOP, 79 with the padding: 130 us
// So it should wait for memory. Between the two the gather takes some 20 instructions a thread for each chunk of 16 bytes.
#include "divisor.cuh"
#include "epilogue.cuh"
#include "tiles.cuh"

// How patches are cut, as cnn-cuda/src/conv2d/stem.rs has it. Images with their padding lie one above the other: row `r` of
// padded image `i` is row i * image_rows + r of the stack.
struct Stem {
    i32 bytes;              // of shared memory for a patch
    i32 pitch, lead;        // elements of a row of a patch, and how many of them are left of the image
    i32 pixels;             // of the output that one patch serves
    i32 chunked;            // whether rows of the input are whole chunks
    Divisor units;          // chunks of a row of the patch, or else its elements
    Divisor image_rows;     // of the stack
    Divisor area, columns;  // of the output
    Divisor tap_row, depth; // places of a row of taps, and of one tap: its channels
};

// Rows of the stack that some pixels of the output read.
struct Patch {
    const Conv2dSpec& spec;
    const Stem& stem;
    element* elements;
    i32 first;  // row of the stack

    // Where in the stack the first tap of a pixel of the output is.
    struct Corner {
        i32 row, column;
    };
    DEVICE Corner corner(i32 pixel) const {
        i32 image = stem.area.quotient(pixel), within = pixel - image * stem.area.value;
        i32 row = stem.columns.quotient(within), column = within - row * stem.columns.value;
        return Corner{i32(image * stem.image_rows.value) + row * spec.stride[0], column * spec.stride[1] - spec.padding[1]};
    }

    // Where in the patch it is.
    DEVICE i32 place_of(i32 pixel) const {
        Corner at = corner(pixel);
        return (at.row - first) * stem.pitch + stem.lead + at.column * spec.in_channels;
    }

    // How far from there a place of the sum is.
    DEVICE i32 offset_of(i32 place) const {
        i32 tap_row = stem.tap_row.quotient(place), within = place - tap_row * stem.tap_row.value;
        i32 tap = stem.depth.quotient(within), channel = within - tap * stem.depth.value;
        return tap_row * spec.dilation[0] * stem.pitch + tap * spec.dilation[1] * spec.in_channels + channel;
    }

    // Fills it with what pixels `begin` to `end` of the output read, all threads of a block together.
    DEVICE void load(const element* x, i32 begin, i32 end) {
        first = corner(begin).row;
        i32 rows = corner(end - 1).row - first + (spec.kernel[0] - 1) * spec.dilation[0] + 1;
        if (stem.chunked) {
            load_rows<CHUNK>(x, rows);
        } else {
            load_rows<1>(x, rows);
        }
        __syncthreads();  // the patch is there
    }

    // N elements of a row of the patch, all of which are in the image or none is: where they go, and where they come from.
    template <int N> struct Unit {
        element* to;
        bool inside;
        i64 image_row;
        i32 from;  // element of the row

        DEVICE Unit(const Patch& patch, i32 i) {
            const Stem& stem = patch.stem;
            i32 row = stem.units.quotient(i), at = (i - row * stem.units.value) * N;
            i32 image = stem.image_rows.quotient(patch.first + row);
            i32 r = patch.first + row - image * stem.image_rows.value - patch.spec.padding[0];
            to = patch.elements + row * stem.pitch + at;
            from = at - stem.lead;
            inside = u32(r) < u32(patch.spec.input[0]) && u32(from) < u32(patch.spec.input[1] * patch.spec.in_channels);
            image_row = i64(image) * patch.spec.input[0] + r;
        }
    };

    template <int N> DEVICE void load_rows(const element* x, i32 rows) {
        i32 row_elements = spec.input[1] * spec.in_channels, units = rows * stem.units.value;
#pragma unroll 4
        for (i32 i = threadIdx.x; i < units; i += blockDim.x) {
            Unit<N> unit(*this, i);
            store(unit.to, unit.inside ? ::load<N>(x + unit.image_row * row_elements + unit.from) : Packed<N>{});
        }
    }
};

// The operand whose chunks are places of the sum of one pixel, gathered from the patch. Along the sum the pixels are the
// rows of the tile and a step goes on to later places; across it the places are, and a step goes on to later pixels.
template <class O> struct PatchSource {
    static constexpr bool LOOKS_UP = false;
    const Patch& patch;
    i32 pixel, pixels;  // the first of the next step, and where they end
    i32 place, places;

    DEVICE void fetch(unsigned char* stage) {
        i32 first = place + O::column() * CHUNK, offset[CHUNK];
#pragma unroll
        for (int e = 0; e < CHUNK; e++) offset[e] = patch.offset_of(first + e);
#pragma unroll 4
        for (int i = 0; i < O::COUNT; i++) {
            i32 here = pixel + O::row(i), from = patch.place_of(here);
            i32 count = here < pixels ? places - first : 0;
            element chunk[CHUNK];
#pragma unroll
            for (int e = 0; e < CHUNK; e++) chunk[e] = e < count ? patch.elements[from + offset[e]] : zero_element();
            store(O::chunk(stage, O::row(i), O::column()), packed(chunk));
        }
        (O::MAJOR == ALONG_SUM ? place : pixel) += STEP;
    }
};

// The sum of a pixel's taps, and of pixels for a tap.
DEVICE i32 places(const Conv2dSpec& spec) { return spec.kernel[0] * spec.kernel[1] * spec.in_channels; }
DEVICE i32 output_pixels(const Conv2dSpec& spec) { return spec.batch * spec.output[0] * spec.output[1]; }

template <class T, bool WHOLE>
DEVICE void forward(const Conv2dSpec& spec, const Stem& stem, const element* x, const element* weight,
                    const Epilogue& epilogue, element* y) {
    typedef Operand<T, ALONG_SUM, T::M> A;
    typedef Operand<T, ACROSS_SUM, T::N> B;
    DYNAMIC_SHARED(shared);

    i32 width = spec.out_channels, across = (width + T::N - 1) / T::N;
    i32 part = blockIdx.x / across, tile_m = part * T::M, tile_n = blockIdx.x % across * T::N;
    i32 sum = places(spec), pixels = output_pixels(spec);

    Patch patch{spec, stem, (element*)shared};
    patch.load(x, tile_m, min(pixels, tile_m + T::M));
    PatchSource<A> left{patch, tile_m, pixels, 0, sum};
    MatrixSource<B, WHOLE> right{weight + tile_n, width, sum, width - tile_n};
    BlockProduct<T> product;
    multiply<T, A, B>(product, left, right, (sum + STEP - 1) / STEP, shared + stem.bytes);
    auto at = [&](int m) { return i64(tile_m + m) * width; };
    finish<T, WHOLE, A, B>(product, (float*)shared, epilogue, y, at, pixels - tile_m, tile_n, width, part, width);
}

template <class T, bool WHOLE>
DEVICE void backward_weight(const Conv2dSpec& spec, const Stem& stem, i32 split, const element* x,
                            const element* dy, float* dw) {
    typedef Operand<T, ACROSS_SUM, T::M> A;
    typedef Operand<T, ACROSS_SUM, T::N> B;
    DYNAMIC_SHARED(shared);

    i32 width = spec.out_channels, across = (width + T::N - 1) / T::N;
    i32 part = blockIdx.y, tile_m = blockIdx.x / across * T::M, tile_n = blockIdx.x % across * T::N;
    i32 begin = part * split, end = min(output_pixels(spec), begin + split), sums = places(spec);

    Patch patch{spec, stem, (element*)shared};
    BlockProduct<T> product;
#pragma unroll 1
    for (i32 pixel = begin; pixel < end; pixel += stem.pixels) {
        i32 stop = min(end, pixel + stem.pixels);
        patch.load(x, pixel, stop);
        PatchSource<A> left{patch, pixel, stop, tile_m, sums};
        MatrixSource<B, WHOLE> right{dy + i64(pixel) * width + tile_n, width, stop - pixel, width - tile_n};
        multiply<T, A, B>(product, left, right, (stop - pixel + STEP - 1) / STEP, shared + stem.bytes);
    }
    float* tile = (float*)shared;
    product.template write<A, B>(tile);
    __syncthreads();
    write_sums<T>(tile, dw + i64(part) * sums * width, tile_m, sums, tile_n, width, width);
}

#define FORWARD Conv2dSpec spec, Stem stem, const element *x, const element *weight, Epilogue epilogue, element *y
#define WEIGHT Conv2dSpec spec, Stem stem, i32 split, const element *x, const element *dy, float *dw

KERNEL(Narrow::THREADS) stem_forward_narrow(FORWARD) { forward<Narrow, true>(spec, stem, x, weight, epilogue, y); }
KERNEL(Small::THREADS) stem_forward_small(FORWARD) { forward<Small, true>(spec, stem, x, weight, epilogue, y); }
KERNEL(Small::THREADS) stem_forward_any(FORWARD) { forward<Small, false>(spec, stem, x, weight, epilogue, y); }
KERNEL(Small::THREADS) stem_weight_small(WEIGHT) { backward_weight<Small, true>(spec, stem, split, x, dy, dw); }
KERNEL(Small::THREADS) stem_weight_any(WEIGHT) { backward_weight<Small, false>(spec, stem, split, x, dy, dw); }
