//! A bracket or a text that is never closed: the parser's errors are about the lines behind it.

/// What is not closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unclosed {
    /// Where it begins.
    pub at: usize,
    /// `[`, `{`, `"""` or `'''`.
    pub opening: &'static str,
    /// What closes it.
    pub closing: &'static str,
}

/// The first that is not closed before what can only be the next key or header, or the text's end.
pub(super) fn find(text: &str) -> Option<Unclosed> {
    let bytes = text.as_bytes();
    let mut open: Vec<Unclosed> = Vec::new();
    let (mut at, mut in_value) = (0, false);
    while at < bytes.len() {
        if at == 0 || bytes[at - 1] == b'\n' {
            let line = text[at..].lines().next().unwrap_or_default().trim();
            match open.last() {
                Some(top) if is_header(line) || top.opening == "[" && is_key(line) => return Some(*top),
                None if line.starts_with('[') => {
                    at += text[at..].find('\n').map_or(text.len() - at, |end| end + 1);
                    continue;
                }
                None => in_value = false,
                Some(_) => {}
            }
        }
        match bytes[at] {
            b'#' => at += text[at..].find('\n').unwrap_or(text.len() - at),
            quote @ (b'"' | b'\'') => match string(bytes, at, quote) {
                Ok(end) => at = end,
                // Within a bracket it is one more thing that is wrong with the line.
                Err(None) if !open.is_empty() => at += text[at..].find('\n').unwrap_or(text.len() - at),
                Err(unclosed) => return unclosed,
            },
            b'=' => {
                in_value = true;
                at += 1;
            }
            b'[' if in_value => {
                open.push(Unclosed { at, opening: "[", closing: "]" });
                at += 1;
            }
            b'{' if in_value => {
                open.push(Unclosed { at, opening: "{", closing: "}" });
                at += 1;
            }
            b']' | b'}' => {
                let closed = open.pop()?;
                if closed.closing.as_bytes()[0] != bytes[at] {
                    return Some(closed);
                }
                at += 1;
            }
            _ => at += 1,
        }
    }
    open.pop()
}

/// The end of the text that begins at `at`. One of a line that is not closed is left to the parser: `Err(None)`.
fn string(bytes: &[u8], at: usize, quote: u8) -> Result<usize, Option<Unclosed>> {
    let long = [quote; 3];
    let (opening, basic) = if quote == b'"' { ("\"\"\"", true) } else { ("'''", false) };
    let is_long = bytes[at..].starts_with(&long);
    let mut end = at + if is_long { 3 } else { 1 };
    while end < bytes.len() {
        match bytes[end] {
            b'\\' if basic => end += 1,
            b'\n' if !is_long => return Err(None),
            _ if is_long && bytes[end..].starts_with(&long) => {
                // Up to two quotes may stand before the closing ones.
                end += 3;
                while bytes.get(end) == Some(&quote) {
                    end += 1;
                }
                return Ok(end);
            }
            byte if !is_long && byte == quote => return Ok(end + 1),
            _ => {}
        }
        end += 1;
    }
    Err(is_long.then_some(Unclosed { at, opening, closing: opening }))
}

fn is_bare(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

/// `[name]` or `[[name]]`, which can't be an entry of a list: a name without quotes.
fn is_header(line: &str) -> bool {
    let Some(inner) = line.strip_prefix('[') else { return false };
    let inner = inner.strip_prefix('[').unwrap_or(inner).trim_start();
    let word: &str = &inner[..inner.bytes().take_while(|byte| is_bare(*byte)).count()];
    let value = ["true", "false", "inf", "nan"].contains(&word);
    word.starts_with(|first: char| first.is_ascii_alphabetic()) && !value
}

/// `name = …`
fn is_key(line: &str) -> bool {
    let length = line.bytes().take_while(|byte| is_bare(*byte)).count();
    length > 0 && line[length..].trim_start().starts_with('=')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_opening_is_found() {
        for (text, at) in [
            ("a = [1, 2\nb = 3\n", Some(4)),
            ("a = [\n  1, # ]\n  2\n[b]\nc = 1\n", Some(4)),
            ("a = [[1, 2]\n[[b]]\nc = 1\n", Some(4)),
            ("a = [[1, 2\n", Some(5)),
            ("a = { b = 1\n[c]\n", Some(4)),
            ("a = [\"b\"c\"\nd = 1\n", Some(4)),
            ("a = { b = [1 }\n", Some(10)),
            ("a = \"\"\"x\nb = 1\n", Some(4)),
            ("a = '''x\nb = 1\n", Some(4)),
            ("a = \"x\nb = [1\n", None),
            ("a = [\n [1],\n [\"b\"],\n [true]\n]\nc = { d = \"]\" }\n", None),
            ("a = { b = 1,\n c = 2 }\n", None),
            ("[a\nb = 1\n", None),
            ("a = \"\"\"x\"\"\"\"\nb = '[' # [\n\"c]\" = 1", None),
        ] {
            assert_eq!(find(text).map(|found| found.at), at, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read(text in "[\\[\\]{}\"'#=a\\\\\n\rü ]{0,40}") {
            find(&text);
        }
    }
}
