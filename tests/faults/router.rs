//! What the router works on.

use expertile::{Buffer, Dtype, Result, Router, RouterInput, Scoring, Stream, router};

const TOKENS: u64 = 3;
const HIDDEN: u64 = 16;
const TOP_K: u64 = 4;

/// Tokens that are routed from hidden states, with a place for logits.
pub(crate) struct Route {
    experts: u64,
    h: Buffer,
    weight: Buffer,
    logits: Buffer,
    /// Ids and counts, then weights and scores.
    whole: [Buffer; 2],
    floats: [Buffer; 2],
}

impl Route {
    pub(crate) fn new(stream: &Stream, experts: u64) -> Result<Route> {
        let values = |count: u64| -> Result<Buffer> {
            let values: Vec<f32> = (0..count).map(|i| (i * 7 % 13) as f32 * 0.25 - 1.5).collect();
            Buffer::from_slice(stream, &values)
        };
        let new = |dtype, elements| Buffer::new(stream.device(), dtype, elements);
        let mut route = Route {
            experts,
            h: values(TOKENS * HIDDEN)?,
            weight: values(experts * HIDDEN)?,
            logits: new(Dtype::F32, TOKENS * experts)?,
            whole: [new(Dtype::I32, TOKENS * TOP_K)?, new(Dtype::I32, experts)?],
            floats: [new(Dtype::F32, TOKENS * TOP_K)?, new(Dtype::F32, TOKENS * experts)?],
        };
        route.reset(stream)?;
        Ok(route)
    }

    /// Poison for what is written.
    pub(crate) fn reset(&mut self, stream: &Stream) -> Result<()> {
        let written = self.whole.iter_mut().chain(&mut self.floats).chain([&mut self.logits]);
        for buffer in written {
            buffer.fill_bytes(stream, 0x55)?;
        }
        Ok(())
    }

    /// All that is written, in bits, but for logits: they change if the second of two launches fails.
    pub(crate) fn outputs(&self, stream: &Stream) -> Result<Vec<u32>> {
        let mut outputs = Vec::new();
        for buffer in &self.whole {
            outputs.extend(buffer.read::<i32>(stream)?.into_iter().map(|value| value as u32));
        }
        for buffer in &self.floats {
            outputs.extend(buffer.read::<f32>(stream)?.into_iter().map(f32::to_bits));
        }
        Ok(outputs)
    }

    pub(crate) fn route(&mut self, stream: &Stream) -> Result<()> {
        let ([ids, counts], [weights, probabilities]) = (&mut self.whole, &mut self.floats);
        let (chosen, scores) = ([TOKENS, TOP_K], [TOKENS, self.experts]);
        let arguments = Router {
            input: RouterInput::Hidden {
                h: self.h.tensor(&[TOKENS, HIDDEN])?,
                weight: self.weight.tensor(&[self.experts, HIDDEN])?,
                round_logits: false,
            },
            scoring: Scoring::Softmax { p_norm: Some(1.0) },
            groups: None,
            scale: 1.0,
            forced: None,
            ids: ids.tensor_mut(&chosen)?,
            weights: weights.tensor_mut(&chosen)?,
            logits: Some(self.logits.tensor_mut(&scores)?),
            counts: Some(counts.tensor_mut(&[self.experts])?),
            probabilities: Some(probabilities.tensor_mut(&scores)?),
        };
        router(stream, &arguments)
    }
}
