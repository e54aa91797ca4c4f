//! What becomes of requests: who is admitted, what the backend gets, what others are answered.

use std::fs;
use std::process::Command;

use super::*;

#[test]
fn a_key_opens_its_route_and_its_state_is_in_force_at_once_on_every_worker() {
    let office = Office::with("", 3);
    let key = office.key("acme", "key", "");
    assert_eq!(key.len(), 68);
    let mut clients: Vec<Client> = (0..6).map(|_| office.client(None)).collect();
    let mut all = |lines: &str| -> Vec<Response> {
        clients.iter_mut().map(|client| client.send(get("/", lines)).response()).collect()
    };
    let with = format!("X-Api-Key: {key}\r\n");
    for lines in [
        with.clone(),
        format!("{with}X-Consumer-Name: boss\r\nX_Credential.Name: other\r\nx_api_key: 1\r\n"),
        format!("Authorization: Bearer {key}\r\n"),
    ] {
        for response in all(&lines) {
            assert_eq!(response.text(), "acme|acme-key|key=|auth=|xfcc=");
        }
    }
    // A bearer token beside the key's own field is the application's.
    assert_eq!(
        all(&format!("{with}Authorization: Bearer mine\r\n"))[0].text(),
        "acme|acme-key|key=|auth=Bearer mine|xfcc="
    );
    let response = &all("")[0];
    assert_eq!((response.status, response.header("WWW-Authenticate")), (401, Some("Bearer")));
    assert_eq!(kind(response), "credential-missing");
    for wrong in ["X-Api-Key: rgk_0\r\n".to_owned(), format!("X-Api-Key: {}\r\n", &key[..67])] {
        let response = &all(&wrong)[0];
        assert_eq!((response.status, kind(response).as_str()), (401, "credential-unknown"), "{wrong}");
        assert!(response.header("WWW-Authenticate").unwrap().contains("invalid_token"));
    }
    assert_eq!(all(&format!("{with}{with}"))[0].status, 401);

    office.json("credential suspend acme-key --reason unpaid");
    for response in all(&with) {
        assert_eq!((response.status, kind(&response).as_str()), (403, "credential-suspended"));
    }
    office.json("credential resume acme-key");
    assert!(all(&with).iter().all(|response| response.status == 200));
    // The old key counts beside the new one for a while.
    let next =
        office.json("credential renew acme-key --new-key --overlap 1h")["key"].as_str().unwrap().to_owned();
    assert!(all(&with).iter().all(|response| response.status == 200));
    assert!(all(&format!("X-Api-Key: {next}\r\n")).iter().all(|response| response.status == 200));
    office.json("credential revoke acme-key");
    for response in all(&with) {
        assert_eq!((response.status, kind(&response).as_str()), (401, "credential-revoked"));
    }
    // Another definition's key is none here.
    let firm = office.key("beta", "firm", "");
    let response = office.client(None).send(get("/both", &format!("X-Api-Key: {firm}\r\n"))).response();
    assert_eq!((response.status, kind(&response).as_str()), (401, "credential-unknown"));
    assert!(office.refused("credential suspend beta-firm").contains("suspendable"));

    let metric = |name: &str| office.ringate.metric(&format!("{name}_total"));
    assert_eq!(metric("credentials_suspended"), 6);
    assert_eq!(metric("credentials_revoked"), 6);
    assert_eq!(metric("credentials_missing"), 6);
    assert!(metric("credentials_unknown") > 18);
    let state =
        |state: &str| office.ringate.metric(&format!("credentials{{definition=\"key\",state=\"{state}\"}}"));
    assert_eq!(state("revoked"), 1);
    let log = office.ringate.log();
    assert!(!log.contains(&key) && !log.contains(&next), "a key is in the log");
    let terminated = office.ringate.terminate_and_log();
    assert!(!terminated.contains(&key));
}

#[test]
fn a_credential_expires_by_itself_and_a_renewal_brings_it_back() {
    let office = Office::new();
    let key = office.key("acme", "short", "");
    let with = get("/", &format!("X-Api-Key: {key}\r\n"));
    let mut client = office.client(None);
    assert_eq!(client.send(&with).response().status, 200);
    let response = eventually("the expiry", || {
        let response = client.send(&with).response();
        (response.status != 200).then_some(response)
    });
    assert_eq!((response.status, kind(&response).as_str()), (401, "credential-expired"));
    assert!(office.ringate.metric("credentials_expired_total") >= 1);
    assert_eq!(office.json("credential show acme-short")["state"], "expired");
    assert!(office.refused("credential suspend acme-short").contains("renew"));
    let status: serde_json::Value = serde_json::from_str(&office.ringate.admin("/v1/status")).unwrap();
    let warned =
        status["warnings"].as_array().unwrap().iter().any(|it| it.as_str().unwrap().contains("acme-short"));
    assert!(warned, "{}", status["warnings"]);
    office.json("credential renew acme-short");
    assert_eq!(client.send(&with).response().status, 200);
}

#[test]
fn a_key_counts_only_with_its_certificate() {
    let office = Office::new();
    let dir = office.ringate.dir();
    let pending = openssl(dir, "acme", "-new");
    office.json("consumer add acme");
    let requested = office.json("credential request acme both --csr acme.pem --name one");
    assert_eq!((&requested["state"], &requested["key"]), (&"requested".into(), &serde_json::Value::Null));
    assert!(office.refused("credential issue one").contains("approve"));
    office.json("credential approve one");
    let issued = office.json("credential issue one");
    let key = issued["key"].as_str().unwrap();
    fs::write(dir.join("acme.crt"), issued["certificate"].as_str().unwrap()).unwrap();
    let own = Files { cert: dir.join("acme.crt"), key: pending.key };
    let facts = String::from_utf8(
        run(Command::new("openssl")
            .args(["x509", "-noout", "-subject", "-ext", "extendedKeyUsage", "-in"])
            .arg(&own.cert))
        .stdout,
    )
    .unwrap();
    assert!(
        facts.contains("acme") && !facts.contains("Evil") && facts.contains("Client Authentication"),
        "{facts}"
    );
    assert!(!facts.contains("Server Authentication"), "{facts}");

    // One that is brought, by a consumer of its own.
    let brought = openssl(dir, "beta", "-x509 -days 30");
    office.json("consumer add beta");
    office.json("credential request beta both --certificate beta.pem --name two");
    office.json("credential approve two");
    let second = office.json("credential issue two");
    let other = second["key"].as_str().unwrap();
    let stranger = openssl(dir, "stranger", "-x509 -days 30");

    let ask = |files: Option<&Files>, path: &str, key: &str| {
        office.client(files).send(get(path, &format!("X-Api-Key: {key}\r\n"))).response()
    };
    // No certificate that is not verified goes on to backends.
    assert_eq!(ask(Some(&own), "/both", key).text(), "acme|one|key=|auth=|xfcc=");
    assert_eq!(ask(Some(&brought), "/both", other).text(), "beta|two|key=|auth=|xfcc=");
    for (files, key, expected) in [
        (None, key, "certificate-required"),
        (Some(&brought), key, "certificate-mismatch"),
        (Some(&own), other, "certificate-mismatch"),
        (Some(&stranger), key, "certificate-mismatch"),
    ] {
        let response = ask(files, "/both", key);
        assert_eq!((response.status, kind(&response).as_str()), (403, expected));
        assert_eq!(response.header("WWW-Authenticate"), None);
    }
    assert_eq!(ask(Some(&own), "/both", "rgk_1").status, 401);
    // An unknown certificate counts for nothing else.
    assert_eq!(ask(Some(&stranger), "/open", "").status, 200);
    office.json("credential suspend one");
    assert_eq!(kind(&ask(Some(&own), "/both", key)), "credential-suspended");

    // A certificate alone.
    let csr = openssl(dir, "gamma", "-new");
    let issued = office.json("credential request acme cert --csr gamma.pem");
    assert_eq!(issued["state"], "active");
    assert_eq!(issued["key"], serde_json::Value::Null);
    fs::write(dir.join("gamma.crt"), issued["certificate"].as_str().unwrap()).unwrap();
    let gamma = Files { cert: dir.join("gamma.crt"), key: csr.key };
    assert_eq!(
        office.client(Some(&gamma)).send(get("/cert", "")).response().text(),
        "acme|acme-cert|key=|auth=|xfcc="
    );
    for files in [None, Some(&own), Some(&stranger)] {
        assert_eq!(office.client(files).send(get("/cert", "")).response().status, 403);
    }
    // The successor of a certificate counts, and with an overlap the one before it as well.
    let next = office.json("credential renew acme-cert --overlap 1h");
    fs::write(dir.join("next.crt"), next["certificate"].as_str().unwrap()).unwrap();
    let next = Files { cert: dir.join("next.crt"), key: gamma.key.clone() };
    for files in [&gamma, &next] {
        assert_eq!(office.client(Some(files)).send(get("/cert", "")).response().status, 200);
    }
    clients_of_their_own(&office, &own, key, &brought, other);
}

/// curl and Node present certificates as their users do.
fn clients_of_their_own(office: &Office, suspended: &Files, key: &str, good: &Files, other: &str) {
    let port = office.ringate.address().port();
    let url = format!("https://localhost:{port}/both");
    let curl = |files: &Files, key: &str| {
        let output = run(Command::new("curl")
            .args([
                "-sS",
                "--max-time",
                "15",
                "-w",
                " %{http_code}",
                "-H",
                &format!("X-Api-Key: {key}"),
                "--cacert",
            ])
            .arg(office.authority.file())
            .arg("--cert")
            .arg(&files.cert)
            .arg("--key")
            .arg(&files.key)
            .arg(&url));
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(curl(suspended, key).ends_with(" 403"));
    assert_eq!(curl(good, other), "beta|two|key=|auth=|xfcc= 200");
    if !have("node") {
        return;
    }
    let script = format!(
        "const fs = require('fs'); require('https').get({url:?}, {{cert: fs.readFileSync({:?}), key: fs.readFileSync({:?}), \
         ca: fs.readFileSync({:?}), headers: {{'x-api-key': {other:?}}}}}, r => {{ let s = ''; r.on('data', d => s += d); \
         r.on('end', () => console.log(r.statusCode, s)) }})",
        good.cert,
        good.key,
        office.authority.file()
    );
    let output = run(Command::new("node").args(["-e", &script]));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(said.trim(), "200 beta|two|key=|auth=|xfcc=", "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn certificates_of_a_trusted_issuer_are_recognised_by_their_names() {
    let partners = Authority::named("Partners");
    let trust = format!("client_auth = \"optional\"\nclient_trust = [{:?}]", partners.file());
    let office = Office::with(&trust, 1);
    office.json("consumer add acme");
    let output = run(Ringate::command().current_dir(office.ringate.dir()).args([
        "credential",
        "request",
        "acme",
        "both",
        "--name",
        "one",
        "--issuer",
        "CN=Partners",
        "--san",
        "DNS:orders.example",
        "-c",
        "ringate.toml",
    ]));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    office.json("credential approve one");
    let key = office.json("credential issue one")["key"].as_str().unwrap().to_owned();
    let leaf = Leaf { names: &["orders.example"], ..Leaf::default() };
    let good = partners.issue("good", &leaf);
    let next = partners.issue("next", &leaf);
    let other = partners.issue("other", &Leaf { names: &["sales.example"], ..Leaf::default() });
    // The same names by an issuer of the same name that the listener does not trust.
    let forgers = Authority::named("Partners");
    let forged = forgers.issue("forged", &leaf);
    let ask = |files: &Files| {
        office.client(Some(files)).send(get("/both", &format!("X-Api-Key: {key}\r\n"))).response()
    };
    for files in [&good, &next] {
        let response = ask(files);
        assert_eq!(response.status, 200);
        assert!(response.text().contains("xfcc=Hash="), "{}", response.text());
    }
    for files in [&other, &forged] {
        assert_eq!(kind(&ask(files)), "certificate-mismatch");
    }
    assert_eq!(office.client(Some(&good)).send(get("/proven", "")).response().status, 200);
    assert_eq!(office.client(Some(&forged)).send(get("/proven", "")).response().status, 403);
}

#[test]
fn the_origins_of_a_credential_are_its_cors_policy() {
    let office = Office::new();
    let first = office.key("acme", "key", "--origin https://App.acme.example:443");
    let second = office.key("beta", "key", "--origin http://localhost:3000 --origin https://b.example");
    let mut client = office.client(None);
    let mut preflight = |origin: &str| {
        client
            .send(format!(
                "OPTIONS / HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\nAccess-Control-Request-Method: GET\r\n\
                 Access-Control-Request-Headers: x-api-key\r\n\r\n"
            ))
            .response()
    };
    // A preflight has no key: it may be of any active credential.
    for origin in ["https://app.acme.example", "http://localhost:3000", "https://b.example"] {
        let response = preflight(origin);
        assert_eq!((response.status, response.header("Access-Control-Allow-Origin")), (204, Some(origin)));
        assert_eq!(response.header("Access-Control-Allow-Headers"), Some("x-api-key"));
    }
    for origin in ["https://evil.example", "http://app.acme.example", "null", "https://app.acme.example.evil"]
    {
        assert_eq!(preflight(origin).status, 403, "{origin}");
    }
    let mut other = office.client(None);
    let mut ask = |origin: &str, key: &str| {
        other.send(get("/", &format!("Origin: {origin}\r\nX-Api-Key: {key}\r\n"))).response()
    };
    let response = ask("https://app.acme.example", &first);
    assert_eq!(response.header("Access-Control-Allow-Origin"), Some("https://app.acme.example"));
    assert!(response.headers("Vary").contains(&"Origin"));
    // With another credential's key the page of this origin gets nothing.
    let response = ask("https://app.acme.example", &second);
    assert_eq!((response.status, response.header("Access-Control-Allow-Origin")), (200, None));
    // A page may learn why it is refused.
    let response = ask("https://b.example", "rgk_1");
    assert_eq!(
        (response.status, response.header("Access-Control-Allow-Origin")),
        (401, Some("https://b.example"))
    );
    office.json("credential suspend beta-key");
    assert_eq!(preflight("https://b.example").status, 403);
    office.json("credential resume beta-key");
    office.json("credential revoke acme-key");
    assert_eq!(preflight("https://app.acme.example").status, 403);
    assert_eq!(preflight("https://b.example").status, 204);
}

#[test]
fn a_credential_near_its_end_is_warned_of_wherever_one_looks() {
    let config = Setup::to(free_address())
        .section(
            "[admin]\n[credentials.soon]\napi_key = true\napproval = \"automatic\"\nexpiry = \"5d\"\n\
             [credentials.long]\napi_key = true\napproval = \"automatic\"\nexpiry = \"3650d\"\n[store]\nrenew_before = \"30d\"",
        )
        .routes("[[route]]\nupstream = \"app\"\ncredentials = [\"soon\", \"long\"]")
        .text();
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("ringate.toml"), &config).unwrap();
    done(dir.path(), "consumer add acme");
    // So near its end that less than a third of its time is left.
    json(dir.path(), "credential request acme soon");
    json(dir.path(), "credential request acme long");
    let record = dir.path().join("certs/_credentials/acme-soon.toml");
    let kept = fs::read_to_string(&record).unwrap();
    let issued = kept.lines().find_map(|line| line.strip_prefix("issued = ")).unwrap();
    let earlier = issued.replacen("202", "201", 1);
    fs::write(&record, kept.replace(&format!("issued = {issued}"), &format!("issued = {earlier}"))).unwrap();
    let ringate = Ringate::start_in(dir, 1);
    let log = ringate.await_log("credential acme-soon of acme ends in 4 days");
    assert!(log.contains("ringate credential renew acme-soon"), "{log}");
    assert_eq!(ringate.metric("credentials_ending"), 1);
    let status: serde_json::Value = serde_json::from_str(&ringate.admin("/v1/status")).unwrap();
    let warnings = status["warnings"].to_string();
    assert!(
        warnings.contains("acme-soon of acme ends in 4 days") && !warnings.contains("acme-long"),
        "{warnings}"
    );
    let shown = done(ringate.dir(), "status");
    assert!(shown.contains("acme-soon of acme ends in 4 days"), "{shown}");
    for (expiry, holds) in [("3650d", true), ("3651d", false)] {
        let text = config.replace("3650d", expiry);
        fs::write(ringate.dir().join("other.toml"), text).unwrap();
        let check = run(Ringate::command().current_dir(ringate.dir()).args(["check", "-c", "other.toml"]));
        let said = String::from_utf8_lossy(&check.stderr);
        assert_eq!(check.status.success() || !said.contains("longer than"), holds, "{expiry}: {said}");
    }
}

#[test]
fn keys_of_before_are_as_good_and_what_was_changed_meanwhile_counts_after_a_reload() {
    let backend = Backend::serving(names);
    let config = Setup::to(backend.address())
        .section("[admin]\n[credentials.key]\napi_key = true\napproval = \"automatic\"")
        .routes("[[route]]\nupstream = \"app\"\napi_keys = \"partners\"\ncredentials = [\"key\"]")
        .text();
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("ringate.toml"), config).unwrap();
    let before = done(dir.path(), "apikey generate partners mobile").trim().to_owned();
    // Without an instance the commands work on the store.
    done(dir.path(), "consumer add acme");
    let key = json(dir.path(), "credential request acme key")["key"].as_str().unwrap().to_owned();
    let ringate = Ringate::start_in(dir, 1);
    let ask = |key: &str| {
        ringate.client().send(get("/", &format!("X-Api-Key: {key}\r\nX-Consumer-Name: boss\r\n"))).response()
    };
    assert_eq!(ask(&key).text(), "acme|acme-key|key=|auth=|xfcc=");
    let response = ask(&before);
    assert_eq!(response.text(), "||key=|auth=|xfcc=");
    assert_eq!(ask("rgk_1").status, 401);
    // Another process changes the store: a reload takes it up.
    let record = ringate.dir().join("certs/_credentials/acme-key.toml");
    fs::remove_file(&record).unwrap();
    assert_eq!(ask(&key).status, 200);
    done(ringate.dir(), "reload");
    assert_eq!(ask(&key).status, 401);
    // A file that is broken does not count, and hides no other.
    let other =
        json(ringate.dir(), "credential request acme key --name other")["key"].as_str().unwrap().to_owned();
    fs::write(&record, "name = 1").unwrap();
    done(ringate.dir(), "reload");
    ringate.await_log("can't be read, and does not count");
    assert_eq!(ask(&other).status, 200);
}

#[test]
fn ten_thousand_credentials_are_found_like_one() {
    let backend = Backend::serving(names);
    let config = Setup::to(backend.address())
        .section(
            "[admin]\n[credentials.key]\napi_key = true\njavascript_origins = true\napproval = \"automatic\"",
        )
        .routes("[[route]]\nupstream = \"app\"\ncredentials = [\"key\"]")
        .text();
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("ringate.toml"), config).unwrap();
    done(dir.path(), "consumer add acme");
    let key = json(dir.path(), "credential request acme key --name one")["key"].as_str().unwrap().to_owned();
    let folder = dir.path().join("certs/_credentials");
    let one = fs::read_to_string(folder.join("one.toml")).unwrap();
    let digest = one.split("sha256 = \"").nth(1).unwrap()[..64].to_owned();
    for number in 0..10_000 {
        let text =
            one.replace("\"one\"", &format!("\"c{number}\"")).replace(&digest, &format!("{number:064x}"));
        fs::write(folder.join(format!("c{number}.toml")), text).unwrap();
    }
    let ringate = Ringate::start_in(dir, 1);
    let mut client = ringate.client();
    let with = get("/", &format!("X-Api-Key: {key}\r\n"));
    for _ in 0..100 {
        assert_eq!(client.send(&with).response().text(), "acme|one|key=|auth=|xfcc=");
    }
    let begun = std::time::Instant::now();
    done(ringate.dir(), "credential suspend one");
    assert_eq!(client.send(&with).response().status, 403);
    println!("a change among 10,000: {:?}", begun.elapsed());
    assert_eq!(ringate.metric("credentials{definition=\"key\",state=\"active\"}"), 10_000);
}

#[test]
fn the_page_for_consumers_says_whether_the_certificate_presented_is_accepted() {
    let office = Office::new();
    let dir = office.ringate.dir();
    let brought = openssl(dir, "beta", "-x509 -days 30");
    let stranger = openssl(dir, "stranger", "-x509 -days 30");
    office.json("consumer add beta");
    office.json("credential request beta both --certificate beta.pem --name two");
    office.json("credential approve two");
    office.json("credential issue two");
    let page = |files: Option<&Files>| office.client(files).send(get("/portal", "")).response();
    let response = page(None);
    assert_eq!((response.status, response.header("Content-Type")), (200, Some("text/html; charset=utf-8")));
    assert!(
        response
            .header("Content-Security-Policy")
            .unwrap()
            .starts_with("default-src 'none'; style-src 'sha256-")
    );
    let text = response.text();
    for part in [
        "Our &lt;APIs&gt;",
        "presented no certificate",
        "<code>/both</code>",
        "API Key and mTLS",
        "mutual TLS",
        "openssl req -new",
        "pkcs12 -export",
        "Chrome",
        "Firefox",
        "Keychain",
        "Import-PfxCertificate",
        "curl --cert",
        "javax.net.ssl",
        "requests.get",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let known = page(Some(&brought));
    let known = known.text();
    assert!(known.contains("<b>two</b> of beta") && known.contains("Accepted by /both."), "{known}");
    assert!(known.contains("Your client presented: <b>O=Evil,CN=whatever</b>, valid until 20"), "{known}");
    let unknown = page(Some(&stranger));
    assert!(unknown.text().contains("It belongs to no credential"), "{}", unknown.text());
    assert!(!unknown.text().contains("beta"));
    office.json("credential suspend two");
    assert!(page(Some(&brought)).text().contains("That credential is suspended."));
    let post = office
        .client(None)
        .send("POST /portal HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
        .response();
    assert_ne!(post.status, 200);
}
