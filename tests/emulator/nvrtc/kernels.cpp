#include "kernels.hpp"

#include <sstream>
#include <vector>

namespace emulator {

namespace {

struct Declaration {
    std::string threads, name;
};

// Whether a line declares a kernel.
bool declares(const std::string& line, Declaration& kernel) {
    static const std::string begin = "KERNEL(";
    if (line.compare(0, begin.size(), begin) != 0) return false;
    size_t depth = 1, at = begin.size();
    for (; at < line.size() && depth; at++) depth += (line[at] == '(') - (line[at] == ')');
    size_t name = line.find_first_not_of(' ', at), open = line.find('(', at);
    if (depth || name == std::string::npos || open == std::string::npos) return false;
    kernel = {line.substr(begin.size(), at - 1 - begin.size()),
              line.substr(name, line.find_first_of(" (", name) - name)};
    return true;
}

std::string line_directive(int line, const std::string& name) {
    return "#line " + std::to_string(line) + " \"" + name + "\"\n";
}

}  // namespace

std::string with_kernel_table(const std::string& name, const std::string& source) {
    std::istringstream lines(source);
    std::string text = line_directive(1, name), line;
    std::vector<Declaration> kernels;
    for (int number = 1; std::getline(lines, line); number++) {
        Declaration kernel;
        if (declares(line, kernel)) {
            text += "#define EMULATOR_HAS_" + kernel.name + "\n" + line_directive(number, name);
            kernels.push_back(kernel);
        }
        text += line + "\n";
    }
    text += line_directive(1, "table of kernels");
    text += "#include \"module.hpp\"\nstatic const emulator::Kernel emulated_kernels[] = {\n";
    for (const Declaration& kernel : kernels)
        text += "#ifdef EMULATOR_HAS_" + kernel.name + "\nEMULATED_KERNEL(" + kernel.name + ", (" + kernel.threads +
                "))\n#endif\n";
    return text + "{}};\nEMULATED_MODULE(emulated_kernels)\n";
}

}  // namespace emulator
