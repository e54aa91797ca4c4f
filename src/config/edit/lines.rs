//! Line ends: the TOML writer knows `\n` alone.

/// The text with `\n` as its only line end, without a byte order mark.
pub(super) fn plain(text: &str) -> String {
    text.strip_prefix(MARK).unwrap_or(text).replace("\r\n", "\n")
}

/// The byte order mark that some editors begin a file with.
const MARK: char = '\u{feff}';

/// `edited`, which has `\n` alone, with the line ends of `text`: each line that both begin or end with keeps its own,
/// those between them have the one that `text` uses most.
pub(super) fn like(text: &str, edited: &str) -> String {
    let bare = text.strip_prefix(MARK).unwrap_or(text);
    let mark = if bare.len() == text.len() { "" } else { &text[..MARK.len_utf8()] };
    if !bare.contains("\r\n") {
        return format!("{mark}{edited}");
    }
    let old: Vec<&str> = bare.split_inclusive('\n').collect();
    let new: Vec<&str> = edited.split_inclusive('\n').collect();
    let content =
        |line: &str| line.strip_suffix('\n').map_or(line.len(), |rest| rest.trim_end_matches('\r').len());
    let same = |old: &str, new: &str| old[..content(old)] == new[..content(new)];
    let pairs = || old.iter().zip(&new);
    let first = pairs().take_while(|(old, new)| same(old, new)).count();
    let most = old.len().min(new.len()) - first;
    let last =
        old.iter().rev().zip(new.iter().rev()).take(most).take_while(|(old, new)| same(old, new)).count();
    let with_return = old.iter().filter(|line| line.ends_with("\r\n")).count();
    let usual = if with_return * 2 >= old.len() { "\r\n" } else { "\n" };
    let mut out = mark.to_owned();
    for (at, line) in new.iter().enumerate() {
        let kept = match at {
            at if at < first => Some(old[at]),
            at if at >= new.len() - last => Some(old[old.len() - (new.len() - at)]),
            _ => None,
        };
        out.push_str(&line[..content(line)]);
        if line.ends_with('\n') {
            let end = kept.filter(|old| old.ends_with('\n')).map_or(usual, |old| &old[content(old)..]);
            out.push_str(end);
        }
    }
    out
}
