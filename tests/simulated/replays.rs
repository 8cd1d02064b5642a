//! Operators that are recorded once and replayed with other data.

use crate::buffers::{NormBuffers, Operator, RopeBuffers};
use crate::calls::{graph_calls, launch_call};
use crate::simulator::{Simulator, all_devices};
use expertile::{Buffer, Device, Graph, Result, Stream, layer_norm, rms_norm};
use half::bf16;

const ROUNDS: u64 = 1000;

/// The buffers of one operator.
trait Operands {
    fn submit(&mut self, stream: &Stream) -> Result<()>;
    /// What the operator reads, and what the host changes between rounds.
    fn input(&mut self) -> &mut Buffer;
    /// What it writes.
    fn outputs(&self) -> Vec<&Buffer>;
}

impl Operands for RopeBuffers {
    fn submit(&mut self, stream: &Stream) -> Result<()> {
        self.launch(stream)
    }

    fn input(&mut self) -> &mut Buffer {
        &mut self.qkv
    }

    fn outputs(&self) -> Vec<&Buffer> {
        let [k_cache, v_cache] = &self.caches;
        vec![&self.qkv, k_cache, v_cache]
    }
}

struct NormOperands {
    buffers: NormBuffers,
    operator: Operator,
}

impl Operands for NormOperands {
    fn submit(&mut self, stream: &Stream) -> Result<()> {
        self.buffers.launch(stream, self.operator)
    }

    fn input(&mut self) -> &mut Buffer {
        &mut self.buffers.x
    }

    fn outputs(&self) -> Vec<&Buffer> {
        vec![&self.buffers.residual, &self.buffers.out]
    }
}

fn bits(stream: &Stream, operands: &dyn Operands) -> Vec<Vec<u16>> {
    let of = |buffer: &&Buffer| -> Vec<u16> {
        buffer.read::<bf16>(stream).unwrap().into_iter().map(bf16::to_bits).collect()
    };
    operands.outputs().iter().map(of).collect()
}

/// Replays `recorded` as often as `direct` is submitted, and compares every round.
fn replay(
    simulator: &Simulator,
    device: &Device,
    name: &str,
    recorded: &mut dyn Operands,
    direct: &mut dyn Operands,
) {
    let stream = device.stream().unwrap();
    let counts = || simulator.calls(device.info().platform);
    let [begin, end, instantiate, destroy, launch_graph] = graph_calls(device);
    let before = counts();
    // SAFETY: `recorded` outlives the graph, and is used only when the stream was waited for.
    let graph = unsafe { Graph::capture(&stream, |stream| recorded.submit(stream)) }.unwrap();
    let after = counts();
    let mut made = after.since(&before);
    made.sort_unstable();
    let mut expected =
        [begin, end, instantiate, destroy, launch_call(device)].map(|call| (call, 1));
    expected.sort_unstable();
    assert_eq!(made, expected, "{name} on {device}: the capture");

    let mut random = fastrand::Rng::with_seed(7);
    let elements = recorded.input().elements();
    let mut last = bits(&stream, recorded);
    for round in 0..ROUNDS {
        let data: Vec<bf16> =
            (0..elements).map(|_| bf16::from_f32(random.f32() * 8.0 - 4.0)).collect();
        recorded.input().write(&stream, &data).unwrap();
        direct.input().write(&stream, &data).unwrap();
        let before = counts();
        graph.launch(&stream).unwrap();
        assert_eq!(counts().since(&before), [(launch_graph, 1)], "{name} on {device}: {round}");
        direct.submit(&stream).unwrap();
        let (found, wanted) = (bits(&stream, recorded), bits(&stream, direct));
        assert!(found == wanted, "{name} on {device}: round {round} differs from a direct call");
        assert!(found != last, "{name} on {device}: round {round} changed nothing");
        last = found;
    }
}

#[test]
fn a_thousand_replays_are_a_thousand_calls() {
    let Some(simulator) = Simulator::find() else { return };
    for device in all_devices() {
        let stream = device.stream().unwrap();
        let [mut recorded, mut direct] = [(); 2].map(|()| RopeBuffers::new(&stream, 2, (2, 1), 16));
        replay(&simulator, &device, "rope", &mut recorded, &mut direct);
        let operators: [(&str, Operator); 2] = [("layer_norm", layer_norm), ("rms_norm", rms_norm)];
        for (name, operator) in operators {
            let [mut recorded, mut direct] = [(); 2]
                .map(|()| NormOperands { buffers: NormBuffers::new(&stream, 2, 64), operator });
            replay(&simulator, &device, name, &mut recorded, &mut direct);
        }
    }
    assert_eq!(simulator.text("expertile_sim_reports"), "");
}
