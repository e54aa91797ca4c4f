//! Sessions with TLS backends: resumed wherever that is safe, never elsewhere, and never a reason to fail.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::*;

const CLOSING: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";

/// A fatal handshake_failure.
const ALERT: [u8; 7] = [21, 3, 3, 0, 2, 2, 40];

#[test]
fn a_backend_that_fails_over_a_session_is_asked_without_one() {
    let pki = Pki::new();
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    let server = Server::start(Some(pki.server_config()), move |stream| {
        if count.fetch_add(1, Ordering::SeqCst) == 1 {
            let mut tcp = stream.get_ref().tcp();
            let mut hello = [0; 4096];
            let n = tcp.read(&mut hello)?;
            assert!(n > 0);
            return tcp.write_all(&ALERT);
        }
        let mut head = [0; 4096];
        let n = stream.read(&mut head)?;
        assert!(n > 0);
        stream.get_mut().write_all(CLOSING.as_bytes())?;
        stream.get_mut().finish()
    });
    let ringate = Setup::to(server.address()).upstream(&pki.upstream_tls()).start();
    for _ in 0..3 {
        assert_eq!(ringate.get("/").status, 200, "{}", ringate.log());
    }
    assert_eq!(seen.load(Ordering::SeqCst), 4, "one connection a request, and one more for the alert");
    assert!(!ringate.log().contains(" WARN "), "{}", ringate.log());
}
