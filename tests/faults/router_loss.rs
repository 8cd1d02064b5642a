//! What the router's losses work on.

use expertile::{
    Buffer, Dtype, Result, RouterLoss, Stream, router_loss, router_loss_workspace_bytes,
};

const TOKENS: u64 = 3;
const EXPERTS: u64 = 16;
const TOP_K: u64 = 4;

/// A routing of which the losses are asked.
pub(crate) struct Loss {
    logits: Buffer,
    ids: Buffer,
    workspace: Buffer,
    counts: Buffer,
    /// Losses and mean probabilities.
    floats: [Buffer; 2],
}

impl Loss {
    pub(crate) fn new(stream: &Stream) -> Result<Loss> {
        let logits: Vec<f32> =
            (0..TOKENS * EXPERTS).map(|i| (i * 7 % 13) as f32 * 0.25 - 1.5).collect();
        let ids: Vec<i32> = (0..TOKENS * TOP_K).map(|i| (i * 5 % EXPERTS) as i32).collect();
        let new = |dtype, elements| Buffer::new(stream.device(), dtype, elements);
        let mut loss = Loss {
            logits: Buffer::from_slice(stream, &logits)?,
            ids: Buffer::from_slice(stream, &ids)?,
            workspace: new(Dtype::I32, router_loss_workspace_bytes(TOKENS, EXPERTS) / 4)?,
            counts: new(Dtype::I32, EXPERTS)?,
            floats: [new(Dtype::F32, 3)?, new(Dtype::F32, EXPERTS)?],
        };
        loss.reset(stream)?;
        Ok(loss)
    }

    /// Poison for what is written.
    pub(crate) fn reset(&mut self, stream: &Stream) -> Result<()> {
        for buffer in self.floats.iter_mut().chain([&mut self.counts]) {
            buffer.fill_bytes(stream, 0x55)?;
        }
        Ok(())
    }

    /// All that is written, in bits.
    pub(crate) fn outputs(&self, stream: &Stream) -> Result<Vec<u32>> {
        let counts = self.counts.read::<i32>(stream)?;
        let mut outputs: Vec<u32> = counts.into_iter().map(|count| count as u32).collect();
        for buffer in &self.floats {
            outputs.extend(buffer.read::<f32>(stream)?.into_iter().map(f32::to_bits));
        }
        Ok(outputs)
    }

    pub(crate) fn ask(&mut self, stream: &Stream) -> Result<()> {
        let kept = self.workspace.elements();
        let [losses, mean_probabilities] = &mut self.floats;
        let arguments = RouterLoss {
            logits: self.logits.tensor(&[TOKENS, EXPERTS])?,
            ids: self.ids.tensor(&[TOKENS, TOP_K])?,
            losses: losses.tensor_mut(&[3])?,
            counts: self.counts.tensor_mut(&[EXPERTS])?,
            mean_probabilities: mean_probabilities.tensor_mut(&[EXPERTS])?,
            workspace: self.workspace.tensor_mut(&[kept])?,
        };
        router_loss(stream, &arguments)
    }
}
