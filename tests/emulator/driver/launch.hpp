// Launches: a kernel with its arguments over a grid.
#pragma once
#include <memory>
#include <vector>

#include "module.hpp"
#include "result.hpp"

namespace emulator {

// Arguments are copied when the launch is asked for, as it may run later, and more than once, from a graph.
struct Launch {
    const Function* function;
    dim3 grid, block;
    u32 dynamic_shared;
    std::vector<std::unique_ptr<u8[]>> arguments;
};

// Checks what a real driver does before it launches, and copies the arguments.
Result prepare(Launch& launch, void** arguments);
// Runs it to its end. A kernel that fails loses the device, and a line of stderr says why.
void run(const Launch& launch);

}  // namespace emulator
