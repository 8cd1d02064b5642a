//! Which file is for which device, and what a device does not do.

use std::path::Path;
use std::process::Command;

use expertile_simulator::{clang, nvcc};

use super::bench::{TOOL, folder, images, is_there, sources, tool};

const CELL: &str = "one_cell out:i32:1";

fn of(extension: &str) -> Option<&'static Path> {
    let mut images = images().iter().map(|path| path.as_path());
    images.find(|path| path.extension().is_some_and(|it| it == extension))
}

#[test]
fn sources_are_compiled_for_the_device() {
    let folder = folder("compiled");
    if is_there(nvcc::find(), "cuda") {
        let source = sources().join("kernels.cu");
        tool(&folder, &source, CELL).clean();
        tool(&folder, &source, &format!("{CELL} --arch gfx942"))
            .refused("kernels.cu: CUDA C++, the device is gfx942");
    }
    if is_there(clang::find(), "hip") {
        let source = sources().join("kernels.hip");
        tool(&folder, &source, &format!("{CELL} --arch gfx90a")).clean();
        tool(&folder, &source, &format!("{CELL} --arch sm_80"))
            .refused("kernels.hip: HIP C++, the device is sm_80");
    }
}

#[test]
fn a_compiler_says_what_is_wrong() {
    let folder = folder("wrong");
    for (name, found, vendor) in
        [("wrong.cu", nvcc::find(), "cuda"), ("wrong.hip", clang::find(), "hip")]
    {
        if is_there(found, vendor) {
            let source = folder.join(name);
            std::fs::write(&source, "wrong\n").expect("the folder is ours");
            tool(&folder, &source, CELL).refused("error");
        }
    }
}

#[test]
fn a_code_object_is_for_its_own_processor() {
    let folder = folder("processor");
    let Some(object) = of("o") else { return };
    tool(&folder, object, CELL).clean();
    for other in ["gfx90a", "sm_90a"] {
        let expected = format!("kernels.o: a code object of gfx942, the device is {other}");
        tool(&folder, object, &format!("{CELL} --arch {other}")).refused(&expected);
    }
    tool(&folder, object, &format!("{CELL} --arch gfx1"))
        .refused("no device `gfx1` among sm_80, sm_86, sm_89, sm_90a, gfx90a, gfx942, gfx950");
    let bundle = folder.join("bundle.o");
    std::fs::write(&bundle, b"__CLANG_OFFLOAD_BUNDLE__ and so on").expect("the folder is ours");
    tool(&folder, &bundle, CELL).refused("compile with --no-gpu-bundle-output");
}

#[test]
fn ptx_runs_on_its_target_and_later() {
    let folder = folder("target");
    let Some(ptx) = of("ptx") else { return };
    for newer in ["sm_80", "sm_89", "sm_90a"] {
        tool(&folder, ptx, &format!("{CELL} --arch {newer}")).clean();
    }
    tool(&folder, ptx, &format!("{CELL} --arch gfx942"))
        .refused("kernels.ptx: PTX, the device is gfx942");
    let text = std::fs::read_to_string(ptx).expect("it is there");
    let later = folder.join("later.ptx");
    let text = text.replace(".target sm_80", ".target sm_89");
    std::fs::write(&later, text).expect("the folder is ours");
    tool(&folder, &later, &format!("{CELL} --arch sm_86")).refused("sm_86 runs none of: sm_89");
}

/// Of two texts in a fat binary, one wrong: what is reported says which was taken.
#[test]
fn of_a_fat_binary_the_latest_that_fits_is_taken() {
    let folder = folder("fat");
    let Some(ptx) = of("ptx") else { return };
    let text = std::fs::read_to_string(ptx).expect("it is there");
    let renamed = text.replace("one_cell", "other_cell").replace(".target sm_80", ".target sm_90a");
    std::fs::write(folder.join("90a.ptx"), renamed).expect("the folder is ours");
    let fatbinary = nvcc::find().expect("it compiled").with_file_name("fatbinary");
    let run = Command::new(fatbinary)
        .current_dir(&folder)
        .args(["--create=both.fatbin", "--compress=false", "-64"])
        .arg(format!("--image3=kind=ptx,sm=80,file={}", ptx.display()))
        .arg("--image3=kind=ptx,sm=90a,file=90a.ptx")
        .output()
        .expect("fatbinary is beside nvcc");
    assert!(run.status.success(), "{run:?}");
    let fat = folder.join("both.fatbin");
    for (arch, kernel) in [("sm_80", "one_cell"), ("sm_89", "one_cell"), ("sm_90a", "other_cell")] {
        tool(&folder, &fat, &format!("{kernel} --arch {arch} out:i32:1")).clean();
    }
    tool(&folder, &fat, CELL)
        .refused("no kernel `one_cell` among scale, combine, sum, other_cell, arrivals");
}

#[test]
fn what_a_device_does_not_have_is_reported() {
    let folder = folder("limits");
    for image in images() {
        let found = |words: &str, expected: &str| {
            let said = tool(&folder, image, &format!("{CELL} {words}"));
            said.found(&format!("one_cell: Launch: {expected}"));
        };
        let is_ptx = image.extension().is_some_and(|it| it == "ptx");
        let (threads, shared, grid) = match is_ptx {
            true => (
                "1056 threads in a block where 1024 are the most",
                "232449 bytes of shared memory where 232448 are the most",
                "grid [1, 65537, 1] is larger than [2147483647, 65535, 65535]",
            ),
            false => (
                "1056 threads in a workgroup, from 1 to 1024",
                "65537 bytes of LDS where 65536 are the most",
                "grid [1, 65537, 1] is larger than [2147483647, 65536, 65536]",
            ),
        };
        found("--block 33,32", threads);
        found(if is_ptx { "--shared 232449" } else { "--shared 65537" }, shared);
        found("--grid 1,65537", grid);
    }
}

#[test]
fn help_tells_the_exit_status() {
    let run = Command::new(TOOL).arg("--help").output().expect("the tool starts");
    let text = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success() && text.contains("The exit status is 0"), "{text}");
}
