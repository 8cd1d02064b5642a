//! What locations of strong writes carry from those who release to those who acquire.

use std::collections::HashMap;

use super::Clocks;
use super::knowledge::Knowledge;

#[derive(Debug)]
struct Place {
    start: u64,
    end: u64,
    /// Its number in the clocks: strong writes to a place are counted, and the count is carried, so
    /// that a reader may then access the place itself in any way.
    id: u64,
    version: u32,
    carried: Knowledge,
}

/// The places of one region, by 16 bytes, in one launch.
#[derive(Debug, Default)]
pub(super) struct Places {
    launch: u32,
    by_slot: HashMap<u64, Vec<Place>>,
}

impl Places {
    pub(super) fn clear(&mut self) {
        self.by_slot.clear();
    }

    fn enter(&mut self, launch: u32) {
        if self.launch != launch {
            self.launch = launch;
            self.by_slot.clear();
        }
    }

    /// A strong read of `start..end`.
    pub(super) fn read(
        &mut self,
        clocks: &mut Clocks,
        warp: u64,
        (start, end): (u64, u64),
        acquire: bool,
    ) {
        self.enter(clocks.launch());
        if self.by_slot.is_empty() {
            return;
        }
        for place in self.by_slot.get(&(start >> 4)).into_iter().flatten() {
            if place.start < end && start < place.end && !place.carried.is_empty() {
                clocks.observe(warp, &place.carried, acquire);
            }
        }
    }

    /// A strong write; `update` if it also read, so that what was carried stays.
    pub(super) fn write(
        &mut self,
        clocks: &mut Clocks,
        warp: u64,
        (start, end): (u64, u64),
        release: bool,
        update: bool,
    ) {
        self.enter(clocks.launch());
        let carried = clocks.carried(warp, release).cloned();
        if carried.is_none() && self.by_slot.is_empty() {
            return;
        }
        let places = self.by_slot.entry(start >> 4).or_default();
        for place in places.iter_mut().filter(|p| p.start < end && start < p.end) {
            // A write to a part leaves the rest with its last writer, so it does not count.
            place.version += u32::from((place.start, place.end) == (start, end));
            if !update && start <= place.start && place.end <= end {
                place.carried = Knowledge::default();
            }
        }
        let Some(carried) = carried else { return };
        let found = places.iter().position(|p| (p.start, p.end) == (start, end));
        let place = match found {
            Some(found) => &mut places[found],
            None => {
                let id = clocks.new_place();
                places.push(Place { start, end, id, version: 1, carried: Knowledge::default() });
                places.last_mut().expect("just pushed")
            }
        };
        place.carried.merge(&carried);
        place.carried.places.raise(place.id, &[place.version]);
    }

    /// Whether the warp knows of the last strong write to `start..end`, through the place itself.
    pub(super) fn knows(&self, clocks: &mut Clocks, warp: u64, start: u64, end: u64) -> bool {
        self.launch == clocks.launch()
            && self.by_slot.get(&(start >> 4)).is_some_and(|places| {
                places.iter().any(|place| {
                    place.start < end
                        && start < place.end
                        && clocks.knows_place(warp, place.id, place.version)
                })
            })
    }
}
