// The driver's interface: streams, events, capture and graphs.
#include <set>

#include "api.hpp"
#include "stream.hpp"

using namespace emulator;

namespace {

constexpr unsigned disable_timing = 2;  // CU_EVENT_DISABLE_TIMING

std::set<Event*> events;
std::set<Graph*> graphs, instances;

// Calls `work` with what a handle means, if it means something.
template <class T, class F> Result with(const std::set<T*>& live, T* handle, F work) {
    return in_context([&] { return live.count(handle) ? work(*handle) : Result::invalid_handle; });
}

template <class T> Result destroy(std::set<T*>& live, T* handle) {
    return in_context([&] {
        if (!live.erase(handle)) return Result::invalid_handle;
        delete handle;
        return Result::success;
    });
}

}  // namespace

API Result cuStreamCreate(Stream** stream, unsigned) {
    return in_context([&] { return create_stream(stream); });
}

API Result cuStreamCreateWithPriority(Stream** stream, unsigned, int) {
    return in_context([&] { return create_stream(stream); });
}

API Result cuStreamDestroy_v2(Stream* stream) {
    return in_context([&] { return destroy_stream(stream); });
}

API Result cuStreamSynchronize(Stream* stream) {
    return in_context([&] { return synchronize(stream); });
}

API Result cuStreamQuery(Stream* stream) {
    return in_context([&] { return synchronize(stream); });
}

API Result cuStreamWaitEvent(Stream* stream, Event* event, unsigned) {
    return with(events, event, [&](Event& event) { return wait(stream, event); });
}

API Result cuLaunchHostFunc(Stream* stream, void (*function)(void*), void* data) {
    return in_context([&] { return enqueue(stream, {Work::Kind::host, nullptr, [=] { function(data); }}); });
}

API Result cuEventCreate(Event** event, unsigned flags) {
    return in_context([&] {
        *event = new Event{!(flags & disable_timing)};
        events.insert(*event);
        return Result::success;
    });
}

API Result cuEventDestroy_v2(Event* event) { return destroy(events, event); }

API Result cuEventRecord(Event* event, Stream* stream) {
    return with(events, event, [&](Event& event) { return record(event, stream); });
}

API Result cuEventSynchronize(Event* event) {
    return with(events, event, [&](Event& event) {
        if (event.capture) return Result::captured_event;
        reach(event);
        return sticky_error();
    });
}

API Result cuEventQuery(Event* event) {
    return with(events, event, [&](Event& event) {
        if (event.capture) return Result::captured_event;
        return is_over(event) ? Result::success : Result::not_ready;
    });
}

// Of the host's clock: a number that is there and not negative, and says nothing of a GPU.
API Result cuEventElapsedTime(float* milliseconds, Event* start, Event* end) {
    return with(events, start, [&](Event& start) {
        return with(events, end, [&](Event& end) {
            if (!start.timed || !end.timed || !start.recorded || !end.recorded) return Result::invalid_handle;
            if (start.capture || end.capture) return Result::captured_event;
            *milliseconds = std::chrono::duration<float, std::milli>(end.time - start.time).count();
            return Result::success;
        });
    });
}

API Result cuEventElapsedTime_v2(float* milliseconds, Event* start, Event* end) {
    return cuEventElapsedTime(milliseconds, start, end);
}

API Result cuStreamBeginCapture_v2(Stream* stream, CaptureMode mode) {
    return in_context([&] { return begin_capture(stream, mode); });
}

API Result cuStreamEndCapture(Stream* stream, Graph** graph) {
    return in_context([&] {
        Result result = end_capture(stream, graph);
        if (*graph) graphs.insert(*graph);
        return result;
    });
}

API Result cuStreamIsCapturing(Stream* handle, int* status) {
    return in_context([&] {
        Stream* stream = find_stream(handle);
        if (!stream) return Result::invalid_handle;
        *status = !stream->capture ? 0 : stream->capture->invalid ? 2 : 1;
        return Result::success;
    });
}

API Result cuGraphDestroy(Graph* graph) { return destroy(graphs, graph); }

API Result cuGraphGetNodes(Graph* graph, void** nodes, size_t* count) {
    return with(graphs, graph, [&](Graph& graph) {
        if (nodes) return Result::not_supported;
        *count = graph.work.size();
        return Result::success;
    });
}

API Result cuGraphInstantiateWithFlags(Graph** instance, Graph* graph, u64) {
    return with(graphs, graph, [&](Graph& graph) {
        *instance = new Graph(graph);
        instances.insert(*instance);
        return Result::success;
    });
}

API Result cuGraphExecDestroy(Graph* instance) { return destroy(instances, instance); }

API Result cuGraphUpload(Graph* instance, Stream*) {
    return with(instances, instance, [](Graph&) { return Result::success; });
}

API Result cuGraphLaunch(Graph* instance, Stream* stream) {
    return with(instances, instance, [&](Graph& instance) { return launch(instance, stream); });
}

// CUgraphExecUpdateResultInfo.
struct UpdateInfo {
    int result;
    void *node, *from_node;
};

API Result cuGraphExecUpdate_v2(Graph* instance, Graph* graph, UpdateInfo* info) {
    return with(instances, instance, [&](Graph& instance) {
        return with(graphs, graph, [&](Graph& graph) {
            Result result = update(instance, graph);
            *info = {result == Result::success ? 0 : 2, nullptr, nullptr};  // 2: the topology has changed
            return result;
        });
    });
}
