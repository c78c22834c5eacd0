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

struct Byte {
    Access write;
    // The last reader, and the last one of another warp or else thread than that.
    Access reads[2];
};

std::vector<Byte> bytes;
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

void on_byte(u32 offset, const Access& now, bool write) {
    Byte& byte = bytes[offset];
    const char* does = write ? "writes" : "reads";
    if (races(byte.write, now)) report(offset, byte.write, "written", now, does);
    if (write) {
        for (const Access& read : byte.reads)
            if (races(read, now)) report(offset, read, "read", now, does);
        byte.write = now;
        return;
    }
    Access& last = byte.reads[0];
    bool other = last.epoch == epoch && last.thread != now.thread;
    bool keeps_warp = byte.reads[1].epoch == epoch && byte.reads[1].thread / warp_size != last.thread / warp_size;
    if (other && !(keeps_warp && last.thread / warp_size == now.thread / warp_size)) byte.reads[1] = last;
    last = now;
}

}  // namespace

void order_block() { epoch++; }

void on_access(const void* address, u32 count, bool write) {
    i32 offset = block.shared.offset_of(address);
    if (offset < 0) return;
    u32 size = block.shared.bytes();
    if (bytes.size() < size) bytes.resize(size);
    const Thread& thread = block.current();
    Access now = {epoch, thread.warp->syncs, thread.number};
    for (u32 i = 0; i < count && offset + i < size; i++) on_byte(offset + i, now, write);
}

}  // namespace emulator
