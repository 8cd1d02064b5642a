//! Kernel arguments: how they are written, and the bytes that a kernel gets.

use expertile_simulator::engine::ParameterLayout;
use expertile_simulator::tensor_map::Tiled;

use super::buffer::Buffers;
use super::number::Type;
use super::tensor_map;

/// How deep a struct may be within others.
const DEEPEST: u32 = 16;

/// One argument, or a field of one.
enum Argument {
    Number(Vec<u8>),
    /// The address of the buffer of that number.
    Pointer(usize),
    /// A tensor map of the buffer of that number.
    Map(usize, Tiled),
    Struct(Vec<Argument>),
}

/// The arguments of a launch.
pub(super) struct Arguments {
    list: Vec<Argument>,
    pub(super) buffers: Buffers,
}

impl Arguments {
    /// Reads the arguments as written, and their files.
    pub(super) fn read(written: &[String]) -> Result<Arguments, String> {
        let mut arguments = Arguments { list: Vec::new(), buffers: Buffers::default() };
        for (index, text) in written.iter().enumerate() {
            let argument = Argument::read(text, &mut arguments.buffers, 0);
            let argument = argument.map_err(|error| format!("argument {index} `{text}`: {error}"));
            arguments.list.push(argument?);
        }
        Ok(arguments)
    }

    /// The bytes of a launch's parameters, for buffers at these addresses.
    pub(super) fn pack(
        &self,
        layout: &[ParameterLayout],
        addresses: &[u64],
    ) -> Result<Vec<u8>, String> {
        if layout.len() != self.list.len() {
            let sizes: Vec<String> = layout.iter().map(|it| it.bytes.to_string()).collect();
            return Err(format!(
                "{} arguments, expected {} of [{}] bytes",
                self.list.len(),
                layout.len(),
                sizes.join(", ")
            ));
        }
        let mut packed = Vec::new();
        for (index, (parameter, argument)) in layout.iter().zip(&self.list).enumerate() {
            let mut value = Vec::new();
            argument.append(&mut value, addresses);
            let (given, expected) = (value.len(), parameter.bytes);
            if expected as usize != given {
                return Err(format!("argument {index} has {given} bytes, expected {expected}"));
            }
            packed.resize(parameter.offset as usize, 0);
            packed.extend(value);
        }
        Ok(packed)
    }
}

impl Argument {
    fn read(text: &str, buffers: &mut Buffers, depth: u32) -> Result<Argument, String> {
        if text.starts_with('@') {
            return buffers.file(text).map(Argument::Pointer);
        }
        let (kind, rest) = text.split_once(':').ok_or("no type: TYPE:VALUE is expected")?;
        match kind {
            "out" | "zero" | "rand" => buffers.room(text, kind, rest).map(Argument::Pointer),
            "tma" => {
                let (file, map) = tensor_map::read(rest)?;
                Ok(Argument::Map(buffers.file(file)?, map))
            }
            "tmap" => {
                let (file, map) = tensor_map::read(rest)?;
                let of = buffers.file(file)?;
                buffers.map(text, of, map).map(Argument::Pointer)
            }
            "struct" => {
                if depth == DEEPEST {
                    return Err(format!("structs in more than {DEEPEST} others"));
                }
                let read = |field| {
                    let read = Argument::read(field, buffers, depth + 1);
                    read.map_err(|error| format!("`{field}`: {error}"))
                };
                fields(rest)?.into_iter().map(read).collect::<Result<_, _>>().map(Argument::Struct)
            }
            _ => Type::named(kind)?.number(rest).map(Argument::Number),
        }
    }

    /// As C aligns it.
    fn align(&self) -> usize {
        match self {
            Argument::Number(bytes) => bytes.len(),
            Argument::Pointer(_) => 8,
            Argument::Map(..) => 64,
            Argument::Struct(fields) => fields.iter().map(Argument::align).max().unwrap_or(1),
        }
    }

    /// Adds its bytes where its alignment lets it begin, and those behind the last field of a struct.
    fn append(&self, bytes: &mut Vec<u8>, addresses: &[u64]) {
        bytes.resize(bytes.len().next_multiple_of(self.align()), 0);
        match self {
            Argument::Number(value) => bytes.extend(value),
            Argument::Pointer(buffer) => bytes.extend(addresses[*buffer].to_le_bytes()),
            Argument::Map(buffer, map) => {
                bytes.extend(Tiled { address: addresses[*buffer], ..map.clone() }.encode());
            }
            Argument::Struct(fields) => {
                fields.iter().for_each(|field| field.append(bytes, addresses));
                bytes.resize(bytes.len().next_multiple_of(self.align()), 0);
            }
        }
    }
}

/// The arguments in `[A,B,...]`. A comma before a digit is one of a list within an argument: no argument
/// begins with a digit.
fn fields(text: &str) -> Result<Vec<&str>, String> {
    let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let inner = inner.ok_or_else(|| format!("`{text}` is not in brackets"))?;
    let (mut found, mut start, mut depth) = (Vec::new(), 0, 0i32);
    for (at, byte) in inner.bytes().enumerate() {
        match byte {
            b'[' => depth += 1,
            b']' => depth -= 1,
            b',' if depth == 0 && !inner[at + 1..].starts_with(|c: char| c.is_ascii_digit()) => {
                found.push(&inner[start..at]);
                start = at + 1;
            }
            _ => {}
        }
        if depth < 0 {
            break;
        }
    }
    if depth != 0 {
        return Err(format!("the brackets of `{text}` do not match"));
    }
    found.push(&inner[start..]);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack(text: &str, bytes: u32) -> Result<Vec<u8>, String> {
        let arguments = Arguments::read(&[text.to_owned()])?;
        let layout = [ParameterLayout { offset: 0, bytes, align: 8 }];
        arguments.pack(&layout, &[0xA000, 0xB000])
    }

    #[test]
    fn structs_are_laid_out_as_in_c() {
        let packed = pack("struct:[u8:1,out:f32:4,struct:[i16:2,u8:3],u8:4]", 24).unwrap();
        assert_eq!((packed[0], &packed[8..10]), (1, &[0, 0xA0][..]));
        assert_eq!(packed[16..], [2, 0, 3, 0, 4, 0, 0, 0]);
        assert_eq!(pack("struct:[u8:1,struct:[f64:0],u8:1]", 24).unwrap().len(), 24);
        assert_eq!(pack("struct:[u8:1,u8:2,u8:3]", 3), Ok(vec![1, 2, 3]));
    }

    #[test]
    fn arguments_lie_where_their_parameters_are() {
        let written = ["u8:1", "i32:-2", "out:u8:1"].map(String::from);
        let arguments = Arguments::read(&written).unwrap();
        let layout = [(0, 1), (4, 4), (8, 8)];
        let layout = layout.map(|(offset, bytes)| ParameterLayout { offset, bytes, align: bytes });
        let packed = arguments.pack(&layout, &[0xA000]).unwrap();
        assert_eq!(packed, [1, 0, 0, 0, 254, 255, 255, 255, 0, 0xA0, 0, 0, 0, 0, 0, 0]);
        let wrong = arguments.pack(&layout[..2], &[0xA000]);
        assert_eq!(wrong, Err("3 arguments, expected 2 of [1, 4] bytes".to_owned()));
    }

    #[test]
    fn sizes_are_those_of_the_parameters() {
        let wrong = pack("i32:1", 8);
        assert_eq!(wrong, Err("argument 0 has 4 bytes, expected 8".to_owned()));
        let nested = format!("{}u8:1{}", "struct:[".repeat(20), "]".repeat(20));
        assert!(pack(&nested, 1).unwrap_err().contains("more than 16"));
    }
}
