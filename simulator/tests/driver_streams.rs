//! Both stand-in drivers: what streams, events and the host's waits order, and that what they do not
//! order is found, whatever the schedule.

#[path = "driver/face.rs"]
mod face;
#[path = "driver/hip.rs"]
mod hip;
#[path = "driver/support.rs"]
mod support;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use face::{Face, on_both};
use support::{address, control};

/// Two streams that do not block, an event, and a page of zeros.
struct Things<'a> {
    face: &'a Face,
    first: usize,
    second: usize,
    event: usize,
    memory: usize,
    /// A kernel that writes one word, of two kinds of work that write it.
    kernel: Option<usize>,
}

impl<'a> Things<'a> {
    fn new(face: &'a Face) -> Things<'a> {
        let [first, second] = [(); 2].map(|()| face.non_blocking());
        let event = face.made("cuEventCreate", &[0]);
        Things { face, first, second, event, memory: face.zeros(1024), kernel: face.kernel() }
    }

    /// Writes a word: by the kernel if there is a compiler for it, else by a fill.
    fn write(&self, stream: usize, word: usize) {
        let memory = self.memory + 4 * word;
        match self.kernel {
            Some(kernel) => assert_eq!(self.face.launch(kernel, stream, memory), 0),
            None => self.fill(stream, word, 7),
        }
    }

    fn fill(&self, stream: usize, word: usize, value: usize) {
        self.face.ok("cuMemsetD32Async", &[self.memory + 4 * word, value, 1, stream]);
    }

    /// Copies a word to another place of the page.
    fn copy(&self, stream: usize, to: usize, from: usize) {
        let [to, from] = [to, from].map(|word| self.memory + 4 * word);
        self.face.ok("cuMemcpyDtoDAsync_v2", &[to, from, 4, stream]);
    }

    fn record(&self, stream: usize) {
        self.face.ok("cuEventRecord", &[self.event, stream]);
    }

    fn wait(&self, stream: usize) {
        self.face.ok("cuStreamWaitEvent", &[stream, self.event, 0]);
    }

    fn synchronize(&self, stream: usize) {
        self.face.code("cuStreamSynchronize", &[stream]);
    }

    /// The reports of the work under each of several schedules.
    fn reports(&self, work: impl Fn(&Things<'a>)) -> Vec<Vec<String>> {
        let with_seed = |seed| {
            control::set("expertile_sim_set_seed", seed);
            work(self);
            self.face.code("cuCtxSynchronize", &[]);
            // What went wrong is told once.
            self.face.ok("cuCtxSynchronize", &[]);
            let text = control::text("expertile_sim_reports");
            control::set("expertile_sim_clear_reports", 0);
            text.lines().map(str::to_owned).collect()
        };
        (0..24).map(with_seed).collect()
    }

    #[track_caller]
    fn race(&self, what: &str, work: impl Fn(&Things<'a>)) {
        for (seed, found) in self.reports(work).into_iter().enumerate() {
            assert!(!found.is_empty(), "{what}: nothing under seed {seed}");
            for report in found {
                assert!(report.contains("Race: address"), "{what}: {report}");
                assert!(report.contains("another stream, no event or wait between"), "{report}");
            }
        }
    }

    #[track_caller]
    fn silent(&self, what: &str, work: impl Fn(&Things<'a>)) {
        for found in self.reports(work) {
            assert_eq!(found, [""; 0], "{what}");
        }
    }
}

#[test]
fn what_nothing_orders_is_a_race() {
    on_both("what_nothing_orders_is_a_race", |face| {
        let things = Things::new(face);
        let (first, second) = (things.first, things.second);
        things.race("two kernels", |it| {
            it.write(first, 5);
            it.write(second, 5);
        });
        things.race("a fill and a kernel", |it| {
            it.fill(first, 5, 1);
            it.write(second, 5);
        });
        things.race("a kernel and a copy of what it writes", |it| {
            it.write(first, 5);
            it.copy(second, 9, 5);
        });
        things.race("a copy and a fill of what it reads", |it| {
            it.copy(first, 9, 5);
            it.fill(second, 5, 3);
        });
        things.race("not the last work of the other stream", |it| {
            it.write(first, 5);
            it.write(first, 6);
            it.copy(first, 7, 6);
            it.write(second, 5);
        });
        things.race("an event that was recorded too early", |it| {
            it.record(first);
            it.write(first, 5);
            it.wait(second);
            it.write(second, 5);
        });
        things.race("a wait that comes too late", |it| {
            it.write(first, 5);
            it.record(first);
            it.write(second, 5);
            it.wait(second);
        });
        things.race("a stream that does not block, and the null stream", |it| {
            it.write(first, 5);
            it.write(0, 5);
        });
        things.race("the host waited for another stream", |it| {
            it.write(first, 5);
            it.write(second, 6);
            it.synchronize(second);
            it.write(second, 5);
        });
        things.race("a stream that was destroyed meanwhile", |it| {
            let short = it.face.non_blocking();
            it.write(short, 5);
            it.face.ok("cuStreamDestroy_v2", &[short]);
            it.write(second, 5);
        });
    });
}

#[test]
fn what_something_orders_is_none() {
    on_both("what_something_orders_is_none", |face| {
        let things = Things::new(face);
        let (first, second) = (things.first, things.second);
        let [third, blocking] = [face.non_blocking(), face.blocking()];
        things.silent("an event", |it| {
            it.write(first, 5);
            it.record(first);
            it.wait(second);
            it.write(second, 5);
        });
        things.silent("events by way of a third stream", |it| {
            it.write(first, 5);
            it.record(first);
            it.wait(third);
            it.record(third);
            it.wait(second);
            it.copy(second, 9, 5);
        });
        things.silent("the host's wait", |it| {
            it.write(first, 5);
            it.synchronize(first);
            it.write(second, 5);
        });
        things.silent("the host's wait for an event", |it| {
            it.write(first, 5);
            it.record(first);
            it.write(first, 6);
            it.face.ok("cuEventSynchronize", &[it.event]);
            it.write(second, 5);
        });
        things.silent("a query that finds the work done", |it| {
            it.write(first, 5);
            while it.face.code("cuStreamQuery", &[first]) != 0 {}
            it.write(second, 5);
        });
        things.silent("other words of the page", |it| {
            it.write(first, 5);
            it.write(second, 6);
            it.copy(first, 5, 7);
            it.copy(second, 6, 8);
        });
        things.silent("two that read", |it| {
            it.copy(first, 5, 9);
            it.copy(second, 6, 9);
        });
        things.silent("the null stream and one that blocks", |it| {
            it.write(blocking, 5);
            it.write(0, 5);
            it.write(blocking, 5);
        });
        things.silent("one stream", |it| {
            it.write(first, 5);
            it.fill(first, 5, 2);
            it.copy(first, 5, 6);
        });
    });
}

#[test]
fn the_order_is_any_that_is_allowed() {
    on_both("the_order_is_any_that_is_allowed", |face| {
        let things = Things::new(face);
        let (first, second, word) = (things.first, things.second, 5);
        let value = |work: &dyn Fn()| {
            work();
            face.code("cuCtxSynchronize", &[]);
            let mut found = 0u32;
            let from = things.memory + 4 * word;
            // What was reported is told by the first call that waits.
            face.code("cuMemcpyDtoH_v2", &[address(&mut found), from, 4]);
            found
        };
        let values = |work: &dyn Fn()| -> BTreeSet<u32> {
            let with_seed = |seed| {
                control::set("expertile_sim_set_seed", seed);
                value(work)
            };
            (0..60).map(with_seed).collect()
        };
        let without_event = values(&|| {
            things.fill(first, word, 1);
            things.fill(second, word, 2);
        });
        assert_eq!(without_event, BTreeSet::from([1, 2]), "either may be the last");
        let with_event = values(&|| {
            things.fill(first, word, 1);
            things.record(first);
            things.wait(second);
            things.fill(second, word, 2);
        });
        assert_eq!(with_event, BTreeSet::from([2]));
        // Page-locked memory is read when the copy's turn comes: at the call, or after it.
        let host = face.made::<usize>("cuMemHostAlloc", &[4, 0]);
        let pinned = std::ptr::with_exposed_provenance_mut::<u32>(host);
        let late = values(&|| {
            // SAFETY: the driver gave these four bytes.
            unsafe { pinned.write(1) };
            face.ok("cuMemcpyHtoDAsync_v2", &[things.memory + 4 * word, host, 4, first]);
            // SAFETY: as before.
            unsafe { pinned.write(2) };
        });
        assert_eq!(late, BTreeSet::from([1, 2]));
    });
}

#[test]
fn memory_freed_in_a_stream_is_not_used_in_another() {
    on_both("memory_freed_in_a_stream_is_not_used_in_another", |face| {
        let things = Things::new(face);
        let (first, second) = (things.first, things.second);
        // Whichever comes first, the free or the use: one is a race, the other a use after free.
        for seed in 0..24 {
            control::set("expertile_sim_set_seed", seed);
            let memory = face.made::<usize>("cuMemAllocAsync", &[64, first]);
            face.ok("cuStreamSynchronize", &[first]);
            let used = face.code("cuMemsetD32Async", &[memory, 1, 1, second]);
            face.ok("cuMemFreeAsync", &[memory, first]);
            let outcomes = [used, face.code("cuCtxSynchronize", &[])];
            assert!([[0, 719], [0, 700]].contains(&outcomes), "seed {seed}: {outcomes:?}");
            control::set("expertile_sim_clear_reports", 0);
            face.code("cuCtxSynchronize", &[]);
        }
        things.silent("with an event", |it| {
            let memory = it.face.made::<usize>("cuMemAllocAsync", &[64, first]);
            it.record(first);
            it.wait(second);
            it.face.ok("cuMemsetD32Async", &[memory, 1, 1, second]);
            it.record(second);
            it.wait(first);
            it.face.ok("cuMemFreeAsync", &[memory, first]);
        });
    });
}

#[test]
fn two_devices_are_ordered_by_events() {
    on_both("two_devices_are_ordered_by_events", |face| {
        let things = Things::new(face);
        let first = things.first;
        face.enter(1);
        let (other, target) = (face.non_blocking(), face.zeros(16));
        face.enter(0);
        let copy = |it: &Things<'_>| {
            it.face.enter(1);
            it.face.ok("cuMemcpyDtoDAsync_v2", &[target, it.memory + 20, 4, other]);
            it.face.code("cuStreamSynchronize", &[other]);
            it.face.enter(0);
        };
        things.race("no event", |it| {
            it.write(first, 5);
            copy(it);
        });
        things.silent("an event", |it| {
            it.write(first, 5);
            it.record(first);
            it.face.enter(1);
            it.face.ok("cuStreamWaitEvent", &[other, it.event, 0]);
            it.face.enter(0);
            copy(it);
        });
    });
}

/// A graph of what is captured in the first stream, to which the second is joined.
fn captured(things: &Things<'_>, ordered: bool) -> usize {
    let &Things { face, first, second, .. } = things;
    assert_eq!(face.begin(first, 2), 0);
    things.record(first);
    things.wait(second);
    things.write(first, 5);
    if ordered {
        things.record(first);
        things.wait(second);
    }
    things.write(second, 5);
    things.record(second);
    things.wait(first);
    let (code, graph) = face.end(first);
    assert_eq!(code, 0);
    face.made("cuGraphInstantiateWithFlags", &[graph, 0])
}

#[test]
fn branches_of_a_graph_are_ordered_by_its_edges() {
    on_both("branches_of_a_graph_are_ordered_by_its_edges", |face| {
        let things = Things::new(face);
        let (first, second) = (things.first, things.second);
        let [loose, tight] = [false, true].map(|ordered| captured(&things, ordered));
        let launch = |graph, stream| face.ok("cuGraphLaunch", &[graph, stream]);
        things.race("two branches", |_| launch(loose, first));
        things.silent("a chain, launch after launch", |it| {
            launch(tight, first);
            launch(tight, first);
            it.fill(first, 5, 1);
        });
        things.silent("two launches of one graph do not overlap", |_| {
            launch(tight, first);
            launch(tight, second);
        });
        things.race("a graph, and work of another stream", |it| {
            launch(tight, first);
            it.write(second, 5);
        });
    });
}

#[test]
fn a_race_names_both_instructions() {
    on_both("a_race_names_both_instructions", |face| {
        let things = Things::new(face);
        if things.kernel.is_none() {
            return;
        }
        let found = things.reports(|it| {
            it.write(it.first, 5);
            it.write(it.second, 5);
        });
        let (name, access) = match face.is_hip {
            true => ("scale", "global_"),
            false => ("store", "st.global.u32"),
        };
        let report = &found[0][0];
        let (earlier, now) = report.split_once("between)").unwrap();
        assert!(earlier.contains(&format!("by kernel `{name}` in stream 0x")), "{report}");
        assert!(earlier.contains(access) && now.contains(access), "{report}");
    });
}

static CALLED: AtomicUsize = AtomicUsize::new(0);

extern "C" fn note(argument: usize) {
    CALLED.store(argument, Ordering::SeqCst);
}

/// Looks without a driver call until something is so.
fn spin(done: impl Fn() -> bool) {
    let since = Instant::now();
    while !done() {
        assert!(since.elapsed() < Duration::from_secs(60), "the device does not go on");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn devices_go_on_while_the_host_only_looks() {
    on_both("devices_go_on_while_the_host_only_looks", |face| {
        let things = Things::new(face);
        let function = note as extern "C" fn(usize);
        face.ok("cuLaunchHostFunc", &[things.first, function as usize, 77]);
        spin(|| CALLED.load(Ordering::SeqCst) == 77);
        let host = face.made::<usize>("cuMemHostAlloc", &[4, 0]);
        let word = std::ptr::with_exposed_provenance::<u32>(host);
        things.fill(things.first, 5, 9);
        let from = things.memory + 20;
        face.ok("cuMemcpyDtoHAsync_v2", &[host, from, 4, things.first]);
        // SAFETY: the driver gave these four bytes, which the copy writes.
        spin(|| unsafe { word.read_volatile() } == 9);
        things.synchronize(things.first);
        assert_eq!(control::text("expertile_sim_reports"), "");
    });
}
