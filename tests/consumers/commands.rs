//! The commands and the API: answers, refusals, exit codes, definitions of another product, signing.

use std::fs;
use std::process::Command;

use serde_json::Value;

use super::*;

#[test]
fn hostile_names_and_wrong_usage_are_refused() {
    let office = Office::new();
    office.json("consumer add acme --title A&<b>");
    assert_eq!(office.json("consumer show acme")["title"], "A&<b>");
    assert!(office.refused("consumer add acme").contains("already"));
    assert!(office.refused("consumer show amce").contains("acme"));
    for name in ["../up", "a/b", "A", "_x", "a%2fb", ".hidden", "ü", "rgk_0123456789abcdef"] {
        assert!(office.refused(&format!("consumer add {name}")).contains("name"), "{name}");
        assert!(office.refused(&format!("credential show {name}")).contains("name"), "{name}");
    }
    assert!(office.refused("credential request acme nope").contains("definition"));
    assert!(office.refused("credential request nope key").contains("consumer"));
    assert!(
        office
            .refused("credential request acme firm --origin https://a.example")
            .contains("javascript_origins")
    );
    assert!(office.refused("credential request acme key --origin *").contains("origin"));
    assert!(office.refused("credential approve none").contains("credential"));
    for wrong in [
        "credential",
        "credential request",
        "credential list --state none",
        "consumer add",
        "credential renew x --overlap 1",
    ] {
        assert_eq!(run_in(office.ringate.dir(), wrong).status.code(), Some(2), "{wrong}");
    }
    // Names by options, too.
    let issued = office.json("credential request --consumer acme --definition key --name by-options");
    assert_eq!((&issued["consumer"], &issued["state"]), (&"acme".into(), &"active".into()));
    let listed = office.json("credential list --state active --consumer acme");
    assert_eq!(listed["credentials"].as_array().unwrap().len(), 1);
    assert!(!listed.to_string().contains(issued["key"].as_str().unwrap()));
    assert!(office.refused("consumer delete acme").contains("by-options"));
    assert!(office.refused("credential delete by-options").contains("revoke"));
    office.json("consumer delete acme --force");
    assert_eq!(office.json("credential list")["credentials"].as_array().unwrap().len(), 0);
    for subject in ["consumer add", "credential request", "credential issue", "credential import-definition"]
    {
        let help = run_in(office.ringate.dir(), &format!("{subject} --help"));
        assert!(String::from_utf8(help.stdout).unwrap().contains("Example"), "{subject}");
    }
}

#[test]
fn the_queue_of_requests_is_decided_by_a_person() {
    let office = Office::new();
    office.json("consumer add acme");
    office.json("credential request acme both --name one");
    office.json("credential request acme both --name two");
    let waiting = office.json("credential list --state requested");
    assert_eq!(waiting["credentials"].as_array().unwrap().len(), 2);
    office.json("credential deny two --reason incomplete");
    let shown = office.json("credential show two");
    assert_eq!((&shown["state"], &shown["reason"]), (&"denied".into(), &"incomplete".into()));
    assert!(office.refused("credential approve two").contains("denied"));
    office.json("credential approve one");
    assert!(office.refused("credential issue one").contains("--csr"));
    let api: Value = serde_json::from_str(&office.ringate.admin("/v1/credentials?state=approved")).unwrap();
    assert_eq!(api["credentials"][0]["name"], "one");
    let definitions: Value =
        serde_json::from_str(&office.ringate.admin("/v1/credential-definitions")).unwrap();
    assert_eq!(definitions["definitions"].as_array().unwrap().len(), 5);
    let missing: Value = serde_json::from_str(&office.ringate.admin("/v1/consumers/none")).unwrap();
    assert_eq!((&missing["status"], &missing["type"]), (&404.into(), &"/v1/problems/not-found".into()));
    let unread: Value = serde_json::from_str(&office.ringate.admin("/v1/credentials?state=x")).unwrap();
    assert_eq!(unread["status"], 400);
}

#[test]
fn a_change_has_a_condition_and_is_written_down_without_the_key() {
    let office = Office::new();
    let call = |method: &str, path: &str, condition: &str, body: &str| -> (u16, String, String) {
        let output = run(Command::new("curl")
            .args(["-sS", "--max-time", "15", "-i", "-X", method, "-H", "Content-Type: application/json"])
            .args(if condition.is_empty() {
                vec![]
            } else {
                vec!["-H".to_owned(), format!("If-Match: {condition}")]
            })
            .args(if body.is_empty() { vec![] } else { vec!["-d", body] })
            .arg("--unix-socket")
            .arg(office.ringate.dir().join("run/admin.sock"))
            .arg(format!("http://localhost{path}")));
        let text = String::from_utf8(output.stdout).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let tag = head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap_or_default().to_owned();
        (head[9..12].parse().unwrap(), tag, body.to_owned())
    };
    assert_eq!(call("POST", "/v1/consumers", "", "{\"name\": \"acme\"}").0, 201);
    let (status, _, issued) =
        call("POST", "/v1/credentials", "", "{\"consumer\": \"acme\", \"definition\": \"key\"}");
    assert_eq!(status, 201, "{issued}");
    let issued: Value = serde_json::from_str(&issued).unwrap();
    assert_eq!(issued["id"], "acme-key");
    let key = issued["key"].as_str().unwrap();
    let (_, tag, _) = call("GET", "/v1/credentials/acme-key", "", "");
    assert!(!tag.is_empty());
    assert_eq!(call("POST", "/v1/credentials/acme-key/suspend", &tag, "{\"reason\": \"unpaid\"}").0, 200);
    // What was read is another state by now.
    assert_eq!(call("POST", "/v1/credentials/acme-key/resume", &tag, "").0, 412);
    assert_eq!(office.json("credential show acme-key")["state"], "suspended");
    assert_eq!(call("POST", "/v1/credentials/acme-key/resume", "", "").0, 200);
    assert_eq!(call("DELETE", "/v1/consumers/acme", "", "").0, 409);
    assert_eq!(call("DELETE", "/v1/consumers/acme?force=true", "", "").0, 200);
    let audit = fs::read_to_string(office.ringate.dir().join("audit.log")).unwrap();
    assert!(audit.contains("credential acme-key") && audit.contains("unpaid"), "{audit}");
    assert!(!audit.contains(key), "a key is in the audit log");
}

#[test]
fn a_definition_of_axway_becomes_a_section_of_the_config() {
    const YAML: &str = "---\ngroup: management\napiVersion: v1alpha1\nkind: CredentialRequestDefinition\nname: api-key-mtls\n\
        title: API Key and mTLS\nmetadata:\n  scope:\n    kind: Environment\n    name: prod\nattributes: {}\ntags: [a]\nspec:\n  \
        schema:\n    type: object\n    properties:\n      cors:\n        type: array\n        items:\n          anyOf:\n          - type: string\n        \
        title: Javascript Origins\n        uniqueItems: true\n      x-axway-mtls:\n        type: string\n        x-axway-hidden: true\n  \
        provision:\n    schema:\n      type: object\n      required: [apiKey]\n      properties:\n        apiKey:\n          type: string\n          \
        x-axway-encrypted: true\n    policies:\n      expiry:\n        period: 60\n      suspendable: true\n";
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("definition.yaml"), YAML).unwrap();
    let config = format!("# kept\n{}", Setup::to(free_address()).text());
    fs::write(dir.path().join("ringate.toml"), config).unwrap();
    let output = run_in(dir.path(), "credential import-definition definition.yaml --write");
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    for ignored in ["metadata", "tags"] {
        assert!(said.contains(&format!("not taken: {ignored}")), "{said}");
    }
    let text = fs::read_to_string(dir.path().join("ringate.toml")).unwrap();
    assert!(
        text.starts_with("# kept\n")
            && text.contains("[credentials.api-key-mtls]\ntitle = \"API Key and mTLS\"\n"),
        "{text}"
    );
    let definitions = json(dir.path(), "credential definitions");
    let it = &definitions["definitions"][0];
    let expected = serde_json::json!({"name": "api-key-mtls", "title": "API Key and mTLS", "api_key": true, "mtls": true,
        "javascript_origins": true, "expiry_seconds": 60 * 86_400, "suspendable": true, "approval": "manual", "issuer": null});
    assert_eq!(*it, expected);
    // A second time it is there already, and the file stays as it is.
    assert_eq!(
        run_in(dir.path(), "credential import-definition definition.yaml --write").status.code(),
        Some(1)
    );
    assert_eq!(fs::read_to_string(dir.path().join("ringate.toml")).unwrap(), text);
}

#[test]
fn a_ca_of_the_store_signs_a_request_from_the_command_line() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("ringate.toml"), Setup::to(free_address()).text()).unwrap();
    done(dir.path(), "cert generate partners --ca");
    openssl(dir.path(), "web", "-new -addext subjectAltName=DNS:web.example");
    done(dir.path(), "cert sign --ca partners --csr web.pem --days 10 --usage server --out web.crt");
    done(dir.path(), "cert export partners --out ca.pem");
    let verified = run(Command::new("openssl")
        .current_dir(dir.path())
        .args("verify -purpose sslserver -verify_hostname web.example -CAfile ca.pem web.crt".split(' ')));
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    let signed =
        json(dir.path(), "cert sign --ca partners --csr web.pem --common-name other --san DNS:other.example");
    assert_eq!(
        (&signed["common_name"], &signed["sans"], &signed["usages"]),
        (&"other".into(), &serde_json::json!(["DNS:other.example"]), &serde_json::json!(["client"]))
    );
    fs::write(
        dir.path().join("bad.pem"),
        "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
    )
    .unwrap();
    let refused = run_in(dir.path(), "cert sign --ca partners --csr bad.pem");
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8(refused.stderr).unwrap().contains("PKCS#10"));
}

#[test]
fn what_does_not_fit_together_is_shown_at_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let complaint = |sections: &str, listener: &str, route: &str| {
        let text = Setup::to(free_address()).section(sections).listener(listener).routes(route).text();
        fs::write(dir.path().join("ringate.toml"), text).unwrap();
        let output = run_in(dir.path(), "check");
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let route = |names: &str| format!("[[route]]\nupstream = \"app\"\ncredentials = [{names}]");
    let pki = Pki::new();
    let plain = "protocol = \"http\"";
    let definition = "[credentials.both]\napi_key = true\nmtls = true";
    for (sections, listener, route, said) in [
        ("[credentials.a]\ntitle = \"x\"", plain, route("\"a\""), "neither a key nor a client certificate"),
        ("[credentials.a]\napi_key = true\nissuer = \"ca\"", plain, route("\"a\""), "add `mtls = true`"),
        (definition, plain, route("\"bot\""), "did you mean \"both\"?"),
        (definition, plain, route("\"both\""), "is without TLS"),
        (
            definition,
            &format!("{}\nclient_auth = \"none\"", pki.listener_tls()),
            route("\"both\""),
            "set `client_auth = \"optional\"`",
        ),
        (
            "[credentials.a]\nmtls = true\nissuer = \"nope\"",
            &pki.listener_tls(),
            route("\"a\""),
            "there is no certificate \"nope\"",
        ),
        ("[credentials.a]\napi_key = true\nexpire = \"1d\"", plain, route("\"a\""), "did you mean `expiry`?"),
        (
            "",
            &format!("{}\nclient_auth = \"optional\"", pki.listener_tls()),
            "[[route]]\nupstream = \"app\"".to_owned(),
            "add `client_trust`",
        ),
    ] {
        let found = complaint(sections, listener, &route);
        assert!(found.contains(said), "{said}:\n{found}");
    }
}
