//! `dispatch` against the reference.

use super::harness::{cases, count_case, devices, report};
use expertile::{
    Buffer, Dispatch, Dtype, Result, Stream, dispatch, dispatch_workspace_bytes, max_tiles,
};
use expertile_reference::dispatch as reference;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use std::ops::Range;

/// One call of `dispatch`.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) tokens: usize,
    pub(crate) top_k: usize,
    /// Of all devices.
    pub(crate) experts: usize,
    /// The first local expert; the range ends at `experts` or before.
    pub(crate) first: usize,
    pub(crate) local: usize,
    pub(crate) tile_rows: u32,
    /// See [`ids`].
    pub(crate) kind: u8,
    pub(crate) seed: u64,
}

pub(crate) const KINDS: u8 = 7;

/// What an operator must not store: it is no row, pair, count or expert.
const FENCE: i32 = i32::MIN + 12_345;
const FENCE_ELEMENTS: usize = 16;

fn case() -> impl Strategy<Value = Case> {
    let tokens = prop_oneof![
        1 => Just(0usize), 1 => Just(1), 6 => 2..80usize, 2 => 80..700usize, 1 => 700..3000usize
    ];
    let top_k = prop_oneof![Just(1usize), Just(4), 1..17usize];
    let experts = prop_oneof![1 => Just(1usize), 3 => Just(16), 3 => 2..65usize, 2 => 65..600usize];
    let tile_rows = prop_oneof![Just(16u32), Just(32), Just(64), Just(128), Just(256)];
    let ends = prop_oneof![Just((0.0, 1.0)), (0.0..1.0f64, 0.0..1.0f64)];
    (tokens, top_k, experts, ends, tile_rows, 0..KINDS, any::<u64>()).prop_map(
        |(tokens, top_k, experts, (first, length), tile_rows, kind, seed)| {
            let first = (first * experts as f64) as usize;
            let most = (experts - first).min(256);
            let local = ((length * most as f64).ceil() as usize).clamp(1, most);
            Case { tokens, top_k, experts, first, local, tile_rows, kind, seed }
        },
    )
}

impl Case {
    pub(crate) fn range(&self) -> Range<usize> {
        self.first..self.first + self.local
    }
}

/// What a router never gives.
pub(crate) fn wild(random: &mut fastrand::Rng, experts: usize) -> i32 {
    let edge = experts as i32;
    *random
        .choice(&[-1, edge, edge + 1, -2, i32::MIN, i32::MAX, i32::MIN + edge, 1 << 30])
        .unwrap_or(&-1)
}

/// Ids of a kind. 0: any; 1: all of one expert; 2: descending; 3: few experts; 4: half of them of no
/// expert; 5: all of none; 6: distinct in each token, as of a router, and what was there before.
pub(crate) fn ids(case: &Case) -> Vec<i32> {
    let mut random = fastrand::Rng::with_seed(case.seed);
    let (experts, pairs) = (case.experts, case.tokens * case.top_k);
    let one = random.usize(..experts) as i32;
    let few = [one, random.usize(..experts) as i32, random.usize(case.range()) as i32];
    let mut distinct: Vec<i32> = (0..experts as i32).collect();
    let mut id = |pair: usize| match case.kind {
        1 => one,
        2 => ((pairs - 1 - pair) % experts) as i32,
        3 => few[random.usize(..3)],
        4 if random.bool() => wild(&mut random, experts),
        5 => wild(&mut random, experts),
        6 => {
            let slot = pair % case.top_k;
            if slot == 0 {
                random.shuffle(&mut distinct);
            }
            distinct.get(slot).copied().unwrap_or(-1)
        }
        _ => random.usize(..experts) as i32,
    };
    (0..pairs).map(&mut id).collect()
}

/// What a call leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outputs {
    pub(crate) pairs: Vec<i32>,
    pub(crate) rows: Vec<i32>,
    pub(crate) offsets: Vec<i32>,
    pub(crate) counts: Vec<i32>,
    pub(crate) tiles: Vec<i32>,
    pub(crate) tile_count: Vec<i32>,
}

/// By the reference, which is plain Rust.
pub(crate) fn expected(case: &Case, ids: &[i32]) -> Result<Outputs, String> {
    let found = reference::dispatch(ids, case.top_k, case.range()).map_err(|e| e.to_string())?;
    let numbers = |values: &[usize]| values.iter().map(|&value| value as i32).collect();
    let filled = |mut values: Vec<i32>, length: usize| {
        assert!(values.len() <= length, "{} are more than {length}", values.len());
        values.resize(length, -1);
        values
    };
    let tiles = found.tiles(case.tile_rows as usize);
    let most = max_tiles(ids.len() as u64, case.local as u64, case.tile_rows) as usize;
    let counts = found.offsets.windows(2).map(|ends| (ends[1] - ends[0]) as i32).collect();
    Ok(Outputs {
        pairs: filled(numbers(&found.pairs), ids.len()),
        rows: found.rows.iter().map(|row| row.map_or(-1, |row| row as i32)).collect(),
        offsets: numbers(&found.offsets),
        counts,
        tile_count: vec![tiles.len() as i32],
        tiles: filled(numbers(&tiles.concat()), 2 * most),
    })
}

/// Runs a case, with a workspace full of `dirt`. All arrays lie in one buffer, with fences between them;
/// those of the ids are a local expert, so that reading one shows.
pub(crate) fn run(
    stream: &Stream,
    case: &Case,
    ids: &[i32],
    dirt: i32,
    launch: impl Fn(&Stream, &Dispatch<'_>) -> Result<()>,
    workspace: usize,
) -> Result<Outputs, String> {
    let (pairs, local) = (ids.len(), case.local);
    let tiles = max_tiles(pairs as u64, local as u64, case.tile_rows) as usize;
    let extents = [pairs, pairs, pairs, local + 1, local, 2 * tiles, 1, workspace];
    // Each begins at a multiple of 16 bytes.
    let mut starts = [0; 9];
    starts[0] = FENCE_ELEMENTS;
    for (i, extent) in extents.iter().enumerate() {
        starts[i + 1] = (starts[i] + extent).next_multiple_of(4) + FENCE_ELEMENTS;
    }
    let mut before = vec![FENCE; starts[8]];
    before[..starts[1]].fill(case.first as i32);
    before[starts[0]..][..pairs].copy_from_slice(ids);
    before[starts[7]..][..workspace].fill(dirt);
    let text = |error: expertile::Error| error.to_string();
    let buffer = Buffer::from_slice(stream, &before).map_err(text)?;
    let device = stream.device();
    let address = |i: usize| buffer.address() + 4 * starts[i] as u64;
    // An empty array has no address.
    let at = |i: usize| if extents[i] == 0 { 0 } else { address(i) };
    // SAFETY: the arrays lie apart in the buffer, which outlives the launch.
    let written = |i: usize, shape: &[u64]| unsafe {
        expertile::TensorMut::from_raw(device, at(i), Dtype::I32, shape, None).map_err(text)
    };
    // SAFETY: as above.
    let read = unsafe {
        let shape = [case.tokens as u64, case.top_k as u64];
        expertile::Tensor::from_raw(device, at(0), Dtype::I32, &shape, None).map_err(text)?
    };
    let arguments = Dispatch {
        ids: read,
        experts: case.first as u32..(case.first + local) as u32,
        tile_rows: case.tile_rows,
        pairs: written(1, &[pairs as u64])?,
        rows: written(2, &[case.tokens as u64, case.top_k as u64])?,
        offsets: written(3, &[local as u64 + 1])?,
        counts: written(4, &[local as u64])?,
        tiles: written(5, &[tiles as u64, 2])?,
        tile_count: written(6, &[1])?,
        workspace: written(7, &[workspace as u64])?,
    };
    launch(stream, &arguments).map_err(text)?;
    let after: Vec<i32> = buffer.read(stream).map_err(text)?;
    let array = |i: usize| after[starts[i]..][..extents[i]].to_vec();
    let mut fences = after.clone();
    for i in 1..8 {
        fences[starts[i]..][..extents[i]].copy_from_slice(&before[starts[i]..][..extents[i]]);
    }
    if let Some(place) = (0..fences.len()).find(|&place| fences[place] != before[place]) {
        return Err(format!("element {place} of arrays at {starts:?} is {}", fences[place]));
    }
    Ok(Outputs {
        pairs: array(1),
        rows: array(2),
        offsets: array(3),
        counts: array(4),
        tiles: array(5),
        tile_count: array(6),
    })
}

/// The elements of workspace for a case.
pub(crate) fn workspace(stream: &Stream, case: &Case) -> usize {
    let extents = [case.tokens, case.top_k, case.local].map(|extent| extent as u64);
    let [tokens, top_k, local] = extents;
    dispatch_workspace_bytes(stream.device().info(), tokens, top_k, local) as usize / 4
}

/// The first difference, in short.
pub(crate) fn same(name: &str, got: &Outputs, want: &Outputs) -> Result<(), String> {
    for (array, got, want) in [
        ("counts", &got.counts, &want.counts),
        ("offsets", &got.offsets, &want.offsets),
        ("rows", &got.rows, &want.rows),
        ("pairs", &got.pairs, &want.pairs),
        ("tile_count", &got.tile_count, &want.tile_count),
        ("tiles", &got.tiles, &want.tiles),
    ] {
        if let Some(i) = (0..want.len()).find(|&i| got[i] != want[i]) {
            return Err(format!("{name}: {array}[{i}] is {}, not {}", got[i], want[i]));
        }
    }
    Ok(())
}

/// Runs given ids on every device and compares with the reference.
pub(crate) fn check_ids(case: &Case, ids: &[i32]) -> Result<(), String> {
    let want = expected(case, ids)?;
    for device in devices() {
        let stream = device.stream().map_err(|error| error.to_string())?;
        let name = format!("dispatch i32 {}", device.info().images);
        let dirt = if case.seed.is_multiple_of(2) { -1 } else { case.seed as i32 };
        let got = run(&stream, case, ids, dirt, dispatch, workspace(&stream, case))
            .map_err(|error| format!("{name}: {error}"))?;
        same(&name, &got, &want)?;
        count_case(&name, "dispatch", Dtype::I32, device);
    }
    Ok(())
}

/// Runs the case on every device and compares with the reference.
pub(crate) fn check(case: &Case) -> Result<(), String> {
    check_ids(case, &ids(case))
}

#[test]
fn dispatch_matches_reference() {
    let config = Config { cases: cases(), failure_persistence: None, ..Config::default() };
    let run = |case: Case| check(&case).map_err(TestCaseError::fail);
    if let Err(error) = TestRunner::new(config).run(&case(), run) {
        panic!("{error}");
    }
    report("dispatch");
}

fn plain(tokens: usize, top_k: usize, experts: usize, kind: u8, seed: u64) -> Case {
    Case { tokens, top_k, experts, first: 0, local: experts, tile_rows: 16, kind, seed }
}

#[test]
fn every_number_of_tokens_is_dispatched() -> Result<(), String> {
    for tokens in 0..=512 {
        check(&plain(tokens, 4, 16, [0, 6, 4][tokens % 3], tokens as u64))?;
    }
    Ok(())
}

/// Each expert with all tokens, all tokens with one, and every expert in every slot.
#[test]
fn extremes_are_dispatched() -> Result<(), String> {
    for (tokens, top_k, experts) in [(1, 1, 1), (33, 16, 16), (70, 16, 16), (5, 8, 8), (300, 2, 2)]
    {
        for kind in [1, 2, 6] {
            check(&plain(tokens, top_k, experts, kind, 3))?;
        }
    }
    check(&plain(1100, 4, 256, 1, 5))?;
    check(&plain(1100, 4, 1, 1, 6))
}

#[test]
fn every_set_of_experts_may_be_empty() -> Result<(), String> {
    let experts = 7;
    for set in 0u32..1 << experts {
        let present: Vec<i32> = (0..experts).filter(|expert| set >> expert & 1 == 1).collect();
        let case = plain(9, 4, experts as usize, 0, u64::from(set));
        let mut random = fastrand::Rng::with_seed(case.seed);
        let id = |_| random.choice(&present).copied().unwrap_or(-1);
        check_ids(&case, &(0..36).map(id).collect::<Vec<i32>>())?;
    }
    Ok(())
}

/// The pairs of each expert, in order.
fn by_expert(outputs: &Outputs) -> Vec<Vec<i32>> {
    let ends = outputs.offsets.windows(2).map(|ends| ends[0] as usize..ends[1] as usize);
    ends.map(|rows| outputs.pairs[rows].to_vec()).collect()
}

/// Without the reference: what tokens and experts are called does not matter.
#[test]
fn permutations_of_tokens_and_experts_permute_rows() -> Result<(), String> {
    for (seed, (tokens, kind)) in [(40, 0), (257, 4), (1300, 6)].into_iter().enumerate() {
        let case = plain(tokens, 4, 16, kind, seed as u64);
        let original = ids(&case);
        let mut random = fastrand::Rng::with_seed(99);
        let mut order: Vec<usize> = (0..tokens).collect();
        random.shuffle(&mut order);
        let mut names: Vec<i32> = (0..16).collect();
        random.shuffle(&mut names);
        let moved: Vec<i32> =
            order.iter().flat_map(|token| original[4 * token..][..4].iter().copied()).collect();
        let rename = |&id: &i32| usize::try_from(id).ok().and_then(|id| names.get(id).copied());
        let renamed: Vec<i32> = original.iter().map(|id| rename(id).unwrap_or(*id)).collect();
        for device in devices() {
            let stream = device.stream().map_err(|error| error.to_string())?;
            let run = |ids: &[i32]| {
                let workspace = workspace(&stream, &case);
                run(&stream, &case, ids, -1, dispatch, workspace).map(|outputs| by_expert(&outputs))
            };
            let (first, moved, renamed) = (run(&original)?, run(&moved)?, run(&renamed)?);
            for expert in 0..16 {
                assert_eq!(renamed[names[expert] as usize], first[expert], "{device}");
                let back = |pair: &i32| (4 * order[*pair as usize / 4]) as i32 + pair % 4;
                let mut pairs: Vec<i32> = moved[expert].iter().map(back).collect();
                assert!(moved[expert].is_sorted(), "{device}: pairs of {expert} are not in order");
                pairs.sort_unstable();
                assert_eq!(pairs, first[expert], "{device}");
            }
        }
    }
    Ok(())
}
