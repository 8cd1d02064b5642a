//! Operands of instructions. PTX ISA, sections 6 and 10.

use super::ast::{Base, Operand};
use super::body::{Body, Meaning};
use super::constant::Constant;
use super::lexer::Kind;
use super::parser::Parser;

/// How deep braces may nest.
const MAXIMUM_DEPTH: u32 = 8;

/// Special registers, without numbered ones and components. PTX ISA, section 10.
const SPECIAL: &[&str] = &[
    "tid",
    "ntid",
    "laneid",
    "warpid",
    "nwarpid",
    "ctaid",
    "nctaid",
    "smid",
    "nsmid",
    "gridid",
    "is_explicit_cluster",
    "clusterid",
    "nclusterid",
    "cluster_ctaid",
    "cluster_nctaid",
    "cluster_ctarank",
    "cluster_nctarank",
    "lanemask_eq",
    "lanemask_le",
    "lanemask_lt",
    "lanemask_ge",
    "lanemask_gt",
    "clock",
    "clock_hi",
    "clock64",
    "globaltimer",
    "globaltimer_lo",
    "globaltimer_hi",
    "total_smem_size",
    "aggr_smem_size",
    "dynamic_smem_size",
    "current_graph_exec",
];

/// Special registers that are one of a numbered row.
const NUMBERED: &[&str] = &["envreg", "pm", "reserved_smem_offset_"];

fn is_special(name: &str) -> bool {
    SPECIAL.contains(&name) || NUMBERED.iter().any(|prefix| name.starts_with(prefix))
}

fn as_operand(constant: Constant) -> Operand {
    match constant {
        Constant::Integer(value) => Operand::Integer(value),
        Constant::Float32(bits) => Operand::Float32(bits),
        Constant::Float64(bits) => Operand::Float64(bits),
    }
}

impl Parser<'_> {
    /// Everything up to the semicolon.
    pub(super) fn operands(&mut self, body: &mut Body) -> Result<Vec<Operand>, String> {
        let mut operands = Vec::new();
        while !self.sees(";") {
            if !operands.is_empty() {
                self.expect(",")?;
            }
            operands.push(self.operand(body, 0)?);
        }
        Ok(operands)
    }

    /// `(results), function, (arguments), prototype`, each part but the function optional.
    pub(super) fn call_operands(&mut self, body: &mut Body) -> Result<Vec<Operand>, String> {
        let mut results = Vec::new();
        if self.sees("(") {
            results = self.call_list(body)?;
            self.expect(",")?;
        }
        let function = match self.operand(body, 0)? {
            function @ (Operand::Register(_) | Operand::Symbol(_, 0)) => function,
            other => return self.error_behind(&format!("a call of {other:?}")),
        };
        let mut arguments = Vec::new();
        let mut rest = Vec::new();
        while self.accept(",") {
            if self.sees("(") {
                arguments = self.call_list(body)?;
            } else {
                rest.push(self.operand(body, 0)?);
            }
        }
        let mut operands = vec![Operand::List(results), function, Operand::List(arguments)];
        operands.append(&mut rest);
        Ok(operands)
    }

    fn call_list(&mut self, body: &mut Body) -> Result<Vec<Operand>, String> {
        self.expect("(")?;
        let mut operands = Vec::new();
        while !self.accept(")") {
            if !operands.is_empty() {
                self.expect(",")?;
            }
            operands.push(self.operand(body, 0)?);
        }
        Ok(operands)
    }

    fn operand(&mut self, body: &mut Body, depth: u32) -> Result<Operand, String> {
        if depth > MAXIMUM_DEPTH {
            return self.error("operands nest too deep");
        }
        if self.accept("[") {
            return self.address(body, depth);
        }
        if self.accept("{") {
            let mut parts = vec![self.operand(body, depth + 1)?];
            while self.accept(",") {
                parts.push(self.operand(body, depth + 1)?);
            }
            self.expect("}")?;
            return Ok(Operand::Vector(parts));
        }
        if self.accept("!") {
            return match self.named(body)? {
                Operand::Register(index) => Ok(Operand::Not(index)),
                other => self.error_behind(&format!("`!` before {other:?}")),
            };
        }
        if self.at_constant() {
            return Ok(as_operand(self.constant()?));
        }
        let first = self.named(body)?;
        match self.accept("|") {
            true => Ok(Operand::Pair(Box::new(first), Box::new(self.named(body)?))),
            false => Ok(first),
        }
    }

    /// A register, special register, variable, function, label or `_`.
    fn named(&mut self, body: &mut Body) -> Result<Operand, String> {
        let token = self.peek();
        let name = self.name()?;
        let next = self.peek();
        let suffixed = next.kind == Kind::Dot && next.start == token.start + name.len();
        if suffixed {
            self.advance();
        }
        if let Some(&Meaning::Register(index)) = body.lookup(name) {
            return match suffixed {
                false => Ok(Operand::Register(index)),
                true => self.error_behind(&format!("part `{}` of a register", next.text)),
            };
        }
        if name == "_" {
            return Ok(Operand::Sink);
        }
        if let Some(special) = name.strip_prefix('%').filter(|special| is_special(special)) {
            let part = if suffixed { next.text } else { "" };
            return match part {
                "" | ".x" | ".y" | ".z" | ".w" => Ok(Operand::Special(format!("{special}{part}"))),
                _ => self.error_behind(&format!("`{name}` has no part `{part}`")),
            };
        }
        if name.starts_with('%') {
            return Err(format!("PTX line {}: nothing is called `{name}`", token.line));
        }
        if suffixed {
            return self.error_behind(&format!("unexpected `{}`", next.text));
        }
        let symbol = match body.lookup(name) {
            Some(Meaning::Variable(unique)) => unique.clone(),
            _ => {
                body.unknown.push(name.to_string());
                name.to_string()
            }
        };
        let offset = if self.sees("+") || self.sees("-") { self.integer()? } else { 0 };
        Ok(Operand::Symbol(symbol, offset))
    }

    /// `[base+offset]`, or with coordinates `[base, {x, y}]`, from behind the bracket.
    fn address(&mut self, body: &mut Body, depth: u32) -> Result<Operand, String> {
        let address = if self.at_constant() {
            Operand::Address(Base::Absolute, self.integer()?)
        } else {
            match self.named(body)? {
                Operand::Register(index) => {
                    let signed = self.sees("+") || self.sees("-");
                    let offset = if signed { self.integer()? } else { 0 };
                    Operand::Address(Base::Register(index), offset)
                }
                Operand::Symbol(name, offset) => Operand::Address(Base::Symbol(name), offset),
                Operand::Sink => Operand::Sink,
                other => return self.error_behind(&format!("{other:?} is no address")),
            }
        };
        let mut parts = vec![address];
        while self.accept(",") {
            parts.push(self.operand(body, depth + 1)?);
        }
        self.expect("]")?;
        match parts.len() {
            1 => Ok(parts.swap_remove(0)),
            _ => Ok(Operand::List(parts)),
        }
    }
}
