//! PTX, the text that nvcc makes of a kernel: its syntax tree and parser.

pub mod ast;

pub use ast::{
    Base, Function, Guard, Instruction, Module, Operand, Parameter, Register, Space, Type, Variable,
};
