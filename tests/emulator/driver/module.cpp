#include "module.hpp"

#include <cstdio>
#include <cstring>
#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

#include "block.hpp"
#include "device.hpp"

namespace emulator {

std::vector<u32> Function::parameter_sizes() const {
    std::vector<u32> sizes;
    for (const u32* size = kernel->parameter_sizes; *size; size++) sizes.push_back(*size);
    return sizes;
}

static u32 thread_local_bytes(const u8* image, const Elf64_Ehdr& header) {
    for (u32 i = 0; i < header.e_phnum; i++) {
        Elf64_Phdr segment;
        memcpy(&segment, image + header.e_phoff + i * header.e_phentsize, sizeof segment);
        if (segment.p_type == PT_TLS) return segment.p_memsz;
    }
    return 0;
}

// A library can be opened by path only; a file in memory has one. It stays open as long as the library is, since a path
// that was used before would mean the library that it meant then.
static int keep_in_file(const u8* image, size_t bytes) {
    int file = memfd_create("emulated-module", MFD_CLOEXEC);
    for (size_t done = 0; file >= 0 && done < bytes;) {
        ssize_t written = write(file, image + done, bytes - done);
        if (written <= 0) {
            close(file);
            return -1;
        }
        done += written;
    }
    return file;
}

Result load_module(LoadedModule** result, const void* data) {
    auto image = static_cast<const u8*>(data);
    Elf64_Ehdr header;
    if (memcmp(image, ELFMAG, SELFMAG)) return Result::invalid_image;
    memcpy(&header, image, sizeof header);
    if (header.e_type != ET_DYN) return Result::no_binary_for_gpu;
    // The table of sections is what a linker writes last.
    int file = keep_in_file(image, header.e_shoff + header.e_shnum * header.e_shentsize);
    if (file < 0) return Result::operating_system;
    std::string path = "/proc/self/fd/" + std::to_string(file);
    void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        fprintf(stderr, "emulated GPU: a module does not load: %s\n", dlerror());
        close(file);
        return Result::invalid_image;
    }
    auto refuse = [&] {
        dlclose(handle);
        close(file);
        return Result::no_binary_for_gpu;
    };
    auto begin = reinterpret_cast<const Module* (*)(Runtime*)>(dlsym(handle, "emulator_module"));
    if (!begin) return refuse();
    const Module* module = begin(&runtime);
    // Machine code runs on GPUs of its major version, from its minor version on.
    u32 device = capability();
    if (module->architecture / 10 != device / 10 || module->architecture > device) return refuse();
    auto loaded = new LoadedModule{handle, file, module, thread_local_bytes(image, header), {}};
    for (const Kernel* kernel = module->kernels; kernel->name; kernel++)
        loaded->functions.push_back(new Function{kernel, loaded, default_shared_memory});
    *result = loaded;
    return Result::success;
}

Result unload_module(LoadedModule* module) {
    for (Function* function : module->functions) delete function;
    dlclose(module->handle);
    close(module->file);
    delete module;
    return Result::success;
}

Result find_function(Function** result, LoadedModule* module, const char* name) {
    for (Function* function : module->functions) {
        if (!strcmp(function->kernel->name, name)) {
            *result = function;
            return Result::success;
        }
    }
    return Result::not_found;
}

u8* static_shared_memory(const LoadedModule& module) {
    module.module->first_shared_byte();
    void* data = nullptr;
    dlinfo(module.handle, RTLD_DI_TLS_DATA, &data);
    return static_cast<u8*>(data);
}

}  // namespace emulator
