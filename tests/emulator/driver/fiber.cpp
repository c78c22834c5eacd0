#include "fiber.hpp"

#include <new>
#include <sys/mman.h>

namespace emulator {

// The guard is wide, as what does not fit is often one large array that is written from its begin.
static constexpr size_t stack_bytes = 128 << 10, guard_bytes = 512 << 10;

// Fibers run one at a time, under the driver's lock.
static jmp_buf scheduler;

Fiber::~Fiber() {
    if (stack_) munmap(stack_, stack_bytes + guard_bytes);
}

__attribute__((noinline)) void Fiber::begin(void (*body)()) {
    if (!stack_) {
        void* memory = mmap(nullptr, stack_bytes + guard_bytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
        if (memory == MAP_FAILED) throw std::bad_alloc();
        mprotect(memory, guard_bytes, PROT_NONE);
        stack_ = static_cast<unsigned char*>(memory);
    }
    getcontext(&first_);
    first_.uc_stack.ss_sp = stack_ + guard_bytes;
    first_.uc_stack.ss_size = stack_bytes;
    first_.uc_link = nullptr;
    makecontext(&first_, body, 0);
    begun_ = true;
    setcontext(&first_);
}

// Nothing here is kept in a local variable across the jumps.
__attribute__((noinline)) void Fiber::resume(void (*body)()) {
    if (_setjmp(scheduler)) return;
    if (begun_) _longjmp(context_, 1);
    begin(body);
}

__attribute__((noinline)) void Fiber::yield() {
    if (!_setjmp(context_)) _longjmp(scheduler, 1);
}

bool Fiber::overflowed_at(const void* address) const {
    auto byte = static_cast<const unsigned char*>(address);
    return stack_ && byte >= stack_ && byte < stack_ + guard_bytes;
}

}  // namespace emulator
