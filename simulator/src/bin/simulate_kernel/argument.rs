//! Kernel arguments: how they are written, built and shown.

use expertile_simulator::engine::ParameterLayout;
use expertile_simulator::memory::Memory;
use half::{bf16, f16};

/// Values of a result buffer that are shown.
const SHOWN: usize = 32;
/// The most bytes of one buffer.
const MAXIMUM_BYTES: usize = 1 << 34;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Type {
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
    fn named(name: &str) -> Result<Type, String> {
        let found = TYPES.iter().find(|(known, ..)| *known == name);
        found.map(|&(_, ty, _)| ty).ok_or_else(|| format!("`{name}` is no type"))
    }

    fn row(self) -> (&'static str, usize) {
        TYPES
            .iter()
            .find(|&&(_, ty, _)| ty == self)
            .map_or(("", 1), |&(name, _, size)| (name, size))
    }

    fn size(self) -> usize {
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

    fn number(self, text: &str) -> Result<Vec<u8>, String> {
        let (name, size) = self.row();
        let wrong = || format!("`{text}` is no {name}");
        if self.is_float() {
            return Ok(self.float(text.parse().map_err(|_| wrong())?));
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
            return Err(wrong());
        }
        Ok(value.to_le_bytes()[..size].to_vec())
    }

    /// The value of `size` bytes.
    fn shown(self, bytes: &[u8]) -> String {
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

/// A buffer that is shown or written to a file after the launch.
struct Buffer {
    written_as: String,
    address: u64,
    bytes: usize,
    ty: Type,
    file: Option<String>,
}

/// The arguments of one launch, with their buffers in its memory.
pub(super) struct Arguments {
    values: Vec<Vec<u8>>,
    buffers: Vec<Buffer>,
}

/// Integers 0..100 or floating point -1..1, the same for the same index.
fn random(ty: Type, index: u64) -> Vec<u8> {
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

impl Arguments {
    /// Reads the arguments as written and allocates their buffers.
    pub(super) fn build(written: &[String], memory: &mut Memory) -> Result<Arguments, String> {
        let mut arguments = Arguments { values: Vec::new(), buffers: Vec::new() };
        for text in written {
            let value = match text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
                Some(fields) => arguments.structure(fields, memory)?,
                None => arguments.plain(text, memory)?,
            };
            arguments.values.push(value);
        }
        Ok(arguments)
    }

    fn structure(&mut self, fields: &str, memory: &mut Memory) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        let mut align = 1;
        for field in fields.split(',') {
            let value = self.plain(field.trim(), memory)?;
            align = align.max(value.len());
            bytes.resize(bytes.len().next_multiple_of(value.len()), 0);
            bytes.extend(value);
        }
        bytes.resize(bytes.len().next_multiple_of(align), 0);
        Ok(bytes)
    }

    fn plain(&mut self, text: &str, memory: &mut Memory) -> Result<Vec<u8>, String> {
        if let Some(file) = text.strip_prefix('@') {
            let content = std::fs::read(file).map_err(|error| format!("{file}: {error}"))?;
            let address = allocate(memory, text, content.len())?;
            memory.write(address, &content).map_err(|error| format!("{text}: {error:?}"))?;
            return Ok(address.to_le_bytes().to_vec());
        }
        let (kind, rest) =
            text.split_once(':').ok_or_else(|| format!("argument `{text}` has no type"))?;
        if !["out", "zero", "rand"].contains(&kind) {
            return Type::named(kind)?.number(rest);
        }
        let (rest, file) = match rest.split_once('@') {
            Some((rest, file)) => (rest, Some(file.to_string())),
            None => (rest, None),
        };
        let (ty, count) = rest.split_once(':').ok_or_else(|| format!("`{text}` has no count"))?;
        let ty = Type::named(ty)?;
        let count: usize = count.parse().map_err(|_| format!("`{count}` is no count"))?;
        let bytes = count.checked_mul(ty.size()).filter(|&bytes| bytes <= MAXIMUM_BYTES);
        let bytes = bytes.ok_or_else(|| format!("`{text}` is too large"))?;
        let address = allocate(memory, text, bytes)?;
        let first: Option<Vec<u8>> = match kind {
            "zero" => Some(vec![0; bytes]),
            "rand" => {
                let start = (self.buffers.len() as u64) << 40;
                Some((0..count as u64).flat_map(|index| random(ty, start + index)).collect())
            }
            _ => None,
        };
        if let Some(first) = first {
            memory.write(address, &first).map_err(|error| format!("{text}: {error:?}"))?;
        }
        self.buffers.push(Buffer { written_as: text.to_string(), address, bytes, ty, file });
        Ok(address.to_le_bytes().to_vec())
    }

    /// The parameter space of a launch.
    pub(super) fn pack(&self, layout: &[ParameterLayout]) -> Result<Vec<u8>, String> {
        if layout.len() != self.values.len() {
            return Err(format!("{} arguments for {} parameters", self.values.len(), layout.len()));
        }
        let mut packed = Vec::new();
        for (index, (parameter, value)) in layout.iter().zip(&self.values).enumerate() {
            if parameter.bytes as usize != value.len() {
                return Err(format!(
                    "argument {index} has {} bytes, its parameter {}",
                    value.len(),
                    parameter.bytes
                ));
            }
            packed.resize(parameter.offset as usize, 0);
            packed.extend(value);
        }
        Ok(packed)
    }

    /// The bytes of every result buffer.
    pub(super) fn results(&self, memory: &Memory) -> Result<Vec<Vec<u8>>, String> {
        let read = |buffer: &Buffer| {
            let mut bytes = vec![0; buffer.bytes];
            let done = memory.read(buffer.address, &mut bytes);
            done.map(|()| bytes).map_err(|error| format!("{}: {error:?}", buffer.written_as))
        };
        self.buffers.iter().map(read).collect()
    }

    /// Prints the results, or writes them to their files.
    pub(super) fn show(&self, results: &[Vec<u8>]) -> Result<(), String> {
        for (buffer, bytes) in self.buffers.iter().zip(results) {
            if let Some(file) = &buffer.file {
                std::fs::write(file, bytes).map_err(|error| format!("{file}: {error}"))?;
                continue;
            }
            let elements = bytes.chunks_exact(buffer.ty.size());
            let rest = if elements.len() > SHOWN { " ..." } else { "" };
            let shown: Vec<_> = elements.take(SHOWN).map(|bytes| buffer.ty.shown(bytes)).collect();
            println!("{}: {}{rest}", buffer.written_as, shown.join(" "));
        }
        Ok(())
    }
}

fn allocate(memory: &mut Memory, text: &str, bytes: usize) -> Result<u64, String> {
    // An empty buffer still has an address.
    memory.allocate(bytes.max(1) as u64).map_err(|error| format!("{text}: {error:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(written: &[&str]) -> Result<(Arguments, Memory), String> {
        let mut memory = Memory::new(1 << 33, 1 << 30);
        let written: Vec<String> = written.iter().map(|text| text.to_string()).collect();
        Ok((Arguments::build(&written, &mut memory)?, memory))
    }

    #[test]
    fn numbers_have_their_types_bytes() {
        let (arguments, _) =
            build(&["i32:-5", "u8:0xff", "f16:1.5", "bf16:-2", "f32:0.25", "u64:0x10"]).unwrap();
        assert_eq!(arguments.values[0], (-5i32).to_le_bytes());
        assert_eq!(arguments.values[1], [255]);
        assert_eq!(arguments.values[2], 0x3E00u16.to_le_bytes());
        assert_eq!(arguments.values[3], 0xC000u16.to_le_bytes());
        assert_eq!(arguments.values[4], 0.25f32.to_le_bytes());
        assert_eq!(arguments.values[5], 16u64.to_le_bytes());
        for wrong in
            ["i8:128", "u8:-1", "u32:x", "f32:", "i32", "out:f32", "out:f99:1", "rand:f64:-1"]
        {
            assert!(build(&[wrong]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn buffers_start_as_asked() {
        let (arguments, memory) = build(&["zero:i32:3", "rand:f32:1000", "out:u8:2"]).unwrap();
        let results = arguments.results(&memory).unwrap();
        assert_eq!(results[0], [0; 12]);
        let random: Vec<f32> =
            results[1].chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        assert!(random.iter().all(|value| value.abs() <= 1.0));
        assert!(random.iter().sum::<f32>().abs() < 100.0);
        assert_eq!(results[2], [255; 2]);
    }

    #[test]
    fn structures_are_padded() {
        let (arguments, _) = build(&["{u8:1,out:f32:4,i32:7}"]).unwrap();
        let value = &arguments.values[0];
        assert_eq!((value.len(), value[0], value[16]), (24, 1, 7));
        let layout = [ParameterLayout { offset: 0, bytes: 24, align: 8 }];
        assert_eq!(arguments.pack(&layout).unwrap().len(), 24);
        assert!(arguments.pack(&[]).unwrap_err().contains("1 arguments for 0"));
    }
}
