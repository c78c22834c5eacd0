// Streams, which run their work at once; graphs, which keep it; and the capture of the one into the other.
#pragma once
#include <chrono>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "../device/runtime.hpp"
#include "module.hpp"
#include "result.hpp"

namespace emulator {

// One piece of work of a stream or a graph.
struct Work {
    enum class Kind { kernel, copy, fill, library, host };
    Kind kind;
    const Function* function;  // of a kernel
    std::function<void()> run;
};

struct Graph {
    std::vector<Work> work;
};

enum class CaptureMode : int { global = 0, thread_local_ = 1, relaxed = 2 };

struct Stream;

struct Capture {
    Graph graph;
    Stream* origin;
    CaptureMode mode;
    std::thread::id thread;
    bool invalid = false;
};

struct Stream {
    std::shared_ptr<Capture> capture;  // or null
};

struct Event {
    bool timed = true;
    bool recorded = false;
    std::chrono::steady_clock::time_point time = {};
    std::shared_ptr<Capture> capture = {};  // of the stream that it was recorded in last
};

Result create_stream(Stream** stream);
Result destroy_stream(Stream* stream);
// The stream of a handle of the API, where null is the default one; or null.
Stream* find_stream(Stream* handle);

// Runs it, or keeps it if the stream is being captured.
Result enqueue(Stream* handle, Work work);
Result synchronize(Stream* handle);
// For calls that must wait for the device or change what it has: an error while a stream is being captured.
Result forbid_capture(Result error = Result::stream_capture_unsupported);

Result record(Event& event, Stream* handle);
Result wait(Stream* handle, const Event& event);

Result begin_capture(Stream* handle, CaptureMode mode);
Result end_capture(Stream* handle, Graph** graph);
Result launch(const Graph& graph, Stream* handle);
// Gives an instantiated graph the work of another that differs in arguments and sizes only.
Result update(Graph& instance, const Graph& graph);

}  // namespace emulator
