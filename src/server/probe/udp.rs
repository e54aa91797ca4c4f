//! One datagram to a backend of udp listeners. UDP has no handshake: what can be found out is that no process receives
//! there, which the backend's host says by ICMP.

use std::io;

use super::{QUIET, Report, Target};
use crate::base::address::Address;
use crate::io::udp;
use crate::proxy_protocol::{self, Subject};

/// Sends an empty datagram, or one with a PROXY header alone, and waits for a moment.
///
/// # Errors
/// Why traffic would not flow, in words.
pub(super) fn look(target: &Target, report: &mut Report) -> Result<(), String> {
    let Some(&address) = target.address.as_ref().and_then(Address::ip) else {
        return Err(format!("unreachable: `{}` does not resolve", target.endpoint));
    };
    let failed = |error: io::Error| format!("unreachable over udp: {address}: {error}");
    let socket = udp::connect(address, target.bind_address).map_err(failed)?;
    socket.set_nonblocking(false).map_err(failed)?;
    socket.set_read_timeout(Some(QUIET)).map_err(failed)?;
    let header = target.proxy_protocol.map(|version| proxy_protocol::encode(version, Subject::Local));
    socket.send(&header.unwrap_or_default()).map_err(failed)?;
    let found = match socket.recv(&mut [0; 2048]) {
        Ok(_) => "a datagram came back",
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            "no answer to an empty datagram, and no ICMP error: the port is open, or a firewall drops what is sent there"
        }
        Err(error) => return Err(failed(error)),
    };
    report.reached = true;
    report.udp = Some(found.to_owned());
    Ok(())
}
