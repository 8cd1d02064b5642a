//! The module level: headers, functions and their attributes. PTX ISA, sections 4 and 11.

use std::collections::{HashMap, HashSet};

use super::ast::{Function, Module, Parameter, Space};
use super::lexer::{Kind, Token, tokenize};

impl Module {
    /// Parses the text of one translation unit, as nvcc 13 makes it.
    ///
    /// # Errors
    ///
    /// What is wrong, with its line; also for constructs that nvcc no longer makes (textures by
    /// name, register parameters, 32-bit addresses).
    pub fn parse(text: &str) -> Result<Module, String> {
        let mut parser = Parser {
            text,
            tokens: tokenize(text)?,
            at: 0,
            module: Module::default(),
            functions: HashSet::new(),
            taken: HashMap::new(),
            unresolved: Vec::new(),
        };
        parser.module()?;
        Ok(parser.module)
    }
}

/// Where the parser is, and what it has read.
pub(super) struct Parser<'a> {
    pub(super) text: &'a str,
    tokens: Vec<Token<'a>>,
    at: usize,
    pub(super) module: Module,
    /// Every function that was declared, with or without a body.
    pub(super) functions: HashSet<String>,
    /// How often a variable's name was declared.
    pub(super) taken: HashMap<String, u32>,
    /// Names that must be variables of the module or functions, and where they were used.
    pub(super) unresolved: Vec<(String, u32)>,
}

impl<'a> Parser<'a> {
    pub(super) fn peek(&self) -> Token<'a> {
        self.tokens[self.at]
    }

    /// The token behind the next one.
    pub(super) fn peek_second(&self) -> Token<'a> {
        self.tokens[(self.at + 1).min(self.tokens.len() - 1)]
    }

    /// The next token, left behind unless it is the last.
    pub(super) fn advance(&mut self) -> Token<'a> {
        let token = self.peek();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }

    /// Whether the next token is this mark, directive or name.
    pub(super) fn sees(&self, text: &str) -> bool {
        let token = self.peek();
        token.text == text && token.kind != Kind::Text
    }

    /// Leaves the next token behind if it is this one.
    pub(super) fn accept(&mut self, text: &str) -> bool {
        let seen = self.sees(text);
        if seen {
            self.advance();
        }
        seen
    }

    pub(super) fn expect(&mut self, text: &str) -> Result<(), String> {
        match self.accept(text) {
            true => Ok(()),
            false => self.error(&format!("expected `{text}`, found {}", self.peek().shown())),
        }
    }

    pub(super) fn name(&mut self) -> Result<&'a str, String> {
        match self.peek().kind {
            Kind::Name => Ok(self.advance().text),
            _ => self.error(&format!("expected a name, found {}", self.peek().shown())),
        }
    }

    pub(super) fn error<T>(&self, message: &str) -> Result<T, String> {
        Err(format!("PTX line {}: {message}", self.peek().line))
    }

    /// An error about the token that was read last.
    pub(super) fn error_behind<T>(&self, message: &str) -> Result<T, String> {
        let line = self.tokens[self.at.saturating_sub(1)].line;
        Err(format!("PTX line {line}: {message}"))
    }

    /// A name that no variable of the module has: `wanted`, or `wanted#2` and so on.
    pub(super) fn unique(&mut self, wanted: &str) -> String {
        let count = self.taken.entry(wanted.to_string()).or_insert(0);
        *count += 1;
        match *count {
            1 => wanted.to_string(),
            more => format!("{wanted}#{more}"),
        }
    }

    /// Leaves everything up to and including `end` behind.
    pub(super) fn skip_past(&mut self, end: &str) -> Result<(), String> {
        while !self.accept(end) {
            if self.advance().kind == Kind::End {
                return self.error(&format!("expected `{end}` before the end of the text"));
            }
        }
        Ok(())
    }

    fn module(&mut self) -> Result<(), String> {
        self.version()?;
        while self.peek().kind != Kind::End {
            self.item()?;
        }
        let variables: HashSet<&str> =
            self.module.variables.iter().map(|variable| variable.name.as_str()).collect();
        for (name, line) in &self.unresolved {
            if !self.functions.contains(name) && !variables.contains(name.as_str()) {
                return Err(format!("PTX line {line}: nothing is called `{name}`"));
            }
        }
        Ok(())
    }

    /// `.version 9.0`, which comes first.
    fn version(&mut self) -> Result<(), String> {
        self.expect(".version")?;
        let token = self.advance();
        let parts = token.text.split_once('.');
        let version =
            parts.and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
        self.module.version = version
            .ok_or_else(|| format!("PTX line {}: {} is no version", token.line, token.shown()))?;
        Ok(())
    }

    fn item(&mut self) -> Result<(), String> {
        match self.peek().text {
            ".target" => {
                self.advance();
                self.module.target = self.name()?.to_string();
                while self.accept(",") {
                    self.name()?;
                }
                Ok(())
            }
            ".address_size" => {
                self.advance();
                match self.integer()? {
                    64 => Ok(()),
                    bits => {
                        self.error_behind(&format!("addresses of {bits} bits; only 64 are known"))
                    }
                }
            }
            ".file" => self.file(),
            ".section" => self.section(),
            ".pragma" => self.skip_past(";"),
            ".alias" => self.alias(),
            ";" => {
                self.advance();
                Ok(())
            }
            _ => self.declaration(),
        }
    }

    /// `.file index "name"`, with a time stamp and size where given.
    fn file(&mut self) -> Result<(), String> {
        self.advance();
        let index = self.count()?;
        if self.peek().kind != Kind::Text {
            return self.error("expected the name of a file");
        }
        let name = self.advance().text.to_string();
        self.module.files.insert(index, name);
        while self.accept(",") {
            self.integer()?;
        }
        Ok(())
    }

    /// `.section name { ... }`: debug information.
    fn section(&mut self) -> Result<(), String> {
        self.advance();
        self.advance();
        self.expect("{")?;
        self.skip_past("}")
    }

    /// `.alias name, function;`: the function under a second name.
    fn alias(&mut self) -> Result<(), String> {
        self.advance();
        let alias = self.name()?.to_string();
        self.expect(",")?;
        let aliasee = self.name()?;
        let Some(function) = self.module.functions.iter().find(|f| f.name == aliasee) else {
            return self.error_behind(&format!("no function `{aliasee}` has a body"));
        };
        let copy = Function { name: alias.clone(), ..function.clone() };
        self.module.functions.push(copy);
        self.functions.insert(alias);
        self.expect(";")
    }

    /// A variable, kernel or function with its linkage.
    fn declaration(&mut self) -> Result<(), String> {
        let mut external = false;
        while let linkage @ (".extern" | ".visible" | ".weak" | ".common") = self.peek().text {
            external |= linkage == ".extern";
            self.advance();
        }
        match self.peek().text {
            ".entry" | ".func" => self.function(),
            ".global" | ".const" | ".shared" => {
                let space = match self.advance().text {
                    ".global" => Space::Global,
                    ".const" => Space::Const,
                    _ => Space::Shared,
                };
                let variables = self.variables(space, external)?;
                for variable in variables {
                    let known = self.module.variables.iter().position(|v| v.name == variable.name);
                    match known {
                        Some(index) if self.module.variables[index].external => {
                            self.module.variables[index] = variable;
                        }
                        Some(_) if variable.external => {}
                        Some(_) => {
                            return self
                                .error_behind(&format!("`{}` is declared twice", variable.name));
                        }
                        None => {
                            self.unique(&variable.name);
                            self.module.variables.push(variable);
                        }
                    }
                }
                Ok(())
            }
            _ => self.error(&format!("unexpected {}", self.peek().shown())),
        }
    }

    /// A kernel or function from `.entry` or `.func` on.
    fn function(&mut self) -> Result<(), String> {
        let mut function =
            Function { entry: self.advance().text == ".entry", ..Function::default() };
        self.attribute()?;
        if self.sees("(") {
            function.results = self.parameters()?;
        }
        function.name = self.name()?.to_string();
        if self.sees("(") {
            function.parameters = self.parameters()?;
        }
        self.function_attributes(&mut function)?;
        self.functions.insert(function.name.clone());
        if self.accept(";") {
            return Ok(());
        }
        if self.module.functions.iter().any(|known| known.name == function.name) {
            return self.error_behind(&format!("`{}` has two bodies", function.name));
        }
        let function = self.body(function)?;
        self.module.functions.push(function);
        Ok(())
    }

    /// `.maxntid 128, 1, 1` and the like, between the parameters and the body.
    fn function_attributes(&mut self, function: &mut Function) -> Result<(), String> {
        while self.peek().kind == Kind::Dot {
            match self.advance().text {
                ".maxntid" => function.max_threads = Some(self.extents()?),
                ".reqntid" => {
                    function.max_threads = Some(self.extents()?);
                    function.required_threads = true;
                }
                ".reqnctapercluster" => function.required_cluster = Some(self.extents()?),
                ".minnctapersm"
                | ".maxnctapersm"
                | ".maxnreg"
                | ".maxclusterrank"
                | ".abi_preserve"
                | ".abi_preserve_control" => {
                    self.count()?;
                }
                ".explicitcluster" | ".blocksareclusters" | ".noreturn" => {}
                ".pragma" => self.skip_past(";")?,
                ".attribute" => self.skip_past(")")?,
                other => {
                    return self
                        .error_behind(&format!("unknown attribute `{other}` of a function"));
                }
            }
        }
        Ok(())
    }

    /// One to three extents; the missing ones are 1.
    fn extents(&mut self) -> Result<[u32; 3], String> {
        let mut extents = [self.count()?, 1, 1];
        for extent in &mut extents[1..] {
            if self.accept(",") {
                *extent = self.count()?;
            }
        }
        Ok(extents)
    }

    /// `.attribute(...)`, which changes nothing that is modelled.
    pub(super) fn attribute(&mut self) -> Result<(), String> {
        match self.accept(".attribute") {
            true => self.skip_past(")"),
            false => Ok(()),
        }
    }

    /// `(.param .align 8 .b8 name[16], ...)`.
    fn parameters(&mut self) -> Result<Vec<Parameter>, String> {
        self.expect("(")?;
        let mut parameters = Vec::new();
        while !self.accept(")") {
            if !parameters.is_empty() {
                self.expect(",")?;
            }
            if self.sees(".reg") {
                return self.error("parameters in registers are not modelled");
            }
            self.expect(".param")?;
            let variable = self.variable_type(Space::Param, false)?;
            let parameter = self.declarator(&variable)?;
            let Ok(bytes) = u32::try_from(parameter.bytes) else {
                return self.error(&format!("a parameter of {} bytes", parameter.bytes));
            };
            parameters.push(Parameter { name: parameter.name, align: parameter.align, bytes });
        }
        Ok(parameters)
    }
}
