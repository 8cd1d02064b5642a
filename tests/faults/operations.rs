//! Every operation of the crate that a driver takes part in, and what they work on.

use crate::experts::Layer;
use crate::router::Route;
use crate::router_loss::Loss;
use crate::routing::Routing;
use expertile::{
    Buffer, Device, Dtype, Event, Graph, Linear, LinearOut, Norm, Pairing, Platform, Residual,
    Result, Rope, Stream, Tensor, TensorMut, WeightLayout, layer_norm, linear, rms_norm, rope,
};
use half::bf16;
use std::any::Any;

const TOKENS: u64 = 3;
const HIDDEN: u64 = 64;
/// Of queries and of keys.
const HEADS: (u64, u64) = (6, 1);
const HEAD_DIM: u64 = 16;

/// A device with one of each object.
pub(crate) struct Scene {
    pub(crate) platform: Platform,
    pub(crate) device: Device,
    pub(crate) stream: Stream,
    events: [Event; 2],
    graph: Graph,
    operands: Operands,
    /// Of one launch of dispatch, and of two.
    routings: [Routing; 2],
    /// Of one launch of the router, and of two.
    routes: [Route; 2],
    loss: Loss,
    layer: Layer,
    numbers: [Buffer; 2],
}

const NUMBERS: [f32; 5] = [1.5, -2.0, 0.0, 3.25, -0.5];

impl Scene {
    pub(crate) fn new(platform: Platform) -> Result<Scene> {
        let device = Device::open(platform, 0)?;
        let stream = device.stream()?;
        let events = [Event::new(&device)?, Event::new(&device)?];
        for event in &events {
            event.record(&stream)?;
        }
        let mut operands = Operands::new(&stream)?;
        // SAFETY: the operands live as long as the graph, and are used in its stream alone.
        let graph = unsafe { Graph::capture(&stream, |stream| operands.norm(stream, layer_norm))? };
        let numbers =
            [Buffer::from_slice(&stream, &NUMBERS)?, Buffer::from_slice(&stream, &NUMBERS)?];
        let routings = [Routing::new(&stream, TOKENS)?, Routing::new(&stream, 1030)?];
        let routes = [Route::new(&stream, 16)?, Route::new(&stream, 70)?];
        let loss = Loss::new(&stream)?;
        let layer = Layer::new(&stream)?;
        stream.synchronize()?;
        Ok(Scene {
            platform,
            device,
            stream,
            events,
            graph,
            operands,
            routings,
            routes,
            loss,
            layer,
            numbers,
        })
    }

    /// Gives operators their inputs anew, and poison to be overwritten.
    pub(crate) fn reset(&mut self) -> Result<()> {
        self.routings.iter_mut().try_for_each(|routing| routing.reset(&self.stream))?;
        self.routes.iter_mut().try_for_each(|route| route.reset(&self.stream))?;
        self.loss.reset(&self.stream)?;
        self.layer.reset(&self.stream)?;
        self.operands.reset(&self.stream)
    }

    /// All that operators write, in bits.
    pub(crate) fn outputs(&self) -> Result<Vec<u32>> {
        let Operands { qkv, caches: [k, v], out, .. } = &self.operands;
        let mut outputs = Vec::new();
        for buffer in [qkv, k, v, out] {
            let values = buffer.read::<bf16>(&self.stream)?;
            outputs.extend(values.into_iter().map(|value| u32::from(value.to_bits())));
        }
        for routing in &self.routings {
            outputs.extend(routing.outputs(&self.stream)?);
        }
        for route in &self.routes {
            outputs.extend(route.outputs(&self.stream)?);
        }
        outputs.extend(self.loss.outputs(&self.stream)?);
        outputs.extend(self.layer.outputs(&self.stream)?);
        Ok(outputs)
    }
}

/// What operators read and write.
struct Operands {
    qkv: Buffer,
    caches: [Buffer; 2],
    positions: Buffer,
    slots: Buffer,
    inv_freq: Buffer,
    x: Buffer,
    weight: Buffer,
    out: Buffer,
}

type NormOperator = fn(&Stream, &Norm<'_>) -> Result<()>;

fn values(elements: u64) -> Vec<bf16> {
    (0..elements).map(|i| bf16::from_f32((i % 13) as f32 - 2.5)).collect()
}

const QKV: u64 = TOKENS * (HEADS.0 + 2 * HEADS.1) * HEAD_DIM;

impl Operands {
    fn new(stream: &Stream) -> Result<Operands> {
        let new = |elements| Buffer::new(stream.device(), Dtype::Bf16, elements);
        let cache = TOKENS * HEADS.1 * HEAD_DIM;
        let inv_freq = expertile_reference::rope::inv_freq(5e5, HEAD_DIM as usize);
        let mut operands = Operands {
            qkv: new(QKV)?,
            caches: [new(cache)?, new(cache)?],
            positions: Buffer::from_slice(stream, &[0, 1, 2])?,
            slots: Buffer::from_slice(stream, &[2i64, 1, 0])?,
            inv_freq: Buffer::from_slice(stream, &inv_freq)?,
            x: Buffer::from_slice(stream, &values(TOKENS * HIDDEN))?,
            weight: Buffer::from_slice(stream, &values(HIDDEN))?,
            out: new(TOKENS * HIDDEN)?,
        };
        operands.reset(stream)?;
        Ok(operands)
    }

    fn reset(&mut self, stream: &Stream) -> Result<()> {
        self.qkv.write(stream, &values(QKV))?;
        for buffer in self.caches.iter_mut().chain([&mut self.out]) {
            buffer.fill_bytes(stream, 0x55)?;
        }
        stream.synchronize()
    }

    fn rope(&mut self, stream: &Stream) -> Result<()> {
        let cache = [1, TOKENS, HEADS.1, HEAD_DIM];
        let [k_cache, v_cache] = &mut self.caches;
        let arguments = Rope {
            qkv: self.qkv.tensor_mut(&[TOKENS, HEADS.0 + 2 * HEADS.1, HEAD_DIM])?,
            positions: self.positions.tensor(&[TOKENS])?,
            inv_freq: self.inv_freq.tensor(&[HEAD_DIM / 2])?,
            k_cache: k_cache.tensor_mut(&cache)?,
            v_cache: v_cache.tensor_mut(&cache)?,
            slot_mapping: self.slots.tensor(&[TOKENS])?,
            clip: Some(8.0),
            pairing: Pairing::Halves,
        };
        rope(stream, &arguments)
    }

    fn norm(&mut self, stream: &Stream, operator: NormOperator) -> Result<()> {
        let shape = [TOKENS, HIDDEN];
        let arguments = Norm {
            x: self.x.tensor(&shape)?,
            residual: Residual::None,
            weight: self.weight.tensor(&shape[1..])?,
            out: self.out.tensor_mut(&shape)?,
            epsilon: 1e-5,
        };
        operator(stream, &arguments)
    }

    /// The norms' operands as rows of 8.
    fn linear(&mut self, stream: &Stream) -> Result<()> {
        let shape = [TOKENS * HIDDEN / 8, 8];
        let arguments = Linear {
            x: self.x.tensor(&shape)?,
            weight: self.weight.tensor(&[HIDDEN / 8, 8])?,
            layout: WeightLayout::OutIn,
            clamp: None,
            out: LinearOut::Product(self.out.tensor_mut(&shape)?),
        };
        linear(stream, &arguments)
    }
}

/// What an operation returns, to be dropped.
pub(crate) type Made = Box<dyn Any>;

/// A call of the crate.
pub(crate) struct Operation {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&mut Scene) -> Result<Made>,
}

fn made<T: 'static>(object: T) -> Result<Made> {
    Ok(Box::new(object))
}

fn operation(name: &'static str, run: fn(&mut Scene) -> Result<Made>) -> Operation {
    Operation { name, run }
}

/// Those that launch one kernel each, three that launch two, and one that launches five.
pub(crate) const OPERATORS: [&str; 15] = [
    "rope",
    "layer_norm",
    "rms_norm",
    "linear",
    "dispatch",
    "dispatch twice",
    "packet_pack",
    "packet_unpack",
    "combine",
    "router",
    "router twice",
    "router_loss",
    "grouped_gemm_up",
    "grouped_gemm_down",
    "moe",
];

/// Those that ask a driver nothing.
pub(crate) const SILENT: [&str; 1] = ["tensors"];

pub(crate) fn operations() -> Vec<Operation> {
    vec![
        operation("Device::count", |scene| Device::count(scene.platform).and_then(made)),
        operation("Device::open", |scene| Device::open(scene.platform, 0).and_then(made)),
        operation("Device::stream", |scene| scene.device.stream().and_then(made)),
        operation("Stream::borrow", |scene| {
            // SAFETY: the owner outlives the borrow, which ends with the operation.
            unsafe { Stream::borrow(&scene.device, scene.stream.raw()) }.and_then(made)
        }),
        operation("Stream::synchronize", |scene| scene.stream.synchronize().and_then(made)),
        operation("Stream::wait", |scene| scene.stream.wait(&scene.events[0]).and_then(made)),
        operation("Event::new", |scene| Event::new(&scene.device).and_then(made)),
        operation("Event::record", |scene| scene.events[1].record(&scene.stream).and_then(made)),
        operation("Event::elapsed_ms", |scene| {
            scene.events[0].elapsed_ms(&scene.events[1]).and_then(made)
        }),
        operation("Buffer::new", |scene| Buffer::new(&scene.device, Dtype::F32, 5).and_then(made)),
        operation("Buffer::from_slice", |scene| {
            Buffer::from_slice(&scene.stream, &NUMBERS).and_then(made)
        }),
        operation("Buffer::write", |scene| {
            scene.numbers[0].write(&scene.stream, &NUMBERS).and_then(made)
        }),
        operation("Buffer::read", |scene| {
            let numbers = scene.numbers[0].read::<f32>(&scene.stream)?;
            assert_eq!(numbers, NUMBERS);
            made(numbers)
        }),
        operation("Buffer::fill_bytes", |scene| {
            scene.numbers[1].fill_bytes(&scene.stream, 7).and_then(made)
        }),
        operation("Buffer::copy_from", |scene| {
            let [from, to] = &mut scene.numbers;
            to.copy_from(&scene.stream, from).and_then(made)
        }),
        operation("Graph::capture", |scene| {
            let record = |stream: &Stream| scene.operands.norm(stream, rms_norm);
            // SAFETY: the graph is never launched.
            unsafe { Graph::capture(&scene.stream, record) }.and_then(made)
        }),
        operation("Graph::launch", |scene| scene.graph.launch(&scene.stream).and_then(made)),
        operation("tensors", |scene| {
            let (device, address) = (&scene.device, scene.numbers[0].address());
            // SAFETY: the tensors are used by nothing.
            unsafe {
                Tensor::from_raw(device, address, Dtype::F32, &[5], None)?;
                TensorMut::from_raw(device, address, Dtype::F32, &[5], None)?;
            }
            scene.numbers[0].strided(&[2, 2], &[2, 1], 1)?;
            scene.numbers[0].tensor_mut(&[5]).map(drop).and_then(made)
        }),
        operation("rope", |scene| scene.operands.rope(&scene.stream).and_then(made)),
        operation("layer_norm", |scene| {
            scene.operands.norm(&scene.stream, layer_norm).and_then(made)
        }),
        operation("rms_norm", |scene| scene.operands.norm(&scene.stream, rms_norm).and_then(made)),
        operation("linear", |scene| scene.operands.linear(&scene.stream).and_then(made)),
        operation("dispatch", |scene| scene.routings[0].dispatch(&scene.stream).and_then(made)),
        operation("dispatch twice", |scene| {
            scene.routings[1].dispatch(&scene.stream).and_then(made)
        }),
        operation("packet_pack", |scene| scene.routings[0].pack(&scene.stream).and_then(made)),
        operation("packet_unpack", |scene| scene.routings[0].unpack(&scene.stream).and_then(made)),
        operation("combine", |scene| scene.routings[0].combine(&scene.stream).and_then(made)),
        operation("router", |scene| scene.routes[0].route(&scene.stream).and_then(made)),
        operation("router twice", |scene| scene.routes[1].route(&scene.stream).and_then(made)),
        operation("router_loss", |scene| scene.loss.ask(&scene.stream).and_then(made)),
        operation("grouped_gemm_up", |scene| scene.layer.up(&scene.stream).and_then(made)),
        operation("grouped_gemm_down", |scene| scene.layer.down(&scene.stream).and_then(made)),
        operation("moe", |scene| scene.layer.whole(&scene.stream).and_then(made)),
    ]
}
