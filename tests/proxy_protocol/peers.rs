//! HAProxy, nginx and curl before Ringate and behind it.

use super::*;

/// A frontend of HAProxy's for each of these `server` options, to an address.
fn haproxy_before(ringate: &Ringate, options: &[&str]) -> HaProxy {
    let to = ringate.address();
    HaProxy::run(options.len(), |addresses| {
        let one = |(address, option): (&std::net::SocketAddr, &&str)| {
            format!("listen to-{0}\n mode tcp\n bind {address}\n server s {to} {option}\n", address.port())
        };
        addresses.iter().zip(options).map(one).collect()
    })
}

#[test]
fn haproxy_before_ringate() {
    let (pki, backend) = (Pki::new(), echo());
    let options = [
        "send-proxy",
        "send-proxy-v2",
        "send-proxy-v2 proxy-v2-options crc32c,unique-id",
        "send-proxy-v2-ssl-cn proxy-v2-options crc32c",
        // Its own look at us is LOCAL.
        "send-proxy-v2 check check-send-proxy inter 100",
    ];
    for tls in [false, true] {
        let more = if tls { pki.listener_tls() } else { String::new() };
        let ringate = Setup::to(backend.address())
            .section("[admin]")
            .listener(&format!("protocol = \"http\"\nproxy_protocol = \"any\"\n{more}"))
            .start();
        let haproxy = haproxy_before(&ringate, &options);
        for (address, option) in haproxy.addresses().iter().zip(options) {
            let scheme = if tls { "https" } else { "http" };
            let ca = pki.file("ca.pem");
            let url = format!("{scheme}://localhost:{}/", address.port());
            let to = format!("localhost:{}:{}", address.port(), address.ip());
            let args = ["--interface", "127.0.0.2", "--resolve", &to, "--cacert", ca.to_str().unwrap(), &url];
            let said = curl(&args);
            assert!(said.contains("X-Forwarded-For: 127.0.0.2\r\n"), "{option}: {said}");
        }
        assert_eq!(ringate.metric("proxy_header_failures_total"), 0, "{}", ringate.log());
    }
}

#[test]
fn nginx_before_ringate() {
    let backend = echo();
    let ringate =
        Setup::to(backend.address()).listener("protocol = \"http\"\nproxy_protocol = \"v1\"").start();
    let nginx = Nginx::stream(&format!("proxy_pass {}; proxy_protocol on;", ringate.address()));
    let said = curl(&["--interface", "127.0.0.2", &format!("http://{}/", nginx.address())]);
    assert!(said.contains("X-Forwarded-For: 127.0.0.2\r\n"), "{said}");
}

#[test]
fn curl_sends_a_header() {
    let backend = echo();
    let ringate =
        Setup::to(backend.address()).listener("protocol = \"http\"\nproxy_protocol = \"v1\"").start();
    let said = curl(&["--haproxy-protocol", "--interface", "127.0.0.2", &ringate.url()]);
    assert!(said.contains("X-Forwarded-For: 127.0.0.2\r\n"), "{said}");
}

#[test]
fn nginx_and_haproxy_behind_ringate() {
    let pki = Pki::new();
    let (cert, key) = (pki.file("server.pem"), pki.file("server.key"));
    let said = "location / { return 200 \"$proxy_protocol_addr $proxy_protocol_server_port\"; }";
    let plain = Nginx::several(" proxy_protocol", &[said.to_owned()]);
    let identity = format!("ssl_certificate {};\nssl_certificate_key {};\n", cert.display(), key.display());
    let secure = Nginx::several(" ssl proxy_protocol", &[identity + said]);
    let both = [cert, key].map(|file| std::fs::read_to_string(file).unwrap()).concat();
    let pem = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(pem.path(), both).unwrap();
    let haproxy = HaProxy::run(2, |addresses| {
        let [plain, secure] = addresses else { unreachable!() };
        format!(
            "frontend all\n mode http\n bind {plain} accept-proxy\n bind {secure} accept-proxy ssl crt {}\n \
             http-request return status 200 content-type text/plain lf-string \"%[src] %[dst_port]\"\n",
            pem.path().display()
        )
    });
    let backends = [
        (plain.address(), false),
        (secure.address(), true),
        (haproxy.addresses()[0], false),
        (haproxy.addresses()[1], true),
    ];
    for version in ["v1", "v2"] {
        for (address, tls) in backends {
            let tls = if tls { pki.upstream_tls() } else { String::new() };
            let upstream = format!("proxy_protocol = \"{version}\"\n{tls}");
            let ringate = Setup::to(address).upstream(&upstream).start();
            let url = ringate.url();
            let seen = curl(&["--interface", "127.0.0.2", &url, &url]);
            let expected = format!("127.0.0.2 {}", ringate.address().port());
            assert_eq!(seen, expected.repeat(2), "{version} to {address}: {}", ringate.log());

            // A probe says that it is ours, and is answered.
            let file = ringate.dir().join("ringate.toml");
            let probe =
                Ringate::command().args(["probe", "--upstream", "app", "-c"]).arg(file).output().unwrap();
            let said = String::from_utf8_lossy(&probe.stdout);
            assert!(probe.status.success(), "{version} to {address}: {said}");
            assert!(said.contains("200"), "{said}");
        }
    }
}

#[test]
fn without_the_header_such_a_backend_can_not_be_probed() {
    let nginx = Nginx::several(" proxy_protocol", &["location / { return 200 ok; }".to_owned()]);
    let ringate = Setup::to(nginx.address()).start();
    let file = ringate.dir().join("ringate.toml");
    let probe = Ringate::command().args(["probe", "--upstream", "app", "-c"]).arg(file).output().unwrap();
    assert_eq!(probe.status.code(), Some(1), "{}", String::from_utf8_lossy(&probe.stdout));
}
