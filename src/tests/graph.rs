//! Recorded operators do what submitted ones do, and a failed recording leaves no trace.

use super::harness::devices;
use expertile::{Buffer, Device, Dtype, Graph, Norm, Residual, Result, Stream, layer_norm};
use half::bf16;

const TOKENS: u64 = 3;
const HIDDEN: u64 = 72;

struct Buffers {
    x: Buffer,
    residual: Buffer,
    weight: Buffer,
    out: Buffer,
}

impl Buffers {
    fn new(stream: &Stream) -> Result<Buffers> {
        let values = |count: u64, period: u64| -> Vec<bf16> {
            (0..count).map(|i| bf16::from_f32((i % period) as f32 - 2.5)).collect()
        };
        let out = vec![bf16::NAN; (TOKENS * HIDDEN) as usize];
        Ok(Buffers {
            x: Buffer::from_slice(stream, &values(TOKENS * HIDDEN, 13))?,
            residual: Buffer::from_slice(stream, &values(TOKENS * HIDDEN, 7))?,
            weight: Buffer::from_slice(stream, &values(HIDDEN, 5))?,
            out: Buffer::from_slice(stream, &out)?,
        })
    }

    /// Adds x to the residual and normalizes the sum: each call changes both.
    fn submit(&mut self, stream: &Stream) -> Result<()> {
        let shape = [TOKENS, HIDDEN];
        let arguments = Norm {
            x: self.x.tensor(&shape)?,
            residual: Residual::Update(self.residual.tensor_mut(&shape)?),
            weight: self.weight.tensor(&[HIDDEN])?,
            out: self.out.tensor_mut(&shape)?,
            epsilon: 1e-5,
        };
        layer_norm(stream, &arguments)
    }

    fn read(&self, stream: &Stream) -> Result<[Vec<u16>; 2]> {
        let bits = |values: Vec<bf16>| values.into_iter().map(bf16::to_bits).collect();
        Ok([bits(self.residual.read(stream)?), bits(self.out.read(stream)?)])
    }
}

#[test]
fn a_graph_does_what_was_recorded() -> Result<()> {
    for device in devices() {
        let stream = device.stream()?;
        let (mut direct, mut recorded) = (Buffers::new(&stream)?, Buffers::new(&stream)?);
        let before = recorded.read(&stream)?;
        // SAFETY: `recorded` outlives the graph, and is read only after the stream was waited for.
        let graph = unsafe {
            Graph::capture(&stream, |stream| {
                recorded.submit(stream)?;
                recorded.submit(stream)
            })?
        };
        assert_eq!(recorded.read(&stream)?, before, "recording ran the work");
        for round in 1..=3 {
            graph.launch(&stream)?;
            direct.submit(&stream)?;
            direct.submit(&stream)?;
            let (got, want) = (recorded.read(&stream)?, direct.read(&stream)?);
            assert_eq!(got, want, "round {round} on {device}");
        }
        assert_ne!(recorded.read(&stream)?, before);
    }
    Ok(())
}

#[test]
fn a_failed_recording_gives_the_stream_back() -> Result<()> {
    for device in devices() {
        let stream = device.stream()?;
        let mut buffers = Buffers::new(&stream)?;
        // SAFETY: nothing is launched.
        let refused = unsafe {
            Graph::capture(&stream, |stream| {
                buffers.submit(stream)?;
                buffers.x.tensor(&[TOKENS + 1, HIDDEN]).map(drop)
            })
        };
        assert!(matches!(refused, Err(expertile::Error::Value { .. })), "{refused:?}");
        // SAFETY: nothing is launched.
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| unsafe {
            Graph::capture(&stream, |_| panic!("on purpose"))
        }));
        assert!(panicked.is_err());
        // What waits cannot be recorded, and the driver says so.
        let mut direct = Buffers::new(&stream)?;
        // SAFETY: nothing is launched.
        let refused = unsafe { Graph::capture(&stream, Stream::synchronize) };
        assert!(matches!(refused, Err(expertile::Error::Driver { .. })), "{refused:?}");

        buffers.submit(&stream)?;
        direct.submit(&stream)?;
        assert_eq!(buffers.read(&stream)?, direct.read(&stream)?, "the stream still works");
    }
    Ok(())
}

#[test]
fn a_copy_within_the_device_checks_its_buffers() -> Result<()> {
    for device in devices() {
        let stream = device.stream()?;
        let from = Buffer::from_slice(&stream, &[1.0f32, -2.0, f32::MIN_POSITIVE])?;
        let mut to = Buffer::from_slice(&stream, &[0.0f32; 3])?;
        to.copy_from(&stream, &from)?;
        assert_eq!(to.read::<f32>(&stream)?, [1.0, -2.0, f32::MIN_POSITIVE]);
        let mut longer = Buffer::new(device, Dtype::F32, 4)?;
        let error = longer.copy_from(&stream, &from).unwrap_err().to_string();
        assert_eq!(error, "buffer: from has shape [3], expected [4]");
        let mut other = Buffer::new(device, Dtype::Bf16, 3)?;
        let error = other.copy_from(&stream, &from).unwrap_err().to_string();
        assert!(error.contains("f32") && error.contains("bf16"), "{error}");
    }
    Ok(())
}

#[test]
fn a_capture_survives_what_other_threads_drop() -> Result<()> {
    for device in devices() {
        let stream = device.stream()?;
        let mut recorded = Buffers::new(&stream)?;
        let (platform, ordinal) = (device.info().platform, device.info().ordinal);
        let (buffer, again) =
            (Buffer::new(device, Dtype::F32, 1000)?, Device::open(platform, ordinal)?);
        // SAFETY: `recorded` outlives the graph, which is never launched.
        let graph = unsafe {
            Graph::capture(&stream, |stream| {
                std::thread::scope(|scope| {
                    scope.spawn(|| drop((buffer, again)));
                });
                recorded.submit(stream)
            })
        };
        graph?;
    }
    Ok(())
}
