//! Which device an address is of.
//!
//! Every device has a window of 4 TiB below every address of a Linux process: window 0 is the host's,
//! 1 to 8 are those of CUDA's devices, 9 to 16 of HIP's.

/// The bits of an address below its window's number.
pub(crate) const BITS: u32 = 42;
/// Of each platform.
pub(crate) const MOST_DEVICES: usize = 8;

/// The device of an address, in words, if it is another than that of `own`.
pub(super) fn other_device(address: u64, own: u64) -> Option<String> {
    let [window, own] = [address, own].map(|address| (address >> BITS) as usize);
    let index = window.checked_sub(1).filter(|_| own != 0 && own != window)?;
    let platform = ["CUDA", "HIP"].get(index / MOST_DEVICES)?;
    Some(format!("{platform} device {}", index % MOST_DEVICES))
}

#[cfg(test)]
mod tests {
    use super::{BITS, other_device};

    #[test]
    fn addresses_of_other_devices_are_told_apart() {
        let of = |window: u64| window << BITS | 0x123;
        let other = |window, own| other_device(of(window), of(own));
        assert_eq!(other(1, 2).as_deref(), Some("CUDA device 0"));
        assert_eq!(other(8, 2).as_deref(), Some("CUDA device 7"));
        assert_eq!(other(9, 1).as_deref(), Some("HIP device 0"));
        assert_eq!(other(16, 9).as_deref(), Some("HIP device 7"));
        for (window, own) in [(0, 1), (2, 2), (17, 1), (3, 0)] {
            assert_eq!(other(window, own), None, "{window} from {own}");
        }
    }
}
