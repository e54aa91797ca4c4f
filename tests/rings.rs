//! io_uring that is only half there: whatever refuses the rings that are needed is met before the start, with
//! `driver = "auto"` every worker runs on epoll then, and no instance listens that does not answer.

use std::process::Command;

use crate::http::OK;
use crate::support::*;

/// Refuses one system call with an error, and runs the rest of its arguments.
const REFUSING: &str = r#"
import ctypes, os, struct, sys
number, errno = int(sys.argv[1]), int(sys.argv[2])
# Load the call's number; if it is this one, fail with the error, otherwise allow it (seccomp(2), bpf(4)).
code = [(0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x00050000 | errno), (0x06, 0, 0, 0x7FFF0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *it) for it in code))
class Program(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]
libc = ctypes.CDLL(None, use_errno=True)
program = Program(4, ctypes.addressof(code))
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(program), 0, 0) == 0
os.execvp(sys.argv[3], sys.argv[3:])
"#;

const SETUP: &str = "425";
const ENTER: &str = "426";
const REGISTER: &str = "427";
const EPERM: &str = "1";
const ENOMEM: &str = "12";
const EMFILE: &str = "24";
const ENOSYS: &str = "38";

/// Puts a program before a command.
fn through(command: &mut Command, program: &[&str]) {
    let mut outer = Command::new(program[0]);
    outer.args(&program[1..]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
    *command = outer;
}

/// A config of so many workers, with an upstream that answers.
fn setup(backend: &Backend, workers: usize, driver: &'static str) -> Setup {
    Setup::to(backend.address()).workers(workers).driver(driver)
}

/// Every worker answers: connections are spread over all of them.
fn answers(ringate: &Ringate, workers: usize, what: &str) {
    for _ in 0..4 * workers {
        assert_eq!(ringate.get("/").status, 200, "{what}:\n{}", ringate.log());
    }
}

/// Starts it through `program` and has it answer. Returns what it logged until it listened.
fn starts(backend: &Backend, workers: usize, driver: &'static str, program: &[&str]) -> String {
    let text = setup(backend, workers, driver).text();
    let ringate = Ringate::start_with(&text, |command| through(command, program));
    let log = ringate.log();
    answers(&ringate, workers, &format!("{program:?}"));
    log
}

/// Runs it through `program` to its end, which must come by itself, with exit code 1. Returns what it said.
fn fails(backend: &Backend, workers: usize, driver: &'static str, program: &[&str]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ringate.toml");
    std::fs::write(&file, setup(backend, workers, driver).text()).unwrap();
    let mut command = Ringate::command();
    command.arg("run").arg("-c").arg(&file);
    through(&mut command, program);
    let output = run(&mut command);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(!said.contains("started"), "{said}");
    said
}

#[test]
fn a_call_that_is_refused_is_found_before_the_start() {
    let backend = Backend::replying(OK);
    for (call, error, said) in [
        (SETUP, EPERM, "kernel.io_uring_disabled"),
        (SETUP, ENOSYS, "kernel.io_uring_disabled"),
        (SETUP, ENOMEM, "memory bound of the control group"),
        (ENTER, EPERM, "seccomp"),
        (ENTER, ENOSYS, "seccomp"),
        (SETUP, EMFILE, "LimitNOFILE"),
    ] {
        let program = ["python3", "-c", REFUSING, call, error];
        let log = starts(&backend, 2, "auto", &program);
        let warnings: Vec<&str> = log.lines().filter(|line| line.contains("io_uring is refused")).collect();
        assert!(warnings.len() == 1 && warnings[0].contains(said), "{call} {error}: {log}");
        assert!(log.contains(", epoll"), "{call} {error}: {log}");
        let error = fails(&backend, 2, "io_uring", &program);
        assert!(error.contains("io_uring is refused") && error.contains("driver = \"auto\""), "{error}");
    }
    let program = ["python3", "-c", REFUSING, REGISTER, EPERM];
    starts(&backend, 2, "auto", &program);
    starts(&backend, 2, "io_uring", &program);
}

#[test]
fn locked_memory_for_some_rings_only_is_none_for_all() {
    let backend = Backend::replying(OK);
    // Root without CAP_IPC_LOCK has a limit, too; what is said of it depends on what others of root have locked.
    let limited = |bytes: u64| -> Vec<String> {
        let program = ["setpriv", "--bounding-set", "-ipc_lock", "--inh-caps", "-ipc_lock", "prlimit"];
        let limit = format!("--memlock={bytes}:{bytes}");
        program.into_iter().map(str::to_owned).chain([limit]).collect()
    };
    for (bytes, workers, sure) in [
        (64 << 10, 1, true),
        (512 << 10, 1, false),
        (512 << 10, 4, true),
        (1 << 20, 4, true),
        (8 << 20, 16, false),
        (8 << 20, 64, true),
    ] {
        let program = limited(bytes);
        let program: Vec<&str> = program.iter().map(String::as_str).collect();
        let log = starts(&backend, workers, "auto", &program);
        let warned = log.lines().filter(|line| line.contains("io_uring is refused")).count();
        assert_eq!(warned, usize::from(log.contains(", epoll")), "{log}");
        if sure {
            assert!(log.contains("LimitMEMLOCK=infinity") && log.contains(&bytes.to_string()), "{log}");
            let error = fails(&backend, workers, "io_uring", &program);
            assert!(error.contains("LimitMEMLOCK"), "{error}");
        }
    }
}

#[test]
fn descriptors_for_some_rings_only_end_in_an_error_or_in_answers() {
    let backend = Backend::replying(OK);
    for descriptors in [40, 120, 200, 320] {
        let limit = format!("--nofile={descriptors}:{descriptors}");
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ringate.toml");
        std::fs::write(&file, setup(&backend, 32, "auto").text()).unwrap();
        let mut command = Ringate::command();
        command.arg("run").arg("-c").arg(&file);
        through(&mut command, &["prlimit", &limit]);
        let mut process = Process::start(&mut command);
        let ended = eventually("a start or an end", || {
            process
                .ended()
                .map(|status| Some(status.code()))
                .or(process.log().contains(" on 127").then_some(None))
        });
        if let Some(code) = ended {
            process.wait();
            assert_eq!(code, Some(1), "{descriptors}: {}", process.log());
            assert!(process.log().contains("Too many open files"), "{descriptors}: {}", process.log());
        }
    }
}
