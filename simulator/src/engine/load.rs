//! A module's variables get addresses, its functions are decoded.

use std::collections::{BTreeMap, BTreeSet};

use super::context::FUNCTION_BASE;
use super::decode::{self, Symbols, lay_out};
use super::peers::MOST_BLOCKS;
use super::{Kernel, Launch, ParameterLayout, Program};
use crate::memory::Memory;
use crate::ptx::{Base, Function, Module, Operand, Space, Type, Variable};

/// What a launch of a kernel needs.
pub(super) struct Entry {
    /// Its index among the functions.
    pub(super) function: u32,
    /// Where dynamic shared memory starts.
    pub(super) dynamic_start: u32,
    required_threads: Option<[u32; 3]>,
}

/// Calls `each` with every name in the operands.
fn names<'a>(operands: &'a [Operand], each: &mut impl FnMut(&'a str)) {
    for operand in operands {
        match operand {
            Operand::Symbol(name, _) | Operand::Address(Base::Symbol(name), _) => each(name),
            Operand::Vector(items) | Operand::List(items) => names(items, each),
            Operand::Pair(a, b) => {
                names(std::slice::from_ref(a), each);
                names(std::slice::from_ref(b), each);
            }
            _ => {}
        }
    }
}

fn names_of(function: &Function) -> BTreeSet<&str> {
    let mut all = BTreeSet::new();
    for instruction in &function.code {
        names(&instruction.operands, &mut |name| {
            all.insert(name);
        });
    }
    all
}

/// The kernel and what it may call: all functions whose name or address it, or they, mention.
fn reachable<'a>(module: &'a Module, kernel: &'a Function) -> BTreeSet<&'a str> {
    let mut all = names_of(kernel);
    let mut visited = BTreeSet::new();
    loop {
        let found = module
            .functions
            .iter()
            .find(|f| !f.entry && all.contains(f.name.as_str()) && visited.insert(&f.name));
        match found {
            Some(function) => all.extend(names_of(function)),
            None => return all,
        }
    }
}

fn is_shared(variable: &Variable) -> bool {
    variable.space == Space::Shared
}

pub(super) fn load(module: &Module, memory: &mut Memory) -> Result<Program, String> {
    let mut symbols = Symbols::default();
    let mut const_bytes = 0;
    let own = module.functions.iter().flat_map(|f| &f.variables);
    let all: Vec<&Variable> = module.variables.iter().chain(own).collect();
    for variable in &all {
        match variable.space {
            Space::Global | Space::Const if !variable.external => {
                let what = |error| format!("{}: {error:?}", variable.name);
                let address = memory.allocate(variable.bytes.max(1)).map_err(what)?;
                symbols.variables.insert(variable.name.clone(), (address, variable.bytes));
                if variable.space == Space::Const {
                    const_bytes += variable.bytes as u32;
                }
            }
            Space::Shared if variable.external => {
                symbols.dynamic_shared.push(variable.name.clone());
            }
            _ => {}
        }
    }
    for (index, function) in module.functions.iter().enumerate() {
        symbols.functions.insert(function.name.clone(), index as u32);
    }
    fill(&all, &symbols, memory)?;
    // Shared variables that several kernels may use have one address in all of them.
    let of_functions = module.functions.iter().filter(|f| !f.entry).flat_map(|f| &f.variables);
    let common: Vec<&Variable> = module
        .variables
        .iter()
        .chain(of_functions)
        .filter(|variable| is_shared(variable) && !variable.external)
        .collect();
    let sizes = |variables: &[&Variable]| -> Vec<(u32, u32)> {
        variables.iter().map(|variable| (variable.bytes as u32, variable.align)).collect()
    };
    let (offsets, common_end) = lay_out(sizes(&common).into_iter(), 0);
    for (variable, offset) in common.iter().zip(offsets) {
        symbols.shared.insert(variable.name.clone(), offset);
    }
    let dynamic_align = all
        .iter()
        .filter(|variable| is_shared(variable) && variable.external)
        .map(|variable| variable.align)
        .fold(16, u32::max);
    let mut program = Program {
        functions: Vec::new(),
        kernels: Vec::new(),
        entries: Vec::new(),
        variables: symbols.variables.clone(),
        files: module.files.clone(),
    };
    for (index, function) in module.functions.iter().enumerate() {
        if !function.entry {
            program.functions.push(decode::decode(&symbols, index as u32, function));
            continue;
        }
        let mentioned = reachable(module, function);
        let uses_common = common.iter().any(|variable| mentioned.contains(variable.name.as_str()));
        let start = if uses_common { common_end } else { 0 };
        let own: Vec<&Variable> = function
            .variables
            .iter()
            .filter(|variable| is_shared(variable) && !variable.external)
            .collect();
        let (offsets, end) = lay_out(sizes(&own).into_iter(), start);
        let mut here = symbols.clone();
        for (variable, offset) in own.iter().zip(offsets) {
            here.shared.insert(variable.name.clone(), offset);
        }
        let decoded = decode::decode(&here, index as u32, function);
        let sizes = function.parameters.iter().map(|p| (p.bytes, p.align));
        let (offsets, parameter_bytes) = lay_out(sizes, 0);
        let layout = |(parameter, offset): (&crate::ptx::Parameter, u32)| ParameterLayout {
            offset,
            bytes: parameter.bytes,
            align: parameter.align,
        };
        program.kernels.push(Kernel {
            name: function.name.clone(),
            parameters: function.parameters.iter().zip(offsets).map(layout).collect(),
            parameter_bytes,
            static_shared_bytes: end,
            local_bytes: function
                .variables
                .iter()
                .filter(|variable| variable.space == Space::Local)
                .map(|variable| variable.bytes as u32)
                .sum(),
            registers: registers_needed(function),
            max_threads: function.max_threads.map_or(1024, |threads| threads.iter().product()),
            const_bytes,
            cluster: function.required_cluster,
        });
        program.entries.push(Entry {
            function: index as u32,
            dynamic_start: end.next_multiple_of(dynamic_align),
            required_threads: function.max_threads.filter(|_| function.required_threads),
        });
        program.functions.push(decoded);
    }
    let mut next = 0;
    for function in &mut program.functions {
        function.first_place = next;
        // One past the code: the return that every function ends with.
        next += function.places.len() as u32 + 1;
    }
    Ok(program)
}

/// Writes the initial values; what has none is zero.
fn fill(all: &[&Variable], symbols: &Symbols, memory: &mut Memory) -> Result<(), String> {
    for variable in all {
        let Some(&(address, bytes)) = symbols.variables.get(&variable.name) else { continue };
        let mut initial = variable.initial.clone();
        initial.resize(bytes as usize, 0);
        for (offset, name, addend) in &variable.relocations {
            let target = match (symbols.variables.get(name), symbols.functions.get(name)) {
                (Some(&(address, _)), _) => address,
                (None, Some(&index)) => FUNCTION_BASE + 16 * u64::from(index),
                _ => return Err(format!("{}: {name} is not defined here", variable.name)),
            };
            let at = *offset as usize;
            let place = initial
                .get_mut(at..at + 8)
                .ok_or_else(|| format!("{}: an address at {at} does not fit", variable.name))?;
            place.copy_from_slice(&target.wrapping_add(*addend as u64).to_le_bytes());
        }
        let what = |error| format!("{}: {error:?}", variable.name);
        memory.write(address, &initial).map_err(what)?;
    }
    Ok(())
}

/// The fullest place of the code, by first and last mention of each register.
fn registers_needed(function: &Function) -> u32 {
    let mut spans: BTreeMap<u32, (usize, usize)> = BTreeMap::new();
    for (at, instruction) in function.code.iter().enumerate() {
        let mut mention = |register: u32| {
            spans.entry(register).and_modify(|span| span.1 = at).or_insert((at, at));
        };
        registers(&instruction.operands, &mut mention);
    }
    let mut change = vec![0i64; function.code.len() + 2];
    for (register, (first, last)) in spans {
        let words = match function.registers[register as usize].ty {
            Type::Pred => 0,
            Type::B128 => 4,
            ty if decode::is_wide(ty) => 2,
            _ => 1,
        };
        change[first] += words;
        change[last + 1] -= words;
    }
    let mut now = 0;
    let most = change.into_iter().map(|by| {
        now += by;
        now
    });
    most.max().unwrap_or(0).clamp(16, 255) as u32
}

fn registers(operands: &[Operand], each: &mut impl FnMut(u32)) {
    for operand in operands {
        match operand {
            Operand::Register(register) | Operand::Address(Base::Register(register), _) => {
                each(*register);
            }
            Operand::Vector(items) | Operand::List(items) => registers(items, each),
            _ => {}
        }
    }
}

/// Why the device would not launch this.
pub(super) fn refusal(
    kernel: &Kernel,
    entry: &Entry,
    launch: &Launch<'_>,
    cluster: Option<[u32; 3]>,
) -> Option<String> {
    let threads = launch.block.iter().map(|&n| u64::from(n)).product::<u64>();
    if launch.grid.contains(&0) || launch.block.contains(&0) {
        return Some(format!("grid {:?} of blocks {:?} is empty", launch.grid, launch.block));
    }
    if launch.grid[0] > i32::MAX as u32 || launch.grid[1] > 65535 || launch.grid[2] > 65535 {
        return Some(format!("grid {:?} is larger than [2147483647, 65535, 65535]", launch.grid));
    }
    if launch.block[0] > 1024 || launch.block[1] > 1024 || launch.block[2] > 64 {
        return Some(format!("block {:?} is larger than [1024, 1024, 64]", launch.block));
    }
    if threads > kernel.max_threads.min(1024).into() {
        let most = kernel.max_threads.min(1024);
        return Some(format!("{threads} threads in a block where {most} are the most"));
    }
    if entry.required_threads.is_some_and(|required| required != launch.block) {
        return Some(format!("blocks of {:?} where others are required", launch.block));
    }
    let shared = u64::from(entry.dynamic_start) + u64::from(launch.dynamic_shared_bytes);
    if shared > launch.device.max_shared_bytes.into() {
        let most = launch.device.max_shared_bytes;
        return Some(format!("{shared} bytes of shared memory where {most} are the most"));
    }
    if let (Some(asked), Some(required)) = (cluster, kernel.cluster)
        && asked != required
    {
        return Some(format!("clusters of {asked:?} where {required:?} are required"));
    }
    if let Some(cluster) = cluster.or(kernel.cluster) {
        let blocks = cluster.iter().map(|&n| u64::from(n)).product::<u64>();
        let divides = |(&size, extent): (&u32, u32)| size != 0 && extent.is_multiple_of(size);
        if !cluster.iter().zip(launch.grid).all(divides) || blocks > MOST_BLOCKS.into() {
            return Some(format!(
                "clusters of {cluster:?} in a grid of {:?}: divisors, at most {MOST_BLOCKS} blocks",
                launch.grid
            ));
        }
        if blocks > 1 && launch.device.compute_capability < 90 {
            let capability = launch.device.compute_capability;
            return Some(format!("clusters of {cluster:?} on compute capability {capability}"));
        }
    }
    if launch.parameters.len() != kernel.parameter_bytes as usize {
        let (given, expected) = (launch.parameters.len(), kernel.parameter_bytes);
        return Some(format!("{given} bytes of parameters where {expected} are expected"));
    }
    None
}
