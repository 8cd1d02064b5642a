//! The whole kit, unpacked in an empty folder, with nothing of this repository or of Rust on its path,
//! on a simulated device: what is in it, and that it ends in time whatever its parts do.
//!
//! `EXPERTILE_KIT` is the packed kit, `EXPERTILE_SIMULATE` the command `simulate`, and in the folder
//! `EXPERTILE_CUDA_LIBRARIES` is what candle is linked to (`make test` sets them); without the first two
//! there is nothing to test.

use expertile_kit::archive;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};
use std::{env, fs};

/// A kit unpacked in a folder of its own.
struct Kit {
    folder: PathBuf,
    simulate: OsString,
    /// Searched before /usr/bin and /bin.
    tools: PathBuf,
}

impl Kit {
    fn unpack(name: &str) -> Option<Kit> {
        let required = env::var("EXPERTILE_REQUIRE").is_ok_and(|list| list.contains("kit"));
        let (packed, simulate) = (env::var_os("EXPERTILE_KIT"), env::var_os("EXPERTILE_SIMULATE"));
        let (Some(packed), Some(simulate)) = (packed, simulate) else {
            assert!(!required, "EXPERTILE_KIT and EXPERTILE_SIMULATE are not set");
            eprintln!("skipped: EXPERTILE_KIT and EXPERTILE_SIMULATE are not set");
            return None;
        };
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("kit-{name}"));
        let _ = fs::remove_dir_all(&root);
        let tools = root.join("tools");
        fs::create_dir_all(&tools).unwrap();
        let unpacked = Command::new("tar").arg("-xzf").arg(packed).arg("-C").arg(&root).status();
        assert!(unpacked.unwrap().success());
        Some(Kit { folder: root.join("gpu-kit"), simulate, tools })
    }

    /// A shell script in place of a program.
    fn script(&self, path: &Path, script: &str) {
        fs::write(path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// In place of one of the kit's binaries.
    fn replace(&self, binary: &str, script: &str) {
        let _ = fs::remove_file(self.folder.join(format!("bin/{binary}.gz")));
        self.script(&self.folder.join("bin").join(binary), script);
    }

    fn command(&self, architecture: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.simulate);
        command.args([architecture, "./run.sh"]).args(arguments);
        self.alone(&mut command);
        command
    }

    /// Python, where it is asked for CUDA's libraries: those that stand in for them.
    fn python(&self, script: &str) {
        let libraries = env::var("EXPERTILE_CUDA_LIBRARIES").unwrap_or_default();
        let packages = self.tools.join("nvidia");
        fs::create_dir_all(packages.join("cu13")).unwrap();
        std::os::unix::fs::symlink(libraries, packages.join("cu13/lib")).unwrap();
        let packages = packages.display();
        let script = format!("case \"$*\" in *nvidia*) echo '{packages}'; exit ;; esac\n{script}");
        self.script(&self.tools.join("python3"), &script);
    }

    /// In the kit's folder, with nothing but the system's own tools.
    fn alone(&self, command: &mut Command) {
        let path = format!("{}:/usr/bin:/bin", self.tools.display());
        command.current_dir(&self.folder).env_clear().env("PATH", path);
    }

    fn run(&self, architecture: &str, arguments: &[&str]) -> Output {
        self.command(architecture, arguments).output().unwrap()
    }

    fn archive(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut found = fs::read_dir(&self.folder).unwrap().flatten();
        let path = found.find(|entry| entry.file_name().to_string_lossy().ends_with(".tar.gz"));
        let path = path.expect("an archive is left").path();
        assert!(fs::metadata(&path).unwrap().len() < archive::LIMIT_BYTES);
        archive::read(&path).unwrap()
    }
}

fn text(files: &[(PathBuf, Vec<u8>)], name: &str) -> String {
    let found = files.iter().find(|(path, _)| path == Path::new(name));
    let (_, bytes) = found.unwrap_or_else(|| panic!("no {name} in the archive"));
    String::from_utf8(bytes.clone()).unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The table's line that begins with these words.
fn line(table: &str, words: &str) -> String {
    let mut lines = table.lines();
    let found =
        lines.find(|line| line.split_whitespace().collect::<Vec<_>>().join(" ").starts_with(words));
    found.unwrap_or_else(|| panic!("no line {words:?} in\n{table}")).to_owned()
}

/// A service in Python's place: peers of rope that take as long as they say.
const PEERS: &str = r#"
while read -r line; do case "$line" in
*'"list"'*) echo '{"device":{},"versions":{"stand-in":"1"},"cases":[{"operator":"moe","dtype":"bf16","shape":"a bar","extents":{"tokens":1},"bytes":8,"flops":8,"bound":"read"}]}' ;;
*'"ceilings"'*) echo '{"ceilings":[{"name":"matmul","unit":"FLOP/s","amount":8,"ms":[1.0]}]}' ;;
*rope*|*moe*) echo 'noise of a library'; echo '{"results":[{"backend":"peer one","ms":[1.0,2.0,3.0],"worst_error":0.001},{"backend":"peer two","error":"not here"}]}' ;;
*) echo '{"results":[]}' ;;
esac; done"#;

#[test]
fn the_whole_kit_runs_without_rust() {
    let Some(kit) = Kit::unpack("whole") else { return };
    kit.python(PEERS);
    // What compute-sanitizer gets is noted, and its program run.
    let sanitizer = r#"echo "$@" >> "$0.calls"
while [ "${1#-}" != "$1" ]; do case $1 in --tool|--error-exitcode|--padding) shift 2 ;; *) exit 3 ;; esac; done
exec "$@""#;
    kit.script(&kit.tools.join("compute-sanitizer"), sanitizer);
    let output = kit.run("sm_90a", &["--minutes", "12"]);
    let table = stdout(&output);
    assert!(output.status.success(), "{table}{}", String::from_utf8_lossy(&output.stderr));
    for passed in [
        "check info starts",
        "check the images' machine code runs",
        "properties properties",
        "probes instructions",
        "candle operators",
        "benches cases",
        "sanitizer memcheck",
        "sanitizer racecheck",
        "sanitizer initcheck",
        "sanitizer synccheck",
    ] {
        assert!(line(&table, passed).contains("passed"), "{passed} in\n{table}");
    }
    assert!(line(&table, "check device").contains("simulated sm_90a"));
    assert!(line(&table, "candle operators").ends_with("30 calls: as on the CPU"), "{table}");
    assert!(line(&table, "peer two").ends_with("not here"));
    for figure in ["GB/s", "TFLOP/s", " ms"] {
        assert!(!table.contains(figure), "a figure of a simulated device:\n{table}");
    }
    let calls = fs::read_to_string(kit.tools.join("compute-sanitizer.calls")).unwrap();
    let calls: Vec<&str> = calls.lines().collect();
    assert_eq!(calls.len(), 4, "{calls:?}");
    assert!(calls[0].starts_with("--tool memcheck --error-exitcode 86 --padding 256 "));

    let files = kit.archive();
    assert!(table.contains(&text(&files, "table.txt")));
    let csv = files.iter().find(|(path, _)| {
        path.extension().is_some_and(|e| e == "csv") && path.starts_with("record")
    });
    let csv = String::from_utf8(csv.expect("a CSV").1.clone()).unwrap();
    // Three rounds, in turn with ours.
    let row = csv.lines().find(|line| line.contains("peer one") && line.contains("rope")).unwrap();
    assert!(row.contains(",simulated,9,"), "{row}");
    assert!(csv.lines().any(|line| line.contains(",moe,peer one,")), "{csv}");
    assert!(files.iter().any(|(path, _)| path.extension().is_some_and(|e| e == "svg")));
    assert_eq!(files.iter().filter(|(path, _)| path.starts_with("probes")).count(), 27);
    let ledger = text(&files, "ledger.csv");
    assert!(ledger.lines().count() > 6 && ledger.contains(",simulated sm_90a,"), "{ledger}");
    assert!(ledger.lines().skip(1).all(|line| line.split(',').nth(8).unwrap().len() == 64));
    // The run's own folder is gone.
    let left = fs::read_dir(&kit.folder).unwrap().flatten();
    assert!(left.map(|e| e.file_name()).all(|n| !n.to_string_lossy().starts_with("expertile-run")));
}

#[test]
fn the_whole_kit_runs_on_amd_devices() {
    let Some(kit) = Kit::unpack("amd") else { return };
    kit.script(&kit.tools.join("python3"), "exit 1");
    kit.script(&kit.tools.join("compute-sanitizer"), "exit 3");
    let output = kit.run("gfx942", &["--minutes", "12"]);
    let table = stdout(&output);
    assert!(output.status.success(), "{table}{}", String::from_utf8_lossy(&output.stderr));
    for passed in [
        "check info starts",
        "check the images' machine code runs",
        "properties properties",
        "probes instructions",
    ] {
        assert!(line(&table, passed).contains("passed"), "{passed} in\n{table}");
    }
    assert!(line(&table, "check device").contains("simulated gfx942, gfx942, HIP "), "{table}");
    assert!(line(&table, "benches cases passed").contains("11 of 11"), "{table}");
    for skipped in ["candle operators skipped", "sanitizer compute-sanitizer skipped"] {
        assert!(line(&table, skipped).contains("for NVIDIA devices only"), "{table}");
    }
    let proven = line(&table, "rope ");
    assert!(proven.contains("gfx942") && proven.ends_with("simulated"), "{table}");

    let files = kit.archive();
    assert_eq!(files.iter().filter(|(path, _)| path.starts_with("probes")).count(), 21);
    let ledger = text(&files, "ledger.csv");
    let proofs: Vec<&str> = ledger.lines().skip(1).collect();
    // Which dtypes are drawn depends on the seed.
    for operator in [
        "combine",
        "dispatch",
        "grouped_gemm",
        "grouped_gemm_rows",
        "layer_norm",
        "linear",
        "linear_rows",
        "packet",
        "rms_norm",
        "rope",
        "router",
        "router_loss",
        "router_loss_reduce",
    ] {
        assert!(ledger.contains(&format!(",gfx942,{operator},")), "{ledger}");
    }
    for proof in proofs {
        let fields: Vec<&str> = proof.split(',').collect();
        assert_eq!(fields[2..4], ["hip", "simulated gfx942"], "{proof}");
        assert_eq!((fields[5], fields[8].len()), ("gfx942", 64), "{proof}");
    }
}

#[test]
fn a_part_that_hangs_ends_in_time_and_the_rest_is_kept() {
    let Some(kit) = Kit::unpack("hangs") else { return };
    kit.replace("suite", "trap '' TERM INT; sleep 1000 & sleep 1000");
    kit.script(&kit.tools.join("python3"), "trap '' TERM; while read -r line; do sleep 1000; done");
    let start = Instant::now();
    let output = kit.run("sm_90a", &["--minutes", "0.3"]);
    let (table, took) = (stdout(&output), start.elapsed());
    assert!(took < Duration::from_secs(28), "{took:?}\n{table}");
    assert_eq!(output.status.code(), Some(1), "{table}");
    assert!(line(&table, "properties properties").contains("out of time"), "{table}");
    assert!(line(&table, "probes instructions").contains("FAILED"), "{table}");
    let files = kit.archive();
    assert!(text(&files, "table.txt").contains("info starts"));
    // What was not proven is in no ledger.
    assert_eq!(text(&files, "ledger.csv").lines().count(), 1);
}

#[test]
fn a_part_that_fails_is_a_line_of_the_table() {
    let Some(kit) = Kit::unpack("fails") else { return };
    // Properties end by a signal; a machine-code check that says nothing proves nothing.
    kit.replace("suite", "case \"$*\" in *machine_code*) exit 0 ;; *) kill -SEGV $$ ;; esac");
    kit.script(&kit.tools.join("python3"), "exit 1");
    let only = ["check", "properties", "benches"].map(|part| ["--only", part]);
    let output = kit.run("sm_90a", &[&["--minutes", "1"][..], only.as_flattened()].concat());
    let table = stdout(&output);
    assert_eq!(output.status.code(), Some(1), "{table}");
    assert!(line(&table, "properties properties FAILED").contains("ended by signal 11"));
    assert!(line(&table, "check the images' machine code runs FAILED").contains("did not run"));
    assert!(line(&table, "benches peers skipped").contains("it ended"));
    assert!(line(&table, "benches cases passed").contains("11 of 11"));
    assert!(!table.contains("sanitizer") && !table.contains("probes"), "{table}");
}

#[test]
fn candle_needs_the_libraries_of_cuda() {
    let Some(kit) = Kit::unpack("candle") else { return };
    kit.script(&kit.tools.join("python3"), "exit 1");
    let only = ["--minutes", "1", "--only", "candle"];
    let table = stdout(&kit.run("sm_90a", &only));
    // A machine may have them, which does not work on a simulated device.
    let row = line(&table, "candle operators");
    assert!(
        row.contains("skipped") && row.contains(": cannot open shared") || row.contains("FAILED"),
        "{row}"
    );
    for (script, expected) in [
        ("echo 'libcublas.so.13: cannot open shared object file'; exit 127", "skipped"),
        ("echo 'rope BF16: result 0[1] is 2, expected 1'; exit 1", "FAILED"),
        ("exit 0", "FAILED"),
    ] {
        kit.replace("expertile-candle", script);
        let table = stdout(&kit.run("sm_90a", &only));
        let row = line(&table, "candle operators");
        assert!(row.contains(expected), "{script}: {row}");
    }
}

#[test]
fn an_interrupted_run_leaves_what_it_has() {
    let Some(kit) = Kit::unpack("interrupted") else { return };
    kit.replace("suite", "sleep 1000");
    // Not through `simulate`, so that the signal reaches the runner itself; without a device it would
    // end at once, so the service is a stand-in that hangs.
    kit.replace("operators", "sleep 1000");
    let mut command = Command::new(kit.folder.join("run.sh"));
    kit.alone(&mut command);
    let mut child = command.args(["--minutes", "5"]).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(1));
    let killed = Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert!(killed.success());
    let start = Instant::now();
    child.wait().unwrap();
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    assert!(text(&kit.archive(), "table.txt").contains("interrupted"));
}

#[test]
fn a_machine_without_a_device_is_no_failure() {
    let Some(kit) = Kit::unpack("none") else { return };
    let mut command = Command::new(kit.folder.join("run.sh"));
    kit.alone(&mut command);
    let output = command.args(["--minutes", "1", "--out", "elsewhere"]).output().unwrap();
    let table = stdout(&output);
    assert!(output.status.success(), "{table}");
    assert!(line(&table, "check device skipped").contains("no NVIDIA driver"), "{table}");
    assert!(kit.folder.join("elsewhere").read_dir().unwrap().flatten().count() == 1);
    for wrong in [&["--minutes", "0"][..], &["--only", "nothing"], &["--what"]] {
        let mut command = Command::new(kit.folder.join("run.sh"));
        kit.alone(&mut command);
        assert_eq!(command.args(wrong).output().unwrap().status.code(), Some(2), "{wrong:?}");
    }
}
