use crate::data::{Random, assert_near, cases, gather, refusal, same_bits, tokens, wide};
use expertile_reference::Rounding;
use expertile_reference::kv_cache::CacheLayout;
use expertile_reference::rope::{Rotated, append, inv_freq, rope, rope_interleaved};
use half::bf16;
use proptest::prelude::*;

/// DBRX's base.
const THETA: f64 = 500_000.0;

/// Unrounded and without a clip.
fn rotate(qkv: &[f32], positions: &[i32], half: usize, heads: (usize, usize)) -> Rotated {
    let inv_freq = inv_freq(THETA, 2 * half);
    rope(qkv, positions, &inv_freq, heads.0, heads.1, None, Rounding::F64).unwrap()
}

/// One query head and no key head, so that the result is one rotated row.
fn rotate_one(x: &[f32], position: i32) -> Vec<f64> {
    rotate(x, &[position], x.len() / 2, (1, 0)).q
}

fn positions() -> impl Strategy<Value = i32> {
    prop_oneof![Just(0), Just(1), Just(32767), 0..32768, -100..0]
}

fn heads() -> impl Strategy<Value = (usize, usize)> {
    prop_oneof![Just((6, 1)), Just((8, 1)), Just((2, 2)), Just((12, 2)), Just((0, 1)), Just((1, 0))]
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn pairs_keep_their_norm(half in 1..9usize, position in positions(), seed in any::<u64>()) {
        let x = Random::new(seed).values(2 * half);
        let y = rotate_one(&x, position);
        for i in 0..half {
            let before = f64::from(x[i]).hypot(x[i + half].into());
            assert!((y[i].hypot(y[i + half]) - before).abs() < 1e-14);
        }
    }

    #[test]
    fn products_depend_on_the_distance_alone(
        half in 1..9usize, m in 0..16000i32, n in 0..16000i32, shift in 0..16000i32,
        seed in any::<u64>(),
    ) {
        let mut random = Random::new(seed);
        let (q, k) = (random.values(2 * half), random.values(2 * half));
        let dot = |m, n| -> f64 {
            rotate_one(&q, m).iter().zip(rotate_one(&k, n)).map(|(q, k)| q * k).sum()
        };
        // Each of the four angles is rounded to f32 once, which turns its pair by so much.
        let turned: f64 = inv_freq(THETA, 2 * half)
            .iter()
            .enumerate()
            .map(|(i, &frequency)| {
                let pairs = [&q, &k].map(|x| f64::from(x[i]).hypot(x[i + half].into()));
                let angles = f64::from(frequency) * f64::from(2 * (m + n + shift));
                pairs[0] * pairs[1] * angles * f64::from(f32::EPSILON) / 2.0
            })
            .sum();
        let (near, far) = (dot(m, n), dot(m + shift, n + shift));
        assert!((near - far).abs() <= turned + 1e-13, "{near} {far} {turned}");
    }

    #[test]
    fn position_0_is_the_identity(
        tokens in tokens(), half in 0..5usize, heads in heads(), seed in any::<u64>(),
    ) {
        let width = 2 * half;
        let row = (heads.0 + 2 * heads.1) * width;
        let x = Random::new(seed).values(tokens * row);
        let out = rotate(&x, &vec![0; tokens], half, heads);
        let mut rows: Vec<f64> = Vec::new();
        for token in 0..tokens {
            rows.extend(&out.q[token * heads.0 * width..][..heads.0 * width]);
            rows.extend(&out.k[token * heads.1 * width..][..heads.1 * width]);
            rows.extend(&out.v[token * heads.1 * width..][..heads.1 * width]);
        }
        assert_eq!(rows, wide(&x));
    }

    #[test]
    fn the_way_back(half in 1..9usize, position in positions(), seed in any::<u64>()) {
        let x = Random::new(seed).values(2 * half);
        let there = rotate_one(&x, position);
        let inv_freq = inv_freq(THETA, 2 * half);
        let back = rope(&there, &[-position], &inv_freq, 1, 0, None, Rounding::F64).unwrap().q;
        assert_near(&back, &wide(&x), |_| 1e-14);
    }

    /// Queries, keys and values are clipped, and before the rotation.
    #[test]
    fn the_clip_comes_first(
        tokens in tokens(), half in 1..5usize, heads in heads(), seed in any::<u64>(),
    ) {
        let mut random = Random::new(seed);
        let x = random.integers(tokens * (heads.0 + 2 * heads.1) * 2 * half);
        let positions: Vec<i32> = (0..tokens).map(|_| random.below(32768) as i32).collect();
        let inv_freq = inv_freq(THETA, 2 * half);
        for rounding in [Rounding::F64, Rounding::Bf16] {
            let run = |x: &[f32], clip| {
                rope(x, &positions, &inv_freq, heads.0, heads.1, clip, rounding).unwrap()
            };
            let clipped: Vec<f32> = x.iter().map(|x| x.clamp(-2.5, 2.5)).collect();
            let (found, want) = (run(&x, Some(2.5)), run(&clipped, None));
            assert_eq!(found, want);
            assert!(found.v.iter().all(|v| v.abs() <= 2.5));
            assert_eq!(run(&x, Some(f64::INFINITY)), run(&x, None));
        }
    }

    #[test]
    fn every_product_and_sum_is_rounded(position in positions(), seed in any::<u64>()) {
        let x = wide(&Random::new(seed).values(4));
        let inv_freq = inv_freq(THETA, 4);
        let brain = |x: f64| -> f64 { bf16::from_f32(x as f32).into() };
        let roundings: [(Rounding, &dyn Fn(f64) -> f64); 2] =
            [(Rounding::F64, &|x| x), (Rounding::Bf16, &brain)];
        for (rounding, round) in roundings {
            let out = rope(&x, &[position], &inv_freq, 1, 0, None, rounding).unwrap().q;
            for i in 0..2 {
                // The angle is an f32 whatever the rounding is.
                let angle = f64::from(position as f32 * inv_freq[i]);
                let (cos, sin) = (round(angle.cos()), round(angle.sin()));
                let (a, b) = (x[i], x[i + 2]);
                assert_eq!(out[i], round(round(a * cos) - round(b * sin)));
                assert_eq!(out[i + 2], round(round(b * cos) + round(a * sin)));
            }
        }
    }

    #[test]
    fn frequencies_follow_the_formula(half in 1..130usize, log in 1..40i32) {
        let theta = 2f64.powi(log) + 0.5;
        let found = inv_freq(theta, 2 * half);
        assert_eq!(found.len(), half);
        for (i, found) in found.into_iter().enumerate() {
            let exponent = i as f64 / half as f64;
            let want = theta.powf(-exponent);
            // Power and quotient are rounded to f32. So is the exponent, unless head_dim is a power
            // of two, and that rounding is multiplied by log(theta).
            let roundings = if half.is_power_of_two() { 2.0 } else { 2.0 + exponent * theta.ln() };
            let bound = want * roundings * f64::from(f32::EPSILON) / 2.0;
            assert!((f64::from(found) - want).abs() <= bound * (1.0 + 1e-6), "{i} of {half}");
        }
    }

    #[test]
    fn append_writes_its_slots_and_nothing_else(
        tokens in tokens(), pages in 1..5usize, page_size in prop_oneof![Just(1), Just(3), Just(16)],
        heads in 1..4usize, width in 1..5usize, gaps in any::<[bool; 3]>(), seed in any::<u64>(),
    ) {
        let mut random = Random::new(seed);
        let mut layout = CacheLayout::packed(pages, page_size, heads, width).unwrap();
        layout.head_stride += u64::from(gaps[0]);
        layout.position_stride = layout.head_stride * heads as u64 + u64::from(gaps[1]);
        layout.page_stride = layout.position_stride * page_size as u64 + u64::from(gaps[2]);
        let elements = layout.elements("test").unwrap();
        let slots: Vec<i64> = (0..tokens)
            .map(|_| random.below(pages * page_size + 1) as i64 - 1)
            .collect();
        let rows: Vec<i64> = (0..(tokens * heads * width) as i64).collect();

        // What each element holds in the end, the last token of a slot first.
        let mut want = vec![-7; elements + 3];
        for (token, &slot) in slots.iter().enumerate().filter(|(_, slot)| **slot >= 0) {
            let (page, position) = (slot as u64 / page_size as u64, slot as u64 % page_size as u64);
            for head in 0..heads {
                for i in 0..width {
                    let at = page * layout.page_stride
                        + position * layout.position_stride
                        + head as u64 * layout.head_stride;
                    want[at as usize + i] = rows[(token * heads + head) * width + i];
                }
            }
        }
        let mut cache = vec![-7; elements + 3];
        append(&rows, &slots, &mut cache, &layout).unwrap();
        assert_eq!(cache, want);

        for bad in [-2, (pages * page_size) as i64, i64::MAX, i64::MIN] {
            if tokens > 0 {
                let mut slots = slots.clone();
                slots[tokens - 1] = bad;
                let mut cache = vec![-7; elements];
                refusal(append(&rows, &slots, &mut cache, &layout));
                assert!(cache.iter().all(|&x| x == -7));
            }
        }
    }

    #[test]
    fn tokens_do_not_see_each_other(
        tokens in 1..6usize, half in 1..5usize, heads in heads(), seed in any::<u64>(),
    ) {
        let mut random = Random::new(seed);
        let width = (heads.0 + 2 * heads.1) * 2 * half;
        let x = random.values(tokens * width);
        let positions: Vec<i32> = (0..tokens).map(|_| random.below(32768) as i32).collect();
        let order = random.permutation(tokens);
        let (whole, permuted) = (
            rotate(&x, &positions, half, heads),
            rotate(&gather(&x, width, &order), &gather(&positions, 1, &order), half, heads),
        );
        assert!(same_bits(&permuted.q, &gather(&whole.q, heads.0 * 2 * half, &order)));
        assert!(same_bits(&permuted.k, &gather(&whole.k, heads.1 * 2 * half, &order)));
        assert!(same_bits(&permuted.v, &gather(&whole.v, heads.1 * 2 * half, &order)));
    }
}

#[test]
fn halves_are_rotated_by_hand() {
    // A quarter turn of the first pair (0 and 2), none of the second (1 and 3).
    let quarter = [std::f32::consts::FRAC_PI_2, 0.0];
    let x = [1f32, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0];
    let out = rope(&x, &[1], &quarter, 1, 1, None, Rounding::F64).unwrap();
    assert_near(&out.q, &[-3.0, 2.0, 1.0, 4.0], |_| 1e-6);
    assert_near(&out.k, &[-7.0, 6.0, 5.0, 8.0], |_| 1e-6);
    assert_eq!(out.v, [9.0, 10.0, 11.0, 12.0]);
}

/// The clip of a NaN is NaN, in its own pair and nowhere else.
#[test]
fn a_nan_survives_the_clip() {
    let frequencies = inv_freq(THETA, 4);
    for at in 0..12 {
        let mut x = [1f32; 12];
        x[at] = f32::NAN;
        let out = rope(&x, &[3], &frequencies, 1, 1, Some(0.5), Rounding::F32).unwrap();
        let found: Vec<usize> = [out.q, out.k, out.v]
            .concat()
            .iter()
            .enumerate()
            .filter_map(|(i, x)| x.is_nan().then_some(i))
            .collect();
        let pair = [at - at % 4 + at % 2, at - at % 4 + at % 2 + 2];
        let want = if at < 8 { pair.to_vec() } else { vec![at] };
        assert_eq!(found, want);
    }
    let out = rope(&[f32::INFINITY, -9.0], &[0], &[1.0], 1, 0, Some(8.0), Rounding::F32);
    assert_eq!(out.unwrap().q, [8.0, -8.0]);
}

#[test]
fn refusals_of_rope() {
    let run = |qkv: &[f32], positions: &[i32], q_heads, kv_heads, clip| {
        rope(qkv, positions, &[1.0, 0.1], q_heads, kv_heads, clip, Rounding::F32)
    };
    assert_eq!(
        refusal(run(&[0.0; 16], &[0], 1, 1, None)),
        "rope: qkv has 16 elements, expected [1, 3, 4]"
    );
    for clip in [-1.0, f64::NAN, f64::NEG_INFINITY] {
        assert_eq!(
            refusal(run(&[0.0; 12], &[0], 1, 1, Some(clip))),
            format!("rope: clip is {clip}, expected at least 0")
        );
    }
    refusal(run(&[0.0; 12], &[0, 1], 1, 1, None));
    refusal(run(&[0.0; 12], &[0], usize::MAX, usize::MAX, None));
    refusal(run(&[0.0; 12], &[0], 1, usize::MAX, None));
    for heads in [0, 1, usize::MAX] {
        assert!(run(&[], &[], heads, heads, None).unwrap().v.is_empty());
        // Heads of no element.
        let none = rope(&[0f32; 0], &[0, 1], &[], heads, heads, None, Rounding::F32);
        assert!(none.unwrap().q.is_empty());
    }
    assert!(inv_freq(THETA, 0).is_empty() && inv_freq(THETA, 1).is_empty());
}

#[test]
fn refusals_of_append() {
    let layout = CacheLayout::packed(2, 3, 1, 2).unwrap();
    let run = |rows: usize, slots: &[i64], cache: usize, layout: &CacheLayout| {
        append(&vec![0u8; rows], slots, &mut vec![0; cache], layout)
    };
    for (slot, rows) in [(-2, 2), (6, 2), (i64::MAX, 2)] {
        assert_eq!(
            refusal(run(rows, &[slot], 12, &layout)),
            format!("append: slot_mapping[0] is {slot}, expected -1 or less than 6")
        );
    }
    assert_eq!(
        refusal(run(3, &[0], 12, &layout)),
        "append: rows has 3 elements, expected [1, 1, 2]"
    );
    assert_eq!(refusal(run(2, &[0], 11, &layout)), "append: cache has shape [11], expected [12]");
    let overlapping = CacheLayout { position_stride: 0, ..layout };
    assert!(refusal(run(2, &[0], 12, &overlapping)).contains("that do not overlap"));
    let endless = CacheLayout { page_stride: u64::MAX, ..layout };
    refusal(run(2, &[0], 12, &endless));
    let tall = CacheLayout { kv_heads: usize::MAX, head_stride: 0, ..layout };
    refusal(run(2, &[0], 12, &tall));
    let empty = CacheLayout { kv_heads: usize::MAX, head_dim: 0, ..layout };
    run(0, &[0, 5], 0, &empty).unwrap();
    refusal(run(0, &[6], 0, &empty));
    run(0, &[], 12, &layout).unwrap();
}

/// Moves element `2 i` of each head to `i` and `2 i + 1` to `i + half`.
fn to_halves<T: Copy>(x: &[T], half: usize) -> Vec<T> {
    x.chunks(2 * half)
        .flat_map(|head| (0..2 * half).map(|i| head[2 * (i % half) + i / half]))
        .collect()
}

#[test]
fn interleaved_pairs_are_halves_in_another_order() {
    let (half, heads) = (5, (6, 2));
    let mut random = Random::new(1);
    let qkv = random.values(3 * 10 * 2 * half);
    let inv_freq = inv_freq(THETA, 2 * half);
    let positions = [0, 7, 32767];
    let run = (Some(0.5), Rounding::Bf16);
    let neighbours =
        rope_interleaved(&qkv, &positions, &inv_freq, heads.0, heads.1, run.0, run.1).unwrap();
    let halves = to_halves(&qkv, half);
    let halves = rope(&halves, &positions, &inv_freq, heads.0, heads.1, run.0, run.1).unwrap();
    assert_eq!(to_halves(&neighbours.q, half), halves.q);
    assert_eq!(to_halves(&neighbours.k, half), halves.k);
    assert_eq!(to_halves(&neighbours.v, half), halves.v);
}
