use crate::data::{Random, cases, refusal, tokens};
use expertile_reference::dispatch::dispatch;
use proptest::prelude::*;

/// Ids of every kind: mostly experts, some outside.
fn ids(random: &mut Random, count: usize, experts: usize, kind: usize) -> Vec<i32> {
    let one = random.below(experts) as i32;
    (0..count)
        .map(|_| match (kind, random.below(8)) {
            (0, _) => one,
            (1, 0) => -1,
            (1, 1) => experts as i32,
            (1, 2) => i32::MIN,
            (1, 3) => i32::MAX,
            _ => random.below(experts) as i32,
        })
        .collect()
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn pairs_are_sorted_stably(
        tokens in tokens(), top_k in 1..5usize, experts in 1..9usize, kind in 0..3usize,
        bounds in (0..9usize, 0..9usize), seed in any::<u64>(),
    ) {
        let ids = ids(&mut Random::new(seed), tokens * top_k, experts, kind);
        for range in [0..experts, bounds.0.min(bounds.1)..bounds.0.max(bounds.1)] {
            let mut want: Vec<usize> = (0..ids.len())
                .filter(|&pair| range.contains(&(ids[pair] as usize)) && ids[pair] >= 0)
                .collect();
            want.sort_by_key(|&pair| ids[pair]);
            let found = dispatch(&ids, top_k, range.clone()).unwrap();
            assert_eq!(found.pairs, want);
            assert_eq!(found.offsets.len(), range.len() + 1);
            for (i, &offset) in found.offsets.iter().enumerate() {
                let before = want.iter().filter(|&&pair| (ids[pair] as usize) < range.start + i);
                assert_eq!(offset, before.count());
            }
            let rows: Vec<_> =
                (0..ids.len()).map(|pair| want.iter().position(|&other| other == pair)).collect();
            assert_eq!(found.rows, rows);
        }
    }

    /// Each pair is on exactly one of the devices that share out the experts.
    #[test]
    fn shards_make_the_whole(
        tokens in tokens(), top_k in 1..5usize, experts in 1..9usize, cut in 0..9usize,
        seed in any::<u64>(),
    ) {
        let ids = ids(&mut Random::new(seed), tokens * top_k, experts, 1);
        let cut = cut.min(experts);
        let whole = dispatch(&ids, top_k, 0..experts).unwrap();
        let (low, high) =
            (dispatch(&ids, top_k, 0..cut).unwrap(), dispatch(&ids, top_k, cut..experts).unwrap());
        assert_eq!([&low.pairs[..], &high.pairs].concat(), whole.pairs);
        let first = low.pairs.len();
        let offsets: Vec<usize> =
            high.offsets.iter().skip(1).map(|offset| first + offset).collect();
        assert_eq!([low.offsets, offsets].concat(), whole.offsets);
        for ((low, high), whole) in low.rows.iter().zip(&high.rows).zip(&whole.rows) {
            assert!(low.is_none() || high.is_none());
            assert_eq!(low.or(high.map(|row| first + row)), *whole);
        }
    }
}

/// Every row is in one tile, at most `tile_rows` of one expert are together, and no tile could take
/// more.
#[test]
fn tiles_hold_rows_of_one_expert() {
    let mut random = Random::new(7);
    for tile_rows in [1, 2, 16, 64] {
        for case in 0..200 {
            let experts = 1 + random.below(9);
            let count = random.below(300);
            let ids = ids(&mut random, count, experts, case % 3);
            let found = dispatch(&ids, 1, 0..experts).unwrap();
            let tiles = found.tiles(tile_rows);
            let ends = tiles.iter().skip(1).map(|tile| tile[1]).chain([found.pairs.len()]);
            let mut next = 0;
            for (&[expert, first], end) in tiles.iter().zip(ends) {
                assert_eq!(first, next);
                assert!((1..=tile_rows).contains(&(end - first)));
                assert!(found.offsets[expert] <= first && end <= found.offsets[expert + 1]);
                assert!(end - first == tile_rows || end == found.offsets[expert + 1]);
                next = end;
            }
            assert_eq!(next, found.pairs.len());
            assert!(tiles.len() <= count / tile_rows + experts.min(count));
        }
    }
    let empty = dispatch(&[-1; 4], 2, 0..3).unwrap();
    assert!(empty.tiles(16).is_empty());
}

#[test]
fn refusals() {
    assert_eq!(
        refusal(dispatch(&[0; 3], 2, 0..4)),
        "dispatch: ids.len() is 3, expected a multiple of the row length 2"
    );
    refusal(dispatch(&[0], 0, 0..4));
    let range = "expected an ascending range that ends at 2147483647 or before";
    #[expect(clippy::reversed_empty_ranges, reason = "what is refused")]
    let reversed = 4..3;
    assert_eq!(refusal(dispatch(&[], 2, reversed)), format!("dispatch: experts is 4..3, {range}"));
    assert_eq!(
        refusal(dispatch(&[], 2, 0..usize::MAX)),
        format!("dispatch: experts is 0..18446744073709551615, {range}")
    );
    for top_k in [0, 2, usize::MAX] {
        let none = dispatch(&[], top_k, 1..4).unwrap();
        assert_eq!(none.offsets, [0; 4]);
        assert!(none.pairs.is_empty() && none.rows.is_empty());
    }
    assert_eq!(dispatch(&[-1, 5], 2, 0..0).unwrap().rows, [None, None]);
}
