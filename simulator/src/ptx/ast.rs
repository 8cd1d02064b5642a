//! The syntax tree: names are resolved to indices, nothing is interpreted yet.

use std::collections::BTreeMap;

/// One translation unit.
#[derive(Clone, Debug, Default)]
pub struct Module {
    /// `.version`, major and minor.
    pub version: (u32, u32),
    /// `.target`, for example `sm_90a`.
    pub target: String,
    /// Variables of the module: `.global`, `.const` and `.shared` (also `.extern .shared`).
    pub variables: Vec<Variable>,
    /// Kernels and functions that have a body.
    pub functions: Vec<Function>,
    /// `.file`: what [`Instruction::source`] refers to.
    pub files: BTreeMap<u32, String>,
}

/// A fundamental type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Type {
    Pred,
    B8,
    B16,
    B32,
    B64,
    B128,
    U8,
    U16,
    U32,
    U64,
    S8,
    S16,
    S32,
    S64,
    F16,
    F16x2,
    Bf16,
    Bf16x2,
    F32,
    F64,
}

/// Where a variable lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Space {
    Const,
    Global,
    Shared,
    Local,
    Param,
}

/// A variable of the module or of a function.
#[derive(Clone, Debug)]
pub struct Variable {
    /// Unique in the module: variables of functions whose name is taken get a suffix like `#2`.
    pub name: String,
    /// Its state space.
    pub space: Space,
    /// Alignment in bytes.
    pub align: u32,
    /// Its size in bytes; 0 for `.extern .shared name[]`.
    pub bytes: u64,
    /// The initial bytes, as long as the initialiser (possibly shorter than `bytes`; the rest is 0).
    pub initial: Vec<u8>,
    /// Addresses within `initial` to be filled in: (offset, symbol, addend), 8 bytes each.
    pub relocations: Vec<(u64, String, i64)>,
    /// Declared `.extern` without a body.
    pub external: bool,
}

/// A parameter or result in the `.param` space.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// Alignment in bytes.
    pub align: u32,
    /// Size in bytes.
    pub bytes: u32,
}

/// A virtual register.
#[derive(Clone, Debug)]
pub struct Register {
    /// Its name, for messages.
    pub name: String,
    /// Its declared type.
    pub ty: Type,
}

/// A kernel (`.entry`) or function (`.func`).
///
/// A [`Operand::Symbol`] or [`Base::Symbol`] in its code names, in this order: a parameter or result
/// of the function, one of its variables or branch tables, a variable of the module, a function.
/// Functions that are declared without a body (`vprintf`, `__assertfail`, `malloc`) are in no list.
#[derive(Clone, Debug, Default)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Whether it is a kernel.
    pub entry: bool,
    /// Parameters in order.
    pub parameters: Vec<Parameter>,
    /// Results of a function.
    pub results: Vec<Parameter>,
    /// Every register of every scope.
    pub registers: Vec<Register>,
    /// `.shared`, `.local` and `.param` variables of every scope, names unique.
    pub variables: Vec<Variable>,
    /// The instructions in order; branches refer to indices into this.
    pub code: Vec<Instruction>,
    /// `.reqntid` or `.maxntid`, where given.
    pub max_threads: Option<[u32; 3]>,
    /// Whether `max_threads` is exactly required.
    pub required_threads: bool,
    /// `.reqnctapercluster`, where given.
    pub required_cluster: Option<[u32; 3]>,
    /// `.branchtargets` tables: label of the table to instruction indices.
    pub branch_tables: BTreeMap<String, Vec<usize>>,
}

/// `@%p` or `@!%p`.
#[derive(Clone, Copy, Debug)]
pub struct Guard {
    /// Index into [`Function::registers`].
    pub register: u32,
    /// Executes where the predicate is false.
    pub negated: bool,
}

/// One instruction.
#[derive(Clone, Debug)]
pub struct Instruction {
    /// The lanes it executes for.
    pub guard: Option<Guard>,
    /// The dotted parts: `ld.global.v4.u32` is `["ld", "global", "v4", "u32"]`; `shared::cta` stays
    /// one part.
    pub opcode: Vec<String>,
    /// Operands in the order written. Those of `call` are always the list of results, the function
    /// (or the register with its address), the list of arguments and, where written, the prototype
    /// or table of an indirect call.
    pub operands: Vec<Operand>,
    /// The statement as written, for messages.
    pub text: String,
    /// Its line in the PTX.
    pub line: u32,
    /// `.loc`: file (key of [`Module::files`]) and line of the source; the innermost inlined place.
    /// None where the compiler gives line 0.
    pub source: Option<(u32, u32)>,
}

/// An operand.
#[derive(Clone, Debug)]
pub enum Operand {
    /// Index into [`Function::registers`].
    Register(u32),
    /// `!%p`.
    Not(u32),
    /// An integer constant, sign-extended to 64 bits.
    Integer(i64),
    /// `0f3F800000`.
    Float32(u32),
    /// `0d3FF0000000000000`, and decimal constants.
    Float64(u64),
    /// The address of a variable or function, plus a byte offset.
    Symbol(String, i64),
    /// A branch target: index into [`Function::code`] (may be one past the end).
    Label(usize),
    /// `[base + offset]`.
    Address(Base, i64),
    /// `{a, b, ...}`.
    Vector(Vec<Operand>),
    /// `d|p`.
    Pair(Box<Operand>, Box<Operand>),
    /// `(a, b)`: the parameter lists of `call`. Also an address with coordinates, as tensor copies
    /// have them: `[a, {x, y}]` is the address and then the vector.
    List(Vec<Operand>),
    /// `%tid.x` and the like, with the dot, without the percent sign: `tid.x`.
    Special(String),
    /// `_`.
    Sink,
}

/// What an address is relative to.
#[derive(Clone, Debug)]
pub enum Base {
    /// Index into [`Function::registers`].
    Register(u32),
    /// A variable or parameter.
    Symbol(String),
    /// An absolute address.
    Absolute,
}
