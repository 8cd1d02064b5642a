//! The loop that executes instructions.

use super::context::Context;
use super::function::Function;
use super::instruction::{Flow, Op, Result as Destination};

/// Executes instructions in sequence. Returns where it stopped, and whether for an action; the
/// group may also have come to `limit`, or to the end of its budget.
pub(super) fn execute(
    context: &mut Context<'_>,
    function: &Function,
    mut pc: u32,
    limit: u32,
    budget: &mut u32,
) -> (u32, bool) {
    let mut issued = 0;
    let mut stopped = false;
    loop {
        let op = &function.ops[pc as usize];
        let guard = context.registers.predicate(op.guard);
        let mask = context.active & (guard.value ^ op.flip);
        issued += u64::from(op.counts);
        *budget -= 1;
        let mut flow = Flow::Next;
        let undefined = context.active & !guard.valid;
        if mask != 0 {
            // SAFETY: `handler` chose the function for this processor.
            flow = unsafe { (op.run)(context, op, mask) };
        }
        if undefined != 0 {
            undefined_guard(context, op, undefined);
        }
        match flow {
            Flow::Next => pc += 1,
            Flow::Jump => pc = context.target,
            Flow::Stop => {
                stopped = true;
                break;
            }
        }
        if *budget == 0 || pc == limit {
            break;
        }
    }
    context.state.counters.warp_instructions += issued;
    (pc, stopped)
}

#[cold]
fn undefined_guard(context: &mut Context<'_>, op: &Op, lanes: u32) {
    match op.result {
        Destination::Effect => context.note_undefined(op, lanes, "the predicate"),
        Destination::Register => context.registers.set_valid(op.d, lanes, 0),
        Destination::Predicate => {
            for at in [op.d, op.extra as u32] {
                if at != 0 {
                    context.registers.predicates[at as usize].valid &= !lanes;
                }
            }
        }
    }
}
