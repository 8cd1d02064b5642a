//! What is wrong with an argument is said with its number, before anything is launched.

use super::bench::{folder, images, tool, write};

/// An argument and what is said of it.
const MALFORMED: [(&str, &str); 44] = [
    ("5", "no type: TYPE:VALUE is expected"),
    ("int:5", "`int` is no type"),
    ("i32:", "`` is no i32"),
    ("i32:x", "`x` is no i32"),
    ("i32:1.5", "`1.5` is no i32"),
    ("i32:2147483648", "`2147483648` is no i32, which goes from -2147483648 to 2147483647"),
    ("u8:-1", "`-1` is no u8, which goes from 0 to 255"),
    ("i8:0x80", "`0x80` is no i8, which goes from -128 to 127"),
    ("u64:18446744073709551616", "`18446744073709551616` is no u64"),
    ("f32:1,5", "`1,5` is no f32"),
    ("f32:1e39", "`1e39` is more than f32 holds"),
    ("f16:65520", "`65520` is more than f16 holds"),
    ("f64:1e400", "`1e400` is more than f64 holds"),
    ("@missing.bin", "missing.bin: No such file"),
    ("@missing.bin:ro", "missing.bin: No such file"),
    ("@empty.bin", "0 bytes, a buffer has 1 at least; u64:0 is a null pointer"),
    ("out:f32:0", "0 bytes, a buffer has 1 at least"),
    ("out:f32", "no count: TYPE:N is expected"),
    ("out:f32:-1", "`-1` is no count"),
    ("out:f99:1", "`f99` is no type"),
    ("zero:f64:9999999999", "9999999999 times 8 bytes, a buffer has 17179869184 at most"),
    ("struct:u8:1", "`u8:1` is not in brackets"),
    ("struct:[]", "``: no type"),
    ("struct:[u8:1", "`[u8:1` is not in brackets"),
    ("struct:[u8:1]]", "the brackets of `[u8:1]]` do not match"),
    ("struct:[struct:[u8:1]", "the brackets of `[struct:[u8:1]` do not match"),
    ("struct:[u8:1,u8:256]", "`u8:256`: `256` is no u8"),
    ("struct:[u8:1,struct:[i16:x]]", "`struct:[i16:x]`: `i16:x`: `x` is no i16"),
    ("tma:a.bin", "@FILE:DIMS:STRIDES_BYTES:BOX:ELEMENT_BYTES:SWIZZLE is expected"),
    ("tma:@a.bin:x:16:8,8:2:0", "`x` in DIMS is no number"),
    ("tma:@a.bin:8,8:16:8:2:0", "2 DIMS, 1 STRIDES_BYTES and a BOX of 1: 1 and 2 are expected"),
    ("tma:@a.bin:8,8:16,16:8,8:2:0", "2 DIMS, 2 STRIDES_BYTES and a BOX of 2"),
    ("tma:@a.bin::::2:0", "0 DIMS, from 1 to 5"),
    ("tma:@a.bin:0,8:16:8,8:2:0", "0 in DIMS, from 1 to 2^32"),
    ("tma:@a.bin:8,8:24:8,8:2:0", "24 in STRIDES_BYTES, multiples of 16 below 2^40"),
    ("tma:@a.bin:8,8:16:8,257:2:0", "257 in BOX, from 1 to 256"),
    ("tma:@a.bin:8,8:16:8,8:3:0", "ELEMENT_BYTES 3, one of 1, 2, 4, 8"),
    ("tma:@a.bin:8,8:16:8,8:2:48", "SWIZZLE 48, one of 0, 32, 64, 128"),
    ("tma:@a.bin:8,8:16:4,8:2:0", "a BOX of 8 bytes innermost, SWIZZLE 0"),
    ("tma:@a.bin:64,8:128:64,8:2:64", "a BOX of 128 bytes innermost, SWIZZLE 64"),
    ("tma:@a.bin:8,17:16:8,8:2:0", "the tensor ends at byte 272, a.bin has 256"),
    ("tma:@missing.bin:8,8:16:8,8:2:0", "missing.bin: No such file"),
    ("struct:[u8:1,tma:@a.bin:8,17:16:8,8:2:0,u8:2]", "the tensor ends at byte 272"),
    ("struct:[u8:1,2]", "`1,2` is no u8"),
];

#[test]
fn malformed_arguments_are_refused() {
    let folder = folder("malformed");
    write(&folder.join("a.bin"), [[7; 256]].into_iter());
    write(&folder.join("empty.bin"), [[]].into_iter());
    for image in images() {
        for (argument, words) in MALFORMED {
            let said = tool(&folder, image, &format!("one_cell {argument}")).refused(words);
            let place = format!("argument 0 `{argument}`: ");
            assert!(said.error.contains(&place), "{place} is not in {said:?}");
        }
    }
}

#[test]
fn one_file_in_two_ways_is_refused() {
    let folder = folder("two_ways");
    write(&folder.join("a.bin"), [[7; 256]].into_iter());
    for image in images() {
        for second in ["@a.bin:ro", "zero:f32:1@a.bin"] {
            let words = format!("sum @a.bin {second} out:f32:1");
            let expected = format!("argument 1 `{second}`: `@a.bin` is of the same file");
            tool(&folder, image, &words).refused(&expected);
        }
    }
}

#[test]
fn arguments_have_the_number_and_sizes_of_the_parameters() {
    let folder = folder("sizes");
    let rows = [
        ("scale", "scale: 0 arguments, expected 3 of [8, 4, 4] bytes"),
        ("scale out:f32:1 f32:1", "scale: 2 arguments, expected 3 of [8, 4, 4] bytes"),
        ("scale out:f32:1 f32:1 i32:1 i32:1", "scale: 4 arguments, expected 3"),
        ("scale i32:1 f32:1 i32:1", "scale: argument 0 has 4 bytes, expected 8"),
        ("scale out:f32:1 f64:1 i32:1", "scale: argument 1 has 8 bytes, expected 4"),
        ("scale out:f32:1 f32:1 i16:1", "scale: argument 2 has 2 bytes, expected 4"),
        ("combine struct:[u8:1,u64:0] out:f32:1", "combine: argument 0 has 16 bytes, expected 32"),
    ];
    for image in images() {
        for (words, expected) in rows {
            tool(&folder, image, words).refused(expected);
        }
    }
}
