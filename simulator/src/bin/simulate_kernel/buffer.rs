//! Buffers: what is in them before a launch, and what becomes of what is in them afterwards.

use expertile_simulator::memory::{Memory, Traffic};
use expertile_simulator::tensor_map::Tiled;

use super::number::{Type, random};

/// Values of a result that are shown.
const SHOWN: usize = 32;
/// The most bytes of one buffer.
const MAXIMUM_BYTES: usize = 1 << 34;

/// What a buffer's bytes are at first.
enum Content {
    Nothing,
    Zero,
    Bytes(Vec<u8>),
    /// A tensor map of the buffer of that number.
    Map(usize, Tiled),
}

/// Memory that a kernel gets a pointer to.
struct Buffer {
    written_as: String,
    content: Content,
    bytes: usize,
    ty: Type,
    file: Option<String>,
    read_only: bool,
}

/// All buffers of a launch. Arguments know them by number.
#[derive(Default)]
pub(super) struct Buffers(Vec<Buffer>);

impl Buffers {
    /// `@FILE` or `@FILE:ro`. The same text again is the same buffer.
    pub(super) fn file(&mut self, text: &str) -> Result<usize, String> {
        if let Some(same) = self.0.iter().position(|buffer| buffer.written_as == text) {
            return Ok(same);
        }
        let name = text.trim_start_matches('@');
        let (name, read_only) = match name.strip_suffix(":ro") {
            Some(name) => (name, true),
            None => (name, false),
        };
        let content = std::fs::read(name).map_err(|error| format!("{name}: {error}"))?;
        self.add(Buffer {
            written_as: text.to_owned(),
            bytes: content.len(),
            content: Content::Bytes(content),
            ty: Type::U8,
            file: Some(name.to_owned()),
            read_only,
        })
    }

    /// `TYPE:N` or `TYPE:N@FILE` behind `out`, `zero` or `rand`.
    pub(super) fn room(&mut self, text: &str, kind: &str, rest: &str) -> Result<usize, String> {
        let (rest, file) = match rest.split_once('@') {
            Some((rest, file)) => (rest, Some(file.to_owned())),
            None => (rest, None),
        };
        let (ty, count) = rest.split_once(':').ok_or("no count: TYPE:N is expected")?;
        let ty = Type::named(ty)?;
        let count: usize = count.parse().map_err(|_| format!("`{count}` is no count"))?;
        let bytes = count.checked_mul(ty.size()).filter(|&bytes| bytes <= MAXIMUM_BYTES);
        let bytes = bytes.ok_or_else(|| {
            format!("{count} times {} bytes, a buffer has {MAXIMUM_BYTES} at most", ty.size())
        })?;
        let start = (self.0.len() as u64) << 40;
        let content = match kind {
            "zero" => Content::Zero,
            "rand" => Content::Bytes(
                (0..count as u64).flat_map(|index| random(ty, start + index)).collect(),
            ),
            _ => Content::Nothing,
        };
        let written_as = text.to_owned();
        self.add(Buffer { written_as, content, bytes, ty, file, read_only: false })
    }

    /// Room for a tensor map of the buffer `of`. The same text again is the same buffer.
    pub(super) fn map(&mut self, text: &str, of: usize, map: Tiled) -> Result<usize, String> {
        if let Some(same) = self.0.iter().position(|buffer| buffer.written_as == text) {
            return Ok(same);
        }
        self.add(Buffer {
            written_as: text.to_owned(),
            bytes: map.encode().len(),
            content: Content::Map(of, map),
            ty: Type::U8,
            file: None,
            read_only: true,
        })
    }

    fn add(&mut self, buffer: Buffer) -> Result<usize, String> {
        if buffer.bytes == 0 {
            return Err("0 bytes, a buffer has 1 at least; u64:0 is a null pointer".to_owned());
        }
        let same = |other: &&Buffer| buffer.file.is_some() && other.file == buffer.file;
        if let Some(other) = self.0.iter().find(same) {
            return Err(format!("`{}` is of the same file", other.written_as));
        }
        self.0.push(buffer);
        Ok(self.0.len() - 1)
    }

    /// Allocates and fills; gives the addresses.
    pub(super) fn place(&self, memory: &mut Memory) -> Result<Vec<u64>, String> {
        let error = |buffer: &Buffer, error| {
            format!("{}: {} bytes: {error:?}", buffer.written_as, buffer.bytes)
        };
        let allocate = |buffer: &Buffer| {
            memory.allocate(buffer.bytes as u64).map_err(|failed| error(buffer, failed))
        };
        let addresses: Vec<u64> = self.0.iter().map(allocate).collect::<Result<_, _>>()?;
        for (buffer, &address) in self.0.iter().zip(&addresses) {
            match &buffer.content {
                Content::Nothing => Ok(()),
                Content::Zero => memory.fill(address, &[0], buffer.bytes as u64),
                Content::Bytes(content) => memory.write(address, content),
                Content::Map(of, map) => memory
                    .write(address, &Tiled { address: addresses[*of], ..map.clone() }.encode()),
            }
            .map_err(|failed| error(buffer, failed))?;
        }
        Ok(addresses)
    }

    /// The bytes of every buffer.
    pub(super) fn results(
        &self,
        memory: &Memory,
        addresses: &[u64],
    ) -> Result<Vec<Vec<u8>>, String> {
        let read = |(buffer, &address): (&Buffer, &u64)| {
            let mut bytes = vec![0; buffer.bytes];
            let done = memory.read(address, &mut bytes);
            done.map(|()| bytes).map_err(|error| format!("{}: {error:?}", buffer.written_as))
        };
        self.0.iter().zip(addresses).map(read).collect()
    }

    /// A line for each read-only buffer that the kernel wrote, with the same bytes or others.
    pub(super) fn violations(&self, traffic: &[(u64, Traffic)], addresses: &[u64]) -> Vec<String> {
        let written = |(buffer, &address): (&Buffer, &u64)| {
            let found = traffic.iter().find(|(start, _)| *start == address);
            let count = found.map_or(0, |(_, traffic)| traffic.bytes_written);
            (buffer.read_only && count > 0).then(|| {
                let Buffer { written_as, bytes, .. } = buffer;
                format!("ReadOnly: {count} bytes were written to `{written_as}`, which has {bytes}")
            })
        };
        self.0.iter().zip(addresses).filter_map(written).collect()
    }

    /// A line for each buffer that is not what the first seed gave.
    pub(super) fn differences(
        &self,
        results: &[Vec<u8>],
        first: &[Vec<u8>],
        seed: u64,
    ) -> Vec<String> {
        let differs = |(buffer, (a, b)): (&Buffer, (&Vec<u8>, &Vec<u8>))| {
            let size = buffer.ty.size();
            let (mut a, mut b) = (a.chunks(size), b.chunks(size));
            let at = a.by_ref().zip(b.by_ref()).enumerate().find(|(_, (a, b))| a != b);
            let (at, (a, b)) = at?;
            let (got, before) = (buffer.ty.shown(a), buffer.ty.shown(b));
            let name = &buffer.written_as;
            Some(format!("`{name}`[{at}] is {got}, seed {seed} gave {before}"))
        };
        self.0.iter().zip(results.iter().zip(first)).filter_map(differs).collect()
    }

    /// Prints the results that go to no file.
    pub(super) fn show(&self, results: &[Vec<u8>]) {
        let shown = |it: &Buffer| it.file.is_none() && !matches!(it.content, Content::Map(..));
        for (buffer, bytes) in self.0.iter().zip(results).filter(|(it, _)| shown(it)) {
            let elements = bytes.chunks_exact(buffer.ty.size());
            let rest = if elements.len() > SHOWN { " ..." } else { "" };
            let shown: Vec<_> = elements.take(SHOWN).map(|bytes| buffer.ty.shown(bytes)).collect();
            println!("{}: {}{rest}", buffer.written_as, shown.join(" "));
        }
    }

    /// Prints where the buffers are, for whoever reads an address in a report.
    pub(super) fn show_places(&self, addresses: &[u64]) {
        for (Buffer { written_as, bytes, .. }, address) in self.0.iter().zip(addresses) {
            println!("{address:#x}: {bytes} bytes of `{written_as}`");
        }
    }

    /// Writes the others to their files.
    pub(super) fn write(&self, results: &[Vec<u8>]) -> Result<(), String> {
        for (buffer, bytes) in self.0.iter().zip(results).filter(|(it, _)| !it.read_only) {
            if let Some(file) = &buffer.file {
                std::fs::write(file, bytes).map_err(|error| format!("{file}: {error}"))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_start_as_asked() {
        let mut buffers = Buffers::default();
        for (kind, rest) in [("zero", "i32:3"), ("rand", "u8:1000"), ("out", "u8:2")] {
            buffers.room(&format!("{kind}:{rest}"), kind, rest).unwrap();
        }
        let mut memory = Memory::new(1 << 33, 1 << 30);
        let addresses = buffers.place(&mut memory).unwrap();
        let results = buffers.results(&memory, &addresses).unwrap();
        assert_eq!(results[0], [0; 12]);
        assert!(results[1].iter().all(|&byte| byte <= 100));
        assert_eq!(results[2], [255; 2]);
    }

    #[test]
    fn differences_name_the_first_element() {
        let mut buffers = Buffers::default();
        buffers.room("out:f32:2", "out", "f32:2").unwrap();
        let bytes = |numbers: [f32; 2]| vec![numbers.map(f32::to_le_bytes).concat()];
        let (first, second) = (bytes([1.0, 2.0]), bytes([1.0, -3.5]));
        assert!(buffers.differences(&first, &first, 7).is_empty());
        let found = buffers.differences(&second, &first, 7);
        assert_eq!(found, ["`out:f32:2`[1] is -3.5, seed 7 gave 2"]);
    }
}
