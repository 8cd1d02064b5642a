//! PTX, the text that nvcc makes of a kernel: its syntax tree and parser.

pub mod ast;
mod body;
mod constant;
mod initial;
mod lexer;
mod operand;
mod parser;
#[cfg(test)]
mod tests;
mod variable;

pub use ast::{
    Base, Function, Guard, Instruction, Module, Operand, Parameter, Register, Space, Type, Variable,
};
