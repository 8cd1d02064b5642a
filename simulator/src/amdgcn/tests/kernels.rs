//! The HIP kernels, as the compiler makes them: each instruction is modelled and has LLVM's text.

use std::path::Path;
use std::process::Command;

use super::super::decode::decode;
use super::super::opcodes::Opcode;
use super::super::text::text;
use super::llvm;
use super::rows::ARCHITECTURES;

const FLAGS: &str = "-x hip --offload-device-only --no-gpu-bundle-output -nogpuinc -nogpulib \
    -ffreestanding -mcode-object-version=5 -O3 -std=c++17 -ffp-contract=off";

#[test]
fn decodes_kernels_as_llvm() {
    let (Some(clang), Some(objdump)) = (llvm::find("clang"), llvm::find("llvm-objdump")) else {
        return;
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kernels-hip");
    let mut wrong = Vec::new();
    for (architecture, cpu) in ARCHITECTURES {
        for kernel in [
            "rope",
            "layer_norm",
            "rms_norm",
            "router",
            "router_select",
            "router_loss",
            "router_loss_reduce",
            "dispatch",
            "combine",
            "packet",
        ] {
            let name = format!("amdgcn-{}-{cpu}-{kernel}.o", std::process::id());
            let object = std::env::temp_dir().join(name);
            let mut command = Command::new(&clang);
            command.args(FLAGS.split_whitespace()).arg(format!("--offload-arch={cpu}"));
            command.arg(folder.join(format!("{kernel}.hip"))).arg("-o").arg(&object);
            assert!(command.status().is_ok_and(|status| status.success()), "{command:?}");
            let lines = llvm::run(&objdump, &["-d", &object.to_string_lossy()], "");
            std::fs::remove_file(&object).ok();
            let mut instructions = 0;
            for (expected, words) in lines.lines().filter_map(instruction) {
                instructions += 1;
                let decoded = decode(&words, architecture);
                let got = text(&decoded);
                let dwords = usize::from(decoded.dwords);
                if decoded.opcode == Opcode::unknown || got != expected || dwords != words.len() {
                    wrong.push(format!("{cpu} {kernel} {words:08x?}: {got}, LLVM has {expected}"));
                }
            }
            assert!(instructions > 200, "{cpu} {kernel}: {instructions} instructions");
        }
    }
    assert!(wrong.is_empty(), "{} differ\n{}", wrong.len(), wrong.join("\n"));
}

/// Text and words of a line such as `s_endpgm    // 000000001000: BF810000 <label>`.
fn instruction(line: &str) -> Option<(String, Vec<u32>)> {
    let (text, rest) = line.split_once("//")?;
    let (_, words) = rest.split_once(": ")?;
    let words = words.split_whitespace().map_while(|word| u32::from_str_radix(word, 16).ok());
    Some((text.trim().to_string(), words.collect()))
}
