//! Makes the console's one page of the files in `src/admin/console`: its style sheet, and its script of many modules.
//!
//! Each file is a module of ECMAScript's, so that editors and `node --check` understand it. A page in one response has no
//! other files to import from, so each module becomes a function that returns what it exports:
//!
//! ```text
//! import { h } from './dom.js';        const $card = (() => {
//! export function card() { h(…) }      const { h } = $dom;
//!                                       function card() { h(…) }
//!                                       return { card }; })();
//! ```
//!
//! Of the language of modules only this is understood: `import { a, b as c } from './FILE.js';` in one line, and `export` before
//! a `const`, a function or a class. Anything else stops the build, as does a circle of imports.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// A file of the script.
struct Module {
    /// Names taken from others: the file, and what is between the braces.
    imports: Vec<(PathBuf, String)>,
    exports: Vec<String>,
    body: String,
}

/// Writes `console.html` into cargo's folder for what builds make.
pub(crate) fn assemble() {
    let folder = PathBuf::from(env::var("CARGO_MANIFEST_DIR").unwrap_or_default()).join("src/admin/console");
    println!("cargo:rerun-if-changed={}", folder.display());
    println!("cargo:rerun-if-changed=build/console.rs");
    let (page, style) = (read(&folder.join("index.html")), read(&folder.join("style.css")));
    let mut script = Script { folder, modules: BTreeMap::new(), text: String::new() };
    script.add(Path::new("app.js"), &mut Vec::new());
    let script = script.text;
    for mark in ["</script", "<!--", "</style"] {
        assert!(!script.contains(mark) && !style.contains(mark), "the console's files may not hold {mark}");
    }
    let page = page.replace("/* style.css */", &style).replace("/* app.js */", &script);
    let out = PathBuf::from(env::var("OUT_DIR").unwrap_or_default()).join("console.html");
    fs::write(&out, page).unwrap_or_else(|error| panic!("{}: {error}", out.display()));
}

/// The script in the making: each module stands behind those that it imports.
struct Script {
    folder: PathBuf,
    modules: BTreeMap<PathBuf, Module>,
    text: String,
}

impl Script {
    /// Adds the module of `path` and those that it needs. `open`: the modules that wait for it.
    fn add(&mut self, path: &Path, open: &mut Vec<PathBuf>) {
        if self.modules.contains_key(path) {
            return;
        }
        assert!(!open.iter().any(|it| it == path), "the console's files import each other: {open:?}");
        open.push(path.to_owned());
        let module = parse(path, &read(&self.folder.join(path)));
        for (other, _) in &module.imports {
            self.add(other, open);
        }
        open.pop();
        let taken = module.imports.iter().map(|(other, names)| {
            let known = &self.modules[other].exports;
            for name in names.split(',') {
                let name = name.split(" as ").next().unwrap_or_default().trim();
                let known = known.iter().any(|it| it == name);
                assert!(known, "{}: {} exports no {name}", path.display(), other.display());
            }
            format!("const {{ {} }} = {};\n", names.replace(" as ", ": "), variable(other))
        });
        let taken: String = taken.collect();
        let given = module.exports.join(", ");
        self.text += &format!("\n// {}\nconst {} = (() => {{\n", path.display(), variable(path));
        self.text += &format!("{taken}{}\nreturn {{ {given} }};\n}})();\n", module.body);
        self.modules.insert(path.to_owned(), module);
    }
}

/// `views/overview.js` as a name: `$views_overview`.
fn variable(path: &Path) -> String {
    format!("${}", path.with_extension("").display().to_string().replace('/', "_"))
}

fn parse(path: &Path, text: &str) -> Module {
    let mut module = Module { imports: Vec::new(), exports: Vec::new(), body: String::new() };
    let folder = path.parent().unwrap_or(Path::new(""));
    for line in text.lines() {
        if line.starts_with("import ") {
            let parts = line.strip_prefix("import { ").and_then(|rest| rest.split_once(" } from '"));
            let Some((names, file)) = parts else { panic!("{}: not understood: {line}", path.display()) };
            let Some(file) = file.strip_suffix("';") else {
                panic!("{}: not understood: {line}", path.display())
            };
            let file = match file.strip_prefix("../") {
                Some(above) => folder.parent().unwrap_or(Path::new("")).join(above),
                None => folder.join(file.strip_prefix("./").unwrap_or(file)),
            };
            module.imports.push((file, names.to_owned()));
            continue;
        }
        let exported = line.strip_prefix("export ");
        if let Some(rest) = exported {
            let kinds = ["async function ", "function ", "const ", "class "];
            let name = kinds.iter().find_map(|kind| rest.strip_prefix(kind)).unwrap_or_default();
            let name: String = name.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            assert!(!name.is_empty(), "{}: not understood: {line}", path.display());
            module.exports.push(name);
        }
        module.body += exported.unwrap_or(line);
        module.body.push('\n');
    }
    module
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
