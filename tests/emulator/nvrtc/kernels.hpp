// Kernels as they are found in a source's text.
#pragma once
#include <string>

namespace emulator {

// The source with the module's table of kernels behind it. A kernel is a line that begins `KERNEL(threads) name(`; one
// that the preprocessor leaves out is left out of the table as well.
std::string with_kernel_table(const std::string& name, const std::string& source);

}  // namespace emulator
