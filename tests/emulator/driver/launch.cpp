#include "launch.hpp"

#include <cstdio>
#include <cstring>

#include "async_copy.hpp"
#include "block.hpp"
#include "collectives.hpp"
#include "device.hpp"
#include "fault.hpp"
#include "memory.hpp"
#include "order.hpp"
#include "races.hpp"
#include "warpgroup.hpp"

namespace emulator {

Runtime runtime = {
    nullptr,
    {},
    {},
    {},
    nullptr,
    nullptr,
    0,
    0,
    [](Site site) { block.sync_threads(site); },
    sync_warp,
    shuffle,
    ballot,
    load_matrices,
    multiply_bf16,
    multiply_tf32,
    warpgroup_arrive,
    warpgroup_multiply,
    warpgroup_commit,
    warpgroup_wait,
    [] { fence_for_warpgroups(block.current()); },
    copy_async,
    copy_async_commit,
    copy_async_wait,
    [](Site site, Error error, const char* what) { fail_at(site, error, "%s", what); },
    [](const void* address, u32 bytes, bool write) {
        on_access(address, bytes, write);
        if (write) wrote_unfenced(block.current(), address, bytes);
    },
};

// What the fibers of the launch that runs call.
static struct {
    void (*call)(void**);
    void** arguments;
    u64 blocks;
} running;

Result prepare(Launch& launch, void** arguments) {
    const Kernel& kernel = *launch.function->kernel;
    auto [grid, block] = std::pair(launch.grid, launch.block);
    u64 threads = (u64)block.x * block.y * block.z;
    if (!grid.x || !grid.y || !grid.z || !threads) return Result::invalid_value;
    if (grid.x > 0x7fffffff || grid.y > 65535 || grid.z > 65535) return Result::invalid_value;
    if (block.x > 1024 || block.y > 1024 || block.z > 64 || threads > max_block_size) return Result::invalid_value;
    if (launch.dynamic_shared > launch.function->max_dynamic_shared) return Result::invalid_value;
    if (threads > kernel.max_threads) return Result::launch_out_of_resources;
    auto sizes = launch.function->parameter_sizes();
    if (!sizes.empty() && !arguments) return Result::invalid_value;
    for (size_t i = 0; i < sizes.size(); i++) {
        if (!arguments[i]) return Result::invalid_value;
        auto copy = std::make_unique<u8[]>(sizes[i]);
        memcpy(copy.get(), arguments[i], sizes[i]);
        launch.arguments.push_back(std::move(copy));
    }
    return Result::success;
}

static void run_blocks() {
    static Order order;
    dim3 grid = runtime.grid_size;
    order.begin_launch(running.blocks);
    for (u64 index = 0; index < running.blocks; index++) {
        u64 number = order.block(index, running.blocks);
        runtime.block_index = {u32(number % grid.x), u32(number / grid.x % grid.y), u32(number / grid.x / grid.y)};
        block.run(order);
    }
}

static void report(const Launch& launch, const Fault& fault) {
    dim3 at = runtime.block_index, thread = runtime.thread->index;
    fprintf(stderr, "emulated GPU: kernel %s, block (%u, %u, %u), thread (%u, %u, %u): %s: %s\n",
            launch.function->kernel->name, at.x, at.y, at.z, thread.x, thread.y, thread.z,
            name_of(static_cast<Result>(fault.error)), fault.text);
}

void run(const Launch& launch) {
    count_kernel();
    if (sticky_error() != Result::success) return;
    std::vector<void*> arguments;
    for (const auto& argument : launch.arguments) arguments.push_back(argument.get());
    const LoadedModule& module = *launch.function->module;
    dim3 grid = launch.grid;
    running = {launch.function->kernel->call, arguments.data(), (u64)grid.x * grid.y * grid.z};
    u8* static_shared = static_shared_memory(module);
    block.shared.lay_out(launch.dynamic_shared, static_shared, module.shared_bytes);
    block.lay_out(launch.block, [] { running.call(running.arguments); });
    runtime.grid_size = grid;
    runtime.block_size = launch.block;
    runtime.dynamic_shared = block.shared.dynamic();
    runtime.static_shared = static_shared;
    runtime.dynamic_shared_bytes = launch.dynamic_shared;
    runtime.static_shared_bytes = module.shared_bytes;
    Fault fault = catch_faults(run_blocks);
    if (fault.error == Error::none && find_damage(fault.text, sizeof fault.text - 20)) {
        strcat(fault.text, " was written to");
        fault.error = Error::illegal_address;
    }
    if (fault.error != Error::none) {
        block.abandon();
        report(launch, fault);
        lose_device(static_cast<Result>(fault.error));
    }
}

}  // namespace emulator
