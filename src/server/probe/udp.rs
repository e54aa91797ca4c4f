//! One datagram to a backend of udp listeners. UDP has no handshake: what can be found out is that no process receives
//! there, which the backend's host says by ICMP, and what a process answers that is sent what it understands.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::{QUIET, Report, Target};
use crate::base::address::Address;
use crate::config::plan::UdpCheck;
use crate::io::udp;
use crate::proxy_protocol::{self, Subject};

/// Sends an empty datagram, or one with a PROXY header alone, and waits for a moment.
///
/// # Errors
/// Why traffic would not flow, in words.
pub(super) fn look(target: &Target, report: &mut Report) -> Result<(), String> {
    let address = address_of(target)?;
    let failed = |error: io::Error| format!("unreachable over udp: {address}: {error}");
    let socket = connected(target, address).map_err(failed)?;
    socket.set_read_timeout(Some(QUIET)).map_err(failed)?;
    let header = target.proxy_protocol.map(|version| proxy_protocol::encode(version, Subject::Local));
    socket.send(&header.unwrap_or_default()).map_err(failed)?;
    let found = match socket.recv(&mut [0; 2048]) {
        Ok(_) => "a datagram came back",
        Err(error) if is_silence(&error) => {
            "no answer to an empty datagram, and no ICMP error: the port is open, or a firewall drops what is sent there"
        }
        Err(error) => return Err(failed(error)),
    };
    report.reached = true;
    report.udp = Some(found.to_owned());
    Ok(())
}

/// Sends the datagram of a health check until an answer passes it: at once, and again after a third and after two thirds of
/// its time, since datagrams get lost.
///
/// # Errors
/// Why the check failed, in words.
pub(super) fn check(target: &Target, check: &UdpCheck, until: Instant) -> Result<(), String> {
    let address = address_of(target)?;
    let failed = |error: io::Error| match udp::is_unreachable(&error) {
        true => format!("no process receives datagrams at {address}: {error}"),
        false => format!("{address}: {error}"),
    };
    let socket = connected(target, address).map_err(failed)?;
    let header = target.proxy_protocol.map(|version| proxy_protocol::encode(version, Subject::Local));
    let datagram = [&*header.unwrap_or_default(), &*check.send].concat();
    let third = until.saturating_duration_since(Instant::now()) / SENDINGS;
    let mut other = false;
    for _ in 0..SENDINGS {
        socket.send(&datagram).map_err(failed)?;
        let turn = Instant::now() + third.min(if check.expect.is_some() { third } else { QUIET });
        match answer(&socket, check, turn).map_err(failed)? {
            Answer::Passes => return Ok(()),
            Answer::Other => other = true,
            // The host has not said that no process receives there.
            Answer::None if check.expect.is_none() => return Ok(()),
            Answer::None => {}
        }
    }
    Err(match other {
        true => "no answer has what is expected".to_owned(),
        false => "no answer in time".to_owned(),
    })
}

/// How often the datagram of a check is sent.
const SENDINGS: u32 = 3;

/// What came back.
enum Answer {
    /// What is expected.
    Passes,
    /// Other datagrams alone.
    Other,
    None,
}

/// What comes back until `until`.
fn answer(socket: &UdpSocket, check: &UdpCheck, until: Instant) -> io::Result<Answer> {
    let (mut found, mut buffer) = (Answer::None, [0; 65_535]);
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left < Duration::from_micros(1) {
            return Ok(found);
        }
        socket.set_read_timeout(Some(left))?;
        let length = match socket.recv(&mut buffer) {
            Ok(length) => length,
            Err(error) if is_silence(&error) => continue,
            Err(error) => return Err(error),
        };
        let is_there = |expected: &Vec<u8>| {
            expected.is_empty() || buffer[..length].windows(expected.len()).any(|part| part == expected)
        };
        if check.expect.as_ref().is_none_or(is_there) {
            return Ok(Answer::Passes);
        }
        found = Answer::Other;
    }
}

fn is_silence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

fn address_of(target: &Target) -> Result<SocketAddr, String> {
    match &target.address {
        Some(Address::Ip(address)) => Ok(*address),
        Some(Address::Unix(path)) => Err(format!("{}: a Unix socket takes no datagrams", path.display())),
        None => Err(format!("unreachable: `{}` does not resolve", target.endpoint)),
    }
}

/// A blocking socket.
fn connected(target: &Target, address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = udp::connect_for_self(address, target.bind_address)?;
    socket.set_nonblocking(false)?;
    Ok(socket)
}
