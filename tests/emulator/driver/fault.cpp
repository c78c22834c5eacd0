#include "fault.hpp"

#include <csetjmp>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ucontext.h>

#include "block.hpp"
#include "memory.hpp"

namespace emulator {

static sigjmp_buf recovery;
static Fault fault;
static thread_local bool catching;  // faults of other threads of the process are not ours

// An address that is nobody's; and what processors do about one that is not aligned, or the sanitizer that looks for
// such.
static constexpr int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGTRAP};
static struct sigaction previous[4];

void fail(Error error, const char* format, ...) {
    fault.error = error;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(fault.text, sizeof fault.text, format, arguments);
    va_end(arguments);
    siglongjmp(recovery, 1);
}

void fail_at(Site site, Error error, const char* format, ...) {
    fault.error = error;
    int length = snprintf(fault.text, sizeof fault.text / 2, "%s:%d: ", file_of(site), site.line);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(fault.text + length, sizeof fault.text - length, format, arguments);
    va_end(arguments);
    siglongjmp(recovery, 1);
}

const char* file_of(Site site) {
    const char* name = strrchr(site.file, '/');
    return name ? name + 1 : site.file;
}

static const char* access_of(void* context) {
#if defined(__x86_64__)
    bool write = static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_ERR] & 2;
    return write ? "write to" : "read of";
#else
    return "access to";
#endif
}

static void on_signal(int number, siginfo_t* about, void* context) {
    if (!catching) {
        // Not of a kernel: as if this handler was not there. The instruction is run again and meets the one before it.
        for (int i = 0; i < 4; i++)
            if (signals[i] == number) sigaction(number, &previous[i], nullptr);
        return;
    }
    void* address = about->si_addr;
    // x86 has no address for a vector access that is not aligned.
    if (number != SIGSEGV || about->si_code == SI_KERNEL)
        fail(Error::misaligned_address, "access to an address that is not aligned to the size of what is there");
    if (block.current().fiber.overflowed_at(address))
        fail(Error::illegal_address, "the thread's local variables do not fit into the emulated stack");
    char place[200] = "behind the end of shared memory";
    if (!block.shared.ends_at(address)) describe_address(address, place, sizeof place);
    fail(Error::illegal_address, "%s %p, %s", access_of(context), address, place);
}

Fault catch_faults(void (*work)()) {
    // A handler cannot run on the stack of a fiber that has overflowed.
    static unsigned char* handler_stack = static_cast<unsigned char*>(malloc(64 << 10));
    stack_t ours = {}, before = {};
    ours.ss_sp = handler_stack;
    ours.ss_size = 64 << 10;
    sigaltstack(&ours, &before);
    struct sigaction action = {};
    action.sa_sigaction = on_signal;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    for (int i = 0; i < 4; i++) sigaction(signals[i], &action, &previous[i]);
    fault = {};
    catching = true;
    if (!sigsetjmp(recovery, 1)) work();
    catching = false;
    for (int i = 0; i < 4; i++) sigaction(signals[i], &previous[i], nullptr);
    sigaltstack(&before, nullptr);
    return fault;
}

}  // namespace emulator
