//! Kernels as they are found in other people's code: right ones give exact results and no report
//! under any schedule, and faults planted in them are reported with their line.
//!
//! `EXPERTILE_SIM_SEEDS` is the number of schedules of each (default 100).

#[path = "kernels/bench.rs"]
mod bench;
#[path = "kernels/faults.rs"]
mod faults;
#[path = "kernels/integers.rs"]
mod integers;
#[path = "kernels/math.rs"]
mod math;
#[path = "kernels/reductions.rs"]
mod reductions;
#[path = "kernels/scans.rs"]
mod scans;
#[path = "kernels/sorts.rs"]
mod sorts;
#[path = "kernels/various.rs"]
mod various;
