// Fibers: a stack each, and a switch between one of them and the scheduler that makes no system call.
#pragma once
#include <csetjmp>
#include <cstddef>
#include <ucontext.h>

namespace emulator {

class Fiber {
  public:
    Fiber() = default;
    Fiber(const Fiber&) = delete;
    Fiber& operator=(const Fiber&) = delete;
    ~Fiber();

    // Runs the fiber until it yields. A new one begins with `body`, which must not return; it yields for ever when it
    // has nothing to do.
    void resume(void (*body)());
    // Back to whoever has resumed the fiber that runs now.
    void yield();
    // Forgets where the fiber was: it begins anew when it is resumed next.
    void abandon() { begun_ = false; }
    // Whether an address lies below the stack, which a stack that is too deep runs into.
    bool overflowed_at(const void* address) const;

  private:
    void begin(void (*body)());

    jmp_buf context_;
    ucontext_t first_;
    unsigned char* stack_ = nullptr;
    bool begun_ = false;
};

}  // namespace emulator
