//! Rotations with backends of HTTP/2: generations hold for streams as for connections.

use super::kit::*;
use crate::support::*;

/// Node's HTTP/2 server, which answers with the common name of the client's certificate.
pub fn node(kit: &Kit) -> Node {
    Node::start(&format!(
        "const fs = require('fs'), http2 = require('http2');\n\
         const read = (path) => fs.readFileSync(path);\n\
         const options = {{ cert: read({:?}), key: read({:?}), ca: read({:?}), requestCert: true, rejectUnauthorized: true }};\n\
         const server = http2.createSecureServer(options, (req, res) => {{\n\
             req.resume();\n\
             req.on('end', () => res.end(req.socket.getPeerCertificate().subject.CN));\n\
         }});\n\
         server.listen(0, '127.0.0.1', () => console.log('listening ' + server.address().port));\n",
        kit.pki.file("server.pem"),
        kit.pki.file("server.key"),
        kit.ours.file(),
    ))
}

#[test]
fn streams_follow_rotations_under_load_and_none_is_lost() {
    let kit = Kit::new();
    let node = node(&kit);
    let ringate = kit.setup_with(&[node.address()], "http = \"2\"\n").start();
    let load = Load::start(&ringate, 6);
    load.await_more(50);
    let get = || ringate.client().send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").response().text().to_owned();
    assert_eq!(get(), "old");
    for name in ["second", "third"] {
        kit.stage(name);
        order(&ringate, "trial", "");
        order(&ringate, "activate", "");
        // No stream begins on a connection of the old generation.
        assert_eq!(get(), name);
        load.await_more(50);
        await_safe(&ringate);
        order(&ringate, "retire", "");
    }
    load.finish(&ringate);
    let connections = ringate.metric("backend_http2_connections_total");
    // Two workers, three generations, and a few that requests at the same time have made.
    assert!(connections <= 12, "{connections} connections");
}
