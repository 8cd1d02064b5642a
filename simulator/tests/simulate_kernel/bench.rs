//! Compiled kernels, a folder for each test, and the tool run in it.

use expertile_simulator::{clang, nvcc};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The tool, as cargo built it.
pub(crate) const TOOL: &str = env!("CARGO_BIN_EXE_simulate-kernel");

/// Where the sources of the kernels are.
pub(crate) fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/simulate_kernel")
}

/// Whether a compiler was found; it has to be, where `EXPERTILE_REQUIRE` names the vendor.
pub(crate) fn is_there(found: Result<PathBuf, String>, vendor: &str) -> bool {
    let Err(message) = found else { return true };
    let required = std::env::var("EXPERTILE_REQUIRE").unwrap_or_default();
    assert!(!required.contains(vendor), "{message}");
    eprintln!("skipped: {message}");
    false
}

/// The compilers that this process finds, for one in another folder.
pub(crate) fn compilers() -> impl Iterator<Item = (&'static str, PathBuf)> {
    let found = [("NVCC", nvcc::find()), ("HIP_CLANG", clang::find())];
    found.into_iter().filter_map(|(name, found)| Some((name, found.ok()?)))
}

/// The kernels as files for the tool, of each vendor whose compiler is there: PTX, and a code object.
pub(crate) fn images() -> &'static [PathBuf] {
    static IMAGES: OnceLock<Vec<PathBuf>> = OnceLock::new();
    IMAGES.get_or_init(|| {
        let mut images = Vec::new();
        let mut keep = |name: &str, content: Vec<u8>| {
            let path = folder("images").join(name);
            std::fs::write(&path, content).expect("the folder is ours");
            images.push(path);
        };
        if is_there(nvcc::find(), "cuda") {
            let ptx = nvcc::compile(&sources().join("kernels.cu"), "sm_80", &[]);
            keep("kernels.ptx", ptx.unwrap_or_else(|error| panic!("{error}")).into_bytes());
        }
        if is_there(clang::find(), "hip") {
            let object = clang::compile(&sources().join("kernels.hip"), "gfx942", &[]);
            keep("kernels.o", object.unwrap_or_else(|error| panic!("{error}")));
        }
        images
    })
}

/// A folder of the test's own; what an earlier run left in it stays.
pub(crate) fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("simulate_kernel").join(name);
    std::fs::create_dir_all(&folder).expect("the folder is ours");
    folder
}

/// What the tool said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) error: String,
}

impl Said {
    /// A clean run.
    pub(crate) fn clean(self) -> Said {
        assert_eq!(self.status, 0, "{self:?}");
        self
    }

    /// A run with findings, with these words among them.
    pub(crate) fn found(self, words: &str) -> Said {
        assert!(self.status == 2 && self.out.contains(words), "{words} is not in {self:?}");
        assert!(self.out.ends_with("runs; no file is written\n"), "{self:?}");
        self
    }

    /// A refusal, with these words.
    pub(crate) fn refused(self, words: &str) -> Said {
        assert!(self.status == 1 && self.error.contains(words), "{words} is not in {self:?}");
        assert!(self.out.is_empty() && self.error.starts_with("simulate-kernel: "), "{self:?}");
        self
    }
}

/// Runs the tool in a folder: the file, then words as in a shell.
pub(crate) fn tool(folder: &Path, file: &Path, words: &str) -> Said {
    let mut command = Command::new(TOOL);
    command.current_dir(folder).envs(compilers()).arg(file).args(words.split(' '));
    let run = command.output().expect("the tool starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    Said {
        status: run.status.code().expect("an exit status"),
        out: text(run.stdout),
        error: text(run.stderr),
    }
}

pub(crate) fn write<const BYTES: usize>(path: &Path, numbers: impl Iterator<Item = [u8; BYTES]>) {
    std::fs::write(path, numbers.flatten().collect::<Vec<u8>>()).expect("the folder is ours");
}

pub(crate) fn read(path: &Path) -> Vec<f32> {
    let bytes = std::fs::read(path).expect("the file is there");
    bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}
