//! What a caller hands over to be loaded: a fat binary, PTX text, or machine code alone.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::sync::{Arc, Mutex, PoisonError};

use super::architecture::Architecture;
use super::error::{Code, Error, Result, refuse};
use crate::{fatbin, ptx};

/// The PTX parts of an image.
#[derive(Clone)]
pub(crate) struct Image {
    parts: Arc<Vec<ptx::Module>>,
    /// What there is machine code for: 90 for sm_90a.
    machine_code: Arc<Vec<u32>>,
}

/// What a module was made from.
pub(crate) struct Chosen {
    /// As in `CU_FUNC_ATTRIBUTE_PTX_VERSION`: 90 for compute_90.
    pub(crate) ptx_version: i32,
    /// As in `CU_FUNC_ATTRIBUTE_BINARY_VERSION`.
    pub(crate) binary_version: i32,
}

const WRAPPER_MAGIC: u32 = 0x4662_43B1;
const ELF_MAGIC: u32 = u32::from_le_bytes(*b"\x7FELF");

/// Reads the image at an address. Its extent follows from its own header or its last NUL.
pub(crate) fn read(address: usize) -> Result<Image> {
    if address == 0 {
        return refuse(Code::INVALID_VALUE, "the image is null");
    }
    let word = |offset: usize| super::ffi::array::<u32>(address + offset).get();
    match word(0)? {
        fatbin::MAGIC => {
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
pub(crate) fn read_file(path: &str) -> Result<Image> {
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
        Some(fatbin::MAGIC) => fat_binary(bytes),
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
    Ok(Image { parts: Arc::new(vec![module]), machine_code: Arc::default() })
}

/// Fat binaries that were read: programs open a device more than once, and load the same each time.
static KNOWN: Mutex<BTreeMap<Vec<u8>, Image>> = Mutex::new(BTreeMap::new());

fn fat_binary(bytes: &[u8]) -> Result<Image> {
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(image) = known().get(bytes) {
        return Ok(image.clone());
    }
    let image = read_fat_binary(bytes)?;
    known().insert(bytes.to_vec(), image.clone());
    Ok(image)
}

fn read_fat_binary(bytes: &[u8]) -> Result<Image> {
    let invalid = |reason| {
        eprintln!("simulated driver: {reason}");
        Error { code: Code::INVALID_IMAGE, reason }
    };
    let texts = fatbin::ptx_texts(bytes).map_err(invalid)?;
    let machine_code = Arc::new(fatbin::machine_code(bytes).map_err(invalid)?);
    let modules: Result<Vec<ptx::Module>> = texts.iter().map(|part| syntax(&part.text)).collect();
    Ok(Image { parts: Arc::new(modules?), machine_code })
}

/// Whether PTX may not be compiled (CUDA C++ Programming Guide, "CUDA Environment Variables").
fn compilation_is_disabled() -> bool {
    std::env::var_os("CUDA_DISABLE_PTX_JIT").is_some_and(|value| value == "1")
}

/// `sm_90a` as (90, "a").
pub(crate) fn split(target: &str) -> Option<(i32, &str)> {
    let number = target.strip_prefix("sm_").or_else(|| target.strip_prefix("compute_"))?;
    let digits = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
    Some((number[..digits].parse().ok()?, &number[digits..]))
}

/// Whether PTX for a target can be compiled for a device: an older one always, one with the suffix `a`
/// for exactly its own device (PTX ISA, `.target`).
pub(crate) fn ptx_fits(target: &str, card: &Architecture) -> bool {
    let device = card.major * 10 + card.minor;
    match split(target) {
        Some((number, "")) => number <= device,
        Some((number, "f")) => number <= device && number / 10 == card.major,
        Some((number, "a")) => number == device,
        _ => false,
    }
}

impl Image {
    /// The PTX that a driver would run on the device: of those that fit, the one for the latest target.
    /// Where machine code was made of it, that is what the driver would prefer too.
    pub(crate) fn choose(&self, card: &Architecture) -> Result<(ptx::Module, Chosen)> {
        let runs =
            |&code: &u32| code <= card.compute_capability() && code / 10 == card.major as u32;
        if compilation_is_disabled() && !self.machine_code.iter().any(runs) {
            let found = &self.machine_code;
            let reason = format!("CUDA_DISABLE_PTX_JIT=1, and machine code only for {found:?}");
            return refuse(Code::JIT_COMPILATION_DISABLED, reason);
        }
        let fitting = self.parts.iter().filter(|part| ptx_fits(&part.target, card));
        match fitting.max_by_key(|part| split(&part.target)) {
            Some(part) => {
                let (target, _) = split(&part.target).unwrap_or_default();
                let device = card.major * 10 + card.minor;
                let binary_version = if target / 10 == card.major { target } else { device };
                Ok((part.clone(), Chosen { ptx_version: target, binary_version }))
            }
            None => {
                let targets: Vec<&str> =
                    self.parts.iter().map(|part| part.target.as_str()).collect();
                let reason = format!("{} runs none of: {}", card.name, targets.join(", "));
                refuse(Code::NO_BINARY_FOR_GPU, reason)
            }
        }
    }

    /// The names of all kernels in any part.
    pub(crate) fn kernels(&self) -> Vec<String> {
        let mut names = Vec::new();
        for part in self.parts.iter() {
            let entries = part.functions.iter().filter(|function| function.entry);
            names.extend(entries.map(|function| function.name.clone()));
        }
        names.sort();
        names.dedup();
        names
    }

    pub(crate) fn has_kernel(&self, name: &str) -> bool {
        self.kernels().iter().any(|known| known == name)
    }
}
