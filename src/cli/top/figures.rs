//! The figures of one interval, as `--json` prints them and the views show them.

use serde::Serialize;

use super::scrape::label;
use super::status;
use super::window::{Latency, Window, rounded};
use crate::certs::Timestamp;

/// Classes of status codes.
pub(super) const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// All figures. Rates are those of the interval; null: there is none, as the process started within it.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    pub(super) at: Timestamp,
    /// The interval's length by the process' clock.
    pub(super) seconds: Option<f64>,
    pub(super) process: Process,
    pub(super) totals: Totals,
    pub(super) upstreams: Vec<Upstream>,
    pub(super) routes: Vec<Route>,
    pub(super) workers: Vec<Worker>,
    pub(super) certificates: Vec<Certificate>,
    pub(super) credentials: Vec<Credentials>,
    pub(super) warnings: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Process {
    pub(super) version: String,
    pub(super) driver: String,
    pub(super) uptime_seconds: u64,
    pub(super) draining: bool,
    pub(super) config_version: u64,
    /// CPU time a second: 1 is one CPU.
    pub(super) cpus_used: Option<f64>,
    pub(super) resident_bytes: f64,
    pub(super) open_descriptors: f64,
    pub(super) max_descriptors: f64,
}

#[derive(Debug, Serialize)]
pub(super) struct Totals {
    /// Since the start.
    pub(super) requests: f64,
    pub(super) requests_per_second: Option<f64>,
    pub(super) responses_per_second: Classes,
    pub(super) aborted_per_second: Option<f64>,
    /// Of requests and responses, heads included, once they have ended.
    pub(super) request_bytes_per_second: Option<f64>,
    pub(super) response_bytes_per_second: Option<f64>,
    /// Of tcp connections and tunnels, while they are open, and of datagrams.
    pub(super) relayed_up_bytes_per_second: Option<f64>,
    pub(super) relayed_down_bytes_per_second: Option<f64>,
    /// From a request's head to its response's head from a backend.
    pub(super) latency: Latency,
    pub(super) connections_open: f64,
    pub(super) connections_accepted_per_second: Option<f64>,
    pub(super) http2_connections_open: f64,
    pub(super) udp_sessions_open: f64,
    pub(super) backend_connections_per_second: Option<f64>,
    pub(super) backend_reuses_per_second: Option<f64>,
    pub(super) client_handshakes_per_second: Option<f64>,
    pub(super) backend_handshakes_per_second: Option<f64>,
    pub(super) failed_handshakes_per_second: Option<f64>,
    pub(super) queued: f64,
    pub(super) retries_per_second: Option<f64>,
    /// Requests and connections that were refused for a bound.
    pub(super) limited_per_second: Option<f64>,
}

/// Responses a second by class.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Classes {
    #[serde(rename = "1xx")]
    interim: Option<f64>,
    #[serde(rename = "2xx")]
    ok: Option<f64>,
    #[serde(rename = "3xx")]
    redirects: Option<f64>,
    #[serde(rename = "4xx")]
    client_errors: Option<f64>,
    #[serde(rename = "5xx")]
    server_errors: Option<f64>,
}

#[derive(Debug, Serialize)]
pub(super) struct Upstream {
    pub(super) name: String,
    /// Endpoints that can be used, and all.
    pub(super) up: usize,
    pub(super) of: usize,
    pub(super) requests_per_second: Option<f64>,
    pub(super) responses_per_second: Classes,
    /// Responses of the 5xx class, and exchanges that failed at it.
    pub(super) errors_per_second: Option<f64>,
    pub(super) in_flight: f64,
    /// From a request's head to its response's head.
    pub(super) latency: Latency,
    pub(super) mean_ms: Option<f64>,
    pub(super) request_bytes_per_second: Option<f64>,
    pub(super) response_bytes_per_second: Option<f64>,
    pub(super) endpoints: Vec<Endpoint>,
}

#[derive(Debug, Serialize)]
pub(super) struct Endpoint {
    pub(super) endpoint: String,
    pub(super) address: Option<String>,
    /// `up`, `down`, `ejected`, `drained`, or `unknown` before its first use.
    pub(super) state: String,
    /// Why it is down or ejected.
    pub(super) reason: Option<String>,
    pub(super) requests_per_second: Option<f64>,
    pub(super) errors_per_second: Option<f64>,
    pub(super) in_flight: f64,
    pub(super) mean_ms: Option<f64>,
    pub(super) request_bytes_per_second: Option<f64>,
    pub(super) response_bytes_per_second: Option<f64>,
}

#[derive(Debug, Serialize)]
pub(super) struct Route {
    pub(super) route: String,
    pub(super) listener: String,
    pub(super) requests_per_second: Option<f64>,
    pub(super) responses_per_second: Classes,
    /// From a request's head to its response's end.
    pub(super) duration: Latency,
    pub(super) request_bytes_per_second: Option<f64>,
    pub(super) response_bytes_per_second: Option<f64>,
}

#[derive(Debug, Serialize)]
pub(super) struct Worker {
    pub(super) worker: usize,
    pub(super) cpu: u64,
    pub(super) stuck: bool,
    pub(super) connections_open: f64,
    pub(super) requests_per_second: Option<f64>,
    /// CPU time a second.
    pub(super) cpu_used: Option<f64>,
    /// How much later than due its timer ran: the time of one turn of its loop.
    pub(super) loop_delay: Latency,
}

#[derive(Debug, Serialize)]
pub(super) struct Certificate {
    pub(super) name: String,
    pub(super) generation: u64,
    pub(super) not_after: String,
    pub(super) days_left: i64,
    /// Listeners and upstreams that present it.
    pub(super) used_by: Vec<String>,
    /// Of the generation before, if there was one.
    pub(super) safe_to_revoke: Option<SafeToRevoke>,
}

#[derive(Debug, Serialize)]
pub(super) struct SafeToRevoke {
    pub(super) generation: u64,
    pub(super) safe: bool,
    pub(super) reasons: Vec<String>,
}

/// How many credentials of consumers there are.
#[derive(Debug, Serialize)]
pub(super) struct Credentials {
    pub(super) definition: String,
    pub(super) state: String,
    pub(super) count: f64,
}

impl Figures {
    /// What the window has.
    pub(super) fn of(window: Window<'_>) -> Self {
        let status = &window.now.status;
        Self {
            at: window.now.at.into(),
            seconds: window.seconds(),
            process: Process::of(window),
            totals: Totals::of(window),
            upstreams: status.upstreams.iter().map(|upstream| Upstream::of(window, upstream)).collect(),
            routes: Route::all(window),
            workers: Worker::all(window),
            certificates: status.certificates.iter().map(Certificate::of).collect(),
            credentials: Credentials::all(window),
            warnings: status.warnings.clone(),
        }
    }
}

impl Process {
    fn of(window: Window<'_>) -> Self {
        let status = &window.now.status;
        Self {
            version: status.version.clone(),
            driver: status.driver.clone(),
            uptime_seconds: status.uptime_seconds,
            draining: status.draining,
            config_version: status.config.version,
            cpus_used: window.rate("process_cpu_seconds_total", ""),
            resident_bytes: window.value("process_resident_memory_bytes", ""),
            open_descriptors: window.value("process_open_fds", ""),
            max_descriptors: window.value("process_max_fds", ""),
        }
    }
}

impl Totals {
    fn of(window: Window<'_>) -> Self {
        let rate = |name: &str| window.rate(&format!("ringate_{name}_total"), "");
        let open = |name: &str| window.value(&format!("ringate_{name}_open"), "");
        let sum = |names: [&str; 2]| Some(rounded(rate(names[0])? + rate(names[1])?));
        Self {
            requests: window.value("ringate_requests_total", ""),
            requests_per_second: rate("requests"),
            responses_per_second: Classes::of(|class| rate(&format!("responses_{class}"))),
            aborted_per_second: rate("exchanges_aborted"),
            request_bytes_per_second: window.rate_of_all("ringate_route_request_bytes_total"),
            response_bytes_per_second: window.rate_of_all("ringate_route_response_bytes_total"),
            relayed_up_bytes_per_second: sum(["relay_bytes_up", "udp_bytes_up"]),
            relayed_down_bytes_per_second: sum(["relay_bytes_down", "udp_bytes_down"]),
            latency: window.latency("ringate_response_seconds", ""),
            connections_open: open("connections"),
            connections_accepted_per_second: rate("connections_accepted"),
            http2_connections_open: open("http2_connections"),
            udp_sessions_open: open("udp_sessions"),
            backend_connections_per_second: rate("backend_connections"),
            backend_reuses_per_second: rate("backend_reuses"),
            client_handshakes_per_second: rate("client_handshakes"),
            backend_handshakes_per_second: rate("backend_handshakes"),
            failed_handshakes_per_second: sum(["client_handshake_failures", "backend_handshake_failures"]),
            queued: open("queue"),
            retries_per_second: rate("retries"),
            limited_per_second: window.rate_of_all("ringate_limited_total"),
        }
    }
}

impl Classes {
    fn of(rate: impl Fn(&str) -> Option<f64>) -> Self {
        let [interim, ok, redirects, client_errors, server_errors] = CLASSES.map(rate);
        Self { interim, ok, redirects, client_errors, server_errors }
    }

    /// Those of a family with the label `class`.
    fn of_family(window: Window<'_>, family: &str, labels: &str) -> Self {
        Self::of(|class| window.rate(family, &format!("{labels},class=\"{class}\"")))
    }

    /// In the order of [`CLASSES`].
    pub(super) fn each(&self) -> [Option<f64>; 5] {
        [self.interim, self.ok, self.redirects, self.client_errors, self.server_errors]
    }
}

impl Upstream {
    fn of(window: Window<'_>, upstream: &status::Upstream) -> Self {
        let named = |labels: &&str| label(labels, "upstream") == upstream.name;
        let labels = window.now.scrape.labels("ringate_upstream_requests_total").find(named);
        let labels = labels.unwrap_or_default();
        let endpoints: Vec<Endpoint> = Endpoint::all(window, upstream);
        let is_up = |endpoint: &&Endpoint| matches!(&*endpoint.state, "up" | "unknown");
        let errors: Option<f64> = endpoints.iter().map(|endpoint| endpoint.errors_per_second).sum();
        Self {
            name: upstream.name.clone(),
            up: endpoints.iter().filter(is_up).count(),
            of: endpoints.len(),
            requests_per_second: window.rate("ringate_upstream_requests_total", labels),
            responses_per_second: Classes::of_family(window, "ringate_upstream_responses_total", labels),
            errors_per_second: errors.filter(|_| window.seconds().is_some()).map(rounded),
            in_flight: rounded(endpoints.iter().map(|endpoint| endpoint.in_flight).sum()),
            latency: window.latency("ringate_upstream_first_byte_duration_seconds", labels),
            mean_ms: window.mean_ms("ringate_upstream_first_byte_duration_seconds", labels),
            request_bytes_per_second: window.rate("ringate_upstream_request_bytes_total", labels),
            response_bytes_per_second: window.rate("ringate_upstream_response_bytes_total", labels),
            endpoints,
        }
    }
}

impl Endpoint {
    fn all(window: Window<'_>, upstream: &status::Upstream) -> Vec<Self> {
        let all = window.now.scrape.labels("ringate_endpoint_requests_total");
        let its: Vec<&str> = all.filter(|labels| label(labels, "upstream") == upstream.name).collect();
        let find = |endpoint: &status::Address| {
            // The address has a label where it is another text than the endpoint's name.
            let address = endpoint.address.as_deref().filter(|address| *address != endpoint.endpoint);
            its.iter().copied().find(|labels| {
                label(labels, "endpoint") == endpoint.endpoint
                    && label(labels, "address") == address.unwrap_or_default()
            })
        };
        upstream.addresses.iter().map(|it| Self::of(window, it, find(it).unwrap_or_default())).collect()
    }

    fn of(window: Window<'_>, endpoint: &status::Address, labels: &str) -> Self {
        Self {
            endpoint: endpoint.endpoint.clone(),
            address: endpoint.address.clone(),
            state: if endpoint.drain { "drained".to_owned() } else { endpoint.state.clone() },
            reason: endpoint.reason.clone().filter(|_| matches!(&*endpoint.state, "down" | "ejected")),
            requests_per_second: window.rate("ringate_endpoint_requests_total", labels),
            errors_per_second: window.rate("ringate_endpoint_errors_total", labels),
            in_flight: window.value("ringate_endpoint_in_flight", labels),
            mean_ms: window.mean_ms("ringate_endpoint_first_byte_duration_seconds", labels),
            request_bytes_per_second: window.rate("ringate_endpoint_request_bytes_total", labels),
            response_bytes_per_second: window.rate("ringate_endpoint_response_bytes_total", labels),
        }
    }
}

impl Route {
    fn all(window: Window<'_>) -> Vec<Self> {
        let of = |labels: &str| Self {
            route: label(labels, "route"),
            listener: label(labels, "listener"),
            requests_per_second: window.rate("ringate_route_requests_total", labels),
            responses_per_second: Classes::of_family(window, "ringate_route_responses_total", labels),
            duration: window.latency("ringate_route_request_duration_seconds", labels),
            request_bytes_per_second: window.rate("ringate_route_request_bytes_total", labels),
            response_bytes_per_second: window.rate("ringate_route_response_bytes_total", labels),
        };
        window.now.scrape.labels("ringate_route_requests_total").map(of).collect()
    }
}

impl Worker {
    fn all(window: Window<'_>) -> Vec<Self> {
        let workers = window.now.status.workers.iter().enumerate().map(|(number, worker)| {
            let labels = &format!("worker=\"{number}\"");
            Self {
                worker: number,
                cpu: worker.cpu,
                stuck: worker.stuck,
                connections_open: window.value("ringate_worker_connections_open", labels),
                requests_per_second: window.rate("ringate_worker_requests_total", labels),
                cpu_used: window.rate("ringate_worker_cpu_seconds_total", labels),
                loop_delay: window.latency("ringate_worker_loop_delay_seconds", labels),
            }
        });
        workers.collect()
    }
}

impl Certificate {
    fn of(it: &status::Certificate) -> Self {
        let safe = it.rotation.safe_to_revoke.as_ref();
        Self {
            name: it.name.clone(),
            generation: it.generation,
            not_after: it.not_after.clone(),
            days_left: it.days_left,
            used_by: it.affects.clone(),
            safe_to_revoke: safe.map(|safe| SafeToRevoke {
                generation: safe.generation,
                safe: safe.safe,
                reasons: safe.reasons.clone(),
            }),
        }
    }
}

impl Credentials {
    fn all(window: Window<'_>) -> Vec<Self> {
        let of = |labels: &str| Self {
            definition: label(labels, "definition"),
            state: label(labels, "state"),
            count: window.value("ringate_credentials", labels),
        };
        window.now.scrape.labels("ringate_credentials").map(of).collect()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::window::Sample;
    use super::super::window::tests::sample;
    use super::*;

    /// Two upstreams, one with an endpoint that is down, after `turn` seconds with 10 requests each.
    pub(in crate::cli::top) fn at_turn(turn: u32) -> Sample {
        let (count, failed) = (turn * 10, turn * 2);
        let endpoint = "upstream=\"app\",endpoint=\"127.0.0.1:9001\"";
        let named = "upstream=\"app\",endpoint=\"dns:db:9002\",address=\"10.0.0.1:9002\"";
        let text = format!(
            "process_start_time_seconds 5\nringate_uptime_seconds {turn}\nringate_requests_total {count}\n\
             ringate_responses_2xx_total {count}\n\
             ringate_upstream_requests_total{{upstream=\"app\"}} {count}\n\
             ringate_upstream_requests_total{{upstream=\"other\"}} 0\n\
             ringate_endpoint_requests_total{{{endpoint}}} {count}\n\
             ringate_endpoint_requests_total{{{named}}} 0\n\
             ringate_endpoint_errors_total{{{endpoint}}} {failed}\n\
             ringate_endpoint_in_flight{{{endpoint}}} 3\n\
             ringate_endpoint_in_flight{{{named}}} 4\n\
             ringate_route_requests_total{{listener=\"web\",route=\"/a\"}} {count}\n\
             ringate_route_responses_total{{listener=\"web\",route=\"/a\",class=\"5xx\"}} {failed}\n\
             ringate_route_request_bytes_total{{listener=\"web\",route=\"/a\"}} {count}\n\
             ringate_route_request_bytes_total{{listener=\"web\",route=\"none\"}} {failed}\n\
             ringate_credentials{{definition=\"key\",state=\"active\"}} 2\n\
             ringate_worker_requests_total{{worker=\"0\"}} {count}\n"
        );
        let status = r#"{
            "version": "0.1.0", "driver": "io_uring", "uptime_seconds": 7, "workers": [{"cpu": 3, "stuck": false}],
            "upstreams": [
                {"name": "app", "addresses": [
                    {"endpoint": "127.0.0.1:9001", "address": "127.0.0.1:9001", "state": "up", "reason": null},
                    {"endpoint": "dns:db:9002", "address": "10.0.0.1:9002", "state": "down", "reason": "refused"}]},
                {"name": "other", "addresses": []}],
            "certificates": [{"name": "gateway", "generation": 2, "not_after": "2027-01-01T00:00:00Z", "days_left": 33,
                "affects": ["upstream app"], "rotation": {"safe_to_revoke":
                {"generation": 1, "safe": false, "reasons": ["app: 2 connections"]}}}],
            "warnings": ["certificate gateway ends soon"]}"#;
        Sample { status: serde_json::from_str(status).unwrap(), ..sample(&text) }
    }

    pub(in crate::cli::top) fn figures() -> Figures {
        Figures::of(Window::new(&at_turn(3), Some(&at_turn(2))))
    }

    #[test]
    fn figures_are_joined_from_metrics_and_status() {
        let figures = figures();
        assert_eq!(figures.totals.requests_per_second, Some(10.0));
        assert_eq!(figures.totals.responses_per_second.each()[1], Some(10.0));
        assert_eq!(figures.totals.request_bytes_per_second, Some(12.0));
        let app = &figures.upstreams[0];
        assert_eq!((app.up, app.of, app.in_flight), (1, 2, 7.0));
        assert_eq!((app.requests_per_second, app.errors_per_second), (Some(10.0), Some(2.0)));
        let [one, other] = &app.endpoints[..] else { panic!() };
        assert_eq!((one.requests_per_second, one.in_flight, &*one.state), (Some(10.0), 3.0, "up"));
        assert_eq!((other.in_flight, &*other.state, other.reason.as_deref()), (4.0, "down", Some("refused")));
        assert_eq!(figures.routes.len(), 1);
        assert_eq!(figures.routes[0].responses_per_second.each()[4], Some(2.0));
        assert_eq!((figures.workers[0].cpu, figures.workers[0].requests_per_second), (3, Some(10.0)));
        assert!(!figures.certificates[0].safe_to_revoke.as_ref().unwrap().safe);
        assert_eq!((&*figures.credentials[0].state, figures.credentials[0].count), ("active", 2.0));
    }

    #[test]
    fn the_first_sample_has_no_rates() {
        let figures = Figures::of(Window::new(&at_turn(3), None));
        assert_eq!(figures.seconds, None);
        assert_eq!(figures.totals.requests_per_second, None);
        assert_eq!(figures.upstreams[1].errors_per_second, None);
        assert!(figures.upstreams[1].in_flight.is_sign_positive());
        assert_eq!((figures.totals.requests, figures.upstreams[0].in_flight), (30.0, 7.0));
    }
}
