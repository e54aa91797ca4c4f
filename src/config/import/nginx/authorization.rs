//! `auth_request` becomes `auth.forward`.

use super::super::draft::{Section, quoted, texts};
use super::parse::Directive;
use super::upstream::Url;
use super::{Nginx, Scope};

/// Fields that the service gets in any case, with the variable of nginx that they have the value of.
const SENT: [(&str, &[&str]); 12] = [
    ("x-forwarded-for", &["$remote_addr", "$proxy_add_x_forwarded_for"]),
    ("x-forwarded-host", &["$host", "$http_host"]),
    ("x-forwarded-method", &["$request_method"]),
    ("x-forwarded-proto", &["$scheme"]),
    ("x-forwarded-uri", &["$request_uri"]),
    ("x-original-method", &["$request_method"]),
    ("x-original-uri", &["$request_uri"]),
    ("x-original-url", &["$scheme://$host$request_uri", "$scheme://$http_host$request_uri"]),
    ("x-real-ip", &["$remote_addr"]),
    ("x-request-id", &["$request_id"]),
    // The connection's.
    ("content-length", &[""]),
    ("connection", &["", "close", "$connection_upgrade"]),
];

impl<'d> Nginx<'_, 'd> {
    /// `auth_request`. False: it can't be written, and no request may pass.
    pub(super) fn subrequest(
        &mut self,
        route: &mut Section,
        scope: &Scope<'d>,
        directive: &'d Directive,
    ) -> bool {
        match self.question(scope, directive) {
            Ok(value) => {
                route.essential("auth.forward", value, directive.line);
                self.report.note(
                    directive.line,
                    "a 3xx or 4xx of the service is the client's response, with its body, Location and Set-Cookie; a failure of it is 503",
                );
                true
            }
            Err(why) => {
                self.report.missing(directive.line, why, Some("route.auth.forward"));
                false
            }
        }
    }

    /// The value of `auth.forward`.
    fn question(&mut self, scope: &Scope<'d>, directive: &'d Directive) -> Result<String, String> {
        let uri = directive.arg(0);
        let (level, location, rest) =
            answering(scope, uri).ok_or("the location that answers it could not be found")?;
        let levels = scope.levels[..=level].to_vec();
        let inner = Scope { levels }.within(location.inner());
        let pass = location.inner().iter().find(|inner| inner.name == "proxy_pass");
        let pass = pass.ok_or("the location that answers it does not pass requests on by proxy_pass")?;
        let url = Url::parse(pass.arg(0))?;
        if inner.arg("proxy_pass_request_headers") == Some("off") {
            return Err("the service would get fields of the client, which nginx keeps back".to_owned());
        }
        let target = match &url.uri {
            Some(own) if own.contains('$') => return Err(format!("the service's URI {own} has variables")),
            Some(own) => format!("{own}{rest}"),
            None => uri.to_owned(),
        };
        let name = self.upstream(&url, &inner, pass).ok_or("its service could not be translated")?;
        let mut value =
            format!("{{ upstream = {}, path = {}, request_headers = [\"*\"]", quoted(&name), quoted(&target));
        let given = self.given(scope, "proxy_set_header");
        let shown = self.given(scope, "add_header");
        for (key, names) in [("response_headers", given), ("success_headers", shown)] {
            if !names.is_empty() {
                value.push_str(&format!(", {key} = {}", texts(&names)));
            }
        }
        value.push_str(" }");
        self.report.done(location.line);
        self.report.done(pass.line);
        for field in inner.all("proxy_set_header") {
            self.asked_field(field);
        }
        Ok(value)
    }

    /// What became of a field that nginx sets for the service.
    fn asked_field(&mut self, directive: &Directive) {
        let (name, value) = (directive.arg(0).to_ascii_lowercase(), directive.arg(1));
        let values = SENT.iter().find(|(sent, _)| *sent == name).map_or(&[][..], |(_, values)| *values);
        if values.contains(&value) {
            self.report.note(directive.line, "the service gets the field in any case, of a normalised path");
        } else if name == "host" {
            self.report.note(
                directive.line,
                "the service gets its endpoint as Host, and the client's in X-Forwarded-Host",
            );
        } else {
            self.report.missing(
                directive.line,
                "the service gets the client's fields and those of Ringate, and no others",
                Some("route.auth.forward.request_headers"),
            );
        }
    }

    /// The fields that such directives set to what the service has answered, by the same name.
    fn given(&mut self, scope: &Scope<'d>, name: &str) -> Vec<String> {
        let mut found: Vec<String> = Vec::new();
        for directive in scope.all(name) {
            let Some(set) = answered(scope, directive.arg(1)) else { continue };
            if is_same(set, directive.arg(0)) {
                self.report.done(directive.line);
                self.report.done(set.line);
                found.push(directive.arg(0).to_owned());
            }
        }
        found
    }

    /// A field that is set to what the service has answered. False: it is none.
    pub(super) fn is_answer(
        &mut self,
        route: &mut Section,
        scope: &Scope<'d>,
        directive: &Directive,
    ) -> bool {
        let Some(set) = answered(scope, directive.arg(1)) else { return false };
        if is_same(set, directive.arg(0)) && route.has("auth.forward") {
            return true; // it is in `auth.forward`
        }
        self.report.missing(
            directive.line,
            "a field of the service keeps its name, and is not put together with others",
            Some("route.auth.forward.response_headers"),
        );
        if directive.name != "add_header" {
            // A client's own must not take its place.
            route.push("headers.request.remove", quoted(directive.arg(0)), directive.line);
        }
        true
    }
}

/// The `auth_request_set` of a value that is such a variable, or has one in it.
fn answered<'d>(scope: &Scope<'d>, value: &str) -> Option<&'d Directive> {
    if !value.contains('$') {
        return None;
    }
    let plain = value.replace(['{', '}'], "");
    let sets = scope.all("auth_request_set");
    let exact = sets.iter().copied().find(|set| set.arg(0) == plain);
    exact.or_else(|| sets.into_iter().find(|set| !set.arg(0).is_empty() && plain.contains(set.arg(0))))
}

/// Whether the variable is the service's field of this name.
fn is_same(set: &Directive, name: &str) -> bool {
    let field = set.arg(1).strip_prefix("$upstream_http_");
    field.is_some_and(|field| field.replace('_', "-").eq_ignore_ascii_case(name))
}

/// The location that answers a subrequest, the number of the level that it is in, and what is left of the URI.
pub(super) fn answering<'d, 'u>(scope: &Scope<'d>, uri: &'u str) -> Option<(usize, &'d Directive, &'u str)> {
    if !uri.starts_with('/') || uri.contains(['$', '?']) {
        return None;
    }
    let mut best: Option<(usize, &'d Directive, &'u str, usize)> = None;
    for (level, block) in scope.levels.iter().enumerate() {
        for location in block.iter().filter(|directive| directive.name == "location") {
            let (modifier, path) = match location.args.len() {
                1 => ("", location.arg(0)),
                _ => (location.arg(0), location.arg(1)),
            };
            let weight = match modifier {
                "=" if path == uri => usize::MAX,
                "" | "^~" if uri.starts_with(path) => path.len(),
                _ => continue,
            };
            if best.as_ref().is_none_or(|(.., known)| weight > *known) {
                let rest = if weight == usize::MAX { "" } else { &uri[path.len()..] };
                best = Some((level, location, rest, weight));
            }
        }
    }
    best.map(|(level, location, rest, _)| (level, location, rest))
}
