#include "warpgroup.hpp"

#include <cstring>

#include "block.hpp"
#include "fault.hpp"
#include "races.hpp"

namespace emulator {

namespace {

constexpr u32 depth = 16;  // places of the sum in a product

// Who has written a chunk of 16 bytes and not fenced that: a thread's number and one, or 0.
u16 unfenced_by[max_shared_memory / 16 + 1];

float from_bf16(u16 bits) {
    u32 wide = (u32)bits << 16;
    float value;
    memcpy(&value, &wide, sizeof value);
    return value;
}

// A matrix in shared memory as its descriptor says: rows of 128 bytes, eight of them together with their chunks of 16
// bytes swizzled. Where a row is a place of the sum, eight columns' chunks are followed by the next at `leading`. A left operand's
// rows are called columns here, too.
struct Matrix {
    u32 start, leading, stride;
    bool across;

    Matrix(Site site, u64 descriptor, bool across) : across(across) {
        auto bytes = [&](u32 shift) { return (u32)(descriptor >> shift & 0x3fff) * 16; };
        start = bytes(0), leading = bytes(16), stride = bytes(32);
        if (descriptor >> 62 != 1) fail_at(site, Error::launch_failed, "wgmma of a matrix that is not swizzled in 128 bytes");
        if (start & 0x380)
            fail_at(site, Error::misaligned_address, "wgmma of a matrix at %#x: must begin where eight rows do", start);
    }

    const u8* at(u32 place, u32 column) const {
        u32 offset = across ? start + column / 64 * leading + place / 8 * stride + place % 8 * 128 + column % 64 * 2
                            : start + column / 8 * stride + column % 8 * 128 + place * 2;
        return block.shared.dynamic() + (offset ^ (offset >> 7 & 7) << 4);
    }

    float number(u32 place, u32 column) const {
        u16 bits;
        memcpy(&bits, at(place, column), sizeof bits);
        return from_bf16(bits);
    }

    // Every chunk that a product reads: there, and not written to by others since a barrier.
    void touch(Site site, u32 first, u32 columns) const {
        for (u32 major = 0; major < (across ? depth : columns); major++) {
            for (u32 minor = 0; minor < (across ? columns : depth); minor += 8) {
                const u8* chunk = across ? at(major, first + minor) : at(minor, first + major);
                if (!block.shared.contains(chunk, 16))
                    fail_at(site, Error::illegal_address, "wgmma of a matrix that ends behind shared memory");
                if (u16 by = unfenced_by[(chunk - block.shared.dynamic()) / 16])
                    fail_at(site, Error::launch_failed,
                            "wgmma after thread %u has written to shared memory without fence.proxy.async", by - 1);
                on_access(chunk, 16, false);
            }
        }
    }
};

// The rows of the left operand that are this warp's.
u32 first_row(const Thread& thread) { return thread.number / warp_size % 4 * 16; }

void touch(const Thread& thread, const GroupProduct& product) {
    Matrix(product.site, product.b, product.b_across).touch(product.site, 0, product.columns);
    if (!product.registers) Matrix(product.site, product.a, product.a_across).touch(product.site, first_row(thread), 16);
}

void multiply(Thread* (&lanes)[warp_size], size_t index) {
    const GroupProduct& first = lanes[0]->products[index];
    touch(*lanes[0], first);
    float a[16][depth];
    if (!first.registers) {
        Matrix matrix(first.site, first.a, first.a_across);
        for (u32 row = 0; row < 16; row++)
            for (u32 place = 0; place < depth; place++) a[row][place] = matrix.number(place, first_row(*lanes[0]) + row);
    }
    for (u32 lane = 0; lane < warp_size && first.registers; lane++) {
        u32 row = lane / 4, pair = lane % 4 * 2;
        for (u32 i = 0; i < 4; i++) {
            u32 two = lanes[lane]->products[index].registers[i];
            float* to = &a[row + 8 * (i % 2)][pair + 8 * (i / 2)];
            to[0] = from_bf16(two), to[1] = from_bf16(two >> 16);
        }
    }
    Matrix matrix(first.site, first.b, first.b_across);
    for (u32 column = 0; column < first.columns; column++) {
        float b[depth];
        for (u32 place = 0; place < depth; place++) b[place] = matrix.number(place, column);
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

void wrote_unfenced(Thread& thread, const void* address, u32 bytes) {
    auto first = static_cast<const u8*>(address) - block.shared.dynamic();
    for (auto chunk = first / 16; chunk <= (first + bytes - 1) / 16; chunk++) {
        if (chunk < 0 || chunk > max_shared_memory / 16) return;  // what a kernel declares is no matrix of a warpgroup
        if (unfenced_by[chunk] == thread.number + 1) continue;
        unfenced_by[chunk] = thread.number + 1;
        thread.unfenced.push_back(chunk);
    }
}

void fence_for_warpgroups(Thread& thread) {
    for (u32 chunk : thread.unfenced)
        if (unfenced_by[chunk] == thread.number + 1) unfenced_by[chunk] = 0;
    thread.unfenced.clear();
}

void forget_unfenced() { memset(unfenced_by, 0, sizeof unfenced_by); }

void warpgroup_arrive(Site site) {
    check_group(site, "wgmma.fence");
    block.current().arrived = true;
    block.collective("wgmma.fence", site, nullptr, [](void*(&)[warp_size]) {});
}

void warpgroup_multiply(Site site, float* d, u32 columns, const u32* registers, u64 a, bool a_across, u64 b, bool b_across) {
    Thread& thread = block.current();
    if (!thread.arrived)
        fail_at(site, Error::launch_failed, "wgmma that no wgmma.fence is before since registers were waited for");
    thread.products.push_back({d, registers, a, b, columns, a_across, b_across, thread.committed_products, site});
    block.collective("wgmma", site, &thread, [](void*(&lanes)[warp_size]) {
        const Thread& first = *static_cast<Thread*>(lanes[0]);
        const GroupProduct& product = first.products.back();
        for (void* lane : lanes) {
            const GroupProduct& other = static_cast<Thread*>(lane)->products.back();
            if (other.a != product.a || other.b != product.b)
                fail_at(product.site, Error::launch_failed, "wgmma whose lanes name different matrices");
        }
        touch(first, product);
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
