//! Which line of the source machine code is of: the line table of a code object that was compiled with
//! `-gline-tables-only` (DWARF 5, 6.2).

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use gimli::{AttributeValue, Dwarf, EndianSlice, LineRow, LittleEndian, Unit};
use object::{Object, ObjectSection};

use super::object::Elf;

/// File and line.
pub(super) type Line = (Arc<str>, u32);

type Bytes<'a> = EndianSlice<'a, LittleEndian>;

/// Where each row of the table begins, and its line. Code after it is of that line, up to the next row.
pub(super) struct Lines {
    rows: Vec<(u64, Option<Line>)>,
}

impl Lines {
    /// Empty for an object without a table, or with one that is broken or compressed: hardware runs it all
    /// the same.
    pub(super) fn read(elf: &Elf<'_>) -> Lines {
        let mut rows = rows(elf).unwrap_or_default();
        // Stable, so that of rows at one address the last stays last.
        rows.sort_by_key(|&(address, _)| address);
        Lines { rows }
    }

    /// The line of the instruction at an address.
    pub(super) fn at(&self, address: u64) -> Option<Line> {
        let next = self.rows.partition_point(|&(start, _)| start <= address);
        self.rows[..next].last()?.1.clone()
    }
}

fn rows(elf: &Elf<'_>) -> gimli::Result<Vec<(u64, Option<Line>)>> {
    let section = |id: gimli::SectionId| {
        let section = elf.section_by_name(id.name());
        let bytes = section.and_then(|section| section.uncompressed_data().ok());
        Ok(match bytes {
            Some(std::borrow::Cow::Borrowed(bytes)) => EndianSlice::new(bytes, LittleEndian),
            _ => EndianSlice::new(&[], LittleEndian),
        })
    };
    let dwarf: Dwarf<Bytes<'_>> = Dwarf::load(section)?;
    let mut found = Vec::new();
    let mut units = dwarf.units();
    while let Some(header) = units.next()? {
        let unit = dwarf.unit(header)?;
        let Some(program) = unit.line_program.clone() else { continue };
        let mut files = HashMap::new();
        let mut rows = program.rows();
        while let Some((_, row)) = rows.next_row()? {
            found.push((row.address(), line(&dwarf, &unit, row, &mut files)));
        }
    }
    Ok(found)
}

/// None for the end of a sequence, and for code that is of no line.
fn line(
    dwarf: &Dwarf<Bytes<'_>>,
    unit: &Unit<Bytes<'_>>,
    row: &LineRow,
    files: &mut HashMap<u64, Option<Arc<str>>>,
) -> Option<Line> {
    let number = row.line().filter(|_| !row.end_sequence())?;
    let index = row.file_index();
    let file = files.entry(index).or_insert_with(|| name(dwarf, unit, index)).clone()?;
    Some((file, u32::try_from(number.get()).ok()?))
}

/// A file's name behind its folder's, and behind that of the compilation if the folder's is relative.
fn name(dwarf: &Dwarf<Bytes<'_>>, unit: &Unit<Bytes<'_>>, index: u64) -> Option<Arc<str>> {
    let header = unit.line_program.as_ref()?.header();
    let file = header.file(index)?;
    let text = |value: AttributeValue<Bytes<'_>>| {
        dwarf.attr_string(unit, value).ok().map(|text| text.to_string_lossy().into_owned())
    };
    let compilation = unit.comp_dir.map(|folder| folder.to_string_lossy().into_owned());
    let folder = file.directory(header).and_then(text).unwrap_or_default();
    let path =
        Path::new(&compilation.unwrap_or_default()).join(folder).join(text(file.path_name())?);
    // Without the `.` of a compilation that hides its folder.
    let parts = path.components().filter(|part| *part != std::path::Component::CurDir);
    Some(parts.collect::<std::path::PathBuf>().to_string_lossy().into())
}
