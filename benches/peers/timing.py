"""How every peer is timed, and what is printed about it: the same as in crates/cnn-measure/src/timing.rs."""

import json
import statistics
import time

LEAST, SECONDS, ROW = 7, 0.3, 0.005


def median_ms(run, behind=0, wait=lambda: None):
    """The median time of `run` after two runs that do not count: at least 7 runs, and more for 0.3 seconds. A device that may
    be behind is given rows of runs, each waited for: of as many as it may be behind, and of more where those are short."""
    def row(together):
        start = time.perf_counter()
        for _ in range(together):
            run()
        wait()
        return time.perf_counter() - start

    row(1)
    row(1)
    together = max(behind, 1)
    while behind and row(together) < ROW:
        together *= 2
    times, begin = [], time.perf_counter()
    while len(times) < LEAST or time.perf_counter() - begin < SECONDS:
        times.append(row(together) / together)
    return 1e3 * statistics.median(times)


def peak_rss_bytes():
    """The most memory that this process has held, or None where the system does not say."""
    try:
        with open("/proc/self/status") as status:
            lines = [line.split() for line in status]
    except OSError:
        return None
    return next((1024 * int(words[1]) for words in lines if words[0] == "VmHWM:"), None)


def report(milliseconds, batch, version, **more):
    """One line of JSON."""
    row = {"median_ms": milliseconds, "images_s": 1e3 * batch / milliseconds, "peak_rss_bytes": peak_rss_bytes()}
    print(json.dumps({**row, "version": version, **more}), flush=True)
