// The driver's interface: initialisation, devices, contexts, errors.
#include <cstdio>
#include <cstring>

#include "api.hpp"
#include "memory.hpp"
#include "stream.hpp"

using namespace emulator;

static int retained;          // references to the primary context
static char primary_context;  // its address is its handle

API Result cuInit(unsigned) {
    std::lock_guard<std::recursive_mutex> guard(lock);
    if (!present()) return Result::no_device;
    initialized = true;
    return Result::success;
}

API Result cuDriverGetVersion(int* version) {
    *version = 13000;
    return Result::success;
}

API Result cuDeviceGetCount(int* count) {
    return locked([&] {
        *count = 1;
        return Result::success;
    });
}

API Result cuDeviceGet(int* device, int ordinal) {
    return locked([&] {
        *device = ordinal;
        return ordinal == 0 ? Result::success : Result::invalid_device;
    });
}

API Result cuDeviceGetName(char* name, int length, int device) {
    return locked([&] {
        if (device != 0) return Result::invalid_device;
        snprintf(name, length, "emulated GPU");
        return Result::success;
    });
}

API Result cuDeviceGetUuid_v2(void* uuid, int device) {
    return locked([&] {
        if (device != 0) return Result::invalid_device;
        memcpy(uuid, "emulated GPU    ", 16);
        return Result::success;
    });
}

API Result cuDeviceTotalMem_v2(size_t* bytes, int device) {
    return locked([&] {
        if (device != 0) return Result::invalid_device;
        *bytes = total_memory();
        return Result::success;
    });
}

API Result cuDeviceGetAttribute(int* value, int number, int device) {
    return locked([&] {
        if (device != 0) return Result::invalid_device;
        return attribute(value, number) ? Result::success : Result::invalid_value;
    });
}

API Result cuDevicePrimaryCtxRetain(void** context, int device) {
    return locked([&] {
        if (device != 0) return Result::invalid_device;
        if (sticky_error() != Result::success) return sticky_error();
        retained++;
        *context = &primary_context;
        return Result::success;
    });
}

API Result cuDevicePrimaryCtxRelease_v2(int device) {
    return locked([&] {
        if (device != 0) return Result::invalid_device;
        if (retained == 0) return Result::invalid_context;
        retained--;
        return Result::success;
    });
}

API Result cuDevicePrimaryCtxGetState(int device, unsigned* flags, int* active) {
    return locked([&] {
        if (device != 0) return Result::invalid_device;
        *flags = 0;
        *active = retained > 0;
        return Result::success;
    });
}

API Result cuCtxSetCurrent(void* context) {
    return locked([&] {
        if (context && (context != &primary_context || retained == 0)) return Result::invalid_context;
        current_context = context;
        return Result::success;
    });
}

API Result cuCtxGetCurrent(void** context) {
    return locked([&] {
        *context = current_context;
        return Result::success;
    });
}

API Result cuCtxGetDevice(int* device) {
    return in_context([&] {
        *device = 0;
        return Result::success;
    });
}

API Result cuCtxGetStreamPriorityRange(int* least, int* greatest) {
    return in_context([&] {
        *least = 0;
        *greatest = -5;
        return Result::success;
    });
}

API Result cuCtxSynchronize() {
    return in_context([] {
        Result result = forbid_capture();
        if (result != Result::success) return result;
        drain();
        return sticky_error();
    });
}

API Result cuGetErrorName(Result error, const char** name) {
    *name = name_of(error);
    return *name ? Result::success : Result::invalid_value;
}

API Result cuGetErrorString(Result error, const char** meaning) {
    *meaning = meaning_of(error);
    return *meaning ? Result::success : Result::invalid_value;
}
