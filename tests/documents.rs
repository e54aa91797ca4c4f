//! The documents are true: links lead somewhere, configs pass their check, and commands, options and files that they name exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::*;

/// Sizes of README.md in bytes: a newcomer reads all of it.
const README_BYTES: std::ops::RangeInclusive<usize> = 5000..=8500;
/// Folders of the repository that a document may name a file of.
const FOLDERS: [&str; 8] = ["src/", "tests/", "scripts/", "docs/", "config/", "bench/", "fuzz/", "certs/"];
/// Files that a document names and that a command makes.
const MADE: [&str; 3] = ["bench/out", "bench/out/run", "config/certs"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A Markdown file.
pub(crate) struct Page {
    /// From the repository's root.
    pub(crate) path: PathBuf,
    text: String,
}

/// A fenced block of a page.
pub(crate) struct Block {
    /// What follows the fence: `toml`, `toml fragment`, `sh`, `sh by-hand` …
    pub(crate) info: String,
    pub(crate) text: String,
}

impl Block {
    fn is_shell(&self) -> bool {
        matches!(&*self.info, "sh" | "sh by-hand")
    }
}

impl Page {
    fn read(path: PathBuf) -> Self {
        let text = fs::read_to_string(root().join(&path)).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        Self { path, text }
    }

    pub(crate) fn name(&self) -> std::path::Display<'_> {
        self.path.display()
    }

    /// Its prose and its fenced blocks.
    pub(crate) fn parts(&self) -> (Vec<&str>, Vec<Block>) {
        let (mut prose, mut blocks, mut open) = (Vec::new(), Vec::new(), None::<Block>);
        for line in self.text.lines() {
            match (line.strip_prefix("```"), &mut open) {
                (Some(info), None) => {
                    open = Some(Block { info: info.trim().to_owned(), text: String::new() });
                }
                (Some(_), Some(_)) => blocks.extend(open.take()),
                (None, Some(block)) => block.text.extend([line, "\n"]),
                (None, None) => prose.push(line),
            }
        }
        assert!(open.is_none(), "{}: a fenced block is not closed", self.name());
        (prose, blocks)
    }

    /// The text of its code spans.
    fn spans(&self) -> Vec<String> {
        let prose = self.parts().0.join("\n");
        prose.split('`').skip(1).step_by(2).map(|span| span.replace('\n', " ")).collect()
    }

    /// The targets of its links and images.
    fn links(&self) -> Vec<String> {
        let prose = self.parts().0.join("\n");
        let outside: String = prose.split('`').step_by(2).collect();
        let targets = outside.match_indices("](").map(|(at, open)| {
            let rest = &outside[at + open.len()..];
            rest[..rest.find(')').unwrap_or(rest.len())].to_owned()
        });
        targets.collect()
    }

    /// The anchors of its headings, as GitHub and mdBook name them.
    fn anchors(&self) -> BTreeSet<String> {
        let headings = self.parts().0.into_iter().filter(|line| line.starts_with('#'));
        let mut anchors = BTreeSet::new();
        for heading in headings {
            let kept = heading.trim_start_matches('#').trim().to_lowercase();
            let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            let name: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
            let again = (1..).map(|number| format!("{name}-{number}"));
            let free = std::iter::once(name.clone()).chain(again).find(|name| !anchors.contains(name));
            anchors.extend(free);
        }
        anchors
    }
}

fn pages_of(folder: &Path, found: &mut Vec<Page>) {
    for entry in fs::read_dir(root().join(folder)).unwrap() {
        let entry = entry.unwrap();
        let path = folder.join(entry.file_name());
        if entry.path().is_dir() {
            pages_of(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(Page::read(path));
        }
    }
}

/// All documents: those at the root, those of folders that explain themselves, and the book.
pub(crate) fn pages() -> Vec<Page> {
    let single = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "bench/README.md"];
    let more = ["certs/README.md", "tests/data/README.md", "tests/data/DIFFERENCES.md"];
    let mut pages: Vec<_> = single.iter().chain(&more).map(|path| Page::read(path.into())).collect();
    pages_of(Path::new("docs"), &mut pages);
    assert!(pages.len() > 20);
    pages
}

fn assert_none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn every_link_leads_somewhere() {
    let mut faults = Vec::new();
    for page in pages() {
        for link in page.links() {
            if link.starts_with("https://") || link.starts_with("http://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').map_or((&*link, None), |(file, at)| (file, Some(at)));
            let target = match file {
                "" => page.path.clone(),
                file => page.path.parent().unwrap().join(file),
            };
            if !root().join(&target).exists() {
                faults.push(format!("{}: {link}: there is no such file", page.name()));
            } else if let Some(anchor) = anchor
                && !Page::read(target).anchors().contains(anchor)
            {
                faults.push(format!("{}: {link}: there is no such heading", page.name()));
            }
        }
    }
    assert_none(&faults);
}

#[test]
fn the_book_has_every_page_of_its_folder() {
    let summary = Page::read("docs/SUMMARY.md".into());
    let listed: BTreeSet<_> = summary.links().into_iter().map(|link| Path::new("docs").join(link)).collect();
    let mut pages = Vec::new();
    pages_of(Path::new("docs"), &mut pages);
    let there: BTreeSet<_> =
        pages.into_iter().map(|page| page.path).filter(|path| *path != summary.path).collect();
    assert_eq!(listed, there);
}

/// A config for `text`, with what a fragment leaves out, and the files that it names. On free ports.
fn completed(block: &Block, dir: &Path) -> String {
    let pki = Pki::new();
    for name in block.text.split('"').filter_map(|part| part.strip_prefix("./")) {
        let part = if name.contains("ca") { "ca" } else { "client" };
        let extension = name.rsplit('.').next().unwrap();
        fs::copy(pki.file(&format!("{part}.{extension}")), dir.join(name)).unwrap();
    }
    let mut text = block.text.replace(":8080\"", ":0\"").replace("/var/log/ringate/", "");
    // The user that the package makes is not there where the tests run.
    text = text.replace("user = \"ringate\"", "user = \"nobody\"");
    if block.info == "toml" {
        return text;
    }
    // Tables of one name must not be parted from each other by others: what is missing goes behind.
    if !text.contains("[[listener]]") {
        text.push_str("[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n");
    }
    let missing = |name: &str| !text.contains(&format!("[upstream.{name}]\n"));
    let named = text.lines().find_map(|line| line.strip_prefix("upstream = \"")?.strip_suffix('"'));
    let of_table = text.lines().find_map(|line| line.strip_prefix("[upstream.")?.split(['.', ']']).next());
    let upstream = named.or(of_table).unwrap_or("app").to_owned();
    let add_upstream = missing(&upstream);
    if !text.contains("[[route]]") {
        text.push_str(&format!("[[route]]\nupstream = \"{upstream}\"\n"));
    }
    if add_upstream {
        text.push_str(&format!("[upstream.{upstream}]\nendpoints = [\"127.0.0.1:9000\"]\n"));
    }
    text
}

#[test]
fn every_config_in_a_document_passes_its_check() {
    let (mut faults, mut whole, mut fragments) = (Vec::new(), 0, 0);
    for page in pages() {
        for block in page.parts().1 {
            match &*block.info {
                "toml" => whole += 1,
                "toml ringate.toml" => continue, // tests/vendors.rs runs it
                "toml fragment" => fragments += 1,
                info if info.contains("toml") => {
                    faults.push(format!("{}: write `toml` or `toml fragment`, not `{info}`", page.name()));
                    continue;
                }
                _ => continue,
            }
            let dir = tempfile::tempdir().unwrap();
            let text = completed(&block, dir.path());
            fs::create_dir(dir.path().join("public")).unwrap();
            fs::write(dir.path().join("my.toml"), &text).unwrap();
            fs::write(dir.path().join("users.htpasswd"), "alice:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n")
                .unwrap();
            let output = run(Ringate::command().current_dir(dir.path()).args(["check", "-c", "my.toml"]));
            if output.status.code() != Some(0) {
                let errors = String::from_utf8_lossy(&output.stderr);
                faults.push(format!("{}: a config fails its check:\n{text}\n{errors}", page.name()));
            }
        }
    }
    assert_none(&faults);
    assert!(whole >= 2 && fragments >= 2, "{whole} configs, {fragments} fragments");
}

#[test]
fn the_readme_is_short() {
    let length = Page::read("README.md".into()).text.len();
    assert!(
        README_BYTES.contains(&length),
        "README.md has {length} bytes; details belong to a page of docs/"
    );
}

/// A command of Ringate's as a document writes it: its words behind `ringate`, and its options.
fn commands(code: &str) -> Vec<(Vec<&str>, Vec<&str>)> {
    let mut found = Vec::new();
    for line in code.lines() {
        let line = line.split(" #").next().unwrap();
        let words: Vec<_> = line.split_whitespace().collect();
        let name = |word: &str| word == "ringate" || word == "target/release/ringate";
        let start = match words.iter().position(|word| name(word)) {
            Some(at) => at + 1,
            None if line.starts_with("cargo run --release -- ") => 4,
            None => continue,
        };
        let is_name = |word: &&str| word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        let path: Vec<_> = words[start..].iter().copied().take(2).take_while(is_name).collect();
        let options = words[start..].iter().filter(|word| word.starts_with("--"));
        let options = options.map(|word| word.trim_end_matches([';', ',', ']']).split('=').next().unwrap());
        found.push((path, options.collect()));
    }
    found
}

#[test]
fn every_command_in_a_document_exists() {
    let (mut faults, mut known) = (Vec::new(), 0);
    let help = |words: &[&str]| {
        let output = run(Ringate::command().args(words).arg("--help"));
        (output.status.code() == Some(0)).then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    for page in pages() {
        if page.path == Path::new("CHANGELOG.md") {
            continue; // it names what was
        }
        let blocks = page.parts().1.into_iter().filter(Block::is_shell).map(|block| block.text);
        for code in blocks.chain(page.spans()) {
            for (path, options) in commands(&code) {
                let Some((first, rest)) = path.split_first() else { continue };
                known += 1;
                let nested = ["cert", "api", "apikey", "endpoint", "consumer", "credential"].contains(first)
                    && !rest.is_empty();
                let words = if nested { &path[..] } else { std::slice::from_ref(first) };
                match help(words) {
                    None => {
                        faults.push(format!("{}: there is no `ringate {}`", page.name(), words.join(" ")))
                    }
                    Some(text) => {
                        // A hidden option is not in the help, but an unknown one before `--help` is an error.
                        let hidden = |option: &str| help(&[words, &[option]].concat()).is_some();
                        let unknown =
                            options.iter().filter(|option| !text.contains(**option) && !hidden(option));
                        faults.extend(unknown.map(|option| {
                            format!("{}: `ringate {}` has no {option}", page.name(), words.join(" "))
                        }));
                    }
                }
            }
        }
    }
    assert_none(&faults);
    assert!(known > 20, "{known} commands");
}

#[test]
fn every_file_and_function_in_a_document_exists() {
    let (mut faults, mut known) = (Vec::new(), 0);
    for page in pages() {
        if page.path == Path::new("CHANGELOG.md") {
            continue; // it names what was
        }
        let blocks = page.parts().1.into_iter().filter(Block::is_shell).map(|block| block.text);
        for code in blocks.chain(page.spans()) {
            let (file, function) =
                code.split_once(": ").map_or((&*code, None), |(file, name)| (file, Some(name)));
            let mut words = file.split_whitespace();
            let Some(path) =
                words.next().filter(|word| FOLDERS.iter().any(|folder| word.starts_with(folder)))
            else {
                continue;
            };
            known += 1;
            if MADE.contains(&path) {
                continue;
            }
            if !root().join(path).exists() {
                faults.push(format!("{}: there is no {path}", page.name()));
            } else if let Some(function) = function
                && !fs::read_to_string(root().join(path)).unwrap().contains(&format!("fn {function}("))
            {
                faults.push(format!("{}: {path} has no function {function}", page.name()));
            }
        }
    }
    assert_none(&faults);
    assert!(known > 50, "{known} files");
}
