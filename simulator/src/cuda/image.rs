//! What a caller hands over to be loaded: a fat binary, PTX text, or machine code alone.

use std::ffi::CStr;
use std::sync::Arc;

use super::architecture::Architecture;
use super::error::{Code, Error, Result, refuse};
use crate::ptx;

/// The PTX parts of an image and the machine code beside them.
#[derive(Clone)]
pub(super) struct Image {
    parts: Arc<Vec<Part>>,
}

struct Part {
    /// For example `sm_90a`; of PTX, what it was compiled for.
    target: String,
    content: Content,
}

enum Content {
    Ptx(ptx::Module),
    /// Runs nowhere here, but tells which devices have machine code.
    MachineCode,
}

/// What a module was made from.
pub(super) struct Chosen {
    /// As in `CU_FUNC_ATTRIBUTE_PTX_VERSION`: 90 for compute_90.
    pub(super) ptx_version: i32,
    /// As in `CU_FUNC_ATTRIBUTE_BINARY_VERSION`.
    pub(super) binary_version: i32,
}

const FATBIN_MAGIC: u32 = 0xBA55_ED50;
const WRAPPER_MAGIC: u32 = 0x4662_43B1;
const ELF_MAGIC: u32 = u32::from_le_bytes(*b"\x7FELF");

/// Reads the image at an address. Its extent follows from its own header or its last NUL.
pub(super) fn read(address: usize) -> Result<Image> {
    if address == 0 {
        return refuse(Code::INVALID_VALUE, "the image is null");
    }
    let word = |offset: usize| super::ffi::array::<u32>(address + offset).get();
    match word(0)? {
        FATBIN_MAGIC => {
            let header = word(4)? >> 16;
            let size = u64::from(word(8)?) | u64::from(word(12)?) << 32;
            let bytes = header as usize + size as usize;
            parse(&super::ffi::array::<u8>(address).all(bytes)?)
        }
        // The wrapper that nvcc puts into host objects: magic, version, address of the fat binary.
        WRAPPER_MAGIC => read(super::ffi::array::<usize>(address + 8).get()?),
        ELF_MAGIC => machine_code_alone(),
        _ => {
            let text = super::ffi::array::<std::ffi::c_char>(address).text()?;
            ptx_text(&text)
        }
    }
}

/// Reads an image from a file.
pub(super) fn read_file(path: &str) -> Result<Image> {
    match std::fs::read(path) {
        Ok(bytes) => parse(&bytes),
        Err(error) => refuse(Code::FILE_NOT_FOUND, format!("{path}: {error}")),
    }
}

fn machine_code_alone<T>() -> Result<T> {
    let reason = "machine code without PTX beside it: the simulator executes PTX";
    eprintln!("simulated driver: {reason}");
    refuse(Code::NO_BINARY_FOR_GPU, reason)
}

fn parse(bytes: &[u8]) -> Result<Image> {
    match bytes.first_chunk().map(|word| u32::from_le_bytes(*word)) {
        Some(FATBIN_MAGIC) => fat_binary(bytes),
        Some(ELF_MAGIC) => machine_code_alone(),
        _ => {
            let text = CStr::from_bytes_until_nul(bytes).map_or(bytes, CStr::to_bytes);
            ptx_text(&String::from_utf8_lossy(text))
        }
    }
}

fn syntax(text: &str) -> Result<ptx::Module> {
    ptx::Module::parse(text).map_err(|reason| {
        eprintln!("simulated driver: PTX is refused: {reason}");
        Error { code: Code::INVALID_PTX, reason }
    })
}

fn ptx_text(text: &str) -> Result<Image> {
    if !text.contains(".version") {
        return refuse(Code::INVALID_IMAGE, "neither a fat binary nor PTX nor machine code");
    }
    let module = syntax(text)?;
    let part = Part { target: module.target.clone(), content: Content::Ptx(module) };
    Ok(Image { parts: Arc::new(vec![part]) })
}

fn fat_binary(_bytes: &[u8]) -> Result<Image> {
    refuse(Code::INVALID_IMAGE, "fat binaries are not read yet")
}

/// `sm_90a` as (90, "a").
fn split(target: &str) -> Option<(i32, &str)> {
    let number = target.strip_prefix("sm_").or_else(|| target.strip_prefix("compute_"))?;
    let digits = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
    Some((number[..digits].parse().ok()?, &number[digits..]))
}

/// Whether PTX for a target can be compiled for a device: an older one always, one with the suffix `a`
/// for exactly its own device (PTX ISA, `.target`).
fn ptx_fits(target: &str, card: &Architecture) -> bool {
    let device = card.major * 10 + card.minor;
    match split(target) {
        Some((number, "")) => number <= device,
        Some((number, "f")) => number <= device && number / 10 == card.major,
        Some((number, "a")) => number == device,
        _ => false,
    }
}

/// Whether machine code for a target runs on a device: the same major version, no later minor one.
fn code_fits(target: &str, card: &Architecture) -> bool {
    let device = card.major * 10 + card.minor;
    match split(target) {
        Some((number, "a")) => number == device,
        Some((number, _)) => number / 10 == card.major && number <= device,
        None => false,
    }
}

impl Image {
    /// What a driver would run on the device: the best machine code, through the PTX it was made of,
    /// or else the best PTX.
    pub(super) fn choose(&self, card: &Architecture) -> Result<(ptx::Module, Chosen)> {
        let mut best: Option<(bool, (i32, &str), &ptx::Module)> = None;
        for part in self.parts.iter() {
            let Content::Ptx(module) = &part.content else { continue };
            let has_code = self.parts.iter().any(|other| {
                matches!(other.content, Content::MachineCode)
                    && split(&other.target) == split(&part.target)
                    && code_fits(&other.target, card)
            });
            if !has_code && !ptx_fits(&part.target, card) {
                continue;
            }
            let Some(target) = split(&part.target) else { continue };
            if best.is_none_or(|(code, known, _)| (has_code, target) > (code, known)) {
                best = Some((has_code, target, module));
            }
        }
        match best {
            Some((has_code, (number, _), module)) => {
                let device = card.major * 10 + card.minor;
                let binary_version = if has_code { number } else { device };
                Ok((module.clone(), Chosen { ptx_version: number, binary_version }))
            }
            None => {
                let targets: Vec<&str> = self.parts.iter().map(|part| part.target.as_str()).collect();
                let reason = format!("{} runs none of: {}", card.name, targets.join(", "));
                refuse(Code::NO_BINARY_FOR_GPU, reason)
            }
        }
    }

    /// The names of all kernels in any part.
    pub(super) fn kernels(&self) -> Vec<String> {
        let mut names = Vec::new();
        for part in self.parts.iter() {
            if let Content::Ptx(module) = &part.content {
                let entries = module.functions.iter().filter(|function| function.entry);
                names.extend(entries.map(|function| function.name.clone()));
            }
        }
        names.sort();
        names.dedup();
        names
    }

    pub(super) fn has_kernel(&self, name: &str) -> bool {
        self.kernels().iter().any(|known| known == name)
    }
}
