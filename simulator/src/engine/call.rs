//! Calls and returns of a warp's lanes.

use super::Program;
use super::context::Fault;
use super::warp::{Group, Wait, Warp};
use crate::report::Kind;

impl Warp {
    /// Lanes call a function. Lanes that call it from the same frame share one frame of it.
    pub(super) fn call(
        &mut self,
        program: &Program,
        group: Group,
        lanes: u32,
        function: u32,
        site: u32,
    ) -> Result<(), Fault> {
        let caller = &self.frames[group.frame as usize];
        let code = &program.functions[caller.function as usize];
        let callee = &program.functions[function as usize];
        let base = caller.local_base;
        let callee_base = base + code.local_bytes.next_multiple_of(16);
        let known = self.frames.iter().position(|frame| {
            frame.lanes != 0 && (frame.parent, frame.function) == (group.frame, function)
        });
        let frame = match known {
            Some(frame) => {
                self.frames[frame].lanes |= lanes;
                frame as u32
            }
            None => self.new_frame(program, function, group.frame, callee_base, lanes).ok_or_else(
                || Fault {
                    kind: Kind::Launch,
                    lane: Some(lanes.trailing_zeros()),
                    message: format!("{}: the stack is full at {callee_base} bytes", callee.name),
                },
            )?,
        };
        let end = callee_base + callee.local_bytes;
        self.local.clear(lanes, callee_base as usize, end as usize);
        let call = &code.calls[site as usize];
        if call.arguments.len() != callee.parameters.len()
            || call.results.len() != callee.results.len()
        {
            return Err(Fault {
                kind: Kind::Launch,
                lane: None,
                message: format!("{} takes other parameters than the call gives", callee.name),
            });
        }
        for (&(from, bytes), &(to, size)) in call.arguments.iter().zip(&callee.parameters) {
            let (from, to) = (base + from, callee_base + to);
            self.local.copy(lanes, from as usize, to as usize, bytes.min(size) as usize);
        }
        let into = &mut self.frames[frame as usize];
        for lane in (0..32).filter(|lane| lanes >> lane & 1 == 1) {
            into.returns[lane] = (group.pc, site);
        }
        self.place_group(Group { frame, pc: 0, mask: lanes, wait: Wait::Ready });
        Ok(())
    }

    /// Lanes return, each to its call.
    pub(super) fn return_from(&mut self, program: &Program, group: Group, lanes: u32) {
        let frame = &mut self.frames[group.frame as usize];
        frame.lanes &= !lanes;
        let (returns, parent, base) = (frame.returns, frame.parent, frame.local_base);
        let callee = &program.functions[frame.function as usize];
        let caller = &self.frames[parent as usize];
        let (code, caller_base) = (&program.functions[caller.function as usize], caller.local_base);
        for lane in (0..32u32).filter(|lane| lanes >> lane & 1 == 1) {
            let call = &code.calls[returns[lane as usize].1 as usize];
            for (&(from, size), &(to, bytes)) in callee.results.iter().zip(&call.results) {
                let (from, to) = (base + from, caller_base + to);
                self.local.copy(1 << lane, from as usize, to as usize, bytes.min(size) as usize);
            }
        }
        let group = Group { frame: parent, ..group };
        self.scatter(group, lanes, |lane| returns[lane as usize].0 + 1);
    }
}
