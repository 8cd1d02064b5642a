"""Time of calls on a device, by the rule that our own benches follow (benches/kit/README.md)."""

import math
import time

import torch

SAMPLE_MS = 1.0
LEAST_CALLS, MOST_CALLS = 5, 200


class Machine:
    """The device, with what empties its cache. `cpu` stands in where there is no device: what it
    measures says nothing about any."""

    def __init__(self, device):
        self.device = torch.device(device)
        self.simulated = self.device.type == "cpu"
        if self.simulated:
            self.name, self.l2_bytes, self.memory_bytes = "simulated by a CPU", 1 << 20, 4 << 30
            self.flush_buffer = None
            return
        properties = torch.cuda.get_device_properties(self.device)
        self.name = properties.name
        self.l2_bytes = getattr(properties, "L2_cache_size", 0) or 64 << 20
        # The last level that src/hip/images.rs has too: it is not the L2 that the runtime states.
        if self.architecture() in ("gfx942", "gfx950"):
            self.l2_bytes = max(self.l2_bytes, 256 << 20)
        self.memory_bytes = properties.total_memory
        words = 2 * self.l2_bytes // 4
        self.flush_buffer = torch.ones(words, dtype=torch.int32, device=self.device)

    def architecture(self):
        if torch.version.hip:
            return torch.cuda.get_device_properties(self.device).gcnArchName.split(":")[0]
        return "sm_%d%d" % torch.cuda.get_device_capability(self.device)

    def describe(self):
        answer = {"name": self.name, "l2_bytes": self.l2_bytes, "simulated": self.simulated}
        if not self.simulated:
            answer["platform"] = "hip" if torch.version.hip else "cuda"
            answer["architecture"] = self.architecture()
        return answer

    def synchronize(self):
        if not self.simulated:
            torch.cuda.synchronize(self.device)

    def flush(self):
        """Reads twice the cache's size: nothing is left there that would have to be written back."""
        if self.flush_buffer is not None:
            self.flush_buffer.max()

    def sets(self, bytes_of_call):
        """How many sets of buffers make more than four times the cache."""
        if self.simulated:
            return 2
        sets = min(MOST_CALLS, max(2, math.ceil(4 * self.l2_bytes / max(bytes_of_call, 1)) + 1))
        most = max(1, int(0.4 * self.memory_bytes / max(bytes_of_call, 1)))
        return min(sets, most)

    def elapsed_ms(self, work):
        if self.simulated:
            start = time.perf_counter()
            work()
            return 1e3 * (time.perf_counter() - start)
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        end.synchronize()
        return start.elapsed_time(end)


class Timed:
    """One backend, warm, with its calls in a graph where that can be had."""

    def __init__(self, machine, call, sets):
        self.machine, self.call, self.sets = machine, call, sets
        for _ in range(2):
            for number in range(sets):
                call(number)
        machine.synchronize()
        if machine.simulated:
            self.calls, self.graph, self.method = 2, None, "stream"
            return
        rounds = 4
        ms = machine.elapsed_ms(lambda: [call(i % sets) for i in range(rounds)]) / rounds
        self.calls = min(MOST_CALLS, max(LEAST_CALLS, math.ceil(SAMPLE_MS / max(ms, 1e-4))))
        self.graph, self.method = None, "stream"
        try:
            graph, kept = torch.cuda.CUDAGraph(), []
            with torch.cuda.graph(graph):
                # What a call returns is kept, so that the next one writes elsewhere.
                kept.extend(call(i % sets) for i in range(self.calls))
            graph.replay()
            machine.synchronize()
            self.graph, self.kept, self.method = graph, kept, "graph"
        except Exception:  # a backend that cannot be captured is timed without a graph
            machine.synchronize()

    def sample(self):
        """Milliseconds of one call."""
        self.machine.flush()
        if self.graph is not None:
            return self.machine.elapsed_ms(self.graph.replay) / self.calls
        work = lambda: [self.call(i % self.sets) for i in range(self.calls)]
        return self.machine.elapsed_ms(work) / self.calls


class HostTimed:
    """A backend of another framework, which waits by itself; timed by the host's clock."""

    method = "host"

    def __init__(self, call, sets):
        self.call, self.sets, self.calls = call, sets, 20
        for number in range(sets):
            call(number)

    def sample(self):
        start = time.perf_counter()
        results = [self.call(i % self.sets) for i in range(self.calls)]
        results[-1].block_until_ready()
        return 1e3 * (time.perf_counter() - start) / self.calls


def relative_error(got, want):
    """|got - want| / |want| by the norm; NaN is infinite."""
    got, want = got.double(), want.double()
    if got.shape != want.shape or not torch.isfinite(got).all():
        return float("inf")
    return (torch.linalg.vector_norm(got - want) / torch.linalg.vector_norm(want)).item()
