//! What is said of a warp when nothing can go on.

use super::Program;
use super::barrier::Barriers;
use super::cluster::Cluster;
use super::warp::{Group, Wait, Warp};
use super::warpgroup::Warpgroups;
use crate::report::Kind;

impl Warp {
    /// Reports what the warp waits for, for a block in which nothing can go on.
    pub(super) fn describe(
        &self,
        program: &Program,
        barriers: &Barriers,
        warpgroups: &Warpgroups,
        cluster: &Cluster,
    ) -> Vec<String> {
        let describe = |group: &Group| {
            let function = &program.functions[self.frames[group.frame as usize].function as usize];
            let source = function.ops[group.pc as usize].source;
            let at = &function.places[source as usize];
            let why = match group.wait {
                Wait::Ready => String::from("nothing"),
                Wait::Barrier(id) => barriers.describe(id),
                wait @ (Wait::Phase(_) | Wait::Cluster) => cluster.describe(self.place.rank, wait),
                Wait::Warpgroup => warpgroups.describe(self.place.index),
                Wait::Meeting(meeting) => {
                    let missing = meeting.members & self.live & !group.mask;
                    format!("lanes {missing:#010x}")
                }
            };
            let (index, mask) = (self.place.index, group.mask);
            format!("warp {index} lanes {mask:#010x} at `{}` wait for {why}", at.text)
        };
        self.groups.iter().map(describe).collect()
    }

    /// The kind of fault if this warp's waiting is why nothing goes on.
    pub(super) fn blame(&self) -> Kind {
        let aligned = self.groups.iter().any(|group| match group.wait {
            Wait::Meeting(meeting) => meeting.aligned,
            _ => false,
        });
        if aligned { Kind::Divergence } else { Kind::Deadlock }
    }
}
