//! Rules of a route: rate limit, CORS, API keys, trace context. A listener has the first, too.

use std::path::Path;
use std::time::Duration;

use crate::config::access;
use crate::config::file::{Section, Value};
use crate::config::names;
use crate::config::plan::{
    AnyOr, ApiKeys, At, Cors, LimitBy, OriginPattern, RateLimit, RouteRules, Trace, Upstream,
};
use crate::config::suggest::quoted;
use crate::config::units::Wrong;
use crate::http::is_same_name;

use super::addresses;
use super::auth::auth;
use super::compression::compression;
use super::conditions;
use super::pages;

/// The highest rate, in requests a second: with more, a token takes no whole microsecond.
const HIGHEST_RATE: u32 = 1_000_000;
/// The largest burst.
const LARGEST_BURST: usize = 10_000_000;
/// How long a bucket may take to fill: its clock of nanoseconds ends after 584 years.
const LONGEST_BURST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Where files are.
#[derive(Clone, Copy)]
pub(super) struct Folders<'a> {
    /// What relative paths are relative to.
    pub config: &'a Path,
    /// Files of API keys that are named by a word.
    pub keys: &'a Path,
}

/// The keys of a route that are rules, as they are written.
pub(super) struct RuleValues<'a> {
    allow: Option<Value<'a>>,
    deny: Option<Value<'a>>,
    refuse: Option<Value<'a>>,
    rate_limit: Option<Value<'a>>,
    cors: Option<Value<'a>>,
    api_keys: Option<Value<'a>>,
    credentials: Option<Value<'a>>,
    trace: Option<Value<'a>>,
    compression: Option<Value<'a>>,
    auth: Option<Value<'a>>,
    error_pages: Option<Value<'a>>,
}

impl<'a> RuleValues<'a> {
    pub(super) fn of(section: &mut Section<'a>) -> Self {
        Self {
            allow: section.get("allow"),
            deny: section.get("deny"),
            refuse: section.get("refuse"),
            rate_limit: section.get("rate_limit"),
            cors: section.get("cors"),
            api_keys: section.get("api_keys"),
            credentials: section.get("credentials"),
            trace: section.get("trace"),
            compression: section.get("compression"),
            auth: section.get("auth"),
            error_pages: section.get("error_pages"),
        }
    }

    /// Those that are there.
    pub(super) fn present(&self) -> impl Iterator<Item = &Value<'a>> {
        let Self {
            allow,
            deny,
            refuse,
            rate_limit,
            cors,
            api_keys,
            credentials,
            trace,
            compression,
            auth,
            error_pages,
        } = self;
        let access = [allow, deny, refuse, rate_limit, cors, api_keys, credentials, auth];
        access.into_iter().chain([trace, compression, error_pages]).flatten()
    }

    /// What they mean.
    pub(super) fn read(&self, folders: Folders<'_>, upstreams: Option<&[Upstream]>) -> RouteRules {
        let words = [("off", Trace::Off), ("pass", Trace::Pass), ("make", Trace::Make)];
        RouteRules {
            permitted: addresses::rule(self.allow.as_ref(), self.deny.as_ref()),
            refusals: self.refuse.as_ref().map(conditions::refusals).unwrap_or_default(),
            rate_limit: self.rate_limit.as_ref().and_then(|value| rate_limit(value, "route")),
            cors: self.cors.as_ref().and_then(cors),
            api_keys: self.api_keys.as_ref().and_then(|value| api_keys(value, folders)),
            credentials: self.credentials.as_ref().and_then(credentials).unwrap_or_default(),
            trace: self.trace.as_ref().and_then(|value| value.choice(&words)).unwrap_or_default(),
            compression: self.compression.as_ref().and_then(compression),
            error_pages: self
                .error_pages
                .as_ref()
                .and_then(|value| Some(pages::error_pages(value.section()?, folders.config))),
            auth: self.auth.as_ref().map(|value| auth(value, folders.config, upstreams)).unwrap_or_default(),
        }
    }
}

/// Names of definitions; whether they are there is checked once all are known.
fn credentials(value: &Value<'_>) -> Option<Vec<At<String>>> {
    let list = value.list("[\"api-key-mtls\"]")?;
    let names = list.iter().filter_map(|value| value.parse("\"api-key-mtls\"", names::name));
    Some(names.map(|name| At { value: name.value.to_owned(), span: name.span }).collect())
}

/// `"100/s"`, or a table. `place` is the word for all requests together.
pub(super) fn rate_limit(value: &Value<'_>, place: &'static str) -> Option<RateLimit> {
    if value.as_text().is_some() {
        let (count, period) = value.parse("\"100/s\"", rate)?.value;
        return Some(RateLimit { count, period, burst: a_second(count, period), by: LimitBy::Client });
    }
    let mut section = value.section()?;
    let rate = section.require("rate", "\"100/s\"").and_then(|value| value.parse("\"100/s\"", rate));
    let written = section.get("burst");
    let burst = written.as_ref().and_then(|value| value.number(1..=LARGEST_BURST));
    let by = section.get("by").map_or(Some(LimitBy::Client), |value| limit_by(&value, place));
    section.finish();
    let (count, period) = rate?.value;
    let burst = burst.and_then(|burst| u32::try_from(burst).ok()).unwrap_or_else(|| a_second(count, period));
    let most = LONGEST_BURST.as_nanos() * u128::from(count) / period.as_nanos();
    if let Some(value) = written.filter(|_| u128::from(burst) > most) {
        let help = format!("at this rate {most} at most");
        value.error("a bucket of so many takes more than 100 years to fill", Some(help));
    }
    Some(RateLimit { count, period, burst, by: by? })
}

fn limit_by(value: &Value<'_>, place: &'static str) -> Option<LimitBy> {
    if !value.is_table() {
        return value.choice(&[("client", 0), (place, 1)]).map(|word| match word {
            0 => LimitBy::Client,
            _ => LimitBy::All,
        });
    }
    let mut section = value.section()?;
    let header = section.require("header", "\"X-Api-Key\"");
    let header = header.and_then(|value| value.parse("\"X-Api-Key\"", access::header));
    section.finish();
    Some(LimitBy::Header(header?.value))
}

/// `100/s`, `20/m`, `5/h`
fn rate(text: &str) -> Result<(u32, Duration), Wrong> {
    let wrong = |reason: &str| Wrong::new(format!("{} is not a rate: {reason}", quoted(text)));
    let form = "a rate is a whole number and a time, such as \"100/s\", \"20/m\" or \"5/h\"";
    // nginx writes `10r/s`.
    let bare = |count: &str| {
        let (digits, word) = count.split_at(count.find(|c: char| !c.is_ascii_digit()).unwrap_or(count.len()));
        let is_one = !digits.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphabetic());
        is_one.then(|| (digits.to_owned(), word.to_owned()))
    };
    let Some((count, unit)) = text.split_once('/') else {
        let help = match bare(text) {
            Some((count, word)) if matches!(&*word, "" | "r" | "rps") => {
                format!("did you mean \"{count}/s\"?")
            }
            Some((count, word)) if word == "rpm" => format!("did you mean \"{count}/m\"?"),
            _ => form.to_owned(),
        };
        return Err(wrong("the time is missing").help(help));
    };
    let (number, word) = bare(count).unwrap_or_else(|| (count.to_owned(), String::new()));
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        other => {
            let meant = match other.trim() {
                "sec" | "second" | "1s" | "S" => Some("s"),
                "min" | "minute" | "1m" | "M" => Some("m"),
                "hour" | "1h" | "H" => Some("h"),
                _ => None,
            };
            let help =
                meant.map_or_else(|| form.to_owned(), |unit| format!("did you mean \"{number}/{unit}\"?"));
            return Err(wrong("unknown time").help(help));
        }
    };
    let digits = !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit());
    match count.parse::<u32>() {
        Ok(0) => Err(wrong("nothing would pass").help("answer with `respond = { status = 403 }` instead")),
        Ok(count) if count / seconds > HIGHEST_RATE => Err(wrong("it is more than 1000000/s")),
        Ok(count) if digits => Ok((count, Duration::from_secs(u64::from(seconds)))),
        _ if !word.is_empty() => {
            Err(wrong("the number has a word behind it").help(format!("did you mean \"{number}/{unit}\"?")))
        }
        _ => Err(wrong("it does not begin with a whole number").help(form)),
    }
}

fn a_second(count: u32, period: Duration) -> u32 {
    (count / period.as_secs().max(1) as u32).max(1)
}

fn cors(value: &Value<'_>) -> Option<Cors> {
    let mut section = value.section()?;
    let origins = section.require("origins", "[\"https://app.example.com\"]");
    let origins = origins.and_then(|value| Some((value.list("[\"https://app.example.com\"]")?, value)));
    let methods = list_of(&mut section, "methods", "\"GET\"", names::method);
    let headers = list_of(&mut section, "headers", "\"Content-Type\"", access::header);
    let expose = list_of(&mut section, "expose", "\"X-Total\"", access::header);
    let credentials = section.get("credentials").and_then(|value| value.boolean()).unwrap_or(false);
    let max_age = section.get("max_age").and_then(|value| value.duration(true));
    section.finish();
    let (list, origins_value) = origins?;
    let origins: Vec<_> =
        list.iter().filter_map(|value| value.parse("\"https://app.example.com\"", origin)).collect();
    if origins.iter().any(|origin| origin.value == OriginPattern::Any) {
        if credentials {
            origins_value.error(
                "\"*\" with `credentials` would let every site act as its visitor",
                Some("name the origins, or leave `credentials` out".into()),
            );
        }
        if origins.len() > 1 {
            let title = format!("\"*\" is every origin already, beside {} others", origins.len() - 1);
            origins_value.error(&title, Some("leave the others out, or \"*\"".into()));
        }
    }
    let usual = || ["GET", "HEAD", "POST"].map(str::to_owned).to_vec();
    Some(Cors {
        origins: origins.into_iter().map(|origin| origin.value).collect(),
        methods: methods.unwrap_or_else(|| AnyOr::These(usual())),
        headers: headers.unwrap_or(AnyOr::These(Vec::new())),
        credentials,
        max_age: max_age.unwrap_or(Duration::from_secs(600)),
        expose: match expose {
            Some(AnyOr::These(names)) => names,
            Some(AnyOr::Any) if !credentials => vec!["*".to_owned()],
            Some(AnyOr::Any) => {
                let title = "`expose = [\"*\"]` means nothing to browsers where `credentials` is true";
                value.error(title, Some("name the fields".into()));
                Vec::new()
            }
            None => Vec::new(),
        },
    })
}

/// `["*"]` or a list of what `read` understands.
pub(super) fn list_of(
    section: &mut Section<'_>,
    key: &'static str,
    example: &str,
    read: impl Fn(&str) -> Result<String, Wrong>,
) -> Option<AnyOr<String>> {
    let list = section.get(key)?.list(&format!("[{example}]"))?;
    if let [only] = list.as_slice()
        && only.as_text().is_some_and(|text| text.value == "*")
    {
        return Some(AnyOr::Any);
    }
    let these = list.iter().filter_map(|value| Some(value.parse(example, &read)?.value));
    Some(AnyOr::These(these.collect()))
}

/// `https://app.example.com[:8443]`, `https://*.example.com`, or `*`.
fn origin(text: &str) -> Result<OriginPattern, Wrong> {
    let wrong = |reason: &str| Wrong::new(format!("{} is not an origin: {reason}", quoted(text)));
    if text == "*" {
        return Ok(OriginPattern::Any);
    }
    if text == "null" {
        let wrong = wrong("every sandboxed page and local file has this one");
        return Err(wrong.help("give the page an origin of its own, and name that"));
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(wrong("the scheme is missing").help(format!("did you mean \"https://{text}\"?")));
    };
    let letters = scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    if scheme.is_empty() || !letters {
        return Err(wrong("the scheme is none"));
    }
    if let Some((authority, _)) = rest.split_once('/') {
        return Err(wrong("it has a path").help(format!("did you mean \"{scheme}://{authority}\"?")));
    }
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (rest, None),
    };
    let usual = match scheme {
        "http" => "80",
        "https" => "443",
        _ => "",
    };
    match port {
        Some(port) if port == usual => {
            let help = format!("browsers leave the usual port out: \"{scheme}://{host}\"");
            return Err(wrong("it would match nothing").help(help));
        }
        Some(port) if !port.parse::<u16>().is_ok_and(|port| port > 0) => {
            return Err(wrong("the port is none"));
        }
        _ => {}
    }
    let (scheme, rest) = (scheme.to_ascii_lowercase(), rest.to_ascii_lowercase());
    names::host_pattern(host).map_err(|inner| wrong(&inner.title))?;
    Ok(match rest.strip_prefix('*') {
        Some(suffix) => OriginPattern::Below { scheme: format!("{scheme}://"), suffix: suffix.to_owned() },
        None => OriginPattern::Exact(format!("{scheme}://{rest}")),
    })
}

/// `"partners"`, a file's path, or a table.
fn api_keys(value: &Value<'_>, folders: Folders<'_>) -> Option<ApiKeys> {
    let file = |value: &Value<'_>| -> Option<At<std::path::PathBuf>> {
        value.parse("\"partners\"", |text| match text.contains('/') {
            true => Ok(folders.config.join(text)),
            false => names::name(text).map(|name| folders.keys.join(format!("{name}.toml"))),
        })
    };
    let mut found = ApiKeys {
        file: At { value: std::path::PathBuf::new(), span: value.span() },
        header: "x-api-key".to_owned(),
        name_header: "X-Api-Key-Name".to_owned(),
        forward: false,
    };
    if !value.is_table() {
        found.file = file(value)?;
        return Some(found);
    }
    let mut section = value.section()?;
    let from = section.require("from", "\"partners\"").and_then(|value| file(&value));
    if let Some(name) = section.get("header").and_then(|value| value.parse("\"X-Api-Key\"", key_header)) {
        found.header = name.value.to_ascii_lowercase();
    }
    if let Some(name) =
        section.get("name_header").and_then(|value| value.parse("\"X-Api-Key-Name\"", key_header))
    {
        found.name_header = name.value.to_owned();
    }
    found.forward = section.get("forward").and_then(|value| value.boolean()).unwrap_or(false);
    section.finish();
    found.file = from?;
    if is_same_name(found.header.as_bytes(), found.name_header.as_bytes()) {
        value.error("a key and its name can't share a field", None);
    }
    Some(found)
}

/// A field that Ringate can make for the backend: not one that frames a message, routes it or has its own meaning.
pub(super) fn forwarded_header(text: &str) -> Result<&str, Wrong> {
    let name = key_header(text)?;
    const OURS: [&str; 7] = [
        "cookie",
        "forwarded",
        "x-forwarded-client-cert",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-request-id",
    ];
    if OURS.iter().any(|taken| is_same_name(name.as_bytes(), taken.as_bytes())) {
        return Err(Wrong::new(format!("{} has a meaning of its own", quoted(text))));
    }
    Ok(name)
}

/// A field that a message can do without: not one that frames it or routes it.
fn key_header(text: &str) -> Result<&str, Wrong> {
    const TAKEN: [&str; 8] =
        ["host", "connection", "content-length", "transfer-encoding", "upgrade", "expect", "trailer", "te"];
    let name = access::header(text)?;
    if TAKEN.iter().any(|taken| is_same_name(taken.as_bytes(), name.as_bytes())) {
        return Err(Wrong::new(format!("{} has a meaning of its own", quoted(text))));
    }
    if name == "authorization" {
        let wrong = Wrong::new("`Authorization: Bearer` is taken in any case");
        return Err(wrong.help("leave it out, or name a further field"));
    }
    Ok(text)
}
