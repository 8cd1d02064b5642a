//! Each instruction against a formula of its own, in PTX written by hand.

use expertile_simulator::engine::{Device, INSTRUCTION_LIMIT, Launch, Outcome, Program};
use expertile_simulator::memory::Memory;
use expertile_simulator::ptx::Module;
use expertile_simulator::report::Kind;

const DEVICE: Device =
    Device { compute_capability: 90, multiprocessors: 4, max_shared_bytes: 100 << 10 };

/// Executes a body for 32 lanes. `%a`, `%b`, `%c` (b64) hold three inputs of the lane, `%d` (b64) is
/// stored. `%x0..9`: b32, `%h0..9`: b16, `%f0..9`: f32, `%g0..9`: f64, `%p0..9`: predicates.
fn execute(body: &str, inputs: &[[u64; 3]; 32], seed: u64) -> (Outcome, [u64; 32]) {
    let text = format!(
        ".version 8.3\n.target sm_90a\n.address_size 64\n.visible .entry k(.param .u64 p)\n{{\n\
         .reg .b64 %a, %b, %c, %d, %base, %y<10>;\n.reg .b32 %x<10>, %lane;\n.reg .b16 %h<10>;\n\
         .reg .f32 %f<10>;\n.reg .f64 %g<10>;\n.reg .pred %p<10>;\n\
         ld.param.u64 %base, [p];\nmov.u32 %lane, %tid.x;\nmad.wide.u32 %base, %lane, 32, %base;\n\
         ld.global.u64 %a, [%base];\nld.global.u64 %b, [%base+8];\nld.global.u64 %c, [%base+16];\n\
         {body}\nst.global.u64 [%base+24], %d;\nret;\n}}\n"
    );
    let module = Module::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let mut memory = Memory::new(1 << 32, 1 << 24);
    let program = Program::load(module, &mut memory).expect("a program");
    let at = memory.allocate(32 * 32).expect("memory");
    for (lane, input) in inputs.iter().enumerate() {
        let bytes: Vec<u8> = input.iter().flat_map(|value| value.to_le_bytes()).collect();
        memory.write(at + 32 * lane as u64, &bytes).expect("memory");
    }
    let launch = Launch {
        kernel: "k",
        grid: [1; 3],
        block: [32, 1, 1],
        dynamic_shared_bytes: 0,
        parameters: &at.to_le_bytes(),
        seed,
        approximation_seed: 5,
        instruction_limit: INSTRUCTION_LIMIT,
        device: &DEVICE,
    };
    let outcome = program.launch(&mut memory, &launch);
    let out = std::array::from_fn(|lane| {
        let mut bytes = [0; 8];
        memory.read(at + 32 * lane as u64 + 24, &mut bytes).expect("memory");
        u64::from_le_bytes(bytes)
    });
    (outcome, out)
}

/// Inputs that mix edges and patterns.
fn inputs(round: u64) -> [[u64; 3]; 32] {
    let edges = [
        0,
        1,
        2,
        31,
        32,
        33,
        63,
        64,
        0x7F,
        0x80,
        0xFF,
        0x7FFF,
        0x8000,
        0xFFFF,
        0x7FFF_FFFF,
        0x8000_0000,
        0xFFFF_FFFF,
        1 << 32,
        i64::MAX as u64,
        1 << 63,
        u64::MAX,
    ];
    let mut state = round.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        match state >> 60 {
            0..=5 => edges[(state >> 20) as usize % edges.len()],
            6..=7 => (state >> 20) & 0x3F,
            _ => state.rotate_left(21),
        }
    };
    std::array::from_fn(|_| std::array::from_fn(|_| next()))
}

#[track_caller]
fn check(body: &str, formula: impl Fn(u64, u64, u64) -> u64) {
    for round in 1..=8 {
        let inputs = inputs(round);
        let (outcome, out) = execute(body, &inputs, round);
        assert!(outcome.reports.is_empty(), "{}", outcome.reports[0]);
        for (lane, [a, b, c]) in inputs.into_iter().enumerate() {
            let expected = formula(a, b, c);
            assert_eq!(out[lane], expected, "{body}: a {a:#x} b {b:#x} c {c:#x} lane {lane}");
        }
    }
}

/// An instruction `op %x0, %x1, %x2, %x3` on the low words of the inputs.
#[track_caller]
fn check32(op: &str, operands: usize, formula: impl Fn(u32, u32, u32) -> u32) {
    let list = ["%x1", "%x2", "%x3"][..operands].join(", ");
    let body = format!(
        "cvt.u32.u64 %x1, %a; cvt.u32.u64 %x2, %b; cvt.u32.u64 %x3, %c;\n{op} %x0, {list};\n\
         cvt.u64.u32 %d, %x0;"
    );
    check(&body, |a, b, c| formula(a as u32, b as u32, c as u32).into());
}

#[track_caller]
fn check64(op: &str, operands: usize, formula: impl Fn(u64, u64, u64) -> u64) {
    let list = ["%a", "%b", "%c"][..operands].join(", ");
    check(&format!("{op} %d, {list};"), formula);
}

#[track_caller]
fn check16(op: &str, operands: usize, formula: impl Fn(u16, u16, u16) -> u16) {
    let list = ["%h1", "%h2", "%h3"][..operands].join(", ");
    let body = format!(
        "cvt.u16.u64 %h1, %a; cvt.u16.u64 %h2, %b; cvt.u16.u64 %h3, %c;\n{op} %h0, {list};\n\
         cvt.u64.u16 %d, %h0;"
    );
    check(&body, |a, b, c| formula(a as u16, b as u16, c as u16).into());
}

#[test]
fn integer_arithmetic() {
    check32("add.u32", 2, |a, b, _| a.wrapping_add(b));
    check32("sub.s32", 2, |a, b, _| a.wrapping_sub(b));
    check32("add.sat.s32", 2, |a, b, _| {
        (i64::from(a as i32) + i64::from(b as i32)).clamp(-0x8000_0000, 0x7FFF_FFFF) as u32
    });
    check32("mul.lo.s32", 2, |a, b, _| (u64::from(a) * u64::from(b)) as u32);
    check32("mul.hi.u32", 2, |a, b, _| ((u64::from(a) * u64::from(b)) >> 32) as u32);
    check32("mul.hi.s32", 2, |a, b, _| {
        ((i128::from(a as i32) * i128::from(b as i32)) >> 32) as u32
    });
    check32("mad.lo.u32", 3, |a, b, c| (u128::from(a) * u128::from(b) + u128::from(c)) as u32);
    check64("mul.hi.u64", 2, |a, b, _| ((u128::from(a) * u128::from(b)) >> 64) as u64);
    check64("mul.hi.s64", 2, |a, b, _| {
        ((i128::from(a as i64) * i128::from(b as i64)) >> 64) as u64
    });
    check64("mad.lo.s64", 3, |a, b, c| a.wrapping_mul(b).wrapping_add(c));
    check16("mul.hi.s16", 2, |a, b, _| ((i32::from(a as i16) * i32::from(b as i16)) >> 16) as u16);
    check16("add.u16", 2, |a, b, _| a.wrapping_add(b));
    check32("min.s32", 2, |a, b, _| if (a as i32) < b as i32 { a } else { b });
    check32("max.u32", 2, |a, b, _| if a < b { b } else { a });
    check64("min.u64", 2, |a, b, _| if a < b { a } else { b });
    check64("max.s64", 2, |a, b, _| if (a as i64) < b as i64 { b } else { a });
    check32("abs.s32", 1, |a, _, _| if a as i32 >= 0 { a } else { 0u32.wrapping_sub(a) });
    check64("neg.s64", 1, |a, _, _| (!a).wrapping_add(1));
    check32("sad.s32", 3, |a, b, c| {
        ((i64::from(a as i32) - i64::from(b as i32)).unsigned_abs() as u32).wrapping_add(c)
    });
    check32("mul24.lo.s32", 2, |a, b, _| {
        let part = |x: u32| i64::from(((x & 0xFF_FFFF) as i32) << 8 >> 8);
        (part(a) * part(b)) as u32
    });
    check("cvt.u32.u64 %x1, %a; cvt.u32.u64 %x2, %b; mul.wide.s32 %d, %x1, %x2;", |a, b, _| {
        (i128::from(a as i32) * i128::from(b as i32)) as u64
    });
    check("cvt.u32.u64 %x1, %a; mad.wide.u32 %d, %x1, 77, %c;", |a, _, c| {
        (u64::from(a as u32) * 77).wrapping_add(c)
    });
    let divisor = "or.b64 %y0, %b, 1;";
    check(&format!("{divisor} div.u64 %d, %a, %y0;"), |a, b, _| a / (b | 1));
    check(&format!("{divisor} rem.s64 %d, %a, %y0;"), |a, b, _| {
        (i128::from(a as i64) % i128::from((b | 1) as i64)) as u64
    });
    check(
        "mov.b64 {%x0, %x1}, %a; mov.b64 {%x2, %x3}, %b; mov.b64 {%x4, %x5}, %c;\
        add.cc.u32 %x6, %x0, %x2; addc.u32 %x7, %x1, %x3; mov.b64 %d, {%x6, %x7};",
        |a, b, _| a.wrapping_add(b),
    );
    check(
        "mov.b64 {%x0, %x1}, %a; mov.b64 {%x2, %x3}, %b;\
        sub.cc.u32 %x6, %x0, %x2; subc.u32 %x7, %x1, %x3; mov.b64 %d, {%x6, %x7};",
        |a, b, _| a.wrapping_sub(b),
    );
    check(
        "mov.b64 {%x0, %x1}, %a; mov.b64 {%x2, %x3}, %b;\
        mul.lo.u32 %x6, %x0, %x2; mad.lo.cc.u32 %x6, %x0, %x2, %x1; madc.hi.u32 %x7, %x0, %x2, 0;\
        mov.b64 %d, {%x6, %x7};",
        |a, b, _| (a & 0xFFFF_FFFF) * (b & 0xFFFF_FFFF) + (a >> 32),
    );
    let byte = |x: u32, at: u32| i64::from((x >> (8 * at)) as u8);
    let signed = |x: u32, at: u32| i64::from((x >> (8 * at)) as i8);
    check32("dp4a.u32.u32", 3, |a, b, c| {
        ((0..4).map(|i| byte(a, i) * byte(b, i)).sum::<i64>() + i64::from(c)) as u32
    });
    check32("dp4a.s32.u32", 3, |a, b, c| {
        ((0..4).map(|i| signed(a, i) * byte(b, i)).sum::<i64>() + i64::from(c)) as u32
    });
    check32("dp2a.hi.s32.s32", 3, |a, b, c| {
        let half = |i: u32| i64::from((a >> (16 * i)) as i16);
        ((0..2).map(|i| half(i) * signed(b, 2 + i)).sum::<i64>() + i64::from(c)) as u32
    });
}

#[test]
fn bits() {
    check64("and.b64", 2, |a, b, _| !(!a | !b));
    check32("xor.b32", 2, |a, b, _| (a | b) & !(a & b));
    check16("or.b16", 2, |a, b, _| !(!a & !b));
    check64("not.b64", 1, |a, _, _| u64::MAX - a);
    check32("cnot.b32", 1, |a, _, _| u32::from(a == 0));
    check32("shl.b32", 2, |a, b, _| if b > 31 { 0 } else { (u64::from(a) << b) as u32 });
    check32("shr.u32", 2, |a, b, _| (u64::from(a) >> b.min(63)) as u32);
    check32("shr.s32", 2, |a, b, _| (i64::from(a as i32) >> b.min(63)) as u32);
    check("cvt.u32.u64 %x1, %b; shr.s64 %d, %a, %x1;", |a, b, _| {
        (i128::from(a as i64) >> (b as u32).min(100)) as u64
    });
    check("cvt.u32.u64 %x1, %b; shl.b64 %d, %a, %x1;", |a, b, _| {
        if b as u32 > 63 { 0 } else { (u128::from(a) << (b as u32)) as u64 }
    });
    let joined = |a: u32, b: u32| u128::from(a) | u128::from(b) << 32;
    check32("shf.l.wrap.b32", 3, |a, b, c| ((joined(a, b) << (c % 32)) >> 32) as u32);
    check32("shf.r.clamp.b32", 3, |a, b, c| (joined(a, b) >> c.min(32)) as u32);
    check32("popc.b32", 1, |a, _, _| (0..32).map(|i| a >> i & 1).sum());
    check32("clz.b32", 1, |a, _, _| (0..32).rev().take_while(|i| a >> i & 1 == 0).count() as u32);
    check("clz.b64 %x0, %a; cvt.u64.u32 %d, %x0;", |a, _, _| {
        (0..64).rev().take_while(|i| a >> i & 1 == 0).count() as u64
    });
    check32("brev.b32", 1, |a, _, _| (0..32).fold(0, |r, i| r | (a >> i & 1) << (31 - i)));
    check32("bfind.u32", 1, |a, _, _| (0..32).rev().find(|i| a >> i & 1 == 1).unwrap_or(u32::MAX));
    check32("bfind.s32", 1, |a, _, _| {
        let sign = a >> 31;
        (0..31).rev().find(|i| a >> i & 1 != sign).unwrap_or(u32::MAX)
    });
    // The ISA's own description of bfe and bfi.
    let bfe = |a: u64, pos: u32, len: u32, msb: u32, signed: bool| {
        let (pos, len) = (pos & 255, len & 255);
        let sign = if !signed || len == 0 { 0 } else { a >> (pos + len - 1).min(msb) & 1 };
        (0..=msb).fold(0u64, |d, i| {
            let bit = if i < len && pos + i <= msb { a >> (pos + i) & 1 } else { sign };
            d | bit << i
        })
    };
    check32("bfe.u32", 3, |a, b, c| bfe(a.into(), b, c, 31, false) as u32);
    check32("bfe.s32", 3, |a, b, c| bfe(a.into(), b, c, 31, true) as u32);
    check("cvt.u32.u64 %x1, %b; cvt.u32.u64 %x2, %c; bfe.s64 %d, %a, %x1, %x2;", |a, b, c| {
        bfe(a, b as u32, c as u32, 63, true)
    });
    check(
        "cvt.u32.u64 %x1, %a; cvt.u32.u64 %x2, %b; cvt.u32.u64 %x3, %c; shr.u32 %x4, %x3, 5;\
        bfi.b32 %x0, %x1, %x2, %x3, %x4; cvt.u64.u32 %d, %x0;",
        |a, b, c| {
            let (pos, len) = (c as u32 & 255, (c as u32 >> 5) & 255);
            (0..32u32).fold(b & 0xFFFF_FFFF, |d, i| {
                if i < len && pos + i <= 31 {
                    d & !(1 << (pos + i)) | (a >> i & 1) << (pos + i)
                } else {
                    d
                }
            })
        },
    );
    check32("prmt.b32", 3, |a, b, c| {
        let all = u64::from(a) | u64::from(b) << 32;
        (0..4).fold(0, |d, i| {
            let pick = c >> (4 * i) & 15;
            let byte = (all >> (8 * (pick & 7))) as u8;
            let byte = if pick & 8 == 0 {
                byte
            } else if byte & 0x80 != 0 {
                255
            } else {
                0
            };
            d | u32::from(byte) << (8 * i)
        })
    });
    for table in [0x96u32, 0xE8, 0xCA, 0x01, 0x80, 0x2B] {
        let body = format!(
            "cvt.u32.u64 %x1, %a; cvt.u32.u64 %x2, %b; cvt.u32.u64 %x3, %c;\
            lop3.b32 %x0, %x1, %x2, %x3, {table}; cvt.u64.u32 %d, %x0;"
        );
        check(&body, |a, b, c| {
            (0..32).fold(0, |d, i| {
                let index = (a >> i & 1) << 2 | (b >> i & 1) << 1 | c >> i & 1;
                d | u64::from(table >> index & 1) << i
            })
        });
    }
}

#[test]
fn comparison_and_selection() {
    check("setp.lt.s64 %p0, %a, %b; selp.b64 %d, %a, %c, %p0;", |a, b, c| {
        if (a as i64) < (b as i64) { a } else { c }
    });
    check("setp.hs.u64 %p0, %a, %b; selp.b64 %d, 1, 0, %p0;", |a, b, _| u64::from(a >= b));
    check(
        "setp.eq.u64 %p1, %b, %c; setp.ne.or.u64 %p0|%p2, %a, %b, !%p1;\
        selp.b64 %y0, 1, 0, %p0; selp.b64 %y1, 2, 0, %p2; or.b64 %d, %y0, %y1;",
        |a, b, c| u64::from(a != b || b != c) | u64::from(a == b || b != c) << 1,
    );
    check(
        "cvt.u32.u64 %x1, %a; cvt.u32.u64 %x2, %b; set.lt.u32.s32 %x0, %x1, %x2;\
        cvt.u64.u32 %d, %x0;",
        |a, b, _| if (a as i32) < b as i32 { 0xFFFF_FFFF } else { 0 },
    );
    check(
        "cvt.u32.u64 %x1, %b; slct.u64.s32 %d, %a, %c, %x1;",
        |a, b, c| {
            if b as i32 >= 0 { a } else { c }
        },
    );
    let float = |x: u64| f32::from_bits(x as u32);
    let load = "cvt.u32.u64 %x1, %a; cvt.u32.u64 %x2, %b; mov.b32 %f1, %x1; mov.b32 %f2, %x2;";
    for (name, holds) in [
        ("lt", (|a, b| a < b) as fn(f32, f32) -> bool),
        ("geu", |a, b| a >= b || a.is_nan() || b.is_nan()),
        ("ne", |a, b| a != b && !a.is_nan() && !b.is_nan()),
        ("neu", |a, b| a != b),
        ("nan", |a, b| a.is_nan() || b.is_nan()),
        ("num", |a, b| !a.is_nan() && !b.is_nan()),
    ] {
        let body = format!("{load} setp.{name}.f32 %p0, %f1, %f2; selp.b64 %d, 1, 0, %p0;");
        check(&body, |a, b, _| u64::from(holds(float(a), float(b))));
    }
}

#[test]
fn conversions() {
    check("cvt.s64.s8 %d, %a;", |a, _, _| a as i8 as u64);
    check("cvt.s64.s32 %d, %a;", |a, _, _| a as i32 as u64);
    check("cvt.u16.u64 %h0, %a; cvt.s32.s16 %x0, %h0; cvt.s64.s32 %d, %x0;", |a, _, _| {
        a as i16 as u64
    });
    check("cvt.sat.u8.s64 %h0, %a; cvt.u64.u16 %d, %h0;", |a, _, _| {
        (a as i64).clamp(0, 255) as u64
    });
    check("cvt.rn.f64.s64 %g0, %a; mov.b64 %d, %g0;", |a, _, _| (a as i64 as f64).to_bits());
    check("cvt.rn.f32.u64 %f0, %a; mov.b32 %x0, %f0; cvt.u64.u32 %d, %x0;", |a, _, _| {
        u64::from((a as f32).to_bits())
    });
    check(
        "cvt.u16.u64 %h0, %a; cvt.f32.f16 %f0, %h0; mov.b32 %x0, %f0; cvt.u64.u32 %d, %x0;",
        |a, _, _| {
            let wide = half::f16::from_bits(a as u16);
            // A NaN keeps its payload here; what the machine does is not documented.
            if wide.is_nan() {
                u64::from(a as u16 & 0x8000) << 16 | 0xFF << 23 | (a & 0x3FF) << 13
            } else {
                u64::from(wide.to_f32().to_bits())
            }
        },
    );
    check("mov.b64 {%h0, %h1, %h2, %h3}, %a; mov.b64 %d, {%h3, %h2, %h1, %h0};", |a, _, _| {
        (0..4).fold(0, |d, i| d | (a >> (16 * i) & 0xFFFF) << (48 - 16 * i))
    });
}

#[test]
fn single_precision() {
    let load = "cvt.u32.u64 %x1, %a; cvt.u32.u64 %x2, %b; cvt.u32.u64 %x3, %c;\
        mov.b32 %f1, %x1; mov.b32 %f2, %x2; mov.b32 %f3, %x3;";
    let store = "mov.b32 %x0, %f0; cvt.u64.u32 %d, %x0;";
    let bits = |x: f64| {
        let x = x as f32;
        u64::from(if x.is_nan() { 0x7FFF_FFFF } else { x.to_bits() })
    };
    let wide = |x: u64| f64::from(f32::from_bits(x as u32));
    // Sums and products in f64 round to the same f32 (53 >= 2 * 24 + 2).
    check(&format!("{load} add.f32 %f0, %f1, %f2; {store}"), |a, b, _| bits(wide(a) + wide(b)));
    check(&format!("{load} mul.rn.f32 %f0, %f1, %f2; {store}"), |a, b, _| bits(wide(a) * wide(b)));
    check(&format!("{load} div.rn.f32 %f0, %f1, %f2; {store}"), |a, b, _| bits(wide(a) / wide(b)));
    check(&format!("{load} sqrt.rn.f32 %f0, %f1; {store}"), |a, _, _| bits(wide(a).sqrt()));
    check(&format!("{load} fma.rn.f32 %f0, %f1, %f2, %f3; {store}"), |a, b, c| {
        let (a, b, c) = (a as u32, b as u32, c as u32);
        let exact = f32::mul_add(f32::from_bits(a), f32::from_bits(b), f32::from_bits(c));
        u64::from(if exact.is_nan() { 0x7FFF_FFFF } else { exact.to_bits() })
    });
    check(&format!("{load} max.f32 %f0, %f1, %f2; {store}"), |a, b, _| {
        let (x, y) = (wide(a), wide(b));
        match (x.is_nan(), y.is_nan()) {
            (true, _) => bits(y),
            (_, true) => bits(x),
            _ if x == 0.0 && y == 0.0 => a & b & 0xFFFF_FFFF,
            _ => bits(x.max(y)),
        }
    });
    check(&format!("{load} cvt.rni.s32.f32 %x0, %f1; cvt.u64.u32 %d, %x0;"), |a, _, _| {
        let x = wide(a);
        let near = if x.is_nan() { 0.0 } else { x.round_ties_even() };
        u64::from(near.clamp(-2_147_483_648.0, 2_147_483_647.0) as i32 as u32)
    });
    check(&format!("{load} cvt.rn.bf16x2.f32 %x0, %f1, %f2; cvt.u64.u32 %d, %x0;"), |a, b, _| {
        let narrow = |x: u64| {
            let x = half::bf16::from_f64(wide(x));
            u64::from(if x.is_nan() { 0x7FFF } else { x.to_bits() })
        };
        narrow(a) << 16 | narrow(b)
    });
}

#[test]
fn approximations_stay_within_their_bounds() {
    let load = "cvt.u32.u64 %x1, %a; mov.b32 %f1, %x1;";
    let store = "mov.b32 %x0, %f0; cvt.u64.u32 %d, %x0;";
    type Case = (&'static str, fn(f64) -> f64, f64, f64);
    let cases: [Case; 6] = [
        ("rcp.approx.f32", |x| 1.0 / x, 2f64.powi(-23), 0.0),
        ("rsqrt.approx.f32", |x| 1.0 / x.sqrt(), 2f64.powf(-22.9), 0.0),
        ("ex2.approx.f32", |x| x.exp2(), 2f64.powf(-22.5) + 2f64.powi(-24), 0.0),
        ("lg2.approx.f32", |x| x.log2(), 2f64.powi(-24), 2f64.powf(-22.6)),
        ("sin.approx.f32", |x| x.sin(), 2f64.powi(-24), 2f64.powf(-20.5)),
        ("tanh.approx.f32", |x| x.tanh(), 2f64.powi(-11), 0.0),
    ];
    for (name, exact, relative, absolute) in cases {
        let inputs =
            std::array::from_fn(|lane| [u64::from((0.07 + lane as f32 * 0.093).to_bits()), 0, 0]);
        let (outcome, out) = execute(&format!("{load} {name} %f0, %f1; {store}"), &inputs, 1);
        assert!(outcome.reports.is_empty(), "{}", outcome.reports[0]);
        let mut differs = false;
        for (lane, [a, _, _]) in inputs.into_iter().enumerate() {
            let x = f64::from(f32::from_bits(a as u32));
            let (got, want) = (f64::from(f32::from_bits(out[lane] as u32)), exact(x));
            let bound = want.abs() * relative + absolute;
            assert!((got - want).abs() <= bound, "{name}({x}) = {got}, not {want}");
            differs |= got != f64::from(want as f32);
        }
        assert!(differs, "{name} is exact everywhere: nothing was perturbed");
    }
}

#[test]
fn lanes_exchange() {
    let shuffle = |mode: &str, b: &str, c: u32| {
        format!(
            "cvt.u32.u64 %x1, %a; shfl.sync.{mode}.b32 %x0|%p0, %x1, {b}, {c}, -1;\
            selp.b32 %x2, 1, 0, %p0; mov.b64 %d, {{%x0, %x2}};"
        )
    };
    // (mode, operand, c) and, by lane, where the value comes from; none: its own.
    type Case = (&'static str, u32, u32, fn(i64) -> Option<i64>);
    let cases: [Case; 6] = [
        ("up", 3, 0, |l| (l >= 3).then_some(l - 3)),
        ("down", 5, 31, |l| (l + 5 <= 31).then_some(l + 5)),
        ("bfly", 9, 31, |l| Some(l ^ 9)),
        ("idx", 17, 31, |_| Some(17)),
        // Segments of 8: c is 8 lanes less in its upper part.
        ("down", 2, 24 << 8 | 31, |l| (l % 8 + 2 <= 7).then_some(l + 2)),
        ("up", 1, 24 << 8, |l| (l % 8 >= 1).then_some(l - 1)),
    ];
    for (mode, b, c, from) in cases {
        let inputs = inputs(3);
        let (outcome, out) = execute(&shuffle(mode, &b.to_string(), c), &inputs, 1);
        assert!(outcome.reports.is_empty(), "{}", outcome.reports[0]);
        for lane in 0..32 {
            let source = from(lane);
            let value = inputs[source.unwrap_or(lane) as usize][0] & 0xFFFF_FFFF;
            let expected = value | u64::from(source.is_some()) << 32;
            assert_eq!(out[lane as usize], expected, "{mode} {b} {c:#x} lane {lane}");
        }
    }
}

fn first_kind(body: &str) -> Option<(Kind, String)> {
    let (outcome, _) = execute(body, &inputs(1), 3);
    outcome.reports.first().map(|report| (report.kind, report.to_string()))
}

#[test]
fn undefined_values() {
    // What is undefined matters only where it is used.
    assert_eq!(first_kind("add.u32 %x1, %x2, 1; mov.b64 %d, 5;"), None);
    assert_eq!(first_kind("setp.eq.u64 %p0, %a, %a; selp.b64 %d, %a, %y0, %p0;"), None);
    assert_eq!(
        first_kind("setp.ne.u64 %p0, %a, %a; and.pred %p1, %p0, %p2; selp.b64 %d, 1, 2, %p1;"),
        None
    );
    for body in [
        "add.u64 %d, %y0, 1;",
        "mov.b64 %d, 1; @%p0 bra L; mov.b64 %d, 2; L:",
        "mov.b64 %d, 1; @%p0 st.global.u64 [%base], %d;",
        "setp.eq.u64 %p0, %a, %a; selp.b64 %d, %y0, %a, %p0;",
    ] {
        let (kind, text) = first_kind(body).expect(body);
        assert_eq!(kind, Kind::Uninitialized, "{text}");
    }
}

#[test]
fn misuse_is_refused_by_name() {
    let cases = [
        ("mov.b64 %d, 0; shfl.sync.idx.b32 %x0, %lane, 0, 31, 1;", Kind::Divergence, "0x00000001"),
        ("mov.b64 %d, 0; bar.sync 16;", Kind::Barrier, "16"),
        ("mov.b64 %d, 0; bar.sync 1, 33;", Kind::Barrier, "33"),
        ("mov.b64 %d, 0; mbarrier.init.shared.b32 [%x0], 1;", Kind::Unsupported, "mbarrier.init"),
        ("ld.global.u64 %d, [%base+4096];", Kind::OutOfBounds, "4096"),
        ("ld.global.u64 %d, [%base+4];", Kind::Misaligned, "8"),
        ("mov.b64 %d, 0; trap;", Kind::Trap, "trap"),
    ];
    for (body, kind, text) in cases {
        let (found, message) = first_kind(body).expect(body);
        assert_eq!(found, kind, "{message}");
        assert!(message.contains(text), "{message}");
    }
}
