// The order in which threads that could go on do so. A kernel with its barriers in place gives the same result in all.
#pragma once
#include <vector>

#include "../device/runtime.hpp"

namespace emulator {

class Order {
  public:
    // As the environment variable EMULATOR_ORDER says: `ascending`, `descending`, `interleaved` or `random:SEED`;
    // without it random:1. Warps run as far as they can, one after another, but for `interleaved`, in which one lane of
    // each warp runs in turn.
    Order();

    bool interleaved() const { return kind_ == Kind::interleaved; }
    // The order of `count` warps; another in each round of the scheduler.
    const std::vector<u32>& warps(u32 count);
    // The order of the lanes of a warp.
    const std::vector<u32>& lanes(u32 count);
    // Which of `count` blocks runs in place `index`.
    u64 block(u64 index, u64 count) const;
    // Draws what is random about a launch.
    void begin_launch(u64 blocks);

  private:
    enum class Kind { ascending, descending, interleaved, random };

    void arrange(std::vector<u32>& order, u32 count);
    u64 draw();

    Kind kind_ = Kind::random;
    u64 state_ = 1;
    u64 stride_ = 1, offset_ = 0;
    std::vector<u32> warps_, lanes_;
};

}  // namespace emulator
