//! The views: what of the figures each of them shows.

use super::figures::{self, Figures};
use super::table::{Cell, Column, Group, Kind, Order, Table, Tone};
use super::units::{bytes, millis, number, or_none, time};
use super::window::Latency;

/// A view, in the order of their keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    Overview,
    Upstreams,
    Routes,
    Workers,
    Certificates,
}

impl View {
    pub(super) const ALL: [Self; 5] =
        [Self::Overview, Self::Upstreams, Self::Routes, Self::Workers, Self::Certificates];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Upstreams => "Upstreams",
            Self::Routes => "Routes",
            Self::Workers => "Workers",
            Self::Certificates => "Certificates",
        }
    }

    /// The columns of its table; the overview has none.
    pub(super) fn columns(self) -> Option<&'static [Column]> {
        match self {
            Self::Overview => None,
            Self::Upstreams => Some(&UPSTREAMS),
            Self::Routes => Some(&ROUTES),
            Self::Workers => Some(&WORKERS),
            Self::Certificates => Some(&CERTIFICATES),
        }
    }

    /// What its table is sorted by at first.
    pub(super) fn order(self) -> Order {
        match self {
            Self::Routes => Order { column: 1, descending: true },
            Self::Certificates => Order { column: 2, descending: false },
            _ => Order { column: 0, descending: false },
        }
    }

    pub(super) fn table(self, figures: &Figures) -> Option<Table> {
        let groups = match self {
            Self::Overview => return None,
            Self::Upstreams => figures.upstreams.iter().map(upstream).collect(),
            Self::Routes => figures.routes.iter().map(|route| routed(route).into()).collect(),
            Self::Workers => figures.workers.iter().map(|worker| working(worker).into()).collect(),
            Self::Certificates => figures.certificates.iter().map(|it| certificate(it).into()).collect(),
        };
        Some(Table { columns: self.columns()?, groups })
    }
}

const fn text(title: &'static str, width: u16) -> Column {
    Column { title, width, kind: Kind::Text }
}

const fn figure(title: &'static str, width: u16) -> Column {
    Column { title, width, kind: Kind::Number }
}

// Titles have room for an arrow. Each row of 80 characters has what is needed most.
const UPSTREAMS: [Column; 11] = [
    text("UPSTREAM", 18),
    text("STATE", 7),
    figure("REQ/S", 6),
    figure("ERR/S", 6),
    figure("OPEN", 5),
    figure("MEANms", 7),
    figure("P50ms", 6),
    figure("P90ms", 6),
    figure("P99ms", 6),
    figure("IN/S", 7),
    figure("OUT/S", 7),
];

const ROUTES: [Column; 11] = [
    text("ROUTE", 18),
    figure("REQ/S", 6),
    figure("2XX/S", 6),
    figure("4XX/S", 6),
    figure("5XX/S", 6),
    figure("P50ms", 6),
    figure("P90ms", 6),
    figure("P99ms", 6),
    text("LISTENER", 10),
    figure("IN/S", 7),
    figure("OUT/S", 7),
];

const WORKERS: [Column; 8] = [
    figure("WORKER", 7),
    text("STATE", 7),
    figure("CPU%", 6),
    figure("CONNS", 7),
    figure("REQ/S", 8),
    figure("LOOP50ms", 9),
    figure("LOOP99ms", 9),
    figure("CORE", 5),
];

const CERTIFICATES: [Column; 6] = [
    text("CERTIFICATE", 18),
    text("VALID UNTIL", 20),
    figure("DAYS", 6),
    figure("GEN", 4),
    text("SAFE TO REVOKE", 15),
    text("USED BY", 30),
];

fn percentiles(latency: &Latency) -> [Cell; 3] {
    [latency.p50_ms, latency.p90_ms, latency.p99_ms].map(|value| Cell::number(value, millis))
}

fn upstream(it: &figures::Upstream) -> Group {
    let tone = match (it.up, it.of) {
        (0, of) if of > 0 => Tone::Bad,
        (up, of) if up < of => Tone::Warning,
        _ => Tone::Good,
    };
    let [p50, p90, p99] = percentiles(&it.latency);
    let head = vec![
        Cell::text(&it.name),
        Cell::text(&format!("{}/{} up", it.up, it.of)).toned(tone),
        Cell::number(it.requests_per_second, number),
        Cell::number(it.errors_per_second, number).bad_above_zero(),
        Cell::number(Some(it.in_flight), number),
        Cell::number(it.mean_ms, millis),
        p50,
        p90,
        p99,
        Cell::number(it.request_bytes_per_second, bytes),
        Cell::number(it.response_bytes_per_second, bytes),
    ];
    Group { head, members: it.endpoints.iter().map(endpoint).collect() }
}

fn endpoint(it: &figures::Endpoint) -> Vec<Cell> {
    let tone = match &*it.state {
        "up" => Tone::Good,
        "down" => Tone::Bad,
        "unknown" => Tone::Plain,
        _ => Tone::Warning,
    };
    // Endpoints have no histograms.
    let none = || Cell::text("");
    vec![
        Cell::text(&named(it)),
        Cell::text(&it.state).toned(tone),
        Cell::number(it.requests_per_second, number),
        Cell::number(it.errors_per_second, number).bad_above_zero(),
        Cell::number(Some(it.in_flight), number),
        Cell::number(it.mean_ms, millis),
        none(),
        none(),
        none(),
        Cell::number(it.request_bytes_per_second, bytes),
        Cell::number(it.response_bytes_per_second, bytes),
    ]
}

/// An endpoint's name, with its address where that is another text.
fn named(it: &figures::Endpoint) -> String {
    crate::server::probe::label(&it.endpoint, it.address.as_deref())
}

fn routed(it: &figures::Route) -> Vec<Cell> {
    let [_, ok, _, client_errors, server_errors] = it.responses_per_second.each();
    let [p50, p90, p99] = percentiles(&it.duration);
    vec![
        Cell::text(&it.route),
        Cell::number(it.requests_per_second, number),
        Cell::number(ok, number),
        Cell::number(client_errors, number),
        Cell::number(server_errors, number).bad_above_zero(),
        p50,
        p90,
        p99,
        Cell::text(&it.listener),
        Cell::number(it.request_bytes_per_second, bytes),
        Cell::number(it.response_bytes_per_second, bytes),
    ]
}

#[allow(clippy::cast_precision_loss)] // numbers of workers and CPUs
fn working(it: &figures::Worker) -> Vec<Cell> {
    let state = if it.stuck { ("stuck", Tone::Bad) } else { ("ok", Tone::Good) };
    let [p50, _, p99] = percentiles(&it.loop_delay);
    vec![
        Cell::ranked(it.worker.to_string(), it.worker as f64),
        Cell::text(state.0).toned(state.1),
        Cell::number(it.cpu_used.map(|used| used * 100.0), number),
        Cell::number(Some(it.connections_open), number),
        Cell::number(it.requests_per_second, number),
        p50,
        p99,
        Cell::ranked(it.cpu.to_string(), it.cpu as f64),
    ]
}

#[allow(clippy::cast_precision_loss)] // days and generations
fn certificate(it: &figures::Certificate) -> Vec<Cell> {
    let days = match it.days_left {
        ..7 => Tone::Bad,
        7..30 => Tone::Warning,
        _ => Tone::Plain,
    };
    let safe = match &it.safe_to_revoke {
        None => Cell::text(super::units::NONE),
        Some(safe) if safe.safe => Cell::text(&format!("gen {}: yes", safe.generation)).toned(Tone::Good),
        Some(safe) => Cell::text(&format!("gen {}: no", safe.generation)).toned(Tone::Warning),
    };
    vec![
        Cell::text(&it.name),
        Cell::text(&it.not_after),
        Cell::ranked(it.days_left.to_string(), it.days_left as f64).toned(days),
        Cell::ranked(it.generation.to_string(), it.generation as f64),
        safe,
        Cell::text(&it.used_by.join(", ")),
    ]
}

/// One line: what runs.
pub(super) fn process(figures: &Figures) -> String {
    let it = &figures.process;
    let draining = if it.draining { "  DRAINING" } else { "" };
    format!(
        "ringate {}  up {}  {} workers on {}  config {}{draining}",
        crate::cli::printable(&it.version),
        time(it.uptime_seconds),
        figures.workers.len(),
        // Its flags are in the status.
        crate::cli::printable(it.driver.split(" (").next().unwrap_or_default()),
        it.config_version
    )
}

/// Two lines: what counts most.
pub(super) fn summary(figures: &Figures) -> [String; 2] {
    let it = &figures.totals;
    let rate = |value| or_none(value, number);
    let [_, ok, redirects, client_errors, server_errors] = it.responses_per_second.each().map(rate);
    [
        format!(
            "{} req/s  2xx {ok}  3xx {redirects}  4xx {client_errors}  5xx {server_errors}  {} connections",
            rate(it.requests_per_second),
            number(it.connections_open)
        ),
        format!(
            "{}  in {}/s  out {}/s",
            latency(&it.latency),
            or_none(it.request_bytes_per_second, bytes),
            or_none(it.response_bytes_per_second, bytes)
        ),
    ]
}

fn latency(it: &Latency) -> String {
    let [p50, p90, p99] = [it.p50_ms, it.p90_ms, it.p99_ms].map(|value| or_none(value, millis));
    format!("p50 {p50}  p90 {p90}  p99 {p99} ms")
}

/// The overview, as names with what they have.
pub(super) fn overview(figures: &Figures) -> Vec<(&'static str, String)> {
    let (it, process) = (&figures.totals, &figures.process);
    let rate = |value| or_none(value, number);
    let size = |value| or_none(value, bytes) + "/s";
    let [interim, ok, redirects, client_errors, server_errors] = it.responses_per_second.each().map(rate);
    let mut lines = vec![
        ("Requests", format!("{}/s, {} since the start", rate(it.requests_per_second), number(it.requests))),
        (
            "Responses",
            format!(
                "1xx {interim}  2xx {ok}  3xx {redirects}  4xx {client_errors}  5xx {server_errors}  aborted {} /s",
                rate(it.aborted_per_second)
            ),
        ),
        ("Latency", format!("{} of {} responses", latency(&it.latency), it.latency.responses)),
        (
            "Bytes",
            format!(
                "in {}  out {}  relayed {} up, {} down",
                size(it.request_bytes_per_second),
                size(it.response_bytes_per_second),
                size(it.relayed_up_bytes_per_second),
                size(it.relayed_down_bytes_per_second)
            ),
        ),
        (
            "Connections",
            format!(
                "{} open, {} of HTTP/2  {}/s accepted  {} udp sessions",
                number(it.connections_open),
                number(it.http2_connections_open),
                rate(it.connections_accepted_per_second),
                number(it.udp_sessions_open)
            ),
        ),
        (
            "Backends",
            format!(
                "{}/s new  {}/s reused  {} requests wait",
                rate(it.backend_connections_per_second),
                rate(it.backend_reuses_per_second),
                number(it.queued)
            ),
        ),
        (
            "Handshakes",
            format!(
                "{}/s clients  {}/s backends  {}/s failed",
                rate(it.client_handshakes_per_second),
                rate(it.backend_handshakes_per_second),
                rate(it.failed_handshakes_per_second)
            ),
        ),
        (
            "Refused",
            format!(
                "{}/s for a bound  {}/s retries",
                rate(it.limited_per_second),
                rate(it.retries_per_second)
            ),
        ),
        (
            "Process",
            format!(
                "CPU {}%  memory {}  descriptors {} of {}",
                or_none(process.cpus_used.map(|used| used * 100.0), number),
                bytes(process.resident_bytes),
                number(process.open_descriptors),
                number(process.max_descriptors)
            ),
        ),
    ];
    if !figures.credentials.is_empty() {
        let each = figures.credentials.iter();
        let each = each.map(|it| format!("{} {} {}", it.definition, it.state, number(it.count)));
        lines.push(("Credentials", crate::cli::printable(&each.collect::<Vec<_>>().join(", "))));
    }
    lines
}

/// What is wrong now: endpoints that can't be used, workers that are stuck, and the warnings of the status.
pub(super) fn problems(figures: &Figures) -> Vec<(Tone, String)> {
    let mut problems = Vec::new();
    let stuck = figures.workers.iter().filter(|worker| worker.stuck);
    problems.extend(stuck.map(|it| (Tone::Bad, format!("worker {} is stuck", it.worker))));
    for upstream in &figures.upstreams {
        for it in upstream.endpoints.iter().filter(|it| matches!(&*it.state, "down" | "ejected")) {
            let reason = it.reason.as_deref().unwrap_or_default();
            problems.push((Tone::Bad, format!("{} {}: {}: {reason}", upstream.name, named(it), it.state)));
        }
    }
    problems.extend(figures.warnings.iter().map(|warning| (Tone::Warning, warning.clone())));
    problems.into_iter().map(|(tone, text)| (tone, crate::cli::printable(&text))).collect()
}

/// All views as text, for `--once`.
pub(super) fn plain(figures: &Figures) -> String {
    let mut out = process(figures) + "\n\n";
    for (name, text) in overview(figures) {
        out.push_str(&format!("{name:<12}{text}\n"));
    }
    for (_, text) in problems(figures) {
        out.push_str(&format!("! {text}\n"));
    }
    let tables = View::ALL.iter().filter_map(|view| Some((view.order(), view.table(figures)?)));
    for (order, table) in tables.filter(|(_, table)| !table.groups.is_empty()) {
        out.push('\n');
        out.push_str(&table.plain(order));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::figures::tests::figures;
    use super::*;

    #[test]
    fn each_row_has_a_cell_for_each_column() {
        let figures = figures();
        for view in View::ALL {
            let Some(table) = view.table(&figures) else { continue };
            assert!(!table.groups.is_empty() && view.order().column < table.columns.len());
            for group in &table.groups {
                assert_eq!(group.head.len(), table.columns.len(), "{view:?}");
                group.members.iter().for_each(|row| assert_eq!(row.len(), table.columns.len(), "{view:?}"));
            }
        }
    }

    #[test]
    fn the_text_has_figures_tables_and_problems() {
        let text = plain(&figures());
        for part in [
            "ringate 0.1.0  up 7s  1 workers on io_uring",
            "Requests    10/s, 30 since the start",
            "! app db/10.0.0.1:9002: down: refused",
            "! certificate gateway ends soon",
            "Credentials key active 2",
            "UPSTREAM",
            "  127.0.0.1:9001",
            "1/2 up",
            "gen 1: no",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }
}
