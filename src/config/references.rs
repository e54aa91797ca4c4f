//! `${NAME}` and `${file:PATH}` in values: what the environment and files have.

use std::path::Path;

use super::sources::Outside;
use super::units::Wrong;

/// A text with its references replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Expanded {
    pub(super) text: String,
    /// Whether there was a reference.
    pub(super) has_references: bool,
    /// What came from files.
    pub(super) secrets: Vec<String>,
}

/// Replaces the references in `text`; `$${` is `${` itself. Paths are resolved against `folder`.
///
/// # Errors
/// A reference that is malformed, or that stands for nothing.
pub(super) fn expand(text: &str, folder: &Path, outside: &dyn Outside) -> Result<Expanded, Wrong> {
    let mut expanded = Expanded { text: String::new(), has_references: false, secrets: Vec::new() };
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            expanded.text.push_str(&rest[..at - 1]);
            expanded.text.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        expanded.text.push_str(&rest[..at]);
        let inner = &rest[at + 2..];
        let Some(end) = inner.find('}') else {
            return Err(Wrong::new("a reference `${` is not closed")
                .help("close it with `}`; `$${` stands for the characters `${` themselves"));
        };
        expanded.has_references = true;
        let name = &inner[..end];
        match name.strip_prefix("file:") {
            Some(path) => {
                let value = of_file(path, folder, outside)?;
                expanded.text.push_str(&value);
                expanded.secrets.push(value);
            }
            None => expanded.text.push_str(&of_environment(name, outside)?),
        }
        rest = &inner[end + 1..];
    }
    expanded.text.push_str(rest);
    Ok(expanded)
}

fn of_file(path: &str, folder: &Path, outside: &dyn Outside) -> Result<String, Wrong> {
    if path.is_empty() {
        return Err(Wrong::new("`${file:}` names no file").help("write `${file:PATH}`"));
    }
    outside.value(&folder.join(path)).map_err(|reason| {
        Wrong::new(format!("the file of `${{file:{path}}}` can't be used: {reason}"))
            .help("its path is relative to the folder of the config file")
    })
}

fn of_environment(name: &str, outside: &dyn Outside) -> Result<String, Wrong> {
    let is_name = |name: &str| {
        name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    if !is_name(name) {
        return Err(Wrong::new(format!("`${{{name}}}` is no reference")).help(
            "write `${NAME}` for an environment variable and `${file:PATH}` for a file's content; \
             `$${` stands for the characters `${` themselves",
        ));
    }
    match outside.variable(name) {
        Ok(Some(value)) => Ok(value),
        Ok(None) => Err(Wrong::new(format!("the environment variable `{name}` is not set")).help(format!(
            "set it for the process (of a systemd unit: Environment= or EnvironmentFile=), or write `$${{{name}}}` \
             for these characters themselves"
        ))),
        Err(reason) => Err(Wrong::new(format!("the environment variable `{name}` can't be used: {reason}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    struct Fixed;

    impl Outside for Fixed {
        fn expand(&self, _: &Path) -> Result<Vec<PathBuf>, String> {
            Ok(Vec::new())
        }
        fn read(&self, _: &Path) -> Result<String, String> {
            Err("none".to_owned())
        }
        fn identity(&self, path: &Path) -> PathBuf {
            path.to_owned()
        }
        fn variable(&self, name: &str) -> Result<Option<String>, String> {
            Ok((name == "PORT").then(|| "8080".to_owned()))
        }
        fn value(&self, path: &Path) -> Result<String, String> {
            if path == Path::new("/etc/key") {
                Ok("s3cret".to_owned())
            } else {
                Err("there is none".to_owned())
            }
        }
    }

    fn of(text: &str) -> Result<String, String> {
        expand(text, Path::new("/etc"), &Fixed).map(|found| found.text).map_err(|wrong| wrong.title)
    }

    #[test]
    fn references_are_replaced_and_doubled_dollars_are_not() {
        assert_eq!(of("127.0.0.1:${PORT}").unwrap(), "127.0.0.1:8080");
        assert_eq!(of("Bearer ${file:key}, ${PORT}").unwrap(), "Bearer s3cret, 8080");
        assert_eq!(of("$${PORT} costs $5 $$ {x}").unwrap(), "${PORT} costs $5 $$ {x}");
        assert_eq!(of("$$${PORT}").unwrap(), "$${PORT}");
        let secret = expand("a${file:/etc/key}", Path::new(""), &Fixed).unwrap();
        assert_eq!((secret.has_references, secret.secrets), (true, vec!["s3cret".to_owned()]));
    }

    #[test]
    fn what_stands_for_nothing_is_an_error() {
        for (text, part) in [
            ("${NONE}", "`NONE` is not set"),
            ("${file:none}", "there is none"),
            ("${file:}", "names no file"),
            ("${A B}", "is no reference"),
            ("${}", "is no reference"),
            ("${PORT", "is not closed"),
        ] {
            let title = of(text).unwrap_err();
            assert!(title.contains(part), "{text}: {title}");
        }
    }
}
