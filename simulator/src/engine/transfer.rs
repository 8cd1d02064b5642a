//! One bulk copy: what it reads, what it writes, on behalf of which engine.

use super::context::Fault;
use super::copy_engine::{Origin, Then};
use super::peers::World;
use crate::memory::{self, AccessFault, Order};
use crate::report::Kind;

/// Bytes that lie together on both sides.
pub(super) const CHUNK: usize = 16;

/// A run of global memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) address: u64,
    /// Where it lies in the copied bytes.
    pub(super) at: u32,
    pub(super) bytes: u32,
}

/// Where the bytes are.
#[derive(Clone, Debug)]
pub(super) enum Side {
    /// What lies in no piece is not copied.
    Global(Vec<Piece>),
    /// Of the blocks of these ranks, at the same offsets: one for each chunk.
    Shared { ranks: Vec<u32>, offsets: Vec<u64> },
}

/// A bulk copy.
#[derive(Debug)]
pub(super) struct Transfer {
    /// As a warp of the issuing block.
    pub(super) engine: u64,
    pub(super) from: Side,
    pub(super) to: Side,
    /// Before it is fetched: what is filled in where the source has nothing.
    pub(super) data: Vec<u8>,
    /// By chunk: the bytes that are defined.
    defined: Vec<u16>,
    pub(super) then: Then,
    /// When the source was read.
    pub(super) fetched: Option<u32>,
    /// A `wait_group` said that it was.
    pub(super) read_awaited: bool,
}

/// Up to 32 accesses of one size: addresses, and where the bytes lie in the data.
struct Batch {
    addresses: [u64; 32],
    at: [usize; 32],
    count: usize,
    bytes: u32,
}

impl Batch {
    fn mask(&self) -> u32 {
        u32::MAX >> (32 - self.count)
    }

    fn access(&self, engine: u64, place: u32) -> memory::Access<'_> {
        memory::Access {
            addresses: &self.addresses,
            mask: self.mask(),
            bytes: self.bytes,
            order: Order::Weak,
            warp: engine,
            place,
        }
    }

    fn lanes(&self) -> impl Iterator<Item = (usize, usize, std::ops::Range<usize>)> {
        let bytes = self.bytes as usize;
        (0..self.count).map(move |lane| (lane, self.at[lane], lane * bytes..(lane + 1) * bytes))
    }
}

/// The accesses of runs of bytes: address, place in the data, length. The largest that are aligned.
fn batches(runs: impl Iterator<Item = (u64, usize, usize)>) -> Vec<Batch> {
    let mut all: Vec<Batch> = Vec::new();
    for (mut address, mut at, mut length) in runs {
        while length > 0 {
            let aligned = 1 << (address | CHUNK as u64).trailing_zeros();
            let bytes = aligned.min(1 << length.ilog2());
            if all.last().is_none_or(|last| last.count == 32 || last.bytes != bytes as u32) {
                let bytes = bytes as u32;
                all.push(Batch { addresses: [0; 32], at: [0; 32], count: 0, bytes });
            }
            if let Some(last) = all.last_mut() {
                (last.addresses[last.count], last.at[last.count]) = (address, at);
                // Lanes outside the mask may hold any address.
                last.count += 1;
            }
            (address, at, length) = (address + bytes as u64, at + bytes, length - bytes);
        }
    }
    all
}

fn of_pieces(pieces: &[Piece]) -> Vec<Batch> {
    batches(pieces.iter().map(|piece| (piece.address, piece.at as usize, piece.bytes as usize)))
}

fn of_chunks(offsets: &[u64]) -> Vec<Batch> {
    batches(offsets.iter().enumerate().map(|(chunk, &offset)| (offset, chunk * CHUNK, CHUNK)))
}

/// The bits of a chunk's bytes.
fn bits(at: usize, bytes: u32) -> (usize, u16) {
    (at / CHUNK, (((1u32 << bytes) - 1) << (at % CHUNK)) as u16)
}

impl Transfer {
    /// `data`: as many bytes as are copied, with what is filled in.
    pub(super) fn new(engine: u64, from: Side, to: Side, data: Vec<u8>, then: Then) -> Transfer {
        let defined = vec![u16::MAX; data.len().div_ceil(CHUNK)];
        Transfer { engine, from, to, data, defined, then, fetched: None, read_awaited: false }
    }

    pub(super) fn bytes(&self) -> u32 {
        self.data.len() as u32
    }

    pub(super) fn group(&self) -> Option<u32> {
        match self.then {
            Then::Group(group) => Some(group),
            Then::Barriers(_) => None,
        }
    }

    /// Makes the destination undefined.
    pub(super) fn begin(&mut self, world: &mut World<'_>, origin: &Origin) -> Result<(), Fault> {
        let Side::Shared { ranks, offsets } = &self.to else { return Ok(()) };
        for batch in of_chunks(offsets) {
            for &rank in ranks {
                world.put_shared(origin, self.engine, rank, &batch, 0)?;
            }
        }
        Ok(())
    }

    /// Reads the source, if that was not done.
    pub(super) fn fetch(&mut self, world: &mut World<'_>, origin: &Origin) -> Result<(), Fault> {
        if self.fetched.is_some() {
            return Ok(());
        }
        world.state.clocks.warp_sync(self.engine, !0);
        match &self.from {
            Side::Global(pieces) => {
                for batch in of_pieces(pieces) {
                    let state = &mut *world.state;
                    let access = batch.access(self.engine, origin.access);
                    let read = world.memory.load(
                        &mut state.clocks,
                        &access,
                        &mut state.data,
                        &mut state.findings,
                    );
                    let written =
                        read.map_err(|why| world.access_fault(origin, why, batch.bytes))?;
                    for (lane, at, range) in batch.lanes() {
                        let bytes = range.len();
                        self.data[at..at + bytes].copy_from_slice(&world.state.data[range]);
                        if written >> lane & 1 == 0 {
                            let (chunk, bits) = bits(at, batch.bytes);
                            self.defined[chunk] &= !bits;
                        }
                    }
                    world.note_races(origin);
                }
            }
            Side::Shared { ranks, offsets } => {
                let (rank, offsets) = (ranks[0], offsets.clone());
                for batch in of_chunks(&offsets) {
                    let written = world.get_shared(origin, self.engine, rank, &batch)?;
                    for (lane, at, range) in batch.lanes() {
                        self.data[at..at + CHUNK].copy_from_slice(&world.state.data[range]);
                        self.defined[at / CHUNK] =
                            if written >> lane & 1 == 1 { u16::MAX } else { 0 };
                    }
                }
                for (chunk, &offset) in offsets.iter().enumerate() {
                    if self.defined[chunk] == 0 {
                        let batch = single_bytes(offset);
                        let written = world.get_shared(origin, self.engine, rank, &batch)?;
                        self.defined[chunk] = written as u16;
                    }
                }
            }
        }
        self.fetched = Some(world.state.clocks.publish(self.engine));
        Ok(())
    }

    /// Writes the destination; gives the epoch up to which all of it is done.
    pub(super) fn put(&mut self, world: &mut World<'_>, origin: &Origin) -> Result<u32, Fault> {
        world.state.clocks.warp_sync(self.engine, !0);
        match &self.to {
            Side::Global(pieces) => {
                for batch in of_pieces(pieces) {
                    let mut defined = 0;
                    for (lane, at, range) in batch.lanes() {
                        let bytes = range.len();
                        world.state.data[range].copy_from_slice(&self.data[at..at + bytes]);
                        let (chunk, bits) = bits(at, batch.bytes);
                        defined |= u32::from(self.defined[chunk] & bits == bits) << lane;
                    }
                    if batch.mask() & !defined != 0 {
                        let message =
                            String::from("shared memory that is copied out was never written");
                        let lane = Some(origin.lane);
                        world.report(origin, Fault { kind: Kind::Uninitialized, lane, message });
                    }
                    let state = &mut *world.state;
                    let access = batch.access(self.engine, origin.access);
                    let written = world.memory.store(
                        &mut state.clocks,
                        &access,
                        &state.data,
                        defined,
                        &mut state.findings,
                    );
                    written.map_err(|why| world.access_fault(origin, why, batch.bytes))?;
                    world.note_races(origin);
                }
            }
            Side::Shared { ranks, offsets } => {
                for &rank in ranks {
                    for batch in of_chunks(offsets) {
                        let mut defined = 0;
                        for (lane, at, range) in batch.lanes() {
                            world.state.data[range].copy_from_slice(&self.data[at..at + CHUNK]);
                            defined |= u32::from(self.defined[at / CHUNK] == u16::MAX) << lane;
                        }
                        world.put_shared(origin, self.engine, rank, &batch, defined)?;
                    }
                    for (chunk, &offset) in offsets.iter().enumerate() {
                        let some = self.defined[chunk];
                        if some != 0 && some != u16::MAX {
                            let bytes = &self.data[chunk * CHUNK..][..CHUNK];
                            world.state.data[..CHUNK].copy_from_slice(bytes);
                            let batch = single_bytes(offset);
                            world.put_shared(origin, self.engine, rank, &batch, some.into())?;
                        }
                    }
                }
            }
        }
        Ok(world.state.clocks.publish(self.engine))
    }
}

fn single_bytes(offset: u64) -> Batch {
    let addresses = std::array::from_fn(|byte| offset + byte as u64);
    Batch { addresses, at: std::array::from_fn(|byte| byte), count: CHUNK, bytes: 1 }
}

impl World<'_> {
    pub(super) fn report(&mut self, origin: &Origin, fault: Fault) {
        let function = &self.program.functions[origin.function as usize];
        self.state.report(self.program, function, origin.source, origin.place, fault);
    }

    pub(super) fn note_races(&mut self, origin: &Origin) {
        for finding in std::mem::take(&mut self.state.findings) {
            let message = finding.text(|place| self.program.name_place(place));
            self.report(origin, Fault { kind: Kind::Race, lane: Some(origin.lane), message });
        }
    }

    pub(super) fn access_fault(&self, origin: &Origin, fault: AccessFault, bytes: u32) -> Fault {
        let (kind, message) = match fault {
            AccessFault::OutOfBounds { address, message, .. } => {
                (Kind::OutOfBounds, format!("{bytes} bytes at {address:#x}: {message}"))
            }
            AccessFault::Misaligned { address, .. } => {
                (Kind::Misaligned, format!("{address:#x} is no multiple of {bytes}"))
            }
        };
        Fault { kind, lane: Some(origin.lane), message }
    }

    /// Reads a block's shared memory by the asynchronous proxy into `state.data`.
    fn get_shared(
        &mut self,
        origin: &Origin,
        engine: u64,
        rank: u32,
        batch: &Batch,
    ) -> Result<u32, Fault> {
        let state = &mut *self.state;
        let access = batch.access(engine, origin.access);
        let (data, findings) = (&mut state.data, &mut state.findings);
        let region = self.regions.get(rank);
        let read = region.async_proxy_read(&mut state.clocks, &access, data, findings);
        let written = read.map_err(|why| self.access_fault(origin, why, batch.bytes))?;
        self.note_races(origin);
        Ok(written)
    }

    /// Writes a block's shared memory by the asynchronous proxy from `state.data`.
    fn put_shared(
        &mut self,
        origin: &Origin,
        engine: u64,
        rank: u32,
        batch: &Batch,
        defined: u32,
    ) -> Result<(), Fault> {
        let state = &mut *self.state;
        let access = batch.access(engine, origin.access);
        let (data, findings) = (&state.data, &mut state.findings);
        let region = self.regions.get(rank);
        let done = region.async_proxy_write(&mut state.clocks, &access, data, defined, findings);
        done.map_err(|why| self.access_fault(origin, why, batch.bytes))?;
        self.note_races(origin);
        Ok(())
    }
}
