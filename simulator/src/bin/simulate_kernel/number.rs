//! Numbers: their types, how they are written and shown.

use half::{bf16, f16};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Type {
    I8,
    U8,
    I16,
    U16,
    I32,
    U32,
    I64,
    U64,
    F16,
    Bf16,
    F32,
    F64,
}

const TYPES: [(&str, Type, usize); 12] = [
    ("i8", Type::I8, 1),
    ("u8", Type::U8, 1),
    ("i16", Type::I16, 2),
    ("u16", Type::U16, 2),
    ("i32", Type::I32, 4),
    ("u32", Type::U32, 4),
    ("i64", Type::I64, 8),
    ("u64", Type::U64, 8),
    ("f16", Type::F16, 2),
    ("bf16", Type::Bf16, 2),
    ("f32", Type::F32, 4),
    ("f64", Type::F64, 8),
];

impl Type {
    pub(super) fn named(name: &str) -> Result<Type, String> {
        let found = TYPES.iter().find(|(known, ..)| *known == name);
        found.map(|&(_, ty, _)| ty).ok_or_else(|| format!("`{name}` is no type"))
    }

    fn row(self) -> (&'static str, usize) {
        TYPES
            .iter()
            .find(|&&(_, ty, _)| ty == self)
            .map_or(("", 1), |&(name, _, size)| (name, size))
    }

    pub(super) fn size(self) -> usize {
        self.row().1
    }

    fn is_float(self) -> bool {
        matches!(self, Type::F16 | Type::Bf16 | Type::F32 | Type::F64)
    }

    fn float(self, value: f64) -> Vec<u8> {
        match self {
            Type::F16 => f16::from_f64(value).to_le_bytes().to_vec(),
            Type::Bf16 => bf16::from_f64(value).to_le_bytes().to_vec(),
            Type::F32 => (value as f32).to_le_bytes().to_vec(),
            _ => value.to_le_bytes().to_vec(),
        }
    }

    fn is_infinite(self, bytes: &[u8]) -> bool {
        self.shown(bytes).ends_with("inf")
    }

    /// The bytes of a number as written.
    ///
    /// # Errors
    ///
    /// It is none, or the type does not hold it.
    pub(super) fn number(self, text: &str) -> Result<Vec<u8>, String> {
        let (name, size) = self.row();
        let wrong = || format!("`{text}` is no {name}");
        if self.is_float() {
            let value: f64 = text.parse().map_err(|_| wrong())?;
            let bytes = match self {
                // Rounded once.
                Type::F32 => text.parse::<f32>().map_err(|_| wrong())?.to_le_bytes().to_vec(),
                _ => self.float(value),
            };
            let is_too_large = self.is_infinite(&bytes) && !value.is_infinite();
            // A number that f64 does not hold either, not the word.
            let is_word = text.bytes().any(|byte| byte.is_ascii_digit());
            if is_too_large || value.is_infinite() && is_word {
                return Err(format!("`{text}` is more than {name} holds"));
            }
            return Ok(bytes);
        }
        let (magnitude, negative) =
            text.strip_prefix('-').map_or((text, false), |rest| (rest, true));
        let value = match magnitude.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16),
            None => magnitude.parse(),
        };
        let value = i128::from(value.map_err(|_| wrong())?) * if negative { -1 } else { 1 };
        let bits = 8 * size as u32;
        let signed = matches!(self, Type::I8 | Type::I16 | Type::I32 | Type::I64);
        let range = match signed {
            true => -(1i128 << (bits - 1))..1 << (bits - 1),
            false => 0..1i128 << bits,
        };
        if !range.contains(&value) {
            let (first, last) = (range.start, range.end - 1);
            return Err(format!("`{text}` is no {name}, which goes from {first} to {last}"));
        }
        Ok(value.to_le_bytes()[..size].to_vec())
    }

    /// The value of `size` bytes.
    pub(super) fn shown(self, bytes: &[u8]) -> String {
        let mut wide = [0; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        let bits = u64::from_le_bytes(wide);
        match self {
            Type::F16 => f16::from_bits(bits as u16).to_string(),
            Type::Bf16 => bf16::from_bits(bits as u16).to_string(),
            Type::F32 => f32::from_bits(bits as u32).to_string(),
            Type::F64 => f64::from_bits(bits).to_string(),
            Type::I8 => (bits as i8).to_string(),
            Type::I16 => (bits as i16).to_string(),
            Type::I32 => (bits as i32).to_string(),
            Type::I64 => (bits as i64).to_string(),
            Type::U8 | Type::U16 | Type::U32 | Type::U64 => bits.to_string(),
        }
    }
}

/// Integers 0..100 or floating point -1..1, the same for the same index.
pub(super) fn random(ty: Type, index: u64) -> Vec<u8> {
    let mut mixed = index.wrapping_add(0x9E37_79B9_7F4A_7C15);
    for shift in [30, 27] {
        mixed = (mixed ^ mixed >> shift).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    }
    mixed ^= mixed >> 31;
    match ty.is_float() {
        true => ty.float((mixed >> 11) as f64 / (1u64 << 52) as f64 - 1.0),
        false => (mixed % 101).to_le_bytes()[..ty.size()].to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_their_types_bytes() {
        let rows: [(Type, &str, &[u8]); 9] = [
            (Type::I32, "-5", &(-5i32).to_le_bytes()),
            (Type::U8, "0xff", &[255]),
            (Type::I8, "-128", &[128]),
            (Type::F16, "1.5", &0x3E00u16.to_le_bytes()),
            (Type::Bf16, "-2", &0xC000u16.to_le_bytes()),
            (Type::F32, "0.25", &0.25f32.to_le_bytes()),
            // Between 1 and the next f32, nearer to it only before a first rounding to f64.
            (Type::F32, "1.00000005960464477540", &(1.0 + f32::EPSILON).to_le_bytes()),
            (Type::F64, "-inf", &f64::NEG_INFINITY.to_le_bytes()),
            (Type::U64, "0xffffffffffffffff", &[255; 8]),
        ];
        for (ty, text, bytes) in rows {
            assert_eq!(ty.number(text).as_deref(), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn random_numbers_are_within_their_range() {
        let numbers = (0..1000).map(|index| random(Type::F32, index));
        let numbers: Vec<f32> =
            numbers.map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect();
        assert!(numbers.iter().all(|number| number.abs() <= 1.0));
        assert!(numbers.iter().sum::<f32>().abs() < 100.0);
        assert!((0..1000).all(|index| random(Type::U8, index)[0] <= 100));
    }
}
