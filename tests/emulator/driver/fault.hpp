// How an emulated kernel ends when it has done what a GPU would not forgive.
#pragma once
#include "../device/runtime.hpp"

namespace emulator {

struct Fault {
    Error error = Error::none;
    char text[400] = "";
};

// Ends the launch that runs: its remaining threads never go on. `format` is printf's.
[[noreturn]] __attribute__((format(printf, 2, 3))) void fail(Error error, const char* format, ...);

// Runs `work`, in which fail and the processor's own faults (an address that is nobody's, one that is not aligned) end in
// an answer rather than in the end of the process.
Fault catch_faults(void (*work)());

}  // namespace emulator
