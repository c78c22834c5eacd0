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

// The same for what was called somewhere in a kernel, which the text begins with.
[[noreturn]] __attribute__((format(printf, 3, 4))) void fail_at(Site site, Error error, const char* format, ...);
// The file's name without its folders.
const char* file_of(Site site);

// Runs `work`, in which fail and the processor's own faults (an address that is nobody's, one that is not aligned) end
// in an answer rather than in the end of the process.
Fault catch_faults(void (*work)());

}  // namespace emulator
