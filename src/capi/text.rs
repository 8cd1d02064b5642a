use super::panic::or;
use std::cell::UnsafeCell;
use std::ffi::c_char;
use std::fmt::{self, Write};

/// The bytes of the longest error text with its NUL; longer ones are cut.
pub const EXPERTILE_ERROR_BYTES: usize = 512;

thread_local! {
    /// The text with its NUL. Constant and without a destructor: it lives as long as its thread, and
    /// using it never allocates.
    static LAST: UnsafeCell<[u8; EXPERTILE_ERROR_BYTES]> =
        const { UnsafeCell::new([0; EXPERTILE_ERROR_BYTES]) };
}

/// Writes as much as fits, in whole characters.
struct Cut<'a> {
    buffer: &'a mut [u8],
    length: usize,
}

impl Write for Cut<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.buffer.len() - self.length;
        let fits = whole(text, room);
        self.buffer[self.length..self.length + fits].copy_from_slice(&text.as_bytes()[..fits]);
        self.length += fits;
        if fits < text.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

/// The most bytes of whole characters that fit into `room`.
fn whole(text: &str, room: usize) -> usize {
    (0..=room.min(text.len())).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0)
}

/// Makes it the thread's last error.
pub(super) fn keep(text: fmt::Arguments<'_>) {
    // Built apart, since formatting may not touch what a caller holds a pointer to while it may panic.
    let mut buffer = [0; EXPERTILE_ERROR_BYTES];
    let mut cut = Cut { buffer: &mut buffer[..EXPERTILE_ERROR_BYTES - 1], length: 0 };
    // An error says that the text was cut.
    let _ = cut.write_fmt(text);
    // SAFETY: the cell is this thread's, and no reference into it exists outside this module's calls.
    LAST.with(|last| unsafe { *last.get() = buffer });
}

/// Why this thread's last call that failed did; empty if none has. It stays until the next one fails.
#[unsafe(no_mangle)]
pub extern "C" fn expertile_last_error() -> *const c_char {
    or(c"".as_ptr(), || LAST.with(|last| last.get().cast_const().cast()))
}

/// Copies as much of that text as fits into `bytes` bytes, with a NUL, and returns the bytes that all
/// of it needs, NUL included. `text` may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn expertile_last_error_copy(text: *mut c_char, bytes: usize) -> usize {
    or(0, || {
        // SAFETY: the cell is this thread's, and nothing writes it during this call.
        let last = LAST.with(|last| unsafe { *last.get() });
        let length = last.iter().position(|&byte| byte == 0).unwrap_or(0);
        if !text.is_null() && bytes > 0 {
            let copied = length.min(bytes - 1);
            // SAFETY: the caller's room is `bytes`; `last` is a copy on this function's stack.
            unsafe {
                text.cast::<u8>().copy_from_nonoverlapping(last.as_ptr(), copied);
                text.add(copied).write(0);
            }
        }
        length + 1
    })
}
