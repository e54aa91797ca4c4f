//! The rooms of `src/proxy`: its files import in one direction, and no two of them import each other, by whatever way.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms of `src/proxy` from the lowest to the highest. A file imports its own room and lower ones. Rooms without a
/// folder are single files.
const ROOMS: &[&[&str]] = &[
    &["failure", "connection_permit", "error_pages", "head_buffers", "idle", "identity_connections", "reply"],
    &["http2"],
    &["stream_peer"],
    &["client_binding", "client_failures", "origin", "request_id"],
    &["client"],
    &["access", "destination", "trace"],
    &["rules"],
    &["worker"],
    &["upstream"],
    &["snapshot"],
    &["view"],
    &["exchange"],
    &["downstream"],
];

/// A source file of `src/proxy`: its module path from the crate's root, and its code without comments and unit tests.
struct Module {
    path: Vec<String>,
    code: String,
}

fn modules() -> Vec<Module> {
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
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    walk(&root.join("proxy"), &mut files);
    let mut modules = Vec::new();
    for file in files {
        let inside = file.strip_prefix(&root).unwrap().with_extension("");
        let mut path: Vec<String> = inside.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
        if path.last().is_some_and(|last| last == "mod") {
            path.pop();
        }
        if path.last().is_some_and(|last| last == "tests") {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        let code = text.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n");
        modules.push(Module { path, code });
    }
    modules
}

/// The paths that a `use` tree names: `a::{b, c::{self, d}}` is `a::b`, `a::c`, `a::c::d`.
fn expand(tree: &str) -> Vec<Vec<String>> {
    let tree = tree.trim();
    let Some(open) = tree.find('{') else {
        let path = tree.split(" as ").next().unwrap().trim();
        return vec![path.split("::").map(|part| part.trim().to_owned()).collect()];
    };
    let prefix: Vec<String> =
        tree[..open].split("::").map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect();
    let inside = &tree[open + 1..tree.rfind('}').unwrap()];
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (at, byte) in inside.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            b',' if depth == 0 => {
                parts.push(&inside[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&inside[start..]);
    let named = parts.into_iter().filter(|part| !part.trim().is_empty()).flat_map(expand);
    named
        .map(|path| prefix.iter().cloned().chain(path.into_iter().filter(|part| part != "self")).collect())
        .collect()
}

impl Module {
    /// The paths in the crate that its code names, in `use` and elsewhere, from the crate's root.
    fn named(&self) -> Vec<Vec<String>> {
        let mut paths = Vec::new();
        let mut rest = String::new();
        for statement in self.code.split(';') {
            let tree = statement.rfind("use ").filter(|at| {
                let before = statement[..*at].rsplit('\n').next().unwrap().trim();
                let is_of_tree = |c: char| c.is_alphanumeric() || c.is_whitespace() || "_:{},*".contains(c);
                (before.is_empty() || before == "pub" || before.starts_with("pub("))
                    && statement[*at..].chars().all(is_of_tree)
            });
            match tree {
                Some(at) => paths.extend(expand(&statement[at + 4..])),
                None => rest.push_str(statement),
            }
        }
        let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
        for word in rest.split(|c: char| !is_part(c)) {
            if word.starts_with("crate::") || word.starts_with("super::") {
                paths.push(word.split("::").map(str::to_owned).collect());
            }
        }
        paths.into_iter().filter_map(|path| self.resolve(&path)).collect()
    }

    fn resolve(&self, path: &[String]) -> Option<Vec<String>> {
        match path.first()?.as_str() {
            "crate" => Some(path[1..].to_vec()),
            "self" => Some(self.path.iter().chain(&path[1..]).cloned().collect()),
            "super" => {
                let up = path.iter().take_while(|part| *part == "super").count();
                let kept = &self.path[..self.path.len().checked_sub(up)?];
                Some(kept.iter().chain(&path[up..]).cloned().collect())
            }
            _ => None,
        }
    }
}

/// Which files of `src/proxy` each of them imports.
fn graph() -> BTreeMap<String, BTreeSet<String>> {
    let modules = modules();
    let known: BTreeSet<String> = modules.iter().map(|module| module.path.join("::")).collect();
    let file_of = |path: &[String]| {
        (1..=path.len()).rev().map(|len| path[..len].join("::")).find(|prefix| known.contains(prefix))
    };
    let mut graph = BTreeMap::new();
    for module in &modules {
        let own = module.path.join("::");
        let imports =
            module.named().iter().filter_map(|path| file_of(path)).filter(|file| *file != own).collect();
        graph.insert(own, imports);
    }
    assert!(graph.len() > 20, "the files of src/proxy were found");
    graph
}

/// A way from `from` to `to`, if there is one.
fn way(graph: &BTreeMap<String, BTreeSet<String>>, from: &str, to: &str) -> Option<Vec<String>> {
    let mut seen = BTreeSet::from([from.to_owned()]);
    let mut ways = vec![vec![from.to_owned()]];
    while let Some(way) = ways.pop() {
        for next in &graph[way.last().unwrap()] {
            let longer: Vec<String> = way.iter().cloned().chain([next.clone()]).collect();
            if next == to {
                return Some(longer);
            }
            if seen.insert(next.clone()) {
                ways.push(longer);
            }
        }
    }
    None
}

#[test]
fn no_files_of_the_proxy_import_each_other_in_a_circle() {
    let graph = graph();
    let circles: Vec<String> =
        graph.keys().filter_map(|file| way(&graph, file, file)).map(|way| way.join(" → ")).collect();
    assert!(circles.is_empty(), "circles of imports:\n{}", circles.join("\n"));
}

#[test]
fn rooms_of_the_proxy_import_only_lower_rooms() {
    let room = |file: &str| {
        let name = file.split("::").nth(1)?;
        ROOMS.iter().position(|rooms| rooms.contains(&name))
    };
    let graph = graph();
    let mut faults = Vec::new();
    for (file, imports) in &graph {
        let Some(own) = room(file) else {
            assert_eq!(file, "proxy", "{file} has no room");
            continue;
        };
        for import in imports.iter().filter(|import| room(import).is_none_or(|room| room > own)) {
            faults.push(format!("{file} imports {import}"));
        }
        let beside = |import: &&String| {
            room(import) == Some(own) && import.split("::").nth(1) != file.split("::").nth(1)
        };
        faults
            .extend(imports.iter().filter(beside).map(|import| format!("{file} imports {import} beside it")));
    }
    assert!(faults.is_empty(), "imports that run upwards:\n{}", faults.join("\n"));
}

#[test]
fn use_trees_are_read_whole() {
    let paths = |tree: &str| expand(tree).iter().map(|path| path.join("::")).collect::<Vec<_>>();
    assert_eq!(
        paths("super::{a, b::{self, C}, d as e}"),
        ["super::a", "super::b", "super::b::C", "super::d"]
    );
    assert_eq!(paths("crate::proxy::view::View"), ["crate::proxy::view::View"]);
}
