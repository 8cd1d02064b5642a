//! Device operators: bytes become extents and a seed, which go through the check of the operator's
//! test. Without a device there is nothing to run on; `simulate sm_90a cargo fuzz run ...` has one.

use crate::tests::{
    combine, dispatch, grouped_gemm, grouped_gemm_check, layer_norm::LAYER_NORM, linear, norm,
    packet, rms_norm::RMS_NORM, rope, router, router_loss,
};
use expertile::{Activation, Dtype, Pairing};

/// Takes bytes one after the other, zeros when they are used up.
struct Bytes<'a>(std::slice::Iter<'a, u8>);

impl Bytes<'_> {
    fn next(&mut self) -> u8 {
        self.0.next().copied().unwrap_or(0)
    }

    fn below(&mut self, end: usize) -> usize {
        let wide = u16::from_le_bytes([self.next(), self.next()]);
        usize::from(wide) % end
    }

    fn dtype(&mut self) -> Dtype {
        [Dtype::Bf16, Dtype::F16, Dtype::F32][self.below(3)]
    }

    fn number<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    fn seed(&mut self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|_| self.next()))
    }
}

/// One call of `rope`.
pub fn rope(data: &[u8]) {
    let mut bytes = Bytes(data.iter());
    let case = rope::Case {
        tokens: bytes.below(12),
        q_heads: bytes.below(49),
        kv_heads: bytes.below(9),
        head_dim_8: 2 + bytes.below(31),
        page_size: 1 + bytes.below(40),
        pages: 1 + bytes.below(5),
        cache: bytes.below(3) as u8,
        gap_8: bytes.below(3),
        dtype: bytes.dtype(),
        pairing: bytes.number(&[Pairing::Halves, Pairing::Interleaved]),
        clip: bytes.number(&[None, Some(8.0), Some(0.3), Some(0.0)]),
        first_position: bytes.below(1 << 16) as i32 - bytes.below(3) as i32,
        special: bytes.below(2) == 1,
        seed: bytes.seed(),
    };
    rope::check(&case).unwrap_or_else(|error| panic!("{case:?}: {error}"));
}

/// One call of `layer_norm`.
pub fn layer_norm(data: &[u8]) {
    norm(&LAYER_NORM, data);
}

/// One call of `rms_norm`.
pub fn rms_norm(data: &[u8]) {
    norm(&RMS_NORM, data);
}

fn norm(operator: &norm::Operator, data: &[u8]) {
    let mut bytes = Bytes(data.iter());
    let case = norm::Case {
        tokens: bytes.below(9),
        hidden_8: 1 + bytes.below(2048),
        gap_8: bytes.below(3),
        dtype: bytes.dtype(),
        residual: bytes.below(4) as u8,
        epsilon: bytes.number(&[1e-5, 0.0, 1.0]),
        scale: bytes.number(&[1.0, 1e-3, 30.0]),
        offset: bytes.number(&[0.0, 20.0]),
        special: bytes.below(2) == 1,
        seed: bytes.seed(),
    };
    norm::check(operator, &case).unwrap_or_else(|error| panic!("{case:?}: {error}"));
}

/// One call of `linear`.
pub fn linear(data: &[u8]) {
    let mut bytes = Bytes(data.iter());
    let case = linear::Case {
        tokens: bytes.below(140),
        in_8: 1 + bytes.below(70),
        out_8: 1 + bytes.below(70),
        gaps_8: [bytes.below(3), bytes.below(3), bytes.below(3)],
        dtype: bytes.number(&[Dtype::Bf16, Dtype::F16]),
        widens: bytes.below(2) == 1,
        is_nn: bytes.below(2) == 1,
        residual: bytes.below(3) as u8,
        clamp: bytes.number(&[None, Some(8.0), Some(0.3)]),
        whole: bytes.below(2) == 1,
        special: bytes.below(4) == 1,
        seed: bytes.seed(),
    };
    linear::check(&case).unwrap_or_else(|error| panic!("{case:?}: {error}"));
}

/// One call of `grouped_gemm_up` or `grouped_gemm_down`.
pub fn grouped_gemm(data: &[u8]) {
    use grouped_gemm::{Case, Product};
    let mut bytes = Bytes(data.iter());
    let experts = 1 + bytes.number(&[6, 6, 20, 256]).min(bytes.below(256));
    let most = bytes.number(&[3, 20, 150]);
    let case = Case {
        product: bytes.number(&[
            Product::Up { packed: false },
            Product::Up { packed: true },
            Product::Down { is_nn: false },
            Product::Down { is_nn: true },
        ]),
        spare: bytes.below(4),
        tokens: 1 + bytes.below(40),
        top_k: 1 + bytes.below(6),
        in_8: 1 + bytes.below(24),
        out_8: 1 + bytes.below(40),
        gaps_8: [bytes.below(3), bytes.below(3), bytes.below(3), bytes.below(3)],
        dtype: bytes.number(&[Dtype::Bf16, Dtype::F16]),
        biased: bytes.below(2) == 1,
        weighted: bytes.below(2) == 1,
        activation: bytes.number(&[
            Activation::Silu,
            Activation::GeluTanh,
            Activation::ClampedSwiglu { limit: 1.5, alpha: 1.702 },
            Activation::ClampedSwiglu { limit: f32::INFINITY, alpha: -0.5 },
        ]),
        whole: bytes.below(2) == 1,
        special: bytes.below(4) == 1,
        seed: bytes.seed(),
        // Of many experts most have no row.
        counts: (0..experts)
            .map(|_| bytes.below(2 * most).saturating_sub(most).min(900 / experts))
            .collect(),
    };
    grouped_gemm_check::check(&case).unwrap_or_else(|error| panic!("{case:?}: {error}"));
}

/// One call of `dispatch`.
pub fn dispatch(data: &[u8]) {
    let mut bytes = Bytes(data.iter());
    let experts = 1 + bytes.below(600);
    let first = bytes.below(experts);
    let case = dispatch::Case {
        tokens: bytes.below(1200),
        top_k: 1 + bytes.below(16),
        experts,
        first,
        local: 1 + bytes.below((experts - first).min(256)),
        tile_rows: bytes.number(&[16, 32, 64, 128, 256]),
        kind: bytes.below(dispatch::KINDS.into()) as u8,
        seed: bytes.seed(),
    };
    dispatch::check(&case).unwrap_or_else(|error| panic!("{case:?}: {error}"));
}

/// One call of `combine`.
pub fn combine(data: &[u8]) {
    let mut bytes = Bytes(data.iter());
    let case = combine::Case {
        tokens: bytes.below(12),
        top_k: 1 + bytes.below(16),
        expert_rows: bytes.below(60),
        hidden_8: 1 + bytes.below(1100),
        gap_8: bytes.below(3),
        dtype: bytes.dtype(),
        residual: bytes.below(3) as u8,
        scale: bytes.number(&[1.0, 1e-3, 300.0]),
        special: bytes.below(2) == 1,
        seed: bytes.seed(),
    };
    combine::check(&case).unwrap_or_else(|error| panic!("{case:?}: {error}"));
}

/// Packets packed and taken apart.
pub fn packet(data: &[u8]) {
    let mut bytes = Bytes(data.iter());
    let experts = 1 + bytes.below(20);
    let case = packet::Case {
        tokens: bytes.below(30),
        top_k: 1 + bytes.below(6),
        experts,
        local: 1 + bytes.below(experts),
        hidden_8: 1 + bytes.below(300),
        gaps: [bytes.below(3), bytes.below(3)],
        room: bytes.below(44) as i32 - 4,
        dtype: bytes.dtype(),
        seed: bytes.seed(),
    };
    packet::check(&case).unwrap_or_else(|error| panic!("{case:?}: {error}"));
}

/// One call of `router`.
pub fn router(data: &[u8]) {
    let mut bytes = Bytes(data.iter());
    let count = 1 + bytes.below(32);
    let groups = bytes.number(&[None, Some(count)]);
    let (experts, groups) = match groups {
        None => (1 + bytes.below(256), None),
        Some(count) => {
            let experts = count * (1 + bytes.below(256 / count));
            (experts, Some((count, 1 + bytes.below(count))))
        }
    };
    let most = groups.map_or(experts, |(count, chosen)| chosen * (experts / count));
    let case = router::Case {
        tokens: bytes.below(12),
        experts,
        top_k: 1 + bytes.below(most.min(16)),
        hidden_8: bytes.below(2) * (1 + bytes.below(800)),
        gap: bytes.below(3),
        dtype: bytes.dtype(),
        scoring: bytes.below(router::SCORINGS.into()) as u8,
        groups,
        kind: bytes.below(4) as u8,
        forced: bytes.below(5) == 1,
        scale: bytes.number(&[1.0, 2.5]),
        round_logits: bytes.below(2) == 1,
        more: bytes.below(2) == 1,
        seed: bytes.seed(),
    };
    router::check(&case).unwrap_or_else(|error| panic!("{case:?}: {error}"));
}

/// One call of `router_loss`.
pub fn router_loss(data: &[u8]) {
    let mut bytes = Bytes(data.iter());
    let case = router_loss::Case {
        tokens: bytes.below(600),
        experts: 1 + bytes.below(256),
        top_k: 1 + bytes.below(16),
        gap: bytes.below(3),
        dtype: bytes.dtype(),
        scale: bytes.number(&[1.0, 1e-3, 40.0]),
        special: bytes.below(2) == 1,
        padding: bytes.number(&[0, 5, 16]),
        seed: bytes.seed(),
    };
    router_loss::check(&case).unwrap_or_else(|error| panic!("{case:?}: {error}"));
}
