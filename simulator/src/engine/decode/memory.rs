//! Loads, stores, atomics, fences, asynchronous copies.

use super::super::context::PARAMETER_WINDOW;
use super::super::function::{Access, Element, Window};
use super::super::ops_atomic::*;
use super::super::ops_copy::*;
use super::super::ops_memory::*;
use super::modifiers::Modifiers;
use super::operand::exactly;
use super::{Decoder, Home, bytes_of, is_signed, is_wide};
use crate::memory::Order;
use crate::ptx::{Base, Operand, Type};

const SPACES: [&str; 9] = [
    "global",
    "shared",
    "shared::cta",
    "local",
    "const",
    "param",
    "param::entry",
    "param::func",
    "shared::cluster",
];
const HINTS: [&str; 22] = [
    "ca",
    "cg",
    "cs",
    "lu",
    "cv",
    "wb",
    "wt",
    "nc",
    "L1::evict_normal",
    "L1::evict_unchanged",
    "L1::evict_first",
    "L1::evict_last",
    "L1::no_allocate",
    "L2::64B",
    "L2::128B",
    "L2::256B",
    "L2::evict_last",
    "L2::evict_normal",
    "L2::evict_first",
    "unified",
    "noftz",
    "L2::evict_unchanged",
];

fn order(m: &mut Modifiers<'_>) -> Result<Order, String> {
    let order =
        match m.one_of(&["weak", "volatile", "relaxed", "acquire", "release", "acq_rel", "mmio"]) {
            None | Some("weak") => Order::Weak,
            Some("acquire") => Order::Acquire,
            Some("release") => Order::Release,
            Some("acq_rel") => Order::AcquireRelease,
            Some("mmio") => return Err(String::from(".mmio is not modelled")),
            Some(_) => Order::Relaxed,
        };
    m.one_of(&["cta", "cluster", "gpu", "sys"]);
    Ok(order)
}

impl Decoder<'_> {
    pub(super) fn space(&self, m: &mut Modifiers<'_>) -> Result<Window, String> {
        Ok(match m.one_of(&SPACES) {
            None => Window::Generic,
            Some("global" | "const") => Window::Global,
            Some("shared" | "shared::cta") => Window::Shared,
            Some("local") => Window::Local,
            Some("shared::cluster") => Window::Cluster,
            Some(_) if self.source.entry => Window::Parameter,
            Some(_) => Window::Local,
        })
    }

    /// The address operand: the access without its elements.
    pub(super) fn address(
        &mut self,
        operand: &Operand,
        mut window: Window,
        order: Order,
        bytes: u32,
    ) -> Result<Access, String> {
        let Operand::Address(base, offset) = operand else {
            return Err(String::from("the address is none"));
        };
        let offset = *offset as u64;
        let mut access = Access {
            window,
            order,
            base: None,
            wide_address: true,
            offset,
            bytes,
            signed: false,
            elements: Vec::new(),
        };
        match base {
            Base::Absolute => {}
            Base::Register(register) => {
                access.base = Some(self.slots[*register as usize]);
                access.wide_address = is_wide(self.register_type(*register));
            }
            Base::Symbol(name) => {
                if let Some(Home::Parameter(at)) = self.homes.get(name.as_str()) {
                    access.offset =
                        PARAMETER_WINDOW.wrapping_add((*at).into()).wrapping_add(offset);
                    window = Window::Parameter;
                } else {
                    if matches!(self.homes.get(name.as_str()), Some(Home::Local(..))) {
                        window = Window::Local;
                    }
                    access.base = Some(self.symbol(name, 0, true)?);
                }
            }
        }
        // A generic address may name a variable of any space, where the space is known here.
        if let (Window::Generic, Base::Symbol(name)) = (window, base) {
            let is_global = self.symbols.variables.contains_key(name);
            window = if is_global { Window::Global } else { Window::Shared };
        }
        access.window = window;
        Ok(access)
    }

    fn element(&self, operand: &Operand, ty: Type, load: bool) -> Result<Element, String> {
        match operand {
            Operand::Sink => Ok(Element { slot: None, wide: is_wide(ty) }),
            Operand::Register(register) => {
                let kept = self.register_type(*register);
                if matches!(kept, Type::Pred | Type::B128) || bytes_of(kept) < bytes_of(ty) {
                    return Err(String::from("a register of this type is not modelled here"));
                }
                let wide = is_wide(kept);
                if wide && !load && !is_wide(ty) {
                    return Err(String::from("storing a part of a register is not modelled"));
                }
                Ok(Element { slot: Some(self.slots[*register as usize]), wide })
            }
            _ => Err(String::from("this operand is no register")),
        }
    }

    pub(super) fn push_access(&mut self, access: Access) -> u64 {
        self.function.accesses.push(access);
        self.function.accesses.len() as u64 - 1
    }

    pub(super) fn memory(
        &mut self,
        name: &str,
        m: &mut Modifiers<'_>,
        ops: &[Operand],
    ) -> Result<(), String> {
        match name {
            "ld" | "ldu" | "st" => self.load_or_store(name != "st", m, ops),
            "atom" | "red" => self.atomic(name, m, ops),
            "fence" | "membar" => self.fence(m),
            "prefetch" if m.flag("tensormap") => {
                while m.next().is_some() {}
                self.prefetch_map(ops)
            }
            "prefetch" | "prefetchu" | "applypriority" | "discard" => {
                if name == "discard" {
                    return Err(String::from("discard is not modelled"));
                }
                while m.next().is_some() {}
                self.effect::<Nothing>([0; 4], 0);
                Ok(())
            }
            "createpolicy" => {
                while m.next().is_some() {}
                let to = ops.first().ok_or("it has no destination")?;
                let (d, zero) = (self.destination(to, Type::B64)?, self.constant(0, true));
                self.pure::<super::super::ops_convert::Copy64>([d, zero, 0, 0], 0);
                Ok(())
            }
            _ => self.copy_async(m, ops),
        }
    }

    fn load_or_store(
        &mut self,
        load: bool,
        m: &mut Modifiers<'_>,
        ops: &[Operand],
    ) -> Result<(), String> {
        if m.flag("async") {
            return Err(String::from("stores that complete an mbarrier are not modelled"));
        }
        let ty = m.ty()?;
        let order = order(m)?;
        let window = self.space(m)?;
        let count = match m.one_of(&["v2", "v4", "v8"]) {
            None => 1,
            Some("v2") => 2,
            Some("v4") => 4,
            Some(_) => 8,
        };
        while m.one_of(&HINTS).is_some() {}
        let hinted = m.flag("L2::cache_hint");
        let ops = if hinted { &ops[..ops.len().min(2)] } else { ops };
        let [first, second] = exactly(ops)?;
        let (value, address) = if load { (first, second) } else { (second, first) };
        let bytes = bytes_of(ty);
        if bytes == 0 || bytes * count > 16 {
            return Err(format!("an access of {} bytes is not modelled", bytes * count));
        }
        let mut access = self.address(address, window, order, bytes)?;
        access.signed = is_signed(ty);
        let values = self.elements(value);
        if values.len() != count as usize {
            return Err(String::from("it has another number of elements"));
        }
        for value in values {
            let element = match value {
                Operand::Register(_) | Operand::Sink if load => self.element(value, ty, true)?,
                Operand::Register(register)
                    if !is_wide(self.register_type(*register)) || is_wide(ty) =>
                {
                    self.element(value, ty, false)?
                }
                _ => Element { slot: Some(self.source(value, ty)?), wide: is_wide(ty) },
            };
            access.elements.push(element);
        }
        let at = self.push_access(access);
        if load {
            self.effect::<Load>([0; 4], at);
        } else {
            self.effect::<Store>([0; 4], at);
        }
        Ok(())
    }

    fn atomic(&mut self, name: &str, m: &mut Modifiers<'_>, ops: &[Operand]) -> Result<(), String> {
        let ty = m.ty()?;
        let order = match order(m)? {
            Order::Weak => Order::Relaxed,
            other => other,
        };
        let window = self.space(m)?;
        if m.starting("v").is_some() {
            return Err(String::from("atomics of vectors are not modelled"));
        }
        while m.one_of(&HINTS).is_some() {}
        if m.flag("L2::cache_hint") {
            return Err(String::from("cache hints of atomics are not modelled"));
        }
        let what = m.next().ok_or("it has no operation")?;
        let (to, rest) = match (name, ops) {
            ("atom", [to, rest @ ..]) => (Some(to), rest),
            (_, rest) => (None, rest),
        };
        let (address, b, c) = match rest {
            [address, b] => (address, b, b),
            [address, b, c] => (address, b, c),
            _ => return Err(String::from("it has another number of operands")),
        };
        let mut access = self.address(address, window, order, bytes_of(ty))?;
        let (b, c) = (self.source(b, ty)?, self.source(c, ty)?);
        if let Some(to) = to {
            let slot = Some(self.destination(to, ty)?);
            access.elements.push(Element { slot, wide: is_wide(ty) });
        }
        let at = self.push_access(access);
        let slots = [0, 0, b, c];
        match (what, ty, bytes_of(ty)) {
            ("exch", _, 4 | 8) => self.effect::<Atomic<Exchange>>(slots, at),
            ("cas", _, 2) => self.effect::<Atomic<CompareAndSwap16>>(slots, at),
            ("cas", _, 4) => self.effect::<Atomic<CompareAndSwap32>>(slots, at),
            ("cas", _, 8) => self.effect::<Atomic<CompareAndSwap64>>(slots, at),
            ("and", _, 4 | 8) => self.effect::<Atomic<And>>(slots, at),
            ("or", _, 4 | 8) => self.effect::<Atomic<Or>>(slots, at),
            ("xor", _, 4 | 8) => self.effect::<Atomic<Xor>>(slots, at),
            ("add", Type::F32, _) => self.effect::<Atomic<AddF32>>(slots, at),
            ("add", Type::F64, _) => self.effect::<Atomic<AddF64>>(slots, at),
            ("add", Type::F16, _) => self.effect::<Atomic<AddF16>>(slots, at),
            ("add", Type::Bf16, _) => self.effect::<Atomic<AddBf16>>(slots, at),
            ("add", Type::F16x2, _) => self.effect::<Atomic<AddF16x2>>(slots, at),
            ("add", Type::Bf16x2, _) => self.effect::<Atomic<AddBf16x2>>(slots, at),
            ("add", _, 4 | 8) => self.effect::<Atomic<Add>>(slots, at),
            ("inc", Type::U32, _) => self.effect::<Atomic<Increment>>(slots, at),
            ("dec", Type::U32, _) => self.effect::<Atomic<Decrement>>(slots, at),
            ("min", Type::U32, _) => self.effect::<Atomic<MinU32>>(slots, at),
            ("max", Type::U32, _) => self.effect::<Atomic<MaxU32>>(slots, at),
            ("min", Type::S32, _) => self.effect::<Atomic<MinS32>>(slots, at),
            ("max", Type::S32, _) => self.effect::<Atomic<MaxS32>>(slots, at),
            ("min", Type::U64, _) => self.effect::<Atomic<MinU64>>(slots, at),
            ("max", Type::U64, _) => self.effect::<Atomic<MaxU64>>(slots, at),
            ("min", Type::S64, _) => self.effect::<Atomic<MinS64>>(slots, at),
            ("max", Type::S64, _) => self.effect::<Atomic<MaxS64>>(slots, at),
            _ => return Err(format!("the atomic .{what} of this type is not modelled")),
        }
        Ok(())
    }

    fn copy_async(&mut self, m: &mut Modifiers<'_>, ops: &[Operand]) -> Result<(), String> {
        match m.next() {
            Some("async") => {}
            Some("reduce") => return Err(String::from("reductions by copies are not modelled")),
            _ => return Err(String::from("this copy is not modelled")),
        }
        match m.next() {
            Some("bulk") => return self.bulk(m, ops),
            Some("mbarrier") => return self.arrival_of_copies(m, ops),
            Some("commit_group") => self.effect::<CommitCopies>([0; 4], 0),
            Some("wait_all") => self.effect::<WaitCopies>([0; 4], u64::MAX),
            Some("wait_group") => {
                let [Operand::Integer(left)] = ops else {
                    return Err(String::from("the number of groups is no constant"));
                };
                self.effect::<WaitCopies>([0; 4], *left as u64);
            }
            Some("ca" | "cg") => {
                let spaces = (m.one_of(&["shared", "shared::cta"]), m.flag("global"));
                if spaces.0.is_none() || !spaces.1 {
                    return Err(String::from("these spaces are not modelled"));
                }
                while m.one_of(&HINTS).is_some() {}
                let hinted = m.flag("L2::cache_hint");
                let ops = if hinted { &ops[..ops.len() - 1] } else { ops };
                let (to, from, bytes, length) = match ops {
                    [to, from, Operand::Integer(bytes)] => (to, from, *bytes as u32, None),
                    [to, from, Operand::Integer(bytes), length] => {
                        (to, from, *bytes as u32, Some(length))
                    }
                    _ => return Err(String::from("these operands are not modelled")),
                };
                if !matches!(bytes, 4 | 8 | 16) {
                    return Err(format!("copies of {bytes} bytes are not modelled"));
                }
                let length = match length {
                    None => self.constant(bytes.into(), false),
                    Some(Operand::Register(r)) if self.register_type(*r) == Type::Pred => {
                        return Err(String::from("ignore-src is not modelled"));
                    }
                    Some(length) => self.source(length, Type::U32)?,
                };
                let from = self.address(from, Window::Global, Order::Weak, bytes)?;
                let to = self.address(to, Window::Shared, Order::Weak, bytes)?;
                let at = self.push_access(from);
                self.push_access(to);
                self.effect::<CopyAsync>([0, 0, length, 0], at);
            }
            _ => return Err(String::from("this copy is not modelled")),
        }
        Ok(())
    }
}
