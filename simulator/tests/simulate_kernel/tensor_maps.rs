//! Tensor maps of files, and clusters.

use std::path::Path;

use expertile_simulator::nvcc;

use super::bench::{folder, is_there, read, tool, write};

fn source(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/asynchronous").join(name)
}

#[test]
fn a_tensor_is_stored_and_loaded() {
    if !is_there(nvcc::find(), "cuda") {
        return;
    }
    let folder = folder("tensor_maps");
    write(&folder.join("tiles.bin"), [[0; 4]; 32 * 40].into_iter());
    let words = "store --block 64 --shared 4096 --runs 5 tma:@tiles.bin:32,39:128:32,8:4:0 i32:5";
    tool(&folder, &source("kernels.cu"), &format!("{words} i32:0")).clean();
    let expected = (0..32 * 40).map(|at| if at < 32 * 39 { at as f32 } else { 0.0 });
    assert_eq!(read(&folder.join("tiles.bin")), expected.collect::<Vec<f32>>());
    // No proxy fence.
    tool(&folder, &source("kernels.cu"), &format!("{words} i32:7")).found("no fence.proxy.async");
    let words = "ring --block 96 --shared 6144 tma:@tiles.bin:ro:32,32:128:32,16:4:0 i32:2 i32:0";
    let said = tool(&folder, &source("kernels.cu"), &format!("{words} out:f32:64")).clean();
    let sum = (0..16).map(|row| 64 * row).sum::<i32>();
    assert!(said.out.starts_with(&format!("out:f32:64: {sum} {} ", sum + 16)), "{said:?}");
}

#[test]
fn a_map_is_in_global_memory() {
    if !is_there(nvcc::find(), "cuda") {
        return;
    }
    let folder = folder("tensor_map_pointers");
    let rows = (0..16 * 8).map(|at| (at as f32).to_le_bytes());
    write(&folder.join("tiles.bin"), rows);
    write(&folder.join("where.bin"), [4i32, 14].map(i32::to_le_bytes).into_iter());
    let map = "tmap:@tiles.bin:ro:8,16:32:4,3:4:0";
    let words = format!("load_by_pointer --shared 1024 --runs 3 {map} @where.bin:ro i32:0 i32:48");
    let said = tool(&folder, &source("kernels.cu"), &format!("{words} out:u8:48@box.bin")).clean();
    assert!(!said.out.contains("tmap"), "{said:?}");
    // The last row of the box is outside of the tensor.
    let expected = [116.0, 117.0, 118.0, 119.0, 124.0, 125.0, 126.0, 127.0, 0.0, 0.0, 0.0, 0.0];
    assert_eq!(read(&folder.join("box.bin")), expected);
    // One by value is no pointer.
    let by_value = words.replace("tmap", "tma");
    tool(&folder, &source("kernels.cu"), &format!("{by_value} out:u8:48@box.bin"))
        .refused("argument 0 has 128 bytes, expected 8");
}

#[test]
fn blocks_run_in_clusters() {
    if !is_there(nvcc::find(), "cuda") {
        return;
    }
    let (folder, source) = (folder("clusters"), source("clusters.cu"));
    let words = "exchange --grid 4 --block 64 i32:0 out:u32:256";
    let said = tool(&folder, &source, &format!("{words} --cluster 2 --runs 3")).clean();
    // The first block has what the second wrote; 63 threads of two blocks counted.
    let first = 64 + (126 << 16);
    assert!(said.out.starts_with(&format!("out:u32:256: {first} {} ", first + 1)), "{said:?}");
    tool(&folder, &source, &format!("{words} --cluster 3"))
        .found("clusters of [3, 1, 1] in a grid of [4, 1, 1]");
}
