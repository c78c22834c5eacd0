#include "compile.hpp"

#include <dlfcn.h>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <spawn.h>
#include <sys/wait.h>

#include "kernels.hpp"
#include "options.hpp"
#include "patch.hpp"

extern char** environ;

namespace emulator {

namespace fs = std::filesystem;

namespace {

// A folder that is gone when this is.
struct TemporaryFolder {
    fs::path path;

    TemporaryFolder() {
        std::string name = (fs::temp_directory_path() / "emulated-nvrtc-XXXXXX").string();
        if (mkdtemp(name.data())) path = name;
    }
    ~TemporaryFolder() {
        std::error_code ignored;
        if (!path.empty()) fs::remove_all(path, ignored);
    }
};

std::string read(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

bool write(const fs::path& path, const std::string& text) {
    std::ofstream file(path, std::ios::binary);
    file << text;
    return bool(file.flush());
}

// The headers of the emulated device lie beside this library.
fs::path device_headers() {
    Dl_info about;
    dladdr(reinterpret_cast<void*>(&compile), &about);
    return fs::canonical(about.dli_fname).parent_path() / "device";
}

// The exit status of a program, with what it says in a file; or -1.
int run(const std::vector<std::string>& command, const fs::path& output) {
    std::vector<char*> arguments;
    for (const std::string& argument : command) arguments.push_back(const_cast<char*>(argument.c_str()));
    arguments.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, output.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_adddup2(&actions, 1, 2);
    pid_t child;
    int error = posix_spawnp(&child, arguments[0], &actions, nullptr, arguments.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    int status;
    if (error || waitpid(child, &status, 0) != child || !WIFEXITED(status)) return -1;
    return WEXITSTATUS(status);
}

// Writes what the compiler is to see; the product's prim.cuh is left out, so that the emulated device's is found.
bool lay_out(const Program& program, const fs::path& folder, std::string& log) {
    for (const SourceFile& header : program.headers) {
        if (header.name.find('/') != std::string::npos) {
            log = "header " + header.name + ": must be a name without folders";
            return false;
        }
        if (header.name != "prim.cuh" && !write(folder / header.name, header.text)) {
            log = (folder / header.name).string() + " cannot be written";
            return false;
        }
    }
    return write(folder / "source.cpp", with_kernel_table(program.source.name, program.source.text));
}

}  // namespace

Outcome compile(Program& program, const std::vector<std::string>& texts) {
    program.image.clear();
    Options options = parse_options(texts);
    if (!options.unknown.empty()) {
        program.log = "nvrtc: error: unrecognized option " + options.unknown + " found";
        return Outcome::bad_option;
    }
    Program patched = program;
    program.log = apply_patch(patched);
    if (!program.log.empty()) return Outcome::failed;
    TemporaryFolder folder;
    if (folder.path.empty()) {
        program.log = "no temporary folder can be made";
        return Outcome::failed;
    }
    if (!lay_out(patched, folder.path, program.log)) return Outcome::failed;
    std::vector<std::string> command = {
        EMULATOR_COMPILER,
        "-std=c++17",
        EMULATOR_OPTIMISATION,
        "-w",
        "-shared",
        "-fPIC",
        "-fvisibility=hidden",
        "-U_FORTIFY_SOURCE",
        "-fno-strict-aliasing",
        "-ffp-contract=off",
        "-fno-exceptions",
        "-fno-rtti",
        // An access that is not aligned is an error on a GPU, and here an instruction that is none.
        "-fsanitize=alignment",
        "-fsanitize-undefined-trap-on-error",
        // Accesses to memory are reported, to the module's own functions and not to the sanitizer's library.
        "-fsanitize=thread",
        "-nodefaultlibs",
        "-DEMULATOR_ARCHITECTURE=" + options.architecture,
        "-I" + folder.path.string(),
        "-I" + device_headers().string(),
        "-o",
        (folder.path / "module").string(),
        (folder.path / "source.cpp").string(),
        "-lm",
        "-lc",
    };
    command.insert(command.end(), options.definitions.begin(), options.definitions.end());
    int status = run(command, folder.path / "log");
    program.log = status == -1 ? std::string(EMULATOR_COMPILER) + " cannot be run" : read(folder.path / "log");
    if (status != 0) return Outcome::failed;
    program.image = read(folder.path / "module");
    return Outcome::compiled;
}

}  // namespace emulator
