//! The grammar of nginx's config: words, blocks, includes.

use std::path::Path;

use super::super::File;
use super::super::report::{Line, Report};
use crate::config::sources::Outside;

/// Includes within includes, and directives of all files.
const MAX_DEPTH: usize = 16;
const MAX_DIRECTIVES: usize = 200_000;

/// A directive with its block.
#[derive(Clone, Debug)]
pub(super) struct Directive {
    pub(super) name: String,
    pub(super) args: Vec<String>,
    pub(super) block: Option<Vec<Directive>>,
    pub(super) line: Line,
}

impl Directive {
    /// An argument; empty where there is none.
    pub(super) fn arg(&self, at: usize) -> &str {
        self.args.get(at).map_or("", String::as_str)
    }

    /// The directives of its block.
    pub(super) fn inner(&self) -> &[Directive] {
        self.block.as_deref().unwrap_or_default()
    }

    /// Whether one of its arguments is this word.
    pub(super) fn has(&self, word: &str) -> bool {
        self.args.iter().any(|arg| arg == word)
    }

    /// The value of `name=value` among its arguments.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.args.iter().find_map(|arg| arg.strip_prefix(name)?.strip_prefix('='))
    }
}

/// Reads files and what they include.
pub(super) struct Reader<'r> {
    pub(super) folder: &'r Path,
    pub(super) outside: &'r dyn Outside,
    pub(super) report: &'r mut Report,
    count: usize,
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Open,
    Close,
    End,
}

impl<'r> Reader<'r> {
    pub(super) fn new(folder: &'r Path, outside: &'r dyn Outside, report: &'r mut Report) -> Self {
        Self { folder, outside, report, count: 0 }
    }

    /// The directives of a file.
    pub(super) fn file(&mut self, file: &File, depth: usize) -> Vec<Directive> {
        let tokens = tokens(&file.text);
        let mut at = 0;
        let mut found = Vec::new();
        while at < tokens.len() {
            self.block(&file.name, &tokens, &mut at, depth, 0, &mut found);
            if at < tokens.len() {
                let line = self.report.line(&file.name, tokens[at].1, "}");
                self.report.missing(line, "no block is open here", None);
                at += 1;
            }
        }
        found
    }

    fn block(
        &mut self,
        name: &str,
        tokens: &[(Token, usize)],
        at: &mut usize,
        depth: usize,
        level: usize,
        found: &mut Vec<Directive>,
    ) {
        while let Some((token, line)) = tokens.get(*at) {
            let mut words = Vec::new();
            match token {
                Token::Close => return,
                Token::End | Token::Open => {
                    *at += 1;
                    continue;
                }
                Token::Word(_) => {}
            }
            while let Some((Token::Word(word), _)) = tokens.get(*at) {
                words.push(word.clone());
                *at += 1;
            }
            self.count += 1;
            if self.count > MAX_DIRECTIVES {
                *at = tokens.len();
                return;
            }
            let place = self.report.line(name, *line, &shown(&words));
            let word = words.remove(0);
            let mut directive = Directive { name: word, args: words, block: None, line: place };
            let ended = match tokens.get(*at) {
                Some((Token::Open, _)) if level < MAX_DEPTH => {
                    *at += 1;
                    let mut inner = Vec::new();
                    self.block(name, tokens, at, depth, level + 1, &mut inner);
                    directive.block = Some(inner);
                    matches!(tokens.get(*at), Some((Token::Close, _)))
                }
                other => matches!(other, Some((Token::End, _))),
            };
            *at += 1;
            if !ended {
                self.report.missing(place, "it has no end: a `;` or a `}` is missing", None);
            }
            if directive.name == "include" && directive.block.is_none() {
                self.include(&directive, depth, found);
            } else {
                found.push(directive);
            }
        }
    }

    fn include(&mut self, directive: &Directive, depth: usize, found: &mut Vec<Directive>) {
        if depth >= MAX_DEPTH {
            self.report.missing(directive.line, "files are included too deep", None);
            return;
        }
        let files = self.outside.expand(&self.folder.join(directive.arg(0)));
        let read = files.and_then(|files| {
            files
                .iter()
                .map(|path| Ok((path.display().to_string(), self.outside.read(path)?)))
                .collect::<Result<Vec<_>, String>>()
        });
        match read {
            Ok(files) => {
                self.report.done(directive.line);
                for (name, text) in files {
                    found.extend(self.file(&File { name, text }, depth + 1));
                }
            }
            Err(_) if directive.arg(0).ends_with("mime.types") => {
                self.report.needless(directive.line, "backends say what type their content has");
            }
            Err(reason) => {
                self.report.missing(directive.line, format!("the file can't be read: {reason}"), None)
            }
        }
    }
}

fn shown(words: &[String]) -> String {
    let quote = |word: &String| {
        if word.is_empty() || word.contains([' ', ';', '{', '}']) {
            format!("\"{word}\"")
        } else {
            word.clone()
        }
    };
    let text = words.iter().map(quote).collect::<Vec<_>>().join(" ");
    text.chars().take(200).collect()
}

/// The words of a text, each with its line.
fn tokens(text: &str) -> Vec<(Token, usize)> {
    let (mut found, mut line) = (Vec::new(), 1);
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\n' => line += 1,
            blank if blank.is_whitespace() => {}
            '#' => while characters.next_if(|next| *next != '\n').is_some() {},
            '{' => found.push((Token::Open, line)),
            '}' => found.push((Token::Close, line)),
            ';' => found.push((Token::End, line)),
            first => {
                let start = line;
                let word = word(first, &mut characters, &mut line);
                let raw = word.ends_with("_by_lua_block");
                found.push((Token::Word(word), start));
                if raw {
                    raw_block(&mut characters, &mut line);
                    found.push((Token::End, line));
                }
            }
        }
    }
    found
}

fn word(first: char, characters: &mut std::iter::Peekable<std::str::Chars<'_>>, line: &mut usize) -> String {
    let mut out = String::new();
    if first == '"' || first == '\'' {
        while let Some(next) = characters.next() {
            match next {
                '\\' => match characters.next() {
                    Some(escaped @ ('"' | '\'' | '\\')) => out.push(escaped),
                    Some('n') => out.push('\n'),
                    Some('t') => out.push('\t'),
                    Some('r') => out.push('\r'),
                    Some(other) => out.extend(['\\', other]),
                    None => break,
                },
                end if end == first => break,
                plain => {
                    *line += usize::from(plain == '\n');
                    out.push(plain);
                }
            }
        }
        return out;
    }
    let mut next = Some(first);
    while let Some(character) = next {
        out.push(character);
        if character == '\\' {
            out.extend(characters.next());
        }
        // `${name}` is one word.
        if character == '$' && characters.peek() == Some(&'{') {
            for inner in characters.by_ref() {
                out.push(inner);
                if inner == '}' {
                    break;
                }
            }
        }
        next = characters.next_if(|next| !next.is_whitespace() && !matches!(next, ';' | '{' | '}'));
        // A quantifier of an expression, `{2,3}`, needs quotes in nginx: a brace begins a block.
    }
    out
}

/// Code of another language between braces.
fn raw_block(characters: &mut std::iter::Peekable<std::str::Chars<'_>>, line: &mut usize) {
    let mut depth = 0_usize;
    for character in characters.by_ref() {
        match character {
            '\n' => *line += 1,
            '{' => depth += 1,
            '}' if depth <= 1 => return,
            '}' => depth -= 1,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_have_quotes_escapes_and_comments() {
        let text = "a b\\;c \"d # e\" 'f\\'g'; # h\nlocation ~ \\.php$ { x ${y}z; }\n";
        let words: Vec<String> = tokens(text)
            .into_iter()
            .map(|(token, line)| match token {
                Token::Word(word) => format!("{line}:{word}"),
                Token::Open => "{".into(),
                Token::Close => "}".into(),
                Token::End => ";".into(),
            })
            .collect();
        let expected = [
            "1:a",
            "1:b\\;c",
            "1:d # e",
            "1:f'g",
            ";",
            "2:location",
            "2:~",
            "2:\\.php$",
            "{",
            "2:x",
            "2:${y}z",
            ";",
            "}",
        ];
        assert_eq!(words, expected);
    }
}
