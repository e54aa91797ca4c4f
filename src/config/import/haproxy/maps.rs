//! The converters `map…` in values, targets of redirects and conditions: `%[req.hdr(host),lower,map(/etc/haproxy/tenants.map,none)]`.

use std::collections::BTreeSet;

use super::super::draft::{name_of, part, quoted};
use super::super::expressions;
use super::super::report::Line;
use super::HaProxy;
use super::conditions::{Acls, Conjunction, Literal, Test};
use super::rules::escaped;
use crate::base::limits::MAX_MAP_REGEXES;
use crate::config::names;
use crate::route::{Input, MapTable};

/// A sample that is looked up in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LookedUp {
    /// The variable that is looked up, with its braces.
    from: String,
    any_case: bool,
    keys: Keys,
    pub(super) file: String,
    pub(super) default: String,
}

/// A part of the request that is one of several, or is like one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    /// The variable, with its braces.
    from: String,
    any_case: bool,
    /// As keys of a map.
    keys: Vec<String>,
}

impl Listed {
    /// What a comparison asks.
    ///
    /// # Errors
    /// It can't be written; why.
    pub(super) fn of(from: &str, method: &str, values: &[&str], fold: bool) -> Result<Self, String> {
        let is_host = from == "{request.host}";
        let mut keys: Vec<String> = Vec::new();
        for value in values {
            let value = match value.split_once(':') {
                Some((host, _)) if is_host && method == "str" => host,
                // A host has no port here.
                Some(_) if is_host => return Err(format!("{value} may be about a port")),
                _ => value,
            };
            let key = key_of(method, value).filter(|_| !value.is_empty());
            let key = key.ok_or_else(|| format!("{value} can't be compared so"))?;
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        let any_case = fold || is_host;
        Ok(Self { from: from.to_owned(), any_case, keys: joined(keys) })
    }

    /// Its entries as TOML.
    ///
    /// # Errors
    /// Ringate takes no such map; why.
    fn entries(&self) -> Result<String, String> {
        let kept: Vec<(String, &str)> = self.keys.iter().map(|key| (key.clone(), "1")).collect();
        written("the list", &self.from, self.any_case, &kept)
    }
}

/// A value, compared by a method of HAProxy's, as the key of a map. `None`: it can't be written.
fn key_of(method: &str, value: &str) -> Option<String> {
    let is_special = value.starts_with(['~', '*']) || value.ends_with('*');
    let literal = escaped(value);
    let within = |ends: &str| {
        let trimmed = value.trim_matches(|one| ends.contains(one));
        format!("~ (^|[{ends}]){}($|[{ends}])", escaped(trimmed))
    };
    Some(match method {
        "str" if is_special => format!("~ ^{literal}$"),
        "str" => value.to_owned(),
        "beg" if is_special => format!("~ ^{literal}"),
        "beg" => format!("{value}*"),
        "end" if is_special => format!("~ {literal}$"),
        "end" => format!("*{value}"),
        "sub" => format!("~ {literal}"),
        "dir" => within("/?"),
        "dom" => within("/?.:"),
        "reg" => format!("~ {}", expressions::same(value)?),
        _ => return None,
    })
}

/// The keys, with expressions put together where there are too many of them.
fn joined(keys: Vec<String>) -> Vec<String> {
    /// Most bytes of an expression that is put together.
    const MOST: usize = 800;
    let (expressions, mut kept): (Vec<String>, Vec<String>) =
        keys.into_iter().partition(|key| key.starts_with('~'));
    if expressions.len() <= MAX_MAP_REGEXES {
        return kept.into_iter().chain(expressions).collect();
    }
    let mut open = String::new();
    for expression in expressions.iter().map(|key| key.trim_start_matches("~ ")) {
        if !open.is_empty() && open.len() + expression.len() > MOST {
            kept.push(format!("~ {}", std::mem::take(&mut open)));
        }
        let bar = if open.is_empty() { "" } else { "|" };
        open.push_str(&format!("{bar}(?:{expression})"));
    }
    kept.push(format!("~ {open}"));
    kept
}

/// What the keys of a file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keys {
    Whole,
    Address,
    /// What a value begins with.
    Begin,
    /// What a value ends with.
    End,
    Regex,
    /// By a method of HAProxy's whose keys become expressions.
    Other(&'static str),
}

/// Most entries of a file that are written into the config.
const MAX_WRITTEN: usize = 2000;

impl HaProxy<'_, '_> {
    /// The same format with a variable of Ringate for each sample that is looked up in a file, whose map is added.
    pub(super) fn with_maps(&mut self, format: &str, line: Line) -> String {
        let mut out = String::new();
        let mut rest = format;
        while let Some((before, sample, after)) = sample_in(rest) {
            out.push_str(before);
            let name = looked_up(sample).and_then(|found| match self.map(&found, line) {
                Ok(name) => Some(name),
                Err(why) => {
                    self.report.missing(line, why, Some("map.entries"));
                    None
                }
            });
            match name {
                Some(name) => out.push_str(&format!("%[map.{name}]")),
                None => out.push_str(&format!("%[{sample}]")),
            }
            rest = after;
        }
        out.push_str(rest);
        out
    }

    /// A format of nothing but text and values of maps as Ringate has it, with the maps in it. `None`: there is more in it.
    pub(super) fn map_text(&mut self, format: &str, line: Line) -> Option<(String, Vec<String>)> {
        let format = self.with_maps(format, line);
        let (mut out, mut names, mut rest) = (String::new(), Vec::new(), &*format);
        let plain = |text: &str| {
            let text = text.replace("%%", "\0");
            (!text.contains(['%', '{', '}'])).then(|| text.replace('\0', "%"))
        };
        while let Some((before, sample, after)) = sample_in(rest) {
            let name = sample.strip_prefix("map.")?;
            out.push_str(&format!("{}{{map.{name}}}", plain(before)?));
            names.push(name.to_owned());
            rest = after;
        }
        out.push_str(&plain(rest)?);
        Some((out, names))
    }

    /// The alternatives of a condition, whose maps are added.
    ///
    /// # Errors
    /// Part of it can't be asked by a route; why.
    pub(super) fn condition(
        &mut self,
        acls: &Acls,
        words: &[&str],
        line: Line,
    ) -> Result<Vec<Conjunction>, String> {
        let found = acls.condition(words)?.into_iter().flat_map(by_hosts).collect();
        self.asked(found, acls, words, line)
    }

    /// The same of a rule that refuses requests, or asks them for a login: it is about no fewer than HAProxy's.
    ///
    /// # Errors
    /// Part of it can't be asked by a route; why.
    pub(super) fn condition_of_refusal(
        &mut self,
        acls: &Acls,
        words: &[&str],
        line: Line,
    ) -> Result<Vec<Conjunction>, String> {
        self.asked(acls.condition(words)?, acls, words, line)
    }

    fn asked(
        &mut self,
        mut found: Vec<Conjunction>,
        acls: &Acls,
        words: &[&str],
        line: Line,
    ) -> Result<Vec<Conjunction>, String> {
        for literal in found.iter_mut().flatten() {
            if let Some(test) = self.by_map(&literal.test, line)? {
                literal.test = test;
            }
        }
        let note = "the port is not compared: requests for this name match, whatever port they name";
        acls.with_port(words, line).into_iter().for_each(|line| self.report.note(line, note));
        Ok(found)
    }

    /// What of a test Ringate asks a map, which is added. `None`: it needs none.
    pub(super) fn by_map(&mut self, test: &Test, line: Line) -> Result<Option<Test>, String> {
        const PRESENT: &str = "{ present = true }";
        Ok(Some(match test {
            Test::LookedUp(sample, expected) => Test::Map(self.map(sample, line)?, expected.clone()),
            Test::Listed(listed) => Test::Map(self.list(listed, line)?, PRESENT.to_owned()),
            Test::Domain(name) => {
                let listed = Listed::of("{request.host}", "dom", &[name], true)?;
                Test::Map(self.list(&listed, line)?, PRESENT.to_owned())
            }
            _ => return Ok(None),
        }))
    }

    /// The tests of a condition that can be written, for a rule that refuses requests.
    pub(super) fn writable(&mut self, tests: &[Literal], line: Line) -> Conjunction {
        let mut kept = Conjunction::new();
        for literal in tests {
            match self.by_map(&literal.test, line) {
                Ok(test) => {
                    kept.push(Literal { test: test.unwrap_or_else(|| literal.test.clone()), ..*literal })
                }
                Err(why) => self.report.note(line, why),
            }
        }
        kept
    }

    /// The name of a map for a list.
    fn list(&mut self, listed: &Listed, line: Line) -> Result<String, String> {
        let entries = listed.entries()?;
        if listed.from.starts_with("{request.header.") {
            self.report.note(line, "of a field that a request has twice, the first one is compared");
        }
        let stem = listed.from.trim_matches(['{', '}']).trim_start_matches("request.");
        let stem = name_of(&format!("listed-{}", stem.replace('.', "-")));
        let keys =
            [("from", quoted(&listed.from)), ("entries", entries), ("any_case", listed.any_case.to_string())];
        Ok(self.named(&stem, &keys, line))
    }

    /// A map with these keys, which is added unless it is there.
    fn named(&mut self, stem: &str, keys: &[(&str, String)], line: Line) -> String {
        for number in 1_usize.. {
            let name = if number == 1 { stem.to_owned() } else { format!("{stem}-{number}") };
            let section = self.draft.process(&format!("map.{}", part(&name)), line);
            if section.get("from").is_none() {
                keys.iter().for_each(|(key, value)| section.set(key, value.as_str(), line));
            }
            if keys.iter().all(|(key, value)| section.get(key) == Some(value.as_str())) {
                return name;
            }
        }
        stem.to_owned()
    }

    /// The keys of a file with their values, the first of each key, in their order.
    ///
    /// # Errors
    /// It can't be read.
    pub(super) fn entries_of(&self, file: &str) -> Result<Vec<(String, String)>, String> {
        let text = self.outside.read(&self.folder.join(file));
        let text = text.map_err(|error| format!("{file} could not be read: {error}"))?;
        let mut known = BTreeSet::new();
        let all = lines(&text).map(|(key, value)| (key.to_owned(), value.to_owned()));
        Ok(all.filter(|(key, _)| known.insert(key.clone())).collect())
    }

    /// The name of a map, which is added unless it is there.
    ///
    /// # Errors
    /// The keys of its file can't be written.
    fn map(&mut self, found: &LookedUp, line: Line) -> Result<String, String> {
        let stem = found.file.rsplit('/').next().unwrap_or_default();
        let stem = name_of(stem.split('.').next().unwrap_or_default());
        let entries = match self.outside.read(&self.folder.join(&found.file)) {
            Ok(text) => entries(found, &text)?,
            Err(_) if matches!(found.keys, Keys::Whole | Keys::Address) => None,
            Err(error) => {
                let file = &found.file;
                return Err(format!("{file} could not be read: {error}; its keys must be written anew"));
            }
        };
        let keys = match &entries {
            Some(entries) => ("entries", entries.clone()),
            None => ("file", quoted(&found.file)),
        };
        if entries.is_some() {
            self.report.note(line, "its entries are in the config now: changes of the file do not show");
        }
        let keys = [
            ("from", quoted(&found.from)),
            keys,
            ("default", quoted(&found.default)),
            ("any_case", found.any_case.to_string()),
        ];
        Ok(self.named(&stem, &keys, line))
    }
}

/// A test of the name of a host as tests of routes: the name, and all below it.
fn by_hosts(tests: Conjunction) -> Vec<Conjunction> {
    let mut all = vec![Conjunction::new()];
    for literal in tests {
        let each: Vec<Vec<Literal>> = match &literal.test {
            Test::Domain(name) => {
                let negated = literal.negated;
                let hosts = [name.clone(), format!("*.{name}")];
                let hosts = hosts.map(|host| Literal { test: Test::Host(host), negated });
                if negated { vec![hosts.to_vec()] } else { hosts.map(|host| vec![host]).to_vec() }
            }
            _ => vec![vec![literal]],
        };
        let with = |one: &Conjunction, more: &Vec<Literal>| one.iter().chain(more).cloned().collect();
        all = all.iter().flat_map(|one| each.iter().map(move |more| with(one, more))).collect();
    }
    all
}

/// The keys of a file's text with their values.
fn lines(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| {
        let (key, value) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        (key, value.trim())
    })
}

/// The entries of a file as TOML. `None`: Ringate reads the file as HAProxy does.
///
/// # Errors
/// It can't be written; why.
fn entries(found: &LookedUp, text: &str) -> Result<Option<String>, String> {
    let file = &found.file;
    let mut kept: Vec<(String, &str)> = Vec::new();
    let (mut keys, mut known) = (BTreeSet::new(), Vec::new());
    let mut is_plain = matches!(found.keys, Keys::Whole | Keys::Address);
    for (key, value) in lines(text) {
        is_plain &= !value.is_empty();
        if !keys.insert(key) {
            is_plain = false; // of several, HAProxy takes the first
            continue;
        }
        let is_special = key.starts_with(['~', '*']) || key.ends_with('*');
        is_plain &= !is_special || found.keys == Keys::Address;
        kept.push((
            match found.keys {
                Keys::Whole if is_special => format!("~ ^{}$", escaped(key)),
                Keys::Whole | Keys::Address => key.to_owned(),
                Keys::Begin if key.starts_with(['~', '*']) => format!("~ ^{}", escaped(key)),
                Keys::Begin => format!("{key}*"),
                // Of several ends, HAProxy takes the first, and Ringate the longest.
                Keys::End if known.iter().any(|end: &&str| key.ends_with(*end)) => continue,
                Keys::End if key.ends_with('*') => format!("~ {}$", escaped(key)),
                Keys::End => {
                    known.push(key);
                    format!("*{key}")
                }
                Keys::Regex if names::path_pattern(&format!("~ {key}")).is_err() => {
                    return Err(format!("{file}: {key} is no expression of Ringate's"));
                }
                Keys::Regex => format!("~ {key}"),
                Keys::Other(method) => {
                    key_of(method, key).ok_or_else(|| format!("{file}: {key} can't be compared so"))?
                }
            },
            value,
        ));
    }
    if is_plain {
        return Ok(None);
    }
    written(file, &found.from, found.any_case, &kept).map(Some)
}

/// Keys and values as TOML. `what` they are of, for the error.
///
/// # Errors
/// Ringate takes no such map; why.
fn written(what: &str, from: &str, any_case: bool, kept: &[(String, &str)]) -> Result<String, String> {
    let count = kept.len();
    let expressions = kept.iter().filter(|(key, _)| key.starts_with('~')).count();
    if count > MAX_WRITTEN || expressions > MAX_MAP_REGEXES {
        return Err(format!("{what} has {count} entries, which are too many for the config"));
    }
    let input = if from == "{client.address}" { Input::Client } else { Input::Path };
    let mut table = MapTable::new(&input, any_case);
    for (key, value) in kept {
        table.add(key, value).map_err(|why| format!("{what}: {key}: {why}"))?;
    }
    let kept: Vec<String> =
        kept.iter().map(|(key, value)| format!("{} = {}", quoted(key), quoted(value))).collect();
    Ok(format!("{{ {} }}", kept.join(", ")))
}

/// The first sample of a format, with what is before and behind it.
fn sample_in(format: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = format.split_once("%[")?;
    let (sample, after) = rest.split_once(']')?;
    Some((before, sample, after))
}

/// What a sample looks up. `None`: it is no map, or of something that no map can look up.
pub(super) fn looked_up(sample: &str) -> Option<LookedUp> {
    let at = sample.rfind(",map")?;
    let (head, call) = (&sample[..at], sample[at + 1..].strip_suffix(')')?);
    let (converter, arguments) = call.split_once('(')?;
    let keys = match converter {
        "map" | "map_str" | "map_str_str" => Keys::Whole,
        "map_ip" | "map_ip_str" => Keys::Address,
        "map_beg" | "map_beg_str" => Keys::Begin,
        "map_end" | "map_end_str" => Keys::End,
        "map_reg" | "map_reg_str" => Keys::Regex,
        "map_sub" | "map_sub_str" => Keys::Other("sub"),
        "map_dir" | "map_dir_str" => Keys::Other("dir"),
        "map_dom" | "map_dom_str" => Keys::Other("dom"),
        _ => return None,
    };
    let (file, default) = arguments.split_once(',').unwrap_or((arguments, ""));
    let (mut head, mut any_case, mut is_host) = (head, false, false);
    loop {
        if let Some(before) = head.strip_suffix(",lower") {
            (head, any_case) = (before, true);
        } else if let Some(before) =
            head.strip_suffix(",host_only").or_else(|| head.strip_suffix(",field(1,:)"))
        {
            (head, is_host) = (before, true);
        } else {
            break;
        }
    }
    let from = from_of(head)?;
    let of_addresses = from == "{client.address}";
    let keys = if of_addresses && keys == Keys::Whole { Keys::Address } else { keys };
    let fits = !from.contains(',')
        && (!is_host || from == "{request.host}")
        && of_addresses == matches!(keys, Keys::Address);
    let (file, default) = (file.to_owned(), default.to_owned());
    fits.then_some(LookedUp { from, any_case, keys, file, default })
}

/// The variable of a sample, with its braces. `None`: no map can look it up.
pub(super) fn from_of(sample: &str) -> Option<String> {
    let within = |names: &[&str]| {
        let (name, rest) = sample.split_once('(')?;
        rest.strip_suffix(')').filter(|_| names.contains(&name))
    };
    let name = match sample {
        "src" => "client.address".to_owned(),
        "path" => "request.path".to_owned(),
        "pathq" | "url" | "capture.req.uri" => "request.target".to_owned(),
        "method" => "request.method".to_owned(),
        _ => match (within(&["req.hdr", "hdr", "req.fhdr", "fhdr"]), within(&["req.cook", "cook"])) {
            (Some(host), _) if host.eq_ignore_ascii_case("host") => "request.host".to_owned(),
            (Some(field), _) => format!("request.header.{}", field.to_ascii_lowercase()),
            (_, Some(cookie)) => format!("request.cookie.{cookie}"),
            _ => format!("request.query.{}", within(&["url_param", "urlp"])?),
        },
    };
    Some(format!("{{{name}}}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_looked_up_in_a_file() {
        let found = looked_up("req.hdr(host),lower,map(/etc/tenants.map,none)").expect("a map");
        let (from, file) = ("{request.host}".to_owned(), "/etc/tenants.map".to_owned());
        let default = "none".to_owned();
        assert_eq!(found, LookedUp { from, any_case: true, keys: Keys::Whole, file, default });
        for (sample, from, any_case) in [
            ("src,map_ip(/a)", "{client.address}", false),
            ("hdr(host),field(1,:),lower,map(/a)", "{request.host}", true),
            ("hdr(Host),host_only,lower,map_end(/a)", "{request.host}", true),
            ("path,map_beg(/a)", "{request.path}", false),
            ("url,map_reg(/a)", "{request.target}", false),
            ("path,lower,map(/a)", "{request.path}", true),
        ] {
            let found = looked_up(sample).expect(sample);
            assert_eq!((&*found.from, found.any_case, &*found.default), (from, any_case, ""), "{sample}");
        }
        for other in [
            "src",
            "rand,map(/a)",
            "src,map(/a",
            "path,map_int(/a)",
            "src,map_beg(/a)",
            "path,host_only,map(/a)",
        ] {
            assert_eq!(looked_up(other), None, "{other}");
        }
    }

    #[test]
    fn entries_are_written_where_the_file_would_mean_something_else() {
        let of = |converter: &str, text: &str| {
            let found = looked_up(&format!("path,{converter}(f)")).expect("a map");
            entries(&found, text)
        };
        let written = |text: &str| Ok(Some(text.to_owned()));
        assert_eq!(of("map", "# x\n/a /b\n/c d e\n"), Ok(None));
        assert_eq!(of("map", "/a 1\n/a 2\n"), written("{ \"/a\" = \"1\" }"));
        assert_eq!(of("map", "/a* 1\n"), written(r#"{ "~ ^/a\\*$" = "1" }"#));
        assert_eq!(of("map_beg", "/a 1\n/ab 2\n"), written("{ \"/a*\" = \"1\", \"/ab*\" = \"2\" }"));
        let ends = "{ \"*.png\" = \"1\", \"*b\" = \"2\" }";
        assert_eq!(of("map_end", ".png 1\nb 2\na.png 3\n"), written(ends));
        assert_eq!(of("map_reg", "^/a/[0-9]+ 1\n"), written("{ \"~ ^/a/[0-9]+\" = \"1\" }"));
        assert!(of("map_reg", "(?=a) 1\n").is_err_and(|why| why.contains("no expression")));
        let many: String = (0..=MAX_WRITTEN).map(|number| format!("/{number} x\n")).collect();
        assert!(of("map_beg", &many).is_err_and(|why| why.contains("2001 entries")));
    }
}
