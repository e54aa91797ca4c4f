//! `[[listener]]`

use std::collections::HashMap;
use std::path::Path;

use crate::base::limits::Limits;
use crate::config::file::{Errors, Section, Value};
use crate::config::names;
use crate::config::plan::{Address, At, Listener, ListenerTls, Protocol, UdpSessions};
use crate::proxy_protocol::Accept;
use crate::tls::CipherOrder;

use super::algorithms::{Algorithms, Serves, algorithms};
use super::{addresses, certificate, clients, conditions, edits, http, limits, pages, rules, versions};

pub(super) fn listeners(root: &mut Section<'_>, dir: &Path, of_process: &Limits) -> Vec<Listener> {
    let pages = root.section("error_pages").map(|section| pages::error_pages(section, dir));
    let Some(value) = root.get("listener") else {
        let help = "add [[listener]] with `name = \"public\"` and `address = \"0.0.0.0:8080\"`";
        if !root.misspells_missing("listener") {
            root.error("there is no listener", Some(help.into()));
        }
        return Vec::new();
    };
    let Some(sections) = value.sections() else { return Vec::new() };
    if sections.is_empty() {
        value.error("there must be at least one", None);
    }
    let mut listeners: Vec<Listener> =
        sections.into_iter().map(|section| listener(section, dir, of_process)).collect();
    for listener in listeners.iter_mut().filter(|listener| listener.protocol == Protocol::Http) {
        listener.error_pages = match (listener.error_pages.take(), &pages) {
            (Some(own), Some(pages)) => Some(own.over(pages)),
            (own, pages) => own.or_else(|| pages.clone()),
        };
    }
    unique(root.errors(), &listeners);
    listeners
}

fn listener(mut section: Section<'_>, dir: &Path, of_process: &Limits) -> Listener {
    let name = section.require("name", "\"public\"").and_then(|value| value.parse("\"public\"", names::name));
    let name = match name {
        Some(name) => At { value: name.value.to_owned(), span: name.span },
        None => At { value: String::new(), span: section.span.clone() },
    };
    let example = "\"127.0.0.1:8080\"";
    let addresses = section.require("address", example).and_then(|value| value.one_or_more(example));
    let addresses = addresses.unwrap_or_default();
    let bound: Vec<_> = addresses
        .iter()
        .filter_map(|value| value.parse(example, |text| names::listen_address(text, dir)))
        .collect();
    let socket_mode = section.get("socket_mode");
    let socket_mode = socket_mode.and_then(|value| Some(value.parse("\"660\"", names::socket_mode)?.value));
    let ipv6_only = section.get("ipv6_only").and_then(|value| value.boolean()).unwrap_or(true);
    let words = [("http", Protocol::Http), ("tcp", Protocol::Tcp), ("udp", Protocol::Udp)];
    let protocol = section.get("protocol").and_then(|value| value.choice(&words)).unwrap_or(Protocol::Http);
    let environment = section.get("environment").and_then(|value| value.parse("\"production\"", names::name));
    let environment = environment.map(|at| At { value: at.value.to_owned(), span: at.span });
    if protocol == Protocol::Udp {
        refuse_on_udp(&mut section);
    }
    let (http, udp) = (http::http(&mut section, protocol), udp(&mut section, protocol));
    for address in bound.iter().filter(|at: &&At<Address>| protocol == Protocol::Udp && at.ip().is_none()) {
        let title =
            format!("`listener.address`: {} is a Unix socket, and this listener is udp", address.value);
        section.errors().borrow_mut().error(address.span.clone(), title, Some("write \"IP:PORT\"".into()));
    }
    let tls = section.section("tls").map(|section| listener_tls(section, dir));
    let limits = limits::listener(section.section("limits"), protocol, of_process);
    let permitted = addresses::rule(section.get("allow").as_ref(), section.get("deny").as_ref());
    let own = [
        "error_pages",
        "compression",
        "request_id",
        "client_address",
        "proxy_status",
        "refuse",
        "rate_limit",
        "headers",
    ]
    .map(|key| section.get(key));
    own.iter().flatten().for_each(|value| needs_http(value, protocol));
    let [error_pages, compression, request_id, client_address, proxy_status, refuse, rate_limit, headers] =
        own;
    let words = [("make", false), ("accept", true)];
    let accept_request_id = request_id.and_then(|value| value.choice(&words)).unwrap_or(false);
    let error_pages = error_pages.and_then(|value| Some(pages::error_pages(value.section()?, dir)));
    let compression = compression.and_then(|value| super::compression::compression(&value));
    let (request_headers, response_headers, conditional_headers) = edits::headers(headers.as_ref());
    let words =
        [("off", None), ("v1", Some(Accept::V1)), ("v2", Some(Accept::V2)), ("any", Some(Accept::Any))];
    let proxy_protocol = section.get("proxy_protocol").and_then(|value| value.choice(&words)).flatten();
    section.finish();
    Listener {
        name,
        addresses: bound,
        socket_mode: socket_mode.unwrap_or(0o660),
        ipv6_only,
        protocol,
        http,
        udp,
        environment,
        tls,
        proxy_protocol,
        limits,
        error_pages,
        accept_request_id,
        proxy_status: proxy_status.and_then(|value| value.boolean()).unwrap_or(true),
        compression,
        refusals: refuse.as_ref().map(conditions::refusals).unwrap_or_default(),
        rate_limit: rate_limit.and_then(|value| rules::rate_limit(&value, "listener")),
        request_headers,
        response_headers,
        conditional_headers,
        permitted,
        client_address: client_address.and_then(|value| addresses::client_address(&value)),
    }
}

/// Refuses a key of another listener than an http one.
pub(super) fn needs_http(value: &Value<'_>, protocol: Protocol) {
    if protocol != Protocol::Http {
        value.error("it needs `protocol = \"http\"`", Some("leave it out".into()));
    }
}

/// What a udp listener does not have.
fn refuse_on_udp(section: &mut Section<'_>) {
    if let Some(value) = section.get("tls") {
        let title = "`listener.tls` is TLS over TCP, and this listener is udp".to_owned();
        value.key_error(
            title,
            "leave it out: QUIC and DTLS are relayed as they are; opening them is not supported yet",
        );
    }
    if let Some(value) =
        section.get("proxy_protocol").filter(|value| value.as_text().is_none_or(|at| at.value != "off"))
    {
        value.error("PROXY headers of datagrams are not supported yet", Some("leave it out".into()));
    }
}

/// `udp`
fn udp(section: &mut Section<'_>, protocol: Protocol) -> UdpSessions {
    let mut sessions = UdpSessions::default();
    let Some(value) = section.get("udp") else { return sessions };
    if protocol != Protocol::Udp {
        value.error("it needs `protocol = \"udp\"`", Some("leave it out".into()));
    }
    let Some(mut section) = value.section() else { return sessions };
    for (key, count) in [("requests", &mut sessions.requests), ("responses", &mut sessions.responses)] {
        if let Some(number) = section.get(key).and_then(|value| value.number(0..=u32::MAX as usize)) {
            *count = number as u64;
        }
    }
    section.finish();
    sessions
}

fn listener_tls(mut section: Section<'_>, dir: &Path) -> ListenerTls {
    let list = section.require("certificates", "[\"web\"]").and_then(|value| value.list("[\"web\"]"));
    let certificates = list.unwrap_or_default().iter().filter_map(|value| certificate(value, dir)).collect();
    let versions = versions(&mut section);
    let Algorithms { cipher_suites, groups } = algorithms(&mut section, versions, Serves::Each);
    let words = [("server", CipherOrder::Server), ("client", CipherOrder::Client)];
    let cipher_order = section.get("cipher_order").and_then(|value| value.choice(&words));
    let ocsp = section.get("ocsp").and_then(|value| super::ocsp::ocsp(&value, dir));
    let off = section.get("client_auth").and_then(|value| Some(value.as_text()?.value == "none"));
    let clients = clients::auth(&mut section, dir);
    section.finish();
    ListenerTls {
        certificates,
        versions,
        cipher_suites,
        cipher_order: cipher_order.unwrap_or_default(),
        groups,
        ocsp,
        clients,
        client_auth_off: off == Some(true),
        credentials: false,
    }
}

/// No two listeners have the same name, no address is bound twice. Port 0 is a new port each time.
fn unique(errors: &Errors, listeners: &[Listener]) {
    let mut names = HashMap::new();
    let mut addresses = HashMap::new();
    for listener in listeners {
        let name = listener.name.value.as_str();
        if let Some(first) = names.insert(name, listener.name.span.start).filter(|_| !name.is_empty()) {
            let first = errors.borrow().place(first);
            let title =
                format!("`listener.name`: there are two listeners called `{name}`, here and at {first}");
            errors.borrow_mut().error(listener.name.span.clone(), title, Some("rename one".into()));
        }
        for address in
            listener.addresses.iter().filter(|at| at.ip().is_none_or(|address| address.port() != 0))
        {
            let udp = listener.protocol == Protocol::Udp;
            if let Some((other, first)) = addresses.insert((&address.value, udp), (name, address.span.start))
            {
                let first = errors.borrow().place(first);
                let title =
                    format!("`listener.address`: {} is already bound by `{other}` at {first}", address.value);
                errors.borrow_mut().error(address.span.clone(), title, None);
            }
        }
    }
}
