//! The converter `map` in values: `%[req.hdr(host),lower,map(/etc/haproxy/tenants.map,none)]`.

use super::super::draft::{name_of, part, quoted};
use super::super::report::Line;
use super::HaProxy;

/// A sample that is looked up in a file.
#[derive(Debug, PartialEq, Eq)]
struct LookedUp<'s> {
    /// The variable that is looked up, with its braces.
    from: String,
    any_case: bool,
    file: &'s str,
    default: &'s str,
}

impl HaProxy<'_, '_> {
    /// The same format with a variable of Ringate for each sample that is looked up in a file, whose map is added.
    pub(super) fn with_maps(&mut self, format: &str, line: Line) -> String {
        let mut out = String::new();
        let mut rest = format;
        while let Some((before, sample, after)) = sample_in(rest) {
            out.push_str(before);
            match looked_up(sample) {
                Some(found) => out.push_str(&format!("%[map.{}]", self.map(&found, line))),
                None => out.push_str(&format!("%[{sample}]")),
            }
            rest = after;
        }
        out.push_str(rest);
        out
    }

    /// The name of a map, which is added unless it is there.
    fn map(&mut self, found: &LookedUp<'_>, line: Line) -> String {
        let stem = found.file.rsplit('/').next().unwrap_or_default();
        let stem = name_of(stem.split('.').next().unwrap_or_default());
        for number in 1_usize.. {
            let name = if number == 1 { stem.clone() } else { format!("{stem}-{number}") };
            let section = self.draft.process(&format!("map.{}", part(&name)), line);
            let wanted = [
                ("from", quoted(&found.from)),
                ("file", quoted(found.file)),
                ("default", quoted(found.default)),
                ("any_case", found.any_case.to_string()),
            ];
            if section.get("from").is_none() {
                wanted.iter().for_each(|(key, value)| section.set(key, value.as_str(), line));
            }
            if wanted.iter().all(|(key, value)| section.get(key) == Some(value.as_str())) {
                return name;
            }
        }
        stem
    }
}

/// The first sample of a format, with what is before and behind it.
fn sample_in(format: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = format.split_once("%[")?;
    let (sample, after) = rest.split_once(']')?;
    Some((before, sample, after))
}

fn looked_up(sample: &str) -> Option<LookedUp<'_>> {
    let at = sample.rfind(",map")?;
    let (head, call) = (&sample[..at], sample[at + 1..].strip_suffix(')')?);
    let arguments = ["map(", "map_str(", "map_ip("].iter().find_map(|start| call.strip_prefix(start))?;
    let (file, default) = arguments.split_once(',').unwrap_or((arguments, ""));
    let (head, any_case) = head.strip_suffix(",lower").map_or((head, false), |head| (head, true));
    let within = |names: &[&str]| {
        let (name, rest) = head.split_once('(')?;
        rest.strip_suffix(')').filter(|_| names.contains(&name))
    };
    let from = match head {
        "src" => "client.address".to_owned(),
        "path" => "request.path".to_owned(),
        "method" => "request.method".to_owned(),
        _ => match (within(&["req.hdr", "hdr", "req.fhdr"]), within(&["req.cook", "cook"])) {
            (Some(host), _) if host.eq_ignore_ascii_case("host") => "request.host".to_owned(),
            (Some(field), _) => format!("request.header.{}", field.to_ascii_lowercase()),
            (_, Some(cookie)) => format!("request.cookie.{cookie}"),
            _ => format!("request.query.{}", within(&["url_param", "urlp"])?),
        },
    };
    (!from.contains(',')).then(|| LookedUp { from: format!("{{{from}}}"), any_case, file, default })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_looked_up_in_a_file() {
        let found = looked_up("req.hdr(host),lower,map(/etc/tenants.map,none)").expect("a map");
        let (from, file) = ("{request.host}".to_owned(), "/etc/tenants.map");
        assert_eq!(found, LookedUp { from, any_case: true, file, default: "none" });
        let found = looked_up("src,map_ip(/etc/places)").expect("a map");
        assert_eq!((found.from.as_str(), found.default), ("{client.address}", ""));
        for other in ["src", "path,map_beg(/etc/a)", "rand,map(/etc/a)", "src,map(/etc/a"] {
            assert_eq!(looked_up(other), None, "{other}");
        }
    }
}
