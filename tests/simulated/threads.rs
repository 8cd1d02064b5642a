//! Threads and streams do not disturb each other.

use crate::simulator::{Simulator, devices};
use expertile::{
    Buffer, Device, Event, Norm, Pairing, Residual, Result, Rope, Stream, layer_norm, rms_norm,
    rope,
};
use half::bf16;
use std::rc::Rc;

const THREADS: usize = 16;
const STREAMS: usize = 8;
/// Threads have data of their own up to this many, and then again.
const KINDS: usize = 4;
/// The calls of a stream in a step: layer_norm, rope, rms_norm.
const CALLS_OF_STEP: usize = 3;

const TOKENS: u64 = 2;
const HEADS: u64 = 4;
const HEAD_DIM: u64 = 16;
const HIDDEN: u64 = HEADS * HEAD_DIM;

/// How many calls all threads make together, over all devices.
const CALLS: usize = 100_000;

/// A stream with all that its calls use.
struct Lane {
    stream: Rc<Stream>,
    event: Event,
    /// Of layer_norm, and from rms_norm.
    x: Buffer,
    residual: Buffer,
    weight: Buffer,
    /// Of layer_norm; rotated in place.
    qkv: Buffer,
    caches: [Buffer; 2],
    positions: Buffer,
    slots: Buffer,
    inv_freq: Buffer,
}

impl Lane {
    fn new(device: &Device, stream: Rc<Stream>, seed: u64) -> Result<Lane> {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut values = |count: u64| {
            let value = |_| bf16::from_f32(random.f32() * 4.0 - 2.0);
            Buffer::from_slice(&stream, &(0..count).map(value).collect::<Vec<bf16>>())
        };
        let elements = TOKENS * HIDDEN;
        let (x, residual, weight) = (values(elements)?, values(elements)?, values(HIDDEN)?);
        let cache = TOKENS * HEAD_DIM;
        let (qkv, caches) = (values(elements)?, [values(cache)?, values(cache)?]);
        let positions: Vec<i32> = (0..TOKENS as i32).map(|token| 100 * token + 5).collect();
        let slots: Vec<i64> = (0..TOKENS as i64).collect();
        let inv_freq = expertile_reference::rope::inv_freq(5e5, HEAD_DIM as usize);
        Ok(Lane {
            event: Event::new(device)?,
            x,
            residual,
            weight,
            qkv,
            caches,
            positions: Buffer::from_slice(&stream, &positions)?,
            slots: Buffer::from_slice(&stream, &slots)?,
            inv_freq: Buffer::from_slice(&stream, &inv_freq)?,
            stream,
        })
    }

    /// Normalises x with the residual, which it changes, and rotates the result.
    fn first_half(&mut self) -> Result<()> {
        let shape = [TOKENS, HIDDEN];
        let arguments = Norm {
            x: self.x.tensor(&shape)?,
            residual: Residual::Update(self.residual.tensor_mut(&shape)?),
            weight: self.weight.tensor(&[HIDDEN])?,
            out: self.qkv.tensor_mut(&shape)?,
            epsilon: 1e-5,
        };
        layer_norm(&self.stream, &arguments)?;
        // One page, with a slot for each token and one head of keys and values.
        let cache = [1, TOKENS, 1, HEAD_DIM];
        let [k_cache, v_cache] = &mut self.caches;
        let arguments = Rope {
            qkv: self.qkv.tensor_mut(&[TOKENS, HEADS, HEAD_DIM])?,
            positions: self.positions.tensor(&[TOKENS])?,
            inv_freq: self.inv_freq.tensor(&[HEAD_DIM / 2])?,
            k_cache: k_cache.tensor_mut(&cache)?,
            v_cache: v_cache.tensor_mut(&cache)?,
            slot_mapping: self.slots.tensor(&[TOKENS])?,
            clip: Some(3.0),
            pairing: Pairing::Halves,
        };
        rope(&self.stream, &arguments)
    }

    /// Normalises what was rotated, here or in another stream, into the next step's x.
    fn second_half(&mut self, other: Option<&Lane>) -> Result<()> {
        let shape = [TOKENS, HIDDEN];
        let arguments = Norm {
            x: other.map_or(&self.qkv, |other| &other.qkv).tensor(&shape)?,
            residual: Residual::None,
            weight: self.weight.tensor(&[HIDDEN])?,
            out: self.x.tensor_mut(&shape)?,
            epsilon: 1e-5,
        };
        rms_norm(&self.stream, &arguments)
    }

    fn bits(&self) -> Result<Vec<u16>> {
        let mut bits = Vec::new();
        for buffer in [&self.x, &self.residual, &self.qkv, &self.caches[0], &self.caches[1]] {
            bits.extend(buffer.read::<bf16>(&self.stream)?.into_iter().map(bf16::to_bits));
        }
        Ok(bits)
    }
}

/// How a thread works.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    /// In a single stream, where the order of the calls is that of the work.
    OneStream,
    /// In a stream for each lane; the first is waited for first.
    Forward,
    /// The last is waited for first.
    Backward,
}

/// One thread's work: steps of all lanes in turn; in some, the second takes what the first has, and the
/// first goes on when that was read.
fn work(device: &Device, kind: usize, steps: usize, way: Way) -> Result<Vec<Vec<u16>>> {
    let one = Rc::new(device.stream()?);
    let lane = |index| {
        let own = way != Way::OneStream;
        let stream = if own { Rc::new(device.stream()?) } else { one.clone() };
        Lane::new(device, stream, (kind * STREAMS + index) as u64)
    };
    let mut lanes = (0..STREAMS).map(lane).collect::<Result<Vec<Lane>>>()?;
    for step in 0..steps {
        for lane in &mut lanes {
            lane.first_half()?;
        }
        let (first, rest) = lanes.split_at_mut(1);
        let (first, second) = (&mut first[0], &mut rest[0]);
        if step % 4 == 1 {
            first.event.record(&first.stream)?;
            second.stream.wait(&first.event)?;
            second.second_half(Some(first))?;
            second.event.record(&second.stream)?;
            first.stream.wait(&second.event)?;
        } else {
            second.second_half(None)?;
        }
        first.second_half(None)?;
        for lane in &mut rest[1..] {
            lane.second_half(None)?;
        }
    }
    if way == Way::Backward {
        lanes.iter().rev().try_for_each(|lane| lane.stream.synchronize())?;
    }
    lanes.iter().map(Lane::bits).collect()
}

#[test]
fn sixteen_threads_of_eight_streams_give_the_bits_of_one() {
    let Some(simulator) = Simulator::find() else { return };
    let devices = devices();
    let steps = CALLS.div_ceil(devices.len() * THREADS * STREAMS * CALLS_OF_STEP);
    for device in devices {
        let alone: Vec<_> =
            (0..KINDS).map(|kind| work(&device, kind, steps, Way::OneStream).unwrap()).collect();
        for (kind, lanes) in alone.iter().enumerate() {
            let distinct = |other: &Vec<_>| lanes.iter().all(|lane| !other.contains(lane));
            assert!(alone[..kind].iter().all(distinct), "data of kind {kind} are another's");
        }
        let together: Vec<_> = std::thread::scope(|scope| {
            let device = &device;
            let start = |thread: usize| {
                let way =
                    if (thread / KINDS).is_multiple_of(2) { Way::Forward } else { Way::Backward };
                scope.spawn(move || work(device, thread % KINDS, steps, way).unwrap())
            };
            let threads: Vec<_> = (0..THREADS).map(start).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        for (thread, lanes) in together.iter().enumerate() {
            for (stream, (found, wanted)) in lanes.iter().zip(&alone[thread % KINDS]).enumerate() {
                assert!(
                    found == wanted,
                    "{device}: thread {thread} stream {stream}, {steps} steps"
                );
            }
        }
    }
    assert_eq!(simulator.text("expertile_sim_reports"), "");
}
