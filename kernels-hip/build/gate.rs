//! What a compiled kernel must keep: the Budget and Keeps lines of its source.
//!
//! ```text
//! // Budget: 256 threads; 1040 B LDS; 0 B scratch; registers: 64 gfx90a, 64 gfx942, 64 gfx950.
//! // Keeps: global_load_dwordx4, global_store_dwordx4, ds_read_b128.
//! ```
//!
//! A name that ends in `*` stands for all that begin so: architectures name some instructions differently.
//! A file of matrix products has a third line, `products.rs` says of what.
//!
//! Every entry of the file is held to them, by what is shipped: the image. Its machine code is
//! looked at where a disassembler is installed.

use crate::code_object::{self, Kernel};
use crate::products::Products;

/// What metadata count and a budget has no word for: none of it.
const NONE_OF: [(&str, &str); 4] = [
    (".private_segment_fixed_size", "B scratch"),
    (".vgpr_spill_count", "vector registers spilled"),
    (".sgpr_spill_count", "scalar registers spilled"),
    (".uses_dynamic_stack", "dynamic stacks"),
];

/// Fields of COMPUTE_PGM_RSRC1: the mode that a wave starts in. First bit, bits, value.
const MODES: [(&str, u32, u32, u32); 5] = [
    // To nearest even.
    ("FLOAT_ROUND_MODE_32", 12, 2, 0),
    ("FLOAT_ROUND_MODE_16_64", 14, 2, 0),
    // Denormals are read and written.
    ("FLOAT_DENORM_MODE_32", 16, 2, 3),
    ("FLOAT_DENORM_MODE_16_64", 18, 2, 3),
    // Minima and maxima quieten a signalling NaN.
    ("IEEE_MODE", 23, 1, 1),
];

/// Instructions that no kernel has: accesses by scratch and by flat addresses, which mean that the
/// compiler lost where memory is, and changes of the mode.
const FORBIDDEN: [&str; 3] = ["scratch_", "flat_", "s_setreg"];

/// The limits that a kernel file states.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    threads: u64,
    lds: u64,
    /// Vector registers, for each architecture.
    registers: Vec<(String, u64)>,
    keeps: Vec<String>,
    products: Option<Products>,
}

/// What came out of the compiler for one file.
pub(crate) struct Compiled<'a> {
    pub(crate) architecture: &'a str,
    pub(crate) image: &'a [u8],
    pub(crate) disassembly: Option<&'a str>,
}

impl Budget {
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
        let [threads, lds, "0 B scratch", registers] = parts[..] else { return Err(bad()) };
        let number = |text: &str, unit: &str| {
            text.strip_suffix(unit).and_then(|number| number.parse().ok()).ok_or_else(bad)
        };
        let registers = registers.strip_prefix("registers: ").ok_or_else(bad)?;
        let registers = registers
            .split(", ")
            .map(|item| item.split_once(' ').ok_or_else(bad))
            .map(|item| item.and_then(|(n, name)| Ok((name.to_owned(), number(n, "")?))))
            .collect::<Result<_, String>>()?;
        Ok(Budget {
            threads: number(threads, " threads")?,
            lds: number(lds, " B LDS")?,
            registers,
            keeps: line("// Keeps:")?.split(", ").map(str::to_owned).collect(),
            products: find("// Products:").map(Products::parse).transpose()?,
        })
    }
}

/// Fails with every rule that is broken. Returns warnings: with another release of the compiler
/// than the budgets were counted with, too many registers are one.
pub(crate) fn check(
    budget: &Budget,
    compiled: &Compiled<'_>,
    is_release_of_budget: bool,
) -> Result<Vec<String>, String> {
    let mut errors = Vec::new();
    let mut warnings = Vec::new();
    let kernels = code_object::kernels(compiled.image)?;
    if kernels.is_empty() {
        errors.push("no kernel in the image".to_owned());
    }
    let limit = budget.registers.iter().find(|(name, _)| name == compiled.architecture);
    for kernel in &kernels {
        let entry = &kernel.name;
        // Accumulation registers are counted too: one file holds both kinds.
        let used = kernel.number(".vgpr_count")?;
        match limit {
            Some((_, limit)) if used > *limit => {
                let text = format!("{entry}: {used} registers, Budget says {limit}");
                if is_release_of_budget { &mut errors } else { &mut warnings }.push(text);
            }
            Some(_) => {}
            None => errors.push(format!("{entry}: no registers to compare")),
        }
        if let Some(products) = &budget.products
            && let Some(text) = products.check_workgroups(kernel, compiled.architecture)?
        {
            // They follow from the registers.
            if is_release_of_budget { &mut errors } else { &mut warnings }.push(text);
        }
        check_metadata(budget, kernel, &mut errors)?;
        for (name, first_bit, bits, wanted) in MODES {
            let found = kernel.mode(first_bit, bits);
            if found != wanted {
                errors.push(format!("{entry}: {name} is {found}, not {wanted}"));
            }
        }
        if let Some(disassembly) = compiled.disassembly {
            check_instructions(budget, entry, disassembly, &mut errors);
        }
    }
    if errors.is_empty() { Ok(warnings) } else { Err(errors.join("\n")) }
}

fn check_metadata(
    budget: &Budget,
    kernel: &Kernel,
    errors: &mut Vec<String>,
) -> Result<(), String> {
    let entry = &kernel.name;
    for (key, what) in NONE_OF {
        let count = kernel.number(key)?;
        if count != 0 {
            errors.push(format!("{entry}: {count} {what}, not 0"));
        }
    }
    let threads = kernel.number(".max_flat_workgroup_size")?;
    if threads != budget.threads {
        errors.push(format!("{entry}: {threads} threads, Budget says {}", budget.threads));
    }
    let lds = kernel.number(".group_segment_fixed_size")?;
    if lds > budget.lds {
        errors.push(format!("{entry}: {lds} B LDS, Budget says {}", budget.lds));
    }
    let lanes = kernel.number(".wavefront_size")?;
    if lanes != 64 {
        errors.push(format!("{entry}: waves of {lanes} lanes, not 64"));
    }
    let arguments = kernel.explicit_arguments();
    if arguments != ["by_value"] {
        errors.push(format!("{entry}: arguments {}, not one by value", arguments.join(", ")));
    }
    Ok(())
}

fn check_instructions(budget: &Budget, entry: &str, disassembly: &str, errors: &mut Vec<String>) {
    let heading = format!("<{entry}>:");
    let lines = disassembly.lines().skip_while(|line| !line.ends_with(&heading)).skip(1);
    // Instructions are indented; the next symbol's heading is not.
    let body: Vec<&str> = lines.take_while(|line| !line.ends_with(">:")).collect();
    let instructions: Vec<&str> =
        body.iter().filter_map(|line| line.split_whitespace().next()).collect();
    if instructions.is_empty() {
        errors.push(format!("{entry}: not in the disassembly"));
        return;
    }
    let is_kept = |wanted: &str| match wanted.strip_suffix('*') {
        Some(start) => instructions.iter().any(|found| found.starts_with(start)),
        None => instructions.contains(&wanted),
    };
    for wanted in budget.keeps.iter().filter(|wanted| !is_kept(wanted)) {
        errors.push(format!("{entry}: no {wanted} in the machine code"));
    }
    for forbidden in FORBIDDEN {
        if let Some(found) = instructions.iter().find(|found| found.starts_with(forbidden)) {
            errors.push(format!("{entry}: {found} in the machine code"));
        }
    }
    if let Some(products) = &budget.products {
        products.check(entry, &body, errors);
    }
}
