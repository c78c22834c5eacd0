#include "warpgroup.hpp"

#include <cstring>

#include "block.hpp"
#include "fault.hpp"
#include "races.hpp"

namespace emulator {

namespace {

constexpr u32 depth = 16;  // places of the sum in a product

float from_bf16(u16 bits) {
    u32 wide = (u32)bits << 16;
    float value;
    memcpy(&value, &wide, sizeof value);
    return value;
}

// A matrix in shared memory as its descriptor says: rows of 128 bytes, eight of them together with their chunks of 16
// bytes swizzled. Where a row is a place of the sum, eight columns' chunks are followed by the next at `leading`.
struct Matrix {
    u32 start, leading, stride;
    bool across;

    Matrix(Site site, u64 b, bool across) : across(across) {
        auto bytes = [&](u32 shift) { return (u32)(b >> shift & 0x3fff) * 16; };
        start = bytes(0), leading = bytes(16), stride = bytes(32);
        if (b >> 62 != 1) fail_at(site, Error::launch_failed, "wgmma of a matrix that is not swizzled in 128 bytes");
        if (start & 0x380)
            fail_at(site, Error::misaligned_address, "wgmma of a matrix at %#x: must begin where eight rows do", start);
    }

    const u8* at(u32 place, u32 column) const {
        u32 offset = across ? start + column / 64 * leading + place / 8 * stride + place % 8 * 128 + column % 64 * 2
                            : start + column / 8 * stride + column % 8 * 128 + place * 2;
        return block.shared.dynamic() + (offset ^ (offset >> 7 & 7) << 4);
    }

    // Every chunk that a product reads: there, and not written to by others since a barrier.
    void touch(Site site, u32 columns) const {
        for (u32 major = 0; major < (across ? depth : columns); major++) {
            for (u32 minor = 0; minor < (across ? columns : depth); minor += 8) {
                const u8* chunk = across ? at(major, minor) : at(minor, major);
                if (!block.shared.contains(chunk, 16))
                    fail_at(site, Error::illegal_address, "wgmma of a matrix that ends behind shared memory");
                on_access(chunk, 16, false);
            }
        }
    }
};

void multiply(Thread* (&lanes)[warp_size], size_t index) {
    const GroupProduct& first = lanes[0]->products[index];
    Matrix matrix(first.site, first.b, first.across);
    matrix.touch(first.site, first.columns);
    float a[16][depth];
    for (u32 lane = 0; lane < warp_size; lane++) {
        u32 row = lane / 4, pair = lane % 4 * 2;
        for (u32 i = 0; i < 4; i++) {
            u32 two = lanes[lane]->products[index].a[i];
            float* to = &a[row + 8 * (i % 2)][pair + 8 * (i / 2)];
            to[0] = from_bf16(two), to[1] = from_bf16(two >> 16);
        }
    }
    for (u32 column = 0; column < first.columns; column++) {
        float b[depth];
        for (u32 place = 0; place < depth; place++) {
            u16 bits;
            memcpy(&bits, matrix.at(place, column), sizeof bits);
            b[place] = from_bf16(bits);
        }
        for (u32 row = 0; row < 16; row++) {
            u32 lane = row % 8 * 4 + column % 8 / 2;
            float& sum = lanes[lane]->products[index].d[column / 8 * 4 + row / 8 * 2 + column % 2];
            for (u32 place = 0; place < depth; place++) sum += a[row][place] * b[place];
        }
    }
}

// Warps of a group do the same at the same time, and there are whole groups.
void check_group(Site site, const char* name) {
    if (block.size() % (4 * warp_size))
        fail_at(site, Error::launch_failed, "%s in a block of %u threads: must be of whole warpgroups", name,
                block.size());
}

}  // namespace

void warpgroup_arrive(Site site) {
    check_group(site, "wgmma.fence");
    block.current().arrived = true;
    block.collective("wgmma.fence", site, nullptr, [](void*(&)[warp_size]) {});
}

void warpgroup_multiply(Site site, float* d, u32 columns, const u32* a, u64 b, bool across) {
    Thread& thread = block.current();
    if (!thread.arrived)
        fail_at(site, Error::launch_failed, "wgmma that no wgmma.fence is before since registers were waited for");
    for (u32 number = 0; number < block.size(); number++)
        if (block.thread(number).unfenced)
            fail_at(site, Error::launch_failed,
                    "wgmma after thread %u has written to shared memory without fence.proxy.async", number);
    thread.products.push_back({d, a, b, columns, across, thread.committed_products, site});
    block.collective("wgmma", site, &thread.products.back(), [](void*(&lanes)[warp_size]) {
        auto& product = *static_cast<GroupProduct*>(lanes[0]);
        for (void* lane : lanes)
            if (static_cast<GroupProduct*>(lane)->b != product.b)
                fail_at(product.site, Error::launch_failed, "wgmma whose lanes name different matrices");
        Matrix(product.site, product.b, product.across).touch(product.site, product.columns);
    });
}

void warpgroup_commit(Site site) {
    block.collective("wgmma.commit_group", site, nullptr, [](void*(&)[warp_size]) {});
    block.current().committed_products++;
}

void warpgroup_wait(Site site, u32 groups_left) {
    static u32 left;  // the same for all lanes, as they are on the same line
    left = groups_left;
    block.current().arrived = false;
    block.collective("wgmma.wait_group", site, &block.current(), [](void*(&published)[warp_size]) {
        Thread* lanes[warp_size];
        for (u32 lane = 0; lane < warp_size; lane++) lanes[lane] = static_cast<Thread*>(published[lane]);
        std::vector<GroupProduct>& products = lanes[0]->products;
        size_t done = 0;
        for (; done < products.size() && products[done].group + left < lanes[0]->committed_products; done++)
            multiply(lanes, done);
        for (Thread* lane : lanes) lane->products.erase(lane->products.begin(), lane->products.begin() + done);
    });
}

}  // namespace emulator
