//! `cp.async`: copies to shared memory that are not there until they were waited for.

/// A copy of one lane.
#[derive(Clone, Copy, Debug)]
pub(super) struct Copy {
    pub(super) to: u64,
    pub(super) bytes: u32,
    pub(super) data: [u8; 16],
    pub(super) defined: bool,
    /// Of the instruction that began it.
    pub(super) place: u32,
}

/// A copy on its way.
#[derive(Clone, Copy, Debug)]
struct Pending {
    lane: u32,
    /// The lane's group that it belongs to.
    group: u32,
    copy: Copy,
}

/// The copies of a warp on their way.
#[derive(Clone, Debug, Default)]
pub(super) struct Copies {
    pending: Vec<Pending>,
    /// By lane: the groups committed.
    committed: [u32; 32],
}

impl Copies {
    pub(super) fn push(&mut self, lane: u32, copy: Copy) {
        let group = self.committed[lane as usize];
        self.pending.push(Pending { lane, group, copy });
    }

    pub(super) fn commit(&mut self, lanes: u32) {
        for lane in (0..32).filter(|lane| lanes >> lane & 1 == 1) {
            self.committed[lane] += 1;
        }
    }

    /// Takes the copies of all but the lanes' `left` latest groups, each with its lane; `None` for
    /// every copy.
    pub(super) fn take(&mut self, lanes: u32, left: Option<u32>) -> Vec<(u32, Copy)> {
        let committed = self.committed;
        let done = |copy: &Pending| {
            let left = left.is_none_or(|left| {
                u64::from(copy.group) + u64::from(left) < u64::from(committed[copy.lane as usize])
            });
            lanes >> copy.lane & 1 == 1 && left
        };
        let (taken, pending): (Vec<Pending>, _) = self.pending.iter().partition(|copy| done(copy));
        self.pending = pending;
        taken.into_iter().map(|pending| (pending.lane, pending.copy)).collect()
    }
}
