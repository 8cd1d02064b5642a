//! The fast arithmetic: near the operators within derived bounds, the same bits on any number of
//! threads, and the same refusals.

mod attention;
#[path = "../operators/data.rs"]
#[allow(dead_code, reason = "shared with the tests of the operators")]
mod data;
mod experts;
mod linear;
mod model;
mod rows;

use crate::data::Random;
use expertile_reference::{Elements, Tensor};
use half::{bf16, f16};
use std::sync::OnceLock;

/// Half the distance from 1 to the next f32.
const U32: f64 = f32::EPSILON as f64 / 2.0;

/// A weight of one of the three stored types.
fn tensor(values: &[f32], stored: usize) -> Tensor {
    let elements = match stored {
        0 => Elements::F32(values.to_vec()),
        1 => Elements::F16(values.iter().map(|&x| f16::from_f32(x)).collect()),
        _ => Elements::Bf16(values.iter().map(|&x| bf16::from_f32(x)).collect()),
    };
    Tensor::new([values.len()], elements).unwrap()
}

/// Values that bf16 holds exactly, most of them with all of its digits.
fn values(random: &mut Random, count: usize) -> Vec<f32> {
    random.values(count).into_iter().map(|x| bf16::from_f32(x).to_f32()).collect()
}

/// Runs `work` on one thread, on two, and on two again: the bits are the same.
fn everywhere(work: impl Fn() -> Vec<f32> + Sync) -> Vec<f32> {
    static POOLS: OnceLock<[rayon::ThreadPool; 2]> = OnceLock::new();
    let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let [one, two] = POOLS.get_or_init(|| [pool(1), pool(2)]);
    let bits = |x: &[f32]| -> Vec<u32> { x.iter().map(|x| x.to_bits()).collect() };
    let out = one.install(&work);
    for _ in 0..2 {
        assert_eq!(bits(&two.install(&work)), bits(&out));
    }
    out
}
