// Philox4x32-10, the random numbers of cnn-core/src/rng.rs.
#pragma once
#include "prim.cuh"

// What names a sequence: the key, and what follows the block's number in the counter.
struct Philox {
    u32 key[2];
    u32 counter[3];
};

struct Words {
    u32 of[4];
};

// Words 4 * i to 4 * i + 3 of the sequence.
DEVICE Words random_block(const Philox& philox, u32 i) {
    u32 key0 = philox.key[0], key1 = philox.key[1];
    u32 c0 = i, c1 = philox.counter[0], c2 = philox.counter[1], c3 = philox.counter[2];
    for (int round = 0; round < 10; round++) {
        u32 high0 = __umulhi(c0, 0xD2511F53u), low0 = c0 * 0xD2511F53u;
        u32 high1 = __umulhi(c2, 0xCD9E8D57u), low1 = c2 * 0xCD9E8D57u;
        c0 = high1 ^ c1 ^ key0;
        c1 = low1;
        c2 = high0 ^ c3 ^ key1;
        c3 = low0;
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    return Words{{c0, c1, c2, c3}};
}

// Word i of the sequence.
DEVICE u32 random_word(const Philox& philox, u32 i) {
    Words words = random_block(philox, i / 4);
    u32 low = i % 2 ? words.of[1] : words.of[0], high = i % 2 ? words.of[3] : words.of[2];
    return i % 4 < 2 ? low : high;
}
