//! Orders about consumers and credentials from the command line: through the running instance, so that they are in force at
//! once; where none runs, on the store that the config names.

use std::path::Path;
use std::time::SystemTime;

use clap::Args;
use hyper::Method;
use serde::Serialize;
use serde_json::Value;

use super::client::Instance;
use super::{ConfigFile, output};
use crate::certs::Store;
use crate::certs::consumers::{Book, Definition, Desk, Order};
use crate::certs::store::{check_name, read_secret};
use crate::config::Plan;
use crate::server::load;

/// What every command takes.
#[derive(Debug, Args)]
pub(super) struct Common {
    #[command(flatten)]
    pub file: ConfigFile,
    /// Print the answer as JSON
    #[arg(long)]
    pub json: bool,
}

/// Has an order carried out, and returns its answer.
///
/// # Errors
/// It was not; in words.
pub(super) fn ask(file: &ConfigFile, order: Order) -> Result<Value, String> {
    if let Some(instance) = Instance::running(&file.config)? {
        let (method, path, body) = call(&order).map_err(|error| format!("error: {error}"))?;
        return instance
            .call(method, &path, body.as_ref())
            .map_err(|error| format!("error: {}", String::from(error)));
    }
    let failed = |error: &dyn std::fmt::Display| format!("error: {error}");
    let plan = plan(&file.config)?;
    let store = Store::open(&plan.store).map_err(|error| failed(&error))?;
    for exposed in store.exposed() {
        output::note(&format!("warning: {exposed}"));
    }
    let mut book = Book::load(&store).map_err(|error| failed(&error))?;
    for broken in &book.broken {
        output::note(&format!("warning: {broken}"));
    }
    let definitions: Vec<Definition> = plan.credentials.into_iter().map(|at| at.value).collect();
    let mut desk = Desk { store: &store, book: &mut book, definitions: &definitions, now: SystemTime::now() };
    let answer = desk.run(order).map_err(|error| failed(&error))?;
    serde_json::to_value(answer).map_err(|error| failed(&error))
}

/// The config, whose certificates need not be there yet.
fn plan(path: &Path) -> Result<Plan, String> {
    let text = load::read(path).map_err(|error| {
        format!("error: {error}\nname the config file, whose store is meant, with -c FILE")
    })?;
    load::parse(&text).map_err(|error| super::explain(&error))
}

type Call = (Method, String, Option<Value>);

/// The call of the admin API that is the order.
fn call(order: &Order) -> Result<Call, String> {
    let consumer = |name: &str| path("/v1/consumers/", name, "");
    let credential = |name: &str, call: &str| path("/v1/credentials/", name, call);
    let post = |path: String, body: Value| Ok((Method::POST, path, Some(body)));
    match order {
        Order::AddConsumer(order) => post("/v1/consumers".to_owned(), json(order)?),
        Order::ChangeConsumer(name, order) => Ok((Method::PATCH, consumer(name)?, Some(json(order)?))),
        Order::ListConsumers => Ok((Method::GET, "/v1/consumers".to_owned(), None)),
        Order::ShowConsumer(name) => Ok((Method::GET, consumer(name)?, None)),
        Order::DeleteConsumer { name, force } => {
            let query = if *force { "?force=true" } else { "" };
            Ok((Method::DELETE, format!("{}{query}", consumer(name)?), None))
        }
        Order::ListDefinitions => Ok((Method::GET, "/v1/credential-definitions".to_owned(), None)),
        Order::Request(order) => post("/v1/credentials".to_owned(), json(order)?),
        Order::List(filter) => {
            let mut query = Vec::new();
            for (key, value) in [
                ("consumer", filter.consumer.as_deref()),
                ("definition", filter.definition.as_deref()),
                ("state", filter.state.map(|state| state.word())),
            ] {
                let Some(value) = value else { continue };
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
                if !value.bytes().all(plain) {
                    return Err(format!("{value:?} is not a name"));
                }
                query.push(format!("{key}={value}"));
            }
            Ok((Method::GET, format!("/v1/credentials?{}", query.join("&")), None))
        }
        Order::Show(name) => Ok((Method::GET, credential(name, "")?, None)),
        Order::Approve(name) => post(credential(name, "/approve")?, Value::Object(serde_json::Map::new())),
        Order::Deny(name, reason) => post(credential(name, "/deny")?, json(reason)?),
        Order::Issue(name, order) => post(credential(name, "/issue")?, json(order)?),
        Order::Suspend(name, reason) => post(credential(name, "/suspend")?, json(reason)?),
        Order::Resume(name) => post(credential(name, "/resume")?, Value::Object(serde_json::Map::new())),
        Order::Renew(name, order) => post(credential(name, "/renew")?, json(order)?),
        Order::Revoke(name, reason) => post(credential(name, "/revoke")?, json(reason)?),
        Order::Delete(name) => Ok((Method::DELETE, credential(name, "")?, None)),
    }
}

fn json(order: &impl Serialize) -> Result<Value, String> {
    serde_json::to_value(order).map_err(|error| error.to_string())
}

/// A path with a name, which may be anything yet.
fn path(before: &str, name: &str, after: &str) -> Result<String, String> {
    check_name(name)
        .map_err(|_| format!("{name:?} is not a name: use lower-case letters, digits, `.`, `_` and `-`"))?;
    Ok(format!("{before}{name}{after}"))
}

/// The content of a file that is sent on as text.
///
/// # Errors
/// It can't be read; in words.
pub(super) fn read_text(path: &Path) -> Result<String, String> {
    let bytes = read_secret(path).map_err(|error| format!("error: {error}"))?;
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(format!("error: {}: it is not PEM", path.display())),
    }
}
