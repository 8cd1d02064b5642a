//! A hundred thousand routings, and plans of every kind: what sorts them does not show.

use super::dispatch::{Case, KINDS, expected, ids, run, same, wild, workspace};
use super::harness::devices;
use crate::dispatch::{Plan, launch, plan};

/// Small cases of every kind, for many of them in short time. Some are made by hand to be bad: all pairs at
/// the edge of a warp, one pair beside it, experts at the ends of the range.
fn drawn(number: u64) -> (Case, Vec<i32>) {
    let mut random = fastrand::Rng::with_seed(number);
    let top_k = random.usize(1..9);
    let most = *random.choice(&[2, 8, 9, 33, 65]).unwrap_or(&2);
    let experts = *random.choice(&[1, 2, 3, 16, 64, 65, 300]).unwrap_or(&1);
    let first = random.usize(0..experts);
    let local = random.usize(1..=(experts - first).min(256));
    let case = Case {
        tokens: random.usize(0..most),
        top_k,
        experts,
        first,
        local,
        tile_rows: 16 << random.u32(0..5),
        kind: random.u8(0..KINDS),
        seed: number,
    };
    let mut ids = ids(&case);
    let (low, high) = (first as i32, (first + local) as i32 - 1);
    let pairs = ids.len();
    match random.u32(0..8) {
        // One of all, at an edge.
        0 => {
            ids.fill(wild(&mut random, experts));
            let edge = *random.choice(&[0, 31, 32, 63, 64, pairs.saturating_sub(1)]).unwrap_or(&0);
            if let Some(id) = ids.get_mut(edge) {
                *id = *random.choice(&[low, high]).unwrap_or(&low);
            }
        }
        // The two ends of the range in turn, and what is just outside.
        1 => (0..pairs).for_each(|i| ids[i] = [low, high, low - 1, high + 1][i % 4]),
        // Runs as long as a warp, or one longer.
        2 => {
            let run = *random.choice(&[31, 32, 33, 64]).unwrap_or(&32);
            (0..pairs).for_each(|i| ids[i] = low + (i / run) as i32 % local as i32);
        }
        _ => {}
    }
    (case, ids)
}

const ROUTINGS: u64 = 100_000;

/// All of them by the header that the kernels share, on the host.
#[cfg(all(feature = "cuda", feature = "probes"))]
#[test]
fn routings_are_sorted_by_the_common_header() -> Result<(), String> {
    for number in 0..ROUTINGS {
        let (case, ids) = drawn(number);
        let range = case.first as u32..(case.first + case.local) as u32;
        let found = expertile_kernels_cuda::host_dispatch(&ids, range, case.tile_rows.ilog2());
        let found = super::dispatch::Outputs {
            pairs: found.pairs,
            rows: found.rows,
            offsets: found.offsets,
            counts: found.counts,
            tiles: found.tiles,
            tile_count: vec![found.tile_count],
        };
        same(&format!("routing {number}: {case:?}"), &found, &expected(&case, &ids)?)?;
    }
    Ok(())
}

/// How many of them go to each device: all, if `PROPTEST_CASES` asks for thousands of cases.
fn sampled() -> u64 {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    cases.map_or(ROUTINGS / 25, |cases: u64| if cases >= 1000 { ROUTINGS } else { cases * 50 })
}

#[test]
fn routings_are_sorted_by_devices() -> Result<(), String> {
    let stride = (ROUTINGS / sampled()).max(1);
    for device in devices() {
        let stream = device.stream().map_err(|error| error.to_string())?;
        for number in (0..ROUTINGS).step_by(stride as usize) {
            let (case, ids) = drawn(number);
            let name = format!("{device}: routing {number}: {case:?}");
            let workspace = workspace(&stream, &case);
            let got = run(&stream, &case, &ids, -1, crate::dispatch, workspace)
                .map_err(|error| format!("{name}: {error}"))?;
            same(&name, &got, &expected(&case, &ids)?)?;
        }
    }
    Ok(())
}

/// Blocks and threads of every number, and two launches where one is planned, give the same.
#[test]
fn no_plan_shows_in_the_result() -> Result<(), String> {
    for device in devices() {
        let stream = device.stream().map_err(|error| error.to_string())?;
        let wave = device.info().wave_threads;
        for (number, tokens) in [0usize, 1, 200, 700, 1700].into_iter().enumerate() {
            for (kind, experts) in [(0, 16), (1, 256), (4, 256), (4, 1), (6, 40)] {
                let (top_k, tile_rows, seed) = (4, 32, number as u64);
                let case = Case {
                    tokens,
                    top_k,
                    experts,
                    first: 0,
                    local: experts,
                    tile_rows,
                    kind,
                    seed,
                };
                let ids = ids(&case);
                let want = expected(&case, &ids)?;
                let pairs = ids.len() as u32;
                let one_block = |threads: u32| Plan {
                    threads,
                    chunks: 1,
                    chunk_pairs: pairs.max(1).next_multiple_of(threads),
                };
                let chunked = |chunks: u32| {
                    let chunk_pairs = pairs.max(1).div_ceil(chunks).next_multiple_of(1024);
                    Plan { threads: 1024, chunks: pairs.div_ceil(chunk_pairs), chunk_pairs }
                };
                let threads = [64, 3 * wave, 512, 1024].map(one_block);
                let several = [2, 3, 7].map(chunked);
                let several = several.into_iter().filter(|plan| plan.chunks > 1);
                for plan in threads.into_iter().chain(several).chain([plan(pairs, 132, wave)]) {
                    let workspace = plan.histograms() as usize * case.local;
                    let name = format!("{device}: {case:?} by {plan:?}");
                    // Dirty as after another call, then as never used.
                    for dirt in [7, -1] {
                        let got = run(
                            &stream,
                            &case,
                            &ids,
                            dirt,
                            |stream, arguments| launch(stream, arguments, |_| plan),
                            workspace,
                        )
                        .map_err(|error| format!("{name}: {error}"))?;
                        same(&name, &got, &want)?;
                    }
                }
            }
        }
    }
    Ok(())
}
