//! The command line.

use std::path::PathBuf;
use std::str::FromStr;

use lexopt::prelude::*;

pub(super) const HELP: &str = "\
Launches one kernel on a simulated GPU that hunts for races, bounds and uninitialised reads.

simulate-kernel FILE KERNEL [OPTIONS] [ARG...]

FILE is one of
  PTX, or a fat binary with PTX inside (fatbinary --compress=false)
  an AMD code object (clang --offload-device-only --no-gpu-bundle-output)
  CUDA C++ (.cu), compiled by nvcc, which NVCC, the path or CUDA_HOME name
  HIP C++ (.hip), compiled by clang without ROCm's headers; HIP_CLANG, ROCM_PATH or the path name it
KERNEL is its name in there: declare it extern \"C\".

OPTIONS
  --grid X[,Y[,Z]]     blocks (1)
  --block X[,Y[,Z]]    threads of a block (one warp: 32, AMD 64)
  --cluster X[,Y[,Z]]  blocks of a cluster (what the kernel requires)
  --shared BYTES       dynamic shared memory (0)
  --seed N             the first schedule (0)
  --runs N             launches, with the seeds N, N + 1, ... (1)
  --approx-seed N      where in their error approximate instructions end, in all runs (0)
  --arch NAME          the device, and what is compiled for: sm_80 sm_86 sm_89 sm_90a gfx90a gfx942
                       gfx950 (a code object's own; .hip: gfx942; else sm_90a)
  --multiprocessors N  (those of the device)

ARG, one per kernel parameter; TYPE is i8 u8 i16 u16 i32 u32 i64 u64 f16 bf16 f32 f64
  TYPE:VALUE           a number
  @FILE                a pointer to the bytes of FILE, which is rewritten with what the kernel left
  @FILE:ro             the same, read-only: a kernel that writes to it is at fault
  out:TYPE:N[@FILE]    a pointer to N elements that were never written; they are shown afterwards,
                       or written to FILE
  zero:TYPE:N[@FILE]   the same, zero at first
  rand:TYPE:N[@FILE]   the same, random at first: floating point within -1..1, integers 0..100
  struct:[ARG,...]     a struct by value, laid out as in C
  tma:@FILE:DIMS:STRIDES_BYTES:BOX:ELEMENT_BYTES:SWIZZLE
                       a tensor map of the file's bytes, lists with commas, innermost first;
                       @FILE may be another argument's too; elements of 2 bytes count as bf16
  tmap:@FILE:...       a pointer to such a map in global memory
The same @FILE twice is one buffer. All launches start from the same bytes.

Results and counters of the first launch go to stdout, then a line for each fault of each launch, and
for each buffer that another launch left different. Files are written only if there is no such line.
The exit status is 0 then, 2 with faults or differences, 1 if nothing could be launched or a file not
be written (the reason is on stderr).
";

/// What the command line says.
pub(super) struct Options {
    pub(super) file: PathBuf,
    pub(super) kernel: String,
    pub(super) grid: [u32; 3],
    pub(super) block: Option<[u32; 3]>,
    pub(super) cluster: Option<[u32; 3]>,
    pub(super) shared: u32,
    pub(super) seed: u64,
    /// At least 1; the last seed is a u64.
    pub(super) runs: u64,
    pub(super) approximation_seed: u64,
    pub(super) architecture: Option<String>,
    pub(super) multiprocessors: Option<u32>,
    pub(super) arguments: Vec<String>,
}

fn parse<T: FromStr>(option: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("--{option} {text} is no number"))
}

fn extents(option: &str, text: &str) -> Result<[u32; 3], String> {
    let mut extents = [1; 3];
    for (index, part) in text.split(',').enumerate() {
        *extents.get_mut(index).ok_or(format!("--{option} has at most three extents"))? =
            parse(option, part)?;
    }
    Ok(extents)
}

/// None if help was asked for.
pub(super) fn read() -> Result<Option<Options>, String> {
    read_from(lexopt::Parser::from_env())
}

fn read_from(mut parser: lexopt::Parser) -> Result<Option<Options>, String> {
    let mut options = Options {
        file: PathBuf::new(),
        kernel: String::new(),
        grid: [1; 3],
        block: None,
        cluster: None,
        shared: 0,
        seed: 0,
        runs: 1,
        approximation_seed: 0,
        architecture: None,
        multiprocessors: None,
        arguments: Vec::new(),
    };
    let mut positional = 0;
    while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
        let option = match argument {
            Long("help") | Short('h') => return Ok(None),
            Long(name) => name.to_string(),
            Value(value) => {
                let text = value.into_string().map_err(|text| format!("{text:?} is no text"))?;
                match positional {
                    0 => options.file = text.into(),
                    1 => options.kernel = text,
                    _ => options.arguments.push(text),
                }
                positional += 1;
                continue;
            }
            other => return Err(other.unexpected().to_string()),
        };
        let value = parser.value().and_then(|value| value.string());
        let value = value.map_err(|error| error.to_string())?;
        match option.as_str() {
            "grid" => options.grid = extents("grid", &value)?,
            "block" => options.block = Some(extents("block", &value)?),
            "cluster" => options.cluster = Some(extents("cluster", &value)?),
            "shared" => options.shared = parse("shared", &value)?,
            "seed" => options.seed = parse("seed", &value)?,
            "runs" => options.runs = parse("runs", &value)?,
            "approx-seed" => options.approximation_seed = parse("approx-seed", &value)?,
            "arch" => options.architecture = Some(value),
            "multiprocessors" => {
                options.multiprocessors = Some(parse("multiprocessors", &value)?);
            }
            _ => return Err(format!("unknown option --{option}")),
        }
    }
    if options.runs == 0 || options.seed.checked_add(options.runs - 1).is_none() {
        let Options { seed, runs, .. } = options;
        return Err(format!("--seed {seed} --runs {runs}: at least 1 run, seeds below 2^64"));
    }
    match positional {
        0 => Err("no FILE".to_string()),
        1 => Err("no KERNEL".to_string()),
        _ => Ok(Some(options)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(words: &[&str]) -> Result<Option<Options>, String> {
        read_from(lexopt::Parser::from_args(words))
    }

    #[test]
    fn reads_options_and_arguments() {
        let words = ["a.ptx", "--grid", "2,3", "k", "--seed=5", "--runs", "4", "i32:-5"];
        let read = options(&words).unwrap().unwrap();
        assert_eq!((read.grid, read.block, read.seed, read.runs), ([2, 3, 1], None, 5, 4));
        assert_eq!((&*read.kernel, &*read.arguments), ("k", &["i32:-5".to_string()][..]));
        let one = ["--cluster", "1,1,1", "a", "k", "--block", "64", "--arch", "gfx942"];
        let read = options(&one).unwrap().unwrap();
        assert_eq!(read.cluster, Some([1; 3]));
        assert_eq!((read.block, read.architecture.as_deref()), (Some([64, 1, 1]), Some("gfx942")));
        assert!(options(&["--help"]).unwrap().is_none());
    }

    #[test]
    fn refuses_with_a_reason() {
        let rows: [(&[&str], &str); 9] = [
            (&[], "no FILE"),
            (&["a.ptx"], "no KERNEL"),
            (&["a", "k", "--grid", "1,1,1,1"], "--grid has at most three extents"),
            (&["a", "k", "--grid", "1,x"], "--grid x is no number"),
            (&["a", "k", "--block", "-1"], "--block -1 is no number"),
            (&["a", "k", "--runs", "0"], "--seed 0 --runs 0: at least 1 run"),
            (&["a", "k", "--seed", "18446744073709551615", "--runs", "2"], "seeds below 2^64"),
            (&["a", "k", "--colour", "1"], "unknown option --colour"),
            (&["a", "k", "--seed"], "missing argument for option '--seed'"),
        ];
        for (words, expected) in rows {
            let error = options(words).err().unwrap();
            assert!(error.contains(expected), "{words:?}: {error}");
        }
    }
}
