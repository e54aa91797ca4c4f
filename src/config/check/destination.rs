//! What a route does with its requests: `upstream`, `upstreams`, `redirect`, `respond`, `portal` or `root`, one of them.

use std::path::Path;

use crate::config::access::Variable;
use crate::config::file::{Section, Value};
use crate::config::plan::{Destination, Portal, PortalRequests, Respond, Share, Upstream};
use crate::config::suggest::nearest;
use crate::config::units::Wrong;
use crate::config::{map_text, names};
use crate::route::{Redirect, Rewrite};

use super::edits;
use super::files::FileKeys;
use super::pages;
use super::route::unknown;

const MAX_WEIGHT: usize = 1000;
/// Statuses that have no body (RFC 9110 §6.4.1, §15.3.6).
const WITHOUT_BODY: [u16; 3] = [204, 205, 304];

/// Keys of other proxies for answers without a backend.
const FILES: [&str; 4] = ["alias", "fastcgi_pass", "files", "static"];

/// The keys of destinations.
pub(super) struct Keys<'a> {
    upstreams: Option<Value<'a>>,
    redirect: Option<Value<'a>>,
    respond: Option<Value<'a>>,
    portal: Option<Value<'a>>,
    files: FileKeys<'a>,
}

impl<'a> Keys<'a> {
    pub(super) fn of(section: &mut Section<'a>) -> Self {
        let [upstreams, redirect, respond, portal] =
            ["upstreams", "redirect", "respond", "portal"].map(|key| section.get(key));
        Self { upstreams, redirect, respond, portal, files: FileKeys::of(section) }
    }

    /// Those that are there, but for `upstream`, which any protocol has.
    pub(super) fn values(&self) -> impl Iterator<Item = &Value<'a>> {
        self.destinations().chain(self.files.beside())
    }

    fn destinations(&self) -> impl Iterator<Item = &Value<'a>> {
        let tables = [&self.upstreams, &self.redirect, &self.respond, &self.portal];
        tables.into_iter().flatten().chain(self.files.root())
    }

    /// Reads whichever there is; several are an error, none is that `upstream` is missing.
    ///
    /// `matched` is the route's path.
    pub(super) fn read(
        &self,
        section: &mut Section<'a>,
        upstreams: Option<&[Upstream]>,
        matched: &str,
        dir: &Path,
    ) -> Destination {
        let files = self.files.read(dir);
        let Some(first) = self.destinations().next() else {
            let meant = section.misspells(&["redirect", "respond", "portal", "upstreams", "root"])
                || section.has(&FILES);
            let named = if meant { section.get("upstream") } else { section.require("upstream", "\"NAME\"") };
            let upstream = named.and_then(|value| upstream(&value, upstreams?));
            return Destination::Upstreams(vec![Share { upstream: upstream.unwrap_or(0), weight: 1 }]);
        };
        let single = section.get("upstream");
        for other in self.destinations().skip(1).chain(&single) {
            let title = format!("`{}`: the route already has `{}`", other.name, first.name);
            section.errors().borrow_mut().error(
                other.key_span.clone(),
                title,
                Some("take one of them out".into()),
            );
        }
        if let Some(value) = &self.upstreams {
            return Destination::Upstreams(shares(value, upstreams));
        }
        if let Some(value) = &self.redirect {
            return Destination::Redirect(redirect(value, matched));
        }
        if let Some(value) = &self.respond {
            return Destination::Respond(respond(value));
        }
        match (&self.portal, files) {
            (Some(value), _) => Destination::Portal(portal(value)),
            (None, Some(files)) => Destination::Files(files),
            (None, None) => Destination::Upstreams(Vec::new()), // there is a first one
        }
    }
}

/// `{ title = "Our APIs", requests = true }`
fn portal(value: &Value<'_>) -> Portal {
    let mut portal = Portal { title: "APIs".to_owned(), requests: None };
    let Some(mut section) = value.section() else { return portal };
    let wanted = section.get("requests").and_then(|value| value.boolean()).unwrap_or(false);
    let [gateway_keys, pending, hourly] = ["gateway_keys", "pending", "hourly"].map(|key| section.get(key));
    for value in [&gateway_keys, &pending, &hourly].into_iter().flatten().filter(|_| !wanted) {
        let help = "add `requests = true`, or leave it out";
        value.error("there is no form for requests that this could be about", Some(help.into()));
    }
    let number = |value: Option<Value<'_>>, default| {
        value.and_then(|value| value.number(1..=10_000)).unwrap_or(default)
    };
    let requests = PortalRequests {
        gateway_keys: gateway_keys.and_then(|value| value.boolean()).unwrap_or(false),
        pending: number(pending, 100),
        hourly: u32::try_from(number(hourly, 10)).unwrap_or(10),
    };
    portal.requests = wanted.then_some(requests);
    let title = section.get("title").and_then(|value| {
        value.parse("\"Our APIs\"", |text| match text {
            "" => Err(Wrong::new("the title is empty")),
            text if text.chars().any(char::is_control) => Err(Wrong::new("the title has control characters")),
            text => Ok(text.to_owned()),
        })
    });
    section.finish();
    portal.title = title.map_or(portal.title, |at| at.value);
    portal
}

/// `[{ name = "a", weight = 9 }, …]`
fn shares(value: &Value<'_>, upstreams: Option<&[Upstream]>) -> Vec<Share> {
    let mut shares: Vec<Share> = Vec::new();
    for entry in
        value.list("[{ name = \"a\", weight = 9 }, { name = \"b\", weight = 1 }]").unwrap_or_default()
    {
        let Some(mut section) = entry.section() else { continue };
        let name = section.require("name", "\"NAME\"").and_then(|value| upstream(&value, upstreams?));
        let weight = section.get("weight").map_or(Some(1), |value| value.number(1..=MAX_WEIGHT));
        section.finish();
        let (Some(upstream), Some(weight)) = (name, weight) else { continue };
        if shares.iter().any(|share| share.upstream == upstream) {
            entry.error("this upstream is listed twice", Some("add its weights up".into()));
        }
        shares.push(Share { upstream, weight: u32::try_from(weight).unwrap_or(1) });
    }
    if shares.is_empty() {
        shares.push(Share { upstream: 0, weight: 1 }); // after an error
    }
    shares
}

fn redirect(value: &Value<'_>, matched: &str) -> Redirect {
    let (scheme, host, port, path, location) = (None, None, None, Rewrite::Keep, None);
    let mut redirect = Redirect { status: 307, scheme, host, port, path, location };
    let Some(mut section) = value.section() else { return redirect };
    let status = section.get("status").and_then(|value| pages::redirect_status(&value));
    redirect.status = status.unwrap_or(redirect.status);
    let scheme = section.get("scheme");
    redirect.scheme = scheme.and_then(|value| value.choice(&[("http", "http"), ("https", "https")]));
    let host = section.get("host").and_then(|value| value.parse("\"www.example.com\"", map_text::host));
    redirect.host = host.map(|host| host.value);
    let port = section.get("port").and_then(|value| value.number(1..=65_535));
    redirect.port = port.and_then(|port| u16::try_from(port).ok());
    let (path, prefix) = (section.get("path"), section.get("rewrite_prefix"));
    let read = |value: &Value<'_>| value.parse("\"/new\"", names::new_path).map(|path| path.value.to_owned());
    let location = section.get("location");
    for value in [&path, &prefix, &location].into_iter().flatten() {
        edits::foreign(value, |variable| matches!(variable, Variable::Map(_)));
    }
    if let (Some(_), Some(prefix)) = (&path, &prefix) {
        prefix.error("the path is changed in two ways", Some("take it out, or `path`".into()));
    }
    if let Some(path) = path.as_ref().and_then(|value| value.parse("\"/new\"", map_text::path)) {
        redirect.path = Rewrite::whole(path.value);
    } else if let Some(prefix) = prefix.as_ref().and_then(read) {
        redirect.path = Rewrite::prefix(matched, &prefix);
    }
    let elsewhere = ["scheme", "host", "port", "path", "rewrite_prefix"];
    if let Some(location) = &location {
        if section.has(&elsewhere) {
            location
                .key_error(format!("`{}` is all of the target", location.name), "take it out, or the others");
        }
        let read = location.parse("\"https://www.example.com/\"", map_text::location);
        redirect.location = read.map(|at| at.value);
    } else if !section.has(&elsewhere) && !section.misspells(&elsewhere) && !section.misspells(&["location"])
    {
        let help = "add `location`, or `scheme`, `host`, `port`, `path` or `rewrite_prefix`";
        section.error("the redirect leads to where it comes from", Some(help.into()));
    }
    section.finish();
    redirect
}

fn respond(value: &Value<'_>) -> Respond {
    let mut respond =
        Respond { status: 200, body: String::new(), content_type: "text/plain; charset=utf-8".to_owned() };
    let Some(mut section) = value.section() else { return respond };
    if let Some(status) = section.get("status").and_then(|value| value.number(200..=599)) {
        respond.status = u16::try_from(status).unwrap_or(respond.status);
    }
    let body = section.get("body");
    if let Some(text) = body.as_ref().and_then(|value| value.text("\"moved\\n\"")) {
        respond.body = text.value.to_owned();
    }
    if let Some(body) = body.filter(|_| !respond.body.is_empty() && WITHOUT_BODY.contains(&respond.status)) {
        body.error(&format!("a response of status {} has no body", respond.status), None);
    }
    let read = section.get("content_type");
    if let Some(content_type) = read.and_then(|value| value.parse("\"text/html\"", names::field_value)) {
        respond.content_type = content_type.value.to_owned();
    }
    section.finish();
    respond
}

pub(super) fn upstream(value: &Value<'_>, upstreams: &[Upstream]) -> Option<usize> {
    let name = value.text("\"orders\"")?.value;
    let found = upstreams.iter().position(|upstream| upstream.name.value == name);
    if found.is_none() {
        let near = nearest(name, upstreams.iter().map(|upstream| upstream.name.as_str()));
        unknown(value, "upstream", name, near, &format!("add [upstream.{name}] with `endpoints`"));
    }
    found
}
