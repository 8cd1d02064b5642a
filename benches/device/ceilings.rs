//! What a device can do at best, measured in the same run as what is compared with it.

use super::timing::elapsed_ms;
use super::{Bound, is_simulated};
use expertile::probe::{read_stream, read_stream_outputs};
use expertile::{Buffer, Dtype, Result, Stream};

/// A rate that was measured: bytes by milliseconds, several times.
pub(crate) struct Ceiling {
    pub(crate) name: &'static str,
    pub(crate) bytes: u64,
    pub(crate) ms: Vec<f64>,
}

impl Ceiling {
    /// Bytes per second, by the median.
    pub(crate) fn rate(&self) -> f64 {
        let mut ms = self.ms.clone();
        ms.sort_by(f64::total_cmp);
        self.bytes as f64 / (ms[ms.len() / 2] * 1e-3)
    }
}

/// The rates of reading, and of copying, where bytes read and written count.
pub(crate) fn measure(stream: &Stream, samples: usize) -> Result<[Ceiling; 2]> {
    let device = stream.device();
    let info = device.info();
    // Far more than the cache holds.
    let bytes = if is_simulated(device) { 1 << 16 } else { (info.memory_bytes / 16).min(1 << 31) };
    let words = bytes / 4;
    let mut from = Buffer::new(device, Dtype::I32, words)?;
    let mut to = Buffer::new(device, Dtype::I32, words)?;
    from.fill_bytes(stream, 0x5a)?;
    let mut folds = Buffer::new(device, Dtype::I32, read_stream_outputs(info.multiprocessors))?;
    let mut read = || elapsed_ms(stream, |stream| read_stream(stream, &from, &mut folds));
    read()?;
    let read = (0..samples.max(1)).map(|_| read()).collect::<Result<_>>()?;
    let mut copy = || elapsed_ms(stream, |stream| to.copy_from(stream, &from));
    copy()?;
    let copy = (0..samples.max(1)).map(|_| copy()).collect::<Result<_>>()?;
    Ok([
        Ceiling { name: "read", bytes, ms: read },
        Ceiling { name: "copy", bytes: 2 * bytes, ms: copy },
    ])
}

/// The ceiling that an operator's bound names; that of matrix products is not measured here.
pub(crate) fn of(ceilings: &[Ceiling; 2], bound: Bound) -> Option<&Ceiling> {
    ceilings.iter().find(|ceiling| ceiling.name == bound.name())
}
