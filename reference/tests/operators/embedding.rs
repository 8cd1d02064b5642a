use crate::data::{Random, cases, refusal, tokens, wide};
use expertile_reference::embedding::embedding;
use half::{bf16, f16};
use proptest::prelude::*;

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn rows_are_exact(
        vocab in 1..9usize, hidden in 1..9usize, tokens in tokens(), seed in any::<u64>(),
    ) {
        let mut random = Random::new(seed);
        let table = random.values(vocab * hidden);
        let ids: Vec<u32> = (0..tokens).map(|_| random.below(vocab) as u32).collect();
        let want = |table: Vec<f64>| -> Vec<f64> {
            ids.iter().flat_map(|&id| table[id as usize * hidden..][..hidden].to_vec()).collect()
        };
        assert_eq!(embedding(&table, hidden, &ids).unwrap(), want(wide(&table)));
        let half: Vec<f16> = table.iter().map(|&x| f16::from_f32(x)).collect();
        let wide: Vec<f64> = half.iter().map(|x| x.to_f64()).collect();
        assert_eq!(embedding(&half, hidden, &ids).unwrap(), want(wide));
        let brain: Vec<bf16> = table.iter().map(|&x| bf16::from_f32(x)).collect();
        let wide: Vec<f64> = brain.iter().map(|x| x.to_f64()).collect();
        assert_eq!(embedding(&brain, hidden, &ids).unwrap(), want(wide));
    }
}

#[test]
fn refusals() {
    let table = [0f32; 6];
    assert_eq!(
        refusal(embedding(&table, 2, &[0, 3, u32::MAX])),
        "embedding: ids[1] is 3, expected less than vocab = 3"
    );
    assert_eq!(
        refusal(embedding(&table, 4, &[0])),
        "embedding: table.len() is 6, expected a multiple of the row length 4"
    );
    let empty = "embedding: table.len() is 6, expected 0, as rows are empty";
    assert_eq!(refusal(embedding(&table, 0, &[0])), empty);
    for hidden in [0, 1, usize::MAX] {
        let none = "embedding: ids[0] is 0, expected less than vocab = 0";
        assert_eq!(refusal(embedding(&[0f32; 0], hidden, &[0, 1])), none);
        assert!(embedding(&[0f32; 0], hidden, &[]).unwrap().is_empty());
    }
}
