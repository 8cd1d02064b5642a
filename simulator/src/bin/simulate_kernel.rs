//! Runs a command on simulated devices.

fn main() {}
