//! The build's gate refuses what it must: each rule is violated in turn.

#[allow(dead_code)]
#[path = "../build/code_object.rs"]
mod code_object;
#[allow(dead_code)]
#[path = "../build/compile.rs"]
mod compile;
#[allow(dead_code)]
#[path = "../build/gate.rs"]
mod gate;
#[allow(dead_code)]
#[path = "../build/jobs.rs"]
mod jobs;
#[allow(dead_code)]
#[path = "../build/manifest.rs"]
mod manifest;
#[allow(dead_code)]
#[path = "../build/products.rs"]
mod products;
#[allow(dead_code)]
#[path = "../build/toolchain.rs"]
mod toolchain;

use std::fs;
use std::path::{Path, PathBuf};

use object::read::elf::ElfFile64;
use object::{LittleEndian, Object, ObjectSymbol};
use toolchain::Toolchain;

fn find_toolchain() -> Toolchain {
    toolchain::find().unwrap().expect("no HIP compiler: run `make toolchain`")
}

/// Compiles a source for gfx942, in a folder of its own; the folder.
fn compile_with(toolchain: &Toolchain, name: &str, source: &str) -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("bad.hip"), source).unwrap();
    let out = folder.join("out");
    compile::compile_all(&folder, &out, toolchain, false, &[("bad", "gfx942")], 1)?;
    Ok(out.join("bad.gfx942"))
}

/// The head of a file, and what every kernel of these tests is made of.
fn head(threads: u32, lds: u32, registers: u32) -> String {
    format!(
        "// Budget: {threads} threads; {lds} B LDS; 0 B scratch; registers: {registers} gfx942.\n\
         // Keeps: global_load_dwordx4, global_store_dwordx4.\n\
         #define KERNEL(threads) extern \"C\" __attribute__((global, \
         amdgpu_flat_work_group_size(threads, threads))) void\n\
         typedef float float4 __attribute__((ext_vector_type(4)));\n\
         struct Params {{ const float4 *from; float4 *to; unsigned count; unsigned reserved; }};\n\
         #define THREAD __builtin_amdgcn_workitem_id_x()\n"
    )
}

const COPY: &str = "KERNEL(256) copy(const Params p) { p.to[THREAD] = p.from[THREAD]; }\n";

#[track_caller]
fn assert_refused(name: &str, source: &str, messages: &[&str]) {
    let error = compile_with(&find_toolchain(), name, source).err().unwrap_or_default();
    for message in messages {
        assert!(error.contains(message), "no `{message}` in: {error}");
    }
}

#[test]
fn a_kernel_within_its_budget_passes() {
    let passed = compile_with(&find_toolchain(), "good", &(head(256, 0, 16) + COPY));
    assert_eq!(passed.err(), None);
}

#[test]
fn spills_are_refused() {
    let source = head(1024, 0, 128)
        + "KERNEL(1024) greedy(const Params p) {
    float4 held[40];
#pragma unroll
    for (unsigned i = 0; i < 40; ++i) held[i] = p.from[THREAD + i * 1024];
    __builtin_amdgcn_s_barrier();
#pragma unroll
    for (unsigned i = 0; i < 40; ++i) p.to[THREAD + (39 - i) * 1024] = held[i];
}\n";
    let messages =
        ["bad for gfx942", "greedy: ", "B scratch, not 0", "vector registers spilled, not 0"];
    assert_refused("spills", &source, &messages);
}

#[test]
fn scratch_is_refused() {
    let source = head(256, 0, 64)
        + "KERNEL(256) index(const Params p) {
    float4 held[16];
    for (unsigned i = 0; i < 16; ++i) held[p.count * i % 16] = p.from[THREAD + i];
    p.to[THREAD] = held[p.reserved % 16];
}\n";
    let messages = ["B scratch, not 0", "index: scratch_"];
    assert_refused("scratch", &source, &messages);
}

#[test]
fn too_many_registers_are_refused() {
    assert_refused("registers", &(head(256, 0, 4) + COPY), &["copy: ", "registers, Budget says 4"]);
}

#[test]
fn accumulation_registers_count() {
    let source = head(256, 0, 32) + COPY;
    let source = source.replace("{ p.to", "{ asm volatile(\"\" ::: \"a31\"); p.to");
    assert_refused("accumulation", &source, &["copy: 40 registers, Budget says 32"]);
}

#[test]
fn with_another_release_too_many_registers_are_no_error() {
    let toolchain = Toolchain { release: "23.1.0".to_owned(), ..find_toolchain() };
    let passed = compile_with(&toolchain, "release", &(head(256, 0, 4) + COPY));
    assert_eq!(passed.err(), None);
}

#[test]
fn a_budget_for_another_architecture_is_refused() {
    let source = head(256, 0, 16).replace("gfx942", "gfx90a") + COPY;
    assert_refused("architecture", &source, &["copy: no registers to compare"]);
}

#[test]
fn too_much_lds_is_refused() {
    let source = head(256, 1024, 32)
        + "KERNEL(256) stage(const Params p) {
    static __attribute__((shared)) float4 staged[256];
    staged[THREAD] = p.from[THREAD];
    __builtin_amdgcn_fence(__ATOMIC_SEQ_CST, \"workgroup\");
    __builtin_amdgcn_s_barrier();
    p.to[THREAD] = staged[255 - THREAD];
}\n";
    assert_refused("lds", &source, &["stage: 4096 B LDS, Budget says 1024"]);
}

#[test]
fn other_threads_are_refused() {
    assert_refused("threads", &(head(128, 0, 32) + COPY), &["copy: 256 threads, Budget says 128"]);
}

#[test]
fn several_arguments_are_refused() {
    let source = COPY.replace("const Params p", "const Params p, unsigned *flag")
        + &COPY.replace("copy(const Params p)", "direct(const float4 *from, float4 *to)");
    let source = source.replacen("p.to", "*flag = 1; p.to", 1);
    let source = source.replace("{ p.to[THREAD] = p.from", "{ to[THREAD] = from");
    let messages = [
        "copy: arguments by_value, global_buffer, not one by value",
        "direct: arguments global_buffer, global_buffer, not one by value",
    ];
    assert_refused("arguments", &(head(256, 0, 32) + &source), &messages);
}

#[test]
fn scalar_accesses_are_refused() {
    // The disassembler is optional for a build, and part of what `make toolchain` installs.
    assert!(find_toolchain().objdump.is_some(), "llvm-objdump is not installed");
    let source = head(256, 0, 32).replace("typedef float float4", "typedef float unused") + COPY;
    let source = source.replace("const float4 *from; float4 *to", "const float *from; float *to");
    let messages = [
        "copy: no global_load_dwordx4 in the machine code",
        "copy: no global_store_dwordx4 in the machine code",
    ];
    assert_refused("scalar", &source, &messages);
}

#[test]
fn flat_accesses_are_refused() {
    let source = head(256, 4096, 32)
        + "KERNEL(256) either(const Params p) {
    static __attribute__((shared)) float4 staged[256];
    staged[THREAD] = p.from[THREAD];
    float4 *to = p.count & 1 << THREAD % 32 ? staged : p.to;
    to[THREAD / 2] = p.from[THREAD + 1];
    p.to[THREAD + 1] = staged[THREAD];
}\n";
    assert_refused("flat", &source, &["either: flat_store_dwordx4 in the machine code"]);
}

#[test]
fn changes_of_the_mode_are_refused() {
    let source = head(256, 0, 32) + COPY;
    let change = "{ asm volatile(\"s_setreg_imm32_b32 hwreg(HW_REG_MODE, 0, 4), 5\"); p.to";
    let source = source.replace("{ p.to", change);
    assert_refused("mode", &source, &["copy: s_setreg_imm32_b32 in the machine code"]);
}

#[test]
fn a_kernel_without_budget_is_refused() {
    let source = head(256, 0, 16) + COPY;
    let without = source.split_once('\n').unwrap().1;
    assert_refused("no-budget", without, &["no line `// Budget:` in the source"]);
}

/// Compiles the good kernel; what the gate says after a change of the image.
fn check_changed(name: &str, change: impl FnOnce(&mut Vec<u8>)) -> Result<Vec<String>, String> {
    let source = head(256, 0, 16) + COPY;
    let folder = compile_with(&find_toolchain(), name, &source).unwrap();
    let mut image = fs::read(folder.join("image")).unwrap();
    change(&mut image);
    let compiled = gate::Compiled { architecture: "gfx942", image: &image, disassembly: None };
    gate::check(&gate::Budget::parse(&source).unwrap(), &compiled, true)
}

#[test]
fn metadata_that_differ_are_refused() {
    // A key of the metadata, the byte of its value, another value, the gate's words.
    let cases = [
        (".vgpr_spill_count", 0, 1, "copy: 1 vector registers spilled, not 0"),
        (".sgpr_spill_count", 0, 2, "copy: 2 scalar registers spilled, not 0"),
        (".private_segment_fixed_size", 0, 16, "copy: 16 B scratch, not 0"),
        (".uses_dynamic_stack", 0xc2, 0xc3, "copy: 1 dynamic stacks, not 0"),
        (".wavefront_size", 64, 32, "copy: waves of 32 lanes, not 64"),
    ];
    for (key, value, other, message) in cases {
        let error = check_changed("metadata", |image| {
            let end = image.windows(key.len()).position(|window| window == key.as_bytes());
            let value_byte = &mut image[end.unwrap() + key.len()];
            assert_eq!(*value_byte, value, "{key}");
            *value_byte = other;
        });
        assert_eq!(error.as_deref().map_err(String::as_str), Err(message));
    }
}

#[test]
fn another_mode_to_start_in_is_refused() {
    // A byte of the kernel descriptor, bits that are turned, the gate's words.
    let cases = [
        (49, 0x10, "copy: FLOAT_ROUND_MODE_32 is 1, not 0"),
        (49, 0x80, "copy: FLOAT_ROUND_MODE_16_64 is 2, not 0"),
        (50, 0x03, "copy: FLOAT_DENORM_MODE_32 is 0, not 3"),
        (50, 0x08, "copy: FLOAT_DENORM_MODE_16_64 is 1, not 3"),
        (50, 0x80, "copy: IEEE_MODE is 0, not 1"),
    ];
    for (byte, bits, message) in cases {
        let error = check_changed("descriptor", |image| {
            let file = ElfFile64::<LittleEndian>::parse(&image[..]).unwrap();
            let symbol = file.dynamic_symbols().find(|symbol| symbol.name() == Ok("copy.kd"));
            // What is only read lies in the file as in memory.
            let descriptor = symbol.unwrap().address() as usize;
            image[descriptor + byte] ^= bits;
        });
        assert_eq!(error.as_deref().map_err(String::as_str), Err(message));
    }
}

#[test]
fn what_is_no_code_object_is_refused() {
    let error = check_changed("cut", |image| image.truncate(100)).unwrap_err();
    assert!(error.starts_with("image: "), "{error}");
    let error = check_changed("renamed", |image| {
        let note = image.windows(6).position(|window| window == b"AMDGPU").unwrap();
        image[note] = b'B';
    });
    assert_eq!(error, Err("image: no metadata note".to_owned()));
}

/// Two products for each read of LDS, in a loop.
fn multiply(products: &str) -> String {
    let head = head(256, 4096, 64);
    format!(
        "// Products: {products}.\n{head}\
         typedef short short4 __attribute__((ext_vector_type(4)));\n\
         struct Pieces {{ short4 of[2]; }};\n\
         KERNEL(256) multiply(const Params p) {{
    static __attribute__((shared)) float4 staged[256];
    staged[THREAD] = p.from[THREAD];
    float4 sum = {{}};
#pragma unroll 1
    for (unsigned i = 0; i < p.count; ++i) {{
        __builtin_amdgcn_fence(__ATOMIC_SEQ_CST, \"workgroup\");
        __builtin_amdgcn_s_barrier();
        Pieces a = __builtin_bit_cast(Pieces, staged[(THREAD + i) % 256]);
        for (short4 piece : a.of)
            sum = __builtin_amdgcn_mfma_f32_16x16x16bf16_1k(piece, piece, sum, 0, 0, 0);
    }}
    p.to[THREAD] = sum;
}}\n"
    )
}

const PRODUCTS: &str = "v_mfma_f32_16x16x16*; 2 a loop, 2 a ds_read; 8 workgroups a compute unit";

#[test]
fn products_as_their_line_says_pass() {
    let passed = compile_with(&find_toolchain(), "products", &multiply(PRODUCTS));
    assert_eq!(passed.err(), None);
}

#[test]
fn products_that_their_line_does_not_allow_are_refused() {
    // What the line says, what it said, the gate's words.
    let cases = [
        (
            "2 a loop",
            "3 a loop",
            "2 products and 1 reads of LDS in a loop, at least 3 and 2 a read",
        ),
        ("2 a ds", "3 a ds", "2 products and 1 reads of LDS in a loop, at least 2 and 3 a read"),
        ("16x16x16", "32x32x8", "multiply: 2 products are none of v_mfma_f32_32x32x8*"),
        (
            "8 work",
            "9 work",
            "8 workgroups fit a compute unit by registers, 16 by LDS, Products says 9",
        ),
        ("16x16x16*", "16x16x16", "Products line not understood: v_mfma_f32_16x16x16; 2 a loop"),
        ("8 work", "0 work", "Products line not understood: "),
    ];
    for (said, says, message) in cases {
        assert_refused("bad-products", &multiply(&PRODUCTS.replacen(said, says, 1)), &[message]);
    }
}

#[test]
fn with_another_release_fewer_workgroups_are_no_error() {
    let toolchain = Toolchain { release: "23.1.0".to_owned(), ..find_toolchain() };
    let source = multiply(&PRODUCTS.replace("8 work", "9 work"));
    assert_eq!(compile_with(&toolchain, "workgroups", &source).err(), None);
}

#[test]
fn registers_limit_workgroups() {
    let source =
        multiply(&PRODUCTS.replace("8 work", "3 work")).replace(" 64 gfx942", " 256 gfx942");
    let source = source.replace("float4 sum", "asm volatile(\"\" ::: \"v199\"); float4 sum");
    let message = "2 workgroups fit a compute unit by registers, 16 by LDS, Products says 3";
    assert_refused("occupancy", &source, &[message]);
}

#[test]
fn moves_of_accumulation_registers_in_a_loop_are_refused() {
    let source = multiply(&PRODUCTS.replace("8 work", "1 work"));
    let moving = "asm volatile(\"v_accvgpr_write_b32 a0, 0\" ::: \"a0\");";
    let before = source.replace("float4 sum", &format!("{moving} float4 sum"));
    assert_eq!(compile_with(&find_toolchain(), "moves-before", &before).err(), None);
    let within = source.replace("Pieces a =", &format!("{moving} Pieces a ="));
    let message = "multiply: 1 moves from or to accumulation registers in a loop";
    assert_refused("moves", &within, &[message]);
}

#[test]
fn products_without_a_loop_are_refused() {
    let source =
        multiply(PRODUCTS).replace("#pragma unroll 1\n", "").replace("i < p.count", "i < 1");
    assert_refused("no-loop", &source, &["multiply: no products in a loop"]);
}
