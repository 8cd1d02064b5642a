//! Executing launches, and what is kept of them: reports and counters.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use super::driver::{Driver, number_from_environment};
use super::error::{Code, refuse};
use super::launch::KernelLaunch;
use super::table::Handle;
use crate::engine::{Device, INSTRUCTION_LIMIT, Launch, Outcome};
use crate::memory::{SharedTraffic, Traffic};
use crate::report::{Kind, Report};

/// What is kept for those who ask through `expertile_sim_*`: of all platforms together.
pub(crate) struct Record {
    seed: u64,
    /// How often a seed was set.
    turn: u64,
    /// Launches executed so far.
    launches: u64,
    /// Whether an error of a launch stays, as on hardware.
    pub(crate) sticky: bool,
    /// One line each, without repetition.
    pub(crate) reports: Vec<String>,
    printed: BTreeSet<String>,
    /// Reports beyond those kept.
    left_out: u64,
    pub(crate) last: Counted,
    pub(crate) total: Counted,
    /// How often each driver call was made.
    calls: BTreeMap<&'static str, u64>,
}

static RECORD: LazyLock<Mutex<Record>> =
    LazyLock::new(|| Mutex::new(Record::new(number_from_environment("EXPERTILE_SIM_SEED", 0))));

/// The record, for this thread alone. It is asked for under a driver's lock, never the other way round,
/// and not kept while work is done.
pub(crate) fn lock() -> MutexGuard<'static, Record> {
    RECORD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counters of a launch, or their sum.
#[derive(Clone, Default)]
pub(crate) struct Counted {
    kernel: String,
    launches: u64,
    warp_instructions: u64,
    blocks: u64,
    barriers: u64,
    shared: SharedTraffic,
    matrix: BTreeMap<String, u64>,
    traffic: Traffic,
    allocations: BTreeMap<u64, Traffic>,
}

/// More different reports than a reader wants are counted only.
const MOST_REPORTS: usize = 1024;

impl Record {
    fn new(seed: u64) -> Record {
        Record {
            seed,
            turn: 0,
            launches: 0,
            sticky: false,
            reports: Vec::new(),
            printed: BTreeSet::new(),
            left_out: 0,
            last: Counted::default(),
            total: Counted::default(),
            calls: BTreeMap::new(),
        }
    }

    /// Restarts the numbering of launches, from which seeds follow.
    pub(crate) fn set_seed(&mut self, seed: u64) {
        self.seed = seed;
        self.turn += 1;
        self.launches = 0;
    }

    /// The seed, and which of those set it is.
    pub(crate) fn seed(&self) -> (u64, u64) {
        (self.turn, self.seed)
    }

    /// Counts a driver call.
    pub(crate) fn count(&mut self, symbol: &'static str) {
        *self.calls.entry(symbol).or_default() += 1;
    }

    /// How often a driver call was made.
    pub(crate) fn calls(&self, symbol: &str) -> u64 {
        self.calls.get(symbol).copied().unwrap_or(0)
    }

    /// Numbers a launch; its seed, and that of its approximations.
    fn begin_launch(&mut self) -> (u64, u64) {
        let seed = launch_seed(self.seed, self.launches);
        self.launches += 1;
        (seed, self.seed)
    }

    fn end_launch(&mut self, kernel: &str, outcome: &Outcome) {
        let counters = &outcome.counters;
        let counted = Counted {
            kernel: kernel.to_owned(),
            launches: 1,
            warp_instructions: counters.warp_instructions,
            blocks: counters.blocks,
            barriers: counters.barriers,
            shared: counters.shared,
            matrix: counters.matrix.clone(),
            traffic: counters.traffic,
            allocations: counters.traffic_by_allocation.iter().copied().collect(),
        };
        self.total.add(&counted);
        self.last = counted;
        outcome.reports.iter().for_each(|report| self.keep(report));
    }

    pub(crate) fn clear_reports(&mut self) {
        self.reports.clear();
        self.printed.clear();
        self.left_out = 0;
    }

    pub(crate) fn report_text(&self) -> String {
        let mut text: String = self.reports.iter().map(|line| format!("{line}\n")).collect();
        if self.left_out > 0 {
            let _infallible = writeln!(text, "... and {} more", self.left_out);
        }
        text
    }

    pub(crate) fn keep(&mut self, report: &Report) {
        let line = report.to_string();
        if self.printed.contains(&line) {
            return;
        }
        if self.reports.len() == MOST_REPORTS {
            self.left_out += 1;
            return;
        }
        eprintln!("simulated device: {line}");
        self.printed.insert(line.clone());
        self.reports.push(line);
    }
}

impl Counted {
    fn add(&mut self, other: &Counted) {
        self.kernel.clone_from(&other.kernel);
        self.launches += other.launches;
        self.warp_instructions += other.warp_instructions;
        self.blocks += other.blocks;
        self.barriers += other.barriers;
        self.shared.add(&other.shared);
        for (shape, count) in &other.matrix {
            *self.matrix.entry(shape.clone()).or_default() += count;
        }
        add(&mut self.traffic, &other.traffic);
        for (&address, traffic) in &other.allocations {
            add(self.allocations.entry(address).or_default(), traffic);
        }
    }

    /// `key value` lines; an allocation's keys begin with its address.
    pub(crate) fn text(&self) -> String {
        let mut lines = vec![
            format!("kernel {}", self.kernel),
            format!("launches {}", self.launches),
            format!("blocks {}", self.blocks),
            format!("warp_instructions {}", self.warp_instructions),
            format!("barriers {}", self.barriers),
            format!("shared.instructions {}", self.shared.instructions),
            format!("shared.passes {}", self.shared.passes),
            format!("shared.conflicts {}", self.shared.conflicts),
        ];
        lines.extend(self.matrix.iter().map(|(shape, count)| format!("matrix.{shape} {count}")));
        traffic_lines(&mut lines, "global", &self.traffic);
        for (address, traffic) in &self.allocations {
            traffic_lines(&mut lines, &format!("{address:#x}"), traffic);
        }
        lines.join("\n") + "\n"
    }
}

fn add(sum: &mut Traffic, other: &Traffic) {
    sum.bytes_read += other.bytes_read;
    sum.bytes_written += other.bytes_written;
    sum.sectors_read += other.sectors_read;
    sum.sectors_written += other.sectors_written;
    sum.unique_sectors_read += other.unique_sectors_read;
    sum.unique_sectors_written += other.unique_sectors_written;
    sum.instructions += other.instructions;
}

fn traffic_lines(lines: &mut Vec<String>, prefix: &str, traffic: &Traffic) {
    let Traffic {
        bytes_read,
        bytes_written,
        sectors_read,
        sectors_written,
        unique_sectors_read,
        unique_sectors_written,
        instructions,
    } = traffic;
    lines.extend([
        format!("{prefix}.bytes_read {bytes_read}"),
        format!("{prefix}.bytes_written {bytes_written}"),
        format!("{prefix}.sectors_read {sectors_read}"),
        format!("{prefix}.sectors_written {sectors_written}"),
        format!("{prefix}.unique_sectors_read {unique_sectors_read}"),
        format!("{prefix}.unique_sectors_written {unique_sectors_written}"),
        format!("{prefix}.instructions {instructions}"),
    ]);
}

/// The schedule's seed of a launch (splitmix64).
fn launch_seed(seed: u64, launch: u64) -> u64 {
    let mut state = seed.wrapping_add(launch.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    state = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    state ^ (state >> 31)
}

/// What the driver says of a report.
fn code_of(kind: Kind) -> Code {
    match kind {
        Kind::OutOfBounds => Code::ILLEGAL_ADDRESS,
        Kind::Misaligned => Code::MISALIGNED_ADDRESS,
        Kind::Trap => Code::ASSERT,
        Kind::Deadlock => Code::LAUNCH_TIMEOUT,
        Kind::Unsupported => Code::NOT_SUPPORTED,
        _ => Code::LAUNCH_FAILED,
    }
}

impl Driver {
    /// Executes a launch on its context's device.
    pub(crate) fn execute(&mut self, context: Handle, launch: &KernelLaunch) {
        let Ok(index) = self.device_of(context) else { return };
        let card = &mut self.devices[index];
        let device = Device {
            compute_capability: card.architecture.compute_capability(),
            multiprocessors: card.architecture.multiprocessors as u32,
            max_shared_bytes: card.architecture.shared_bytes_per_block() as u32,
        };
        let (seed, approximation_seed) = lock().begin_launch();
        let outcome = launch.program.launch_in_clusters(
            &mut card.memory,
            &Launch {
                kernel: &launch.kernel,
                grid: launch.grid,
                block: launch.block,
                dynamic_shared_bytes: launch.dynamic_shared_bytes,
                parameters: &launch.parameters,
                seed,
                approximation_seed,
                instruction_limit: INSTRUCTION_LIMIT,
                device: &device,
            },
            launch.cluster,
        );
        lock().end_launch(&launch.kernel, &outcome);
        // The fatal report, if there is one, is the last.
        if let (Some(report), Ok(state)) = (outcome.reports.last(), self.contexts.get_mut(context))
        {
            state.stopped |= report.kind.is_fatal();
            let failure = refuse::<()>(code_of(report.kind), report.to_string());
            if let Err(failure) = failure {
                state.failure.get_or_insert(failure);
            }
        }
    }
}
