//! Mbarriers, bulk copies, tensor maps, clusters: compiled kernels under many schedules, each fault
//! planted and found in every one of them.

#[path = "asynchronous/bench.rs"]
mod bench;
#[path = "asynchronous/boxes.rs"]
mod boxes;
#[path = "asynchronous/clusters.rs"]
mod clusters;
#[path = "asynchronous/gemms.rs"]
mod gemms;
#[path = "asynchronous/launches.rs"]
mod launches;
#[path = "asynchronous/mbarriers.rs"]
mod mbarriers;
#[path = "asynchronous/rings.rs"]
mod rings;
#[path = "asynchronous/stores.rs"]
mod stores;
#[path = "driver/support.rs"]
mod support;
