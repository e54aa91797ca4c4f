//! The text of `GET /metrics`: Prometheus' text format 0.0.4, or OpenMetrics 1.0 for those that ask for it.

use std::collections::HashSet;
use std::fmt::Write as _;

use axum::http::{HeaderMap, header};

use crate::base::histogram::{Exemplar, HistogramSum};

/// How the text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Prometheus' text format, version 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0: with units, and with exemplars.
    OpenMetrics,
}

impl Format {
    /// The one that a client asks for by Accept (RFC 9110 §12.5.1): OpenMetrics if it names that, and does not prefer plain
    /// text.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let (mut open, mut plain) = (0.0_f32, 0.0_f32);
        for range in accept.flat_map(|value| value.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default();
            let weight = parts.find_map(|part| part.strip_prefix("q=")?.parse().ok()).unwrap_or(1.0);
            match kind {
                "application/openmetrics-text" => open = open.max(weight),
                "text/plain" | "text/*" => plain = plain.max(weight),
                _ => {}
            }
        }
        if open > 0.0 && open >= plain { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// Its media type.
    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// The text so far.
#[derive(Debug)]
pub(super) struct Text {
    format: Format,
    out: String,
    /// Families that were written: none is written twice.
    known: HashSet<String>,
}

impl Text {
    /// An empty text.
    pub(super) fn new(format: Format) -> Self {
        Self { format, out: String::with_capacity(64 * 1024), known: HashSet::new() }
    }

    /// The whole text.
    pub(super) fn end(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.out.push_str("# EOF\n");
        }
        self.out
    }

    /// A family of Ringate's with its samples: labels (without braces; empty for none) and value.
    pub(super) fn family(
        &mut self,
        kind: &str,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (String, f64)>,
    ) {
        self.named(kind, &format!("ringate_{name}"), help, samples);
    }

    /// The same of a family whose name is not Ringate's own.
    pub(super) fn named(
        &mut self,
        kind: &str,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (String, f64)>,
    ) {
        if !self.head(kind, name, help) {
            return;
        }
        for (labels, value) in samples {
            let braces = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
            let _ = writeln!(self.out, "{name}{braces} {value}");
        }
    }

    /// A family with one sample.
    pub(super) fn one(&mut self, kind: &str, name: &str, help: &str, value: f64) {
        self.family(kind, name, help, [(String::new(), value)]);
    }

    /// Histograms of durations, each with its labels.
    pub(super) fn durations(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (String, HistogramSum)>,
    ) {
        let name = format!("ringate_{name}");
        if !self.head("histogram", &name, help) {
            return;
        }
        for (labels, sum) in samples {
            let comma = if labels.is_empty() { "" } else { "," };
            for (bound, count, exemplar) in sum.buckets() {
                let bound = bound.map_or_else(|| "+Inf".to_owned(), |bound| self.bound(bound));
                let _ = write!(self.out, "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {count}");
                if let (Format::OpenMetrics, Some(exemplar)) = (self.format, exemplar) {
                    self.exemplar(&exemplar);
                }
                self.out.push('\n');
            }
            let braces = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
            let (seconds, count) = (sum.seconds(), sum.count());
            let _ = writeln!(self.out, "{name}_sum{braces} {seconds}\n{name}_count{braces} {count}");
        }
    }

    /// How many durations there were and the sum of them, each with its labels: a summary without quantiles.
    pub(super) fn sums(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (String, u64, f64)>,
    ) {
        let name = format!("ringate_{name}");
        if !self.head("summary", &name, help) {
            return;
        }
        for (labels, count, seconds) in samples {
            let _ = writeln!(self.out, "{name}_sum{{{labels}}} {seconds}\n{name}_count{{{labels}}} {count}");
        }
    }

    /// The lines in front of a histogram that is written by the caller.
    pub(super) fn histogram(&mut self, name: &str, help: &str, write: impl FnOnce(&mut String)) {
        if self.head("histogram", name, help) {
            write(&mut self.out);
        }
    }

    /// OpenMetrics has one form of a number for each value: with a fraction.
    fn bound(&self, bound: f64) -> String {
        match self.format {
            Format::OpenMetrics => format!("{bound:?}"),
            Format::Prometheus => bound.to_string(),
        }
    }

    /// A request that the bucket of the line counts.
    #[allow(clippy::cast_precision_loss)] // milliseconds since 1970 have 41 bits
    fn exemplar(&mut self, exemplar: &Exemplar) {
        let (seconds, at) = (exemplar.micros as f64 / 1e6, exemplar.at as f64 / 1e3);
        let _ = write!(self.out, " # {{trace_id=\"{:032x}\"}} {seconds} {at:.3}", exemplar.trace);
    }

    /// The lines in front of a family's samples. False: it was written before.
    fn head(&mut self, kind: &str, name: &str, help: &str) -> bool {
        if !self.known.insert(name.to_owned()) {
            return false;
        }
        let help = help.trim().replace('\\', "\\\\").replace('\n', "\\n");
        match self.format {
            Format::Prometheus => {
                let _ = writeln!(self.out, "# HELP {name} {help}\n# TYPE {name} {kind}");
            }
            Format::OpenMetrics => {
                let family = name.strip_suffix("_total").filter(|_| kind == "counter").unwrap_or(name);
                let help = help.replace('"', "\\\"");
                let _ = writeln!(self.out, "# TYPE {family} {kind}");
                if let Some(unit) = ["seconds", "bytes"].iter().find(|unit| family.ends_with(**unit)) {
                    let _ = writeln!(self.out, "# UNIT {family} {unit}");
                }
                let _ = writeln!(self.out, "# HELP {family} {help}");
            }
        }
        true
    }
}

/// A label with its value.
pub(super) fn label(name: &str, value: &str) -> String {
    let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("{name}=\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_choose_the_format_by_accept() {
        let of = |accept: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            Format::of(&headers)
        };
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,\
                          text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        assert_eq!(of(prometheus), Format::OpenMetrics);
        assert_eq!(of("application/openmetrics-text"), Format::OpenMetrics);
        for plain in ["", "*/*", "text/plain", "text/plain;q=0.9, application/openmetrics-text;q=0.1"] {
            assert_eq!(of(plain), Format::Prometheus, "{plain}");
        }
        assert_eq!(Format::of(&HeaderMap::new()), Format::Prometheus);
    }

    #[test]
    fn openmetrics_names_counters_without_their_suffix_and_units() {
        let mut text = Text::new(Format::OpenMetrics);
        text.family("counter", "a_bytes_total", "All \"a\".", [(label("b", "c\"d"), 7.0)]);
        text.family("counter", "a_bytes_total", "Again.", [(String::new(), 1.0)]);
        let expected = "# TYPE ringate_a_bytes counter\n# UNIT ringate_a_bytes bytes\n\
                        # HELP ringate_a_bytes All \\\"a\\\".\nringate_a_bytes_total{b=\"c\\\"d\"} 7\n# EOF\n";
        assert_eq!(text.end(), expected);
    }
}
