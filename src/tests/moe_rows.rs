//! `moe`: what a token depends on, and routings of every kind.

use super::grouped_gemm::able;
use super::harness::same_bits;
use super::moe::{Case, Operands, plain, run};
use super::moe_check::{check, check_with};
use half::bf16;

/// On both sides of every number of tokens at which another kernel or another tile begins: with two experts of two
/// the many-rows kernels begin beyond 32 tokens.
const TOKENS: [usize; 8] = [1, 8, 16, 17, 32, 33, 64, 65];

/// The tokens of a case as those of another, in any order and number.
fn chosen(case: &Case, operands: &Operands<bf16>, tokens: &[usize]) -> (Case, Operands<bf16>) {
    let (hidden, k) = (case.features()[0], case.top_k);
    fn rows<T: Copy>(of: &[T], tokens: &[usize], len: usize) -> Vec<T> {
        tokens.iter().flat_map(|token| of[token * len..][..len].iter().copied()).collect()
    }
    let operands = Operands {
        x: rows(&operands.x, tokens, hidden),
        ids: rows(&operands.ids, tokens, k),
        weights: rows(&operands.weights, tokens, k),
        residual: rows(&operands.residual, tokens, hidden),
        ..operands.clone()
    };
    (Case { tokens: tokens.len(), ..case.clone() }, operands)
}

/// A token has the same bits alone, among few and among many, wherever it stands, once or several times: over 2,000
/// pairs of a token and a batch.
#[test]
fn a_token_does_not_depend_on_the_batch() -> Result<(), String> {
    let mut pairs = 0;
    for (experts, top_k) in [(2, 2), (9, 3)] {
        let most = Case { residual: 1, ..plain(512, experts, top_k) };
        let operands = most.operands::<bf16>();
        let hidden = most.features()[0];
        for device in able() {
            let stream = device.stream().map_err(|error| error.to_string())?;
            let all = run(&stream, &most, &operands)?;
            let mut random = fastrand::Rng::with_seed(11);
            for tokens in TOKENS.into_iter().chain(TOKENS).chain([130, 400]) {
                let of: Vec<usize> = (0..tokens).map(|_| random.usize(..most.tokens)).collect();
                let (case, some) = chosen(&most, &operands, &of);
                let found = run(&stream, &case, &some)?;
                for (at, token) in of.into_iter().enumerate() {
                    let name = format!("moe {device}: token {token} among {tokens}");
                    let own = &all[token * hidden..][..hidden];
                    same_bits(&name, &found[at * hidden..][..hidden], own)?;
                    pairs += 1;
                }
            }
        }
    }
    println!("{pairs} pairs of a token and a batch");
    Ok(())
}

/// Every subset of four experts without a row.
#[test]
fn any_experts_may_be_empty() -> Result<(), String> {
    for used in 0..16u32 {
        for (tokens, top_k) in [(3, 1), (40, 2), (90, 4)] {
            let mut case = plain(tokens, 4, top_k).exact();
            case.residual = (used % 3) as u8;
            let operands = case.operands::<bf16>();
            let ids = operands.ids.iter().map(|&id| {
                let used_id = (0..4).contains(&id) && used >> id & 1 == 1;
                if used_id { id } else { (0..4).find(|e| used >> e & 1 == 1).unwrap_or(-1) }
            });
            check_with(&case, &Operands { ids: ids.collect(), ..operands })?;
        }
    }
    Ok(())
}

/// All tokens to one expert; as many slots as experts; one id several times.
#[test]
fn routings_may_be_as_uneven_as_they_like() -> Result<(), String> {
    for (tokens, experts, top_k) in [(70, 4, 4), (5, 3, 3), (150, 16, 4)] {
        for expert in [0, experts as i32 - 1] {
            let case = Case { residual: 2, ..plain(tokens, experts, top_k).exact() };
            let operands = case.operands::<bf16>();
            let ids = vec![expert; operands.ids.len()];
            check_with(&case, &Operands { ids, ..operands })?;
        }
        let each = plain(tokens, top_k, top_k).exact();
        check(&each)?;
    }
    Ok(())
}

/// Experts with other numbers, and their weights with them: the same bits.
#[test]
fn experts_may_be_renumbered() -> Result<(), String> {
    let case = Case { given: true, ..plain(37, 7, 3) };
    let operands = case.operands::<bf16>();
    let order = [3usize, 0, 6, 5, 1, 2, 4];
    let moved = |of: &[bf16]| -> Vec<bf16> {
        let size = of.len() / order.len();
        order.iter().flat_map(|e| of[e * size..][..size].to_vec()).collect()
    };
    let renumbered =
        |id: &i32| order.iter().position(|e| *e as i32 == *id).map_or(-1, |e| e as i32);
    let other = Operands {
        gate: moved(&operands.gate),
        up: moved(&operands.up),
        down: moved(&operands.down),
        ids: operands.ids.iter().map(renumbered).collect(),
        ..operands.clone()
    };
    for device in able() {
        let stream = device.stream().map_err(|error| error.to_string())?;
        let (one, two) = (run(&stream, &case, &operands)?, run(&stream, &case, &other)?);
        same_bits(&format!("moe {device}: renumbered"), &one, &two)?;
    }
    Ok(())
}

/// The parts of several devices, each with its own experts, add up to the whole.
#[test]
fn experts_may_be_spread_over_devices() -> Result<(), String> {
    for others in [[0, 3], [3, 0], [2, 2], [4, 0]] {
        let case = Case { others, given: true, ..plain(29, 5, 2).exact() };
        check(&case)?;
        check(&Case { whole: false, given: false, others, ..plain(50, 5, 2) })?;
    }
    Ok(())
}

/// A token of NaN, which the router sends somewhere all the same, changes no other token.
#[test]
fn what_is_not_a_number_stays_in_its_token() -> Result<(), String> {
    for tokens in [6, 70] {
        let case = Case { residual: 1, ..plain(tokens, 6, 2) };
        let operands = case.operands::<bf16>();
        let hidden = case.features()[0];
        let mut broken = operands.clone();
        for token in [1, tokens - 1] {
            broken.x[token * hidden + 3] = [bf16::NAN, bf16::INFINITY][token % 2];
        }
        for device in able() {
            let stream = device.stream().map_err(|error| error.to_string())?;
            let (whole, found) = (run(&stream, &case, &operands)?, run(&stream, &case, &broken)?);
            for token in 0..tokens {
                let row = token * hidden..(token + 1) * hidden;
                if [1, tokens - 1].contains(&token) {
                    assert!(found[row].iter().any(|x| !x.is_finite()), "{device}: token {token}");
                    continue;
                }
                let name = format!("moe {device}: token {token}");
                same_bits(&name, &found[row.clone()], &whole[row])?;
            }
        }
    }
    Ok(())
}
