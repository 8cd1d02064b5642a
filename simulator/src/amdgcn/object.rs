//! Code objects: ELF files with machine code, a descriptor and metadata for each kernel (LLVM, "User
//! Guide for AMDGPU Backend", "Code Object").

use object::elf::{EM_AMDGPU, NoteType, OsAbi};
use object::read::elf::{ElfFile64, FileHeader, ProgramHeader};
use object::{LittleEndian, Object, ObjectSymbol};
use rmpv::Value;

use super::decode::Architecture;
use super::lines::{Line, Lines};
use crate::engine::{Kernel, ParameterLayout};

/// A kernel as the object describes it.
pub(super) struct Description {
    pub(super) kernel: Kernel,
    /// Where hidden arguments go: their kind and place.
    pub(super) hidden: Vec<(String, u32, u32)>,
    pub(super) kernarg_bytes: u32,
    pub(super) code: Vec<u8>,
    /// The source line of each word of the code, in builds with line information.
    pub(super) lines: Vec<Option<Line>>,
    pub(super) descriptor: Descriptor,
}

/// What a kernel's descriptor asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Descriptor {
    pub(super) user_sgprs: u32,
    pub(super) properties: u16,
    /// Which of the workgroup's numbers come in scalar registers: x, y, z, and the information word.
    pub(super) group_ids: [bool; 4],
}

/// Of the metadata's note, and of the ELF file (LLVM, "ELF Code Object").
const NT_AMDGPU_METADATA: NoteType = NoteType(32);
const ELFOSABI_AMDGPU_HSA: OsAbi = OsAbi(64);

/// EF_AMDGPU_MACH, the low byte of the ELF flags.
const PROCESSORS: [(u32, &str); 3] = [(0x3F, "gfx90a"), (0x4C, "gfx942"), (0x4F, "gfx950")];

/// Any code object.
pub(super) type Elf<'a> = ElfFile64<'a, LittleEndian>;

fn parse(image: &[u8]) -> Result<Elf<'_>, String> {
    let elf = Elf::parse(image).map_err(|error| format!("no ELF file: {error}"))?;
    let header = elf.elf_header();
    let machine = header.e_machine(LittleEndian);
    if machine != EM_AMDGPU || header.e_ident().os_abi != ELFOSABI_AMDGPU_HSA {
        return Err(format!("ELF machine {machine}, not an AMDGPU code object"));
    }
    Ok(elf)
}

/// The processor of a code object: `gfx942`.
pub fn processor(image: &[u8]) -> Option<&'static str> {
    let flags = parse(image).ok()?.elf_header().e_flags(LittleEndian).0;
    let of = |(number, name): &(u32, &'static str)| (*number == flags & 0xFF).then_some(*name);
    PROCESSORS.iter().find_map(of)
}

/// The bytes of the ELF file that begins with this header: its section headers are last.
pub fn image_bytes(header: &[u8; 64]) -> Option<u64> {
    let number = |at: usize, bytes: usize| {
        header[at..at + bytes].iter().rev().fold(0u64, |sum, &byte| sum << 8 | u64::from(byte))
    };
    let is_elf = header.starts_with(b"\x7FELF") && header[4] == 2 && number(18, 2) == 224;
    is_elf.then(|| number(40, 8).checked_add(number(58, 2) * number(60, 2))).flatten()
}

/// Reads every kernel of a code object.
pub(super) fn read(image: &[u8]) -> Result<(Architecture, Vec<Description>), String> {
    let elf = parse(image)?;
    let flags = elf.elf_header().e_flags(LittleEndian).0;
    let architecture = processor(image)
        .and_then(Architecture::from_name)
        .ok_or_else(|| format!("processor {:#x} is not modelled", flags & 0xFF))?;
    let metadata = metadata(&elf)?;
    let kernels = field(&metadata, "amdhsa.kernels").and_then(Value::as_array);
    let kernels = kernels.ok_or("the metadata lists no kernels")?;
    let lines = Lines::read(&elf);
    let described = kernels.iter().map(|kernel| describe(&elf, &lines, kernel));
    Ok((architecture, described.collect::<Result<_, _>>()?))
}

fn metadata(elf: &Elf<'_>) -> Result<Value, String> {
    let what = |error: object::Error| format!("metadata: {error}");
    for segment in elf.elf_program_headers() {
        let Some(mut notes) = segment.notes(LittleEndian, elf.data()).map_err(what)? else {
            continue;
        };
        while let Some(note) = notes.next().map_err(what)? {
            if note.n_type(LittleEndian) == NT_AMDGPU_METADATA {
                return rmpv::decode::read_value(&mut note.desc())
                    .map_err(|error| format!("metadata: {error}"));
            }
        }
    }
    Err("no metadata".to_owned())
}

fn field<'a>(map: &'a Value, name: &str) -> Option<&'a Value> {
    map.as_map()?.iter().find(|(key, _)| key.as_str() == Some(name)).map(|(_, value)| value)
}

fn text(map: &Value, name: &str) -> Result<String, String> {
    let found = field(map, name).and_then(Value::as_str);
    found.map(str::to_owned).ok_or_else(|| format!("metadata: no text {name}"))
}

fn number(map: &Value, name: &str) -> Result<u32, String> {
    let found = field(map, name).and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok());
    found.ok_or_else(|| format!("metadata: no number {name}"))
}

/// The bytes of the loaded image from an address on.
fn bytes_at<'a>(elf: &Elf<'a>, address: u64, count: u64) -> Result<&'a [u8], String> {
    for segment in elf.elf_program_headers() {
        if let Ok(Some(bytes)) = segment.data_range(LittleEndian, elf.data(), address, count) {
            return Ok(bytes);
        }
    }
    Err(format!("{count} bytes at {address:#x} are in no segment"))
}

fn symbol(elf: &Elf<'_>, name: &str) -> Result<(u64, u64), String> {
    let symbols = elf.dynamic_symbols().chain(elf.symbols());
    let mut found = symbols.filter(|symbol| symbol.name() == Ok(name));
    let symbol = found.next().ok_or_else(|| format!("no symbol {name}"))?;
    Ok((symbol.address(), symbol.size()))
}

fn describe(elf: &Elf<'_>, lines: &Lines, kernel: &Value) -> Result<Description, String> {
    let name = text(kernel, ".name")?;
    let wrong = |what: String| format!("{name}: {what}");
    if number(kernel, ".wavefront_size")? != 64 {
        return Err(wrong("waves of 32 lanes are not modelled".to_owned()));
    }
    if number(kernel, ".private_segment_fixed_size")? != 0 {
        return Err(wrong("scratch memory is not modelled".to_owned()));
    }
    let (mut parameters, mut hidden) = (Vec::new(), Vec::new());
    for argument in field(kernel, ".args").and_then(Value::as_array).into_iter().flatten() {
        let (offset, bytes) = (number(argument, ".offset")?, number(argument, ".size")?);
        let kind = text(argument, ".value_kind")?;
        if kind.starts_with("hidden_") {
            hidden.push((kind, offset, bytes));
        } else {
            let align = bytes.clamp(1, 8).next_power_of_two();
            parameters.push(ParameterLayout { offset, bytes, align });
        }
    }
    let (start, size) = symbol(elf, &text(kernel, ".symbol")?)?;
    let raw = bytes_at(elf, start, size.max(64))?;
    let (entry, descriptor) = descriptor(raw).map_err(wrong)?;
    let (code_start, code_size) = symbol(elf, &name)?;
    if start.wrapping_add_signed(entry) != code_start {
        return Err(wrong("the descriptor's entry is not the function".to_owned()));
    }
    let end = |layout: &ParameterLayout| layout.offset + layout.bytes;
    Ok(Description {
        kernel: Kernel {
            parameter_bytes: parameters.iter().map(end).max().unwrap_or(0),
            parameters,
            static_shared_bytes: number(kernel, ".group_segment_fixed_size")?,
            local_bytes: 0,
            registers: number(kernel, ".vgpr_count")?,
            max_threads: number(kernel, ".max_flat_workgroup_size")?,
            const_bytes: 0,
            cluster: None,
            name,
        },
        hidden,
        kernarg_bytes: number(kernel, ".kernarg_segment_size")?,
        code: bytes_at(elf, code_start, code_size)?.to_owned(),
        lines: (0..code_size / 4).map(|word| lines.at(code_start + 4 * word)).collect(),
        descriptor,
    })
}

/// LLVM, "Kernel Descriptor": the offset of the code, and what the wave starts with. Modes other than
/// rounding to nearest even, subnormals kept and IEEE NaNs are refused.
fn descriptor(raw: &[u8]) -> Result<(i64, Descriptor), String> {
    let word = |at: usize| {
        let bytes = raw.get(at..at + 4).and_then(|bytes| bytes.first_chunk::<4>());
        bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
    };
    let entry = u64::from(word(16)) | u64::from(word(20)) << 32;
    let (mode, setup) = (word(48), word(52));
    let rounding = mode >> 12 & 15;
    let subnormals = mode >> 16 & 15;
    let ieee = mode >> 23 & 1;
    if (rounding, subnormals, ieee) != (0, 15, 1) {
        return Err(format!(
            "rounding {rounding}, subnormals {subnormals}, IEEE {ieee}: modelled are 0, 15, 1"
        ));
    }
    let properties = word(56) as u16;
    if properties >> 10 & 1 == 1 {
        return Err("waves of 32 lanes are not modelled".to_owned());
    }
    if word(56) >> 16 != 0 {
        return Err("preloaded arguments are not modelled".to_owned());
    }
    let group_ids = [7, 8, 9, 10].map(|bit| setup >> bit & 1 == 1);
    let descriptor = Descriptor { user_sgprs: setup >> 1 & 31, properties, group_ids };
    Ok((entry as i64, descriptor))
}
