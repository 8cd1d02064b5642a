//! Hostile headers of safetensors files.

use crate::forge::{Array, file, file_of, ones, refusal};
use expertile_reference::checkpoint::{Header, read_tensor};
use std::path::Path;

fn read(bytes: &[u8]) -> Result<Header, expertile_reference::checkpoint::Error> {
    Header::read(Path::new("x"), &mut &bytes[..], bytes.len() as u64)
}

/// The refusal of a file whose tensors are `entries`, without the outer braces.
fn refused(entries: &str, data_bytes: usize) -> String {
    refusal(read(&file(format!("{{{entries}}}"), &vec![0; data_bytes])))
}

/// A header entry.
fn entry(name: &str, dtype: &str, shape: &str, start: u64, end: u64) -> String {
    format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{start},{end}]}}"#)
}

#[test]
fn a_file_cut_short_anywhere_is_refused() {
    let whole = file_of(&[ones("a", &[2, 3]), ones("b", &[5])]);
    assert_eq!(read(&whole).unwrap().len(), 2);
    for bytes in 0..whole.len() {
        refusal(read(&whole[..bytes]));
    }
    assert_eq!(refusal(read(&whole[..7])), "x: has 7 bytes, expected at least 8");
    let bytes = whole.len() - 1;
    let expected = "x: has 43 bytes of data, but tensors of 44 bytes";
    assert_eq!(refusal(read(&whole[..bytes])), expected);
    assert_eq!(
        refusal(read(&[&whole[..], b"PK\x03\x04"].concat())),
        "x: has 48 bytes of data, but tensors of 44 bytes"
    );
}

/// The file shrinks between the look at its size and the read.
#[test]
fn a_reader_that_ends_early_is_refused() {
    let whole = file_of(&[ones("a", &[2, 3])]);
    for bytes in 0..whole.len() - 24 {
        let result = Header::read(Path::new("x"), &mut &whole[..bytes], whole.len() as u64);
        assert_eq!(refusal(result), "x cannot be read: failed to fill whole buffer");
    }
    let header = read(&whole).unwrap();
    for bytes in 0..24 {
        let mut data = &whole[whole.len() - 24..][..bytes];
        let entry = header.get("a").unwrap();
        let result = read_tensor(Path::new("x"), "a", entry, &mut data, &mut |_| ());
        assert_eq!(refusal(result), "x cannot be read: failed to fill whole buffer");
    }
}

#[test]
fn header_lengths() {
    let with_length = |length: u64| [&length.to_le_bytes()[..], b"{}      "].concat();
    for (length, expected) in [
        (0, "x: is not valid JSON: EOF while parsing a value at line 1 column 0"),
        (1, "x: is not valid JSON: EOF while parsing an object at line 1 column 1"),
        (9, "x: has a header of 9 bytes, expected at most 8"),
        (1 << 63, "x: has a header of 9223372036854775808 bytes, expected at most 8"),
        (u64::MAX, "x: has a header of 18446744073709551615 bytes, expected at most 8"),
    ] {
        assert_eq!(refusal(read(&with_length(length))), expected);
    }
    assert!(read(&with_length(8)).unwrap().is_empty());
    // The limit of the format, in a file that is as large as it says.
    let length = 100_000_001u64.to_le_bytes();
    let result = Header::read(Path::new("x"), &mut &length[..], 1 << 40);
    let expected = "x: has a header of 100000001 bytes, expected at most 100000000";
    assert_eq!(refusal(result), expected);
}

#[test]
fn offsets() {
    let pair = |a: (u64, u64), b: (u64, u64), data| {
        let a = entry("a", "F32", "[2]", a.0, a.1);
        refused(&format!("{a},{}", entry("b", "F32", "[2]", b.0, b.1)), data)
    };
    assert_eq!(pair((0, 8), (4, 12), 12), "x: b starts at byte 4 of the data, expected 8");
    assert_eq!(pair((0, 8), (0, 8), 8), "x: b starts at byte 0 of the data, expected 8");
    assert_eq!(pair((0, 8), (12, 20), 20), "x: b starts at byte 12 of the data, expected 8");
    assert_eq!(pair((8, 16), (16, 24), 24), "x: a starts at byte 8 of the data, expected 0");
    let backward = "x: b ends at byte 8 of the data, before its start at 16";
    assert_eq!(pair((0, 8), (16, 8), 16), backward);
    assert_eq!(pair((0, 8), (8, 16), 12), "x: has 12 bytes of data, but tensors of 16 bytes");
    let past = u64::MAX - 7;
    assert_eq!(
        pair((0, 8), (past, u64::MAX), 16),
        "x: b has 7 bytes, expected 8 for shape [2] of F32"
    );
    // The order in the header is free.
    let reversed =
        format!("{},{}", entry("a", "F32", "[2]", 8, 16), entry("b", "F32", "[2]", 0, 8));
    assert_eq!(read(&file(format!("{{{reversed}}}"), &[0; 16])).unwrap().len(), 2);
}

#[test]
fn sizes_and_shapes() {
    for (dtype, shape, bytes, expected) in [
        ("F32", "[2, 2]", 12, "x: a has 12 bytes, expected 16 for shape [2, 2] of F32"),
        ("BF16", "[3]", 12, "x: a has 12 bytes, expected 6 for shape [3] of BF16"),
        ("F32", "[0]", 4, "x: a has 4 bytes, expected 0 for shape [0] of F32"),
        ("F32", "[]", 0, "x: a has 0 bytes, expected 4 for shape [] of F32"),
        ("F4", "[3]", 1, "x: a has shape [3] of F4, which is not a number of bytes"),
        (
            "F32",
            "[4294967296, 4294967296]",
            0,
            "x: a has shape [4294967296, 4294967296], whose size overflows",
        ),
        (
            "F32",
            "[9223372036854775808, 2]",
            0,
            "x: a has shape [9223372036854775808, 2], whose size overflows",
        ),
        (
            "F32",
            "[4611686018427387905]",
            4,
            "x: a has shape [4611686018427387905], whose size overflows",
        ),
    ] {
        let entry = entry("a", dtype, shape, 0, bytes);
        assert_eq!(refused(&entry, bytes as usize), expected);
    }
    let many = format!("[{}1]", "1,".repeat(8));
    let expected = "x: is not valid JSON: more than 8 dimensions at line 1 column 47";
    assert_eq!(refused(&entry("a", "F32", &many, 0, 4), 4), expected);
    let scalar = entry("a", "F32", "[]", 0, 4);
    assert_eq!(read(&file(format!("{{{scalar}}}"), &[0; 4])).unwrap().len(), 1);
}

#[test]
fn the_wrong_kind_of_json() {
    for (header, expected) in [
        ("[]", "invalid type: sequence, expected an object of tensors at line 1 column 0"),
        (r#"{"a":5}"#, "invalid type: integer `5`, expected a tensor"),
        (r#"{"a":{"dtype":"F32","shape":[1]}}"#, "missing field `data_offsets`"),
        (&format!("{{{}}}", entry("a", "F33", "[1]", 0, 4)), "unknown variant `F33`"),
        (&format!("{{{}}}", entry("a", "F32", "[1.0]", 0, 4)), "floating point `1.0`"),
        (&format!("{{{}}}", entry("a", "F32", "[-1]", 0, 4)), "integer `-1`, expected usize"),
        (&format!("{{{}}}", entry("a", "F32", "[1e308]", 0, 4)), "floating point `1e+308`"),
        (&format!("{{{}}}", entry("a", "F32", "[1e400]", 0, 4)), "number out of range"),
        (&format!("{{{}}}", entry("a", "F32", "null", 0, 4)), "expected a list of extents"),
        (r#"{"a":{"dtype":"F32","shape":[],"data_offsets":[0,4,8]}}"#, "trailing characters"),
        (r#"{} {}"#, "trailing characters"),
        (&"[".repeat(100_000), "expected an object of tensors"),
        (&r#"{"a":"#.repeat(100_000), "EOF while parsing a value"),
        (&format!(r#"{{"__metadata__":{}"#, "[".repeat(100_000)), "EOF while parsing"),
    ] {
        let refusal = refusal(read(&file(header, &[0; 4])));
        assert!(refusal.starts_with("x: is not valid JSON: "), "{refusal}");
        assert!(refusal.contains(expected), "{refusal}");
    }
    let bytes = file(b"{\"\xff\":0}", &[]);
    assert_eq!(refusal(read(&bytes)), "x: has a header that is not UTF-8");
}

#[test]
fn names() {
    let twice = format!("{},{}", entry("a", "F32", "[1]", 0, 4), entry("a", "F32", "[1]", 4, 8));
    assert_eq!(refused(&twice, 8), "x: has a twice");
    let metadata = r#""__metadata__":{"format":"pt"}"#;
    assert_eq!(refused(&format!("{metadata},{metadata}"), 0), "x: has __metadata__ twice");
    assert!(read(&file(format!("{{{metadata}}}"), &[])).unwrap().is_empty());
    // A name of 1 MB is cut, and one that would start a line or turn the text round is escaped.
    let long = refused(&entry(&"n".repeat(1_000_000), "F32", "[1]", 0, 8), 8);
    assert!(long.contains("nnn... (1000000 bytes) has 8 bytes, expected 4"), "{long}");
    let turned = refused(&entry(r"a\n\u0000\u202eb", "F32", "[1]", 0, 8), 8);
    assert_eq!(turned, r"x: a\n\0\u{202e}b has 8 bytes, expected 4 for shape [1] of F32");
}

/// Each byte of a small file is changed in many ways. Nothing panics, and what still passes covers
/// the file exactly.
#[test]
fn mutations_are_refused_or_harmless() {
    let half = Array { dtype: "F16", data: vec![0; 12], ..ones("b", &[2, 3]) };
    let whole = file_of(&[ones("a", &[2, 3]), half]);
    let header_bytes = whole.len() - 36;
    for at in 0..header_bytes {
        for byte in (0..=255).step_by(3).chain(*b"0129,:[]{}\"-eE.\\ ") {
            let mut mutated = whole.clone();
            mutated[at] = byte;
            match read(&mutated) {
                Ok(header) => {
                    let bytes: u64 = header.tensors().map(|(_, entry)| entry.bytes()).sum();
                    assert_eq!(bytes, 36);
                }
                Err(error) => drop(refusal(Err::<(), _>(error))),
            }
        }
    }
}
