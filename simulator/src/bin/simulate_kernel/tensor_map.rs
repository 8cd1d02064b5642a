//! Tensor maps: `@FILE:DIMS:STRIDES_BYTES:BOX:ELEMENT_BYTES:SWIZZLE`, innermost first, with the conditions
//! of `cuTensorMapEncodeTiled`.

use std::str::FromStr;

use expertile_simulator::tensor_map::Tiled;

/// `CUtensorMapDataType` by element size: u8, bf16, f32, f64. Bytes are copied as they are.
const TYPES: [(u64, u32); 4] = [(1, 0), (2, 9), (4, 7), (8, 8)];
/// By `CUtensorMapSwizzle`.
const SWIZZLES: [u64; 4] = [0, 32, 64, 128];

/// The file, with its at sign, and the map, whose address is still to be filled in.
pub(super) fn read(text: &str) -> Result<(&str, Tiled), String> {
    let mut parts = text.rsplitn(6, ':');
    let mut next = || parts.next().unwrap_or_default();
    let (swizzle, element, boxes, strides, extents, file) =
        (next(), next(), next(), next(), next(), next());
    let buffer = file;
    let Some(file) = file.strip_prefix('@').filter(|file| !file.is_empty()) else {
        return Err("@FILE:DIMS:STRIDES_BYTES:BOX:ELEMENT_BYTES:SWIZZLE is expected".to_owned());
    };
    let extents = list::<u64>("DIMS", extents)?;
    let strides = list::<u64>("STRIDES_BYTES", strides)?;
    let boxes = list::<u32>("BOX", boxes)?;
    let element: u64 = number("ELEMENT_BYTES", element)?;
    let swizzle: u64 = number("SWIZZLE", swizzle)?;
    let rank = extents.len();
    if !(1..=5).contains(&rank) {
        return Err(format!("{rank} DIMS, from 1 to 5"));
    }
    if strides.len() != rank - 1 || boxes.len() != rank {
        return Err(format!(
            "{rank} DIMS, {} STRIDES_BYTES and a BOX of {}: {} and {rank} are expected",
            strides.len(),
            boxes.len(),
            rank - 1
        ));
    }
    if let Some(extent) = extents.iter().find(|extent| !(1..=1 << 32).contains(*extent)) {
        return Err(format!("{extent} in DIMS, from 1 to 2^32"));
    }
    if let Some(stride) = strides.iter().find(|it| !it.is_multiple_of(16) || **it >= 1 << 40) {
        return Err(format!("{stride} in STRIDES_BYTES, multiples of 16 below 2^40"));
    }
    if let Some(extent) = boxes.iter().find(|extent| !(1..=256).contains(*extent)) {
        return Err(format!("{extent} in BOX, from 1 to 256"));
    }
    let Some(&(_, data_type)) = TYPES.iter().find(|(bytes, _)| *bytes == element) else {
        return Err(format!("ELEMENT_BYTES {element}, one of 1, 2, 4, 8"));
    };
    let Some(mode) = SWIZZLES.iter().position(|&bytes| bytes == swizzle) else {
        return Err(format!("SWIZZLE {swizzle}, one of 0, 32, 64, 128"));
    };
    let row = u64::from(boxes[0]) * element;
    if !row.is_multiple_of(16) || swizzle != 0 && row > swizzle {
        return Err(format!("a BOX of {row} bytes innermost, SWIZZLE {swizzle}"));
    }
    let file = file.strip_suffix(":ro").unwrap_or(file);
    let bytes = std::fs::metadata(file).map_err(|error| format!("{file}: {error}"))?.len();
    let outer = extents[1..].iter().zip(&strides).map(|(&e, &s)| u128::from(e - 1) * u128::from(s));
    let end = outer.sum::<u128>() + u128::from(extents[0]) * u128::from(element);
    if end > bytes.into() {
        return Err(format!("the tensor ends at byte {end}, {file} has {bytes}"));
    }
    let map = Tiled {
        address: 0,
        extents,
        strides,
        boxes,
        element_strides: vec![1; rank],
        data_type,
        interleave: 0,
        swizzle: mode as u32,
        promotion: 0,
        fill: 0,
    };
    map.check()?;
    Ok((buffer, map))
}

fn number<T: FromStr>(what: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("`{text}` in {what} is no number"))
}

fn list<T: FromStr>(what: &str, text: &str) -> Result<Vec<T>, String> {
    match text {
        "" => Ok(Vec::new()),
        _ => text.split(',').map(|part| number(what, part)).collect(),
    }
}
