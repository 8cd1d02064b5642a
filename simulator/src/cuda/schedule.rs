//! Which stream goes on first, and when: the seed decides, within what the streams allow.
//!
//! | seed modulo 3 | work is done |
//! |---|---|
//! | 0 | as late as possible: when somebody waits for it, and no more than that |
//! | 1 | some at the calls that queue work, some when somebody waits for other work, in random order |
//! | 2 | as early as possible: at the call that queues it |
//!
//! Functions of the host run while it waits, never at a call that queues work: a caller may hold a lock
//! there that the function takes.

use super::driver::Driver;
use super::queue::Work;
use super::record;
use super::table::Handle;
use crate::engine::random::Random;

/// When work is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    Late,
    Mixed,
    Early,
}

/// The choices of a driver.
pub(crate) struct Schedule {
    /// How often a seed had been set.
    turn: u64,
    pace: Pace,
    random: Random,
}

impl Schedule {
    pub(crate) fn new(turn: u64, seed: u64) -> Schedule {
        let pace = [Pace::Late, Pace::Mixed, Pace::Early][(seed % 3) as usize];
        Schedule { turn, pace, random: Random::new(seed) }
    }
}

impl Driver {
    fn refresh_schedule(&mut self) {
        let (turn, seed) = record::lock().seed();
        if self.schedule.turn != turn {
            self.schedule = Schedule::new(turn, seed);
        }
    }

    /// The stream that does work next while `needed` is waited for.
    pub(crate) fn choose(&mut self, needed: Handle) -> Handle {
        self.refresh_schedule();
        if self.schedule.pace != Pace::Mixed || self.schedule.random.below(2) == 0 {
            return needed;
        }
        let ready: Vec<Handle> = self.ready().map(|(stream, _)| stream).collect();
        let chosen = self.schedule.random.below(ready.len().max(1) as u32) as usize;
        ready.get(chosen).copied().unwrap_or(needed)
    }

    /// What the device does on its own after a call has queued work.
    pub(crate) fn go_on_after_call(&mut self) {
        self.refresh_schedule();
        let steps = match self.schedule.pace {
            Pace::Late => 0,
            Pace::Mixed => self.schedule.random.below(3),
            Pace::Early => u32::MAX,
        };
        for _ in 0..steps {
            let is_device_work = |work: &Work| !work.calls_host();
            let ready = self.ready().filter(|(_, work)| is_device_work(work));
            let ready: Vec<Handle> = ready.map(|(stream, _)| stream).collect();
            if ready.is_empty() {
                return;
            }
            let chosen = self.schedule.random.below(ready.len() as u32) as usize;
            self.step(ready[chosen]);
        }
    }

    /// A random order of the nodes of a graph, each after those it depends on; their own order if work
    /// is late.
    pub(crate) fn order_of_nodes(&mut self, after: &[Vec<usize>]) -> Vec<usize> {
        let mut order: Vec<usize> = Vec::with_capacity(after.len());
        if self.schedule.pace == Pace::Late {
            order.extend(0..after.len());
            return order;
        }
        let mut done = vec![false; after.len()];
        while order.len() < after.len() {
            let is_ready = |&node: &usize| !done[node] && after[node].iter().all(|&j| done[j]);
            let ready: Vec<usize> = (0..after.len()).filter(is_ready).collect();
            let chosen = ready[self.schedule.random.below(ready.len() as u32) as usize];
            done[chosen] = true;
            order.push(chosen);
        }
        order
    }
}
