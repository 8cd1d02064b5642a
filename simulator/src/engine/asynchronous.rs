//! `cp.async`: copies to shared memory that are not there until they were waited for.

/// A copy of one lane.
#[derive(Clone, Copy, Debug)]
pub(super) struct Copy {
    pub(super) lane: u32,
    /// The lane's group that it belongs to.
    group: u32,
    pub(super) to: u64,
    pub(super) bytes: u32,
    pub(super) data: [u8; 16],
    pub(super) defined: bool,
}

/// The copies of a warp on their way.
#[derive(Clone, Debug, Default)]
pub(super) struct Copies {
    pending: Vec<Copy>,
    /// By lane: the groups committed.
    committed: [u32; 32],
}

impl Copies {
    pub(super) fn push(&mut self, lane: u32, to: u64, bytes: u32, data: [u8; 16], defined: bool) {
        let group = self.committed[lane as usize];
        self.pending.push(Copy { lane, group, to, bytes, data, defined });
    }

    pub(super) fn commit(&mut self, lanes: u32) {
        for lane in (0..32).filter(|lane| lanes >> lane & 1 == 1) {
            self.committed[lane] += 1;
        }
    }

    /// Takes the copies of all but the lanes' `left` latest groups; `None` for every copy.
    pub(super) fn take(&mut self, lanes: u32, left: Option<u32>) -> Vec<Copy> {
        let committed = self.committed;
        let done = |copy: &Copy| {
            let left = left.is_none_or(|left| {
                u64::from(copy.group) + u64::from(left) < u64::from(committed[copy.lane as usize])
            });
            lanes >> copy.lane & 1 == 1 && left
        };
        let (taken, pending) = self.pending.iter().partition(|copy| done(copy));
        self.pending = pending;
        taken
    }
}
