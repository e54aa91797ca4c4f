//! `allow`, `deny` and `client_address`: the client of a request, and which clients are permitted.

use crate::base::address::UNIX;
use crate::base::network::{AddressRule, Network, NetworkError};
use crate::config::file::Value;
use crate::config::plan::{ClientAddress, ClientField};
use crate::config::suggest::quoted;
use crate::config::units::Wrong;

/// `allow` and `deny`.
pub(super) fn rule(allow: Option<&Value<'_>>, deny: Option<&Value<'_>>) -> AddressRule {
    let allowed = allow.map(|value| value.list("[\"10.0.0.0/8\"]").unwrap_or_default());
    let denied = deny.map(|value| value.any_list("[\"10.0.0.0/8\"]").unwrap_or_default());
    AddressRule { allow: networks(&allowed.unwrap_or_default()), deny: networks(&denied.unwrap_or_default()) }
}

/// Networks, as far as they are any.
pub(super) fn networks(values: &[Value<'_>]) -> Vec<Network> {
    let read = |value: &Value<'_>| value.parse("\"10.0.0.0/8\"", network);
    values.iter().filter_map(read).map(|at| at.value).collect()
}

fn network(text: &str) -> Result<Network, Wrong> {
    text.parse().map_err(|error| {
        let wrong = |reason: &str| Wrong::new(format!("{} is not a network: {reason}", quoted(text)));
        match error {
            NetworkError::Address => wrong("there is no IP address").help(
                "write an address or a network, such as \"192.0.2.1\", \"10.0.0.0/8\" or \"2001:db8::/32\"",
            ),
            NetworkError::Bits => {
                wrong("the number of bits is none").help("IPv4 has 0 to 32 bits, IPv6 0 to 128")
            }
            NetworkError::Host(network) => {
                wrong("the address has bits beyond it").help(format!("did you mean \"{network}\"?"))
            }
        }
    })
}

/// `client_address = { header = "X-Forwarded-For", trusted = ["10.0.0.0/8"] }`
pub(super) fn client_address(value: &Value<'_>) -> Option<ClientAddress> {
    let mut section = value.section()?;
    let header = section.require("header", "\"X-Forwarded-For\"");
    let header = header.and_then(|value| value.parse("\"X-Forwarded-For\"", field));
    let trusted = section.require("trusted", "[\"10.0.0.0/8\"]");
    let trusted = trusted.and_then(|value| value.list("[\"10.0.0.0/8\"]"));
    section.finish();
    let is_unix = |value: &Value<'_>| value.as_text().is_some_and(|text| text.value == UNIX);
    let (unix, trusted): (Vec<_>, Vec<_>) = trusted?.into_iter().partition(is_unix);
    Some(ClientAddress { field: header?.value, trusted: networks(&trusted), trusts_unix: !unix.is_empty() })
}

/// One of the fields that never reach a backend as a client sent them.
fn field(text: &str) -> Result<ClientField, Wrong> {
    match text.to_ascii_lowercase().as_str() {
        "x-forwarded-for" => Ok(ClientField::ForwardedFor),
        "x-real-ip" => Ok(ClientField::RealIp),
        _ => Err(Wrong::new(format!("{} is not a field that client addresses are taken from", quoted(text)))
            .help("write \"X-Forwarded-For\" or \"X-Real-IP\", and let the proxy before this one send that")),
    }
}
