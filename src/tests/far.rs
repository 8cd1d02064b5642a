//! `combine`, packets and `linear`: rows so far apart that 32-bit offsets would wrap, and more of them than blocks.

use super::harness::{devices, same_bits, values};
use super::large::{FAR, FarRows, ROWS};
use super::{combine, linear, packet};
use expertile::{
    Buffer, Combine, CombineOut, Dtype, Linear, LinearOut, PacketPack, PacketUnpack, Result,
    WeightLayout, combine as combine_rows, linear as multiply,
};
use half::bf16;

/// More rows than the blocks of combine and of packets take at once, so that they go on to others.
#[test]
fn blocks_go_on_to_other_rows() -> Result<(), String> {
    let most = devices().iter().map(|device| device.info().multiprocessors).max().unwrap_or(0);
    // 16 threads for a token of 8 elements: 16 tokens for each of 16 blocks a multiprocessor.
    let tokens = 256 * most as usize + 5;
    if most == 0 {
        return Ok(());
    }
    for (residual, dtype) in [(2, Dtype::Bf16), (0, Dtype::F32)] {
        combine::check(&combine::Case {
            tokens,
            top_k: 2,
            expert_rows: 100,
            hidden_8: 1,
            gap_8: 0,
            dtype,
            residual,
            scale: 1.0,
            special: false,
            seed: 11,
        })?;
    }
    packet::check(&packet::Case {
        tokens,
        top_k: 1,
        experts: 3,
        local: 2,
        hidden_8: 1,
        gaps: [0, 0],
        room: tokens as i32,
        dtype: Dtype::F16,
        seed: 12,
    })
}

#[test]
fn combined_rows_may_be_gibibytes_apart() -> Result<()> {
    let (hidden, shape) = (264, [ROWS, 264]);
    let mut random = fastrand::Rng::with_seed(9);
    let [of_experts, residual] =
        [(); 2].map(|()| values::<bf16>(&mut random, (ROWS * hidden) as usize, 1.0));
    for device in devices() {
        let stream = device.stream()?;
        let rows = Buffer::from_slice(&stream, &[2i32, 0, -1, 2, 1, 1])?;
        let mut dense =
            [&of_experts, &residual, &residual].map(|values| Buffer::from_slice(&stream, values));
        let mut far = [(); 3].map(|()| FarRows::new(device, ROWS, hidden));
        let ([Ok(near), Ok(near_residual), Ok(near_out)], [Ok(far), Ok(far_residual), Ok(far_out)]) =
            (&mut dense, &mut far)
        else {
            println!("skipped on {device}: no room for three buffers of 8 GiB");
            continue;
        };
        far.write(stream.raw(), &of_experts)?;
        far_residual.write(stream.raw(), &residual)?;
        let rows = || rows.tensor(&[ROWS, 2]);
        let out = CombineOut::Add(near_residual.tensor(&shape)?, near_out.tensor_mut(&shape)?);
        combine_rows(&stream, &Combine { expert_out: near.tensor(&shape)?, rows: rows()?, out })?;
        let out = CombineOut::Add(far_residual.tensor(&shape)?, far_out.tensor_mut(&shape)?);
        combine_rows(&stream, &Combine { expert_out: far.tensor(&shape)?, rows: rows()?, out })?;
        let near: Vec<bf16> = near_out.read(&stream)?;
        let far = far_out.read(stream.raw())?;
        same_bits("combine", &far, &near).unwrap_or_else(|error| panic!("{error}"));
    }
    Ok(())
}

/// To packets that lie far apart, and back.
#[test]
fn packets_may_be_gibibytes_apart() -> Result<()> {
    let (hidden, width) = (264, 272);
    let mut random = fastrand::Rng::with_seed(10);
    let x = values::<bf16>(&mut random, (ROWS * hidden) as usize, 1.0);
    for device in devices() {
        let stream = device.stream()?;
        let mut far = [hidden, width, hidden].map(|width| FarRows::new(device, ROWS, width));
        let [Ok(from), Ok(packets), Ok(to)] = &mut far else {
            println!("skipped on {device}: no room for three buffers of 8 GiB");
            continue;
        };
        from.write(stream.raw(), &x)?;
        let ids = Buffer::from_slice(&stream, &[1i32, 0, 2])?;
        let weights = Buffer::from_slice(&stream, &[0.5f32, 0.25, 0.125])?;
        let pairs = Buffer::from_slice(&stream, &[1i32, 0, 2])?;
        let offsets = Buffer::from_slice(&stream, &[0i32, 1, 2, 3])?;
        let pack = PacketPack {
            x: from.tensor(&[ROWS, hidden])?,
            ids: ids.tensor(&[ROWS, 1])?,
            weights: weights.tensor(&[ROWS, 1])?,
            pairs: pairs.tensor(&[ROWS])?,
            offsets: offsets.tensor(&[4])?,
            packets: packets.tensor_mut(&[ROWS, width])?,
        };
        expertile::packet_pack(&stream, &pack)?;
        let [mut got_ids, mut got_pairs] =
            [Buffer::new(device, Dtype::I32, ROWS)?, Buffer::new(device, Dtype::I32, ROWS)?];
        let mut got_weights = Buffer::new(device, Dtype::F32, ROWS)?;
        let unpack = PacketUnpack {
            packets: packets.tensor(&[ROWS, width])?,
            x: to.tensor_mut(&[ROWS, hidden])?,
            ids: got_ids.tensor_mut(&[ROWS, 1])?,
            weights: got_weights.tensor_mut(&[ROWS, 1])?,
            pairs: got_pairs.tensor_mut(&[ROWS])?,
        };
        expertile::packet_unpack(&stream, &unpack)?;
        let row = |row: usize| &x[row * hidden as usize..][..hidden as usize];
        let want = [row(1), row(0), row(2)].concat();
        same_bits("packet", &to.read(stream.raw())?, &want)
            .unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(got_pairs.read::<i32>(&stream)?, [1, 0, 2]);
        assert_eq!(got_ids.read::<i32>(&stream)?, [0, 1, 2]);
        assert_eq!(got_weights.read::<f32>(&stream)?, [0.25, 0.5, 0.125]);
    }
    Ok(())
}

/// Three rows of x and eight of the weight for the kernels of few tokens; for those of many, so many rows that the last
/// are further from the first than 32 bits can say.
#[test]
fn rows_of_a_dense_layer_may_be_gibibytes_apart() -> Result<()> {
    let near_far = (1 << 27) + 64;
    for device in linear::able() {
        let stream = device.stream()?;
        for (extents, layout, apart) in [
            ([3, 264, 8], WeightLayout::OutIn, FAR),
            ([3, 8, 264], WeightLayout::InOut, FAR),
            ([66, 72, 72], WeightLayout::OutIn, near_far),
            ([66, 72, 72], WeightLayout::InOut, near_far),
        ] {
            let [tokens, in_features, out_features] = extents;
            let of_weight = match layout {
                WeightLayout::OutIn => [out_features, in_features],
                WeightLayout::InOut => [in_features, out_features],
            };
            let shapes = [[tokens, in_features], of_weight, [tokens, out_features]];
            let mut random = fastrand::Rng::with_seed(21);
            let near = shapes
                .map(|[rows, columns]| values::<bf16>(&mut random, (rows * columns) as usize, 1.0));
            let mut far = shapes.map(|[rows, width]| FarRows::apart(device, rows, width, apart));
            let [Ok(far_x), Ok(far_weight), Ok(far_out)] = &mut far else {
                println!("skipped on {device}: no room for three buffers of up to 28 GiB");
                continue;
            };
            far_x.write(stream.raw(), &near[0])?;
            far_weight.write(stream.raw(), &near[1])?;
            far_out.write(stream.raw(), &near[2])?;
            let near = near.map(|values| Buffer::from_slice(&stream, &values));
            let [Ok(x), Ok(weight), Ok(mut out)] = near else {
                panic!("no room for small buffers")
            };
            let call = |x, weight, out| {
                let out = LinearOut::Update(out);
                multiply(&stream, &Linear { x, weight, layout, clamp: None, out })
            };
            let [of_x, of_weight, of_out] = &shapes;
            call(x.tensor(of_x)?, weight.tensor(of_weight)?, out.tensor_mut(of_out)?)?;
            call(far_x.tensor(of_x)?, far_weight.tensor(of_weight)?, far_out.tensor_mut(of_out)?)?;
            let (near, far) = (out.read::<bf16>(&stream)?, far_out.read(stream.raw())?);
            same_bits("linear", &far, &near).unwrap_or_else(|error| panic!("{error}"));
        }
    }
    Ok(())
}
