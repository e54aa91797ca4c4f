//! Prometheus' text format 0.0.4, as `GET /metrics` of an instance has it, by name and labels.
//! <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>

use std::collections::{BTreeMap, HashMap};

/// The samples of one answer. The labels of a series are kept as they were written: the same text is the same series.
#[derive(Debug, Default)]
pub(super) struct Scrape {
    values: HashMap<String, BTreeMap<String, f64>>,
    histograms: HashMap<String, BTreeMap<String, Buckets>>,
}

/// Upper bounds in the family's unit, each with the count of what is no greater.
pub(super) type Buckets = Vec<(f64, f64)>;

impl Scrape {
    /// Reads the text.
    ///
    /// # Errors
    /// A line is no sample, with its number; in words.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut all = Self::default();
        for (number, line) in text.lines().enumerate() {
            if !line.is_empty() && !line.starts_with('#') {
                all.add(line).ok_or_else(|| format!("/metrics: line {}: no sample", number + 1))?;
            }
        }
        Ok(all)
    }

    fn add(&mut self, line: &str) -> Option<()> {
        let (series, value) = line.rsplit_once(' ')?;
        let value = number(value)?;
        let (name, labels) = match series.split_once('{') {
            Some((name, labels)) => (name, labels.strip_suffix('}')?),
            None => (series, ""),
        };
        let pairs = pairs(labels)?;
        let bound = pairs.iter().find(|(label, _)| *label == "le");
        if let (Some(family), Some((_, bound))) = (name.strip_suffix("_bucket"), bound) {
            let others = pairs.iter().filter(|(label, _)| *label != "le");
            let others: Vec<String> = others.map(|(label, raw)| format!("{label}=\"{raw}\"")).collect();
            let buckets = self.histograms.entry(family.to_owned()).or_default();
            buckets.entry(others.join(",")).or_default().push((number(bound)?, value));
        } else {
            self.values.entry(name.to_owned()).or_default().insert(labels.to_owned(), value);
        }
        Some(())
    }

    /// A series' value.
    pub(super) fn value(&self, name: &str, labels: &str) -> Option<f64> {
        self.values.get(name)?.get(labels).copied()
    }

    /// A series' histogram.
    pub(super) fn buckets(&self, name: &str, labels: &str) -> Option<&Buckets> {
        self.histograms.get(name)?.get(labels)
    }

    /// The labels of all series of a family, in the order of their text.
    pub(super) fn labels(&self, name: &str) -> impl Iterator<Item = &str> {
        self.values.get(name).into_iter().flat_map(|series| series.keys().map(String::as_str))
    }
}

/// Rust's parser knows the format's `+Inf` and `NaN`, too.
fn number(text: &str) -> Option<f64> {
    text.parse().ok()
}

/// Labels with their values as they are written.
fn pairs(mut text: &str) -> Option<Vec<(&str, &str)>> {
    let mut found = Vec::new();
    while !text.is_empty() {
        let (label, rest) = text.split_once("=\"")?;
        let mut escaped = false;
        let end = rest.bytes().position(|byte| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        })?;
        found.push((label, &rest[..end]));
        text = &rest[end + 1..];
        text = text.strip_prefix(',').unwrap_or(text);
    }
    Some(found)
}

/// The value of a label of a series; empty if it has no such label.
pub(super) fn label(labels: &str, name: &str) -> String {
    let pairs = pairs(labels).unwrap_or_default();
    let raw = pairs.iter().find(|(label, _)| *label == name).map_or("", |(_, raw)| raw);
    let mut out = String::with_capacity(raw.len());
    let mut chars = raw.chars();
    while let Some(char) = chars.next() {
        match (char, char == '\\') {
            (_, true) => match chars.next() {
                Some('n') => out.push('\n'),
                Some(other) => out.push(other),
                None => {}
            },
            (plain, false) => out.push(plain),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_found_by_name_and_labels() {
        let text = "# HELP a_total Some.\n# TYPE a_total counter\na_total 7\n\
                    b{x=\"one \\\"}\\\\ two\",y=\"2\"} 1.5\nb{x=\"\"} +Inf\n\
                    c_bucket{x=\"1\",le=\"0.5\"} 2\nc_bucket{x=\"1\",le=\"+Inf\"} 3\nc_sum{x=\"1\"} 4\n";
        let scrape = Scrape::parse(text).unwrap();
        assert_eq!(scrape.value("a_total", ""), Some(7.0));
        assert_eq!(scrape.value("a_total", "x=\"1\""), None);
        let labels: Vec<_> = scrape.labels("b").collect();
        assert_eq!(labels, ["x=\"\"", "x=\"one \\\"}\\\\ two\",y=\"2\""]);
        assert_eq!(label(labels[1], "x"), "one \"}\\ two");
        assert_eq!((&*label(labels[1], "y"), &*label(labels[1], "z")), ("2", ""));
        assert_eq!(scrape.value("b", labels[1]), Some(1.5));
        assert_eq!(scrape.buckets("c", "x=\"1\""), Some(&vec![(0.5, 2.0), (f64::INFINITY, 3.0)]));
        assert_eq!(scrape.value("c_sum", "x=\"1\""), Some(4.0));
    }

    #[test]
    fn what_is_no_sample_is_an_error_with_its_line() {
        for wrong in ["a", "a{x=\"1\" 2", "a{x=\"1} 2", "a{x} 2", "a b", "a{x=\"\\\"} 2"] {
            let error = Scrape::parse(&format!("ok 1\n{wrong}\n")).unwrap_err();
            assert_eq!(error, "/metrics: line 2: no sample", "{wrong}");
        }
    }
}
