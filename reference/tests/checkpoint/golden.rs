//! The golden checkpoints and the built-in model.

use crate::forge::Folder;
use expertile_reference::checkpoint::{
    Checkpoint, Data, TensorFile, Writer, builtin_model, read_i64, resolve, write,
};
use expertile_reference::tensor::Elements;
use safetensors::Dtype;
use std::path::{Path, PathBuf};

const FOLDERS: [&str; 4] = ["tiny-top2", "dbrx-shape", "no-renorm", "pnorm2"];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

#[test]
fn every_golden_checkpoint_loads() {
    for folder in FOLDERS.map(golden).into_iter().chain([builtin_model()]) {
        let checkpoint = Checkpoint::open(&folder).unwrap();
        let (mut last, mut calls) = (0, 0);
        let weights = checkpoint
            .load(&mut |done, total| {
                assert!(last < done && done <= total && total == checkpoint.bytes());
                (last, calls) = (done, calls + 1);
            })
            .unwrap();
        assert_eq!(last, checkpoint.bytes());
        assert!(calls >= 11);
        let config = checkpoint.config();
        assert_eq!(weights.blocks.len(), config.layers);
        assert_eq!(weights.wte.shape(), [config.vocab, config.hidden]);
        for block in &weights.blocks {
            assert_eq!(block.w2.shape(), [config.experts * config.ffn_hidden, config.hidden]);
        }
    }
}

#[test]
fn configurations_are_those_of_the_table() {
    let open = |name| Checkpoint::open(golden(name)).unwrap();
    let tiny = open("tiny-top2");
    assert_eq!(tiny.config().clip_qkv, None);
    assert_eq!((tiny.config().experts, tiny.config().top_k), (8, 2));
    assert_eq!((tiny.bos(), tiny.eos()), (None, &[][..]));
    let sharded = open("dbrx-shape");
    assert_eq!((sharded.config().q_heads, sharded.config().head_dim()), (6, 128));
    assert_eq!(sharded.config().clip_qkv, Some(1.5));
    assert_eq!(open("no-renorm").config().p_norm, None);
    assert_eq!(open("pnorm2").config().p_norm, Some(2.0));
    assert_eq!(open("pnorm2").config().rope_theta, 25_000.0);

    let nano = Checkpoint::open(resolve("nano")).unwrap();
    assert_eq!(nano.config().p_norm, Some(1.0));
    assert_eq!((nano.bos(), nano.eos()), (Some(0), &[0][..]));
    assert_eq!(nano.config().vocab, 2048);
    assert_eq!(resolve("some/folder"), Path::new("some/folder"));
}

#[test]
fn stored_types_are_kept() {
    for (folder, dtype) in [("tiny-top2", "F32"), ("dbrx-shape", "BF16"), ("pnorm2", "F16")] {
        let weights = Checkpoint::open(golden(folder)).unwrap().load(&mut |_, _| ()).unwrap();
        assert_eq!(weights.lm_head.elements().dtype(), dtype);
        assert_eq!(weights.blocks[0].router.elements().dtype(), dtype);
    }
}

/// The elements against the crate that reads a file as a whole.
#[test]
fn elements_are_those_of_another_reader() {
    let path = golden("pnorm2").join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    let whole = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let file = TensorFile::open(&path).unwrap();
    assert_eq!(file.header().len(), whole.len());
    for (name, entry) in file.header().tensors() {
        let expected = whole.tensor(name).unwrap();
        assert_eq!((entry.dtype(), entry.shape()), (expected.dtype(), expected.shape()));
        let Elements::F16(found) = file.tensor(name, &mut |_| ()).unwrap().elements().clone()
        else {
            panic!("{name} is not F16");
        };
        let found: Vec<_> = found.iter().flat_map(|x| x.to_le_bytes()).collect();
        assert!(found == expected.data(), "{name}");
    }
}

#[test]
fn expected_outputs_can_be_read() {
    let path = golden("no-renorm").join("expected.safetensors");
    let (shape, ids) = read_i64(&path, "input_ids").unwrap();
    assert_eq!(shape.iter().product::<usize>(), ids.len());
    assert!(ids.iter().all(|id| (0..96).contains(id)));
    let file = TensorFile::open(&path).unwrap();
    let logits = file.tensor("logits", &mut |_| ()).unwrap();
    assert_eq!(logits.shape(), [shape[0], shape[1], 96]);
}

#[test]
fn what_is_written_reads_back() {
    let folder = Folder::new();
    let path = folder.path().join("out.safetensors");
    let (logits, ids) = ([1.5f32, -2.0, 0.0, 3.25, 1e-40, f32::MAX], [i64::MIN, -1, i64::MAX]);
    let arrays: [(&str, &[usize], _); 3] = [
        ("logits", &[2, 3], Data::F32(&logits)),
        ("ids", &[3], Data::I64(&ids)),
        ("empty", &[0, 7], Data::F32(&[])),
    ];
    write(&path, &arrays).unwrap();
    let file = TensorFile::open(&path).unwrap();
    let read = file.tensor("logits", &mut |_| ()).unwrap();
    assert_eq!((read.shape(), &*read.to_f32()), (&[2, 3][..], &logits[..]));
    assert_eq!(file.tensor_i64("ids").unwrap(), (vec![3], ids.to_vec()));
    assert_eq!(file.tensor("empty", &mut |_| ()).unwrap().shape(), [0, 7]);
    // Another reader agrees, and finds each array where its elements are aligned.
    let bytes = std::fs::read(&path).unwrap();
    let whole = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let offset = whole.tensor("ids").unwrap().data().as_ptr() as usize - bytes.as_ptr() as usize;
    assert_eq!((whole.len(), offset % 8), (3, 0));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    write(&path, &[]).unwrap();
    assert!(TensorFile::open(&path).unwrap().header().is_empty());

    let refusal = |arrays: &[(&str, &[usize], Data<'_>)]| folder.refusal(write(&path, arrays));
    assert_eq!(
        refusal(&[("x", &[2, 2], Data::I64(&ids))]),
        "DIR/out.safetensors: x has 3 elements, expected shape [2, 2]"
    );
    assert_eq!(
        refusal(&[("x", &[3], Data::I64(&ids)), ("x", &[6], Data::F32(&logits))]),
        "DIR/out.safetensors: x appears twice"
    );
    assert_eq!(folder.refusal(write(folder.path(), &arrays)), "DIR: is not a regular file");
    let nowhere = folder.path().join("nowhere/out.safetensors");
    let refusal = folder.refusal(write(&nowhere, &arrays));
    assert!(refusal.starts_with("DIR/nowhere/out.safetensors cannot be written: "), "{refusal}");
}

#[test]
fn arrays_are_written_in_pieces() {
    let folder = Folder::new();
    let path = folder.path().join("out.safetensors");
    let declared: [(&str, &[usize], Dtype); 2] = [("x", &[3], Dtype::F32), ("i", &[2], Dtype::I64)];
    folder.write("out.safetensors", "what was there before");
    let mut writer = Writer::create(&path, &declared).unwrap();
    writer.append("x", Data::F32(&[1.0])).unwrap();
    writer.append("i", Data::I64(&[7])).unwrap();
    for (name, data, expected) in [
        ("x", Data::I64(&[1]), "x is I64, expected F32"),
        ("x", Data::F32(&[0.0; 3]), "x has 12 more bytes, expected at most 8"),
        ("y", Data::F32(&[]), "y is not one of the arrays"),
    ] {
        let expected = format!("DIR/out.safetensors: {expected}");
        assert_eq!(folder.refusal(writer.append(name, data)), expected);
    }
    writer.append("x", Data::F32(&[2.0, 3.0])).unwrap();
    assert_eq!(folder.refusal(writer.finish()), "DIR/out.safetensors: i lacks 8 bytes");
    assert_eq!(std::fs::read(&path).unwrap(), b"what was there before");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);

    let mut writer = Writer::create(&path, &declared).unwrap();
    for (x, i) in [(&[1.0][..], &[7][..]), (&[2.0, 3.0], &[-8]), (&[], &[])] {
        writer.append("x", Data::F32(x)).unwrap();
        writer.append("i", Data::I64(i)).unwrap();
    }
    writer.finish().unwrap();
    let file = TensorFile::open(&path).unwrap();
    assert_eq!(*file.tensor("x", &mut |_| ()).unwrap().to_f32(), [1.0, 2.0, 3.0]);
    assert_eq!(file.tensor_i64("i").unwrap(), (vec![2], vec![7, -8]));

    let huge = Writer::create(&path, &[("x", &[usize::MAX, 2], Dtype::F32)]);
    let expected = "x has shape [18446744073709551615, 2], whose size overflows";
    assert_eq!(folder.refusal(huge), format!("DIR/out.safetensors: {expected}"));
}
