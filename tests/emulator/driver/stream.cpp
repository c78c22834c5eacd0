#include "stream.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <set>

#include "device.hpp"

namespace emulator {

namespace {

Stream default_stream;
std::set<Stream*> streams = {&default_stream};

Result invalidate(Capture& capture, Result error) {
    capture.invalid = true;
    return error;
}

// Whether the stream that is created as number `number` is late.
bool is_late(int number) {
    const char* text = getenv("EMULATOR_STREAMS");
    if (!text || !strcmp(text, "at_once")) return false;
    if (!strcmp(text, "late")) return true;
    if (!strncmp(text, "late:", 5)) return atoi(text + 5) == number;
    fprintf(stderr, "emulated GPU: EMULATOR_STREAMS is %s: must be at_once, late or late:N\n", text);
    abort();
}

// Does the work of a stream up to a place. Work that waits for another stream comes back here for that one.
void run_to(Stream& stream, u64 place) {
    while (stream.done < place && !stream.waiting.empty()) {
        Work work = std::move(stream.waiting.front());
        stream.waiting.pop_front();
        work.run();
        stream.done++;
    }
}

void put(Stream& stream, Work work) {
    stream.asked++;
    if (stream.late) {
        stream.waiting.push_back(std::move(work));
    } else {
        work.run();
        stream.done++;
    }
}

}  // namespace

void drain() {
    for (Stream* stream : streams) run_to(*stream, stream->asked);
}

bool is_over(const Event& event) {
    // What is destroyed was done before.
    return !event.stream || !streams.count(event.stream) || event.stream->done >= event.place;
}

void reach(const Event& event) {
    if (!is_over(event)) run_to(*event.stream, event.place);
}

Result create_stream(Stream** stream) {
    static int created;
    *stream = new Stream;
    (*stream)->late = is_late(created++);
    streams.insert(*stream);
    return Result::success;
}

Result destroy_stream(Stream* stream) {
    if (stream == &default_stream || !streams.count(stream)) return Result::invalid_handle;
    run_to(*stream, stream->asked);
    streams.erase(stream);
    delete stream;
    return Result::success;
}

Stream* find_stream(Stream* handle) {
    // 1 and 2 are the names of the legacy stream and of the calling thread's.
    if (reinterpret_cast<u64>(handle) <= 2) return &default_stream;
    return streams.count(handle) ? handle : nullptr;
}

Result enqueue(Stream* handle, Work work) {
    Stream* stream = find_stream(handle);
    if (!stream) return Result::invalid_handle;
    if (!stream->capture) {
        put(*stream, std::move(work));
        return Result::success;
    }
    if (stream->capture->invalid) return Result::stream_capture_invalidated;
    stream->capture->graph.work.push_back(std::move(work));
    return Result::success;
}

Result synchronize(Stream* handle) {
    Stream* stream = find_stream(handle);
    if (!stream) return Result::invalid_handle;
    if (stream->capture) return invalidate(*stream->capture, Result::stream_capture_unsupported);
    run_to(*stream, stream->asked);
    return sticky_error();
}

Result forbid_capture(Result error) {
    for (Stream* stream : streams) {
        auto capture = stream->capture.get();
        if (!capture || capture->mode == CaptureMode::relaxed) continue;
        if (capture->mode == CaptureMode::thread_local_ && capture->thread != std::this_thread::get_id()) continue;
        return invalidate(*capture, error);
    }
    return Result::success;
}

Result record(Event& event, Stream* handle) {
    Stream* stream = find_stream(handle);
    if (!stream) return Result::invalid_handle;
    event.capture = stream->capture;
    event.recorded = true;
    event.stream = stream;
    event.place = stream->asked;
    event.time = std::chrono::steady_clock::now();
    return Result::success;
}

Result wait(Stream* handle, const Event& event) {
    Stream* stream = find_stream(handle);
    if (!stream) return Result::invalid_handle;
    if (!stream->capture && !event.capture) {
        if (!is_over(event)) put(*stream, {Work::Kind::host, nullptr, [event] { reach(event); }});
        return Result::success;
    }
    if (stream->capture == event.capture) return Result::success;
    // An event of a capture draws the stream into it; one of work that runs for real cannot be waited for in a graph.
    if (!stream->capture)
        stream->capture = event.capture;
    else if (event.recorded)
        return invalidate(*stream->capture, Result::stream_capture_isolation);
    return Result::success;
}

Result begin_capture(Stream* handle, CaptureMode mode) {
    Stream* stream = find_stream(handle);
    if (!stream) return Result::invalid_handle;
    if (stream == &default_stream) return Result::stream_capture_unsupported;
    if (stream->capture) return Result::stream_capture_unsupported;
    stream->capture = std::make_shared<Capture>(Capture{{}, stream, mode, std::this_thread::get_id()});
    return Result::success;
}

Result end_capture(Stream* handle, Graph** graph) {
    *graph = nullptr;
    Stream* stream = find_stream(handle);
    if (!stream) return Result::invalid_handle;
    auto capture = stream->capture;
    if (!capture || capture->origin != stream) return Result::stream_capture_unmatched;
    if (capture->mode != CaptureMode::relaxed && capture->thread != std::this_thread::get_id())
        return Result::stream_capture_wrong_thread;
    for (Stream* joined : streams)
        if (joined->capture == capture) joined->capture = nullptr;
    if (capture->invalid) return Result::stream_capture_invalidated;
    *graph = new Graph(std::move(capture->graph));
    return Result::success;
}

Result launch(const Graph& graph, Stream* handle) {
    for (const Work& work : graph.work)
        if (Result result = enqueue(handle, work); result != Result::success) return result;
    return find_stream(handle) ? Result::success : Result::invalid_handle;
}

Result update(Graph& instance, const Graph& graph) {
    bool same = std::equal(instance.work.begin(), instance.work.end(), graph.work.begin(), graph.work.end(),
                           [](const Work& a, const Work& b) { return a.kind == b.kind && a.function == b.function; });
    if (!same) return Result::graph_exec_update_failure;
    instance.work = graph.work;
    return Result::success;
}

}  // namespace emulator
