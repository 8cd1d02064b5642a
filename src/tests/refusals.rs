//! What `dispatch`, `combine` and the packets refuse, and in which words.

use super::harness::devices;
use expertile::{
    Combine, CombineOut, Device, Dispatch, Dtype, Error, PacketPack, PacketUnpack, Tensor,
    TensorMut, combine, dispatch, dispatch_workspace_bytes, packet_pack, packet_unpack,
};

pub(super) fn text(result: expertile::Result<()>) -> String {
    result.map_or_else(|error| error.to_string(), |()| "no error".into())
}

/// An address, a dtype, extents and strides; the address is never used.
#[derive(Clone)]
pub(super) struct Of(
    pub(super) u64,
    pub(super) Dtype,
    pub(super) Vec<u64>,
    pub(super) Option<Vec<u64>>,
);

impl Of {
    pub(super) fn new(dtype: Dtype, shape: &[u64]) -> Of {
        Of(1 << 20, dtype, shape.to_vec(), None)
    }

    pub(super) fn read(&self, device: &Device) -> Tensor<'static> {
        // SAFETY: nothing is launched with it.
        unsafe { Tensor::from_raw(device, self.0, self.1, &self.2, self.3.as_deref()) }.unwrap()
    }

    pub(super) fn written(&self, device: &Device) -> TensorMut<'static> {
        // SAFETY: nothing is launched with it.
        unsafe { TensorMut::from_raw(device, self.0, self.1, &self.2, self.3.as_deref()) }.unwrap()
    }
}

/// The arguments of a call and a change of one of them, with the text of its refusal.
pub(super) type Change<T> = (fn(&mut T), &'static str);

struct OfDispatch {
    tensors: [Of; 8],
    experts: std::ops::Range<u32>,
    tile_rows: u32,
}

#[test]
fn dispatch_says_what_it_refuses() {
    let i32s = |shape: &[u64]| Of::new(Dtype::I32, shape);
    let right = || OfDispatch {
        // 5000 tokens of 4 pairs to 16 experts, in tiles of 64.
        tensors: [
            i32s(&[5000, 4]),
            i32s(&[20_000]),
            i32s(&[5000, 4]),
            i32s(&[17]),
            i32s(&[16]),
            i32s(&[328, 2]),
            i32s(&[1]),
            i32s(&[16]),
        ],
        experts: 8..24,
        tile_rows: 64,
    };
    let changes: [Change<OfDispatch>; 18] = [
        (|a| a.tensors[0].2 = vec![5000], "ids is [5000], expected of shape [tokens, top_k]"),
        (|a| a.tensors[0].1 = Dtype::I64, "ids is i64, expected i32"),
        (|a| a.tensors[0].3 = Some(vec![5, 1]), "ids is of strides [5, 1], expected dense"),
        (|a| a.tensors[0].2[1] = 17, "no kernel for top_k 17, only for 1 to 16"),
        (|a| a.tensors[0].2[1] = 0, "no kernel for top_k 0, only for 1 to 16"),
        (
            |a| a.tensors[0].2[0] = 1 << 29,
            "no kernel for 536870912 tokens of 4 pairs, only for less than 2^31 pairs",
        ),
        (|a| a.tensors[1].2 = vec![19_999], "pairs has shape [19999], expected [20000]"),
        (|a| a.tensors[2].2 = vec![20_000], "rows has shape [20000], expected [5000, 4]"),
        (|a| a.tensors[3].2 = vec![16], "offsets has shape [16], expected [17]"),
        (|a| a.tensors[4].2 = vec![17], "counts has shape [17], expected [16]"),
        (|a| a.tensors[5].2 = vec![327, 2], "tiles has shape [327, 2], expected [328, 2]"),
        (|a| a.tensors[5].0 += 4, "tiles is at address 0x100004, expected a multiple of 8"),
        (|a| a.tensors[6].2 = vec![], "tile_count has shape [], expected [1]"),
        (|a| a.tensors[7].2 = vec![15], "workspace is of 15 elements, expected at least "),
        (
            |a| a.experts = 8..1 << 31,
            "experts is 8..2147483648, expected an ascending range that ends at 2147483647 or before",
        ),
        (|a| a.experts = 8..8, "no kernel for 0 local experts, only for 1 to 256"),
        (|a| a.experts = 0..257, "no kernel for 257 local experts, only for 1 to 256"),
        (|a| a.tile_rows = 48, "tile_rows is 48, expected a power of two from 16 to 256"),
    ];
    for device in devices() {
        let stream = device.stream().unwrap();
        for (change, refusal) in changes {
            let mut arguments = right();
            change(&mut arguments);
            let [ids, pairs, rows, offsets, counts, tiles, tile_count, workspace] =
                &arguments.tensors;
            let result = dispatch(
                &stream,
                &Dispatch {
                    ids: ids.read(device),
                    experts: arguments.experts.clone(),
                    tile_rows: arguments.tile_rows,
                    pairs: pairs.written(device),
                    rows: rows.written(device),
                    offsets: offsets.written(device),
                    counts: counts.written(device),
                    tiles: tiles.written(device),
                    tile_count: tile_count.written(device),
                    workspace: workspace.written(device),
                },
            );
            let found = text(result);
            assert!(found.starts_with(&format!("dispatch: {refusal}")), "{found}");
        }
        // A block's pairs need none, and what is refused has some answer.
        let bytes = |tokens, top_k, experts| {
            dispatch_workspace_bytes(device.info(), tokens, top_k, experts)
        };
        assert_eq!((bytes(1024, 4, 256), bytes(0, 4, 16)), (0, 0));
        assert_eq!(bytes(1025, 4, 16), 5 * 16 * 4);
        assert!(bytes(u64::MAX, u64::MAX, u64::MAX) > 0);
    }
}

#[test]
fn combine_says_what_it_refuses() {
    let right = || {
        let bf16 = |shape: &[u64]| Of::new(Dtype::Bf16, shape);
        [bf16(&[12, 64]), Of::new(Dtype::I32, &[3, 4]), bf16(&[3, 64]), bf16(&[3, 64])]
    };
    let changes: [Change<[Of; 4]>; 13] = [
        (|a| a[0].2 = vec![64], "expert_out is [64], expected of shape [expert_rows, hidden]"),
        (|a| a[0].1 = Dtype::I32, "no kernel for dtype i32, only for bf16, f16 and f32"),
        (|a| a[0].2[1] = 65, "residual has shape [3, 64], expected [3, 65]"),
        (|a| a[0].0 += 8, "expert_out is at address 0x100008, expected a multiple of 16 bytes"),
        (|a| a[1].2 = vec![12], "rows is [12], expected of shape [tokens, top_k]"),
        (|a| a[1].1 = Dtype::I64, "rows is i64, expected i32"),
        (|a| a[1].2[1] = 17, "no kernel for top_k 17, only for 1 to 16"),
        (|a| a[1].2[1] = 0, "no kernel for top_k 0, only for 1 to 16"),
        (|a| a[1].3 = Some(vec![8, 1]), "rows is of strides [8, 1], expected dense"),
        (|a| a[2].1 = Dtype::F16, "residual is f16, expected bf16"),
        (|a| a[3].2[0] = 4, "out has shape [4, 64], expected [3, 64]"),
        (
            |a| a[3].3 = Some(vec![68, 1]),
            "out is of strides [68, 1], expected a last stride of 1 and multiples of 8 elements before it",
        ),
        (
            |a| a.iter_mut().for_each(|of| *of.2.last_mut().unwrap() = 4),
            "no kernel for hidden 4, only for multiples of 8 from 8 to 65536",
        ),
    ];
    for device in devices() {
        let stream = device.stream().unwrap();
        for (change, refusal) in changes {
            let mut arguments = right();
            change(&mut arguments);
            let [expert_out, rows, residual, out] = &arguments;
            let result = combine(
                &stream,
                &Combine {
                    expert_out: expert_out.read(device),
                    rows: rows.read(device),
                    out: CombineOut::Add(residual.read(device), out.written(device)),
                },
            );
            assert_eq!(text(result), format!("combine: {refusal}"));
        }
    }
}

#[test]
fn packets_say_what_they_refuse() {
    let right = || {
        let of = Of::new;
        [
            of(Dtype::F32, &[5, 16]),
            of(Dtype::I32, &[5, 2]),
            of(Dtype::F32, &[5, 2]),
            of(Dtype::I32, &[10]),
            of(Dtype::I32, &[4]),
            of(Dtype::F32, &[7, 20]),
        ]
    };
    let changes: [Change<[Of; 6]>; 11] = [
        (|a| a[0].2 = vec![80], "x is [80], expected of shape [tokens, hidden]"),
        (|a| a[0].1 = Dtype::I64, "no kernel for dtype i64, only for bf16, f16 and f32"),
        (
            |a| a[0].2[1] = 12,
            "no kernel for hidden 12, only for multiples of 8 from 8 to 4294967288",
        ),
        (
            |a| a[0].3 = Some(vec![18, 1]),
            "x is of strides [18, 1], expected a last stride of 1 and a multiple of 4 elements before it",
        ),
        (|a| a[1].2 = vec![10], "ids is [10], expected of shape [tokens, top_k]"),
        (|a| a[2].1 = Dtype::Bf16, "weights is bf16, expected f32"),
        (|a| a[3].2 = vec![9], "pairs has shape [9], expected [10]"),
        (|a| a[4].2 = vec![], "offsets has shape [], expected [1]"),
        (|a| a[4].3 = Some(vec![2]), "offsets is of strides [2], expected dense"),
        (|a| a[5].2[1] = 16, "packets has shape [7, 16], expected [7, 20]"),
        (|a| a[5].0 += 4, "packets is at address 0x100004, expected a multiple of 16 bytes"),
    ];
    for device in devices() {
        let stream = device.stream().unwrap();
        for (change, refusal) in changes {
            let mut arguments = right();
            change(&mut arguments);
            let [x, ids, weights, pairs, offsets, packets] = &arguments;
            let result = packet_pack(
                &stream,
                &PacketPack {
                    x: x.read(device),
                    ids: ids.read(device),
                    weights: weights.read(device),
                    pairs: pairs.read(device),
                    offsets: offsets.read(device),
                    packets: packets.written(device),
                },
            );
            assert_eq!(text(result), format!("packet_pack: {refusal}"));
        }
        let [x, ids, weights, pairs, _, packets] = right();
        let result = packet_unpack(
            &stream,
            &PacketUnpack {
                packets: packets.read(device),
                x: x.written(device),
                ids: ids.written(device),
                weights: weights.written(device),
                pairs: pairs.written(device),
            },
        );
        assert!(matches!(result, Err(Error::Shape { argument: "packets", .. })), "{result:?}");
    }
}
