//! What a compiled kernel must keep: the Budget and Keeps lines of its source.
//!
//! ```text
//! // Budget: 256 threads; 1040 B shared; 0 B spilled; registers: 57 sm_80, 55 sm_89, 54 sm_90a.
//! // Keeps: LDG.E.128, STG.E.128; in PTX: ld.global.v4, st.global.v4.
//! ```
//!
//! A file of matrix products has a third line: their only shapes, and how many of them at the least one
//! wait is for (of warps' products, which nobody waits for, this says nothing). More waits say that the
//! compiler made them follow each other.
//!
//! ```text
//! // Products: HGMMA.64x256x16; 4 a group.
//! ```
//!
//! Every entry of the file is held to them. The machine code is looked at where a disassembler is
//! installed; the PTX always.

use crate::toolchain::BUDGET_RELEASE;

/// Messages by which ptxas says, without failing, that it undid what the source asked for.
const REFUSALS: [&str; 4] = ["C7508", "C7511", "C7517", "C7519"];

/// The limits that a kernel file states.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    threads: u32,
    shared: u32,
    /// For each architecture.
    registers: Vec<(String, u32)>,
    sass: Vec<String>,
    ptx: Vec<String>,
    products: Option<Products>,
}

/// Matrix products in machine code.
#[derive(Debug, PartialEq, Eq)]
struct Products {
    shapes: Vec<String>,
    /// In a group that is waited for.
    least: usize,
}

/// What came out of the compilers for one file.
pub(crate) struct Compiled<'a> {
    pub(crate) architecture: &'a str,
    pub(crate) ptx: &'a str,
    /// What ptxas printed; empty if it did not run.
    pub(crate) log: &'a str,
    /// The disassembly.
    pub(crate) sass: Option<String>,
}

impl Budget {
    /// Whether the file is compiled for an architecture: one that it has registers for; for later ones if
    /// for the first.
    pub(crate) fn names(&self, architecture: &str) -> bool {
        let named = if architecture == "compute_80" { "sm_80" } else { architecture };
        self.registers.iter().any(|(name, _)| name == named)
    }

    /// Reads the two lines of a kernel file's head.
    pub(crate) fn parse(source: &str) -> Result<Budget, String> {
        let find = |title: &str| {
            let line = source.lines().find_map(|line| line.strip_prefix(title));
            line.map(|line| line.trim().trim_end_matches('.'))
        };
        let line =
            |title: &str| find(title).ok_or_else(|| format!("no line `{title}` in the source"));
        let budget = line("// Budget:")?;
        let bad = || format!("Budget line not understood: {budget}");
        let parts: Vec<&str> = budget.split("; ").collect();
        let [threads, shared, "0 B spilled", registers] = parts[..] else { return Err(bad()) };
        let number = |text: &str, unit: &str| {
            text.strip_suffix(unit).and_then(|number| number.parse().ok()).ok_or_else(bad)
        };
        let registers = registers.strip_prefix("registers: ").ok_or_else(bad)?;
        let registers = registers
            .split(", ")
            .map(|item| item.split_once(' ').ok_or_else(bad))
            .map(|item| item.and_then(|(n, name)| Ok((name.to_owned(), number(n, "")?))))
            .collect::<Result<_, String>>()?;

        let keeps = line("// Keeps:")?;
        let (sass, ptx) = keeps
            .split_once("; in PTX: ")
            .ok_or_else(|| format!("Keeps line not understood: {keeps}"))?;
        let list = |text: &str| text.split(", ").map(str::to_owned).collect();
        let products = find("// Products:")
            .map(|text| {
                let bad = || format!("Products line not understood: {text}");
                let (shapes, group) = text.split_once("; ").ok_or_else(bad)?;
                let least = group.strip_suffix(" a group").and_then(|n| n.parse().ok());
                Ok::<_, String>(Products { shapes: list(shapes), least: least.ok_or_else(bad)? })
            })
            .transpose()?;
        Ok(Budget {
            threads: number(threads, " threads")?,
            shared: number(shared, " B shared")?,
            registers,
            sass: list(sass),
            ptx: list(ptx),
            products,
        })
    }
}

/// Fails with every rule that is broken. Returns warnings: with another release of the compiler
/// than the budgets were counted with, too many registers are one.
pub(crate) fn check(
    budget: &Budget,
    compiled: &Compiled,
    release: &str,
) -> Result<Vec<String>, String> {
    let mut errors = Vec::new();
    let mut warnings = Vec::new();
    let log_lines = compiled.log.lines();
    for refusal in log_lines.filter(|line| REFUSALS.iter().any(|code| line.contains(code))) {
        errors.push(format!("ptxas undid something: {}", refusal.trim()));
    }

    let entries = split_entries(compiled.ptx, ".entry ", '(');
    if entries.is_empty() {
        errors.push("no kernel in the PTX".to_owned());
    }
    for (entry, body) in &entries {
        let threads = number_after(body, ".maxntid ").unwrap_or(0);
        if threads != budget.threads {
            errors.push(format!("{entry}: {threads} threads, Budget says {}", budget.threads));
        }
        lost(entry, body, &budget.ptx, "PTX", &mut errors);
    }
    if compiled.log.is_empty() {
        return if errors.is_empty() { Ok(warnings) } else { Err(errors.join("\n")) };
    }

    let limit = budget.registers.iter().find(|(name, _)| name == compiled.architecture);
    let reports = split_entries(compiled.log, "Compiling entry function '", '\'');
    for (entry, _) in &entries {
        let Some((_, report)) = reports.iter().find(|(name, _)| name == entry) else {
            errors.push(format!("{entry}: ptxas reports nothing"));
            continue;
        };
        for kind in ["stack frame", "spill stores", "spill loads"] {
            match number_before(report, &format!(" bytes {kind}")) {
                Some(0) => {}
                Some(bytes) => errors.push(format!("{entry}: {bytes} B {kind}, Budget says 0")),
                None => errors.push(format!("{entry}: ptxas reports no {kind}")),
            }
        }
        let shared = number_before(report, " bytes smem").unwrap_or(0);
        if shared > budget.shared {
            errors.push(format!("{entry}: {shared} B shared, Budget says {}", budget.shared));
        }
        match (number_before(report, " registers"), limit) {
            (Some(used), Some((_, limit))) if used > *limit => {
                let text = format!("{entry}: {used} registers, Budget says {limit}");
                if release == BUDGET_RELEASE { &mut errors } else { &mut warnings }.push(text);
            }
            (Some(_), Some(_)) => {}
            _ => errors.push(format!("{entry}: no registers to compare")),
        }
    }
    if let Some(sass) = &compiled.sass {
        let bodies = split_entries(sass, ".section\t.text.", ',');
        for (entry, _) in &entries {
            match bodies.iter().find(|(name, _)| name == entry) {
                Some((_, body)) => {
                    lost(entry, body, &budget.sass, "machine code", &mut errors);
                    if let Some(products) = &budget.products {
                        products.check(entry, body, &mut errors);
                    }
                }
                None => errors.push(format!("{entry}: not in the disassembly")),
            }
        }
    }
    if errors.is_empty() { Ok(warnings) } else { Err(errors.join("\n")) }
}

impl Products {
    fn check(&self, entry: &str, body: &str, errors: &mut Vec<String>) {
        let is_product = |line: &&str| line.contains("HGMMA.") || line.contains(" HMMA.");
        let products: Vec<&str> = body.lines().filter(is_product).collect();
        let is_known =
            |line: &&&str| self.shapes.iter().any(|shape| line.contains(&format!("{shape}.")));
        let others = products.len() - products.iter().filter(is_known).count();
        if others != 0 {
            errors
                .push(format!("{entry}: {others} products are none of {}", self.shapes.join(", ")));
        }
        let groups = products.iter().filter(|line| line.contains("gsb0")).count();
        if products.is_empty() || products.len() < self.least * groups {
            errors.push(format!(
                "{entry}: {} products in {groups} groups, at least {} a group",
                products.len(),
                self.least
            ));
        }
    }
}

fn lost(entry: &str, body: &str, keeps: &[String], place: &str, errors: &mut Vec<String>) {
    for instruction in keeps.iter().filter(|instruction| !body.contains(instruction.as_str())) {
        errors.push(format!("{entry}: no {instruction} in the {place}"));
    }
}

/// Cuts a text at each `start`; the name that follows up to `end`, and the text up to the next.
fn split_entries<'a>(text: &'a str, start: &str, end: char) -> Vec<(&'a str, &'a str)> {
    text.split(start).skip(1).filter_map(|part| part.split_once(end)).collect()
}

fn number_after(text: &str, before: &str) -> Option<u32> {
    let (_, rest) = text.split_once(before)?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn number_before(text: &str, after: &str) -> Option<u32> {
    let (rest, _) = text.split_once(after)?;
    rest.rsplit(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}
