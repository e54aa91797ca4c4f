//! The converters `map…` in values, targets of redirects and conditions: `%[req.hdr(host),lower,map(/etc/haproxy/tenants.map,none)]`.

use std::collections::BTreeSet;

use super::super::draft::{name_of, part, quoted};
use super::super::report::Line;
use super::HaProxy;
use super::conditions::{Acls, Conjunction, Test};
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
    file: String,
    pub(super) default: String,
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

    /// The alternatives of a condition, and the maps that are asked in it.
    ///
    /// # Errors
    /// Part of it can't be asked by a route; why.
    pub(super) fn condition(
        &mut self,
        acls: &Acls,
        words: &[&str],
        line: Line,
    ) -> Result<Vec<Conjunction>, String> {
        let mut found = acls.condition(words)?;
        for literal in found.iter_mut().flatten() {
            if let Test::LookedUp(sample, expected) = &literal.test {
                literal.test = Test::Map(self.map(sample, line)?, expected.clone());
            }
        }
        let note = "the port is not compared: requests for this name match, whatever port they name";
        acls.with_port(words, line).into_iter().for_each(|line| self.report.note(line, note));
        Ok(found)
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
        for number in 1_usize.. {
            let name = if number == 1 { stem.clone() } else { format!("{stem}-{number}") };
            let section = self.draft.process(&format!("map.{}", part(&name)), line);
            let wanted = [
                ("from", quoted(&found.from)),
                keys.clone(),
                ("default", quoted(&found.default)),
                ("any_case", found.any_case.to_string()),
            ];
            if section.get("from").is_none() {
                wanted.iter().for_each(|(key, value)| section.set(key, value.as_str(), line));
            }
            if wanted.iter().all(|(key, value)| section.get(key) == Some(value.as_str())) {
                if entries.is_some() {
                    let note = "its entries are in the config now: changes of the file do not show";
                    self.report.note(line, note);
                }
                return Ok(name);
            }
        }
        Ok(stem)
    }
}

/// The entries of a file as TOML. `None`: Ringate reads the file as HAProxy does.
///
/// # Errors
/// It can't be written; why.
fn entries(found: &LookedUp, text: &str) -> Result<Option<String>, String> {
    let file = &found.file;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut kept: Vec<(String, &str)> = Vec::new();
    let (mut keys, mut known) = (BTreeSet::new(), Vec::new());
    let mut is_plain = matches!(found.keys, Keys::Whole | Keys::Address);
    for line in lines {
        let (key, value) = line.split_once([' ', '\t']).unwrap_or((line, ""));
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
            },
            value.trim(),
        ));
    }
    if is_plain {
        return Ok(None);
    }
    let count = kept.len();
    if count > MAX_WRITTEN || found.keys == Keys::Regex && count > MAX_MAP_REGEXES {
        return Err(format!("{file} has {count} entries, which are too many for the config"));
    }
    let input = if found.keys == Keys::Address { Input::Client } else { Input::Path };
    let mut table = MapTable::new(&input, found.any_case);
    for (key, value) in &kept {
        table.add(key, value).map_err(|why| format!("{file}: {key}: {why}"))?;
    }
    let kept: Vec<String> =
        kept.iter().map(|(key, value)| format!("{} = {}", quoted(key), quoted(value))).collect();
    Ok(Some(format!("{{ {} }}", kept.join(", "))))
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
    let within = |names: &[&str]| {
        let (name, rest) = head.split_once('(')?;
        rest.strip_suffix(')').filter(|_| names.contains(&name))
    };
    let from = match head {
        "src" => "client.address".to_owned(),
        "path" => "request.path".to_owned(),
        "pathq" | "url" | "capture.req.uri" => "request.target".to_owned(),
        "method" => "request.method".to_owned(),
        _ => match (within(&["req.hdr", "hdr", "req.fhdr"]), within(&["req.cook", "cook"])) {
            (Some(host), _) if host.eq_ignore_ascii_case("host") => "request.host".to_owned(),
            (Some(field), _) => format!("request.header.{}", field.to_ascii_lowercase()),
            (_, Some(cookie)) => format!("request.cookie.{cookie}"),
            _ => format!("request.query.{}", within(&["url_param", "urlp"])?),
        },
    };
    let of_addresses = from == "client.address";
    let keys = if of_addresses && keys == Keys::Whole { Keys::Address } else { keys };
    let fits = !from.contains(',')
        && (!is_host || from == "request.host")
        && of_addresses == matches!(keys, Keys::Address);
    let (file, default) = (file.to_owned(), default.to_owned());
    fits.then(|| LookedUp { from: format!("{{{from}}}"), any_case, keys, file, default })
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
            "path,map_sub(/a)",
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
