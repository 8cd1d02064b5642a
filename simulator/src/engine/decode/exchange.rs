//! Instructions in which lanes of a warp meet.

use super::super::ops_warp::*;
use super::modifiers::Modifiers;
use super::operand::exactly;
use super::{Decoder, bytes_of};
use crate::ptx::{Operand, Type};

impl Decoder<'_> {
    pub(super) fn exchange(
        &mut self,
        name: &str,
        m: &mut Modifiers<'_>,
        ops: &[Operand],
    ) -> Result<(), String> {
        let synced = m.flag("sync");
        if !synced && name != "activemask" {
            return Err(String::from("the form without .sync is not modelled"));
        }
        let w = Type::B32;
        match name {
            "shfl" => {
                m.flag("b32");
                let modes = ["up", "down", "bfly", "idx"];
                let mode = m.one_of(&modes).ok_or("it has no mode")?;
                let mode = modes.iter().position(|known| *known == mode).unwrap_or(0) as u64;
                let [to, a, b, c, members] = exactly(ops)?;
                let (to, predicate) = self.pair(to);
                let (a, b, c) = (self.source(a, w)?, self.source(b, w)?, self.source(c, w)?);
                let members = self.source(members, w)?;
                let predicate = predicate.map_or(Ok(0), |p| self.predicate_destination(p))?;
                let d = self.destination(to, w)?;
                let extra = u64::from(members) | mode << 24 | u64::from(predicate) << 32;
                self.effect::<Shuffle>([d, a, b, c], extra);
            }
            "vote" => {
                m.ty()?;
                let modes = ["all", "any", "uni", "ballot"];
                let mode = m.one_of(&modes).ok_or("it has no mode")?;
                let mode = modes.iter().position(|known| *known == mode).unwrap_or(0) as u64;
                let [to, predicate, members] = exactly(ops)?;
                let (a, negated) = self.predicate(predicate)?;
                let members = self.source(members, w)?;
                let d = match mode {
                    3 => self.destination(to, w)?,
                    _ => self.predicate_destination(to)?,
                };
                let flip = if negated { u32::MAX } else { 0 };
                self.effect::<Vote>([d, a, flip, members], mode);
            }
            "match" => {
                let ty = m.ty()?;
                let all = m.one_of(&["any", "all"]) == Some("all");
                let [to, a, members] = exactly(ops)?;
                let (to, predicate) = self.pair(to);
                let (a, members) = (self.source(a, ty)?, self.source(members, w)?);
                let predicate = predicate.map_or(Ok(0), |p| self.predicate_destination(p))?;
                let d = self.destination(to, w)?;
                let wide = u64::from(bytes_of(ty) == 8) << 1;
                let extra = u64::from(all) | wide | u64::from(predicate) << 32;
                self.effect::<Match>([d, a, 0, members], extra);
            }
            "redux" => {
                let ty = m.ty()?;
                let what = m.next().ok_or("it has no operation")?;
                let what = match (what, ty) {
                    (_, Type::F32) => return Err(String::from(".f32 is not modelled here")),
                    ("min", Type::S32) => "smin",
                    ("max", Type::S32) => "smax",
                    (what, _) => what,
                };
                let found = REDUCTIONS.iter().position(|known| *known == what);
                let what = found.ok_or("this operation is not modelled")? as u64;
                let [to, a, members] = exactly(ops)?;
                let (a, members) = (self.source(a, w)?, self.source(members, w)?);
                let d = self.destination(to, w)?;
                self.effect::<Reduce>([d, a, 0, members], what);
            }
            "activemask" => {
                m.ty()?;
                let [to] = exactly(ops)?;
                let d = self.destination(to, w)?;
                self.effect::<ActiveMask>([d, 0, 0, 0], 0);
            }
            _ => {
                let [to, members] = exactly(ops)?;
                let (to, predicate) = self.pair(to);
                let members = self.source(members, w)?;
                let predicate = predicate.ok_or("it has no predicate")?;
                let predicate = self.predicate_destination(predicate)?;
                let d = self.destination(to, w)?;
                self.effect::<Elect>([d, 0, 0, members], predicate.into());
            }
        }
        Ok(())
    }
}
