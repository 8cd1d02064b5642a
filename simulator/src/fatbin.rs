//! Fat binaries: what `fatbinary --create` packs, read for the PTX inside.
//!
//! NVIDIA does not document the layout; this is what fatbinary 13.0 writes. All little-endian.
//!
//! | offset | container header | entry header |
//! |---|---|---|
//! | 0 | u32 0xBA55ED50 | u16 kind: 1 PTX, 2 machine code; u16 version |
//! | 4 | u16 version 1, u16 bytes of this header | u32 bytes of this header |
//! | 8 | u64 bytes of all entries | u64 bytes of the content behind the header |
//! | 28 | | u32 architecture, 90 for sm_90a |
//! | 40 | | u32 flags: 0x2000 and 0x8000 for compressed content |

/// The first four bytes of a fat binary.
pub const MAGIC: u32 = 0xBA55_ED50;

const KIND_PTX: u16 = 1;
const KIND_MACHINE_CODE: u16 = 2;
const COMPRESSED: u32 = 0x2000 | 0x8000;
const ENTRY_HEADER_BYTES: usize = 64;

/// One PTX text and what it was compiled for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ptx {
    /// 90 for sm_90a.
    pub architecture: u32,
    /// The text, with its lines where the compiler had them.
    pub text: String,
}

/// A little-endian number of up to eight bytes.
fn number(bytes: &[u8], at: usize, width: usize) -> Option<u64> {
    let field = bytes.get(at..at.checked_add(width)?)?;
    Some(field.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)))
}

/// The PTX texts in a file: a fat binary, or PTX itself.
///
/// # Errors
///
/// A line: machine code without PTX, compressed content, a header that does not fit the bytes.
pub fn ptx_texts(bytes: &[u8]) -> Result<Vec<Ptx>, String> {
    if bytes.starts_with(b"\x7fELF") {
        return Err("machine code alone (a cubin): the simulator executes PTX; pack both with \
                    `fatbinary --create`"
            .to_string());
    }
    if number(bytes, 0, 4) != Some(MAGIC.into()) {
        let text = std::str::from_utf8(bytes)
            .map_err(|error| format!("neither a fat binary nor PTX: {error}"))?;
        let text = text.trim_end_matches('\0');
        return Ok(vec![Ptx { architecture: target(text)?, text: text.to_string() }]);
    }
    let (texts, _) = entries(bytes)?;
    if texts.is_empty() {
        return Err("a fat binary without PTX: the simulator executes PTX".to_string());
    }
    Ok(texts)
}

/// What a fat binary holds machine code for: 90 for sm_90a.
///
/// # Errors
///
/// A line, as for [`ptx_texts`].
pub fn machine_code(bytes: &[u8]) -> Result<Vec<u32>, String> {
    Ok(entries(bytes)?.1)
}

/// The number in `.target sm_90a`.
fn target(text: &str) -> Result<u32, String> {
    let name = text.split(".target").nth(1).and_then(|rest| rest.split_whitespace().next());
    let digits = name.and_then(|name| name.strip_prefix("sm_")).unwrap_or_default();
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().map_err(|_| "neither a fat binary nor PTX: no `.target sm_`".to_string())
}

/// The PTX, and the architectures of the machine code.
fn entries(bytes: &[u8]) -> Result<(Vec<Ptx>, Vec<u32>), String> {
    let cut = |at: usize| format!("the fat binary is cut off at byte {at} of {}", bytes.len());
    let header = number(bytes, 6, 2).ok_or_else(|| cut(6))? as usize;
    let size = number(bytes, 8, 8).ok_or_else(|| cut(8))?;
    let end = usize::try_from(size).ok().and_then(|size| size.checked_add(header));
    let end = end.filter(|&end| end <= bytes.len()).ok_or_else(|| {
        format!("the fat binary says {size} bytes behind its header and has {}", bytes.len())
    })?;
    let (mut texts, mut machine_code) = (Vec::new(), Vec::new());
    let mut at = header;
    while at < end {
        let field = |offset, width| number(&bytes[..end], at + offset, width);
        let all = (field(0, 2), field(4, 4), field(8, 8), field(28, 4), field(40, 4));
        let (Some(kind), Some(header), Some(size), Some(architecture), Some(flags)) = all else {
            return Err(cut(at));
        };
        let header = header as usize;
        if header < ENTRY_HEADER_BYTES {
            return Err(format!("an entry header of {header} bytes at byte {at}"));
        }
        let start = at + header;
        let next = usize::try_from(size).ok().and_then(|size| size.checked_add(start));
        let next = next.filter(|&next| next <= end).ok_or_else(|| cut(start))?;
        if kind == u64::from(KIND_PTX) {
            if flags as u32 & COMPRESSED != 0 {
                return Err("the PTX is compressed: pack it with `--compress=false`".to_string());
            }
            let text = std::str::from_utf8(&bytes[start..next])
                .map_err(|error| format!("the PTX at byte {start}: {error}"))?;
            let text = text.trim_end_matches('\0').to_string();
            texts.push(Ptx { architecture: architecture as u32, text });
        } else if kind == u64::from(KIND_MACHINE_CODE) {
            machine_code.push(architecture as u32);
        }
        at = next;
    }
    Ok((texts, machine_code))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\n.version 9.0\n.target sm_90a\n.address_size 64\n";

    /// A fat binary of machine code for 80 and `text` for 90, as fatbinary 13.0 lays it out.
    fn packed(text: &[u8], flags: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (kind, architecture, flags, content) in
            [(2u16, 80u32, 0, &b"\x7fELF...."[..]), (KIND_PTX, 90, flags, text)]
        {
            let mut header = [0; 80];
            header[..2].copy_from_slice(&kind.to_le_bytes());
            header[2..4].copy_from_slice(&0x101u16.to_le_bytes());
            header[4..8].copy_from_slice(&80u32.to_le_bytes());
            header[8..16].copy_from_slice(&(content.len() as u64).to_le_bytes());
            header[28..32].copy_from_slice(&architecture.to_le_bytes());
            header[40..44].copy_from_slice(&flags.to_le_bytes());
            bytes.extend(header);
            bytes.extend(content);
        }
        let mut all = MAGIC.to_le_bytes().to_vec();
        all.extend([1, 0, 16, 0]);
        all.extend((bytes.len() as u64).to_le_bytes());
        all.extend(bytes);
        all
    }

    #[test]
    fn finds_the_text() {
        let padded = format!("{TEXT}\0\0\0");
        let want = vec![Ptx { architecture: 90, text: TEXT.to_string() }];
        assert_eq!(ptx_texts(&packed(padded.as_bytes(), 0x11)), Ok(want.clone()));
        assert_eq!(ptx_texts(TEXT.as_bytes()), Ok(want));
        assert_eq!(machine_code(&packed(padded.as_bytes(), 0x11)), Ok(vec![80]));
    }

    #[test]
    fn says_what_is_missing() {
        let error = |bytes: &[u8]| ptx_texts(bytes).unwrap_err();
        assert!(error(b"\x7fELF\x02\x01").contains("cubin"));
        assert!(error(&packed(TEXT.as_bytes(), 0x2011)).contains("--compress=false"));
        assert!(error(b"something").contains(".target"));
        assert!(error(b"\xff\xfe").contains("neither"));
        let mut alone = packed(b"", 0);
        alone[16 + 80 + 8] = 2;
        assert!(error(&alone).contains("without PTX"));
    }

    #[test]
    fn broken_bytes_never_panic() {
        let whole = packed(TEXT.as_bytes(), 0);
        for length in 4..whole.len() {
            assert!(ptx_texts(&whole[..length]).is_err(), "{length}");
        }
        for at in 4..whole.len() {
            for byte in [0, 1, 0x7f, 0xff] {
                let mut broken = whole.clone();
                broken[at] = byte;
                // Whatever it is, it has to come back.
                let _ = ptx_texts(&broken);
            }
        }
    }
}
