//! Weights that are not finite, and tensors of other types.

use crate::forge::{Array, CONFIG, Folder, arrays, file_of, folder_of, ones};
use expertile_reference::checkpoint::{Checkpoint, TensorFile, read_i64};
use half::{bf16, f16};

/// The bytes of 2 and of each value that is not finite, for one type.
fn bytes_of(dtype: &str) -> ([u8; 4], usize, [[u8; 4]; 3]) {
    let specials = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
    let half = |bytes: [u8; 2]| [bytes[0], bytes[1], 0, 0];
    match dtype {
        "F32" => (2f32.to_le_bytes(), 4, specials.map(f32::to_le_bytes)),
        "F16" => {
            let bytes = |x| half(f16::from_f32(x).to_le_bytes());
            (bytes(2.0), 2, specials.map(bytes))
        }
        _ => {
            let bytes = |x| half(bf16::from_f32(x).to_le_bytes());
            (bytes(2.0), 2, specials.map(bytes))
        }
    }
}

#[test]
fn weights_that_are_not_finite_are_refused() {
    for dtype in ["F32", "F16", "BF16"] {
        let (two, size, specials) = bytes_of(dtype);
        for (special, name) in specials.iter().zip(["NaN", "inf", "-inf"]) {
            let mut arrays = arrays();
            let mut data = two[..size].repeat(20);
            // Element [3, 2] of [5, 4], and a later one that is not reported.
            data[14 * size..15 * size].copy_from_slice(&special[..size]);
            data[19 * size..].copy_from_slice(&special[..size]);
            arrays[0] = Array { dtype, data, ..arrays[0].clone() };
            let folder = folder_of(CONFIG, &arrays);
            let checkpoint = Checkpoint::open(folder.path()).unwrap();
            assert_eq!(
                folder.refusal(checkpoint.load(&mut |_, _| ())),
                format!(
                    "DIR/model.safetensors: transformer.wte.weight[3, 2] is {name}, expected a \
                     finite number"
                )
            );
        }
    }
}

/// The position counts from the start of the tensor, not from that of the step that read it.
#[test]
fn positions_count_across_steps() {
    let folder = Folder::new();
    let (rows, columns) = (700, 1000);
    let mut array = ones("x", &[rows, columns]);
    let at = 4 * (612 * columns + 345);
    array.data[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    folder.write("t", file_of(&[ones("before", &[3]), array]));
    let file = TensorFile::open(&folder.path().join("t")).unwrap();
    let mut bytes = 0;
    let result = file.tensor("x", &mut |step| bytes += step);
    assert_eq!(folder.refusal(result), "DIR/t: x[612, 345] is NaN, expected a finite number");
    assert_eq!(bytes, 2 << 20);
}

#[test]
fn subnormal_and_extreme_values_pass() {
    let folder = Folder::new();
    let values = [f32::MIN_POSITIVE / 4.0, -0.0, f32::MAX, f32::MIN];
    let data = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    folder.write("t", file_of(&[Array { data, ..ones("x", &[4]) }]));
    let file = TensorFile::open(&folder.path().join("t")).unwrap();
    assert_eq!(&*file.tensor("x", &mut |_| ()).unwrap().to_f32(), values);
}

#[test]
fn integers() {
    let folder = Folder::new();
    let path = folder.path().join("t");
    let data = [7i64, -1, i64::MAX].iter().flat_map(|x| x.to_le_bytes()).collect();
    let ids = Array { dtype: "I64", data, ..ones("input_ids", &[1, 3]) };
    folder.write("t", file_of(&[ids, ones("x", &[2])]));
    assert_eq!(read_i64(&path, "input_ids").unwrap(), (vec![1, 3], vec![7, -1, i64::MAX]));
    assert_eq!(folder.refusal(read_i64(&path, "x")), "DIR/t: x has dtype F32, expected I64");
    assert_eq!(folder.refusal(read_i64(&path, "y")), "DIR/t: y is missing");
    let file = TensorFile::open(&path).unwrap();
    assert_eq!(
        folder.refusal(file.tensor("input_ids", &mut |_| ())),
        "DIR/t: input_ids has dtype I64, expected F32, F16 or BF16"
    );
}
