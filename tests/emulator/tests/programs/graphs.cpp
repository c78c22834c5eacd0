// Capture of a stream, and graphs.
#include "device.hpp"

struct Fixture {
    void *stream, *function;
    Buffer<float> x, sums;

    Fixture() : x((open_device(), std::vector<float>(256, 1))), sums(128) {
        CHECK_EQUAL(cuStreamCreate(&stream, 1), SUCCESS);
        function = kernel(load_kernels("pipeline"), "sum_rows");
    }
    int run(int rows) { return launch(function, {1}, {128}, 1536, stream, x.address, sums.address, rows); }
    void* capture(int rows) {
        void* graph;
        CHECK_EQUAL(cuStreamBeginCapture_v2(stream, 0), SUCCESS);
        CHECK_EQUAL(run(rows), SUCCESS);
        CHECK_EQUAL(cuMemcpyDtoDAsync_v2(x.address, sums.address, 512, stream), SUCCESS);
        CHECK_EQUAL(cuStreamEndCapture(stream, &graph), SUCCESS);
        return graph;
    }
};

// x's first row becomes the sum of both, at each launch.
CASE(graph) {
    Fixture f;
    CHECK_EQUAL(cuMemsetD8Async(f.sums.address, 0, 512, f.stream), SUCCESS);
    void *graph = f.capture(2), *instance;
    for (float sum : f.sums.read()) CHECK_EQUAL(sum, 0);  // nothing has run
    CHECK_EQUAL(cuGraphInstantiateWithFlags(&instance, graph, 0), SUCCESS);
    CHECK_EQUAL(cuGraphDestroy(graph), SUCCESS);
    for (int i = 0; i < 3; i++) CHECK_EQUAL(cuGraphLaunch(instance, f.stream), SUCCESS);
    CHECK_EQUAL(cuStreamSynchronize(f.stream), SUCCESS);
    for (float sum : f.sums.read()) CHECK_EQUAL(sum, 4);

    // Other arguments in the same places; then other work.
    struct {
        int result;
        void *a, *b;
    } info;
    graph = f.capture(1);
    CHECK_EQUAL(cuGraphExecUpdate_v2(instance, graph, &info), SUCCESS);
    CHECK_EQUAL(cuGraphLaunch(instance, f.stream), SUCCESS);
    for (float sum : f.sums.read()) CHECK_EQUAL(sum, 4);
    CHECK_EQUAL(cuStreamBeginCapture_v2(f.stream, 0), SUCCESS);
    CHECK_EQUAL(f.run(1), SUCCESS);
    CHECK_EQUAL(cuStreamEndCapture(f.stream, &graph), SUCCESS);
    CHECK_EQUAL(cuGraphExecUpdate_v2(instance, graph, &info), GRAPH_EXEC_UPDATE_FAILURE);
    CHECK_EQUAL(cuGraphExecDestroy(instance), SUCCESS);
}

CASE(capture_rules) {
    Fixture f;
    void* graph;
    Address address;
    auto invalidates = [&](int answer, int error) {
        CHECK_EQUAL(answer, error);
        CHECK_EQUAL(f.run(1), STREAM_CAPTURE_INVALIDATED);
        CHECK_EQUAL(cuStreamEndCapture(f.stream, &graph), STREAM_CAPTURE_INVALIDATED);
        CHECK(graph == nullptr);
        CHECK_EQUAL(f.run(1), SUCCESS);
    };
    CHECK_EQUAL(cuStreamEndCapture(f.stream, &graph), STREAM_CAPTURE_UNMATCHED);
    CHECK_EQUAL(cuStreamBeginCapture_v2(f.stream, 0), SUCCESS);
    invalidates(cuMemAlloc_v2(&address, 16), STREAM_CAPTURE_UNSUPPORTED);
    CHECK_EQUAL(cuStreamBeginCapture_v2(f.stream, 1), SUCCESS);
    invalidates(cuStreamSynchronize(f.stream), STREAM_CAPTURE_UNSUPPORTED);
    CHECK_EQUAL(cuStreamBeginCapture_v2(f.stream, 1), SUCCESS);
    invalidates(cuCtxSynchronize(), STREAM_CAPTURE_UNSUPPORTED);
    // An event of before cannot be waited for; one of the capture draws another stream into it.
    void *event, *other;
    CHECK_EQUAL(cuEventCreate(&event, 0), SUCCESS);
    CHECK_EQUAL(cuEventRecord(event, f.stream), SUCCESS);
    CHECK_EQUAL(cuStreamBeginCapture_v2(f.stream, 1), SUCCESS);
    invalidates(cuStreamWaitEvent(f.stream, event, 0), STREAM_CAPTURE_ISOLATION);
    CHECK_EQUAL(cuStreamCreate(&other, 1), SUCCESS);
    CHECK_EQUAL(cuStreamBeginCapture_v2(f.stream, 1), SUCCESS);
    CHECK_EQUAL(cuEventRecord(event, f.stream), SUCCESS);
    CHECK_EQUAL(cuEventSynchronize(event), CAPTURED_EVENT);
    CHECK_EQUAL(cuStreamWaitEvent(other, event, 0), SUCCESS);
    int status;
    CHECK_EQUAL(cuStreamIsCapturing(other, &status), SUCCESS);
    CHECK_EQUAL(status, 1);
    CHECK_EQUAL(cuStreamEndCapture(f.stream, &graph), SUCCESS);
}

CASE(events) {
    Fixture f;
    void *start, *end;
    float milliseconds;
    CHECK_EQUAL(cuEventCreate(&start, 0), SUCCESS);
    CHECK_EQUAL(cuEventCreate(&end, 0), SUCCESS);
    CHECK(cuEventElapsedTime(&milliseconds, start, end) != SUCCESS);
    CHECK_EQUAL(cuEventRecord(start, f.stream), SUCCESS);
    CHECK_EQUAL(f.run(2), SUCCESS);
    CHECK_EQUAL(cuEventRecord(end, f.stream), SUCCESS);
    CHECK_EQUAL(cuEventSynchronize(end), SUCCESS);
    CHECK_EQUAL(cuEventElapsedTime(&milliseconds, start, end), SUCCESS);
    CHECK(milliseconds >= 0);
}

// Numbers go to the device in one stream and are copied in another.
struct Streams {
    void *copies, *work, *copied, *read;
    float* staged;
    Buffer<float> x, y;

    Streams() : x((open_device(), std::vector<float>(64, 0))), y(std::vector<float>(64, 0)) {
        for (void** stream : {&work, &copies}) CHECK_EQUAL(cuStreamCreate(stream, 1), SUCCESS);
        for (void** event : {&copied, &read}) CHECK_EQUAL(cuEventCreate(event, 2), SUCCESS);
        CHECK_EQUAL(cuMemAllocHost_v2(reinterpret_cast<void**>(&staged), 256), SUCCESS);
    }
    void upload(float value) {
        for (int i = 0; i < 64; i++) staged[i] = value;
        CHECK_EQUAL(cuMemcpyHtoDAsync_v2(x.address, staged, 256, copies), SUCCESS);
        CHECK_EQUAL(cuEventRecord(copied, copies), SUCCESS);
    }
    void copy() {
        CHECK_EQUAL(cuMemcpyDtoDAsync_v2(y.address, x.address, 256, work), SUCCESS);
        CHECK_EQUAL(cuEventRecord(read, work), SUCCESS);
    }
    float result() {
        CHECK_EQUAL(cuStreamSynchronize(work), SUCCESS);
        return y.read()[0];
    }
};

CASE(streams_that_wait) {
    Streams s;
    s.upload(1);
    CHECK_EQUAL(cuStreamWaitEvent(s.work, s.copied, 0), SUCCESS);
    s.copy();
    CHECK_EQUAL(cuStreamWaitEvent(s.copies, s.read, 0), SUCCESS);
    CHECK_EQUAL(cuEventSynchronize(s.copied), SUCCESS);
    CHECK_EQUAL(cuEventQuery(s.copied), SUCCESS);
    s.upload(2);
    CHECK_EQUAL(s.result(), 1);
}

CASE(work_that_does_not_wait) {
    Streams s;
    s.upload(1);
    s.copy();
    CHECK_EQUAL(s.result(), 1);
}

CASE(a_copy_that_does_not_wait) {
    Streams s;
    s.upload(1);
    CHECK_EQUAL(cuStreamWaitEvent(s.work, s.copied, 0), SUCCESS);
    s.copy();
    CHECK_EQUAL(cuEventSynchronize(s.copied), SUCCESS);
    s.upload(2);
    CHECK_EQUAL(s.result(), 1);
}

CASE(staged_numbers_that_are_changed_too_early) {
    Streams s;
    s.upload(1);
    s.staged[0] = 2;
    CHECK_EQUAL(cuStreamWaitEvent(s.work, s.copied, 0), SUCCESS);
    s.copy();
    CHECK_EQUAL(s.result(), 1);
}

CASE(an_event_to_come) {
    Streams s;
    s.upload(1);
    CHECK_EQUAL(cuEventQuery(s.copied), NOT_READY);
    CHECK_EQUAL(cuStreamSynchronize(s.copies), SUCCESS);
    CHECK_EQUAL(cuEventQuery(s.copied), SUCCESS);
}
