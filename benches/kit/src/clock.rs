//! How much time each part has.

use std::time::{Duration, Instant};

/// The parts in their order, with their weights: what a part leaves goes to those behind it.
pub const PARTS: [(&str, u32); 7] = [
    ("check", 4),
    ("properties", 26),
    ("probes", 4),
    ("candle", 2),
    ("benches", 42),
    ("sanitizer", 16),
    ("more-properties", 8),
];

/// The end of the run, less what the table and the archive take.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    end: Instant,
}

impl Clock {
    pub fn new(start: Instant, minutes: f64) -> Clock {
        let all = Duration::from_secs_f64(60.0 * minutes);
        let reserve = (all / 20).clamp(Duration::from_secs(2), Duration::from_secs(20));
        Clock { end: start + all.saturating_sub(reserve) }
    }

    /// When the part at `index` of `parts` must end, if it begins now.
    pub fn deadline(&self, parts: &[(&str, u32)], index: usize, now: Instant) -> Instant {
        let left = self.end.saturating_duration_since(now);
        let weights: u32 = parts[index..].iter().map(|(_, weight)| weight).sum();
        now + left * parts[index].1 / weights.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_shared_by_weight() {
        let start = Instant::now();
        let clock = Clock::new(start, 10.0);
        let parts = [("a", 1), ("b", 3)];
        let all = Duration::from_secs(580);
        assert_eq!(clock.deadline(&parts, 0, start) - start, all / 4);
        // The first took nothing: the second has all.
        assert_eq!(clock.deadline(&parts, 1, start) - start, all);
        // Late is late, not negative.
        let late = start + Duration::from_secs(700);
        assert_eq!(clock.deadline(&parts, 1, late), late);
    }
}
