//! Mbarriers, bulk copies, clusters.

use super::super::cluster_barrier::{self, ArriveCluster, WaitCluster};
use super::super::function::Window;
use super::super::ops_bulk::*;
use super::super::ops_cluster::*;
use super::super::ops_mbarrier::{self, *};
use super::super::ops_memory::{Fence, Nothing};
use super::modifiers::Modifiers;
use super::operand::exactly;
use super::{Decoder, is_wide};
use crate::memory::Order;
use crate::ptx::{Operand, Type};

const SEMANTICS: [&str; 3] = ["release", "acquire", "relaxed"];
const SCOPES: [&str; 2] = ["cta", "cluster"];
const COMPLETES: &str = "mbarrier::complete_tx::bytes";

impl Decoder<'_> {
    pub(super) fn mbarrier(
        &mut self,
        m: &mut Modifiers<'_>,
        ops: &[Operand],
    ) -> Result<(), String> {
        self.function.is_asynchronous = true;
        let ty = m.ty()?;
        if ty != Type::B64 {
            return Err(String::from("an mbarrier has 64 bits"));
        }
        let what = m.next().ok_or("it has no operation")?;
        if what == "pending_count" {
            let [to, state] = exactly(ops)?;
            let a = self.source(state, Type::B64)?;
            let d = self.destination(to, Type::U32)?;
            self.effect::<PendingCount>([d, a, 0, 0], 0);
            return Ok(());
        }
        let relaxed = m.one_of(&SEMANTICS) == Some("relaxed");
        m.one_of(&SCOPES);
        let mut flags = if relaxed { RELAXED } else { 0 };
        flags |= if m.flag("expect_tx") || what == "expect_tx" { EXPECTS } else { 0 };
        flags |= if m.flag("noComplete") { INCOMPLETE } else { 0 };
        flags |= if m.flag("parity") { BY_PARITY } else { 0 };
        let space = self.space(m)?;
        match what {
            "init" => {
                let [at, count] = exactly(ops)?;
                let b = self.source(count, Type::U32)?;
                let access = self.mbarrier_at(at, space)?;
                self.effect::<Init>([0, 0, b, 0], access);
            }
            "inval" => {
                let [at] = exactly(ops)?;
                let access = self.mbarrier_at(at, space)?;
                self.effect::<Invalidate>([0; 4], access);
            }
            "expect_tx" | "complete_tx" => {
                let [at, bytes] = exactly(ops)?;
                let b = self.source(bytes, Type::U32)?;
                let access = self.mbarrier_at(at, space)?;
                let d = self.scratch(true);
                // Neither carries what was done before.
                self.effect::<Arrive>([d, 0, b, 0], access | flags | RELAXED);
            }
            "arrive" | "arrive_drop" => {
                let (to, at, number) = match ops {
                    [at @ (Operand::Address(..) | Operand::List(_))] => (&Operand::Sink, at, None),
                    [at @ Operand::Address(..), number] => (&Operand::Sink, at, Some(number)),
                    [to, at] => (to, at, None),
                    [to, at, number] => (to, at, Some(number)),
                    _ => return Err(String::from("it has another number of operands")),
                };
                let expects = flags & EXPECTS != 0;
                if expects && number.is_none() {
                    return Err(String::from("it has no bytes to expect"));
                }
                flags |= ARRIVES | if what == "arrive_drop" { DROPS } else { 0 };
                flags |= if number.is_some() && !expects { COUNTED } else { 0 };
                let b = match number {
                    Some(number) => self.source(number, Type::U32)?,
                    None => self.constant(1, false),
                };
                let access = self.mbarrier_at(at, space)?;
                let d = self.destination(to, Type::B64)?;
                self.effect::<Arrive>([d, 0, b, 0], access | flags);
            }
            "test_wait" | "try_wait" => {
                // How long it may sleep is a hint.
                let ops = if what == "try_wait" { &ops[..ops.len().min(3)] } else { ops };
                let [to, at, phase] = exactly(ops)?;
                flags |= if what == "try_wait" { SLEEPS } else { 0 };
                let ty = if flags & BY_PARITY != 0 { Type::U32 } else { Type::B64 };
                let b = self.source(phase, ty)?;
                let access = self.mbarrier_at(at, space)?;
                let d = self.predicate_destination(to)?;
                self.effect::<ops_mbarrier::Wait>([d, 0, b, 0], access | flags);
            }
            _ => return Err(format!(".{what} is not modelled")),
        }
        Ok(())
    }

    fn mbarrier_at(&mut self, operand: &Operand, window: Window) -> Result<u64, String> {
        let access = self.address(operand, window, Order::Weak, 8)?;
        Ok(self.push_access(access))
    }

    /// `cp.async.mbarrier.arrive`, from behind `mbarrier`.
    pub(super) fn arrival_of_copies(
        &mut self,
        m: &mut Modifiers<'_>,
        ops: &[Operand],
    ) -> Result<(), String> {
        self.function.is_asynchronous = true;
        m.ty()?;
        if m.next() != Some("arrive") {
            return Err(String::from("this copy is not modelled"));
        }
        let flags = if m.flag("noinc") { WITHOUT_INCREMENT } else { 0 };
        let space = self.space(m)?;
        let [at] = exactly(ops)?;
        let access = self.mbarrier_at(at, space)?;
        self.effect::<ArriveAfterCopies>([0; 4], access | flags);
        Ok(())
    }

    /// `cp.async.bulk`, from behind `bulk`.
    pub(super) fn bulk(&mut self, m: &mut Modifiers<'_>, ops: &[Operand]) -> Result<(), String> {
        self.function.is_asynchronous = true;
        if m.flag("commit_group") {
            self.effect::<CommitBulk>([0; 4], 0);
            return Ok(());
        }
        if m.flag("wait_group") {
            let [Operand::Integer(left)] = ops else {
                return Err(String::from("the number of groups is no constant"));
            };
            let reading = u32::from(m.flag("read"));
            self.effect::<WaitBulk>([0, reading, 0, 0], *left as u64);
            return Ok(());
        }
        let prefetch = m.flag("prefetch");
        let tensor = m.flag("tensor");
        let rank = match tensor {
            true => {
                let ranks = ["1d", "2d", "3d", "4d", "5d"];
                let rank = m.one_of(&ranks).ok_or("it has no rank")?;
                if let Some(mode) = m.starting("im2col").or_else(|| m.starting("tile::")) {
                    return Err(format!(".{mode} is not modelled"));
                }
                m.flag("tile");
                ranks.iter().position(|known| *known == rank)
            }
            false => None,
        };
        let hinted = m.flag("L2::cache_hint");
        let ops = if hinted { &ops[..ops.len().saturating_sub(1)] } else { ops };
        if prefetch {
            m.flag("L2");
            m.flag("global");
            return self.bulk_copy(Direction::Prefetch, rank, (None, None), ops, false);
        }
        let (to, from) = (self.space(m)?, self.space(m)?);
        let near = |window| matches!(window, Window::Shared | Window::Cluster);
        let direction = match (to, from) {
            (to, Window::Global) if near(to) => Direction::Load,
            (Window::Global, Window::Shared) => Direction::Store,
            (Window::Cluster, Window::Shared) if !tensor => Direction::Share,
            _ => return Err(String::from("these spaces are not modelled")),
        };
        let multicast = m.flag("multicast::cluster");
        let completes = match direction {
            Direction::Store => "bulk_group",
            _ => COMPLETES,
        };
        if !m.flag(completes) {
            return Err(format!("it has no .{completes}"));
        }
        self.bulk_copy(direction, rank, (Some(to), Some(from)), ops, multicast)
    }

    /// `rank` is that of the tensor, less one.
    fn bulk_copy(
        &mut self,
        direction: Direction,
        rank: Option<usize>,
        (to, from): (Option<Window>, Option<Window>),
        ops: &[Operand],
        multicast: bool,
    ) -> Result<(), String> {
        let wrong = || String::from("it has other operands");
        let (first, rest) = ops.split_first().ok_or_else(wrong)?;
        let (near, far, rest) = match (direction, rest) {
            (Direction::Prefetch, rest) => (None, first, rest),
            (Direction::Store, [near, rest @ ..]) => (Some(near), first, rest),
            (_, [far, rest @ ..]) => (Some(first), far, rest),
            _ => return Err(wrong()),
        };
        let near_window = if direction == Direction::Store { from } else { to };
        let near = match (near, near_window) {
            (Some(near), Some(window)) => Some(self.address(near, window, Order::Weak, 16)?),
            _ => None,
        };
        let (mut coordinates, mut bytes) = (None, None);
        let (far, rest) = match rank {
            Some(rank) => {
                let Operand::List(parts) = far else { return Err(wrong()) };
                let [map, Operand::Vector(given)] = &parts[..] else { return Err(wrong()) };
                if given.len() != rank + 1 {
                    return Err(format!("{} coordinates of {}", given.len(), rank + 1));
                }
                let slots = given.iter().map(|operand| self.source(operand, Type::S32));
                coordinates = Some(slots.collect::<Result<_, _>>()?);
                (self.address(map, Window::Generic, Order::Weak, 16)?, rest)
            }
            None => {
                let (count, rest) = rest.split_first().ok_or_else(wrong)?;
                bytes = Some(self.source(count, Type::U32)?);
                let window = match direction {
                    Direction::Share => Window::Shared,
                    _ => Window::Global,
                };
                (self.address(far, window, Order::Weak, 16)?, rest)
            }
        };
        let mut bulk =
            Bulk { direction, near, far, coordinates, bytes, barrier: None, multicast: None };
        let rest = match (direction, rest) {
            (Direction::Load | Direction::Share, [at, rest @ ..]) => {
                let window = near_window.unwrap_or(Window::Shared);
                bulk.barrier = Some(self.address(at, window, Order::Weak, 8)?);
                rest
            }
            (_, rest) => rest,
        };
        match (multicast, rest) {
            (true, [mask]) => bulk.multicast = Some(self.source(mask, Type::B16)?),
            (false, []) => {}
            _ => return Err(wrong()),
        }
        self.function.bulks.push(bulk);
        let at = self.function.bulks.len() as u64 - 1;
        self.effect::<BulkCopy>([0; 4], at);
        Ok(())
    }

    /// `prefetch.tensormap`.
    pub(super) fn prefetch_map(&mut self, ops: &[Operand]) -> Result<(), String> {
        let [map] = exactly(ops)?;
        let far = self.address(map, Window::Generic, Order::Weak, 16)?;
        let (direction, coordinates) = (Direction::Prefetch, Some(Vec::new()));
        let bulk = Bulk {
            direction,
            near: None,
            far,
            coordinates,
            bytes: None,
            barrier: None,
            multicast: None,
        };
        self.function.bulks.push(bulk);
        let at = self.function.bulks.len() as u64 - 1;
        self.effect::<BulkCopy>([0; 4], at);
        Ok(())
    }

    /// `fence`, `membar`.
    pub(super) fn fence(&mut self, m: &mut Modifiers<'_>) -> Result<(), String> {
        let Some(proxy) = m.starting("proxy") else {
            let inits = m.flag("mbarrier_init");
            while m.next().is_some() {}
            // Copies find an mbarrier by the order of its initialisation.
            match inits {
                true => self.effect::<Nothing>([0; 4], 0),
                false => self.effect::<Fence>([0; 4], 0),
            }
            return Ok(());
        };
        if proxy != "proxy" {
            return Err(format!(".{proxy} is not modelled"));
        }
        match m.next() {
            Some("async" | "async::generic") => {
                // Global memory is not followed across proxies.
                let global = m.flag("global");
                while m.next().is_some() {}
                match global {
                    true => self.effect::<Nothing>([0; 4], 0),
                    false => self.effect::<ProxyFence>([0; 4], 0),
                }
            }
            Some("alias" | "tensormap::generic") => {
                while m.next().is_some() {}
                self.effect::<Fence>([0; 4], 0);
            }
            other => {
                return Err(format!("the proxy {} is not modelled", other.unwrap_or("of nothing")));
            }
        }
        Ok(())
    }

    /// `barrier.cluster`, from behind `cluster`.
    pub(super) fn cluster_barrier(
        &mut self,
        m: &mut Modifiers<'_>,
        ops: &[Operand],
    ) -> Result<(), String> {
        let [] = exactly(ops)?;
        let aligned = m.flag("aligned");
        let relaxed = m.one_of(&SEMANTICS) == Some("relaxed");
        let mut extra = if aligned { cluster_barrier::ALIGNED } else { 0 };
        extra |= if relaxed { cluster_barrier::RELAXED } else { 0 };
        match m.next() {
            Some("arrive") => self.effect::<ArriveCluster>([0; 4], extra),
            Some("wait") => self.effect::<WaitCluster>([0; 4], extra),
            _ => return Err(String::from("this barrier is not modelled")),
        }
        Ok(())
    }

    /// `mapa`, `getctarank`.
    pub(super) fn map_address(
        &mut self,
        name: &str,
        m: &mut Modifiers<'_>,
        ops: &[Operand],
    ) -> Result<(), String> {
        let ty = m.ty()?;
        let space = m.one_of(&["shared::cluster"]);
        let wide = is_wide(ty);
        let generic = u32::from(space.is_none());
        if name == "getctarank" {
            let [to, from] = exactly(ops)?;
            let a = self.source(from, ty)?;
            let d = self.destination(to, Type::U32)?;
            self.effect::<RankOf>([d, a, u32::from(wide), generic], 0);
            return Ok(());
        }
        let [to, from, rank] = exactly(ops)?;
        let a = self.source(from, ty)?;
        let b = self.source(rank, Type::U32)?;
        let d = self.destination(to, ty)?;
        self.effect::<MapAddress>([d, a, b, u32::from(wide)], generic.into());
        Ok(())
    }
}
