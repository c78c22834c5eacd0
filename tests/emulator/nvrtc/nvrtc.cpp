// A stand-in for libnvrtc: its interface, over the system's C++ compiler.
#include <cstring>
#include <memory>
#include <string>

#include "compile.hpp"

#define API extern "C" __attribute__((visibility("default")))

using emulator::Program;

// nvrtcResult.
enum class Nvrtc : int {
    success = 0,
    out_of_memory = 1,
    program_creation_failure = 2,
    invalid_input = 3,
    invalid_program = 4,
    invalid_option = 5,
    compilation = 6,
};

API const char* nvrtcGetErrorString(Nvrtc result) {
    switch (result) {
    case Nvrtc::success: return "NVRTC_SUCCESS";
    case Nvrtc::out_of_memory: return "NVRTC_ERROR_OUT_OF_MEMORY";
    case Nvrtc::program_creation_failure: return "NVRTC_ERROR_PROGRAM_CREATION_FAILURE";
    case Nvrtc::invalid_input: return "NVRTC_ERROR_INVALID_INPUT";
    case Nvrtc::invalid_program: return "NVRTC_ERROR_INVALID_PROGRAM";
    case Nvrtc::invalid_option: return "NVRTC_ERROR_INVALID_OPTION";
    case Nvrtc::compilation: return "NVRTC_ERROR_COMPILATION";
    }
    return "NVRTC_ERROR unknown";
}

API Nvrtc nvrtcVersion(int* major, int* minor) {
    *major = 13;
    *minor = 0;
    return Nvrtc::success;
}

API Nvrtc nvrtcCreateProgram(Program** program, const char* source, const char* name, int headers,
                             const char* const* contents, const char* const* names) {
    if (!program || !source || headers < 0) return Nvrtc::invalid_input;
    auto created = std::make_unique<Program>();
    created->source = {name && *name ? name : "default_program", source};
    for (int i = 0; i < headers; i++) created->headers.push_back({names[i], contents[i]});
    *program = created.release();
    return Nvrtc::success;
}

API Nvrtc nvrtcDestroyProgram(Program** program) {
    if (!program || !*program) return Nvrtc::invalid_program;
    delete *program;
    *program = nullptr;
    return Nvrtc::success;
}

API Nvrtc nvrtcCompileProgram(Program* program, int count, const char* const* options) {
    if (!program) return Nvrtc::invalid_program;
    switch (emulator::compile(*program, {options, options + count})) {
    case emulator::Outcome::compiled: return Nvrtc::success;
    case emulator::Outcome::bad_option: return Nvrtc::invalid_option;
    case emulator::Outcome::failed: break;
    }
    return Nvrtc::compilation;
}

static Nvrtc size(Program* program, const std::string Program::* text, size_t terminator, size_t* bytes) {
    if (!program || !bytes) return Nvrtc::invalid_input;
    *bytes = (program->*text).size() + terminator;
    return Nvrtc::success;
}

static Nvrtc get(Program* program, const std::string Program::* text, size_t terminator, char* to) {
    if (!program || !to) return Nvrtc::invalid_input;
    memcpy(to, (program->*text).c_str(), (program->*text).size() + terminator);
    return Nvrtc::success;
}

API Nvrtc nvrtcGetProgramLogSize(Program* program, size_t* bytes) { return size(program, &Program::log, 1, bytes); }
API Nvrtc nvrtcGetProgramLog(Program* program, char* log) { return get(program, &Program::log, 1, log); }
API Nvrtc nvrtcGetCUBINSize(Program* program, size_t* bytes) { return size(program, &Program::image, 0, bytes); }
API Nvrtc nvrtcGetCUBIN(Program* program, char* image) { return get(program, &Program::image, 0, image); }
// There is no PTX: an empty text.
API Nvrtc nvrtcGetPTXSize(Program* program, size_t* bytes) { return size(program, &Program::ptx, 1, bytes); }
API Nvrtc nvrtcGetPTX(Program* program, char* ptx) { return get(program, &Program::ptx, 1, ptx); }
