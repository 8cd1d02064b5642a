//! Constants and constant expressions. PTX ISA, section 4.5 "Constants".

use super::lexer::Kind;
use super::parser::Parser;

/// How deep parentheses may nest.
const MAXIMUM_DEPTH: u32 = 64;

/// A constant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Constant {
    /// 64 bits.
    Integer(i64),
    /// `0f` and eight digits.
    Float32(u32),
    /// `0d` and sixteen digits, or a decimal fraction.
    Float64(u64),
}

/// Reads one number as written.
pub(super) fn number(written: &str) -> Option<Constant> {
    let digits = written.strip_suffix('U').unwrap_or(written);
    let radix = |text: &str, radix| {
        u64::from_str_radix(text, radix).ok().map(|value| Constant::Integer(value as i64))
    };
    match written.as_bytes() {
        [b'0', b'f' | b'F', bits @ ..] if bits.len() == 8 => {
            u32::from_str_radix(&written[2..], 16).ok().map(Constant::Float32)
        }
        [b'0', b'd' | b'D', bits @ ..] if bits.len() == 16 => {
            u64::from_str_radix(&written[2..], 16).ok().map(Constant::Float64)
        }
        [b'0', b'x' | b'X', ..] => radix(&digits[2..], 16),
        [b'0', b'b' | b'B', ..] => radix(&digits[2..], 2),
        _ if written.contains(['.', 'e', 'E']) => {
            written.parse::<f64>().ok().map(|value| Constant::Float64(value.to_bits()))
        }
        [b'0', _, ..] => radix(digits, 8),
        _ => radix(digits, 10),
    }
}

/// How strongly a binary operator binds; none for anything else.
fn strength(mark: &str) -> Option<u32> {
    Some(match mark {
        "*" | "/" | "%" => 6,
        "+" | "-" => 5,
        "<<" | ">>" => 4,
        "&" => 3,
        "^" => 2,
        "|" => 1,
        _ => return None,
    })
}

fn combine(mark: &str, a: i64, b: i64) -> Option<i64> {
    let shift = u32::try_from(b).ok().filter(|&bits| bits < 64);
    match mark {
        "*" => Some(a.wrapping_mul(b)),
        "/" => a.checked_div(b),
        "%" => a.checked_rem(b),
        "+" => Some(a.wrapping_add(b)),
        "-" => Some(a.wrapping_sub(b)),
        "<<" => shift.map(|bits| a << bits),
        ">>" => shift.map(|bits| a >> bits),
        "&" => Some(a & b),
        "^" => Some(a ^ b),
        _ => Some(a | b),
    }
}

impl Parser<'_> {
    /// Whether a constant expression starts here.
    pub(super) fn at_constant(&self) -> bool {
        let token = self.peek();
        token.kind == Kind::Number
            || token.text == "WARP_SZ"
            || (token.kind == Kind::Mark && matches!(token.text, "-" | "+" | "~" | "("))
    }

    /// A constant expression.
    pub(super) fn constant(&mut self) -> Result<Constant, String> {
        self.binary(0, 0)
    }

    /// A constant expression of integers.
    pub(super) fn integer(&mut self) -> Result<i64, String> {
        let line = self.peek().line;
        match self.constant()? {
            Constant::Integer(value) => Ok(value),
            other => Err(format!("PTX line {line}: expected an integer, found {other:?}")),
        }
    }

    /// A count or size: an integer from 0 to `u32::MAX`.
    pub(super) fn count(&mut self) -> Result<u32, String> {
        let line = self.peek().line;
        let value = self.integer()?;
        u32::try_from(value).map_err(|_| format!("PTX line {line}: {value} is no count"))
    }

    fn binary(&mut self, weakest: u32, depth: u32) -> Result<Constant, String> {
        let mut left = self.unary(depth)?;
        loop {
            let mark = self.peek();
            let Some(own) = strength(mark.text).filter(|&own| own > weakest) else {
                return Ok(left);
            };
            let Constant::Integer(a) = left else { return Ok(left) };
            self.advance();
            let right = self.binary(own, depth)?;
            let value = match right {
                Constant::Integer(b) => combine(mark.text, a, b),
                _ => None,
            };
            left = Constant::Integer(value.ok_or_else(|| {
                format!("PTX line {}: {a} {} {right:?} has no value", mark.line, mark.text)
            })?);
        }
    }

    fn unary(&mut self, depth: u32) -> Result<Constant, String> {
        if depth > MAXIMUM_DEPTH {
            return self.error("an expression nests too deep");
        }
        let token = self.advance();
        let value = match token.text {
            "+" => return self.unary(depth + 1),
            "-" => Some(match self.unary(depth + 1)? {
                Constant::Integer(value) => Constant::Integer(value.wrapping_neg()),
                Constant::Float32(bits) => Constant::Float32(bits ^ 1 << 31),
                Constant::Float64(bits) => Constant::Float64(bits ^ 1 << 63),
            }),
            "~" => match self.unary(depth + 1)? {
                Constant::Integer(value) => Some(Constant::Integer(!value)),
                _ => None,
            },
            "(" => {
                let value = self.binary(0, depth + 1)?;
                self.expect(")")?;
                Some(value)
            }
            "WARP_SZ" => Some(Constant::Integer(32)),
            _ if token.kind == Kind::Number => number(token.text),
            _ => None,
        };
        value.ok_or_else(|| {
            format!("PTX line {}: expected a constant, found {}", token.line, token.shown())
        })
    }
}
