//! Compiled CUDA kernels, embedded as device images.
//!
//! Each image is a fatbin for one architecture: machine code, and the PTX it was assembled from.
//! That of `compute_80` holds PTX alone, for architectures that have no image of their own.
//! The images need a driver of release 580 or later.

use std::io::Read;

/// The compiled kernels of one source file for one architecture.
#[derive(Clone, Copy, Debug)]
pub struct Image {
    /// The source file's name without `.cu`, which is the operator's: `"rope"`.
    pub stem: &'static str,
    /// `"sm_80"`, `"sm_89"`, `"sm_90a"` or `"compute_80"`.
    pub architecture: &'static str,
    /// Bytes of the decompressed image.
    pub bytes_len: usize,
    /// The image, compressed as a zstd frame.
    pub compressed: &'static [u8],
    /// Of the decompressed image, in hexadecimal.
    pub sha256: &'static str,
}

impl Image {
    /// The image as the driver takes it: a fatbin.
    pub fn decompress(&self) -> Vec<u8> {
        let mut image = Vec::with_capacity(self.bytes_len);
        let mut decoder = ruzstd::decoding::StreamingDecoder::new(self.compressed)
            .expect("an embedded image is a zstd frame");
        decoder.read_to_end(&mut image).expect("an embedded image decompresses");
        image
    }
}

// `IMAGES`, `PROBES` and `MANIFEST`.
include!(concat!(env!("OUT_DIR"), "/images.rs"));

/// Sine and cosine of an angle as `sincos.h` gives them on the host.
#[cfg(feature = "probes")]
pub fn host_sincos(angle: f32) -> (f32, f32) {
    unsafe extern "C" {
        fn expertile_host_sincos(angle: f32, sine: *mut f32, cosine: *mut f32);
    }
    let (mut sine, mut cosine) = (0.0, 0.0);
    // SAFETY: the function of probes/sincos.c, which writes the two floats.
    unsafe { expertile_host_sincos(angle, &mut sine, &mut cosine) };
    (sine, cosine)
}

/// The tiles that cover a matrix of tokens by features, and the row and column of the one of that number, by
/// `linear_tiles.h` on the host. `panel` is not 0.
#[cfg(feature = "probes")]
pub fn host_linear_tile(
    [tokens, features]: [u32; 2],
    tile: [u32; 2],
    panel: u32,
    number: u64,
) -> (u64, [u32; 2]) {
    unsafe extern "C" {
        fn expertile_host_linear_tile(extents: *const u32, number: u64, place: *mut u32) -> u64;
    }
    let (extents, mut place) = ([tokens, features, tile[0], tile[1], panel], [0; 2]);
    // SAFETY: the function of probes/linear_tiles.c, which reads five numbers and writes at most two.
    let count = unsafe { expertile_host_linear_tile(extents.as_ptr(), number, place.as_mut_ptr()) };
    (count, place)
}

/// The tiles of experts with rows from one of `offsets` to the next, none beyond `rows`, and of the one of that number
/// the expert, its first row, the end of the expert's rows and the column, by `grouped_tiles.h` on the host. A tile is
/// `1 << tile_shift` rows; `columns` and `panel` are not 0.
///
/// # Panics
///
/// If there are no experts, or more than 256.
#[cfg(feature = "probes")]
pub fn host_grouped_tile(
    offsets: &[i32],
    rows: u32,
    tile_shift: u32,
    [columns, panel]: [u32; 2],
    number: u64,
) -> (u64, [u32; 4]) {
    unsafe extern "C" {
        fn expertile_host_grouped_tile(
            offsets: *const i32,
            extents: *const u32,
            number: u64,
            place: *mut u32,
        ) -> u64;
    }
    let experts = offsets.len().saturating_sub(1);
    assert!((1..=256).contains(&experts) && tile_shift < 31 && columns > 0 && panel > 0);
    let (extents, mut place) = ([experts as u32, rows, tile_shift, columns, panel], [0; 4]);
    // SAFETY: the function of probes/grouped_tiles.c, which reads one offset more than experts and five numbers, and
    // writes at most four.
    let count = unsafe {
        expertile_host_grouped_tile(offsets.as_ptr(), extents.as_ptr(), number, place.as_mut_ptr())
    };
    (count, place)
}

/// A gate and what it lets through joined, by `activation.h` on the host: `kind` is 0 SiLU, 1 GELU, 2 the clamped one.
#[cfg(feature = "probes")]
pub fn host_activation(kind: u32, gate: f32, up: f32, limit: f32, alpha: f32) -> f32 {
    unsafe extern "C" {
        fn expertile_host_activation(kind: u32, gate: f32, up: f32, limit: f32, alpha: f32) -> f32;
    }
    // SAFETY: the function of probes/grouped_tiles.c, which takes numbers.
    unsafe { expertile_host_activation(kind, gate, up, limit, alpha) }
}

/// What [`host_dispatch`] finds, as the arrays of `DispatchParams`.
#[cfg(feature = "probes")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostDispatch {
    /// `[pairs]`
    pub pairs: Vec<i32>,
    /// `[pairs]`
    pub rows: Vec<i32>,
    /// `[experts + 1]`
    pub offsets: Vec<i32>,
    /// `[experts]`
    pub counts: Vec<i32>,
    /// `[max_tiles, 2]`
    pub tiles: Vec<i32>,
    /// Of `tiles`, those that are.
    pub tile_count: i32,
}

/// Pairs sorted by expert, by `routing.h` on the host.
///
/// # Panics
///
/// If there are 2^31 pairs or more, or `experts` ends beyond them.
#[cfg(feature = "probes")]
pub fn host_dispatch(ids: &[i32], experts: std::ops::Range<u32>, tile_shift: u32) -> HostDispatch {
    unsafe extern "C" {
        fn expertile_host_dispatch(
            ids: *const i32,
            pair_count: u32,
            first: u32,
            experts: u32,
            tile_shift: u32,
            pairs: *mut i32,
            rows: *mut i32,
            offsets: *mut i32,
            counts: *mut i32,
            tiles: *mut i32,
            starts: *mut u32,
        );
    }
    let pair_count = i32::try_from(ids.len()).expect("less than 2^31 pairs") as u32;
    assert!(i32::try_from(experts.end).is_ok() && tile_shift < 31);
    let local = experts.end - experts.start;
    let max_tiles = (pair_count >> tile_shift) + local.min(pair_count);
    let zeros = |count: u32| vec![0i32; count as usize];
    let (mut pairs, mut rows) = (zeros(pair_count), zeros(pair_count));
    let (mut offsets, mut counts, mut tiles) =
        (zeros(local + 1), zeros(local), zeros(2 * max_tiles));
    let mut starts = vec![0u32; local as usize + 1];
    // SAFETY: the function of probes/dispatch.c; every array is as long as it says.
    unsafe {
        expertile_host_dispatch(
            ids.as_ptr(),
            pair_count,
            experts.start,
            local,
            tile_shift,
            pairs.as_mut_ptr(),
            rows.as_mut_ptr(),
            offsets.as_mut_ptr(),
            counts.as_mut_ptr(),
            tiles.as_mut_ptr(),
            starts.as_mut_ptr(),
        );
    }
    let tile_count = starts[local as usize] as i32;
    HostDispatch { pairs, rows, offsets, counts, tiles, tile_count }
}
