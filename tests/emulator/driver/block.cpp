#include "block.hpp"

#include <cstdio>

#include "fault.hpp"
#include "races.hpp"
#include "warpgroup.hpp"

namespace emulator {

Block block;

void Block::lay_out(dim3 size, void (*body)()) {
    body_ = body;
    size_ = size.x * size.y * size.z;
    warps_.assign((size_ + warp_size - 1) / warp_size, Warp{});
    while (threads_.size() < size_) threads_.push_back(std::make_unique<Thread>());
    for (u32 number = 0; number < size_; number++) {
        Thread& thread = *threads_[number];
        thread.index = {number % size.x, number / size.x % size.y, number / size.x / size.y};
        thread.number = number;
        thread.lane = number % warp_size;
        thread.warp = &warps_[number / warp_size];
        thread.warp->lanes[thread.warp->size++] = &thread;
    }
}

// What a fiber does for ever: the body of a thread in each block that it is resumed for.
void Block::live() {
    for (;;) {
        block.body_();
        Thread& thread = block.current();
        thread.state = Thread::State::finished;
        block.finished_++;
        thread.warp->finished++;
        if (block.at_barrier_)
            fail(Error::launch_failed, "the thread has left the kernel while others wait at a barrier");
        if (thread.warp->arrived)
            fail(Error::launch_failed, "the lane has left the kernel while others of its warp wait in %s",
                 thread.warp->collective);
        thread.fiber.yield();
    }
}

bool Block::resume(Thread& thread) {
    if (thread.state != Thread::State::ready) return false;
    current_ = &thread;
    runtime.thread = &thread;
    thread.fiber.resume(live);
    return true;
}

bool Block::run_warp(Warp& warp, Order& order) {
    bool moved = false;
    for (bool again = true; again; moved |= again) {
        again = false;
        for (u32 lane : order.lanes(warp.size)) again |= resume(*warp.lanes[lane]);
    }
    return moved;
}

void Block::run(Order& order) {
    at_barrier_ = finished_ = 0;
    forget_unfenced();
    order_block();
    for (Warp& warp : warps_) warp.arrived = warp.finished = warp.syncs = 0;
    for (u32 number = 0; number < size_; number++) {
        Thread& thread = *threads_[number];
        thread.state = Thread::State::ready;
        thread.site = {};
        thread.copies.clear();
        thread.committed_groups = 0;
        thread.products.clear();
        thread.committed_products = 0;
        thread.arrived = false;
        thread.unfenced.clear();
    }
    shared.poison();
    while (finished_ < size_) {
        bool moved = false;
        if (order.interleaved()) {
            for (u32 lane = 0; lane < warp_size; lane++)
                for (Warp& warp : warps_)
                    if (lane < warp.size) moved |= resume(*warp.lanes[lane]);
        } else {
            for (u32 warp : order.warps(warps_.size())) moved |= run_warp(warps_[warp], order);
        }
        if (!moved) deadlock();
    }
    if (shared.damaged())
        fail(Error::illegal_address, "the block has written behind the end of its dynamic shared memory");
}

void Block::abandon() {
    for (auto& thread : threads_) thread->fiber.abandon();
}

void Block::sync_threads(Site site) {
    if (finished_)
        fail_at(site, Error::launch_failed, "the thread waits at a barrier that others have left the kernel without");
    if (at_barrier_) {
        // Whoever waits there already waits for the same barrier, or it is none.
        for (u32 number = 0; number < size_; number++) {
            const Thread& other = *threads_[number];
            if (other.state != Thread::State::at_barrier) continue;
            if (other.site.line != site.line)
                fail(Error::launch_failed, "divergent barrier: the thread waits at %s:%d, thread %u at %s:%d",
                     file_of(site), site.line, number, file_of(other.site), other.site.line);
            break;
        }
    }
    Thread& thread = current();
    thread.site = site;
    if (++at_barrier_ < size_) {
        thread.state = Thread::State::at_barrier;
        thread.fiber.yield();
        return;
    }
    at_barrier_ = 0;
    order_block();
    for (u32 number = 0; number < size_; number++) threads_[number]->state = Thread::State::ready;
}

void Block::collective(const char* name, Site site, void* published, Completion completion) {
    Thread& thread = current();
    Warp& warp = *thread.warp;
    if (warp.size < warp_size)
        fail_at(site, Error::launch_failed, "%s in a warp of %u threads: a block that uses it must be of whole warps",
                name, warp.size);
    if (warp.finished)
        fail_at(site, Error::launch_failed, "%s that %u lanes of the warp have left the kernel without", name,
                warp.finished);
    if (warp.arrived) {
        for (const Thread* other : warp.lanes)
            if (other->state == Thread::State::in_collective &&
                (warp.collective != name || other->site.line != site.line))
                fail(Error::launch_failed, "divergent warp: the lane is in %s at %s:%d, lane %u in %s at %s:%d", name,
                     file_of(site), site.line, other->lane, warp.collective, file_of(other->site), other->site.line);
    }
    warp.collective = name;
    thread.site = site;
    thread.published = published;
    if (++warp.arrived < warp_size) {
        thread.state = Thread::State::in_collective;
        thread.fiber.yield();
        return;
    }
    void* all[warp_size];
    for (u32 lane = 0; lane < warp_size; lane++) all[lane] = warp.lanes[lane]->published;
    completion(all);
    warp.arrived = 0;
    for (Thread* lane : warp.lanes) lane->state = Thread::State::ready;
}

void Block::collective(const char* name, Site site, u32 mask, void* published, Completion completion) {
    if (mask != ~0u) fail_at(site, Error::launch_failed, "%s of the lanes %#x: must be of all", name, mask);
    collective(name, site, published, completion);
}

void Block::deadlock() {
    char waits[200] = "";
    int length = 0;
    for (u32 number = 0; number < size_ && length < 150; number++) {
        const Thread& thread = *threads_[number];
        const char* where = thread.state == Thread::State::at_barrier ? "a barrier" : thread.warp->collective;
        if (thread.state == Thread::State::finished) continue;
        if (number && thread.state == threads_[number - 1]->state &&
            thread.site.line == threads_[number - 1]->site.line)
            continue;
        length += snprintf(waits + length, sizeof waits - length, "; from thread %u in %s at %s:%d", number, where,
                           file_of(thread.site), thread.site.line);
    }
    fail(Error::launch_failed, "deadlock: no thread can go on%s", waits);
}

}  // namespace emulator
