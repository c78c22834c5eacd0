#include "order.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numeric>

namespace emulator {

Order::Order() {
    const char* text = getenv("EMULATOR_ORDER");
    if (!text || !strcmp(text, "random")) return;
    if (!strcmp(text, "ascending")) {
        kind_ = Kind::ascending;
    } else if (!strcmp(text, "descending")) {
        kind_ = Kind::descending;
    } else if (!strcmp(text, "interleaved")) {
        kind_ = Kind::interleaved;
    } else if (!strncmp(text, "random:", 7)) {
        state_ = strtoull(text + 7, nullptr, 10);
    } else {
        fprintf(stderr,
                "emulated GPU: EMULATOR_ORDER is %s: must be ascending, descending, interleaved or random:SEED\n",
                text);
        abort();
    }
}

// SplitMix64 (Steele, Lea, Flood 2014).
u64 Order::draw() {
    u64 x = state_ += 0x9e3779b97f4a7c15;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return x ^ x >> 31;
}

void Order::arrange(std::vector<u32>& order, u32 count) {
    bool as_before = order.size() == count;
    if (!as_before) {
        order.resize(count);
        std::iota(order.begin(), order.end(), 0);
        if (kind_ == Kind::descending) std::reverse(order.begin(), order.end());
    }
    if (kind_ != Kind::random) return;
    for (u32 left = count; left > 1; left--) std::swap(order[left - 1], order[draw() % left]);
}

const std::vector<u32>& Order::warps(u32 count) {
    arrange(warps_, count);
    return warps_;
}

const std::vector<u32>& Order::lanes(u32 count) {
    arrange(lanes_, count);
    return lanes_;
}

void Order::begin_launch(u64 blocks) {
    stride_ = 1;
    offset_ = 0;
    if (kind_ != Kind::random || blocks < 2) return;
    offset_ = draw() % blocks;
    do stride_ = draw() % 65536 % blocks;
    while (std::gcd(stride_, blocks) != 1);
}

u64 Order::block(u64 index, u64 count) const {
    if (kind_ == Kind::descending) return count - 1 - index;
    return (index * stride_ + offset_) % count;
}

}  // namespace emulator
