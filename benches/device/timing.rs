//! The time of a call on a device, by the device's own events.
//!
//! A sample is one replay of a graph of several calls, each on buffers of its own, so that every
//! call finds its inputs in memory and not in a cache: before each sample as much is read as twice
//! fills the last level of cache, which also leaves nothing there that had to be written back.

use super::{Calls, Case, is_simulated};
use expertile::probe::{read_stream, read_stream_outputs};
use expertile::{Buffer, Dtype, Error, Event, Graph, Result, Stream};

/// A sample lasts about as long, so that an event's own time is little beside it.
const SAMPLE_MS: f64 = 1.0;

/// Least and most calls in a sample.
const CALLS: std::ops::RangeInclusive<u64> = 5..=200;

/// Reads enough to leave nothing of earlier work in the last level of cache.
pub(super) struct Flush {
    input: Buffer,
    output: Buffer,
}

impl Flush {
    pub(super) fn new(stream: &Stream) -> Result<Flush> {
        let info = stream.device().info();
        let bytes = if is_simulated(stream.device()) { 1024 } else { 2 * info.l2_bytes };
        let mut input = Buffer::new(stream.device(), Dtype::I32, bytes / 4)?;
        input.fill_bytes(stream, 1)?;
        let words = read_stream_outputs(info.multiprocessors);
        let output = Buffer::new(stream.device(), Dtype::I32, words)?;
        Ok(Flush { input, output })
    }

    fn run(&mut self, stream: &Stream) -> Result<()> {
        read_stream(stream, &self.input, &mut self.output)
    }
}

/// Milliseconds of the device from before `work` to after it.
pub(super) fn elapsed_ms(stream: &Stream, work: impl FnOnce(&Stream) -> Result<()>) -> Result<f64> {
    let (start, end) = (Event::new(stream.device())?, Event::new(stream.device())?);
    start.record(stream)?;
    work(stream)?;
    end.record(stream)?;
    Ok(f64::from(start.elapsed_ms(&end)?))
}

/// A case ready to be timed.
pub(crate) struct Timed {
    calls: u64,
    /// Dropped before the buffers that `launch` holds.
    graph: Option<Graph>,
    launch: Calls,
    sets: u64,
    flush: Flush,
}

impl Timed {
    /// Makes the buffers, warms up, and records the graph where the device takes it.
    pub(crate) fn new(stream: &Stream, case: &Case<'_>) -> Result<Timed> {
        let (info, bytes) = (stream.device().info(), case.work().bytes.max(1));
        let mut flush = Flush::new(stream)?;
        let simulated = is_simulated(stream.device());
        // More than four times the cache, if that many are called in a sample.
        let most = if simulated { 2 } else { (4 * info.l2_bytes).div_ceil(bytes) + 1 };
        let sets = most.clamp(2, *CALLS.end());
        if bytes.saturating_mul(sets) > info.memory_bytes / 2 {
            return Err(Error::Value {
                operator: case.bench.operator,
                argument: "extents",
                found: format!("{sets} times {bytes} bytes"),
                expected: format!("at most half of {} bytes", info.memory_bytes),
            });
        }
        let mut launch = (case.bench.prepare)(stream, &case.extents, case.dtype, sets)?;
        let calls = if simulated {
            2
        } else {
            for set in 0..sets {
                launch(stream, set)?;
            }
            flush.run(stream)?;
            let rounds = 4;
            let ms = elapsed_ms(stream, |stream| {
                (0..rounds).try_for_each(|call| launch(stream, call % sets))
            })?;
            let needed = SAMPLE_MS * f64::from(rounds as u32) / ms.max(1e-3);
            (needed.ceil() as u64).clamp(*CALLS.start(), *CALLS.end())
        };
        // SAFETY: the buffers belong to `launch`, which is kept as long as the graph, and are used only
        // by what `sample` submits to one stream.
        let graph = unsafe {
            Graph::capture(stream, |stream| {
                (0..calls).try_for_each(|call| launch(stream, call % sets))
            })
        };
        let graph = graph.inspect_err(|error| eprintln!("timed without a graph: {error}")).ok();
        Ok(Timed { calls, graph, launch, sets, flush })
    }

    /// How many calls a sample holds.
    pub(crate) fn calls(&self) -> u64 {
        self.calls
    }

    /// `graph` or `stream`.
    pub(crate) fn method(&self) -> &'static str {
        if self.graph.is_some() { "graph" } else { "stream" }
    }

    /// Milliseconds of one call, the mean of one sample.
    pub(crate) fn sample(&mut self, stream: &Stream) -> Result<f64> {
        self.flush.run(stream)?;
        let ms = match &self.graph {
            Some(graph) => elapsed_ms(stream, |stream| graph.launch(stream))?,
            None => elapsed_ms(stream, |stream| {
                (0..self.calls).try_for_each(|call| (self.launch)(stream, call % self.sets))
            })?,
        };
        Ok(ms / self.calls as f64)
    }
}
