//! Branches, calls, ends.

use super::context::{Action, Context, FUNCTION_BASE, SHARED_WINDOW};
use super::function::Callee;
use super::instruction::{Execute, Flow, Op};
use super::registers::Cell;
use crate::report::Kind;

/// `bra`: `extra` is the target.
pub(super) struct Branch;

impl Execute for Branch {
    #[inline(always)]
    fn execute(context: &mut Context<'_>, op: &Op, mask: u32) -> Flow {
        let target = op.extra as u32;
        if mask == context.active {
            context.target = target;
            return Flow::Jump;
        }
        context.stop(Action::Branch { lanes: mask, target })
    }
}

/// `brx.idx`: `a` is the index, `extra` the table.
pub(super) struct BranchTable;

impl Execute for BranchTable {
    fn execute(context: &mut Context<'_>, op: &Op, mask: u32) -> Flow {
        let undefined = mask & !context.registers.valid(op.a);
        if undefined != 0 {
            context.note_undefined(op, undefined, "the index of the branch");
        }
        let function = context.function;
        let table = &function.tables[op.extra as usize];
        let indices = *u32::lanes(context.registers, op.a);
        let mut targets = Box::new([0; 32]);
        for lane in (0..32).filter(|lane| mask >> lane & 1 == 1) {
            match table.get(indices[lane] as usize) {
                Some(&target) => targets[lane] = target,
                None => {
                    let (index, count) = (indices[lane], table.len());
                    let message = format!("index {index} into a table of {count}");
                    return context.fault(Kind::OutOfBounds, Some(lane as u32), message);
                }
            }
        }
        context.stop(Action::Scatter { lanes: mask, targets })
    }
}

pub(super) struct Exit;

impl Execute for Exit {
    fn execute(context: &mut Context<'_>, _: &Op, mask: u32) -> Flow {
        context.stop(Action::Exit { lanes: mask })
    }
}

pub(super) struct Return;

impl Execute for Return {
    fn execute(context: &mut Context<'_>, _: &Op, mask: u32) -> Flow {
        context.stop(Action::Return { lanes: mask })
    }
}

/// `extra`: the call.
pub(super) struct Call;

impl Execute for Call {
    fn execute(context: &mut Context<'_>, op: &Op, mask: u32) -> Flow {
        let function = context.function;
        let site = op.extra as u32;
        let call = &function.calls[site as usize];
        match call.callee {
            Callee::Function(function) => {
                context.stop(Action::Call { lanes: mask, function, site })
            }
            Callee::Pointer(slot) => {
                let undefined = mask & !context.registers.valid(slot);
                if undefined != 0 {
                    context.note_undefined(op, undefined, "the address of the function");
                }
                let addresses = u64::lanes(context.registers, slot);
                let first = mask.trailing_zeros();
                let address = addresses[first as usize];
                // Lanes that call another function go next.
                let same = (0..32).filter(|&l| mask >> l & 1 == 1 && addresses[l] == address);
                let lanes = same.fold(0u32, |mask, lane| mask | 1 << lane);
                let index = address.wrapping_sub(FUNCTION_BASE) / 16;
                if address < FUNCTION_BASE || index >= context.program.functions.len() as u64 {
                    let message = format!("no function is at {address:#x}");
                    return context.fault(Kind::OutOfBounds, Some(first), message);
                }
                if lanes == mask {
                    return context.stop(Action::Call { lanes, function: index as u32, site });
                }
                let rest = mask & !lanes;
                context.stop(Action::CallSome { lanes, rest, function: index as u32, site })
            }
            Callee::Vprintf => {
                for &(offset, bytes) in &call.results {
                    let at = (context.local_base + offset) as usize;
                    for lane in (0..32).filter(|lane| mask >> lane & 1 == 1) {
                        context.local.store(lane, at, &[0; 16][..bytes.min(16) as usize], true);
                    }
                }
                Flow::Next
            }
            Callee::Assert => {
                let lane = mask.trailing_zeros();
                let texts: Vec<u64> = call.arguments[..call.arguments.len().min(4)]
                    .iter()
                    .map(|&(offset, bytes)| {
                        let mut value = [0; 8];
                        let bytes = bytes.min(8) as usize;
                        let at = (context.local_base + offset) as usize;
                        context.local.load(lane, at, &mut value[..bytes]);
                        u64::from_le_bytes(value)
                    })
                    .collect();
                let [text, file, line, ..] = texts[..] else {
                    return context.fault(Kind::Trap, Some(lane), String::from("assertion failed"));
                };
                let message = format!(
                    "assertion `{}` failed at {}:{line}",
                    string(context, text),
                    string(context, file)
                );
                context.fault(Kind::Trap, Some(lane), message)
            }
        }
    }
}

/// The text at a global address.
fn string(context: &Context<'_>, address: u64) -> String {
    let mut text = Vec::new();
    let mut byte = [0];
    while text.len() < 256
        && address < SHARED_WINDOW
        && context.memory.read(address + text.len() as u64, &mut byte).is_ok()
        && byte[0] != 0
    {
        text.push(byte[0]);
    }
    String::from_utf8_lossy(&text).into_owned()
}

pub(super) struct Trap;

impl Execute for Trap {
    fn execute(context: &mut Context<'_>, _: &Op, mask: u32) -> Flow {
        context.fault(Kind::Trap, Some(mask.trailing_zeros()), String::from("trap"))
    }
}

/// `nanosleep`: others have their turn.
pub(super) struct Sleep;

impl Execute for Sleep {
    fn execute(context: &mut Context<'_>, _: &Op, _: u32) -> Flow {
        context.stop(Action::Yield)
    }
}

/// `extra`: the message that says what is not modelled.
pub(super) struct Unsupported;

impl Execute for Unsupported {
    fn execute(context: &mut Context<'_>, op: &Op, mask: u32) -> Flow {
        let message = context.function.messages[op.extra as usize].clone();
        context.fault(Kind::Unsupported, Some(mask.trailing_zeros()), message)
    }
}
