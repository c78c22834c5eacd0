#include "options.hpp"

#include <algorithm>

namespace emulator {

// The rest of an option that begins with one of `prefixes`.
static bool begins(const std::string& option, std::initializer_list<const char*> prefixes, std::string* rest) {
    for (const std::string prefix : prefixes) {
        if (option.compare(0, prefix.size(), prefix) == 0) {
            *rest = option.substr(prefix.size());
            return true;
        }
    }
    return false;
}

Options parse_options(const std::vector<std::string>& texts) {
    Options options;
    std::string rest;
    for (size_t i = 0; i < texts.size(); i++) {
        const std::string& option = texts[i];
        if (begins(option, {"--gpu-architecture=sm_", "-arch=sm_"}, &rest)) {
            bool number = !rest.empty() && std::all_of(rest.begin(), rest.end() - 1, isdigit);
            // Of letters there is sm_90a's: its instructions are emulated.
            if (rest == "90a") options.definitions.push_back("-D__CUDA_ARCH_FEAT_SM90_ALL");
            while (!rest.empty() && !isdigit(rest.back())) rest.pop_back();
            if (!number || rest.empty()) options.unknown = option;
            options.architecture = rest;
        } else if (begins(option, {"--define-macro=", "-D"}, &rest) && !rest.empty()) {
            options.definitions.push_back("-D" + rest);
        } else if (begins(option,
                          {"--std=", "-std=", "--ptxas-options=", "-Xptxas=", "--fmad=", "-fmad=", "--use_fast_math",
                           "-use_fast_math", "--maxrregcount="},
                          &rest) ||
                   begins(option,
                          {"-default-device", "--device-as-default-execution-space", "-lineinfo",
                           "--generate-line-info", "-G", "--device-debug", "-w", "--disable-warnings",
                           "--extra-device-vectorization", "--split-compile="},
                          &rest)) {
            // Of machine code for a GPU, or what is so here anyway.
        } else if ((option == "--ptxas-options" || option == "-Xptxas") && i + 1 < texts.size()) {
            i++;
        } else if (options.unknown.empty()) {
            options.unknown = option;
        }
    }
    return options;
}

}  // namespace emulator
