//! The table of config keys: the one definition of each key's name, type, default, place and meaning.
//!
//! The check reads sections through it (`file`), and `config/reference.toml`, `docs/configuration.md` and the JSON
//! Schema are written from it. A new key is one entry here and its use in `check`.

mod auth;
mod circuit;
mod conditions;
mod credentials;
pub(super) mod explain;
mod listener;
mod maps;
pub(super) mod markdown;
mod process;
pub(super) mod reference;
pub(super) mod removed;
mod route;
mod rules;
pub(super) mod schema;
mod telemetry;
mod texts;
mod upstream;

#[cfg(test)]
pub(super) mod tests;

/// A key of the config.
#[derive(Debug)]
pub(super) struct Key {
    /// As it is written; a placeholder such as `NAME` where any name may stand.
    pub name: &'static str,
    pub kind: Kind,
    pub preset: Preset,
    pub scope: Scope,
    /// What it means, in Markdown without links.
    pub meaning: &'static str,
    /// The page that has more, as a Markdown link from `docs/`; or empty.
    pub page: &'static str,
    /// What it was called before: these names still work, with a warning, for one version.
    pub was: &'static [&'static str],
}

/// What a key's value is.
#[derive(Debug)]
pub(super) enum Kind {
    Boolean,
    /// A whole number between two bounds, both included.
    Integer(u64, u64),
    /// One of these numbers.
    Numbers(&'static [u64]),
    /// `"30s"`; whether it may be zero.
    Duration {
        zero: bool,
    },
    /// A number of bytes or `"16KiB"`, between two bounds, both included.
    Size(u64, u64),
    /// Bytes a second: `"240B/s"`, or 0.
    Rate,
    /// A number from 1 to 100, which may have decimals, or 0.
    Factor,
    /// A number from 0 to 100, which may have decimals.
    Percent,
    /// A number from 0 to 1, which may have six decimals.
    Share,
    Text(Text),
    /// One of these words.
    Choice(&'static [&'static str]),
    List {
        of: &'static Kind,
        empty: bool,
    },
    /// A table with the keys of all these groups.
    Table(&'static [&'static [Key]]),
    /// The keys of another section, which this one lies over: none is required, none has a default.
    Overlay {
        of: &'static [&'static [Key]],
        section: &'static str,
    },
    /// A table of names that are free but for a pattern, beside keys of its own.
    Map {
        keys: &'static [Key],
        any: &'static Key,
        names: &'static str,
    },
    /// Several forms, of which no value has two.
    OneOf(&'static [Kind]),
}

/// A text of some form.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text {
    /// What it is, for people.
    pub what: &'static str,
    /// What each such text matches: a regular expression of the subset that ECMA 262 and the crate `regex` share.
    pub pattern: &'static str,
}

/// What holds where a key is left out, and how the reference shows it. Values and examples are TOML.
#[derive(Clone, Copy, Debug)]
pub(super) enum Preset {
    /// This value.
    Value(&'static str),
    /// An error; with an example.
    Required(&'static str),
    /// A default that no value expresses; the reference has the example as a comment.
    Off { example: &'static str, means: &'static str },
    /// A default that no value expresses; the reference has the example.
    Shown { example: &'static str, means: &'static str },
    /// The defaults of its keys; the reference has it under its own header.
    Section,
    /// What it is for is off; the reference has it under its own header.
    Optional,
    /// The same; in the reference the header and all below it are comments.
    Absent,
    /// There must be at least one such table.
    AtLeastOne,
    /// The defaults of its keys; the reference writes them with this key before a dot.
    Dotted,
}

/// Which listeners a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    Any,
    Http,
    Tcp,
    Udp,
}

/// The file itself.
pub(super) static ROOT: Kind = Kind::Table(&[
    process::KEYS,
    telemetry::KEYS,
    listener::ERROR_PAGES,
    listener::KEYS,
    maps::KEYS,
    route::KEYS,
    credentials::KEYS,
    upstream::KEYS,
]);
/// Ringate's key for a key that is not in the table.
pub(super) static UNKNOWN: Kind = Kind::Table(&[]);

const fn key(name: &'static str, kind: Kind, preset: Preset, meaning: &'static str) -> Key {
    Key { name, kind, preset, scope: Scope::Any, meaning, page: "", was: &[] }
}

/// A list that is not empty.
const fn list(of: &'static Kind) -> Kind {
    Kind::List { of, empty: false }
}

impl Key {
    /// The same for http listeners only.
    const fn http(mut self) -> Self {
        self.scope = Scope::Http;
        self
    }

    /// The same with a page of the docs.
    const fn see(mut self, page: &'static str) -> Self {
        self.page = page;
        self
    }

    /// The same with the names that it had before.
    const fn was(mut self, names: &'static [&'static str]) -> Self {
        self.was = names;
        self
    }

    /// The same for tcp listeners only.
    const fn tcp(mut self) -> Self {
        self.scope = Scope::Tcp;
        self
    }

    /// The same for udp listeners only.
    const fn udp(mut self) -> Self {
        self.scope = Scope::Udp;
        self
    }
}

impl Kind {
    /// The forms that a value may have.
    pub(super) fn forms(&'static self) -> &'static [Kind] {
        match self {
            Self::OneOf(forms) => forms,
            one => std::slice::from_ref(one),
        }
    }

    /// Whether it is a certificate, whose table of files is described once for all.
    fn is_certificate(&self) -> bool {
        matches!(self, Self::OneOf([_, Self::Table([files])]) if files[0].name == "cert")
    }

    /// The form that is a table.
    pub(super) fn table(&'static self) -> Option<&'static Kind> {
        let is_table =
            |kind: &&Kind| matches!(kind, Self::Table(_) | Self::Overlay { .. } | Self::Map { .. });
        self.forms().iter().find(is_table)
    }

    /// What the entries of the form that is a list are.
    pub(super) fn entry(&'static self) -> Option<&'static Kind> {
        self.forms().iter().find_map(|kind| match kind {
            Self::List { of, .. } => Some(*of),
            _ => None,
        })
    }

    /// The keys of a table that have a name of their own.
    pub(super) fn keys(&'static self) -> impl Iterator<Item = &'static Key> {
        let (groups, own): (&[&[Key]], &[Key]) = match self {
            Self::Table(groups) | Self::Overlay { of: groups, .. } => (groups, &[]),
            Self::Map { keys, .. } => (&[], keys),
            _ => (&[], &[]),
        };
        groups.iter().copied().flatten().chain(own)
    }

    /// The key of this name in a table.
    pub(super) fn key(&'static self, name: &str) -> Option<&'static Key> {
        self.keys().find(|key| key.name == name).or(match self {
            Self::Map { any, .. } => Some(*any),
            _ => None,
        })
    }
}
