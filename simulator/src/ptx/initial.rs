//! Initial values of variables. PTX ISA, section 5.4.4 "Initializers".

use super::ast::{Type, Variable};
use super::constant::Constant;
use super::lexer::Kind;
use super::parser::Parser;

/// The most bytes that an initialiser may spell out.
const MAXIMUM_BYTES: u64 = 1 << 28;

/// One byte of an address: `0xFF00(generic(name)+4)`.
struct MaskedByte {
    at: u64,
    index: u32,
    symbol: String,
    addend: i64,
}

struct Initialiser<'a> {
    variable: &'a mut Variable,
    ty: Type,
    masked: Vec<MaskedByte>,
}

impl Initialiser<'_> {
    fn write(&mut self, at: u64, bytes: &[u8]) {
        let (start, end) = (at as usize, at as usize + bytes.len());
        if self.variable.initial.len() < end {
            self.variable.initial.resize(end, 0);
        }
        self.variable.initial[start..end].copy_from_slice(bytes);
    }
}

impl Parser<'_> {
    /// What stands behind `=`.
    pub(super) fn initialiser(
        &mut self,
        variable: &mut Variable,
        ty: Type,
        lanes: u32,
        extents: &[u64],
    ) -> Result<(), String> {
        let mut extents = extents.to_vec();
        if lanes > 1 {
            extents.push(u64::from(lanes));
        }
        let open = extents.first() == Some(&0);
        let mut initialiser = Initialiser { variable, ty, masked: Vec::new() };
        if extents.is_empty() {
            self.initial_value(&mut initialiser, 0)?;
        } else {
            let elements = self.initial_list(&mut initialiser, &extents, 0)?;
            if open {
                initialiser.variable.bytes =
                    elements * extents[1..].iter().product::<u64>() * u64::from(ty.bytes());
            }
        }
        let masked = initialiser.masked;
        self.join_masked(variable, &masked)
    }

    /// `{a, b, {c, d}}` at the byte offset `start`; gives the number of elements. `extents` is not
    /// empty; an extent of 0 is open.
    fn initial_list(
        &mut self,
        to: &mut Initialiser<'_>,
        extents: &[u64],
        start: u64,
    ) -> Result<u64, String> {
        self.expect("{")?;
        let inner = &extents[1..];
        let stride = inner.iter().product::<u64>() * u64::from(to.ty.bytes());
        let limit = if extents[0] == 0 { u64::MAX } else { extents[0] };
        let mut count = 0;
        // A flat list may fill an array of several dimensions.
        let mut flat = start;
        while !self.accept("}") {
            if count > 0 || flat > start {
                self.expect(",")?;
            }
            let at = start + count * stride;
            if at > MAXIMUM_BYTES || flat > MAXIMUM_BYTES || count >= limit {
                return self.error(&format!("too many values for `{}`", to.variable.name));
            }
            if inner.is_empty() {
                self.initial_value(to, at)?;
                count += 1;
            } else if self.sees("{") {
                self.initial_list(to, inner, at)?;
                count += 1;
                flat = start + count * stride;
            } else {
                self.initial_value(to, flat)?;
                flat += u64::from(to.ty.bytes());
                count = (flat - start).checked_div(stride).unwrap_or(0);
            }
        }
        Ok(count)
    }

    fn initial_value(&mut self, to: &mut Initialiser<'_>, at: u64) -> Result<(), String> {
        let line = self.peek().line;
        let width = to.ty.bytes() as usize;
        if self.peek().kind == Kind::Number && self.peek_second().text == "(" {
            return self.masked_byte(to, at);
        }
        if self.peek().kind == Kind::Name && !self.sees("WARP_SZ") {
            if width != 8 {
                return self.error(&format!("an address in {width} bytes"));
            }
            let (symbol, addend) = self.initial_address()?;
            to.write(at, &[0; 8]);
            to.variable.relocations.push((at, symbol, addend));
            return Ok(());
        }
        let bits = match (self.constant()?, to.ty) {
            (Constant::Float64(bits), Type::F32) => {
                u64::from((f64::from_bits(bits) as f32).to_bits())
            }
            (Constant::Float32(bits), Type::F64) => f64::from(f32::from_bits(bits)).to_bits(),
            (Constant::Integer(value), Type::F32) => u64::from((value as f32).to_bits()),
            (Constant::Integer(value), Type::F64) => (value as f64).to_bits(),
            (Constant::Integer(value), _) => value as u64,
            (Constant::Float32(bits), _) if width == 4 => u64::from(bits),
            (Constant::Float64(bits), _) if width == 8 => bits,
            (other, ty) => return Err(format!("PTX line {line}: {other:?} for a {ty:?}")),
        };
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&bits.to_le_bytes());
        to.write(at, &bytes[..width]);
        Ok(())
    }

    /// `name`, `name+4`, `generic(name)+4`.
    fn initial_address(&mut self) -> Result<(String, i64), String> {
        let line = self.peek().line;
        let mut symbol = self.name()?;
        if symbol == "generic" && self.accept("(") {
            symbol = self.name()?;
            self.expect(")")?;
        }
        let addend = match self.sees("+") || self.sees("-") {
            true => self.integer()?,
            false => 0,
        };
        self.unresolved.push((symbol.to_string(), line));
        Ok((symbol.to_string(), addend))
    }

    /// `0xFF00(generic(name)+4)`: the byte of the address that the mask selects.
    fn masked_byte(&mut self, to: &mut Initialiser<'_>, at: u64) -> Result<(), String> {
        let written = self.advance();
        self.expect("(")?;
        let (symbol, addend) = self.initial_address()?;
        self.expect(")")?;
        let mask = match super::constant::number(written.text) {
            Some(Constant::Integer(mask)) => mask as u64,
            _ => 0,
        };
        let index = mask.trailing_zeros() / 8;
        if index > 7 || mask != 0xff << (8 * index) || to.ty.bytes() != 1 {
            return self.error_behind(&format!("{} selects no byte", written.shown()));
        }
        to.write(at, &[0]);
        to.masked.push(MaskedByte { at, index, symbol, addend });
        Ok(())
    }

    /// Eight bytes of one address in order are that address.
    fn join_masked(
        &mut self,
        variable: &mut Variable,
        masked: &[MaskedByte],
    ) -> Result<(), String> {
        for bytes in masked.chunks(8) {
            let first = &bytes[0];
            let whole = bytes.len() == 8
                && bytes.iter().zip(0..8).all(|(byte, index)| {
                    byte.index == index
                        && byte.at == first.at + u64::from(index)
                        && (&byte.symbol, byte.addend) == (&first.symbol, first.addend)
                });
            if !whole {
                return self.error_behind(&format!(
                    "`{}` holds a part of the address of `{}`",
                    variable.name, first.symbol
                ));
            }
            variable.relocations.push((first.at, first.symbol.clone(), first.addend));
        }
        Ok(())
    }
}
