//! Children that end in time, whatever they do.

use std::fs::File;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Set by SIGINT and SIGTERM: what runs is ended, and the archive is written.
pub static INTERRUPTED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// How a child ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    Exited(i32),
    Signal(i32),
    TimedOut,
    Interrupted,
    NotStarted(String),
}

impl Ended {
    pub fn passed(&self) -> bool {
        *self == Ended::Exited(0)
    }

    /// For the table.
    pub fn text(&self) -> String {
        match self {
            Ended::Exited(0) => String::new(),
            Ended::Exited(status) => format!("exit status {status}"),
            Ended::Signal(signal) => format!("ended by signal {signal}"),
            Ended::TimedOut => "out of time".into(),
            Ended::Interrupted => "interrupted".into(),
            Ended::NotStarted(error) => format!("not started: {error}"),
        }
    }
}

fn ended(status: ExitStatus) -> Ended {
    match (status.code(), status.signal()) {
        (Some(code), _) => Ended::Exited(code),
        (None, signal) => Ended::Signal(signal.unwrap_or(0)),
    }
}

/// Runs a command with its output in a file, and ends it and all its children at the deadline.
pub fn run(command: &mut Command, log: &Path, deadline: Instant) -> Ended {
    let mut start = || -> io::Result<Child> {
        let file = File::create(log)?;
        let errors = file.try_clone()?;
        command.stdin(Stdio::null()).stdout(file).stderr(errors).process_group(0).spawn()
    };
    match start() {
        Ok(mut child) => wait(&mut child, deadline),
        Err(error) => {
            Ended::NotStarted(format!("{}: {error}", command.get_program().to_string_lossy()))
        }
    }
}

/// Waits until the deadline, then kills the child's group.
pub fn wait(child: &mut Child, deadline: Instant) -> Ended {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return ended(status),
            Ok(None) => {}
            Err(error) => return Ended::NotStarted(error.to_string()),
        }
        let interrupted = INTERRUPTED.load(Ordering::Relaxed);
        if interrupted || Instant::now() >= deadline {
            kill(child);
            return if interrupted { Ended::Interrupted } else { Ended::TimedOut };
        }
        sleep(Duration::from_millis(20));
    }
}

/// Kills the group that the child leads. A process that hangs within its driver cannot be killed;
/// it is left behind rather than waited for.
pub fn kill(child: &mut Child) {
    // SAFETY: a plain call; the group is the child's own, since it was started with process_group(0).
    unsafe { libc::kill(-(child.id() as libc::pid_t), libc::SIGKILL) };
    let patience = Instant::now() + Duration::from_secs(2);
    while Instant::now() < patience {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        sleep(Duration::from_millis(10));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, seconds: f64) -> (Ended, String, Duration) {
        let name = format!("expertile-kit-child-{}-{:?}", std::process::id(), Instant::now());
        let log =
            std::env::temp_dir().join(name.replace(|c: char| !c.is_ascii_alphanumeric(), "-"));
        let start = Instant::now();
        let deadline = start + Duration::from_secs_f64(seconds);
        let ended = run(Command::new("sh").args(["-c", script]), &log, deadline);
        let text = std::fs::read_to_string(&log).unwrap();
        std::fs::remove_file(log).unwrap();
        (ended, text, start.elapsed())
    }

    #[test]
    fn children_end_as_they_end() {
        let (ended, text, _) = shell("echo one; echo two >&2; exit 7", 10.0);
        assert_eq!((ended, text.as_str()), (Ended::Exited(7), "one\ntwo\n"));
        assert_eq!(shell("kill -SEGV $$", 10.0).0, Ended::Signal(11));
        assert!(shell("true", 10.0).0.passed());
        let log = std::env::temp_dir().join(format!("expertile-kit-none-{}", std::process::id()));
        let none = run(&mut Command::new("/nonexistent"), &log, Instant::now());
        assert!(matches!(none, Ended::NotStarted(_)));
        std::fs::remove_file(log).unwrap();
    }

    #[test]
    fn what_hangs_is_ended_with_its_children() {
        let (ended, text, took) = shell("trap '' TERM; echo begun; sleep 60 & sleep 60", 0.5);
        assert_eq!((ended, text.as_str()), (Ended::TimedOut, "begun\n"));
        assert!(took < Duration::from_secs(10), "{took:?}");
    }
}
