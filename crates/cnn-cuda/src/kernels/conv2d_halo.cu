// Convolution of taps one pixel apart, on tensor cores: forward, and the gradient of the input, which is one of the gradient
// with the turned weight. As in conv2d_forward.cu and conv2d_data.cu but for the left operand, which is read from a piece of
// the images in shared memory (halo.cuh).
//
// Counted for a 3x3 convolution of bf16 in tiles of 256 by 128, per slice of 64 channels: 9 steps read 9 * 16 KiB of the
// weight and some 45 KiB of pixels from the L2 cache and multiply 38 MFLOP, three times as many for each byte as tiles of
// 128 by 128 whose pixels are gathered for each tap.
#include "epilogue.cuh"
#include "halo.cuh"
#include "warpgroup.cuh"

#if ELEMENT_BF16 || TF32

typedef Tile<256, 128, 4, 2> Large;
typedef Tile<256, 64, 4, 1> Narrow;

// The product of a step by each warp for itself, see product.cuh.
template <class T> struct WarpProduct : Product<T> {
    static DEVICE i32 row(int i) { return T::warp_m() + 16 * i; }

    DEVICE void arrived() {}
    template <class B, class Rows, class Fetch> DEVICE void step(const Rows& rows, unsigned char* b, Fetch fetch) {
        fetch();
        Product<T>::template add_from<B>([&](u32 (&left)[4], int i, int k) { rows.read(left, i, k); }, b);
    }
};

// The weight's rows and columns of a step: across the sum its rows are channels of the step's slice, along the sum its columns.
template <class O> struct TapSource {
    const element* weight;  // the first tap's, from this block's first row and column on
    i64 row, tap;           // elements from row to row, and from tap to tap
    i32 rows, columns;      // that there are
    i32 tap_columns;

    DEVICE void fetch(unsigned char* stage, const HaloStep& step) const {
        constexpr bool ACROSS = O::MAJOR == ACROSS_SUM;
        i32 slice = step.slice * STEP, first_row = ACROSS ? slice : 0;
        i32 column = (ACROSS ? 0 : slice) + O::column() * CHUNK;
        const element* from = weight + (step.tap[0] * tap_columns + step.tap[1]) * tap + column;
#pragma unroll
        for (int i = 0; i < O::COUNT; i++) {
            i32 here = first_row + O::row(i);
            bool inside = here < rows && column < columns;
            copy_async_16(O::chunk(stage, O::row(i), O::column()), inside ? from + here * row : weight, inside);
        }
    }
};

template <class T, Major MAJOR>
DEVICE void convolve(const Halo& halo, const element* x, const TapSource<Operand<T, MAJOR, T::N, true>>& weight, const Epilogue& epilogue,
                     element* y, i32 part, i32 column, i32 end, i32 columns) {
    typedef Operand<T, ALONG_SUM, T::M> A;
    typedef Operand<T, MAJOR, T::N, true> B;
#if WARPGROUPS && ELEMENT_BF16
    typedef GroupProduct<T> Product;
#else
    typedef WarpProduct<T> Product;
#endif
    DYNAMIC_SHARED(shared);

    i32 tile = part * T::M;
    HaloRows<T, Product::ROWS> rows(halo, x, shared, tile, [](int i) { return Product::row(i); });
    Product product;
    multiply_halo<T, B>(product, halo, rows, weight, shared + halo.rooms * halo.room_bytes());
    float* sums = (float*)shared;
    product.template write<A, B>(sums);
    __syncthreads();
    auto at = [&](int m) { return i64(tile + m) * columns; };
    finish_tile<T, true>(sums, epilogue, y, at, halo.pixels - tile, column, end, part, columns);
}

// `width` channels of each group.
template <class T>
DEVICE void forward(const Halo& halo, const element* x, const element* weight, const Epilogue& epilogue, element* y, i32 width) {
    i32 across = (width + T::N - 1) / T::N, columns = gridDim.z * width;
    i32 part = blockIdx.x / across, first = blockIdx.x % across * T::N, group = blockIdx.z;
    TapSource<Operand<T, ACROSS_SUM, T::N, true>> right{weight + group * width + first, columns, i64(halo.depth) * columns,
                                                  halo.depth, width - first, halo.taps[1]};
    convolve<T, ACROSS_SUM>(halo, x + group * halo.depth, right, epilogue, y, part, group * width + first, (group + 1) * width, columns);
}

// The same of the gradient, whose channels the sum is over: the first tap is the weight's last.
template <class T>
DEVICE void backward_data(const Halo& halo, const element* dy, const element* weight, const Epilogue& epilogue, element* dx, i32 width) {
    i32 across = (width + T::N - 1) / T::N, columns = gridDim.z * width;
    i32 part = blockIdx.x / across, first = blockIdx.x % across * T::N, group = blockIdx.z;
    i64 tap = i64(width) * halo.pixel;
    const element* last = weight + (halo.tap_count() - 1) * tap + i64(first) * halo.pixel + group * halo.depth;
    TapSource<Operand<T, ALONG_SUM, T::N, true>> right{last, halo.pixel, -tap, width - first, halo.depth, halo.taps[1]};
    convolve<T, ALONG_SUM>(halo, dy + group * halo.depth, right, epilogue, dx, part, group * width + first, (group + 1) * width, columns);
}

#define ARGUMENTS Halo halo, const element *x, const element *weight, Epilogue epilogue, element *y, i32 width
#define GIVEN halo, x, weight, epilogue, y, width

KERNEL(Large::THREADS) halo_forward_large(ARGUMENTS) { forward<Large>(GIVEN); }
KERNEL(Narrow::THREADS) halo_forward_narrow(ARGUMENTS) { forward<Narrow>(GIVEN); }
KERNEL(Large::THREADS) halo_data_large(ARGUMENTS) { backward_data<Large>(GIVEN); }
KERNEL(Narrow::THREADS) halo_data_narrow(ARGUMENTS) { backward_data<Narrow>(GIVEN); }

#endif
