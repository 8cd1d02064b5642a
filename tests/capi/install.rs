//! The library as a C or C++ program finds it: `make install` into an empty folder, pkg-config, `cc`.

use crate::linked;
use crate::simulator::Simulator;
use expertile::{Device, Platform};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::{env, fs};

pub(crate) fn output(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// What a command prints, which succeeds.
pub(crate) fn text(command: &mut Command) -> String {
    let output = output(command);
    let (text, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{text}\n{errors}", output.status);
    text.into_owned()
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) struct Installed {
    prefix: PathBuf,
}

impl Installed {
    /// One for all tests.
    pub(crate) fn find() -> &'static Installed {
        static ONE: OnceLock<Installed> = OnceLock::new();
        ONE.get_or_init(Installed::new)
    }

    fn new() -> Installed {
        let prefix = Path::new(env!("CARGO_TARGET_TMPDIR")).join("capi");
        let _ = fs::remove_dir_all(&prefix);
        // With the features of this test the kernels are compiled already.
        let features =
            if cfg!(feature = "probes") { "capi,cuda,hip,probes" } else { "capi,cuda,hip" };
        let mut make = Command::new("make");
        make.current_dir(root())
            .arg("install")
            .arg(format!("PREFIX={}", prefix.display()))
            .arg(format!("CAPI_FEATURES={features}"))
            // Those of a make that runs this test are for its own recipes.
            .env_remove("MAKEFLAGS")
            .env_remove("MAKELEVEL");
        text(&mut make);
        Installed { prefix }
    }

    pub(crate) fn library(&self) -> PathBuf {
        self.prefix.join("lib/libexpertile.so")
    }

    fn flags(&self, arguments: &[&str]) -> Vec<String> {
        let mut config = Command::new("pkg-config");
        config.args(arguments).arg("expertile");
        config.env("PKG_CONFIG_PATH", self.prefix.join("lib/pkgconfig"));
        text(&mut config).split_whitespace().map(str::to_owned).collect()
    }

    /// Compiles an example with every warning an error, in an empty folder.
    fn build(&self, compiler: &str, standard: &str, example: &str, flags: &[String]) -> PathBuf {
        let folder = self.prefix.join(format!("built-{example}-{standard}-{}", flags.len()));
        fs::create_dir_all(&folder).unwrap();
        let source = root().join("examples/c").join(example);
        let mut compile = Command::new(compiler);
        compile.current_dir(&folder).arg(format!("-std={standard}"));
        compile.args(["-Wall", "-Wextra", "-pedantic", "-Werror", "-o", "program"]);
        compile.arg(source).args(self.flags(&["--cflags"])).args(flags).args(["-lm", "-ldl"]);
        text(&mut compile);
        folder.join("program")
    }
}

/// Runs an example on each platform: as expected on a device, and without one the reason, behind `before`.
pub(crate) fn run(command: impl Fn() -> Command, before: &str) {
    for platform in Platform::ALL {
        let mut command = command();
        let output = output(command.arg(platform.to_string()));
        let (text, errors) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let all = format!("{command:?}: {}: {text}{errors}", output.status);
        match Device::count(platform) {
            Ok(1..) => {
                assert!(output.status.success(), "{all}");
                assert!(text.starts_with(&format!("rope on {platform}: as expected")), "{all}");
            }
            Ok(0) => assert_eq!(output.status.code(), Some(1), "{all}"),
            Err(error) => {
                assert_eq!(output.status.code(), Some(1), "{all}");
                let expected = format!("{before}{error}");
                assert!(errors.contains(&expected[..expected.len().min(400)]), "{all}");
            }
        }
    }
}

fn run_built(program: &Path) {
    run(|| Command::new(program), "no driver, device or kernels: ");
}

#[test]
fn c_and_cxx_use_the_installed_library() {
    // Where it is required, there is a device of each platform.
    let _simulator = Simulator::find();
    let installed = Installed::find();
    let mut files: Vec<String> = ["include", "lib", "lib/pkgconfig"]
        .iter()
        .flat_map(|folder| fs::read_dir(installed.prefix.join(folder)).unwrap())
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    let version = env!("CARGO_PKG_VERSION");
    let shared = format!("libexpertile.so.{version}");
    let expected = [
        "expertile.h",
        "expertile.pc",
        "libexpertile.a",
        "libexpertile.so",
        "libexpertile.so.0",
        &shared,
        "pkgconfig",
    ];
    assert_eq!(files, expected);
    assert_eq!(installed.flags(&["--modversion"]), [version]);

    let rpath = format!("-Wl,-rpath,{}", installed.prefix.join("lib").display());
    let dynamic: Vec<String> = installed.flags(&["--libs"]).into_iter().chain([rpath]).collect();
    let archive = installed.prefix.join("lib/libexpertile.a").display().to_string();
    let beside = installed.flags(&["--libs", "--static"]);
    let archived: Vec<String> = [archive]
        .into_iter()
        .chain(beside.into_iter().filter(|flag| flag != "-lexpertile"))
        .collect();
    for (compiler, standard, example) in [
        ("cc", "c11", "rope.c"),
        ("cc", "c23", "rope.c"),
        ("c++", "c++17", "rope.cpp"),
        ("c++", "c++20", "rope.cpp"),
    ] {
        // GCC 12 calls it by its draft's name.
        let standard = if standard == "c23" { "c2x" } else { standard };
        let program = installed.build(compiler, standard, example, &dynamic);
        let needed = linked::tagged(&program, "(NEEDED)");
        assert!(needed.contains(&"libexpertile.so.0".into()), "{needed:?}");
        linked::check(&program, &["libexpertile.so.0", "libstdc++.so"]);
        run_built(&program);
    }
    let program = installed.build("cc", "c11", "rope.c", &archived);
    linked::check(&program, &[]);
    run_built(&program);
    readme(installed);
    library(&installed.library());
}

/// The call in the README compiles.
fn readme(installed: &Installed) {
    let page = fs::read_to_string(root().join("README.md")).unwrap();
    let code = page.split("```c\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let source = installed.prefix.join("readme.c");
    fs::write(&source, code).unwrap();
    let mut compile = Command::new("cc");
    compile.args(["-std=c11", "-Wall", "-Wextra", "-pedantic", "-Werror", "-c", "-o"]);
    compile.arg(installed.prefix.join("readme.o")).arg(source);
    text(compile.args(installed.flags(&["--cflags"])));
}

/// It needs nothing but the C library and the unwinder, and exports what the header declares.
fn library(library: &Path) {
    assert_eq!(linked::tagged(library, "(SONAME)"), ["libexpertile.so.0"]);
    linked::check(library, &[]);
    let symbols = text(Command::new("nm").args(["-D", "--defined-only"]).arg(library));
    let exported: BTreeSet<&str> =
        symbols.lines().filter_map(|line| line.split_whitespace().last()).collect();
    let header = fs::read_to_string(root().join("include/expertile.h")).unwrap();
    let declared: BTreeSet<&str> = header
        .lines()
        .filter(|line| line.contains('(') && !line.starts_with([' ', '/', '#']))
        .filter_map(|line| line.split('(').next()?.split([' ', '*']).next_back())
        .collect();
    assert!(declared.len() >= 18, "{declared:?}");
    assert_eq!(exported, declared);
}
