//! The dotted parts of an opcode.

use crate::ptx::Type;

/// The parts not yet understood.
pub(super) struct Modifiers<'a> {
    rest: Vec<&'a str>,
}

pub(super) fn type_named(name: &str) -> Option<Type> {
    Some(match name {
        "pred" => Type::Pred,
        "b8" => Type::B8,
        "b16" => Type::B16,
        "b32" => Type::B32,
        "b64" => Type::B64,
        "b128" => Type::B128,
        "u8" => Type::U8,
        "u16" => Type::U16,
        "u32" => Type::U32,
        "u64" => Type::U64,
        "s8" => Type::S8,
        "s16" => Type::S16,
        "s32" => Type::S32,
        "s64" => Type::S64,
        "f16" => Type::F16,
        "f16x2" => Type::F16x2,
        "bf16" => Type::Bf16,
        "bf16x2" => Type::Bf16x2,
        "f32" => Type::F32,
        "f64" => Type::F64,
        _ => return None,
    })
}

impl<'a> Modifiers<'a> {
    pub(super) fn new(parts: &'a [String]) -> Modifiers<'a> {
        Modifiers { rest: parts.iter().map(String::as_str).collect() }
    }

    /// Whether the part is there; then it is understood.
    pub(super) fn flag(&mut self, name: &str) -> bool {
        let found = self.rest.iter().position(|part| *part == name);
        found.map(|at| self.rest.remove(at)).is_some()
    }

    /// The first of the parts that is one of these.
    pub(super) fn one_of(&mut self, names: &[&str]) -> Option<&'a str> {
        let found = self.rest.iter().position(|part| names.contains(part))?;
        Some(self.rest.remove(found))
    }

    /// The last part, which is a type.
    pub(super) fn ty(&mut self) -> Result<Type, String> {
        let last = self.rest.pop().ok_or("it has no type")?;
        type_named(last).ok_or_else(|| format!(".{last} is not modelled"))
    }

    /// The first part, if it starts so.
    pub(super) fn starting(&mut self, stem: &str) -> Option<&'a str> {
        let found = self.rest.iter().position(|part| part.starts_with(stem))?;
        Some(self.rest.remove(found))
    }

    /// The next part.
    pub(super) fn next(&mut self) -> Option<&'a str> {
        if self.rest.is_empty() { None } else { Some(self.rest.remove(0)) }
    }

    /// Whether all parts were understood.
    pub(super) fn end(self) -> Result<(), String> {
        match self.rest.first() {
            None => Ok(()),
            Some(part) => Err(format!(".{part} is not modelled here")),
        }
    }
}
