//! Handles: keys of tables that look like addresses, so that a wrong one is an error and no more.

use std::collections::BTreeMap;

use super::error::{Code, Result, refuse};

/// What the caller holds as `CUcontext`, `CUstream` and so on.
pub(crate) type Handle = usize;

/// The objects of one kind. A handle is never used twice, and never valid in another table.
pub(crate) struct Table<T> {
    kind: &'static str,
    next: Handle,
    objects: BTreeMap<Handle, T>,
}

impl<T> Table<T> {
    /// An empty table. Every kind has a number of its own, which its handles carry in bits 32 up.
    pub(crate) fn new(kind: &'static str, number: usize) -> Table<T> {
        // Bit 55 keeps handles apart from host and device addresses.
        Table { kind, next: (1 << 55) | (number << 32) | 16, objects: BTreeMap::new() }
    }

    pub(crate) fn insert(&mut self, object: T) -> Handle {
        let handle = self.next;
        self.next += 16;
        self.objects.insert(handle, object);
        handle
    }

    pub(crate) fn get(&self, handle: Handle) -> Result<&T> {
        match self.objects.get(&handle) {
            Some(object) => Ok(object),
            None => refuse(Code::INVALID_HANDLE, format!("{handle:#x} is no {}", self.kind)),
        }
    }

    pub(crate) fn get_mut(&mut self, handle: Handle) -> Result<&mut T> {
        match self.objects.get_mut(&handle) {
            Some(object) => Ok(object),
            None => refuse(Code::INVALID_HANDLE, format!("{handle:#x} is no {}", self.kind)),
        }
    }

    pub(crate) fn remove(&mut self, handle: Handle) -> Result<T> {
        match self.objects.remove(&handle) {
            Some(object) => Ok(object),
            None => refuse(Code::INVALID_HANDLE, format!("{handle:#x} is no {}", self.kind)),
        }
    }

    pub(crate) fn contains(&self, handle: Handle) -> bool {
        self.objects.contains_key(&handle)
    }

    /// Whether the handle once was an object of this table.
    pub(crate) fn was_here(&self, handle: Handle) -> bool {
        handle < self.next && handle >> 32 == self.next >> 32
    }

    /// In the order of creation.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Handle, &T)> {
        self.objects.iter().map(|(&handle, object)| (handle, object))
    }

    /// The handles of the objects that a predicate picks, in the order of creation.
    pub(crate) fn handles(&self, mut pick: impl FnMut(&T) -> bool) -> Vec<Handle> {
        self.iter().filter(|(_, object)| pick(object)).map(|(handle, _)| handle).collect()
    }
}
