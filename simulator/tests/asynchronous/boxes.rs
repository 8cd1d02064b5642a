//! Boxes of tensors as they lie in shared memory, against a formula of their own.

use super::bench::{Bench, Geometry, Source, Tensor, noise};
use expertile_simulator::report::Kind;

static KERNELS: Source = Source::new("kernels.cu");

/// Numbers from a seed.
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % end
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }
}

/// The byte at an absolute address of shared memory, of a box that starts at `start`: the swizzles as they
/// are commonly written, element by element.
fn expected(tensor: &Tensor, bytes: &[u8], start: u64, place: &[i64]) -> Vec<u8> {
    let mut out = vec![0; tensor.box_bytes()];
    let count: u64 = tensor.boxes.iter().product();
    for linear in 0..count {
        let (mut rest, mut offset, mut inside) = (linear, 0i64, true);
        for (dimension, &start) in place.iter().enumerate() {
            let at = start + (rest % tensor.boxes[dimension]) as i64;
            rest /= tensor.boxes[dimension];
            inside &= at >= 0 && at < tensor.extents[dimension] as i64;
            offset += at
                * match dimension {
                    0 => tensor.element as i64,
                    _ => tensor.strides[dimension - 1] as i64,
                };
        }
        for byte in 0..tensor.element {
            let address = start + linear * tensor.element + byte;
            let address = match tensor.swizzle {
                32 => address ^ ((address >> 3) & 0x10),
                64 => address ^ ((address >> 3) & 0x30),
                128 => address ^ ((address >> 3) & 0x70),
                _ => address,
            };
            out[(address - start) as usize] = match (inside, tensor.nan) {
                (true, _) => bytes[offset as usize + byte as usize],
                (false, false) => 0,
                (false, true) if byte == tensor.element - 1 => 0x7F,
                (false, true) => 0xFF,
            };
        }
    }
    out
}

/// A tensor of that rank with some strides between its rows, and its bytes.
fn tensor(draw: &mut Draw, bench: &mut Bench, rank: usize) -> (Tensor, Vec<u8>) {
    // Type, size, and whether it has NaNs.
    let (data_type, element, float) =
        draw.one_of(&[(0, 1, false), (1, 2, false), (2, 4, false), (5, 8, false), (6, 2, true)]);
    let swizzle = draw.one_of(&[0, 32, 64, 128]);
    let row = if swizzle == 0 { 16 * (1 + draw.below(6)) } else { swizzle };
    let mut boxes = vec![row / element];
    let mut extents = vec![1 + draw.below(3 * row / element)];
    let mut strides = Vec::new();
    let mut pitch = (extents[0] * element).next_multiple_of(16) + 16 * draw.below(3);
    for _ in 1..rank {
        strides.push(pitch);
        extents.push(1 + draw.below(7));
        boxes.push(1 + draw.below(if rank < 4 { 9 } else { 3 }));
        pitch *= extents[extents.len() - 1];
        pitch += 16 * draw.below(3);
    }
    // Whole patterns of the swizzle, so that no chunk leaves the box.
    if rank > 1 {
        boxes[1] = boxes[1].next_multiple_of(8);
    }
    let bytes = noise(pitch as usize, draw.0);
    let address = bench.buffer(&bytes);
    let nan = float && draw.below(2) == 0;
    (Tensor { address, extents, strides, boxes, data_type, element, swizzle, nan }, bytes)
}

#[test]
fn boxes_of_every_rank_and_swizzle() {
    for seed in 0..400 {
        let Some(mut bench) = KERNELS.load() else { return };
        let mut draw = Draw(seed ^ 0x5DEE_CE66);
        let rank = 1 + seed as usize % 5;
        let (mut tensor, bytes) = tensor(&mut draw, &mut bench, rank);
        if rank == 1 {
            tensor.swizzle = 0;
        }
        // On every side of the tensor, and across its edges.
        let place: Vec<i64> = (0..rank)
            .map(|at| {
                let (extent, side) = (tensor.extents[at], tensor.boxes[at]);
                draw.below(extent + 2 * side) as i64 - side as i64
            })
            .collect();
        let words: Vec<u8> = place.iter().flat_map(|&at| (at as i32).to_le_bytes()).collect();
        let at = 128 * draw.below(20);
        let (count, size) = (tensor.box_bytes(), at as u32 + tensor.box_bytes() as u32);
        let (whence, out) = (bench.buffer(&words), bench.room(count));
        bench.map(&tensor).address(whence).word(at as u32).word(count as u32).address(out);
        bench.clean(&format!("load_{rank}d"), Geometry::new(1, 64, size), seed);
        // Dynamic shared memory starts behind the mbarrier, aligned to 1024.
        let start = 1024 + at;
        let out = bench.read(out, count);
        assert!(
            out == expected(&tensor, &bytes, start, &place),
            "seed {seed}: {tensor:?} {place:?}"
        );
    }
}

/// A launch with a map of a 2D tensor, changed, at an offset.
fn refused(change: impl Fn(&mut [u8; 128]), at: u32, rank: u32, kind: Kind, text: &str) {
    for seed in 0..8 {
        let Some(mut bench) = KERNELS.load() else { return };
        let input = bench.buffer(&noise(64 * 64, 1));
        let tensor = Tensor::floats(input, [16, 64], [16, 8]);
        let mut map = tensor.encoded();
        change(&mut map);
        let (whence, out) = (bench.buffer(&[0; 32]), bench.room(512));
        bench.argument(&map, 64).address(whence).word(at).word(512).address(out);
        let kernel = format!("load_{rank}d");
        bench.finds(&kernel, Geometry::new(1, 32, 1024), seed, &[(kind, text)]);
    }
}

#[test]
fn wrong_maps_and_places() {
    refused(|map| map[0] = 0, 0, 2, Kind::Copy, "no tensor map: it begins with");
    refused(|_| {}, 0, 3, Kind::Copy, "the tensor map has rank 2, the copy 3");
    refused(|map| map[61] = 2, 0, 2, Kind::Copy, "element strides [2, 1]: not modelled");
    refused(|map| map[68] = 1, 0, 2, Kind::Copy, "interleave 1: not modelled");
    refused(|map| map[67] = 11, 0, 2, Kind::Copy, "tensor maps of data type 11: not modelled");
    refused(|_| {}, 64, 2, Kind::Misaligned, "no multiple of 128");
    refused(|_| {}, 640, 2, Kind::OutOfBounds, "past the end of the block's");
    // The tensor is larger than its memory.
    refused(
        |map| map[36] = 255,
        0,
        2,
        Kind::OutOfBounds,
        "past the end of the 4096-byte allocation",
    );
    // More bytes come than the kernel expects.
    refused(|map| map[57] = 15, 0, 2, Kind::Barrier, "512 bytes more have come than were expected");
}

#[test]
fn a_map_in_global_memory() {
    for seed in 0..20 {
        let Some(mut bench) = KERNELS.load() else { return };
        let bytes = noise(64 * 64, seed);
        let input = bench.buffer(&bytes);
        let map = bench.buffer(&Tensor::floats(input, [16, 64], [16, 8]).encoded());
        let (whence, out) = (bench.buffer(&[0; 8]), bench.room(512));
        bench.address(map).address(whence).word(0).word(512).address(out);
        bench.clean("load_by_pointer", Geometry::new(1, 32, 1024), seed);
        assert_eq!(bench.read(out, 512), bytes[..512]);
    }
}
