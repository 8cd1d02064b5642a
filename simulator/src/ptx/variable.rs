//! Types and declarations of variables. PTX ISA, sections 5.2 to 5.4.

use super::ast::{Space, Type, Variable};
use super::lexer::Kind;
use super::parser::Parser;

impl Type {
    /// The type that a dotted part such as `.u32` names.
    pub(super) fn from_directive(text: &str) -> Option<Type> {
        Some(match text {
            ".pred" => Type::Pred,
            ".b8" => Type::B8,
            ".b16" => Type::B16,
            ".b32" => Type::B32,
            ".b64" => Type::B64,
            ".b128" => Type::B128,
            ".u8" => Type::U8,
            ".u16" => Type::U16,
            ".u32" => Type::U32,
            ".u64" => Type::U64,
            ".s8" => Type::S8,
            ".s16" => Type::S16,
            ".s32" => Type::S32,
            ".s64" => Type::S64,
            ".f16" => Type::F16,
            ".f16x2" => Type::F16x2,
            ".bf16" => Type::Bf16,
            ".bf16x2" => Type::Bf16x2,
            ".f32" => Type::F32,
            ".f64" => Type::F64,
            _ => return None,
        })
    }

    /// Its size in bytes; 1 for a predicate.
    pub fn bytes(self) -> u32 {
        match self {
            Type::Pred | Type::B8 | Type::U8 | Type::S8 => 1,
            Type::B16 | Type::U16 | Type::S16 | Type::F16 | Type::Bf16 => 2,
            Type::B32 | Type::U32 | Type::S32 | Type::F16x2 | Type::Bf16x2 | Type::F32 => 4,
            Type::B64 | Type::U64 | Type::S64 | Type::F64 => 8,
            Type::B128 => 16,
        }
    }
}

/// What stands before the names in a declaration.
pub(super) struct VariableType {
    space: Space,
    external: bool,
    align: Option<u32>,
    /// Elements of a `.v2` or `.v4` type; 1 otherwise.
    lanes: u32,
    pub(super) ty: Type,
}

impl Parser<'_> {
    /// `.align 8 .u64 .ptr .global .align 16`, in any order, up to the name.
    pub(super) fn variable_type(
        &mut self,
        space: Space,
        external: bool,
    ) -> Result<VariableType, String> {
        let (mut align, mut lanes, mut ty) = (None, 1, None);
        let mut pointed_to = false;
        while self.peek().kind == Kind::Dot {
            match self.advance().text {
                ".align" => {
                    let value = self.count()?;
                    if !value.is_power_of_two() {
                        return self.error_behind(&format!("alignment {value} is no power of two"));
                    }
                    if !pointed_to {
                        align = Some(value);
                    }
                }
                ".attribute" => self.skip_past(")")?,
                ".v2" => lanes = 2,
                ".v4" => lanes = 4,
                ".ptr" => pointed_to = true,
                ".global" | ".const" | ".shared" | ".local" if pointed_to => {}
                other => match Type::from_directive(other) {
                    Some(known) => ty = Some(known),
                    None => return self.error_behind(&format!("type `{other}` is not modelled")),
                },
            }
        }
        match ty {
            Some(ty) => Ok(VariableType { space, external, align, lanes, ty }),
            None => self.error("a declaration without a type"),
        }
    }

    /// One name, with its extents and initial value.
    pub(super) fn declarator(&mut self, of: &VariableType) -> Result<Variable, String> {
        let name = self.name()?.to_string();
        let element = u64::from(of.ty.bytes() * of.lanes);
        let mut extents = Vec::new();
        while self.accept("[") {
            extents.push(if self.sees("]") { 0 } else { u64::from(self.count()?) });
            self.expect("]")?;
        }
        // An open extent counts as one element here, so that the rest cannot overflow.
        let size =
            extents.iter().try_fold(element, |size, &extent| size.checked_mul(extent.max(1)));
        let Some(size) = size.filter(|&size| size < 1 << 40 && extents.len() <= 8) else {
            return self.error_behind(&format!("`{name}` is too large"));
        };
        let bytes = if extents.contains(&0) { 0 } else { size };
        let mut variable = Variable {
            name,
            space: of.space,
            align: of.align.unwrap_or(of.ty.bytes() * of.lanes),
            bytes,
            initial: Vec::new(),
            relocations: Vec::new(),
            external: of.external,
        };
        if self.accept("=") {
            self.initialiser(&mut variable, of.ty, of.lanes, &extents)?;
        }
        Ok(variable)
    }

    /// A declaration from behind its state space to its semicolon.
    pub(super) fn variables(
        &mut self,
        space: Space,
        external: bool,
    ) -> Result<Vec<Variable>, String> {
        let of = self.variable_type(space, external)?;
        let mut variables = vec![self.declarator(&of)?];
        while self.accept(",") {
            variables.push(self.declarator(&of)?);
        }
        self.expect(";")?;
        Ok(variables)
    }
}
