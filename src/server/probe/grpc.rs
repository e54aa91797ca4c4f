//! The health check of gRPC: `grpc.health.v1.Health/Check`.

use std::time::Instant;

use super::http2::{Fault, Request, ask};
use super::wire::Connection;
use crate::config::plan::GrpcCheck;
use crate::http2::RequestLine;

/// The status of a service that is up.
const SERVING: u8 = 1;

/// Asks for the health of the check's service.
///
/// # Errors
/// It is not served, or the answer is no answer of gRPC.
pub(super) fn check(
    connection: &mut Connection,
    check: &GrpcCheck,
    (scheme, authority): (&str, &str),
    until: Instant,
) -> Result<Result<(), String>, Fault> {
    let message = request(&check.service);
    let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let request = Request {
        line: RequestLine {
            method: "POST",
            scheme: Some(scheme),
            authority,
            path: Some("/grpc.health.v1.Health/Check"),
            protocol: None,
        },
        fields: vec![
            field("content-type", "application/grpc"),
            field("te", "trailers"),
            field("user-agent", &format!("ringate-health/{}", env!("CARGO_PKG_VERSION"))),
        ],
        content: &message,
    };
    let response = ask(connection, &request, |_| false, until)?;
    let what = if check.service.is_empty() {
        "the server".to_owned()
    } else {
        format!("service {:?}", check.service)
    };
    Ok(match (response.status, response.grpc_status.as_deref()) {
        (200, Some("0")) => match status_of(&response.content) {
            Some(SERVING) => Ok(()),
            Some(status) => Err(format!("{what} is {}", name_of(status))),
            None => Err("the response is no HealthCheckResponse".to_owned()),
        },
        (200, Some("5")) => Err(format!("{what} is unknown there (grpc-status 5)")),
        (200, Some("12")) => Err("the backend has no grpc.health.v1.Health (grpc-status 12)".to_owned()),
        (200, Some(code)) => Err(format!("grpc-status {code}")),
        (200, None) => Err("the response has no grpc-status".to_owned()),
        (status, _) => Err(format!("status {status}")),
    })
}

/// A HealthCheckRequest in a frame of gRPC: field 1 is the service's name, which config bounds.
fn request(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.extend([0x0a, service.len() as u8]);
        message.extend_from_slice(service.as_bytes());
    }
    let mut frame = vec![0];
    frame.extend((message.len() as u32).to_be_bytes());
    frame.append(&mut message);
    frame
}

/// The status of a HealthCheckResponse in a frame of gRPC: its field 1, or 0 where that is left out.
fn status_of(frame: &[u8]) -> Option<u8> {
    let (header, message) = frame.split_at_checked(5)?;
    let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
    match message.get(..length)? {
        _ if header[0] != 0 => None,
        [] => Some(0),
        [0x08, status @ 0..0x80, ..] => Some(*status),
        _ => None,
    }
}

fn name_of(status: u8) -> &'static str {
    match status {
        0 => "UNKNOWN",
        2 => "NOT_SERVING",
        3 => "SERVICE_UNKNOWN",
        _ => "in a state that is not known",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_framed_and_read() {
        assert_eq!(request(""), [0, 0, 0, 0, 0]);
        assert_eq!(request("ab"), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        assert_eq!(status_of(&[0, 0, 0, 0, 2, 8, 1]), Some(SERVING));
        assert_eq!(status_of(&[0, 0, 0, 0, 0]), Some(0));
        for broken in
            [&[][..], &[0, 0, 0, 0], &[0, 0, 0, 0, 2, 8], &[1, 0, 0, 0, 2, 8, 1], &[0, 0, 0, 0, 1, 9]]
        {
            assert_eq!(status_of(broken), None, "{broken:?}");
        }
    }
}
