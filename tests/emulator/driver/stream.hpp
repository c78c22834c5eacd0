// Streams, which run their work at once or as late as they may; graphs, which keep it; and the capture of the one into the other.
#pragma once
#include <chrono>
#include <deque>
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
    // As the environment variable EMULATOR_STREAMS says, see create_stream.
    bool late = false;
    std::deque<Work> waiting;
    u64 asked = 0, done = 0;
};

struct Event {
    bool timed = true;
    bool recorded = false;
    std::chrono::steady_clock::time_point time = {};
    // The place that it was recorded at last: after so many pieces of work of this stream.
    Stream* stream = nullptr;
    u64 place = 0;
    std::shared_ptr<Capture> capture = {};  // of the stream that it was recorded in last
};

// Its work is done when it is asked for; with EMULATOR_STREAMS=late when somebody waits for it, and with late:N so in stream
// number N alone, in the order of creation. Who does not wait, or waits for the wrong thing, then reads what is not there yet, or
// what was there before.
Result create_stream(Stream** stream);
Result destroy_stream(Stream* stream);
// The stream of a handle of the API, where null is the default one; or null.
Stream* find_stream(Stream* handle);

// Runs it, or keeps it if the stream is being captured.
Result enqueue(Stream* handle, Work work);
Result synchronize(Stream* handle);
// Does all work of all streams.
void drain();
// For calls that must wait for the device or change what it has: an error while a stream is being captured.
Result forbid_capture(Result error = Result::stream_capture_unsupported);

Result record(Event& event, Stream* handle);
Result wait(Stream* handle, const Event& event);
// Whether the work before it is done.
bool is_over(const Event& event);
// Does the work before it.
void reach(const Event& event);

Result begin_capture(Stream* handle, CaptureMode mode);
Result end_capture(Stream* handle, Graph** graph);
Result launch(const Graph& graph, Stream* handle);
// Gives an instantiated graph the work of another that differs in arguments and sizes only.
Result update(Graph& instance, const Graph& graph);

}  // namespace emulator
