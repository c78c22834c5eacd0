// The options of NVRTC that kernels are compiled with.
#pragma once
#include <string>
#include <vector>

namespace emulator {

struct Options {
    std::string architecture = "75";       // NVRTC's own default; 90 for sm_90
    std::vector<std::string> definitions;  // -DNAME=VALUE, for the C++ compiler as well
    std::string unknown;                   // the first option that NVRTC does not know, or that means nothing here
};

Options parse_options(const std::vector<std::string>& options);

}  // namespace emulator
