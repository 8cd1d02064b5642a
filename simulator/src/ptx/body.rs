//! Function bodies: scopes, declarations, labels, instructions. PTX ISA, sections 4.3, 5 and 11.1.

use std::collections::{BTreeMap, HashMap};

use super::ast::{Function, Guard, Instruction, Operand, Register, Space, Type};
use super::lexer::Kind;
use super::parser::Parser;

/// The most registers of one function.
const MAXIMUM_REGISTERS: usize = 1 << 20;

/// What a name in a function stands for.
#[derive(Clone)]
pub(super) enum Meaning {
    Register(u32),
    /// A variable, or a table of branch targets, by its unique name.
    Variable(String),
    /// The index of an instruction.
    Label(usize),
    /// `.callprototype` and `.calltargets`.
    Prototype,
}

/// One pair of braces.
struct Scope {
    parent: Option<usize>,
    names: HashMap<String, Meaning>,
}

/// A function while its body is read.
pub(super) struct Body {
    pub(super) function: Function,
    scopes: Vec<Scope>,
    scope: usize,
    source: Option<(u32, u32)>,
    /// Per instruction: names that no declaration before it explains, and the scope they are in.
    deferred: Vec<(usize, usize, Vec<String>)>,
    /// Tables of branch targets: unique name, scope, line, labels.
    tables: Vec<(String, usize, u32, Vec<String>)>,
    /// Names that the instruction being read leaves to be found.
    pub(super) unknown: Vec<String>,
}

impl Body {
    fn open_scope(&mut self) {
        self.scopes.push(Scope { parent: Some(self.scope), names: HashMap::new() });
        self.scope = self.scopes.len() - 1;
    }

    fn lookup_from(&self, scope: usize, name: &str) -> Option<&Meaning> {
        let mut next = Some(scope);
        while let Some(index) = next {
            let scope = &self.scopes[index];
            if let Some(meaning) = scope.names.get(name) {
                return Some(meaning);
            }
            next = scope.parent;
        }
        None
    }

    /// What `name` means here, if a declaration before this place says so.
    pub(super) fn lookup(&self, name: &str) -> Option<&Meaning> {
        self.lookup_from(self.scope, name)
    }

    /// Fails if the innermost scope has the name already.
    fn declare(&mut self, name: &str, meaning: Meaning) -> Result<(), String> {
        match self.scopes[self.scope].names.insert(name.to_string(), meaning) {
            None => Ok(()),
            Some(_) => Err(format!("`{name}` is declared twice")),
        }
    }
}

impl Parser<'_> {
    /// `{ ... }` of a function whose head is in `function`.
    pub(super) fn body(&mut self, function: Function) -> Result<Function, String> {
        let mut body = Body {
            function,
            scopes: vec![Scope { parent: None, names: HashMap::new() }],
            scope: 0,
            source: None,
            deferred: Vec::new(),
            tables: Vec::new(),
            unknown: Vec::new(),
        };
        let parameters = body.function.parameters.iter().chain(&body.function.results);
        for name in parameters.map(|parameter| parameter.name.clone()).collect::<Vec<_>>() {
            let meaning = Meaning::Variable(name.clone());
            self.placed(body.declare(&name, meaning))?;
        }
        self.expect("{")?;
        let mut depth = 1;
        while depth > 0 {
            if self.accept("{") {
                body.open_scope();
                depth += 1;
            } else if self.accept("}") {
                body.scope = body.scopes[body.scope].parent.unwrap_or(0);
                depth -= 1;
            } else {
                self.statement(&mut body)?;
            }
        }
        self.resolve(&mut body)?;
        Ok(body.function)
    }

    /// Puts the line in front of an error.
    fn placed<T>(&self, result: Result<T, String>) -> Result<T, String> {
        result.or_else(|message| self.error(&message))
    }

    fn statement(&mut self, body: &mut Body) -> Result<(), String> {
        let token = self.peek();
        match (token.kind, token.text) {
            (Kind::Name, _) if self.peek_second().text == ":" => self.label(body),
            (Kind::Name, _) | (Kind::Mark, "@") => self.instruction(body),
            (Kind::Mark, ";") => {
                self.advance();
                Ok(())
            }
            (Kind::Dot, ".reg") => {
                self.advance();
                self.registers(body)
            }
            (Kind::Dot, ".loc") => self.location(body),
            (Kind::Dot, ".pragma") => self.skip_past(";"),
            (Kind::Dot, _) => self.scoped_variables(body),
            _ => self.error(&format!("unexpected {} in a function", token.shown())),
        }
    }

    /// `name:`, with a table or prototype behind it where there is one.
    fn label(&mut self, body: &mut Body) -> Result<(), String> {
        let name = self.name()?;
        self.expect(":")?;
        let meaning = match self.peek().text {
            ".branchtargets" => {
                let line = self.advance().line;
                let mut labels = vec![self.name()?.to_string()];
                while self.accept(",") {
                    labels.push(self.name()?.to_string());
                }
                self.expect(";")?;
                let unique = self.unique(name);
                body.tables.push((unique.clone(), body.scope, line, labels));
                Meaning::Variable(unique)
            }
            ".calltargets" | ".callprototype" => {
                self.skip_past(";")?;
                Meaning::Prototype
            }
            _ => Meaning::Label(body.function.code.len()),
        };
        let declared = body.declare(name, meaning);
        self.placed(declared)
    }

    /// `.reg .b32 %r<10>, other;`, from behind `.reg`.
    fn registers(&mut self, body: &mut Body) -> Result<(), String> {
        let directive = self.advance().text;
        let Some(ty) = Type::from_directive(directive) else {
            return self.error_behind(&format!("registers of type `{directive}` are not modelled"));
        };
        loop {
            let name = self.name()?;
            let names = if self.accept("<") {
                let count = self.count()?;
                self.expect(">")?;
                if count as usize > MAXIMUM_REGISTERS {
                    return self.error_behind(&format!("{count} registers"));
                }
                (0..count).map(|index| format!("{name}{index}")).collect()
            } else {
                vec![name.to_string()]
            };
            for name in names {
                let index = body.function.registers.len();
                if index >= MAXIMUM_REGISTERS {
                    return self.error("too many registers");
                }
                self.placed(body.declare(&name, Meaning::Register(index as u32)))?;
                body.function.registers.push(Register { name, ty });
            }
            if !self.accept(",") {
                return self.expect(";");
            }
        }
    }

    /// `.shared`, `.local`, `.param` and other variables of a scope.
    fn scoped_variables(&mut self, body: &mut Body) -> Result<(), String> {
        let external = self.accept(".extern");
        let space = match self.peek().text {
            ".shared" => Space::Shared,
            ".local" => Space::Local,
            ".param" => Space::Param,
            ".global" => Space::Global,
            ".const" => Space::Const,
            other => return self.error(&format!("unexpected `{other}` in a function")),
        };
        self.advance();
        for mut variable in self.variables(space, external)? {
            let unique = self.unique(&variable.name);
            let declared = body.declare(&variable.name, Meaning::Variable(unique.clone()));
            self.placed(declared)?;
            variable.name = unique;
            match space {
                Space::Global | Space::Const => self.module.variables.push(variable),
                _ => body.function.variables.push(variable),
            }
        }
        Ok(())
    }

    /// `.loc file line column`, with `, function_name label, inlined_at file line column`.
    fn location(&mut self, body: &mut Body) -> Result<(), String> {
        self.advance();
        let (file, line, _column) = (self.count()?, self.count()?, self.count()?);
        body.source = (line > 0).then_some((file, line));
        while self.accept(",") {
            match self.name()? {
                "function_name" => {
                    self.name()?;
                    if self.accept("+") {
                        self.count()?;
                    }
                }
                "inlined_at" => {
                    for _ in 0..3 {
                        self.count()?;
                    }
                }
                other => return self.error_behind(&format!("unexpected `{other}` in .loc")),
            }
        }
        Ok(())
    }

    fn instruction(&mut self, body: &mut Body) -> Result<(), String> {
        let (start, line) = (self.peek().start, self.peek().line);
        let guard = if self.accept("@") { Some(self.guard(body)?) } else { None };
        let mut opcode = vec![self.name()?.to_string()];
        while self.peek().kind == Kind::Dot {
            opcode.push(self.advance().text[1..].to_string());
        }
        let operands = match opcode[0].as_str() {
            "call" => self.call_operands(body)?,
            _ => self.operands(body)?,
        };
        let end = self.peek().start;
        self.expect(";")?;
        let index = body.function.code.len();
        if !body.unknown.is_empty() {
            body.deferred.push((index, body.scope, std::mem::take(&mut body.unknown)));
        }
        let text = self.text[start..end].split_whitespace().collect::<Vec<_>>().join(" ");
        let source = body.source;
        body.function.code.push(Instruction { guard, opcode, operands, text, line, source });
        Ok(())
    }

    /// `%p` or `!%p`, from behind `@`.
    fn guard(&mut self, body: &Body) -> Result<Guard, String> {
        let negated = self.accept("!");
        let name = self.name()?;
        match body.lookup(name) {
            Some(&Meaning::Register(register))
                if body.function.registers[register as usize].ty == Type::Pred =>
            {
                Ok(Guard { register, negated })
            }
            _ => self.error_behind(&format!("guard `{name}` is no predicate")),
        }
    }

    /// Finds the names that were used before their declaration: labels, tables, and what belongs to
    /// the module.
    fn resolve(&mut self, body: &mut Body) -> Result<(), String> {
        for (index, scope, names) in std::mem::take(&mut body.deferred) {
            let line = body.function.code[index].line;
            let mut meanings = HashMap::new();
            for name in names {
                match body.lookup_from(scope, &name) {
                    Some(Meaning::Label(target)) => {
                        meanings.insert(name, Operand::Label(*target));
                    }
                    Some(Meaning::Variable(unique))
                        if body.tables.iter().any(|(table, ..)| table == unique) =>
                    {
                        meanings.insert(name, Operand::Symbol(unique.clone(), 0));
                    }
                    Some(Meaning::Prototype) => {}
                    Some(Meaning::Register(_) | Meaning::Variable(_)) => {
                        return Err(format!(
                            "PTX line {line}: `{name}` is used before it is declared"
                        ));
                    }
                    None => self.unresolved.push((name, line)),
                }
            }
            let code = &mut body.function.code[index];
            code.operands.iter_mut().for_each(|operand| replace(operand, &meanings));
        }
        let mut tables = BTreeMap::new();
        for (unique, scope, line, labels) in &body.tables {
            let targets = labels.iter().map(|label| match body.lookup_from(*scope, label) {
                Some(Meaning::Label(target)) => Ok(*target),
                _ => Err(format!("PTX line {line}: `{label}` is no label")),
            });
            tables.insert(unique.clone(), targets.collect::<Result<Vec<_>, _>>()?);
        }
        body.function.branch_tables = tables;
        check_branches(&body.function)
    }
}

fn replace(operand: &mut Operand, meanings: &HashMap<String, Operand>) {
    match operand {
        Operand::Symbol(name, offset) => {
            if let Some(meaning) = meanings.get(name) {
                let offset = *offset;
                *operand = meaning.clone();
                if let Operand::Symbol(_, to) = operand {
                    *to = offset;
                }
            }
        }
        Operand::Vector(parts) | Operand::List(parts) => {
            parts.iter_mut().for_each(|part| replace(part, meanings));
        }
        _ => {}
    }
}

/// Branches must go to labels, indexed branches to tables.
fn check_branches(function: &Function) -> Result<(), String> {
    for instruction in &function.code {
        let good = match (instruction.opcode[0].as_str(), instruction.operands.as_slice()) {
            ("bra", [Operand::Label(_)]) => true,
            ("brx", [Operand::Register(_), Operand::Symbol(table, 0)]) => {
                function.branch_tables.contains_key(table)
            }
            ("bra" | "brx", _) => false,
            _ => true,
        };
        if !good {
            return Err(format!(
                "PTX line {}: `{}` branches to no label",
                instruction.line, instruction.text
            ));
        }
    }
    Ok(())
}
