//! The command line.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

use lexopt::prelude::*;

pub(super) const HELP: &str = "\
Launches one kernel on a simulated GPU that hunts for races, bounds and uninitialised reads.

simulate-kernel [OPTIONS] FILE KERNEL [ARGUMENT...]

FILE is PTX, a fat binary with PTX inside (fatbinary --compress=false), or CUDA C++ (.cu, compiled
by nvcc, found by NVCC, the path or CUDA_HOME). KERNEL is its name in the PTX.

OPTIONS
  --grid X[,Y[,Z]]     blocks (1)
  --block X[,Y[,Z]]    threads of a block (32)
  --shared BYTES       dynamic shared memory (0)
  --seed S | A..B      schedule, or one launch for each of A to B - 1 (0)
  --approx-seed S      where in their error approximate instructions end (0)
  --arch sm_NN         the device, and what nvcc compiles for (sm_90a)
  --multiprocessors N  (132)

ARGUMENTS, one per kernel parameter; TYPE is i8 u8 i16 u16 i32 u32 i64 u64 f16 bf16 f32 f64
  TYPE:VALUE           a number
  out:TYPE:N[@FILE]    a pointer to N elements that were never written; they are shown afterwards,
                       or written to FILE
  zero:TYPE:N[@FILE]   the same, zero at first
  rand:TYPE:N[@FILE]   the same, random at first: floating point within -1..1, integers 0..100
  @FILE                a pointer to the bytes of FILE
  {A,B,...}            a struct by value, made of such arguments, each aligned to its size

The results and counters of the first seed are shown, then where another seed's results differ.
The exit status is 0 without reports, 2 with reports, 1 if nothing could be launched.
";

/// What the command line says.
pub(super) struct Options {
    pub(super) file: PathBuf,
    pub(super) kernel: String,
    pub(super) grid: [u32; 3],
    pub(super) block: [u32; 3],
    pub(super) shared: u32,
    pub(super) seeds: RangeInclusive<u64>,
    pub(super) approximation_seed: u64,
    pub(super) architecture: String,
    pub(super) multiprocessors: u32,
    pub(super) arguments: Vec<String>,
}

impl Options {
    /// 90 of `sm_90a`.
    pub(super) fn number(&self) -> Result<u32, String> {
        let digits = self.architecture.strip_prefix("sm_").unwrap_or_default();
        let digits = digits.trim_end_matches(|c: char| c.is_ascii_lowercase());
        digits.parse().map_err(|_| format!("--arch {} is no sm_NN", self.architecture))
    }
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

fn seeds(text: &str) -> Result<RangeInclusive<u64>, String> {
    let (first, end) = match text.split_once("..") {
        Some((first, end)) => (parse::<u64>("seed", first)?, parse::<u64>("seed", end)?),
        None => {
            let seed: u64 = parse("seed", text)?;
            return Ok(seed..=seed);
        }
    };
    match end > first {
        true => Ok(first..=end - 1),
        false => Err(format!("--seed {text} is empty")),
    }
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
        block: [32, 1, 1],
        shared: 0,
        seeds: 0..=0,
        approximation_seed: 0,
        architecture: "sm_90a".to_string(),
        multiprocessors: 132,
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
            "block" => options.block = extents("block", &value)?,
            "shared" => options.shared = parse("shared", &value)?,
            "seed" => options.seeds = seeds(&value)?,
            "approx-seed" => options.approximation_seed = parse("approx-seed", &value)?,
            "arch" => options.architecture = value,
            "multiprocessors" => options.multiprocessors = parse("multiprocessors", &value)?,
            _ => return Err(format!("unknown option --{option}")),
        }
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
        let read =
            options(&["a.ptx", "--grid", "2,3", "k", "--seed=5..9", "i32:-5", "--arch", "sm_80"]);
        let read = read.unwrap().unwrap();
        assert_eq!((read.grid, read.block, read.seeds.clone()), ([2, 3, 1], [32, 1, 1], 5..=8));
        assert_eq!(
            (read.kernel.as_str(), read.arguments.as_slice()),
            ("k", &["i32:-5".into()][..])
        );
        assert_eq!(read.number(), Ok(80));
    }

    #[test]
    fn refuses_with_a_reason() {
        let error = |words: &[&str]| options(words).err().unwrap();
        assert!(error(&[]).contains("FILE"));
        assert!(error(&["a.ptx"]).contains("KERNEL"));
        assert!(error(&["a", "k", "--seed", "4..4"]).contains("empty"));
        assert!(error(&["a", "k", "--grid", "1,1,1,1"]).contains("three"));
        assert!(error(&["a", "k", "--colour", "1"]).contains("colour"));
        assert!(options(&["--help"]).unwrap().is_none());
    }
}
