//! The architecture holds: floors import only lower floors, `unsafe` and monoio stay where they belong, and
//! nothing grows out of sight.

use std::fs;
use std::path::{Path, PathBuf};

/// The floors of `src/lib.rs`. A module imports lower floors, and itself.
const FLOORS: &[(u8, &[&str])] = &[
    (0, &["base"]),
    (1, &["http", "http1", "http2", "tls", "certs", "auth", "route", "config", "proxy_protocol"]),
    (2, &["io"]),
    (3, &["proxy"]),
    (4, &["server", "admin"]),
    (5, &["cli"]),
];

/// Imports within a floor: the messages of `http` are read and written by `http1` and `http2`, and others ask about their fields;
/// the admin server works on the server; the plan is made of the types of the other folders.
const BESIDE: &[(&str, &str)] = &[
    ("http1", "http"),
    ("http2", "http"),
    ("route", "http"),
    ("admin", "server"),
    // Algorithms of tokens have one list of names.
    ("config", "auth"),
    // Definitions of credentials belong to `certs`, which owns their lives.
    ("config", "certs"),
    ("config", "http"),
    ("config", "proxy_protocol"),
    ("config", "route"),
    ("config", "tls"),
];

/// Most lines of a file, its unit tests not counted.
const FILE_LINES: usize = 600;
/// Files that were longer when this was written, and how long. Entries shrink and go; none is added.
const LONG_FILES: &[(&str, usize)] = &[];

/// Most lines of a function.
const FUNCTION_LINES: usize = 80;
/// Functions that were longer when this was written.
const LONG_FUNCTIONS: &[(&str, &str, usize)] = &[];

/// Words that comments and messages do not use: they hide the subject (the client, the operator, the backend), or are no
/// terms of the field.
const UNCLEAR_WORDS: &[&str] = &[
    "nobody",
    "somebody",
    "whoever",
    "everybody",
    "anybody",
    "whom",
    "bad news",
    "speaks of",
    "is told",
    "are told",
    "to mend",
    "no good",
    "goodbye",
    "last words",
];
/// Files that had some when this was written, and in how many lines. Entries shrink and go; none is added.
const UNCLEAR_LINES: &[(&str, usize)] = &[];

/// What encodes and parses HTTP/1.
const CODEC_CALLS: &[&str] = &[
    "parse_request",
    "parse_response",
    "header_slots",
    "is_head_request",
    "encode_request",
    "encode_response",
    "encode_answer",
    "encode_reply",
    "encode_last_chunk",
    "chunk_header",
];
/// Files of the exchange and of the client's side that call the codec beside those of the streams, and in how many lines: they
/// write chunks. Entries shrink and go; none is added.
const CODEC_LINES: &[(&str, usize)] = &[
    ("src/proxy/exchange/body.rs", 1),
    ("src/proxy/exchange/coding.rs", 1),
    ("src/proxy/exchange/trailer_filter.rs", 2),
];

/// A source file: its path from the crate's root, and its lines.
struct Source {
    path: String,
    lines: Vec<String>,
}

impl Source {
    /// The module of the top level that it belongs to.
    fn module(&self) -> &str {
        let inside = self.path.strip_prefix("src/").unwrap();
        inside.split(['/', '.']).next().unwrap()
    }

    fn is_test(&self) -> bool {
        self.path.starts_with("tests/") || self.path.contains("/tests/") || self.path.ends_with("tests.rs")
    }

    /// Lines without comments, with their numbers. Strings with `//` in them are cut short, which makes no difference here.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.lines.iter().enumerate();
        lines.map(|(index, line)| (index + 1, line.split("//").next().unwrap()))
    }

    /// Lines before its unit tests.
    fn length(&self) -> usize {
        let tests = self.lines.windows(2).position(|pair| {
            pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{')
        });
        tests.unwrap_or(self.lines.len())
    }

    /// Names and lengths of its functions, by rustfmt's indentation.
    fn functions(&self) -> Vec<(String, usize)> {
        let mut found = Vec::new();
        for (start, line) in self.lines[..self.length()].iter().enumerate() {
            let code = line.trim_start();
            let name = code.split_once("fn ").and_then(|(before, rest)| {
                let qualifiers = ["pub", "pub(super)", "pub(crate)", "async", "const", "unsafe"];
                let plain = before.split_whitespace().all(|word| qualifiers.contains(&word));
                plain.then(|| rest.split(['(', '<']).next().unwrap_or_default().to_owned())
            });
            let end = format!("{}}}", &line[..line.len() - code.len()]);
            if let Some(name) = name
                && let Some(length) = self.lines[start..].iter().position(|line| *line == end)
            {
                found.push((name, length + 1));
            }
        }
        found
    }
}

fn sources(folder: &str) -> Vec<Source> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    walk(&root.join(folder), &mut paths);
    assert!(!paths.is_empty());
    let read = |path: PathBuf| Source {
        lines: fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect(),
        path: path.strip_prefix(root).unwrap().to_str().unwrap().to_owned(),
    };
    paths.into_iter().map(read).collect()
}

fn floor(module: &str) -> Option<u8> {
    FLOORS.iter().find(|(_, modules)| modules.contains(&module)).map(|(floor, _)| *floor)
}

fn assert_none(faults: &[String], rule: &str) {
    assert!(faults.is_empty(), "{rule}:\n{}", faults.join("\n"));
}

/// Where `word` stands alone in `line`.
fn has_word(line: &str, word: &str) -> bool {
    let is_part = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    let bytes = line.as_bytes();
    line.match_indices(word).any(|(at, _)| {
        !is_part(at.checked_sub(1).and_then(|before| bytes.get(before)))
            && !is_part(bytes.get(at + word.len()))
    })
}

#[test]
fn every_module_has_a_floor() {
    for source in sources("src") {
        let module = source.module();
        assert!(["main", "lib"].contains(&module) || floor(module).is_some(), "{} has no floor", source.path);
    }
}

#[test]
fn floors_import_only_lower_floors() {
    let mut faults = Vec::new();
    for source in sources("src") {
        let module = source.module();
        let Some(own) = floor(module) else { continue };
        for (number, line) in source.code() {
            for path in line.split("crate::").skip(1) {
                let used = path.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
                let allowed = match floor(used) {
                    Some(floor) => floor < own || used == module || BESIDE.contains(&(module, used)),
                    None => !path.starts_with('{'), // a list would hide what is imported
                };
                if !allowed {
                    faults.push(format!("{}:{number}: {}", source.path, line.trim()));
                }
            }
        }
    }
    assert_none(&faults, "a floor imports only lower floors, one module a line");
}

#[test]
fn unsafe_stays_in_the_snapshot_cell_and_in_io() {
    let mut faults = Vec::new();
    for source in sources("src") {
        if source.path == "src/base/published.rs" || source.path.starts_with("src/io/") {
            continue;
        }
        for (number, line) in source.code() {
            if has_word(line, "unsafe") || has_word(line, "unsafe_code") {
                faults.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    assert_none(&faults, "no unsafe here");
}

#[test]
fn only_io_knows_monoio() {
    let mut faults = Vec::new();
    for source in sources("src") {
        if source.path.starts_with("src/io/") {
            continue;
        }
        for (number, line) in source.code() {
            if ["monoio", "io_uring"].iter().any(|name| line.contains(&format!("{name}::"))) {
                faults.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    assert_none(&faults, "only src/io uses monoio");
}

#[test]
fn protocol_code_is_pure() {
    let mut faults = Vec::new();
    let impure = ["std::net::Tcp", "std::fs", "Instant::now", "SystemTime::now", "tokio::", "std::thread"];
    for source in sources("src") {
        let disk = source.path.starts_with("src/certs/store") || source.path.starts_with("src/config/");
        if floor(source.module()) != Some(1) || source.is_test() || disk {
            continue;
        }
        for (number, line) in source.code().take(source.length()) {
            if impure.iter().any(|used| line.contains(used)) {
                faults.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    assert_none(&faults, "no socket, disk, clock or runtime on floor 1");
}

#[test]
fn files_are_read_in_one_sitting() {
    let mut faults = Vec::new();
    for source in sources("src").into_iter().chain(sources("tests")) {
        let length = if source.is_test() { source.lines.len() } else { source.length() };
        let listed = LONG_FILES.iter().find(|(path, _)| *path == source.path).map(|(_, lines)| *lines);
        // Unit tests that fill files of their own are lists of cases; those in tests/ are bounded all the same.
        let bounded = !source.is_test() || source.path.starts_with("tests/");
        if bounded && length > listed.unwrap_or(FILE_LINES) {
            faults.push(format!("{}: {length} lines, {} at most", source.path, listed.unwrap_or(FILE_LINES)));
        }
        if listed.is_some() && length <= FILE_LINES {
            faults.push(format!("{}: short enough now, take it off the list", source.path));
        }
    }
    assert_none(&faults, "files are near 600 lines at most");
}

#[test]
fn functions_are_short() {
    let mut faults = Vec::new();
    for source in sources("src").into_iter().filter(|source| !source.is_test()) {
        for (name, length) in source.functions() {
            let listed =
                LONG_FUNCTIONS.iter().find(|(path, known, _)| *path == source.path && *known == name);
            let bound = listed.map_or(FUNCTION_LINES, |(_, _, lines)| *lines);
            if length > bound {
                faults.push(format!("{}: {name}: {length} lines, {bound} at most", source.path));
            }
        }
    }
    assert_none(&faults, "functions are near 70 lines at most");
}

/// The comment of a line, and its string literals.
fn prose(line: &str) -> String {
    let (code, comment) = line.split_once("//").unwrap_or((line, ""));
    let strings: Vec<&str> = code.split('"').skip(1).step_by(2).collect();
    format!("{} {comment}", strings.join(" ")).to_lowercase()
}

#[test]
fn comments_and_messages_name_their_subject() {
    let mut faults = Vec::new();
    for source in sources("src").into_iter().filter(|source| !source.is_test()) {
        let unclear: Vec<String> = source.lines[..source.length()]
            .iter()
            .enumerate()
            .filter(|(_, line)| UNCLEAR_WORDS.iter().any(|word| has_word(&prose(line), word)))
            .map(|(at, line)| format!("{}:{}: {}", source.path, at + 1, line.trim()))
            .collect();
        let listed = UNCLEAR_LINES.iter().find(|(path, _)| *path == source.path).map(|(_, lines)| *lines);
        if unclear.len() > listed.unwrap_or(0) {
            faults.extend(unclear);
        }
    }
    assert_none(
        &faults,
        "plain English (CONTRIBUTING.md, Language): the client, the operator, the backend, not `nobody`",
    );
}

#[test]
fn stream_files_alone_call_the_codec() {
    let streams = ["src/proxy/exchange/client_stream.rs", "src/proxy/exchange/upstream_stream.rs"];
    let mut faults = Vec::new();
    let folders = ["src/proxy/exchange", "src/proxy/downstream"];
    for source in folders.into_iter().flat_map(sources).filter(|it| !streams.contains(&&*it.path)) {
        let calls: Vec<String> = source
            .code()
            .take(source.length())
            .filter(|(_, line)| CODEC_CALLS.iter().any(|call| has_word(line, call)))
            .map(|(number, line)| format!("{}:{number}: {}", source.path, line.trim()))
            .collect();
        let listed = CODEC_LINES.iter().find(|(path, _)| *path == source.path).map_or(0, |(_, lines)| *lines);
        if calls.len() > listed {
            faults.extend(calls);
        } else if calls.len() < listed {
            faults.push(format!("{}: {} lines by now, {listed} listed", source.path, calls.len()));
        }
    }
    assert_none(&faults, "an exchange reads and writes by its streams, which call the codec");
}
