use crate::data::refusal;
use crate::dbrx::config;
use expertile_reference::kv_cache::{CacheLayout, KvCache};
use expertile_reference::{Config, Elements, Tensor};

#[test]
fn layouts() {
    let layout = CacheLayout::packed(2, 3, 4, 5).unwrap();
    assert_eq!((layout.page_stride, layout.position_stride, layout.head_stride), (60, 20, 5));
    assert_eq!((layout.slots(), layout.elements("test").unwrap()), (6, 120));
    // Heads outside positions are as good, and gaps too; neither may overlap.
    let turned = CacheLayout { head_stride: 15, position_stride: 5, ..layout };
    assert_eq!(turned.elements("test").unwrap(), 120);
    let gaps = CacheLayout { page_stride: 100, ..layout };
    assert_eq!(gaps.elements("test").unwrap(), 160);
    let overlapping = CacheLayout { page_stride: 59, ..layout };
    assert!(refusal(overlapping.elements("test")).starts_with("test: cache layout is "));
    let huge = CacheLayout { page_stride: u64::MAX, ..layout };
    refusal(huge.elements("test"));
    assert_eq!(CacheLayout { head_dim: 0, ..huge }.elements("test").unwrap(), 0);
    assert_eq!(
        refusal(CacheLayout::packed(1 << 32, 1 << 31, 2, 1)),
        "kv_cache: shape is [4294967296, 2147483648, 2, 1], expected less than 2^64 elements"
    );
}

#[test]
fn refusals() {
    let config = config();
    let paged = |config: &Config, sequences, capacity, page_size| {
        refusal(KvCache::<f64>::paged(config, sequences, capacity, page_size))
    };
    assert_eq!(
        paged(&config, 1, 65, 1),
        "kv_cache: capacity is 65, expected at most max_seq_len = 64"
    );
    assert_eq!(paged(&config, 1, 4, 0), "kv_cache: page_size is 0, expected at least 1");
    assert_eq!(
        paged(&config, usize::MAX, 4, 2),
        "kv_cache: sequences is 18446744073709551615, expected fewer than 2^31 pages, 2 for each"
    );
    paged(&config, usize::MAX, 0, 2);
    paged(&config, 1 << 31, 0, 2);
    paged(&Config { layers: 0, ..config.clone() }, 1, 4, 2);
    let most = i32::MAX as usize;
    let huge = Config { hidden: most - 1, q_heads: 1, kv_heads: 1, max_seq_len: most, ..config };
    let short = "kv_cache: capacity is 2147483647, expected less, as memory is short of ";
    assert!(paged(&huge, 1, most, most).starts_with(short));
}

#[test]
fn tensors_have_the_extents_of_their_elements() {
    let tensor = |shape: &[usize]| Tensor::new(shape, Elements::F32(vec![0.0; 6]));
    assert!(tensor(&[2, 3]).is_some() && tensor(&[6, 1, 1]).is_some());
    assert!(tensor(&[]).is_none() && tensor(&[5]).is_none() && tensor(&[6, 0]).is_none());
    assert!(tensor(&[usize::MAX, usize::MAX]).is_none());
}
