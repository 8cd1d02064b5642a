//! What is of one device is refused with another.

use crate::buffers::{NormBuffers, Operator, RopeBuffers};
use crate::simulator::{Simulator, all_devices};
use expertile::{Device, Event, Graph, Result, Stream, layer_norm, rms_norm};
use std::mem::swap;

/// Two devices of each platform.
pub(crate) fn pairs() -> Vec<[Device; 2]> {
    let devices = all_devices();
    let platform = |device: &Device| device.info().platform;
    let pair = |both: &[Device]| (platform(&both[0]) == platform(&both[1])).then(|| both.to_vec());
    let mut pairs: Vec<Vec<Device>> = devices.windows(2).filter_map(pair).collect();
    pairs.dedup_by_key(|pair| platform(&pair[0]));
    pairs.into_iter().map(|pair| pair.try_into().unwrap()).collect()
}

/// An argument, and how two sets of buffers exchange it.
type Exchange<T> = (&'static str, fn(&mut T, &mut T));

/// A call must be refused before the driver hears of it, with a text that names argument and devices.
pub(crate) fn refused(
    result: Result<()>,
    operator: &str,
    argument: &str,
    [own, other]: &[Device; 2],
) {
    let error = result.unwrap_err();
    assert!(matches!(error, expertile::Error::Value { .. }), "{operator} {argument}: {error}");
    let text = error.to_string();
    assert!(text.starts_with(&format!("{operator}: {argument} is ")), "{argument}: {text}");
    for device in [own, other] {
        let name = format!("{}:{}", device.info().platform, device.info().ordinal);
        assert!(text.contains(&name), "{operator} {argument}: {text}");
    }
}

#[test]
fn operators_refuse_what_is_of_another_device() {
    let Some(simulator) = Simulator::find() else { return };
    let pairs = pairs();
    assert!(!pairs.is_empty(), "no platform has two devices");
    for pair in &pairs {
        let [own, other] = [0, 1].map(|index: usize| pair[index].stream().unwrap());
        let before = simulator.calls(pair[0].info().platform);
        let new = || [&own, &other].map(|stream| RopeBuffers::new(stream, 2, (2, 1), 16));
        let of_rope: [Exchange<RopeBuffers>; 6] = [
            ("qkv", |a, b| swap(&mut a.qkv, &mut b.qkv)),
            ("positions", |a, b| swap(&mut a.positions, &mut b.positions)),
            ("inv_freq", |a, b| swap(&mut a.inv_freq, &mut b.inv_freq)),
            ("k_cache", |a, b| swap(&mut a.caches[0], &mut b.caches[0])),
            ("v_cache", |a, b| swap(&mut a.caches[1], &mut b.caches[1])),
            ("slot_mapping", |a, b| swap(&mut a.slots, &mut b.slots)),
        ];
        for (argument, exchange) in of_rope {
            let [mut buffers, mut others] = new();
            exchange(&mut buffers, &mut others);
            refused(buffers.launch(&own), "rope", argument, pair);
        }
        let [mut buffers, _] = new();
        refused(buffers.launch(&other), "rope", "qkv", pair);

        let new = || [&own, &other].map(|stream| NormBuffers::new(stream, 2, 64));
        let of_norm: [Exchange<NormBuffers>; 4] = [
            ("x", |a, b| swap(&mut a.x, &mut b.x)),
            ("residual", |a, b| swap(&mut a.residual, &mut b.residual)),
            ("weight", |a, b| swap(&mut a.weight, &mut b.weight)),
            ("out", |a, b| swap(&mut a.out, &mut b.out)),
        ];
        let operators: [(&str, Operator); 2] = [("layer_norm", layer_norm), ("rms_norm", rms_norm)];
        for (name, operator) in operators {
            for (argument, exchange) in of_norm {
                let [mut buffers, mut others] = new();
                exchange(&mut buffers, &mut others);
                refused(buffers.launch(&own, operator), name, argument, pair);
            }
            let [mut buffers, _] = new();
            refused(buffers.launch(&other, operator), name, "x", pair);
        }
        let after = simulator.calls(pair[0].info().platform);
        let made = after.since(&before);
        assert!(made.iter().all(|(name, _)| !name.contains("Launch")), "{made:?}");
    }
}

#[test]
fn buffers_events_and_graphs_refuse_another_devices_stream() {
    let Some(_simulator) = Simulator::find() else { return };
    for pair in pairs() {
        let [own, other] = [0, 1].map(|index: usize| pair[index].stream().unwrap());
        let [mut buffers, mut others] =
            [&own, &other].map(|stream| NormBuffers::new(stream, 1, 64));
        let buffer = &mut buffers.x;
        let values = buffer.read::<half::bf16>(&own).unwrap();
        let check = |result: Result<()>, operator: &str, argument: &str| {
            refused(result, operator, argument, &pair);
        };
        check(buffer.write(&other, &values), "buffer", "stream");
        check(buffer.fill_bytes(&other, 0), "buffer", "stream");
        check(buffer.read::<half::bf16>(&other).map(drop), "buffer", "stream");
        check(others.x.copy_from(&own, buffer), "buffer", "device");
        check(buffer.copy_from(&own, &others.x), "buffer", "device");
        check(buffer.copy_from(&other, &others.x), "buffer", "device");
        check(Event::new(&pair[0]).unwrap().record(&other), "event", "stream");
        // SAFETY: it is never launched.
        let graph = unsafe { Graph::capture(&own, |stream| buffers.launch(stream, layer_norm)) };
        check(graph.unwrap().launch(&other), "graph", "stream");
        // SAFETY: both streams live; that they are of other devices is what is asked.
        unsafe {
            assert!(matches!(
                Stream::borrow(&pair[0], other.raw()),
                Err(expertile::Error::Value { .. })
            ));
        }
        // A wait for another device's event is no mistake.
        let event = Event::new(&pair[1]).unwrap();
        event.record(&other).unwrap();
        own.wait(&event).unwrap();
        own.synchronize().unwrap();
    }
}
