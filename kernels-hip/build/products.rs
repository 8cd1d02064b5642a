//! What a file of matrix products must keep: the Products line of its source.
//!
//! ```text
//! // Products: v_mfma_f32_16x16x16*; 128 a loop, 5 a ds_read; 1 workgroup a compute unit.
//! ```
//!
//! The only matrix instructions; how many of them a loop that has any has at the least, all and for each read
//! of LDS; and how many workgroups fit a compute unit, by registers and by LDS. A loop is what lies between a
//! branch back and where it goes, together with the loops that it overlaps. Nothing moves from or to accumulation
//! registers in it.

use crate::code_object::Kernel;

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Products {
    names: String,
    of_loop: usize,
    of_read: usize,
    workgroups: u64,
}

/// An instruction of the disassembly.
struct Line<'a> {
    address: u64,
    name: &'a str,
    /// Where a branch goes, from the kernel's beginning.
    target: Option<u64>,
}

impl Products {
    /// Reads what follows the title.
    pub(crate) fn parse(text: &str) -> Result<Products, String> {
        let bad = || format!("Products line not understood: {text}");
        let parts: Vec<&str> = text.split("; ").collect();
        let [names, least, workgroups] = parts[..] else { return Err(bad()) };
        let names = names.strip_suffix('*').filter(|names| names.starts_with("v_mfma_"));
        let (of_loop, of_read) = least.split_once(", ").ok_or_else(bad)?;
        let number = |text: &str, unit: &str| {
            let number = text.strip_suffix(unit).and_then(|number| number.trim().parse().ok());
            number.filter(|number| *number > 0).ok_or_else(bad)
        };
        let end = if workgroups.contains("groups") { "workgroups" } else { "workgroup" };
        Ok(Products {
            names: names.ok_or_else(bad)?.to_owned(),
            of_loop: number(of_loop, "a loop")?,
            of_read: number(of_read, "a ds_read")?,
            workgroups: number(workgroups, &format!("{end} a compute unit"))? as u64,
        })
    }

    /// How many workgroups fit, if that is less than the line says.
    pub(crate) fn check_workgroups(
        &self,
        kernel: &Kernel,
        architecture: &str,
    ) -> Result<Option<String>, String> {
        let registers = kernel.number(".vgpr_count")?;
        let threads = kernel.number(".max_flat_workgroup_size")?;
        let lds = kernel.number(".group_segment_fixed_size")?;
        // A compute unit: four SIMDs of up to 8 waves, each of which has 512 registers for its waves to share.
        let waves = (512 / registers.next_multiple_of(8).max(8)).min(8);
        let by_registers = waves / threads.div_ceil(64).div_ceil(4).max(1);
        let room = if architecture == "gfx950" { 163_840 } else { 65_536 };
        let by_lds = room / lds.max(1);
        let text = format!(
            "{}: {by_registers} workgroups fit a compute unit by registers, {by_lds} by LDS, Products says {}",
            kernel.name, self.workgroups
        );
        Ok((by_registers.min(by_lds) < self.workgroups).then_some(text))
    }

    /// Looks at the disassembly of one kernel, without its heading.
    pub(crate) fn check(&self, entry: &str, body: &[&str], errors: &mut Vec<String>) {
        let lines: Vec<Line<'_>> = body.iter().filter_map(|line| Line::parse(line)).collect();
        let is_product = |line: &&Line<'_>| line.name.starts_with("v_mfma");
        let products = lines.iter().filter(is_product).count();
        let known = lines.iter().filter(|line| line.name.starts_with(&self.names)).count();
        if known != products {
            errors.push(format!(
                "{entry}: {} products are none of {}*",
                products - known,
                self.names
            ));
        }
        let mut loops = 0;
        for (first, last) in loops_of(&lines) {
            let body = || lines.iter().filter(|line| (first..=last).contains(&line.address));
            let count = |start: &str| body().filter(|line| line.name.starts_with(start)).count();
            let (products, reads, moves) = (count("v_mfma"), count("ds_read"), count("v_accvgpr"));
            if products == 0 {
                continue;
            }
            loops += 1;
            if products < self.of_loop || products < self.of_read * reads {
                errors.push(format!(
                    "{entry}: {products} products and {reads} reads of LDS in a loop, at least {} and {} a read",
                    self.of_loop, self.of_read
                ));
            }
            if moves != 0 {
                errors.push(format!(
                    "{entry}: {moves} moves from or to accumulation registers in a loop"
                ));
            }
        }
        if loops == 0 {
            errors.push(format!("{entry}: no products in a loop"));
        }
    }
}

impl<'a> Line<'a> {
    /// `\ts_cbranch_scc0 65152      // 000000008738: BF84FE80 <linear_bf16_nn+0xf3c>`
    fn parse(line: &'a str) -> Option<Line<'a>> {
        let (instruction, place) = line.split_once("//")?;
        let name = instruction.split_whitespace().next()?;
        let (address, rest) = place.trim().split_once(':')?;
        let is_branch = name.starts_with("s_branch") || name.starts_with("s_cbranch");
        let target = rest.rsplit_once('<').filter(|_| is_branch).and_then(|(_, symbol)| {
            let symbol = symbol.trim_end().strip_suffix('>')?;
            let offset = symbol.rsplit_once("+0x").map_or("0", |(_, offset)| offset);
            u64::from_str_radix(offset, 16).ok()
        });
        Some(Line { address: u64::from_str_radix(address, 16).ok()?, name, target })
    }
}

/// The addresses of the first and the last instruction of each loop.
fn loops_of(lines: &[Line<'_>]) -> Vec<(u64, u64)> {
    let Some(start) = lines.first().map(|line| line.address) else { return Vec::new() };
    let back = |line: &Line<'_>| {
        let to = start + line.target?;
        (to <= line.address).then_some((to, line.address))
    };
    let mut ranges: Vec<(u64, u64)> = lines.iter().filter_map(back).collect();
    ranges.sort_unstable();
    let mut loops: Vec<(u64, u64)> = Vec::new();
    for (first, last) in ranges {
        match loops.last_mut() {
            Some(before) if first <= before.1 => before.1 = before.1.max(last),
            _ => loops.push((first, last)),
        }
    }
    loops
}
