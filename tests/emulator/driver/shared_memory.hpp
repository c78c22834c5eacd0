// A block's shared memory: what the launch asks for, and what the kernel declares.
#pragma once
#include "../device/runtime.hpp"

namespace emulator {

constexpr u32 max_shared_memory = 232448;  // of a block that asks for more than the usual 48 KiB, on an H100

class SharedMemory {
  public:
    // Lays out the memory of a launch. `fixed` is what the module's kernels declare.
    void lay_out(u32 dynamic_bytes, u8* fixed, u32 fixed_bytes);
    // Fills everything with bytes that are NaN in every format, as before a block begins.
    void poison();
    bool contains(const void* address, u32 bytes) const;
    // Where an address lies, counted through the dynamic part and then the fixed one; -1 if it lies elsewhere.
    i32 offset_of(const void* address) const {
        auto byte = static_cast<const u8*>(address);
        if (byte >= dynamic_ && byte < dynamic_ + dynamic_bytes_) return byte - dynamic_;
        if (byte >= fixed_ && byte < fixed_ + fixed_bytes_) return dynamic_bytes_ + (byte - fixed_);
        return -1;
    }
    u32 bytes() const { return dynamic_bytes_ + fixed_bytes_; }
    // Whether an address lies in the page behind the dynamic part.
    bool ends_at(const void* address) const;
    // Whether bytes behind the dynamic part, as far as alignment leaves some, were written to.
    bool damaged() const;

    u8* dynamic() const { return dynamic_; }

  private:
    u8* end_ = nullptr;  // a page that cannot be touched begins here
    u8* dynamic_ = nullptr;
    u32 dynamic_bytes_ = 0;
    u8* fixed_ = nullptr;
    u32 fixed_bytes_ = 0;
};

}  // namespace emulator
