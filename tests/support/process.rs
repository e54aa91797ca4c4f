//! Child processes whose output is read line by line, and that never outlive their test.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{PATIENCE, eventually};

/// A running program.
pub struct Process {
    name: String,
    child: Child,
    lines: Arc<(Mutex<Lines>, Condvar)>,
}

#[derive(Default)]
struct Lines {
    all: Vec<String>,
    /// Pipes that have ended, of two.
    ended: usize,
}

impl Process {
    /// Starts `command` and gathers what it says on standard output and standard error.
    pub fn start(command: &mut Command) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{name}: {error}"));
        let lines = Arc::<(Mutex<Lines>, Condvar)>::default();
        gather(child.stdout.take().unwrap(), &lines);
        gather(child.stderr.take().unwrap(), &lines);
        Self { name, child, lines }
    }

    /// Waits for a line, and returns what `pick` takes from it.
    pub fn await_line<T>(&self, what: &str, pick: impl Fn(&str) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let (lines, told) = &*self.lines;
        let mut lines = lines.lock().unwrap();
        loop {
            if let Some(found) = lines.all.iter().find_map(|line| pick(line)) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if lines.ended == 2 || left.is_zero() {
                let log = lines.all.join("\n");
                drop(lines);
                panic!("{} did not say {what}:\n{log}", self.name);
            }
            lines = told.wait_timeout(lines, left).unwrap().0;
        }
    }

    /// All it said so far.
    pub fn log(&self) -> String {
        self.lines.0.lock().unwrap().all.join("\n")
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Its exit status, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for its end, and for the last line it said.
    pub fn wait(&mut self) -> ExitStatus {
        let name = self.name.clone();
        let status = eventually(&format!("the end of {name}"), || self.ended());
        let (lines, told) = &*self.lines;
        let ended = told.wait_timeout_while(lines.lock().unwrap(), PATIENCE, |lines| lines.ended < 2);
        drop(ended);
        status
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- {} ---\n{}\n---", self.name, self.log());
        }
    }
}

fn gather(pipe: impl Read + Send + 'static, lines: &Arc<(Mutex<Lines>, Condvar)>) {
    let lines = Arc::clone(lines);
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n') {
            let Ok(line) = line else { break };
            lines.0.lock().unwrap().all.push(String::from_utf8_lossy(&line).into_owned());
            lines.1.notify_all();
        }
        lines.0.lock().unwrap().ended += 1;
        lines.1.notify_all();
    });
}

/// Runs `command` to its end, within [`PATIENCE`].
pub fn run(command: &mut Command) -> Output {
    run_within(PATIENCE, command)
}

/// The same of one that has more to do.
pub fn run_within(patience: Duration, command: &mut Command) -> Output {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap_or_else(|error| panic!("{name}: {error}"));
    let pid = Pid::from_child(&child);
    let (told, end) = std::sync::mpsc::channel();
    std::thread::spawn(move || told.send(child.wait_with_output()));
    match end.recv_timeout(patience) {
        Ok(output) => output.unwrap(),
        Err(_) => {
            let _ = kill_process(pid, Signal::KILL);
            panic!("{name} did not end within {patience:?}");
        }
    }
}
