// What the lanes of a warp do together: exchanges of values, and the tensor cores' loads and products.
#include "collectives.hpp"

#include <cstdint>
#include <cstring>

#include "block.hpp"
#include "fault.hpp"
#include "races.hpp"

namespace emulator {

namespace {

struct Shuffle {
    const void* value;
    void* result;
    u32 bytes, source;
};

struct Ballot {
    bool predicate;
    u32 votes;
};

// A lane reads its row when it comes, not when all have: what others write before is there only behind a barrier.
struct LoadMatrices {
    u32* fragments;
    u8 row[16];
    bool transposed;
};

struct Product {
    float* d;
    const u32 *a, *b;
};

float from_bits(u32 bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

float low_bf16(u32 pair) { return from_bits(pair << 16); }
float high_bf16(u32 pair) { return from_bits(pair & 0xffff0000u); }
// The cores read no more than tf32's bits, and cut off the rest.
float tf32(u32 bits) { return from_bits(bits & ~0x1fffu); }

// d += a b for a of 16 rows and `K` columns, b of 8 columns. Each sum is in the order of k, in f32.
template <int K> void multiply(void* (&lanes)[warp_size], const float (&a)[16][K], const float (&b)[K][8]) {
    for (u32 lane = 0; lane < warp_size; lane++) {
        auto& product = *static_cast<Product*>(lanes[lane]);
        u32 group = lane / 4, pair = lane % 4 * 2;
        for (u32 i = 0; i < 4; i++) {
            const float* row = a[group + 8 * (i / 2)];
            float sum = product.d[i];
            for (int k = 0; k < K; k++) sum += row[k] * b[k][pair + i % 2];
            product.d[i] = sum;
        }
    }
}

void complete_bf16(void* (&lanes)[warp_size]) {
    float a[16][16], b[16][8];
    for (u32 lane = 0; lane < warp_size; lane++) {
        auto& product = *static_cast<Product*>(lanes[lane]);
        u32 group = lane / 4, pair = lane % 4 * 2;
        for (u32 i = 0; i < 4; i++) {
            float* row = &a[group + 8 * (i % 2)][pair + 8 * (i / 2)];
            row[0] = low_bf16(product.a[i]);
            row[1] = high_bf16(product.a[i]);
        }
        for (u32 i = 0; i < 2; i++) {
            b[pair + 8 * i][group] = low_bf16(product.b[i]);
            b[pair + 8 * i + 1][group] = high_bf16(product.b[i]);
        }
    }
    multiply<16>(lanes, a, b);
}

void complete_tf32(void* (&lanes)[warp_size]) {
    float a[16][8], b[8][8];
    for (u32 lane = 0; lane < warp_size; lane++) {
        auto& product = *static_cast<Product*>(lanes[lane]);
        u32 group = lane / 4, column = lane % 4;
        for (u32 i = 0; i < 4; i++) a[group + 8 * (i % 2)][column + 4 * (i / 2)] = tf32(product.a[i]);
        for (u32 i = 0; i < 2; i++) b[column + 4 * i][group] = tf32(product.b[i]);
    }
    multiply<8>(lanes, a, b);
}

// Matrix m has its eight rows at the addresses of lanes 8m to 8m + 7.
void complete_load(void* (&lanes)[warp_size]) {
    for (u32 lane = 0; lane < warp_size; lane++) {
        auto& load = *static_cast<LoadMatrices*>(lanes[lane]);
        for (u32 m = 0; m < 4; m++) {
            auto row = [&](u32 r) { return static_cast<LoadMatrices*>(lanes[8 * m + r])->row; };
            u16 pair[2];
            for (u32 i = 0; i < 2; i++) {
                u32 along = lane % 4 * 2 + i, across = lane / 4;
                memcpy(&pair[i], load.transposed ? row(along) + 2 * across : row(across) + 2 * along, sizeof(u16));
            }
            load.fragments[m] = pair[0] | (u32)pair[1] << 16;
        }
    }
}

}  // namespace

void sync_warp(Site site, u32 mask) {
    block.collective("__syncwarp", site, mask, nullptr, [](void*(&)[warp_size]) { block.current().warp->syncs++; });
}

void shuffle(Site site, u32 mask, const void* value, void* result, u32 bytes, u32 source) {
    Shuffle mine = {value, result, bytes, source};
    block.collective("__shfl_sync", site, mask, &mine, [](void*(&lanes)[warp_size]) {
        for (void* lane : lanes) {
            auto& to = *static_cast<Shuffle*>(lane);
            memcpy(to.result, static_cast<Shuffle*>(lanes[to.source])->value, to.bytes);
        }
    });
}

u32 ballot(Site site, u32 mask, bool predicate) {
    Ballot mine = {predicate, 0};
    block.collective("__ballot_sync", site, mask, &mine, [](void*(&lanes)[warp_size]) {
        u32 votes = 0;
        for (u32 lane = 0; lane < warp_size; lane++)
            votes |= (u32) static_cast<Ballot*>(lanes[lane])->predicate << lane;
        for (void* lane : lanes) static_cast<Ballot*>(lane)->votes = votes;
    });
    return mine.votes;
}

void load_matrices(Site site, u32* fragments, const void* row, bool transposed) {
    if ((uintptr_t)row % 16)
        fail_at(site, Error::misaligned_address, "ldmatrix of a row at %p: must be aligned to 16 bytes", row);
    if (!block.shared.contains(row, 16))
        fail_at(site, Error::illegal_address, "ldmatrix of a row at %p: must be in shared memory", row);
    LoadMatrices mine = {fragments, {}, transposed};
    memcpy(mine.row, row, sizeof mine.row);
    on_access(row, sizeof mine.row, false);
    block.collective(transposed ? "ldmatrix.trans" : "ldmatrix", site, &mine, complete_load);
}

void multiply_bf16(Site site, float* d, const u32* a, const u32* b) {
    Product mine = {d, a, b};
    block.collective("mma.bf16", site, &mine, complete_bf16);
}

void multiply_tf32(Site site, float* d, const u32* a, const u32* b) {
    Product mine = {d, a, b};
    block.collective("mma.tf32", site, &mine, complete_tf32);
}

}  // namespace emulator
