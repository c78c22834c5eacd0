#include "patch.hpp"

#include <cstdlib>
#include <fstream>

namespace emulator {

static std::string unescape(const std::string& text) {
    std::string plain;
    for (size_t i = 0; i < text.size(); i++) {
        bool escape = text[i] == '\\' && i + 1 < text.size() && (text[i + 1] == 'n' || text[i + 1] == 't');
        if (escape)
            plain += text[++i] == 'n' ? '\n' : '\t';
        else
            plain += text[i];
    }
    return plain;
}

// How often it was replaced.
static int replace_all(std::string& text, const std::string& from, const std::string& to) {
    int count = 0;
    for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
        text.replace(at, from.size(), to);
        count++;
    }
    return count;
}

std::string apply_patch(Program& program) {
    const char* path = getenv("EMULATOR_PATCH");
    if (!path || !*path) return "";
    std::ifstream file(path);
    if (!file) return std::string("EMULATOR_PATCH: ") + path + " cannot be read";
    std::string line;
    for (int number = 1; std::getline(file, line); number++) {
        if (line.empty()) continue;
        std::string at = std::string("EMULATOR_PATCH: ") + path + ":" + std::to_string(number) + ": ";
        size_t first = line.find('\t'), second = line.find('\t', first + 1);
        if (first == std::string::npos || second == std::string::npos) return at + "must be NAME<TAB>FROM<TAB>TO";
        std::string name = line.substr(0, first), from = unescape(line.substr(first + 1, second - first - 1)),
                    to = unescape(line.substr(second + 1));
        if (from.empty()) return at + "what is replaced is empty";
        if (name == "prim.cuh") return at + "prim.cuh is the emulated device's own here, and is not patched";
        auto patch = [&](SourceFile& source) { return source.name != name || replace_all(source.text, from, to) > 0; };
        bool occurs = patch(program.source);
        for (SourceFile& header : program.headers) occurs &= patch(header);
        if (!occurs) return at + "does not occur in " + name + ": " + from;
    }
    return "";
}

}  // namespace emulator
