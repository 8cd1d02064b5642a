//! A thread's own memory: private arrays and the parameters of functions. No other thread sees it.

/// The most a thread may have, deep recursion included.
const MOST: usize = 512 << 10;

#[derive(Clone, Debug, Default)]
struct Private {
    bytes: Vec<u8>,
    written: Vec<bool>,
}

/// The local memory of a warp's 32 threads.
#[derive(Clone, Debug, Default)]
pub(super) struct Local {
    threads: Vec<Private>,
    bytes: usize,
}

impl Local {
    /// Makes room up to `bytes`; false if that is more than a thread may have.
    pub(super) fn reserve(&mut self, bytes: usize) -> bool {
        if bytes > MOST {
            return false;
        }
        if bytes > self.bytes {
            self.bytes = bytes;
            self.threads.resize_with(32, Private::default);
            for thread in &mut self.threads {
                thread.bytes.resize(bytes, 0xFF);
                thread.written.resize(bytes, false);
            }
        }
        true
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Forgets the bytes of these lanes.
    pub(super) fn clear(&mut self, lanes: u32, start: usize, end: usize) {
        for lane in (0..32).filter(|lane| lanes >> lane & 1 == 1) {
            if let Some(thread) = self.threads.get_mut(lane) {
                thread.bytes[start..end].fill(0xFF);
                thread.written[start..end].fill(false);
            }
        }
    }

    /// The bytes, and whether all were written. The range was checked.
    pub(super) fn load(&self, lane: u32, at: usize, into: &mut [u8]) -> bool {
        let thread = &self.threads[lane as usize];
        into.copy_from_slice(&thread.bytes[at..at + into.len()]);
        thread.written[at..at + into.len()].iter().all(|&written| written)
    }

    pub(super) fn store(&mut self, lane: u32, at: usize, from: &[u8], defined: bool) {
        let thread = &mut self.threads[lane as usize];
        thread.bytes[at..at + from.len()].copy_from_slice(from);
        thread.written[at..at + from.len()].fill(defined);
        if !defined {
            thread.bytes[at..at + from.len()].fill(0xFF);
        }
    }

    /// Copies with history: arguments and results.
    pub(super) fn copy(&mut self, lanes: u32, from: usize, to: usize, bytes: usize) {
        for lane in (0..32).filter(|lane| lanes >> lane & 1 == 1) {
            let thread = &mut self.threads[lane];
            thread.bytes.copy_within(from..from + bytes, to);
            thread.written.copy_within(from..from + bytes, to);
        }
    }
}
