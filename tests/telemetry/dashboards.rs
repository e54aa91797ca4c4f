//! The Grafana dashboard and the alert rules of `config/` ask for metrics, labels and types that a running Ringate has.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::metrics::promtool_on;
use super::{Exposition, scrape};
use crate::http::OK;
use crate::support::*;

fn config(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(file)
}

fn read(file: &str) -> String {
    std::fs::read_to_string(config(file)).unwrap()
}

/// An instance with one of each of what may have metrics, each used once where it takes a use for a sample.
fn everything() -> (Exposition, impl Sized) {
    let pki = Pki::new();
    let nginx = Nginx::tls(&pki, "location / { return 200 ok; }");
    let spare = Backend::replying(OK);
    let upstream = format!(
        "retries = {{ attempts = 2 }}\nhealth = {{ type = \"tcp\" }}\n{}[upstream.spare]\nendpoints = [\"{}\"]\n",
        pki.upstream_tls(),
        spare.address()
    );
    let ringate = Setup::to(nginx.address())
        .section("[admin]\n[credentials.key]\napi_key = true\n")
        .listener(&pki.listener_tls())
        .upstream(&upstream)
        .start();
    let dir = (pki, nginx, spare);
    let request = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_eq!(ringate.tls_client(dir.0.client_config()).send(request).response().status, 200);
    ringate.client().send("no TLS\r\n\r\n").ends();
    let stranger = Authority::named("stranger");
    let _ = ringate.tls_client(stranger.client_config()).try_send(request);
    ringate.await_metric("client_handshake_failures_total", 2);
    let found = eventually("each sample", || {
        let found = scrape(&ringate);
        let has = |name: &str| !found.all(name, &[]).is_empty();
        (has("ringate_backend_certificate_not_after_seconds") && has("ringate_endpoint_up")).then_some(found)
    });
    (found, (ringate, dir))
}

/// The names of metrics in an expression of PromQL.
fn metrics_of(expression: &str) -> BTreeSet<&str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let words = expression.split(|c: char| !is_part(c));
    words.filter(|word| word.starts_with("ringate_") || word.starts_with("process_")).collect()
}

/// The labels in its selectors: `{label="…"}`.
fn labels_of(expression: &str) -> BTreeSet<&str> {
    let selectors = expression.split('{').skip(1).filter_map(|rest| rest.split('}').next());
    let matchers = selectors.flat_map(|selector| selector.split("\",").map(|it| it.trim_start_matches(',')));
    matchers.filter_map(|matcher| matcher.split(['=', '!']).next()).map(str::trim).collect()
}

/// Whether a running instance has what the expression asks for.
fn assert_real(expression: &str, found: &Exposition) {
    let families: BTreeSet<&str> = found.families().map(|(name, _)| name).collect();
    let known = metrics_of(expression);
    for name in &known {
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
        let is_histogram = base
            .is_some_and(|base| found.families().any(|(family, kind)| (family, kind) == (base, "histogram")));
        assert!(families.contains(name) || is_histogram, "{name} in {expression}");
        let is_counter = found.families().any(|(family, kind)| family == *name && kind == "counter");
        let counts = is_counter || is_histogram;
        let rated =
            ["rate(", "increase("].iter().any(|function| expression.contains(&format!("{function}{name}")));
        assert_eq!(
            rated, counts,
            "a counter is asked for its rate, a gauge for its value: {name} in {expression}"
        );
    }
    let own: BTreeSet<&str> = found
        .samples
        .iter()
        .filter(|sample| known.contains(&*sample.name))
        .flat_map(|sample| sample.labels.keys().map(String::as_str))
        .collect();
    let has_samples = known.iter().all(|name| found.names().contains(name));
    for label in labels_of(expression).into_iter().filter(|label| has_samples && !label.is_empty()) {
        // What Prometheus itself adds.
        assert!(["instance", "job"].contains(&label) || own.contains(label), "{label} in {expression}");
    }
}

#[test]
fn the_dashboard_and_the_alerts_ask_for_what_there_is() {
    let (found, _running) = everything();
    let dashboard: Value = serde_json::from_str(&read("grafana/ringate.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut ids = BTreeSet::new();
    let mut asked = 0;
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "two panels have one id");
        assert!(!panel["title"].as_str().unwrap().is_empty());
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().unwrap();
            assert!(!metrics_of(expression).is_empty(), "{expression}");
            assert_real(expression, &found);
            assert_eq!(target["datasource"]["uid"], "${datasource}");
            asked += 1;
        }
        let place = &panel["gridPos"];
        assert!(place["x"].as_u64().unwrap() + place["w"].as_u64().unwrap() <= 24, "{place}");
    }
    assert!(asked > 40);
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        if let Some(query) = variable["definition"].as_str() {
            let metric = query.strip_prefix("label_values(").unwrap();
            let (metric, label) = metric.strip_suffix(')').unwrap().rsplit_once(", ").unwrap();
            for name in metrics_of(metric) {
                let samples = found.all(name, &[]);
                let outer = ["instance", "job"].contains(&label);
                assert!(outer || samples[0].labels.contains_key(label), "{query}");
            }
        }
    }

    let rules: Value = serde_yaml_ng::from_str(&read("prometheus/alerts.yaml")).unwrap();
    let mut names = BTreeSet::new();
    for rule in
        rules["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap())
    {
        let name = rule["alert"].as_str().unwrap();
        assert!(names.insert(name), "two alerts are called {name}");
        assert_real(rule["expr"].as_str().unwrap(), &found);
        assert!(["critical", "warning", "info"].contains(&rule["labels"]["severity"].as_str().unwrap()));
        for text in ["summary", "description"] {
            let text = rule["annotations"][text].as_str().unwrap();
            assert!(!text.is_empty());
            // What an annotation names by its full name exists, too.
            for metric in metrics_of(text) {
                assert!(found.text.contains(&format!("# TYPE {metric} ")), "{metric}: {text}");
            }
        }
    }
    assert!(names.len() > 15);
    promtool_on(&["check", "rules"], &config("prometheus/alerts.yaml"));
}

#[test]
fn expressions_are_taken_apart() {
    let expression = "sum by (le) (rate(ringate_a_bucket{x=~\"$x\",y!=\"1\"}[5m])) / on (z) process_b";
    assert_eq!(metrics_of(expression), BTreeSet::from(["ringate_a_bucket", "process_b"]));
    assert_eq!(labels_of(expression), BTreeSet::from(["x", "y"]));
}
