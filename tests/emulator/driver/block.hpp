// One block of threads: a fiber per thread, and where each waits.
//
// A thread runs until it waits at a barrier or for the other lanes of its warp; then the scheduler picks the next.
// Blocks run one after another, on the thread of the host that has launched the kernel.
#pragma once
#include <memory>
#include <vector>

#include "../device/runtime.hpp"
#include "fiber.hpp"
#include "order.hpp"
#include "shared_memory.hpp"

namespace emulator {

constexpr u32 warp_size = 32, max_block_size = 1024;

// A copy from global to shared memory that has been asked for and has not landed.
struct AsyncCopy {
    u8* shared;
    const u8* global;  // null: zeros
    u32 bytes;
    u32 group;
};

// A product by a warpgroup that has been asked for and not been waited for.
struct GroupProduct {
    float* d;
    const u32* registers;  // of the left operand; null where it is in shared memory
    u64 a, b;
    u32 columns;
    bool a_across, b_across;
    u32 group;
    Site site;
};

struct Warp;

struct Thread : ThreadIndex {
    enum class State { ready, at_barrier, in_collective, finished };

    u32 number, lane;  // in the block, in the warp
    Warp* warp;
    State state = State::finished;
    Site site = {};             // where it waits, or has waited last
    void* published = nullptr;  // to the lanes of the warp, in a collective
    Fiber fiber;
    std::vector<AsyncCopy> copies;
    u32 committed_groups = 0;
    std::vector<GroupProduct> products;
    u32 committed_products = 0;
    bool arrived = false;  // its registers are those that the next products read
    std::vector<u32> unfenced;  // chunks of shared memory that it has written and warpgroups would not see, see warpgroup.hpp
};

struct Warp {
    Thread* lanes[warp_size];
    u32 size = 0;
    // The collective that lanes wait for: its name, and how many have come.
    const char* collective = nullptr;
    u32 arrived = 0;
    u32 finished = 0;
    u32 syncs = 0;  // how many __syncwarp there were
};

// Runs in the last lane that comes to a collective; `published` is each lane's.
using Completion = void (*)(void* (&published)[warp_size]);

class Block {
  public:
    // Makes threads for a launch's blocks. `body` is what a thread does.
    void lay_out(dim3 size, void (*body)());
    // Runs all threads to their end.
    void run(Order& order);
    // After a fault: no fiber goes on from where it was.
    void abandon();

    void sync_threads(Site site);
    void collective(const char* name, Site site, void* published, Completion completion);
    void collective(const char* name, Site site, u32 mask, void* published, Completion completion);

    Thread& current() { return *current_; }
    const Thread& thread(u32 number) const { return *threads_[number]; }
    u32 size() const { return size_; }
    SharedMemory shared;

  private:
    static void live();
    bool resume(Thread& thread);
    bool run_warp(Warp& warp, Order& order);
    [[noreturn]] void deadlock();

    std::vector<std::unique_ptr<Thread>> threads_;
    std::vector<Warp> warps_;
    Thread* current_ = nullptr;
    void (*body_)() = nullptr;
    u32 size_ = 0, at_barrier_ = 0, finished_ = 0;
};

// The block that runs, and what its kernel sees of it.
extern Block block;
extern Runtime runtime;

}  // namespace emulator
