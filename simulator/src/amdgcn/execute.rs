//! The loop that executes a wave, and what stops it (CDNA3 ISA, chapter 4 and 12.4).

use super::function::Function;
use super::instruction::{Format, Instruction, VCC};
use super::opcodes::Opcode;
use super::state::{Fault, State};
use super::text::text;
use super::wave::{Status, Wave};
use super::{matrix, memory, names, scalar, vector};
use crate::engine::schedule::Pause;
use crate::memory::{Memory, Region};
use crate::report::Kind;

/// What an instruction says to the loop.
#[derive(Clone, Debug)]
pub(super) enum Flow {
    Next,
    /// To the instruction of that index.
    Jump(u32),
    /// The wave waits at the barrier.
    Barrier,
    End,
    /// On with the next, after others had their turn.
    Yield,
    Fault(Fault),
}

/// A wave and what it executes in.
pub(super) struct Execution<'a> {
    pub(super) wave: &'a mut Wave,
    pub(super) function: &'a Function,
    pub(super) memory: &'a mut Memory,
    pub(super) local: &'a mut Region,
    pub(super) state: &'a mut State,
}

impl Execution<'_> {
    /// Executes up to `quantum` instructions.
    pub(super) fn run(&mut self, quantum: u32) -> Pause {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c")
        {
            // SAFETY: the processor has these features.
            return unsafe { self.run_avx2(quantum) };
        }
        self.steps(quantum)
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn run_avx2(&mut self, quantum: u32) -> Pause {
        self.steps(quantum)
    }

    #[inline(always)]
    fn steps(&mut self, quantum: u32) -> Pause {
        let function = self.function;
        for _ in 0..quantum {
            let Some(i) = function.instructions.get(self.wave.pc as usize) else {
                let message = "execution runs past the end of the code".to_owned();
                return self.end(Fault { kind: Kind::OutOfBounds, lane: None, message });
            };
            if self.wave.busy_vectors > 0 || self.wave.busy_scalars != 0 {
                self.look_for_hazards(i);
            }
            if i.format == Format::Matrix || !self.wave.recent.is_empty() {
                self.look_at_waits(i);
            }
            self.state.counters.warp_instructions += 1;
            self.wave.trail = [self.wave.pc, self.wave.trail[0]];
            let flow = match i.format {
                Format::Vop1 | Format::Vop2 | Format::Vopc | Format::Vop3 | Format::Vop3p => {
                    vector::execute(self, i)
                }
                Format::Sop1 | Format::Sop2 | Format::Sopc | Format::Sopk => {
                    scalar::execute(self, i)
                }
                Format::Sopp => self.control(i),
                Format::Smem => memory::scalar_load(self, i),
                Format::Ds | Format::Flat | Format::Buffer => memory::issue(self, i),
                Format::Matrix => matrix::execute(self, i),
                Format::Other => self.unsupported(i),
            };
            match flow {
                Flow::Next => self.wave.pc += 1,
                Flow::Jump(target) => self.wave.pc = target,
                Flow::Barrier => {
                    self.wave.pc += 1;
                    self.wave.status = Status::Waiting;
                    return Pause::Blocked;
                }
                Flow::End => {
                    if let Err(fault) = memory::drain(self) {
                        return self.end(fault);
                    }
                    self.wave.status = Status::Done;
                    return Pause::Blocked;
                }
                Flow::Yield => {
                    self.wave.pc += 1;
                    return Pause::Turn;
                }
                Flow::Fault(fault) => return self.end(fault),
            }
        }
        Pause::Turn
    }

    #[cold]
    fn end(&mut self, fault: Fault) -> Pause {
        self.state.report(self.function, self.wave.pc, self.wave.place, fault);
        Pause::Fault
    }

    /// A report that does not end the launch.
    #[cold]
    pub(super) fn note(&mut self, kind: Kind, lane: Option<u32>, message: String) {
        let fault = Fault { kind, lane, message };
        self.state.report(self.function, self.wave.pc, self.wave.place, fault);
    }

    #[cold]
    pub(super) fn unsupported(&self, i: &Instruction) -> Flow {
        let name = names::name_of(i);
        let words = &i.words[..usize::from(i.dwords)];
        let words: Vec<String> = words.iter().map(|word| format!("{word:08X}")).collect();
        let message = format!("{name} ({}) is not modelled", words.join(" "));
        Flow::Fault(Fault { kind: Kind::Unsupported, lane: None, message })
    }

    /// Memory instructions may wait in the queues of others' data: only what this one touches counts.
    #[cold]
    fn look_for_hazards(&mut self, i: &Instruction) {
        if let Some(message) = self.wave.hazard(i) {
            self.note(Kind::Hazard, None, message);
        }
    }

    /// What is done too soon after a matrix instruction, or before one.
    fn look_at_waits(&mut self, i: &Instruction) {
        let found = self.wave.look_at_waits(i);
        let found = found.or_else(|| matrix::too_soon_after(self.wave, self.function, i));
        if let Some(message) = found {
            self.note(Kind::Hazard, None, message);
        }
    }

    /// Branches, waits and the end.
    fn control(&mut self, i: &Instruction) -> Flow {
        use Opcode::*;
        let vcc = usize::from(VCC);
        let zero = |wave: &Wave| wave.scalars[vcc] | wave.scalars[vcc + 1] == 0;
        let known = |wave: &Wave| wave.undefined[vcc] | wave.undefined[vcc + 1] == 0;
        let wave = &*self.wave;
        let (taken, defined) = match i.opcode {
            s_nop | s_setprio => return Flow::Next,
            s_sleep => return Flow::Yield,
            s_endpgm => return Flow::End,
            s_barrier => return Flow::Barrier,
            s_waitcnt => return self.wait(i),
            s_trap => {
                let message = format!("trap {}", i.offset);
                return Flow::Fault(Fault { kind: Kind::Trap, lane: None, message });
            }
            s_branch => (true, true),
            s_cbranch_scc0 => (!wave.scc, wave.scc_defined),
            s_cbranch_scc1 => (wave.scc, wave.scc_defined),
            s_cbranch_vccz => (zero(wave), known(wave)),
            s_cbranch_vccnz => (!zero(wave), known(wave)),
            s_cbranch_execz => (wave.exec() == 0, true),
            s_cbranch_execnz => (wave.exec() != 0, true),
            _ => return self.unsupported(i),
        };
        if !defined {
            let message = format!("`{}` goes by a value that was never written", text(i));
            self.note(Kind::Uninitialized, None, message);
        }
        match (taken, i.target) {
            (false, _) => Flow::Next,
            (true, u32::MAX) => {
                let message = format!("a branch by {} dwords leaves the code", i.offset);
                Flow::Fault(Fault { kind: Kind::OutOfBounds, lane: None, message })
            }
            (true, target) => Flow::Jump(target),
        }
    }

    /// `s_waitcnt` (CDNA3 ISA, 12.4): how many may be outstanding.
    fn wait(&mut self, i: &Instruction) -> Flow {
        let bits = i.offset as u32;
        let vector = (bits & 15 | (bits >> 14 & 3) << 4) as usize;
        let local = (bits >> 8 & 15) as usize;
        // The counters' greatest values say that nothing is waited for.
        let vector = if vector == 63 { usize::MAX } else { vector };
        let local = if local == 15 { usize::MAX } else { local };
        match memory::wait(self, vector, local) {
            Ok(()) => Flow::Next,
            Err(fault) => Flow::Fault(fault),
        }
    }
}
