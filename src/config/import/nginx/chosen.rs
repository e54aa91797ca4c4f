//! A variable in the address of `proxy_pass`: that of a `map` becomes a route for each of its values, that of `split_clients` shares
//! of upstreams.

use super::super::draft::{part, quoted};
use super::super::report::Line;
use super::Nginx;
use super::parse::Directive;
use super::variables::name_in;

/// Most routes that one `proxy_pass` becomes.
const MAX_VALUES: usize = 200;
/// Largest weight of an upstream among several.
const MAX_WEIGHT: u64 = 1000;

/// Addresses with their weights: one, or several that have shares of the requests.
pub(super) type Shares = Vec<(u64, String)>;

/// Where the requests of one `proxy_pass` go.
pub(super) enum Choice {
    /// To one place, or to several by their shares.
    One(Shares),
    /// By a map of this name: conditions of its values with their addresses, and the address of all others. No address: the
    /// value is empty, which nginx answers with 500.
    ByMap(Vec<((String, String), Option<String>)>, Option<String>),
}

/// `split_clients`.
#[derive(Clone, Debug)]
pub(super) struct Split {
    /// Values with their shares, in hundredths of a percent.
    shares: Vec<(u64, String)>,
    line: Line,
    /// Those of its shares.
    lines: Vec<Line>,
}

impl<'d> Nginx<'_, 'd> {
    /// `split_clients KEY $variable { … }`.
    pub(super) fn split(&mut self, directive: &'d Directive) {
        let Some(name) = directive.arg(1).strip_prefix('$').filter(|name| !name.is_empty()) else { return };
        let (mut shares, mut left) = (Vec::new(), 10_000_u64);
        for inner in directive.inner() {
            let share = match inner.name.as_str() {
                "*" => Some(left),
                percent => percent.strip_suffix('%').and_then(hundredths).filter(|share| *share <= left),
            };
            let Some(share) = share else {
                let why = "a share is a percentage, or `*`";
                return self.report.missing(inner.line, why, Some("route.upstreams"));
            };
            left -= share;
            shares.push((share, inner.arg(0).to_owned()));
        }
        let lines = directive.inner().iter().map(|inner| inner.line).collect();
        self.splits.insert(name.to_owned(), Split { shares, line: directive.line, lines });
    }

    /// Where the requests of a `proxy_pass` go.
    ///
    /// # Errors
    /// It can't be written; why.
    pub(super) fn choice(&mut self, directive: &'d Directive) -> Result<Choice, String> {
        let address = directive.arg(0);
        let address = ["$request_uri", "$uri$is_args$args"]
            .iter()
            .find_map(|uri| address.strip_suffix(uri))
            .filter(|rest| rest.contains('$'))
            .unwrap_or(address);
        let Some((before, rest)) = address.split_once('$') else {
            return Ok(Choice::One(vec![(1, address.to_owned())]));
        };
        let (name, after) = name_in(rest);
        // With a variable in it, the URI of `proxy_pass` is all of what the backend gets.
        let is_plain = !after.contains(['$', '/']);
        let with = |value: &str| format!("{before}{value}{after}");
        if let Some(split) = self.splits.get(name).cloned().filter(|_| is_plain) {
            return self.shares(&split, with);
        }
        let Some(values) = self.maps.values(name).cloned().filter(|_| is_plain) else {
            return Ok(Choice::One(vec![(1, address.to_owned())]));
        };
        if !values.is_whole {
            return Err(format!("the map of ${name} lacks lines"));
        }
        let is_default = |value: &String| Some(value) == values.default.as_ref();
        let key = format!("match.maps.{}", part(name));
        let chosen = values.all.iter().filter(|value| !is_default(value)).map(|value| match value.as_str() {
            "" => ((key.clone(), "{ present = false }".to_owned()), None),
            value => ((key.clone(), format!("{{ value = {} }}", quoted(value))), Some(with(value))),
        });
        let chosen: Vec<_> = chosen.collect();
        if chosen.len() > MAX_VALUES {
            return Err(format!("the map of ${name} has more than {MAX_VALUES} values"));
        }
        let default = values.default.as_ref().filter(|value| !value.is_empty()).map(|value| with(value));
        Ok(Choice::ByMap(chosen, default))
    }

    fn shares(&mut self, split: &Split, with: impl Fn(&str) -> String) -> Result<Choice, String> {
        let mut all: Shares = Vec::new();
        for (share, value) in split.shares.iter().filter(|(share, _)| *share > 0) {
            let address = with(value);
            match all.iter_mut().find(|(_, known)| *known == address) {
                Some((known, _)) => *known += share,
                None => all.push((*share, address)),
            }
        }
        let sum: u64 = all.iter().map(|(share, _)| share).sum();
        if sum < 10_000 {
            return Err("the shares are less than all requests: add a `*`".to_owned());
        }
        let divisor = all.iter().fold(0, |known, (share, _)| common(known, *share)).max(1);
        let most = all.iter().map(|(share, _)| share / divisor).max().unwrap_or(1);
        for (share, _) in &mut all {
            let weight = *share / divisor;
            *share = if most > MAX_WEIGHT { (weight * MAX_WEIGHT / most).max(1) } else { weight };
        }
        if most > MAX_WEIGHT {
            self.report.note(split.line, "the shares are rounded to parts of a thousand");
        }
        self.report.note(
            split.line,
            "the share of an upstream is one of requests: a client's requests do not stay with one",
        );
        split.lines.iter().for_each(|line| self.report.done(*line));
        Ok(Choice::One(all))
    }
}

/// `12.5` as hundredths.
fn hundredths(percent: &str) -> Option<u64> {
    let (whole, part) = percent.split_once('.').unwrap_or((percent, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(part) || part.len() > 2 {
        return None;
    }
    let part: u64 = format!("{part:0<2}").parse().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(100)?.checked_add(part)
}

/// The greatest common divisor.
fn common(one: u64, other: u64) -> u64 {
    if other == 0 { one } else { common(other, one % other) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_hundredths() {
        for (text, expected) in
            [("50", Some(5000)), ("0.5", Some(50)), ("12.34", Some(1234)), ("1.234", None), ("x", None)]
        {
            assert_eq!(hundredths(text), expected, "{text}");
        }
        assert_eq!((common(5000, 2500), common(0, 7), common(9999, 1)), (2500, 7, 1));
    }
}
