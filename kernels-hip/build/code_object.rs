//! What a code object says of its kernels: the metadata note and the kernel descriptors.
//!
//! Layouts: LLVM's "User Guide for AMDGPU Backend", "Code Object V5 Metadata" and "Kernel
//! Descriptor".

use object::elf::NoteType;
use object::read::elf::{ElfFile64, SectionHeader};
use object::{LittleEndian, Object, ObjectSection, ObjectSymbol};
use rmpv::Value;

/// NT_AMDGPU_METADATA, of the notes by AMDGPU.
const METADATA: NoteType = NoteType(32);

/// The metadata and the descriptor of one kernel.
pub(crate) struct Kernel {
    pub(crate) name: String,
    metadata: Value,
    /// COMPUTE_PGM_RSRC1 of the kernel descriptor.
    rsrc1: u32,
}

impl Kernel {
    /// A number of the metadata: `.vgpr_count`. A truth value is 0 or 1.
    pub(crate) fn number(&self, key: &str) -> Result<u64, String> {
        let value = &self.metadata[key];
        let number = value.as_u64().or_else(|| value.as_bool().map(u64::from));
        number.ok_or_else(|| format!("{}: no {key} in the metadata", self.name))
    }

    /// The kinds of the arguments that the source declares: `by_value`, `global_buffer`.
    pub(crate) fn explicit_arguments(&self) -> Vec<&str> {
        let arguments = self.metadata[".args"].as_array().map(Vec::as_slice).unwrap_or_default();
        let kinds = arguments.iter().filter_map(|argument| argument[".value_kind"].as_str());
        kinds.filter(|kind| !kind.starts_with("hidden_")).collect()
    }

    /// Bytes of the first argument.
    #[allow(dead_code)] // Only tests know what it should be.
    pub(crate) fn argument_bytes(&self) -> Option<u64> {
        self.metadata[".args"][0][".size"].as_u64()
    }

    /// Bits of COMPUTE_PGM_RSRC1.
    pub(crate) fn mode(&self, first_bit: u32, bits: u32) -> u32 {
        self.rsrc1 >> first_bit & ((1 << bits) - 1)
    }
}

/// Every kernel of the image, in its order.
pub(crate) fn kernels(image: &[u8]) -> Result<Vec<Kernel>, String> {
    let file = ElfFile64::<LittleEndian>::parse(image).map_err(|e| format!("image: {e}"))?;
    let mut metadata = note(&file, image)?.ok_or("image: no metadata note")?;
    let Value::Map(entries) =
        rmpv::decode::read_value(&mut metadata).map_err(|e| format!("metadata: {e}"))?
    else {
        return Err("metadata: no map".to_owned());
    };
    let kernels = entries.into_iter().find(|(key, _)| key.as_str() == Some("amdhsa.kernels"));
    let Some((_, Value::Array(kernels))) = kernels else {
        return Err("metadata: no amdhsa.kernels".to_owned());
    };
    let kernel = |metadata: Value| {
        let name = metadata[".name"].as_str().ok_or("metadata: a kernel without .name")?.to_owned();
        let rsrc1 = descriptor_rsrc1(&file, &format!("{name}.kd"))
            .ok_or_else(|| format!("{name}: no kernel descriptor {name}.kd"))?;
        Ok(Kernel { name, metadata, rsrc1 })
    };
    kernels.into_iter().map(kernel).collect()
}

/// The contents of the metadata note.
fn note<'a>(
    file: &ElfFile64<'a, LittleEndian>,
    image: &'a [u8],
) -> Result<Option<&'a [u8]>, String> {
    let error = |e: object::Error| format!("image: {e}");
    for section in file.elf_section_table().iter() {
        let Some(mut notes) = section.notes(LittleEndian, image).map_err(error)? else { continue };
        while let Some(note) = notes.next().map_err(error)? {
            if note.name() == b"AMDGPU" && note.n_type(LittleEndian) == METADATA {
                return Ok(Some(note.desc()));
            }
        }
    }
    Ok(None)
}

/// COMPUTE_PGM_RSRC1 of the descriptor at a symbol: the word at byte 48 of its 64.
fn descriptor_rsrc1(file: &ElfFile64<'_, LittleEndian>, name: &str) -> Option<u32> {
    let symbol = file.dynamic_symbols().find(|symbol| symbol.name() == Ok(name))?;
    let section = file.section_by_index(symbol.section_index()?).ok()?;
    let descriptor = section.data_range(symbol.address(), 64).ok()??;
    Some(u32::from_le_bytes(descriptor.get(48..52)?.try_into().ok()?))
}
