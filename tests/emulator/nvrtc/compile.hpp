// From a kernel's source to a module: the source and its headers in a temporary folder, and the system's C++ compiler.
#pragma once
#include <string>
#include <vector>

namespace emulator {

struct SourceFile {
    std::string name, text;
};

struct Program {
    SourceFile source;
    std::vector<SourceFile> headers;
    std::string log, image, ptx;
};

enum class Outcome { compiled, bad_option, failed };

// Fills the program's image, or its log with what is wrong.
Outcome compile(Program& program, const std::vector<std::string>& options);

}  // namespace emulator
