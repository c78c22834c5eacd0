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

// Warpgroups multiply until behind the next barrier, and so need a stage more.
constexpr int STAGES = WARPGROUPS && ELEMENT_BF16 ? 4 : 3;
typedef Tile<256, 128, 4, 2, STAGES> Large;
typedef Tile<256, 64, 4, 1, STAGES> Narrow;

// The product of a step by each warp for itself, see product.cuh.
template <class T> struct WarpProduct : Product<T> {
    static constexpr int LATE = 0;
    // The warp's `i`th sixteen rows.
    static DEVICE i32 row(int i) { return T::warp_m() + 16 * i; }

    template <class Rows> DEVICE void begin(const Rows&) {}
    template <class B, class Rows, class FetchLeft, class FetchRight, class Next>
    DEVICE void step(const Rows& rows, unsigned char* b, FetchLeft fetch_left, FetchRight fetch_right, Next next) {
        fetch_left();
        fetch_right();
        auto read = [&](u32 (&left)[4], int i, int k) {
            rows.read(left, i, k);
            Product<T>::round(left);
        };
        Product<T>::template add_from<B>(read, b);
        next();
    }
    DEVICE void end() {}
};

// The weight's rows and columns of the next step: across the sum its rows are channels of the step's slice, along the sum its
// columns.
template <class O> struct TapSource {
    static constexpr bool ACROSS = O::MAJOR == ACROSS_SUM;
    const element* weight;      // this thread's first chunk of the first tap and slice
    i64 rows_apart;             // elements from one of a thread's rows to its next
    i32 tap_apart, slice_apart; // from tap to tap, and from slice to slice
    i32 row, column;            // this thread's first, from the block's first on
    i32 rows, columns;          // that there are of this slice
    i32 taps;
    i32 tap = 0, slice = 0, at = 0;  // where slice and tap begin

    // Of `taps`: from this block's first row and column of the first tap on, with `row_elements` from row to row.
    DEVICE TapSource(const element* first, i32 row_elements, i32 tap_apart, i32 rows, i32 columns, i32 taps)
        : weight(first + i64(O::row(0)) * row_elements + O::column() * CHUNK), rows_apart(i64(O::APART) * row_elements),
          tap_apart(tap_apart), slice_apart(ACROSS ? STEP * row_elements : STEP), row(O::row(0)), column(O::column() * CHUNK),
          rows(rows), columns(columns), taps(taps) {}

    DEVICE void fetch(unsigned char* stage) {
        const element* from = weight + at;
#pragma unroll
        for (int i = 0; i < O::COUNT; i++) {
            bool inside = row + i * O::APART < rows && column < columns;
            copy_async_16(O::chunk(stage, row + i * O::APART, O::column()), from + i * rows_apart, inside);
        }
        at += tap_apart;
        if (++tap < taps) return;
        tap = 0, slice += slice_apart, at = slice;
        (ACROSS ? rows : columns) -= STEP;
    }
};

template <class T, Major MAJOR>
DEVICE void convolve(const Halo& halo, const element* x, TapSource<Operand<T, MAJOR, T::N>>& weight, const Epilogue& epilogue,
                     element* y, i32 part, i32 column, i32 end, i32 columns) {
    typedef Operand<T, ALONG_SUM, T::M> A;
    typedef Operand<T, MAJOR, T::N> B;
#if WARPGROUPS && ELEMENT_BF16
    typedef GroupProduct<T> Product;
#else
    typedef WarpProduct<T> Product;
#endif
    DYNAMIC_SHARED(shared);

    i32 tile = part * T::M;
    unsigned char* stages = shared + halo.rooms * halo.room_bytes();
    i32* sources = (i32*)(stages + T::STAGES * B::BYTES);
    HaloRows<T, Product::ROWS> rows(halo, x, shared, sources, tile, halo_parts<T, Product>(halo), [](int i) { return Product::row(i); });
    Product product;
    multiply_halo<T, B>(product, halo, rows, weight, stages);
    auto at = [&](int m) { return i64(tile + m) * columns; };
    finish<T, true, A, B>(product, (float*)shared, epilogue, y, at, halo.pixels - tile, column, end, part, columns);
}

// `width` channels of each group.
template <class T>
DEVICE void forward(const Halo& halo, const element* x, const element* weight, const Epilogue& epilogue, element* y, i32 width) {
    i32 across = (width + T::N - 1) / T::N, columns = gridDim.z * width;
    i32 part = blockIdx.x / across, first = blockIdx.x % across * T::N, group = blockIdx.z;
    TapSource<Operand<T, ACROSS_SUM, T::N>> right(weight + group * width + first, columns, halo.depth * columns, halo.depth,
                                                        width - first, halo.tap_count());
    convolve<T, ACROSS_SUM>(halo, x + group * halo.depth, right, epilogue, y, part, group * width + first, (group + 1) * width, columns);
}

// The same of the gradient, whose channels the sum is over: the first tap is the weight's last.
template <class T>
DEVICE void backward_data(const Halo& halo, const element* dy, const element* weight, const Epilogue& epilogue, element* dx, i32 width) {
    i32 across = (width + T::N - 1) / T::N, columns = gridDim.z * width;
    i32 part = blockIdx.x / across, first = blockIdx.x % across * T::N, group = blockIdx.z;
    i32 tap = width * halo.pixel;
    const element* last = weight + (halo.tap_count() - 1) * tap + first * halo.pixel + group * halo.depth;
    TapSource<Operand<T, ALONG_SUM, T::N>> right(last, halo.pixel, -tap, width - first, halo.depth, halo.tap_count());
    convolve<T, ALONG_SUM>(halo, dy + group * halo.depth, right, epilogue, dx, part, group * width + first, (group + 1) * width, columns);
}

#define ARGUMENTS Halo halo, const element *x, const element *weight, Epilogue epilogue, element *y, i32 width
#define GIVEN halo, x, weight, epilogue, y, width

KERNEL(Large::THREADS) halo_forward_large(ARGUMENTS) { forward<Large>(GIVEN); }
KERNEL(Narrow::THREADS) halo_forward_narrow(ARGUMENTS) { forward<Narrow>(GIVEN); }
KERNEL(Large::THREADS) halo_data_large(ARGUMENTS) { backward_data<Large>(GIVEN); }
KERNEL(Narrow::THREADS) halo_data_narrow(ARGUMENTS) { backward_data<Narrow>(GIVEN); }

#endif
