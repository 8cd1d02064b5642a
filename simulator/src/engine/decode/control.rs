//! Branches, calls, barriers, ends.

use super::super::function::{Call, Callee};
use super::super::ops_barrier::{ALIGNED, ARRIVES, Barrier, COUNTED, NEGATED, REDUCES_SHIFT};
use super::super::ops_control::{self, *};
use super::super::ops_memory::Nothing;
use super::super::ops_warp::WarpBarrier;
use super::modifiers::Modifiers;
use super::operand::exactly;
use super::{Decoder, Home};
use crate::ptx::{Operand, Type};

impl Decoder<'_> {
    pub(super) fn control(
        &mut self,
        name: &str,
        m: &mut Modifiers<'_>,
        ops: &[Operand],
    ) -> Result<(), String> {
        m.flag("uni");
        match name {
            "bra" => {
                let [Operand::Label(target)] = ops else {
                    return Err(String::from("the target is no label"));
                };
                self.branches.push(self.function.ops.len());
                self.effect::<Branch>([0; 4], *target as u64);
                Ok(())
            }
            "brx" => {
                m.flag("idx");
                let [index, Operand::Symbol(table, _)] = ops else {
                    return Err(String::from("the targets are no table"));
                };
                let a = self.source(index, Type::U32)?;
                let table = self.source.branch_tables.get(table).ok_or("the table is unknown")?;
                self.function.tables.push(table.iter().map(|&at| at as u32).collect());
                let table = self.function.tables.len() as u64 - 1;
                self.effect::<BranchTable>([0, a, 0, 0], table);
                Ok(())
            }
            "call" => self.call(ops),
            "ret" if self.source.entry => {
                self.effect::<Exit>([0; 4], 0);
                Ok(())
            }
            "ret" => {
                self.effect::<ops_control::Return>([0; 4], 0);
                Ok(())
            }
            "exit" => {
                self.effect::<Exit>([0; 4], 0);
                Ok(())
            }
            "trap" => {
                self.effect::<Trap>([0; 4], 0);
                Ok(())
            }
            "nanosleep" => {
                m.ty()?;
                self.effect::<Sleep>([0; 4], 0);
                Ok(())
            }
            "brkpt" | "pmevent" => {
                m.flag("mask");
                self.effect::<Nothing>([0; 4], 0);
                Ok(())
            }
            "griddepcontrol" => {
                // A launch starts when what is before it is done.
                if m.one_of(&["launch_dependents", "wait"]).is_none() {
                    return Err(String::from("this form is not modelled"));
                }
                self.effect::<Nothing>([0; 4], 0);
                Ok(())
            }
            "barrier" if m.flag("cluster") => self.cluster_barrier(m, ops),
            "bar" | "barrier" => self.barrier(name, m, ops),
            _ => Err(String::from("this instruction is not modelled")),
        }
    }

    fn barrier(
        &mut self,
        name: &str,
        m: &mut Modifiers<'_>,
        ops: &[Operand],
    ) -> Result<(), String> {
        m.flag("cta");
        let w = Type::U32;
        if m.flag("warp") {
            m.flag("sync");
            let [members] = exactly(ops)?;
            let a = self.source(members, w)?;
            self.effect::<WarpBarrier>([0, a, 0, 0], 0);
            return Ok(());
        }
        let aligned = m.flag("aligned") || name == "bar";
        let mut extra = if aligned { ALIGNED } else { 0 };
        match m.one_of(&["sync", "arrive", "red"]) {
            Some("sync") => {}
            Some("arrive") => extra |= ARRIVES,
            Some("red") => return self.reducing_barrier(extra, m, ops),
            _ => return Err(String::from("this barrier is not modelled")),
        }
        let (id, count) = match ops {
            [id] => (id, None),
            [id, count] => (id, Some(count)),
            _ => return Err(String::from("it has another number of operands")),
        };
        let a = self.source(id, w)?;
        let b = count.map_or(Ok(a), |count| self.source(count, w))?;
        extra |= if count.is_some() { COUNTED } else { 0 };
        self.effect::<Barrier>([0, a, b, 0], extra);
        Ok(())
    }

    fn reducing_barrier(
        &mut self,
        mut extra: u64,
        m: &mut Modifiers<'_>,
        ops: &[Operand],
    ) -> Result<(), String> {
        m.ty()?;
        let how = match m.one_of(&["popc", "and", "or"]) {
            Some("popc") => 1,
            Some("and") => 2,
            Some("or") => 3,
            _ => return Err(String::from("this reduction is not modelled")),
        };
        let w = Type::U32;
        let (to, id, count, predicate) = match ops {
            [to, id, predicate] => (to, id, None, predicate),
            [to, id, count, predicate] => (to, id, Some(count), predicate),
            _ => return Err(String::from("it has another number of operands")),
        };
        let a = self.source(id, w)?;
        let b = count.map_or(Ok(a), |count| self.source(count, w))?;
        let (c, negated) = self.predicate(predicate)?;
        let d = match how {
            1 => self.destination(to, w)?,
            _ => self.predicate_destination(to)?,
        };
        extra |= how << REDUCES_SHIFT;
        extra |= if negated { NEGATED } else { 0 };
        extra |= if count.is_some() { COUNTED } else { 0 };
        self.effect::<Barrier>([d, a, b, c], extra);
        Ok(())
    }

    fn call(&mut self, ops: &[Operand]) -> Result<(), String> {
        let [results, callee, arguments, ..] = ops else {
            return Err(String::from("it has too few operands"));
        };
        let callee = match callee {
            Operand::Symbol(name, _) => match self.symbols.functions.get(name) {
                Some(&index) => Callee::Function(index),
                None if name == "vprintf" => Callee::Vprintf,
                None if name == "__assertfail" => Callee::Assert,
                None => return Err(format!("the function {name} has no body in this module")),
            },
            Operand::Register(_) => Callee::Pointer(self.source(callee, Type::U64)?),
            _ => return Err(String::from("what it calls is no function")),
        };
        let arguments = self.places(arguments)?;
        let results = self.places(results)?;
        self.function.calls.push(Call { callee, arguments, results });
        let call = self.function.calls.len() as u64 - 1;
        self.effect::<ops_control::Call>([0; 4], call);
        Ok(())
    }

    /// Where arguments or results lie in the frame's local memory.
    fn places(&self, list: &Operand) -> Result<Vec<(u32, u32)>, String> {
        let Operand::List(items) = list else {
            return Err(String::from("its parameters are no list"));
        };
        let place = |item: &Operand| match item {
            Operand::Symbol(name, 0) => match self.homes.get(name.as_str()) {
                Some(&Home::Local(offset, bytes)) => Ok((offset, bytes)),
                _ => Err(format!("{name} is no parameter")),
            },
            _ => Err(String::from("parameters in registers are not modelled")),
        };
        items.iter().map(place).collect()
    }
}
