//! Samples by another name: variables that are set once for all requests, and fields that are captured.

use std::collections::HashMap;

use super::super::report::Line;
use super::maps::looked_up;
use super::parse::Item;

/// What variables and captures of a section stand for, each with the line that says so.
#[derive(Clone, Debug, Default)]
pub(super) struct Samples(HashMap<String, (String, Line)>);

impl Samples {
    /// Those of a section, over those of the one that its requests come from.
    pub(super) fn of(items: &[&Item], before: &Self) -> Self {
        let mut known = before.clone();
        let mut captured = 0;
        for item in items {
            let call = item.word(1).split_once('(');
            if let Some((action @ ("set-var" | "set-var-fmt" | "unset-var"), name)) = call {
                let plain = name.strip_suffix(')').filter(|name| !name.contains(','));
                let name = format!("var({})", name.split([',', ')']).next().unwrap_or_default());
                // One that is set twice, or for some requests alone, is no other name of a sample.
                let is_known = known.0.remove(&name).is_some();
                let is_first =
                    !is_known && plain.is_some() && action == "set-var" && item.word(0) == "http-request";
                let sample = match &item.from(2)[..] {
                    [sample] if is_first && is_plain(sample) => (*sample).to_owned(),
                    _ => String::new(),
                };
                known.0.insert(name, (sample, item.line));
            } else if item.is(&["capture", "request", "header"]) {
                let sample = format!("req.hdr({})", item.word(3));
                known.0.insert(format!("capture.req.hdr({captured})"), (sample, item.line));
                captured += 1;
            }
        }
        known
    }

    /// A line in which these names are replaced by their samples, and the lines of those.
    pub(super) fn resolve(&self, item: &Item) -> (Item, Vec<Line>) {
        let mut lines = Vec::new();
        let words = item.words.iter().map(|word| self.resolved(word, &mut lines)).collect();
        (Item { words, line: item.line }, lines)
    }

    fn resolved(&self, word: &str, lines: &mut Vec<Line>) -> String {
        let mut word = word.to_owned();
        for (name, (sample, line)) in self.0.iter().filter(|(_, (sample, _))| !sample.is_empty()) {
            let find =
                |word: &str| word.find(name.as_str()).filter(|at| *at == 0 || word[..*at].ends_with('['));
            while let Some(at) = find(&word) {
                let rest = &word[at + name.len()..];
                let plain = if rest.starts_with(",lower") { sample.strip_suffix(",lower") } else { None };
                word = format!("{}{}{rest}", &word[..at], plain.unwrap_or(sample));
                lines.push(*line);
            }
        }
        word
    }
}

/// Whether a sample can stand in a condition, and is no such name itself.
fn is_plain(sample: &str) -> bool {
    let is_name = sample.starts_with("var(") || sample.starts_with("capture.req.hdr(");
    let has_converters = sample.strip_suffix(",lower").unwrap_or(sample).contains(',');
    !is_name && (!has_converters || looked_up(sample).is_some())
}

/// Whether HAProxy has a sample once the request has gone to its backend, so that response rules can ask for it.
pub(super) fn outlives_request(criterion: &str) -> bool {
    let name = criterion.split(['(', ',']).next().unwrap_or_default();
    let base = name.strip_suffix("_beg").or_else(|| name.strip_suffix("_reg")).unwrap_or(name);
    let is_variable = ["var(txn.", "var(sess.", "var(proc."].iter().any(|start| criterion.starts_with(start));
    is_variable
        || base.starts_with("ssl_")
        || base.starts_with("capture.req.")
        || matches!(base, "status" | "src" | "method" | "always_true" | "always_false")
}

#[cfg(test)]
mod tests {
    use super::super::super::report::Line;
    use super::*;

    fn item(text: &str) -> Item {
        Item { words: text.split(' ').map(str::to_owned).collect(), line: Line::default() }
    }

    #[test]
    fn names_stand_for_samples_that_are_set_once() {
        let items = [
            "http-request set-var(txn.path) path",
            "http-request set-var(txn.host) req.hdr(host),lower",
            "http-request set-var(txn.twice) path",
            "http-request set-var(txn.twice) url",
            "http-request set-var(txn.some) path if METH_GET",
            "http-request set-var(txn.other) path,url_dec",
            "capture request header X-A len 9",
            "capture request header X-B len 9",
        ]
        .map(item);
        let items = items.each_ref();
        let samples = Samples::of(&items, &Samples::default());
        for (word, resolved) in [
            ("var(txn.path)", "path"),
            ("var(txn.host),lower", "req.hdr(host),lower"),
            ("capture.req.hdr(1)", "req.hdr(X-B)"),
            ("a%[var(txn.path)]b", "a%[path]b"),
            ("set-var(txn.path)", "set-var(txn.path)"),
            ("var(txn.twice)", "var(txn.twice)"),
            ("var(txn.some)", "var(txn.some)"),
            ("var(txn.other)", "var(txn.other)"),
            ("var(txn.unknown)", "var(txn.unknown)"),
        ] {
            assert_eq!(samples.resolved(word, &mut Vec::new()), resolved);
        }
        // Set once more for the requests of a backend.
        let samples = Samples::of(&items[..1], &samples);
        assert_eq!(samples.resolved("var(txn.path)", &mut Vec::new()), "var(txn.path)");
    }

    #[test]
    fn response_rules_have_no_request_any_more() {
        for (criterion, has) in [
            ("status", true),
            ("src", true),
            ("method", true),
            ("ssl_fc", true),
            ("capture.req.uri", true),
            ("capture.req.hdr(0)", true),
            ("var(txn.path)", true),
            ("src,map_ip(/a)", true),
            ("path_beg", false),
            ("path", false),
            ("url", false),
            ("hdr(host)", false),
            ("var(req.path)", false),
            ("res.hdr(x)", false),
        ] {
            assert_eq!(outlives_request(criterion), has, "{criterion}");
        }
    }
}
