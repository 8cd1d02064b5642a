//! The tool `simulate-kernel`, as it is used: files in, files out, exit status.

#[path = "simulate_kernel/arguments.rs"]
mod arguments;
#[path = "simulate_kernel/bench.rs"]
mod bench;
#[path = "simulate_kernel/images.rs"]
mod images;
#[path = "simulate_kernel/readme.rs"]
mod readme;
#[path = "simulate_kernel/tensor_maps.rs"]
mod tensor_maps;

use bench::{folder, images, read, tool, write};

/// 0, 1, 2, ...
fn ramp(count: u16) -> impl Iterator<Item = [u8; 4]> {
    (0..count).map(|number| f32::from(number).to_le_bytes())
}

#[test]
fn a_buffer_is_rewritten_once_whatever_the_runs() {
    let folder = folder("rewritten");
    for image in images() {
        let path = folder.join("data.bin");
        write(&path, ramp(100));
        let words = "scale --grid 2 --block 64 --runs 5 @data.bin f32:1.5 i32:99";
        let said = tool(&folder, image, words).clean();
        let expected: Vec<f32> =
            (0..100).map(|i| if i < 99 { 1.5 * i as f32 } else { 99.0 }).collect();
        assert_eq!(read(&path), expected);
        let lines: Vec<&str> = said.out.lines().collect();
        assert_eq!(lines.len(), 3, "{said:?}");
        assert!(lines[0].ends_with(" warp instructions, 2 blocks, 0 barriers"), "{said:?}");
        assert!(lines[1].contains("396 bytes written in 13 sectors"), "{said:?}");
    }
}

#[test]
fn results_go_to_new_files_or_are_shown() {
    let folder = folder("results");
    for image in images() {
        let path = folder.join("out.bin");
        std::fs::remove_file(&path).ok();
        write(&folder.join("a.bin"), ramp(3));
        tool(&folder, image, "sum --block 3 @a.bin:ro @a.bin:ro out:f32:3@out.bin").clean();
        assert_eq!(read(&path), [0.0, 2.0, 4.0]);
        assert_eq!(read(&folder.join("a.bin")), [0.0, 1.0, 2.0]);
        let said = tool(&folder, image, "sum --block 3 @a.bin:ro zero:f32:3 out:f32:4").clean();
        assert!(said.out.starts_with("zero:f32:3: 0 0 0\nout:f32:4: 0 1 2 NaN\n"), "{said:?}");
    }
}

#[test]
fn one_file_twice_is_one_buffer() {
    let folder = folder("twice");
    for image in images() {
        write(&folder.join("a.bin"), ramp(3));
        tool(&folder, image, "sum --block 3 @a.bin @a.bin @a.bin").clean();
        assert_eq!(read(&folder.join("a.bin")), [0.0, 2.0, 4.0]);
    }
}

#[test]
fn who_writes_to_a_read_only_buffer_is_at_fault() {
    let folder = folder("read_only");
    for image in images() {
        let path = folder.join("data.bin");
        write(&path, ramp(64));
        // Even the bytes that were there.
        for factor in ["2", "1"] {
            let words = format!("scale --block 64 @data.bin:ro f32:{factor} i32:10");
            let words = format!("{words} --seed 3");
            tool(&folder, image, &words).found(
                "seed 3: scale: ReadOnly: 40 bytes were written to `@data.bin:ro`, which has 256\n",
            );
        }
        assert_eq!(read(&path)[..3], [0.0, 1.0, 2.0]);
    }
}

#[test]
fn a_struct_is_laid_out_as_the_compiler_does() {
    let folder = folder("struct");
    for image in images() {
        write(&folder.join("a.bin"), ramp(3));
        let words = "combine --block 3 \
                     struct:[u8:1,@a.bin:ro,struct:[i16:-300,u8:200],i64:1000] out:f32:3";
        let said = tool(&folder, image, words).clean();
        assert!(said.out.contains("out:f32:3: -900 -901 -902\n"), "{said:?}");
    }
}

#[test]
fn a_fault_is_reported_with_its_line_and_leaves_the_file() {
    let folder = folder("fault");
    let source = std::fs::read_to_string(bench::sources().join("kernels.h")).expect("the source");
    let line = source.lines().position(|line| line.contains("data[i] *= factor")).expect("it") + 1;
    for image in images() {
        let path = folder.join("data.bin");
        write(&path, ramp(10));
        let said = tool(&folder, image, "scale @data.bin f32:2 i32:11")
            .found("seed 0: scale: OutOfBounds: 4 bytes at 0x40000000028");
        assert!(said.out.contains(&format!("kernels.h:{line}\n")), "{said:?}");
        assert!(said.out.contains("0x40000000000: 40 bytes of `@data.bin`\n"), "{said:?}");
        assert_eq!(read(&path)[9], 9.0);
    }
}

#[test]
fn a_race_is_reported_by_every_seed() {
    let folder = folder("race");
    for image in images() {
        let said = tool(&folder, image, "one_cell --grid 4 out:i32:1 --seed 7 --runs 3");
        let said = said.found("findings: ");
        for seed in 7..10 {
            assert!(said.out.contains(&format!("seed {seed}: one_cell: Race: ")), "{said:?}");
        }
        assert!(said.out.contains(" in 3 of 3 runs;"), "{said:?}");
    }
}

/// Atomics are no race, so that the results alone tell.
#[test]
fn results_that_depend_on_the_schedule_are_a_finding() {
    let folder = folder("schedule");
    for image in images() {
        let words = "arrivals --grid 40 out:i32:40@order.bin zero:i32:1";
        std::fs::remove_file(folder.join("order.bin")).ok();
        tool(&folder, image, &format!("{words} --runs 4")).found("`out:i32:40@order.bin`[");
        assert!(!folder.join("order.bin").exists());
        tool(&folder, image, words).clean();
        assert!(folder.join("order.bin").exists());
    }
}
