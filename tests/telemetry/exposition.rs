//! Prometheus' text format and OpenMetrics, read strictly: what `promtool check metrics` finds wrong fails here, too.

use std::collections::{BTreeMap, BTreeSet};

use crate::admin_changes::unix;
use crate::support::*;

pub(crate) const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0";

/// A scrape, taken apart.
#[derive(Debug)]
pub(crate) struct Exposition {
    pub(crate) text: String,
    /// Family to type.
    kinds: BTreeMap<String, String>,
    pub(crate) samples: Vec<Sample>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
    /// What follows ` # `.
    pub(crate) exemplar: Option<String>,
}

/// All metrics of a running instance.
pub(crate) fn scrape(ringate: &Ringate) -> Exposition {
    Exposition::parse(&ringate.admin("/metrics"), false)
}

/// The same for a client with this Accept, in the format that it gets.
pub(crate) fn scrape_as(ringate: &Ringate, accept: &str) -> Exposition {
    ringate.admin("/healthz");
    let answer = unix(ringate.dir(), "GET", "/metrics", &[&format!("Accept: {accept}")], None);
    let head = answer.head.to_ascii_lowercase();
    let open = head.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(open || head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    Exposition::parse(&answer.text, open)
}

impl Sample {
    fn parse(line: &str) -> Self {
        let (line, exemplar) = match line.split_once(" # ") {
            Some((line, exemplar)) => (line, Some(exemplar.to_owned())),
            None => (line, None),
        };
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
        let (name, mut rest) = match series.split_once('{') {
            Some((name, labels)) => (name, labels.strip_suffix('}').expect(line)),
            None => (series, ""),
        };
        let mut labels = BTreeMap::new();
        while !rest.is_empty() {
            let (label, value) = rest.split_once("=\"").expect(line);
            let mut end = 0;
            let bytes = value.as_bytes();
            while bytes[end] != b'"' {
                end += if bytes[end] == b'\\' { 2 } else { 1 };
            }
            let text = value[..end].replace("\\\"", "\"").replace("\\n", "\n").replace("\\\\", "\\");
            assert!(labels.insert(label.to_owned(), text).is_none(), "{label} twice: {line}");
            rest = value[end + 1..].strip_prefix(',').unwrap_or(&value[end + 1..]);
        }
        Self {
            name: name.to_owned(),
            labels,
            value: value.replace("+Inf", "inf").parse().expect(line),
            exemplar,
        }
    }
}

/// The family of a sample, among those that were announced.
fn family_of<'k>(name: &'k str, kinds: &BTreeMap<String, String>, open: bool) -> Option<&'k str> {
    let suffixes = ["_bucket", "_sum", "_count"];
    let is = |family: &str, kind: &str| kinds.get(family).is_some_and(|known| known == kind);
    if open && let Some(family) = name.strip_suffix("_total").filter(|family| is(family, "counter")) {
        return Some(family);
    }
    let of_histogram = suffixes.iter().find_map(|suffix| name.strip_suffix(suffix));
    let has_parts = |family: &&str| is(family, "histogram") || is(family, "summary");
    of_histogram.filter(has_parts).or_else(|| kinds.contains_key(name).then_some(name))
}

impl Exposition {
    /// Takes it apart. `open`: it is OpenMetrics.
    pub(crate) fn parse(text: &str, open: bool) -> Self {
        let mut helps = BTreeSet::new();
        let mut kinds = BTreeMap::new();
        let mut samples: Vec<Sample> = Vec::new();
        let mut current = String::new();
        assert!(text.ends_with('\n'));
        assert_eq!(open, text.ends_with("\n# EOF\n"));
        for line in text.lines().filter(|line| *line != "# EOF") {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap_or_else(|| panic!("no help: {line}"));
                assert!(!help.trim().is_empty() && helps.insert(name.to_owned()), "{line}");
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert!(["counter", "gauge", "histogram", "summary"].contains(&kind), "{line}");
                assert!(kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "twice: {line}");
                name.clone_into(&mut current);
            } else if let Some(rest) = line.strip_prefix("# UNIT ") {
                let (name, unit) = rest.split_once(' ').unwrap();
                assert!(open && name.ends_with(&format!("_{unit}")), "{line}");
            } else {
                assert!(!line.starts_with('#'), "{line}");
                let sample = Sample::parse(line);
                let family = family_of(&sample.name, &kinds, open);
                assert_eq!(family, Some(&*current), "a family's samples follow its head: {line}");
                samples.push(sample);
            }
        }
        let found = Self { text: text.to_owned(), kinds, samples };
        found.assert_clean(&helps, open);
        found
    }

    /// The rules of naming: https://prometheus.io/docs/practices/naming/, as promlint has them.
    fn assert_clean(&self, helps: &BTreeSet<String>, open: bool) {
        for (name, kind) in &self.kinds {
            assert!(helps.contains(name), "{name} has no HELP");
            let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
            assert!(name.bytes().all(plain), "{name}: lower case with underscores");
            assert!(name.starts_with("ringate_") || name.starts_with("process_"), "{name}");
            assert_eq!(kind == "counter" && !open, name.ends_with("_total"), "{name} is a {kind}");
            let wrongs = ["milliseconds", "microseconds", "ms", "us", "minutes", "kilobytes", "percent"];
            let types = ["counter", "gauge", "histogram", "summary"];
            for wrong in wrongs.iter().chain(&types) {
                assert!(
                    !name.split('_').any(|part| part == *wrong),
                    "{name}: base units, and no type in a name"
                );
            }
        }
        let mut seen = BTreeSet::new();
        for Sample { name, labels, .. } in &self.samples {
            assert!(seen.insert(format!("{name}{labels:?}")), "twice: {name}{labels:?}");
            let is_bucket = name.ends_with("_bucket");
            assert_eq!(is_bucket, labels.contains_key("le"), "{name}");
        }
        for (name, _) in self.kinds.iter().filter(|(_, kind)| *kind == "histogram") {
            self.assert_histogram(name);
        }
    }

    /// Each histogram's buckets grow, end with +Inf, and the count is that of the last one.
    fn assert_histogram(&self, name: &str) {
        let mut series: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
        for sample in self.samples.iter().filter(|sample| sample.name == format!("{name}_bucket")) {
            let mut labels = sample.labels.clone();
            let bound = labels.remove("le").unwrap().replace("+Inf", "inf").parse().unwrap();
            series.entry(format!("{labels:?}")).or_default().push((bound, sample.value));
        }
        for (labels, buckets) in series {
            let grow = buckets.windows(2).all(|two| two[0].0 < two[1].0 && two[0].1 <= two[1].1);
            assert!(grow, "{name}{labels}: {buckets:?}");
            assert_eq!(buckets.last().unwrap().0, f64::INFINITY, "{name}{labels}");
            let count = self.samples.iter().find(|sample| {
                sample.name == format!("{name}_count") && format!("{:?}", sample.labels) == labels
            });
            assert_eq!(count.expect(name).value, buckets.last().unwrap().1, "{name}{labels}");
        }
    }

    /// The names that queries may use: of samples, not of families.
    pub(crate) fn names(&self) -> BTreeSet<&str> {
        self.samples.iter().map(|sample| &*sample.name).collect()
    }

    /// The names of families, whether they have samples or not.
    pub(crate) fn families(&self) -> impl Iterator<Item = (&str, &str)> {
        self.kinds.iter().map(|(name, kind)| (&**name, &**kind))
    }

    /// All samples of this name that have these labels.
    pub(crate) fn all(&self, name: &str, labels: &[(&str, &str)]) -> Vec<&Sample> {
        let fits = |sample: &&Sample| {
            sample.name == name
                && labels.iter().all(|(label, value)| sample.labels.get(*label).is_some_and(|it| it == value))
        };
        self.samples.iter().filter(fits).collect()
    }

    /// The value of the one sample of this name that has these labels.
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        match self.all(name, labels)[..] {
            [one] => one.value,
            ref others => panic!("{name} {labels:?}: {others:?}\n{}", self.text),
        }
    }
}
