//! `integers.cu`: every instruction against the PTX ISA's formula, in wide integers and bit by bit.

use super::bench::{Source, random};

static INTEGERS: Source = Source::new("integers.cu");

/// Triples of operands: random, with small numbers, and with edges.
fn operands() -> Vec<[u32; 3]> {
    let edges = [0, 1, 31, 32, 33, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF];
    let bits: Vec<u32> = random(9, 6 * 256, 1 << 31).chunks(2).map(|p| p[0] ^ p[1] << 13).collect();
    let triples = bits.chunks(3).enumerate().map(|(index, triple)| {
        let pick = |at: usize| match (index >> (2 * at)) & 3 {
            0 => triple[at] & 0x3F,
            1 => edges[triple[at] as usize % edges.len()],
            _ => triple[at],
        };
        [pick(0), pick(1), pick(2)]
    });
    triples.collect()
}

fn check(kernel: &str, formula: impl Fn(u32, u32, u32) -> u32) {
    let Some(mut bench) = INTEGERS.load() else { return };
    let operands = operands();
    bench.buffer(operands.as_flattened());
    let out = bench.room::<u32>(operands.len());
    bench.clean(kernel, 1, operands.len() as u32, 0, 1);
    for (&[a, b, c], got) in operands.iter().zip(bench.read::<u32>(out, operands.len())) {
        let want = formula(a, b, c);
        assert_eq!(got, want, "{kernel} of {a:#x}, {b:#x}, {c:#x}: {got:#x}, not {want:#x}");
    }
}

fn bytes_of(a: u32, b: u32) -> [u8; 8] {
    (u64::from(a) | u64::from(b) << 32).to_le_bytes()
}

/// `prmt` in its general mode: bit 3 of a selector repeats the sign of the byte.
fn permuted(a: u32, b: u32, selector: u32) -> u32 {
    let byte = |at: u32| {
        let nibble = selector >> (4 * at);
        let byte = bytes_of(a, b)[nibble as usize & 7];
        if nibble & 8 == 0 { byte } else { 0u8.wrapping_sub(byte >> 7) }
    };
    u32::from_le_bytes([byte(0), byte(1), byte(2), byte(3)])
}

/// The value of `width` bits from `start`, bits from 32 on being 0 or the sign.
fn extracted(a: u32, start: u32, width: u32, signed: bool) -> u32 {
    let (start, width) = (start & 0xFF, width & 0xFF);
    let bit = |at: u32| a >> at.min(31) & 1;
    let sign = if !signed || width == 0 { 0 } else { bit((start + width - 1).min(31)) };
    (0..32).fold(0, |value, at| {
        let inside = at < width && start + at < 32;
        value | (if inside { bit(start + at) } else { sign }) << at
    })
}

#[test]
fn bytes_and_bits() {
    check("byte_perm", |a, b, c| permuted(a, b, c & 0x7777));
    check("permute_signed", permuted);
    // The ISA's tables: bytes 3 to 0 of the result for each selector.
    let tables = [
        ("permute_forward", [0x3210, 0x4321, 0x5432, 0x6543]),
        ("permute_backward", [0x5670, 0x6701, 0x7012, 0x0123]),
        ("permute_left", [0x3210, 0x3211, 0x3222, 0x3333]),
        ("permute_halves", [0x1010, 0x3232, 0x1010, 0x3232]),
    ];
    for (kernel, table) in tables {
        check(kernel, |a, b, c| permuted(a, b, table[c as usize & 3]));
    }
    check("reverse", |a, _, _| (0..32).map(|at| (a >> at & 1) << (31 - at)).sum());
    check("leading", |a, _, _| (0..32).take_while(|at| a >> (31 - at) & 1 == 0).count() as u32);
    check("ones", |a, _, _| (0..32).map(|at| a >> at & 1).sum());
    check("first", |a, _, _| (0..32).find(|at| a >> at & 1 == 1).map_or(0, |at| at + 1));
    check("extract_signed", |a, b, c| extracted(a, b, c, true));
    check("extract_unsigned", |a, b, c| extracted(a, b, c, false));
    check("insert", |a, b, c| {
        // bfi d, a, b, c, 9: nine bits of a over those of b from position c.
        let start = c & 0xFF;
        (0..32).fold(0, |value, at| {
            let inside = at >= start && at < start + 9;
            value | (if inside { a >> (at - start) & 1 } else { b >> at & 1 }) << at
        })
    });
    let found = |a: u32| (0..32).rev().find(|at| a >> at & 1 == 1);
    check("find_signed", |a, _, _| found(if a >> 31 == 1 { !a } else { a }).unwrap_or(u32::MAX));
    check("find_shift", |a, _, _| found(a).map_or(u32::MAX, |at| 31 - at));
    check("logic", |a, b, c| {
        (0..32).fold(0, |value, at| {
            let row = (a >> at & 1) << 2 | (b >> at & 1) << 1 | c >> at & 1;
            value | (0xD2 >> row & 1) << at
        })
    });
    check("mask", |a, b, _| {
        (0..32u32).fold(0, |value, at| {
            let inside =
                u64::from(at) >= u64::from(a) && u64::from(at) < u64::from(a) + u64::from(b);
            value | u32::from(inside) << at
        })
    });
    check("mask_wrapped", |a, b, _| {
        (0..32u32).fold(0, |value, at| {
            let inside = at >= a & 31 && at < (a & 31) + (b & 31);
            value | u32::from(inside) << at
        })
    });
    check("zero_extend", |a, b, _| extracted(a, 0, b.min(32), false));
    check("sign_extend", |a, b, _| match b & 31 {
        0 => 0,
        bits => extracted(a, 0, bits, true),
    });
}

#[test]
fn shifts() {
    check("funnel_left", |a, b, c| ((u64::from(b) << 32 | u64::from(a)) << (c & 31) >> 32) as u32);
    check("funnel_right_clamped", |a, b, c| {
        ((u64::from(b) << 32 | u64::from(a)) >> c.min(32)) as u32
    });
    check("shifted", |a, b, c| {
        let by = b & 63;
        let left = if by > 31 { 0 } else { a << by };
        left.wrapping_add((c as i32 >> by.min(31)) as u32)
    });
    check("shift_right_clamped", |a, b, _| (a as i32 >> b.min(31)) as u32);
    check("shift_left_clamped", |a, b, _| if b > 31 { 0 } else { a << b });
}

#[test]
fn products_and_sums() {
    let signed = |a: u32| i64::from(a as i32);
    check("high_signed", |a, b, _| ((signed(a) * signed(b)) >> 32) as u32);
    check("high_unsigned", |a, b, _| ((u64::from(a) * u64::from(b)) >> 32) as u32);
    check("sad_signed", |a, b, c| c.wrapping_add((signed(a) - signed(b)).unsigned_abs() as u32));
    check("sad_unsigned", |a, b, c| c.wrapping_add(a.abs_diff(b)));
    check("dot_signed", |a, b, c| {
        let products = a.to_le_bytes().into_iter().zip(b.to_le_bytes());
        products.fold(c, |sum, (a, b)| {
            sum.wrapping_add((i32::from(a as i8) * i32::from(b as i8)) as u32)
        })
    });
    check("dot_unsigned", |a, b, c| {
        let products = a.to_le_bytes().into_iter().zip(b.to_le_bytes());
        products.fold(c, |sum, (a, b)| sum.wrapping_add(u32::from(a) * u32::from(b)))
    });
    let low24 = |a: u32| i64::from((a << 8) as i32 >> 8);
    check("mul24_low", |a, b, _| (low24(a) * low24(b)) as u32);
    check("mul24_high", |a, b, _| {
        ((u64::from(a & 0xFF_FFFF) * u64::from(b & 0xFF_FFFF)) >> 16) as u32
    });
    check("wide_high", |a, b, c| {
        let wide = |high: u32, low: u32| u128::from(high) << 32 | u128::from(low);
        ((wide(a, b) * wide(b, c)) >> 64) as u32
    });
    check("wide_quotient", |a, b, c| {
        ((u64::from(a) << 32 | u64::from(b)) / (u64::from(c & 0xFFFF) << 16 | 7)) as u32
    });
    check("signed_remainder", |a, b, _| (signed(a) % (signed(b) | 1)) as u32);
    check("add_saturated", |a, b, _| (a as i32).saturating_add(b as i32) as u32);
    check("carry", |a, b, c| c.wrapping_add(u32::from(a.checked_add(b).is_none())));
    check("borrow", |a, b, c| c.wrapping_sub(u32::from(a < b)));
    check("multiply_carry", |a, b, c| {
        // The low product plus c carries into the high one.
        ((u64::from(a) * u64::from(b) + u64::from(c)) >> 32) as u32
    });
}
