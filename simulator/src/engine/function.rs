//! A function made ready to execute.

use super::Program;
use super::instruction::Op;
use super::ops_bulk::Bulk;
use super::ops_matrix::Fragments;
use super::ops_warpgroup::Multiplication;
use super::registers::Registers;
use super::special::Special;
use super::warpgroup::Watched;

/// What a report says of an instruction.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) text: String,
    pub(super) line: u32,
    pub(super) source: Option<(u32, u32)>,
}

/// A kernel or function.
pub(super) struct Function {
    pub(super) name: String,
    pub(super) index: u32,
    pub(super) ops: Vec<Op>,
    /// By instruction of the syntax tree.
    pub(super) places: Vec<Source>,
    /// The number of the first of them among all places of the program.
    pub(super) first_place: u32,
    /// The registers of a new frame: constants in place, the rest poison.
    pub(super) template: Registers,
    /// What is filled in when a frame starts: slot, whether 64 bits, and with what.
    pub(super) specials: Vec<(u32, bool, Special)>,
    pub(super) messages: Vec<String>,
    pub(super) accesses: Vec<Access>,
    pub(super) fragments: Vec<Fragments>,
    pub(super) multiplications: Vec<Multiplication>,
    pub(super) watched: Watched,
    pub(super) bulks: Vec<Bulk>,
    /// It has mbarriers or bulk copies.
    pub(super) is_asynchronous: bool,
    pub(super) calls: Vec<Call>,
    pub(super) tables: Vec<Vec<u32>>,
    /// Where parameters and results lie in the frame's local memory: offset and bytes.
    pub(super) parameters: Vec<(u32, u32)>,
    pub(super) results: Vec<(u32, u32)>,
    pub(super) local_bytes: u32,
}

impl Function {
    /// The instruction's number among all of the program.
    pub(super) fn place(&self, op: &Op) -> u32 {
        self.first_place + op.source
    }
}

impl Program {
    /// What a report says of an instruction of the syntax tree: its text, its line in the PTX, and file
    /// and line of the source.
    pub(super) fn place(
        &self,
        function: &Function,
        at: u32,
    ) -> (String, u32, Option<(String, u32)>) {
        let Some(place) = function.places.get(at as usize) else {
            return (String::new(), 0, None);
        };
        let source = place.source.map(|(file, line)| {
            let file = self.files.get(&file).cloned();
            (file.unwrap_or_else(|| String::from("?")), line)
        });
        (place.text.clone(), place.line, source)
    }
}

/// Which memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Window {
    Generic,
    Global,
    Shared,
    /// The shared memory of all blocks of the cluster.
    Cluster,
    Local,
    /// The kernel's parameters.
    Parameter,
}

/// How the value of an element becomes a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Element {
    /// Slot of the register, or none for `_`.
    pub(super) slot: Option<u32>,
    /// A 64-bit register.
    pub(super) wide: bool,
}

/// An access to memory.
#[derive(Clone, Debug)]
pub(super) struct Access {
    pub(super) window: Window,
    pub(super) order: crate::memory::Order,
    /// Slot of the address, or none if it is `offset`.
    pub(super) base: Option<u32>,
    pub(super) wide_address: bool,
    pub(super) offset: u64,
    /// Bytes of an element, and whether narrow ones are sign-extended.
    pub(super) bytes: u32,
    pub(super) signed: bool,
    pub(super) elements: Vec<Element>,
}

/// Whom a call calls.
#[derive(Clone, Debug)]
pub(super) enum Callee {
    Function(u32),
    /// The slot of its address.
    Pointer(u32),
    Vprintf,
    Assert,
}

/// A call. Places are offsets in the caller's local memory.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) callee: Callee,
    pub(super) arguments: Vec<(u32, u32)>,
    pub(super) results: Vec<(u32, u32)>,
}
