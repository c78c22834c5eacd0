//! The sources of the stand-ins, as part of the program that builds them.

/// A file: where it lies in this crate, and its text.
pub(crate) struct Source {
    pub(crate) path: &'static str,
    pub(crate) text: &'static str,
}

/// A library: its name as programs open it, the folder of its sources, and another one that it calls.
pub(crate) struct Library {
    pub(crate) name: &'static str,
    pub(crate) folder: &'static str,
    pub(crate) calls: Option<&'static str>,
}

pub(crate) const LIBRARIES: [Library; 3] = [
    Library { name: "libcuda.so.1", folder: "driver", calls: None },
    Library { name: "libnvrtc.so.13", folder: "nvrtc", calls: None },
    Library { name: "libcublasLt.so.13", folder: "cublaslt", calls: Some("libcuda.so.1") },
];

/// What kernels are compiled with.
pub(crate) const DEVICE_HEADERS: &str = "device";

macro_rules! sources {
    ($($path:literal)*) => { &[$(Source { path: $path, text: include_str!(concat!("../", $path)) }),*] };
}

pub(crate) const SOURCES: &[Source] = sources! {
    "device/runtime.hpp"
    "device/builtins.hpp"
    "device/math.hpp"
    "device/prim.cuh"
    "device/module.hpp"
    "driver/api.hpp"
    "driver/api_device.cpp"
    "driver/api_kernel.cpp"
    "driver/api_memory.cpp"
    "driver/api_stream.cpp"
    "driver/async_copy.cpp"
    "driver/async_copy.hpp"
    "driver/block.cpp"
    "driver/block.hpp"
    "driver/collectives.cpp"
    "driver/collectives.hpp"
    "driver/device.cpp"
    "driver/device.hpp"
    "driver/fault.cpp"
    "driver/fault.hpp"
    "driver/fiber.cpp"
    "driver/fiber.hpp"
    "driver/launch.cpp"
    "driver/launch.hpp"
    "driver/memory.cpp"
    "driver/memory.hpp"
    "driver/module.cpp"
    "driver/module.hpp"
    "driver/order.cpp"
    "driver/order.hpp"
    "driver/races.cpp"
    "driver/races.hpp"
    "driver/result.cpp"
    "driver/result.hpp"
    "driver/shared_memory.cpp"
    "driver/shared_memory.hpp"
    "driver/stream.cpp"
    "driver/stream.hpp"
    "driver/warpgroup.cpp"
    "driver/warpgroup.hpp"
    "nvrtc/compile.cpp"
    "nvrtc/compile.hpp"
    "nvrtc/kernels.cpp"
    "nvrtc/kernels.hpp"
    "nvrtc/nvrtc.cpp"
    "nvrtc/options.cpp"
    "nvrtc/options.hpp"
    "nvrtc/patch.cpp"
    "nvrtc/patch.hpp"
    "cublaslt/cublaslt.cpp"
};
