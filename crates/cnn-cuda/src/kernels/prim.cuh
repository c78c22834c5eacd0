// What the kernels share: names for numbers, activations in memory, and everything that is written in PTX.
//
// No header of NVIDIA's is included, so that the run-time compiler needs no folder of them. ELEMENT_BF16 says how
// activations are stored: as bf16, or else as f32. TF32 says that products of f32 round it to tf32 (product.cuh).
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef int i32;
typedef long long i64;

#define KERNEL(threads) extern "C" __global__ void __launch_bounds__(threads BLOCKS_AT_LEAST)
// Nothing, or a comma and how many blocks a multiprocessor is to have registers for.
#define BLOCKS_AT_LEAST
#define DYNAMIC_SHARED(name) extern __shared__ __align__(1024) unsigned char name[]
#define DEVICE __device__ __forceinline__

// The upper half of an f32.
struct bf16 {
    u16 bits;
};

DEVICE float to_f32(float x) { return x; }
DEVICE float to_f32(bf16 x) { return __uint_as_float(u32(x.bits) << 16); }

// Two numbers as the nearest bf16, even ones in the middle, the first in the lower half.
DEVICE u32 pack_bf16(float low, float high) {
    u32 packed;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
    return packed;
}
DEVICE float low_bf16(u32 packed) { return __uint_as_float(packed << 16); }
DEVICE float high_bf16(u32 packed) { return __uint_as_float(packed & 0xffff0000u); }

DEVICE bf16 to_bf16(float x) { return bf16{u16(pack_bf16(x, 0.0f))}; }

template <class T> DEVICE T from_f32(float x);
template <> DEVICE float from_f32<float>(float x) { return x; }
template <> DEVICE bf16 from_f32<bf16>(float x) { return to_bf16(x); }

#if ELEMENT_BF16
typedef bf16 element;
#else
typedef float element;
#endif

// Four 8x8 matrices of 16-bit numbers: lane i gives the address of row i % 8 of matrix i / 8, 16 bytes each. Register j of
// lane i is numbers 2 * (i % 4) and the next of row i / 4 of matrix j.
DEVICE void ldmatrix_x4(u32 (&r)[4], const void* row) {
    u32 at = u32(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(at)
                 : "memory");
}

// The same of transposed matrices: register j of lane i is rows 2 * (i % 4) and the next of column i / 4 of matrix j.
DEVICE void ldmatrix_x4_trans(u32 (&r)[4], const void* row) {
    u32 at = u32(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(at)
                 : "memory");
}

// d [16, 8] += a [16, 16] times b [16, 8], bf16 with sums in f32.
DEVICE void mma_bf16(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// d [16, 8] += a [16, 8] times b [8, 8], tf32 with sums in f32.
DEVICE void mma_tf32(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) {
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Products by warpgroups: four warps together, the first of which is one of 0, 4, 8, ... of the block. Compute capability 9.0
// alone has them, where the architecture is named with an `a`.
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define WARPGROUPS 1

// A matrix in shared memory for warpgroups, of rows of 128 bytes as `chunk_of_block` has them, from where eight of them begin.
// `block` bytes are from one block of eight chunks to the next. A row's next chunks are one further for each, and the next
// 16 rows are 128 further.
DEVICE u64 shared_matrix(const void* first, u32 block) {
    constexpr u64 SWIZZLED_128 = u64(1) << 62, EIGHT_ROWS = u64(1024 / 16) << 32;
    return SWIZZLED_128 | EIGHT_ROWS | u64(block / 16) << 16 | (u32(__cvta_generic_to_shared(first)) >> 4 & 0x3fff);
}

// From here on registers that were written are those that products read and add to.
DEVICE void warpgroup_arrive() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
// Ends a group of products.
DEVICE void warpgroup_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
// Waits until at most the last N groups are under way.
template <int N> DEVICE void warpgroup_wait() { asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory"); }
// What this thread has written to shared memory, and its copies that have arrived, are there for products once a barrier is
// behind this.
DEVICE void fence_for_warpgroups() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
// Numbers that products have added to, and that were waited for, are read behind this.
template <int I, int J> DEVICE void settle(float (&sums)[I][J][4]) {
#pragma unroll
    for (int i = 0; i < I; i++)
#pragma unroll
        for (int j = 0; j < J; j++)
#pragma unroll
            for (int e = 0; e < 4; e++) asm volatile("" : "+f"(sums[i][j][e])::"memory");
}

// d [64, 8 * J] += a [64, 16] times b [16, 8 * J], bf16 with sums in f32, while the thread goes on. Warp w has rows 16 * w and the
// next, spread over its lanes as for mma_bf16. ACROSS: rows of the matrix in shared memory are places of the sum.
#define SUMS_1(d, j) "+f"(d[j][0]), "+f"(d[j][1]), "+f"(d[j][2]), "+f"(d[j][3])
#define SUMS_4(d, j) SUMS_1(d, j), SUMS_1(d, j + 1), SUMS_1(d, j + 2), SUMS_1(d, j + 3)
template <bool ACROSS> DEVICE void warpgroup_mma(float (&d)[8][4], const u32 (&a)[4], u64 b) {
    asm volatile("{\nwgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
                 "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,"
                 "%30,%31}, {%32,%33,%34,%35}, %36, 1, 1, 1, %37;\n}"
                 : SUMS_4(d, 0), SUMS_4(d, 4)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "n"(int(ACROSS)));
}
template <bool ACROSS> DEVICE void warpgroup_mma(float (&d)[16][4], const u32 (&a)[4], u64 b) {
    asm volatile("{\nwgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 "
                 "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,"
                 "%30,%31,%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,"
                 "%57,%58,%59,%60,%61,%62,%63}, {%64,%65,%66,%67}, %68, 1, 1, 1, %69;\n}"
                 : SUMS_4(d, 0), SUMS_4(d, 4), SUMS_4(d, 8), SUMS_4(d, 12)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "n"(int(ACROSS)));
}
// The same with the left operand in shared memory, of which warp w multiplies rows 16 * w and the next.
template <bool A_ACROSS, bool B_ACROSS> DEVICE void warpgroup_mma(float (&d)[8][4], u64 a, u64 b) {
    asm volatile("{\nwgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
                 "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,"
                 "%30,%31}, %32, %33, 1, 1, 1, %34, %35;\n}"
                 : SUMS_4(d, 0), SUMS_4(d, 4)
                 : "l"(a), "l"(b), "n"(int(A_ACROSS)), "n"(int(B_ACROSS)));
}
template <bool A_ACROSS, bool B_ACROSS> DEVICE void warpgroup_mma(float (&d)[16][4], u64 a, u64 b) {
    asm volatile("{\nwgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 "
                 "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,"
                 "%30,%31,%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,"
                 "%57,%58,%59,%60,%61,%62,%63}, %64, %65, 1, 1, 1, %66, %67;\n}"
                 : SUMS_4(d, 0), SUMS_4(d, 4), SUMS_4(d, 8), SUMS_4(d, 12)
                 : "l"(a), "l"(b), "n"(int(A_ACROSS)), "n"(int(B_ACROSS)));
}
#undef SUMS_4
#undef SUMS_1
#else
#define WARPGROUPS 0
#endif

// The bits of the nearest number with 10 bits after the first.
DEVICE u32 to_tf32(float x) {
    u32 bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
    return bits;
}

// Copies from global to shared memory that go on while the thread does; zeros where not `valid`, and then nothing is read.
DEVICE void copy_async_16(void* to, const void* from, bool valid) {
    u32 at = u32(__cvta_generic_to_shared(to));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(from), "r"(valid ? 16 : 0) : "memory");
}
DEVICE void copy_async_8(void* to, const void* from, bool valid) {
    u32 at = u32(__cvta_generic_to_shared(to));
    asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(at), "l"(from), "r"(valid ? 8 : 0) : "memory");
}
DEVICE void copy_async_4(void* to, const void* from, bool valid) {
    u32 at = u32(__cvta_generic_to_shared(to));
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(at), "l"(from), "r"(valid ? 4 : 0) : "memory");
}
// Ends a group of copies.
DEVICE void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits until at most the last N groups of this thread are under way.
template <int N> DEVICE void copy_async_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory"); }
