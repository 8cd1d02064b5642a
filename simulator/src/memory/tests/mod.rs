mod bounds;
mod differential;
mod model;
mod races;
mod silent;
mod streams;
mod traffic;

use super::{Access, AccessFault, Clocks, Finding, Memory, Order};

pub(super) const BASE: u64 = 0x7000_0000;
const ALL: u32 = u32::MAX;

/// One device memory and one launch of it, with short names for what warps do.
pub(super) struct Bench {
    pub(super) memory: Memory,
    pub(super) clocks: Clocks,
    pub(super) findings: Vec<Finding>,
    pub(super) order: Order,
}

/// Addresses of 32 lanes, `step` bytes apart.
pub(super) fn lanes(start: u64, step: u64) -> [u64; 32] {
    std::array::from_fn(|lane| start + lane as u64 * step)
}

impl Bench {
    pub(super) fn new(warps_per_block: u32) -> Bench {
        let mut memory = Memory::new(BASE, 1 << 30);
        let clocks = Clocks::new(memory.begin_launch(), warps_per_block);
        Bench { memory, clocks, findings: Vec::new(), order: Order::Weak }
    }

    pub(super) fn next_launch(&mut self, warps_per_block: u32) {
        self.clocks = Clocks::new(self.memory.begin_launch(), warps_per_block);
    }

    /// An allocation of zeros that the host wrote.
    pub(super) fn zeros(&mut self, bytes: u64) -> u64 {
        let start = self.memory.allocate(bytes).unwrap();
        self.memory.fill(start, &[0], bytes).unwrap();
        start
    }

    pub(super) fn with(&mut self, order: Order) -> &mut Bench {
        self.order = order;
        self
    }

    fn take_order(&mut self) -> Order {
        std::mem::replace(&mut self.order, Order::Weak)
    }

    pub(super) fn load(
        &mut self,
        warp: u64,
        mask: u32,
        bytes: u32,
        at: &[u64; 32],
    ) -> Result<(u32, [u8; 512]), AccessFault> {
        let mut out = [0xEE; 512];
        let access =
            Access { addresses: at, mask, bytes, order: self.take_order(), warp, place: 0 };
        let written = self.memory.load(&mut self.clocks, &access, &mut out, &mut self.findings)?;
        Ok((written, out))
    }

    pub(super) fn store(
        &mut self,
        warp: u64,
        mask: u32,
        bytes: u32,
        at: &[u64; 32],
        data: &[u8; 512],
    ) -> Result<(), AccessFault> {
        let access =
            Access { addresses: at, mask, bytes, order: self.take_order(), warp, place: 0 };
        self.memory.store(&mut self.clocks, &access, data, ALL, &mut self.findings)
    }

    /// One lane reads 4 bytes.
    pub(super) fn get(&mut self, warp: u64, lane: u32, address: u64) -> u32 {
        let (_, out) = self.load(warp, 1 << lane, 4, &[address; 32]).unwrap();
        u32::from_le_bytes(out[lane as usize * 4..][..4].try_into().unwrap())
    }

    /// One lane writes 4 bytes.
    pub(super) fn put(&mut self, warp: u64, lane: u32, address: u64, value: u32) {
        let mut data = [0; 512];
        data[lane as usize * 4..][..4].copy_from_slice(&value.to_le_bytes());
        self.store(warp, 1 << lane, 4, &[address; 32], &data).unwrap();
    }

    /// One lane adds to 4 bytes and gets what was there.
    pub(super) fn add(&mut self, warp: u64, lane: u32, address: u64, value: u32) -> u32 {
        let order = match self.take_order() {
            Order::Weak => Order::Relaxed,
            order => order,
        };
        let access =
            Access { addresses: &[address; 32], mask: 1 << lane, bytes: 4, order, warp, place: 0 };
        let mut old = 0;
        let mut update = |_: u32, bytes: &mut [u8]| {
            old = u32::from_le_bytes(bytes.try_into().unwrap());
            bytes.copy_from_slice(&old.wrapping_add(value).to_le_bytes());
        };
        self.memory
            .atomic(&mut self.clocks, &access, &[lane], &mut update, &mut self.findings)
            .unwrap();
        old
    }

    /// All warps of a block pass a barrier.
    pub(super) fn barrier(&mut self, block: u64, warps_per_block: u64) {
        let mut fence = super::Fence::default();
        for warp in 0..warps_per_block {
            self.clocks.barrier_arrive(block * warps_per_block + warp, &mut fence);
        }
        for warp in 0..warps_per_block {
            self.clocks.barrier_leave(block * warps_per_block + warp, &fence);
        }
    }

    #[track_caller]
    pub(super) fn silent(&mut self) {
        assert_eq!(self.findings, []);
    }

    /// Exactly one finding since the last look; its lane, offset and message.
    #[track_caller]
    pub(super) fn one(&mut self, lane: u32, address: u64, message: &str) {
        let found = std::mem::take(&mut self.findings);
        let text = |finding: &Finding| (finding.lane, finding.text(|_| String::new()));
        let expected = (lane, format!("address {address:#x}: {message}"));
        assert_eq!(found.iter().map(text).collect::<Vec<_>>(), [expected]);
    }
}

/// An ordinary access of a whole warp.
pub(super) fn weak(addresses: &[u64; 32], bytes: u32, warp: u64) -> Access<'_> {
    Access { addresses, mask: ALL, bytes, order: Order::Weak, warp, place: 0 }
}
