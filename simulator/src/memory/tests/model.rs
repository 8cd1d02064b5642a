//! The rules of the memory in the plainest form: each access of each lane is an event, what a lane
//! knows is a set of events, each byte has the list of all its accesses.

use std::collections::{BTreeMap, BTreeSet};

use crate::memory::{Access, Order, Traffic};

/// A set of events, a bit each.
#[derive(Clone, Default)]
struct Events(Vec<u64>);

impl Events {
    fn insert(&mut self, event: usize) {
        if self.0.len() <= event / 64 {
            self.0.resize(event / 64 + 1, 0);
        }
        self.0[event / 64] |= 1 << (event % 64);
    }

    fn contains(&self, event: usize) -> bool {
        self.0.get(event / 64).is_some_and(|word| word >> (event % 64) & 1 == 1)
    }

    fn merge(&mut self, other: &Events) {
        self.0.resize(self.0.len().max(other.0.len()), 0);
        self.0.iter_mut().zip(&other.0).for_each(|(mine, theirs)| *mine |= theirs);
    }
}

#[derive(Clone, Copy)]
struct Event {
    number: usize,
    write: bool,
    strong: bool,
}

#[derive(Clone, Default)]
struct Byte {
    /// `None`: never written.
    value: Option<u8>,
    events: Vec<Event>,
    /// Of `events`, where the last weak write is.
    last_weak_write: usize,
    /// Of `events`, where the last write is.
    last_write: usize,
}

#[derive(Clone, Default)]
struct Warp {
    pending: Events,
    released: Option<Events>,
}

/// What a lane reads: `None` outside the mask; a byte is `None` where it was never written.
pub(super) type Values = Option<Vec<Option<u8>>>;

/// A race: the lane and the byte. `recent` if with the last write or a read since.
pub(super) struct Race {
    pub(super) lane: u32,
    pub(super) offset: usize,
    pub(super) recent: bool,
}

pub(super) struct Model {
    bytes: Vec<Byte>,
    /// By warp and lane.
    knows: Vec<[Events; 32]>,
    warps: Vec<Warp>,
    /// By start and end of a location: what a strong write to it carried.
    places: BTreeMap<(u64, u64), Events>,
    events: usize,
    pub(super) traffic: Traffic,
    sectors: [BTreeSet<u64>; 2],
}

impl Model {
    pub(super) fn new(bytes: usize, warps: usize) -> Model {
        let mut model = Model {
            bytes: vec![Byte::default(); bytes],
            knows: Vec::new(),
            warps: Vec::new(),
            places: BTreeMap::new(),
            events: 0,
            traffic: Traffic::default(),
            sectors: Default::default(),
        };
        model.launch(warps);
        model
    }

    pub(super) fn launch(&mut self, warps: usize) {
        self.knows = (0..warps).map(|_| std::array::from_fn(|_| Events::default())).collect();
        self.warps = vec![Warp::default(); warps];
        self.places.clear();
        self.traffic = Traffic::default();
        self.sectors = Default::default();
        for byte in &mut self.bytes {
            *byte = Byte { value: byte.value, ..Byte::default() };
        }
    }

    pub(super) fn host_write(&mut self, offset: usize, data: &[Option<u8>]) {
        for (byte, &value) in self.bytes[offset..].iter_mut().zip(data) {
            *byte = Byte { value, ..Byte::default() };
        }
    }

    /// `None` where never written.
    pub(super) fn host_read(&self, offset: usize, count: usize) -> Vec<Option<u8>> {
        self.bytes[offset..][..count].iter().map(|byte| byte.value).collect()
    }

    pub(super) fn warp_sync(&mut self, warp: usize, lanes: u32) {
        let members = || (0..32).filter(|lane| lanes >> lane & 1 == 1);
        let mut all = Events::default();
        members().for_each(|lane| all.merge(&self.knows[warp][lane]));
        members().for_each(|lane| self.knows[warp][lane] = all.clone());
    }

    fn all(&self, warp: usize) -> Events {
        let mut all = Events::default();
        self.knows[warp].iter().for_each(|lane| all.merge(lane));
        all
    }

    fn learn(&mut self, warp: usize, news: &Events) {
        self.knows[warp].iter_mut().for_each(|lane| lane.merge(news));
    }

    pub(super) fn barrier(&mut self, warps: std::ops::Range<usize>) {
        let mut all = Events::default();
        warps.clone().for_each(|warp| all.merge(&self.all(warp)));
        warps.for_each(|warp| self.learn(warp, &all));
    }

    pub(super) fn fence(&mut self, warp: usize) {
        let pending = std::mem::take(&mut self.warps[warp].pending);
        self.learn(warp, &pending);
        self.warps[warp].released = Some(self.all(warp));
    }

    fn count(&mut self, access: &Access<'_>, base: u64, write: bool) {
        if access.mask == 0 {
            return;
        }
        let lanes = (0..32).filter(|lane| access.mask >> lane & 1 == 1);
        let sector = |lane: usize| (access.addresses[lane] - base) / 32;
        let touched: BTreeSet<u64> = lanes.map(sector).collect();
        let bytes = u64::from(access.mask.count_ones() * access.bytes);
        self.traffic.instructions += 1;
        let sectors = touched.len() as u64;
        self.sectors[usize::from(write)].extend(touched);
        let unique = self.sectors[usize::from(write)].len() as u64;
        let traffic = &mut self.traffic;
        let counts = if write {
            (
                &mut traffic.bytes_written,
                &mut traffic.sectors_written,
                &mut traffic.unique_sectors_written,
            )
        } else {
            (&mut traffic.bytes_read, &mut traffic.sectors_read, &mut traffic.unique_sectors_read)
        };
        *counts.0 += bytes;
        *counts.1 += sectors;
        *counts.2 = unique;
    }

    fn event(
        &mut self,
        (warp, lane): (usize, u32),
        range: std::ops::Range<usize>,
        (write, strong): (bool, bool),
        changes: impl Fn(usize, Option<u8>) -> bool,
        races: &mut Vec<Race>,
    ) -> usize {
        let number = self.events;
        self.events += 1;
        self.knows[warp][lane as usize].insert(number);
        let knows = &self.knows[warp][lane as usize];
        for offset in range {
            let byte = &mut self.bytes[offset];
            let changes = changes(offset, byte.value);
            for (place, other) in byte.events.iter().enumerate() {
                let conflict = if write { !other.write || changes } else { other.write };
                if conflict && !(strong && other.strong) && !knows.contains(other.number) {
                    let recent = if other.write {
                        place == byte.last_write
                    } else {
                        place >= byte.last_weak_write
                    };
                    races.push(Race { lane, offset, recent });
                }
            }
            if write {
                byte.last_write = byte.events.len();
                if !strong {
                    byte.last_weak_write = byte.events.len();
                }
            }
            byte.events.push(Event { number, write, strong });
        }
        number
    }

    fn strong_read(&mut self, warp: usize, range: (u64, u64), order: Order) {
        let mut seen = Events::default();
        for (&(start, end), carried) in &self.places {
            if start < range.1 && range.0 < end {
                seen.merge(carried);
            }
        }
        if matches!(order, Order::Acquire | Order::AcquireRelease) {
            self.learn(warp, &seen);
        } else {
            self.warps[warp].pending.merge(&seen);
        }
    }

    fn strong_write(
        &mut self,
        warp: usize,
        range: (u64, u64),
        order: Order,
        update: bool,
        event: usize,
    ) {
        if matches!(order, Order::Release | Order::AcquireRelease) {
            self.warps[warp].released = Some(self.all(warp));
        }
        if !update {
            self.places.retain(|&(start, end), _| start < range.0 || range.1 < end);
        }
        if let Some(released) = &self.warps[warp].released {
            let carried = self.places.entry(range).or_default();
            carried.merge(released);
            carried.insert(event);
        }
    }

    /// The values by lane, and the races.
    pub(super) fn load(&mut self, access: &Access<'_>, base: u64) -> (Vec<Values>, Vec<Race>) {
        self.count(access, base, false);
        let mut races = Vec::new();
        let mut values = vec![None; 32];
        let strong = access.order != Order::Weak;
        for lane in (0..32).filter(|lane| access.mask >> lane & 1 == 1) {
            let start = (access.addresses[lane as usize] - base) as usize;
            let range = start..start + access.bytes as usize;
            values[lane as usize] = Some(self.host_read(start, range.len()));
            self.event(
                (access.warp as usize, lane),
                range,
                (false, strong),
                |_, _| true,
                &mut races,
            );
        }
        for lane in (0..32).filter(|lane| strong && access.mask >> lane & 1 == 1) {
            let start = access.addresses[lane as usize] - base;
            self.strong_read(
                access.warp as usize,
                (start, start + u64::from(access.bytes)),
                access.order,
            );
        }
        (values, races)
    }

    pub(super) fn store(
        &mut self,
        access: &Access<'_>,
        base: u64,
        data: &[u8; 512],
        defined: u32,
    ) -> Vec<Race> {
        self.count(access, base, true);
        let mut races = Vec::new();
        let strong = access.order != Order::Weak;
        let mut events = [0; 32];
        for lane in (0..32).filter(|lane| access.mask >> lane & 1 == 1) {
            let start = (access.addresses[lane as usize] - base) as usize;
            let range = start..start + access.bytes as usize;
            let is_defined = defined >> lane & 1 == 1;
            let new = |offset: usize| {
                is_defined.then(|| data[lane as usize * access.bytes as usize + offset - start])
            };
            let changes =
                |offset: usize, old: Option<u8>| old.unwrap_or(0xFF) != new(offset).unwrap_or(0xFF);
            let who = (access.warp as usize, lane);
            events[lane as usize] =
                self.event(who, range.clone(), (true, strong), changes, &mut races);
            range.for_each(|offset| self.bytes[offset].value = new(offset));
        }
        for lane in (0..32).filter(|lane| strong && access.mask >> lane & 1 == 1) {
            let start = access.addresses[lane as usize] - base;
            let range = (start, start + u64::from(access.bytes));
            let event = events[lane as usize];
            self.strong_write(access.warp as usize, range, access.order, false, event);
        }
        races
    }

    /// Adds to the first byte. Returns the lanes that saw written bytes, and the races.
    pub(super) fn atomic(
        &mut self,
        access: &Access<'_>,
        base: u64,
        lanes: &[u32],
        add: u8,
    ) -> (u32, Vec<Race>) {
        self.count(access, base, true);
        let (mut races, mut written) = (Vec::new(), 0);
        for &lane in lanes {
            let start = (access.addresses[lane as usize] - base) as usize;
            let bytes = start..start + access.bytes as usize;
            let who = (access.warp as usize, lane);
            let event = self.event(who, bytes.clone(), (true, true), |_, _| true, &mut races);
            if bytes.clone().all(|offset| self.bytes[offset].value.is_some()) {
                written |= 1 << lane;
            }
            for offset in bytes.clone() {
                self.bytes[offset].value.get_or_insert(0xFF);
            }
            let value = &mut self.bytes[start].value;
            *value = value.map(|value| value.wrapping_add(add));
            let range = (bytes.start as u64, bytes.end as u64);
            self.strong_read(who.0, range, access.order);
            self.strong_write(who.0, range, access.order, true, event);
        }
        (written, races)
    }
}
