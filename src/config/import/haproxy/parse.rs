//! The grammar of HAProxy's config: sections of lines of words.

use super::super::File;
use super::super::report::{Line, Report};

/// Lines of all files.
const MAX_LINES: usize = 200_000;
/// Words that begin a section.
const SECTIONS: &[&str] = &[
    "global",
    "defaults",
    "frontend",
    "backend",
    "listen",
    "resolvers",
    "peers",
    "userlist",
    "cache",
    "mailers",
    "program",
    "http-errors",
    "ring",
    "log-forward",
    "crt-store",
    "fcgi-app",
    "traces",
    "acme",
];

/// A line of a section.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) words: Vec<String>,
    pub(super) line: Line,
}

impl Item {
    /// A word; empty where there is none.
    pub(super) fn word(&self, at: usize) -> &str {
        self.words.get(at).map_or("", String::as_str)
    }

    /// The words from one on.
    pub(super) fn from(&self, at: usize) -> Vec<&str> {
        self.words.iter().skip(at).map(String::as_str).collect()
    }

    /// Whether it begins with these words.
    pub(super) fn is(&self, words: &[&str]) -> bool {
        words.iter().enumerate().all(|(at, word)| self.word(at) == *word)
    }

    /// The word behind another one.
    pub(super) fn after(&self, name: &str) -> Option<&str> {
        let at = self.words.iter().position(|word| word == name)?;
        self.words.get(at + 1).map(String::as_str)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.words.iter().skip(1).any(|word| word == name)
    }
}

/// A section with its lines.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub(super) kind: String,
    pub(super) name: String,
    /// `from NAME`: the defaults that it has instead of the last ones.
    pub(super) from: Option<String>,
    pub(super) items: Vec<Item>,
    pub(super) line: Line,
}

/// The sections of all files, in order.
pub(super) fn blocks(files: &[File], report: &mut Report) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let mut count = 0;
    for file in files {
        for (number, text) in file.text.lines().enumerate() {
            let words = words(text);
            let Some(first) = words.first() else { continue };
            count += 1;
            if count > MAX_LINES {
                return found;
            }
            let shown: String = text.trim().chars().take(200).collect();
            let line = report.line(&file.name, number + 1, &shown);
            if SECTIONS.contains(&first.as_str()) {
                let from =
                    words.iter().position(|word| word == "from").and_then(|at| words.get(at + 1)).cloned();
                let name = words.get(1).filter(|name| *name != "from").cloned().unwrap_or_default();
                found.push(Block { kind: first.clone(), name, from, items: Vec::new(), line });
            } else if first.starts_with('.') {
                report.missing(line, "conditions of the file itself are not evaluated", None);
            } else {
                match found.last_mut() {
                    Some(block) => block.items.push(Item { words, line }),
                    None => report.missing(line, "it stands before any section", None),
                }
            }
        }
    }
    found
}

/// Sections of defaults that are made from others (`defaults NAME from OTHER`) get the lines of these, before their own.
pub(super) fn inherit(blocks: &mut [Block]) {
    for at in 0..blocks.len() {
        let Some(from) = blocks[at].from.as_ref().filter(|_| blocks[at].kind == "defaults") else { continue };
        // Those above have the lines of theirs already.
        let parent = blocks[..at].iter().rev().find(|block| block.kind == "defaults" && block.name == *from);
        let Some(lines) = parent.map(|parent| parent.items.clone()) else { continue };
        blocks[at].items.splice(0..0, lines);
    }
}

/// The words of a line, without quotes and comments.
fn words(text: &str) -> Vec<String> {
    let (mut found, mut word, mut open) = (Vec::new(), String::new(), false);
    let (mut single, mut double) = (false, false);
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\'' if !double => {
                single = !single;
                open = true;
            }
            '"' if !single => {
                double = !double;
                open = true;
            }
            '\\' if !single => {
                match characters.next() {
                    Some('n') => word.push('\n'),
                    Some('r') => word.push('\r'),
                    Some('t') => word.push('\t'),
                    Some(next @ (' ' | '#' | '"' | '\'' | '\\')) => word.push(next),
                    // An escape of a regular expression.
                    Some(next) => word.extend(['\\', next]),
                    None => {}
                }
                open = true;
            }
            '#' if !single && !double => break,
            blank if blank.is_whitespace() && !single && !double => {
                if open {
                    found.push(std::mem::take(&mut word));
                    open = false;
                }
            }
            plain => {
                word.push(plain);
                open = true;
            }
        }
    }
    if open {
        found.push(word);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn words_have_quotes_escapes_and_comments() {
        assert_eq!(words("  a b\\ c \"d # e\" 'f\"g' # h"), ["a", "b c", "d # e", "f\"g"]);
        assert_eq!(words("acl x path_reg ^/a\\.b$ # y"), ["acl", "x", "path_reg", "^/a\\.b$"]);
        assert_eq!(words("# nothing"), Vec::<String>::new());
    }
}
