//! From the syntax tree to instructions that execute: operands become slots, modifiers choose the
//! function.

mod arithmetic;
mod bits;
mod bulk;
mod control;
mod convert;
mod cvt;
mod exchange;
mod matrix;
mod memory;
mod modifiers;
mod operand;
mod warpgroup;

use std::collections::{BTreeMap, HashMap};

use modifiers::Modifiers;

use super::function::{Function, Source, Window};
use super::instruction::{Execute, Op, Result as Destination, handler};
use super::ops_control;
use super::registers::{ALWAYS, POISON, Predicate, Registers, Vector};
use super::special::Special;
use super::warpgroup::Watched;
use crate::ptx::{self, Instruction, Space, Type};

/// What names of the module stand for.
#[derive(Clone, Debug, Default)]
pub(super) struct Symbols {
    /// `.global` and `.const`: address and bytes.
    pub(super) variables: BTreeMap<String, (u64, u64)>,
    /// `.shared` of fixed size: address and bytes.
    pub(super) shared: BTreeMap<String, u32>,
    /// `.extern .shared`.
    pub(super) dynamic_shared: Vec<String>,
    /// Functions and kernels with a body: index.
    pub(super) functions: BTreeMap<String, u32>,
}

/// Where a name of the function lies.
#[derive(Clone, Copy, Debug)]
enum Home {
    /// Offset in the kernel's parameters.
    Parameter(u32),
    /// Offset in the frame's local memory, and bytes.
    Local(u32, u32),
}

struct Decoder<'a> {
    symbols: &'a Symbols,
    source: &'a ptx::Function,
    homes: HashMap<&'a str, Home>,
    /// By register of the syntax tree: slot, or index of the predicate.
    slots: Vec<u32>,
    constants: HashMap<(u64, bool), u32>,
    function: Function,
    // Of the instruction at hand:
    at: u32,
    guard: (u32, u32),
    first: bool,
    scratch: Vec<(u32, bool)>,
    scratch_used: usize,
    widenings: Vec<(u32, u32, bool)>,
    /// Ops whose `extra` is an instruction of the syntax tree.
    branches: Vec<usize>,
    /// The predicate that stands for `CC.CF`.
    carry: Option<u32>,
}

/// A kernel's parameters, or a function's local memory: offsets of things in a row.
pub(super) fn lay_out(items: impl Iterator<Item = (u32, u32)>, mut at: u32) -> (Vec<u32>, u32) {
    let mut offsets = Vec::new();
    for (bytes, align) in items {
        at = at.next_multiple_of(align.max(1));
        offsets.push(at);
        at += bytes;
    }
    (offsets, at)
}

pub(super) fn is_wide(ty: Type) -> bool {
    matches!(ty, Type::B64 | Type::U64 | Type::S64 | Type::F64)
}

pub(super) fn is_signed(ty: Type) -> bool {
    matches!(ty, Type::S8 | Type::S16 | Type::S32 | Type::S64)
}

pub(super) fn bytes_of(ty: Type) -> u32 {
    match ty {
        Type::B8 | Type::U8 | Type::S8 => 1,
        Type::B16 | Type::U16 | Type::S16 | Type::F16 | Type::Bf16 => 2,
        Type::B32 | Type::U32 | Type::S32 | Type::F32 | Type::F16x2 | Type::Bf16x2 => 4,
        Type::B64 | Type::U64 | Type::S64 | Type::F64 => 8,
        Type::B128 => 16,
        Type::Pred => 0,
    }
}

/// Decodes a function. What is not modelled becomes an instruction that says so when it executes.
pub(super) fn decode(symbols: &Symbols, index: u32, source: &ptx::Function) -> Function {
    let mut decoder = Decoder::new(symbols, index, source);
    let mut starts = Vec::with_capacity(source.code.len() + 1);
    for (at, instruction) in source.code.iter().enumerate() {
        starts.push(decoder.function.ops.len() as u32);
        decoder.instruction(at as u32, instruction);
    }
    starts.push(decoder.function.ops.len() as u32);
    // Past the end: as `ret`.
    decoder.begin(source.code.len() as u32, None);
    if source.entry {
        decoder.effect::<ops_control::Exit>([0; 4], 0);
    } else {
        decoder.effect::<ops_control::Return>([0; 4], 0);
    }
    if !decoder.function.multiplications.is_empty() {
        let copies = decoder.copies();
        decoder.function.watched = Watched::new(&decoder.function.multiplications, &copies);
    }
    let mut function = decoder.function;
    for at in decoder.branches {
        let op = &mut function.ops[at];
        op.extra = starts[op.extra as usize].into();
    }
    for table in &mut function.tables {
        table.iter_mut().for_each(|at| *at = starts[*at as usize]);
    }
    function
}

impl<'a> Decoder<'a> {
    fn new(symbols: &'a Symbols, index: u32, source: &'a ptx::Function) -> Decoder<'a> {
        let mut homes = HashMap::new();
        let sizes = |parameters: &[ptx::Parameter]| {
            parameters.iter().map(|p| (p.bytes, p.align)).collect::<Vec<_>>()
        };
        let mut end = 0;
        let (mut parameters, mut results) = (Vec::new(), Vec::new());
        let (offsets, size) = lay_out(sizes(&source.parameters).into_iter(), 0);
        for (parameter, &offset) in source.parameters.iter().zip(&offsets) {
            let local = Home::Local(offset, parameter.bytes);
            let home = if source.entry { Home::Parameter(offset) } else { local };
            homes.insert(parameter.name.as_str(), home);
            parameters.push((offset, parameter.bytes));
        }
        if !source.entry {
            end = size;
        }
        let (offsets, size) = lay_out(sizes(&source.results).into_iter(), end);
        for (result, &offset) in source.results.iter().zip(&offsets) {
            homes.insert(result.name.as_str(), Home::Local(offset, result.bytes));
            results.push((offset, result.bytes));
        }
        end = size;
        for variable in &source.variables {
            if matches!(variable.space, Space::Local | Space::Param) {
                let offset = end.next_multiple_of(variable.align.max(1));
                homes.insert(&variable.name, Home::Local(offset, variable.bytes as u32));
                end = offset + variable.bytes as u32;
            }
        }
        let always = Predicate { value: u32::MAX, valid: u32::MAX };
        let mut template = Registers::default();
        template.predicates.push(always);
        let mut slots = Vec::new();
        for register in &source.registers {
            if register.ty == Type::Pred {
                slots.push(template.predicates.len() as u32);
                template.predicates.push(Predicate { value: u32::MAX, valid: 0 });
            } else {
                slots.push(template.values.len() as u32);
                let count = (bytes_of(register.ty).div_ceil(4)).max(1) as usize;
                template.values.resize(template.values.len() + count, POISON);
            }
        }
        template.valid = vec![0; template.values.len()];
        let place = |instruction: &Instruction| Source {
            text: instruction.text.clone(),
            line: instruction.line,
            source: instruction.source,
        };
        Decoder {
            symbols,
            source,
            homes,
            slots,
            constants: HashMap::new(),
            function: Function {
                name: source.name.clone(),
                index,
                first_place: 0,
                ops: Vec::new(),
                places: source.code.iter().map(place).collect(),
                template,
                specials: Vec::new(),
                messages: Vec::new(),
                accesses: Vec::new(),
                fragments: Vec::new(),
                multiplications: Vec::new(),
                watched: Watched::default(),
                bulks: Vec::new(),
                is_asynchronous: false,
                calls: Vec::new(),
                tables: Vec::new(),
                parameters,
                results,
                local_bytes: end,
            },
            at: 0,
            guard: (ALWAYS, 0),
            first: true,
            scratch: Vec::new(),
            scratch_used: 0,
            widenings: Vec::new(),
            branches: Vec::new(),
            carry: None,
        }
    }

    fn begin(&mut self, at: u32, guard: Option<ptx::Guard>) {
        self.at = at;
        self.first = true;
        self.scratch_used = 0;
        self.widenings.clear();
        self.guard = match guard {
            None => (ALWAYS, 0),
            Some(guard) => {
                let flip = if guard.negated { u32::MAX } else { 0 };
                (self.slots[guard.register as usize], flip)
            }
        };
    }

    fn instruction(&mut self, at: u32, instruction: &Instruction) {
        self.begin(at, instruction.guard);
        let before = self.function.ops.len();
        if let Err(why) = self.dispatch(instruction) {
            self.function.ops.truncate(before);
            self.first = true;
            self.widenings.clear();
            self.function.messages.push(why);
            let message = self.function.messages.len() as u64 - 1;
            self.effect::<ops_control::Unsupported>([0; 4], message);
        }
        for (from, to, signed) in std::mem::take(&mut self.widenings) {
            self.widen(from, to, signed);
        }
    }

    fn dispatch(&mut self, instruction: &Instruction) -> Result<(), String> {
        let name = instruction.opcode[0].as_str();
        let operands = &instruction.operands[..];
        let mut modifiers = Modifiers::new(&instruction.opcode[1..]);
        let m = &mut modifiers;
        match name {
            "add" | "sub" | "mul" | "mad" | "fma" | "div" | "rem" | "min" | "max" | "abs"
            | "neg" | "mul24" | "mad24" | "sad" | "addc" | "subc" | "madc" | "dp4a" | "dp2a"
            | "rcp" | "sqrt" | "rsqrt" | "sin" | "cos" | "lg2" | "ex2" | "tanh" | "copysign"
            | "testp" => {
                self.arithmetic(name, m, operands)?;
            }
            "and" | "or" | "xor" | "not" | "cnot" | "lop3" | "shl" | "shr" | "shf" | "popc"
            | "clz" | "bfind" | "brev" | "bfe" | "bfi" | "prmt" | "fns" | "bmsk" | "szext" => {
                self.bits(name, m, operands)?;
            }
            "setp" | "set" | "selp" | "slct" => self.compare(name, m, operands)?,
            "mov" | "cvt" | "cvta" | "isspacep" => self.convert(name, m, operands)?,
            "ld" | "ldu" | "st" | "atom" | "red" | "prefetch" | "prefetchu" | "cp" | "fence"
            | "membar" | "applypriority" | "discard" | "createpolicy" => {
                self.memory(name, m, operands)?;
            }
            "shfl" | "vote" | "match" | "redux" | "activemask" | "elect" => {
                self.exchange(name, m, operands)?;
            }
            "mbarrier" => self.mbarrier(m, operands)?,
            "mapa" | "getctarank" => self.map_address(name, m, operands)?,
            "mma" | "ldmatrix" | "stmatrix" | "movmatrix" => self.matrix(name, m, operands)?,
            "wgmma" | "setmaxnreg" => self.warpgroup(name, m, operands)?,
            "bra" | "brx" | "call" | "ret" | "exit" | "trap" | "brkpt" | "nanosleep" | "bar"
            | "barrier" | "pmevent" | "griddepcontrol" => self.control(name, m, operands)?,
            _ => return Err(String::from("this instruction is not modelled")),
        }
        modifiers.end()
    }

    fn push<E: Execute>(&mut self, destination: Destination, slots: [u32; 4], extra: u64) {
        let [d, a, b, c] = slots;
        self.function.ops.push(Op {
            run: handler::<E>(),
            guard: self.guard.0,
            flip: self.guard.1,
            d,
            a,
            b,
            c,
            extra,
            counts: u32::from(std::mem::take(&mut self.first)),
            source: self.at,
            result: destination,
        });
    }

    /// An instruction whose only result is the register `d`.
    fn pure<E: Execute>(&mut self, slots: [u32; 4], extra: u64) {
        self.push::<E>(Destination::Register, slots, extra);
    }

    /// One whose results are the predicates `d` and, unless 0, `extra`.
    fn predicate_result<E: Execute>(&mut self, slots: [u32; 4], extra: u64) {
        self.push::<E>(Destination::Predicate, slots, extra);
    }

    fn effect<E: Execute>(&mut self, slots: [u32; 4], extra: u64) {
        self.push::<E>(Destination::Effect, slots, extra);
    }

    /// A new slot of a register of the frame.
    fn new_slot(&mut self, wide: bool) -> u32 {
        let template = &mut self.function.template;
        let slot = template.values.len();
        template.values.resize(slot + 1 + usize::from(wide), POISON);
        template.valid.resize(slot + 1 + usize::from(wide), 0);
        slot as u32
    }

    /// A register that holds a value until the end of the instruction.
    fn scratch(&mut self, wide: bool) -> u32 {
        let found = self.scratch[self.scratch_used.min(self.scratch.len())..]
            .iter()
            .position(|&(_, is)| is == wide);
        match found {
            Some(found) => {
                let at = self.scratch_used + found;
                self.scratch.swap(self.scratch_used, at);
            }
            None => {
                let slot = self.new_slot(wide);
                self.scratch.push((slot, wide));
                let last = self.scratch.len() - 1;
                self.scratch.swap(self.scratch_used, last);
            }
        }
        self.scratch_used += 1;
        self.scratch[self.scratch_used - 1].0
    }

    fn carry_flag(&mut self) -> u32 {
        let predicates = &mut self.function.template.predicates;
        *self.carry.get_or_insert_with(|| {
            predicates.push(Predicate { value: 0, valid: 0 });
            predicates.len() as u32 - 1
        })
    }

    fn constant(&mut self, bits: u64, wide: bool) -> u32 {
        let bits = if wide { bits } else { bits & u64::from(u32::MAX) };
        if let Some(&slot) = self.constants.get(&(bits, wide)) {
            return slot;
        }
        let slot = self.new_slot(wide);
        let template = &mut self.function.template;
        if wide {
            let halves = [bits as u32, (bits >> 32) as u32];
            let pair = Vector(std::array::from_fn(|lane| halves[lane % 2]));
            template.values[slot as usize..slot as usize + 2].fill(pair);
        } else {
            template.values[slot as usize] = Vector([bits as u32; 32]);
        }
        template.valid[slot as usize] = u32::MAX;
        self.constants.insert((bits, wide), slot);
        slot
    }

    fn special(&mut self, special: Special, wide: bool) -> u32 {
        let known = self.function.specials.iter().find(|(_, w, s)| (*w, *s) == (wide, special));
        if let Some(&(slot, _, _)) = known {
            return slot;
        }
        let slot = self.new_slot(wide);
        self.function.specials.push((slot, wide, special));
        slot
    }
}
