//! A child that answers requests: one JSON object on a line each way.

use crate::child;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

pub struct Service {
    child: Child,
    input: ChildStdin,
    answers: Receiver<String>,
}

impl Service {
    /// Starts it, with what it logs in a file.
    pub fn start(command: &mut Command, log: &Path) -> Result<Service, String> {
        let program = command.get_program().to_string_lossy().into_owned();
        let text = |error: std::io::Error| format!("{program}: {error}");
        let log = File::create(log).map_err(text)?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).process_group(0);
        let mut child = command.spawn().map_err(text)?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            child::kill(&mut child);
            return Err(format!("{program}: no pipes"));
        };
        let (send, answers) = channel();
        // Ends with the child's output; nobody joins it, since a child may never end.
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Service { child, input, answers })
    }

    /// Asks, and waits for the answer until the deadline. After an error the service is of no use.
    pub fn ask(&mut self, request: &Value, deadline: Instant) -> Result<Value, String> {
        writeln!(self.input, "{request}").map_err(|error| format!("it ended: {error}"))?;
        loop {
            match self.answers.recv_timeout(Duration::from_millis(50)) {
                // Libraries print on stdout what they like; answers are objects.
                Ok(line) if line.starts_with('{') => {
                    let answer: Value =
                        serde_json::from_str(&line).map_err(|error| format!("{error}: {line}"))?;
                    return match answer["error"].as_str() {
                        Some(error) => Ok(json!({ "error": error })),
                        None => Ok(answer),
                    };
                }
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(format!("it ended: {}", self.ending().text()));
                }
                Err(RecvTimeoutError::Timeout) => {
                    if child::INTERRUPTED.load(Ordering::Relaxed) {
                        return Err("interrupted".into());
                    }
                    if Instant::now() >= deadline {
                        return Err("out of time".into());
                    }
                }
            }
        }
    }

    fn ending(&mut self) -> child::Ended {
        child::wait(&mut self.child, Instant::now() + Duration::from_secs(1))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        child::kill(&mut self.child);
    }
}
