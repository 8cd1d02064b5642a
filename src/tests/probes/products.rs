//! Products by a warp group, whose tiles come as boxes with the 128-byte swizzle: sums of whole numbers,
//! which are exact in whatever order they are added.

use super::{devices, keep_verdict};
use expertile::probe::{Lies, PRODUCTS, Product, multiply};
use expertile::{Buffer, Device, Dtype, Element, Result};
use half::{bf16, f16};

const M: usize = Product::ROWS as usize;
const K: usize = Product::K as usize;

/// Matrices by row and k, or column and k, and their product.
struct Case {
    a: Vec<[i32; K]>,
    b: Vec<[i32; K]>,
}

impl Case {
    /// Every row of A is a single one, and every element of B says its column and k as far as 8 bits go.
    fn one_hot(n: usize, turn: usize) -> Case {
        let hot = |row: usize| (0..K).map(move |k| i32::from(k == (row + turn) % K));
        let mark = |column: usize| {
            (0..K).map(move |k| (k + column % 2 * 64 + column / 2 % 2 * 128) as i32 - 128)
        };
        Case {
            a: (0..M).map(|row| array(hot(row))).collect(),
            b: (0..n).map(|c| array(mark(c))).collect(),
        }
    }

    fn random(n: usize, seed: u64) -> Case {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut rows =
            |count| (0..count).map(|_| array((0..K).map(|_| random.i32(-99..100)))).collect();
        Case { a: rows(M), b: rows(n) }
    }

    fn product(&self) -> Vec<f32> {
        let dot =
            |row: &[i32; K], column: &[i32; K]| row.iter().zip(column).map(|(a, b)| a * b).sum();
        let sums = self.a.iter().flat_map(|row| self.b.iter().map(move |column| dot(row, column)));
        sums.map(|sum: i32| sum as f32).collect()
    }
}

fn array(numbers: impl Iterator<Item = i32>) -> [i32; K] {
    let mut array = [0; K];
    array.iter_mut().zip(numbers).for_each(|(place, number)| *place = number);
    array
}

/// A matrix's elements in the order in which it lies.
fn lay<T>(rows: &[[i32; K]], lies: Lies, element: fn(f32) -> T) -> Vec<T> {
    match lies {
        Lies::Mn => {
            (0..K).flat_map(|k| rows.iter().map(move |row| element(row[k] as f32))).collect()
        }
        _ => rows.iter().flatten().map(|&number| element(number as f32)).collect(),
    }
}

fn answer<T: Element>(
    device: &Device,
    product: &Product,
    case: &Case,
    element: fn(f32) -> T,
) -> Result<Vec<f32>> {
    let stream = device.stream()?;
    let a = Buffer::from_slice(&stream, &lay(&case.a, product.a, element))?;
    let b = Buffer::from_slice(&stream, &lay(&case.b, product.b, element))?;
    let mut out = Buffer::new(device, Dtype::F32, (M * product.n as usize) as u64)?;
    out.fill_bytes(&stream, 0xa5)?;
    multiply(&stream, product, &a, &b, &mut out)?;
    out.read(&stream)
}

fn judge(product: &Product, case: &Case, got: &[f32]) -> Result<(), String> {
    let n = product.n as usize;
    match case.product().iter().zip(got).position(|(want, got)| want != got) {
        None => Ok(()),
        Some(at) => Err(format!(
            "{}: row {} column {} is {}, not {}",
            product.name,
            at / n,
            at % n,
            got[at],
            case.product()[at]
        )),
    }
}

fn cases(n: usize) -> Vec<Case> {
    let one_hot = [0, 17, 46].map(|turn| Case::one_hot(n, turn));
    one_hot.into_iter().chain((0..3).map(|seed| Case::random(n, seed))).collect()
}

#[test]
fn every_product_is_exact() -> Result<(), String> {
    let mut wrong = Vec::new();
    for device in devices() {
        for product in PRODUCTS.iter().filter(|product| product.available(device)) {
            let cases = cases(product.n as usize);
            let judged = cases.iter().try_for_each(|case| {
                let got = match product.dtype {
                    Dtype::F16 => answer(device, product, case, f16::from_f32),
                    _ => answer(device, product, case, bf16::from_f32),
                };
                judge(product, case, &got.map_err(|error| error.to_string())?)
            });
            let checked = cases.len() as u64;
            keep_verdict(device, product.name, checked, &judged.clone().map(|()| 0.0), None);
            wrong.extend(judged.err().map(|error| format!("{device}: {error}")));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

#[test]
fn sm90a_has_every_product() {
    for device in devices() {
        let has = PRODUCTS.iter().filter(|product| product.available(device)).count();
        let want = if device.info().images == "sm_90a" { PRODUCTS.len() } else { 0 };
        assert_eq!(has, want, "{device}");
    }
}

#[test]
fn a_misplaced_sum_is_noticed() {
    for product in &PRODUCTS {
        for case in cases(product.n as usize) {
            let mut got = case.product();
            assert_eq!(judge(product, &case, &got), Ok(()));
            got.rotate_left(1);
            assert!(judge(product, &case, &got).is_err(), "{}", product.name);
        }
    }
}
