#include "races.hpp"

#include <cstdio>
#include <vector>

#include "block.hpp"
#include "fault.hpp"

namespace emulator {

namespace {

struct Access {
    u32 epoch = 0;  // the block's, of which there are as many as barriers and blocks; 0 is never
    u32 warp_epoch;
    u32 thread;
};

// Who has accessed a word or a byte last.
struct Cell {
    Access write;
    // The last reader, and the last one of another warp or else thread than that.
    Access reads[2];
};

// Most accesses are of whole words, for which one cell is enough. Others are remembered by byte.
struct Word {
    Cell whole;
    u32 split_epoch = 0;  // when a part was accessed last
};

// Of all shared memory, apart from each other as the second are seldom looked at.
std::vector<Word> words;
std::vector<Cell> bytes;
u32 epoch;

bool races(const Access& before, const Access& now) {
    if (before.epoch != epoch || before.thread == now.thread) return false;
    bool same_warp = before.thread / warp_size == now.thread / warp_size;
    return !(same_warp && before.warp_epoch < now.warp_epoch);
}

[[noreturn]] void report(u32 offset, const Access& before, const char* what, const Access& now, const char* does) {
    const Site& last = block.current().site;
    char where[100] = "";
    if (last.file) snprintf(where, sizeof where, "; its last was at %s:%d", file_of(last), last.line);
    fail(Error::launch_failed,
         "race: thread %u %s byte %u of shared memory, which thread %u has %s, and no barrier is between", now.thread,
         does, offset, before.thread, what);
}

void check(const Cell& cell, u32 offset, const Access& now, bool write) {
    const char* does = write ? "writes" : "reads";
    if (races(cell.write, now)) report(offset, cell.write, "written", now, does);
    if (!write) return;
    for (const Access& read : cell.reads)
        if (races(read, now)) report(offset, read, "read", now, does);
}

void remember(Cell& cell, const Access& now, bool write) {
    if (write) {
        cell.write = now;
        return;
    }
    auto warp = [](const Access& access) { return access.thread / warp_size; };
    Access &last = cell.reads[0], &other = cell.reads[1];
    bool is_another = last.epoch == epoch && last.thread != now.thread;
    bool has_another_warp = other.epoch == epoch && warp(other) != warp(last);
    if (is_another && !(has_another_warp && warp(last) == warp(now))) other = last;
    last = now;
}

void on_word(u32 offset, const Access& now, bool write) {
    Word& word = words[offset / 4];
    check(word.whole, offset, now, write);
    if (word.split_epoch == epoch)
        for (u32 i = 0; i < 4; i++) check(bytes[offset + i], offset + i, now, write);
    remember(word.whole, now, write);
}

void on_byte(u32 offset, const Access& now, bool write) {
    Word& word = words[offset / 4];
    word.split_epoch = epoch;
    check(word.whole, offset, now, write);
    check(bytes[offset], offset, now, write);
    remember(bytes[offset], now, write);
}

}  // namespace

void order_block() { epoch++; }

void on_access(const void* address, u32 count, bool write) {
    i32 offset = block.shared.offset_of(address);
    if (offset < 0) return;
    u32 size = block.shared.bytes();
    if (bytes.size() < size) {
        words.resize(size / 4 + 1);
        bytes.resize(4 * words.size());
    }
    const Thread& thread = block.current();
    Access now = {epoch, thread.warp->syncs, thread.number};
    u32 begin = offset, end = offset + count;
    if (end > size) end = size;
    if (begin % 4 || end % 4) {
        for (u32 byte = begin; byte < end; byte++) on_byte(byte, now, write);
    } else {
        for (u32 word = begin; word < end; word += 4) on_word(word, now, write);
    }
}

}  // namespace emulator
