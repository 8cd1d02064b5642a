//! The workspace of `dispatch`: asked for, checked, and used.

use crate::scene::{Handle, last_error};
use crate::simulator::{Simulator, devices};
use expertile::capi::*;
use expertile::{Buffer, Dtype, dispatch_workspace_bytes};
use std::ffi::c_void;
use std::ptr::without_provenance_mut;

const TOKENS: i64 = 1100;
const TOP_K: i64 = 4;
const EXPERTS: i64 = 16;
const PAIRS: i64 = TOKENS * TOP_K;
const TILES: i64 = PAIRS / 64 + EXPERTS;

fn tensor(buffer: &Buffer, shape: &[i64]) -> expertile_tensor {
    let mut extents = [0; EXPERTILE_MAX_RANK];
    extents[..shape.len()].copy_from_slice(shape);
    expertile_tensor {
        data: without_provenance_mut(buffer.address() as usize),
        dtype: EXPERTILE_I32,
        rank: shape.len() as u32,
        shape: extents,
        strides: [0; EXPERTILE_MAX_RANK],
    }
}

#[test]
fn dispatch_asks_for_a_workspace_and_takes_no_less() {
    let Some(simulator) = Simulator::find() else { return };
    for device in devices() {
        let info = device.info();
        let (handle, stream) =
            (Handle::open(info.platform, info.ordinal), device.stream().unwrap());
        let ids: Vec<i32> = (0..PAIRS as i32).map(|pair| pair * 7 % 19).collect();
        let ids = Buffer::from_slice(&stream, &ids).unwrap();
        let new = |elements: i64| Buffer::new(&device, Dtype::I32, elements as u64).unwrap();
        let (mut pairs, rows, offsets) = (new(PAIRS), new(PAIRS), new(EXPERTS + 1));
        let (counts, tiles, tile_count) = (new(EXPERTS), new(2 * TILES), new(1));
        let args = expertile_dispatch_args {
            struct_size: size_of::<expertile_dispatch_args>() as u32,
            tile_rows: 64,
            first_expert: 0,
            end_expert: EXPERTS as u32,
            ids: tensor(&ids, &[TOKENS, TOP_K]),
            pairs: tensor(&pairs, &[PAIRS]),
            rows: tensor(&rows, &[TOKENS, TOP_K]),
            offsets: tensor(&offsets, &[EXPERTS + 1]),
            counts: tensor(&counts, &[EXPERTS]),
            tiles: tensor(&tiles, &[TILES, 2]),
            tile_count: tensor(&tile_count, &[1]),
        };
        let mut bytes = 0;
        // SAFETY: both lead to what they should.
        let status = unsafe { expertile_dispatch_workspace_bytes(handle.0, &args, &mut bytes) };
        assert_eq!(status, EXPERTILE_OK, "{}", last_error());
        let wanted = dispatch_workspace_bytes(info, TOKENS as u64, TOP_K as u64, EXPERTS as u64);
        assert!(bytes as u64 == wanted && bytes > 0);

        let workspace = Buffer::new(&device, Dtype::I32, bytes as u64 / 4 + 1).unwrap();
        let run = |address: u64, bytes: usize| {
            let workspace: *mut c_void = without_provenance_mut(address as usize);
            let stream = without_provenance_mut(stream.raw() as usize);
            // SAFETY: the tensors are the buffers', and the workspace holds as many bytes.
            unsafe { expertile_dispatch(handle.0, &args, workspace, bytes, stream) }
        };
        pairs.fill_bytes(&stream, 0x55).unwrap();
        assert_eq!(run(0, 0), EXPERTILE_WORKSPACE, "{}", last_error());
        assert_eq!(run(0, bytes), EXPERTILE_NULL_POINTER, "{}", last_error());
        assert_eq!(run(workspace.address(), bytes - 1), EXPERTILE_WORKSPACE, "{}", last_error());
        for off in 1..4 {
            let address = workspace.address() + off;
            assert_eq!(run(address, bytes), EXPERTILE_INVALID_VALUE, "{}", last_error());
        }
        assert!(pairs.read::<i32>(&stream).unwrap().iter().all(|&pair| pair == 0x5555_5555));
        assert_eq!(run(workspace.address() + 4, bytes), EXPERTILE_OK, "{}", last_error());
        let (pairs, total) = (pairs.read::<i32>(&stream).unwrap(), offsets.read::<i32>(&stream));
        let total = total.unwrap()[EXPERTS as usize] as usize;
        assert!(pairs[..total].iter().all(|&pair| (0..PAIRS as i32).contains(&pair)));
        assert!(pairs[total..].iter().all(|&pair| pair == -1));
        assert!(total > 3000 && total < PAIRS as usize, "{total}");
    }
    assert_eq!(simulator.text("expertile_sim_reports"), "");
}
