// Convolution, forward: an implicit product of [pixels, taps * channels] and the weight [taps * channels, out channels].
#include "epilogue.cuh"
#include "tiles.cuh"

// Where a block's sum begins and ends, for those that have a part of it: gridDim.y parts of so many steps.
struct Part {
    i32 steps;
    float* sums;  // [parts, pixels, out channels]
};

// With SPLIT the sums of a part are written, and what follows them is another kernel's.
template <class T, bool WHOLE, bool SPLIT = false>
DEVICE void forward(const Conv2dSpec& spec, const element* x, const element* weight, const Epilogue& epilogue, element* y,
                    const Part& of = Part()) {
    typedef Operand<T, ALONG_SUM, T::M> A;
    typedef Operand<T, ACROSS_SUM, T::N> B;
    DYNAMIC_SHARED(shared);

    i32 depth = spec.in_channels / spec.groups, width = spec.out_channels / spec.groups;
    i32 across = (width + T::N - 1) / T::N;
    i32 group = blockIdx.z, part = blockIdx.x / across, tile_n = blockIdx.x % across * T::N;
    i32 area = spec.output[0] * spec.output[1], pixels = spec.batch * area, tile_m = part * T::M;
    i32 sum = spec.kernel[0] * spec.kernel[1] * depth;
    i32 steps = (sum + STEP - 1) / STEP, begin = SPLIT ? blockIdx.y * of.steps : 0;
    if (SPLIT) steps = min(of.steps, steps - begin);

    PixelSource<A, WHOLE> left;
#pragma unroll
    for (int i = 0; i < A::COUNT; i++) {
        i32 m = tile_m + A::row(i);
        bool real = m < pixels;
        i32 image = real ? m / area : 0, pixel = m % area;
        left.image[i] = x + i64(image) * spec.input[0] * spec.input[1] * spec.in_channels + group * depth;
        left.base[i][0] = real ? pixel / spec.output[1] * spec.stride[0] - spec.padding[0] : -(1 << 30);
        left.base[i][1] = pixel % spec.output[1] * spec.stride[1] - spec.padding[1];
    }
#pragma unroll
    for (int axis = 0; axis < 2; axis++) {
        left.size[axis] = spec.input[axis], left.taps[axis] = spec.kernel[axis], left.step[axis] = spec.dilation[axis];
    }
    left.pixel = spec.in_channels, left.depth = depth;
    left.begin(begin * STEP);

    const element* columns = weight + i64(begin) * STEP * spec.out_channels + group * width + tile_n;
    MatrixSource<B, WHOLE> right{columns, spec.out_channels, sum - begin * STEP, width - tile_n};

    BlockProduct<T> product;
    multiply<T, A, B>(product, left, right, steps, shared);
    if (SPLIT) {
        float* tile = (float*)shared;
        product.template write<A, B>(tile);
        __syncthreads();
        float* sums = of.sums + i64(blockIdx.y) * pixels * spec.out_channels;
        write_sums<T>(tile, sums, tile_m, pixels, group * width + tile_n, group * width + width, spec.out_channels);
        return;
    }
    auto at = [&](int m) { return i64(tile_m + m) * spec.out_channels; };
    finish<T, WHOLE, A, B>(product, (float*)shared, epilogue, y, at, pixels - tile_m, group * width + tile_n, group * width + width, part,
                           spec.out_channels);
}

#define ARGUMENTS Conv2dSpec spec, const element *x, const element *weight, Epilogue epilogue, element *y
#define GIVEN spec, x, weight, epilogue, y

KERNEL(Large::THREADS) forward_large(ARGUMENTS) { forward<Large, true>(GIVEN); }
KERNEL(Narrow::THREADS) forward_narrow(ARGUMENTS) { forward<Narrow, true>(GIVEN); }
KERNEL(Small::THREADS) forward_small(ARGUMENTS) { forward<Small, true>(GIVEN); }
KERNEL(Small::THREADS) forward_any(ARGUMENTS) { forward<Small, false>(GIVEN); }

#undef ARGUMENTS
#undef GIVEN

#define ARGUMENTS Conv2dSpec spec, const element *x, const element *weight, Part part
#define GIVEN spec, x, weight, Epilogue(), nullptr, part

KERNEL(Large::THREADS) split_forward_large(ARGUMENTS) { forward<Large, true, true>(GIVEN); }
KERNEL(Narrow::THREADS) split_forward_narrow(ARGUMENTS) { forward<Narrow, true, true>(GIVEN); }
KERNEL(Small::THREADS) split_forward_small(ARGUMENTS) { forward<Small, true, true>(GIVEN); }
