//! `auth.jwt`: signed tokens of an issuer, whose keys are in a file or at a URL.

use std::fs;
use std::io::{BufRead as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use crate::http::OK;
use crate::support::*;

fn encoded(bytes: impl AsRef<[u8]>) -> String {
    BASE64URL_NOPAD.encode(bytes.as_ref())
}

/// Makes tokens with one key.
struct Issuer {
    key: EcdsaKeyPair,
    id: &'static str,
}

impl Issuer {
    fn new(id: &'static str) -> Self {
        Self { key: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(), id }
    }

    fn set(&self) -> String {
        let point = self.key.public_key().as_ref();
        let key = json!({ "kty": "EC", "crv": "P-256", "kid": self.id, "x": encoded(&point[1..33]), "y": encoded(&point[33..]) });
        json!({ "keys": [key] }).to_string()
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", encoded(header.to_string()), encoded(claims.to_string()));
        let signature = self.key.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", encoded(signature))
    }

    fn token(&self, claims: &Value) -> String {
        self.sign(&json!({ "alg": "ES256", "kid": self.id }), claims)
    }
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64
}

/// Claims that are in order, with others in their place.
fn claims(other: &Value) -> Value {
    let mut claims =
        json!({ "iss": "https://login.example", "aud": ["x", "orders"], "sub": "alice", "exp": now() + 300 });
    for (name, value) in other.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

const KEYS: &str = "issuer = \"https://login.example\", audience = [\"orders\"]";

fn guarded(jwks: &str, keys: &str) -> (Backend, Ringate) {
    let backend = Backend::replying(OK);
    let route = format!("[[route]]\nupstream = \"app\"\nauth.jwt = {{ jwks = {jwks:?}, {KEYS}{keys} }}");
    let ringate = Setup::to(backend.address()).routes(&route).section("[admin]").start();
    (backend, ringate)
}

fn with_file(issuer: &Issuer, keys: &str) -> (Backend, Ringate, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys.json");
    fs::write(&file, issuer.set()).unwrap();
    let (backend, ringate) = guarded(file.to_str().unwrap(), keys);
    (backend, ringate, dir)
}

fn get(token: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {token}\r\n\r\n")
}

#[test]
fn good_tokens_pass_and_bad_ones_get_the_reason() {
    let issuer = Issuer::new("one");
    let (backend, ringate, _dir) = with_file(&issuer, ", claims = { scope = \"orders\" }, leeway = \"10s\"");
    let good = claims(&json!({ "scope": "read orders" }));
    let of = |other: Value| {
        let mut claims = good.clone();
        other.as_object().unwrap().iter().for_each(|(name, value)| claims[name] = value.clone());
        issuer.token(&claims)
    };
    let header = |header: Value| issuer.sign(&header, &good);
    let public = issuer.key.public_key().as_ref().to_vec();
    let confused = {
        let message = format!("{}.{}", encoded(r#"{"alg":"HS256","kid":"one"}"#), encoded(good.to_string()));
        let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &public), message.as_bytes());
        format!("{message}.{}", encoded(signature))
    };
    let twice = good.to_string().replacen('{', "{\"sub\":\"root\",", 1);
    let message = format!("{}.{}", encoded(r#"{"alg":"ES256","kid":"one"}"#), encoded(twice));
    let twice =
        format!("{message}.{}", encoded(issuer.key.sign(&SystemRandom::new(), message.as_bytes()).unwrap()));
    let unsigned = format!("{}.{}.", encoded(r#"{"alg":"none"}"#), encoded(good.to_string()));
    let mut client = ringate.client();
    let invalid = Some("Bearer error=\"invalid_token\"");
    let insufficient = Some("Bearer error=\"insufficient_scope\"");
    for (what, token, status, challenge) in [
        ("good", of(json!({})), 200, None),
        ("good, again", of(json!({})), 200, None),
        ("just expired", of(json!({ "exp": now() - 5 })), 200, None),
        ("expired", of(json!({ "exp": now() - 20 })), 401, invalid),
        ("not yet valid", of(json!({ "nbf": now() + 60 })), 401, invalid),
        ("of another issuer", of(json!({ "iss": "https://evil.example" })), 401, invalid),
        ("for another audience", of(json!({ "aud": "other" })), 401, invalid),
        ("without the scope", of(json!({ "scope": "read" })), 403, insufficient),
        ("of another key", Issuer::new("one").token(&good), 401, invalid),
        ("of an unknown key", Issuer::new("two").token(&good), 401, invalid),
        ("with extensions", header(json!({ "alg": "ES256", "kid": "one", "crit": ["exp"] })), 401, invalid),
        ("with another algorithm", header(json!({ "alg": "ES384", "kid": "one" })), 401, invalid),
        ("unsigned", unsigned, 401, invalid),
        ("confused", confused, 401, invalid),
        ("with a name twice", twice, 401, invalid),
        ("garbage", "a.b.c".to_owned(), 401, invalid),
        ("nothing", String::new(), 401, Some("Bearer")),
    ] {
        let response = client.send(get(&token)).response();
        assert_eq!((response.status, response.header("WWW-Authenticate")), (status, challenge), "{what}");
    }
    let without = client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").response();
    assert_eq!((without.status, without.header("WWW-Authenticate")), (401, Some("Bearer")));
    let token = of(json!({}));
    for other in [&format!("Bearer {token}"), "Bearer\tforged", "Basic eDp5"] {
        let two = get(&token).replacen("\r\n\r\n", &format!("\r\nAuthorization: {other}\r\n\r\n"), 1);
        assert_eq!(client.send(two).response().status, 401, "{other}");
    }
    // As long as a head may be.
    let long = of(json!({ "pad": "x".repeat(11_000) }));
    assert!(matches!(client.send(get(&long)).response().status, 200 | 431));
    assert!(backend.requests() >= 3);
    assert_eq!(ringate.metric("auth_tokens_expired_total"), 1);
    assert_eq!(ringate.metric("auth_tokens_insufficient_total"), 1);
    assert_eq!(ringate.metric("auth_tokens_invalid_total"), 11);
}

#[test]
fn claims_go_to_the_backend_and_no_client_can_forge_them() {
    let issuer = Issuer::new("one");
    let keys = ", forward = { \"X-User\" = \"sub\", X-Roles = \"realm.roles\", X-Mail = \"email\" }";
    let (backend, ringate, _dir) = with_file(&issuer, keys);
    let token = issuer.token(&claims(&json!({ "realm": { "roles": ["a", "b"] } })));
    let forged = "\r\nX-User: root\r\nx_user: root\r\nX.Roles: admin\r\nX-Mail: root@example\r\n\r\n";
    assert_eq!(ringate.client().send(get(&token).replacen("\r\n\r\n", forged, 1)).response().status, 200);
    let got = backend.request();
    assert_eq!(got.headers("X-User"), ["alice"], "{}", got.head);
    assert_eq!(got.headers("X-Roles"), ["a,b"], "{}", got.head);
    for name in ["x_user", "X.Roles", "X-Mail", "Authorization"] {
        assert_eq!(got.header(name), None, "{name}: {}", got.head);
    }
    let token = issuer.token(&claims(&json!({ "sub": "a\r\nX-Evil: 1" })));
    assert_eq!(ringate.client().send(get(&token)).response().status, 401);
}

#[test]
fn a_token_may_be_in_a_cookie_a_field_or_the_query() {
    let issuer = Issuer::new("one");
    let token = issuer.token(&claims(&json!({})));
    for (place, request) in [
        ("cookie:session", format!("GET / HTTP/1.1\r\nHost: h\r\nCookie: a=b; session={token}; c=d\r\n\r\n")),
        ("header:X-Token", format!("GET / HTTP/1.1\r\nHost: h\r\nx-token: {token}\r\n\r\n")),
        ("query:token", format!("GET /?a=b&token={token} HTTP/1.1\r\nHost: h\r\n\r\n")),
    ] {
        let (backend, ringate, _dir) = with_file(&issuer, &format!(", token = \"{place}\""));
        let mut client = ringate.client();
        assert_eq!(client.send(&request).response().status, 200, "{place}");
        assert_eq!(client.send(get(&token)).response().status, 401, "{place}");
        assert_eq!(backend.request().header("X-Token"), None);
    }
}

#[test]
fn keys_in_a_file_are_taken_up_and_the_last_good_ones_stay() {
    let (one, two) = (Issuer::new("one"), Issuer::new("two"));
    let (_backend, ringate, dir) = with_file(&one, "");
    let mut client = ringate.client();
    let mut status = |of: &Issuer| client.send(get(&of.token(&claims(&json!({}))))).response().status;
    assert_eq!((status(&one), status(&two)), (200, 401));
    fs::write(dir.path().join("keys.json"), "{").unwrap();
    ringate.await_log("what is in force stays");
    assert_eq!(status(&one), 200);
    fs::write(dir.path().join("keys.json"), two.set()).unwrap();
    eventually("the new keys", || (status(&two) == 200).then_some(()));
    assert_eq!(status(&one), 401);
    fs::remove_file(dir.path().join("keys.json")).unwrap();
    ringate.await_log("keys.json: No such file");
    assert_eq!(status(&two), 200);
}

#[test]
fn keys_at_a_url_are_fetched_again_and_the_last_good_ones_stay() {
    let pki = Pki::new();
    let (one, two) = (Issuer::new("one"), Issuer::new("two"));
    let (sets, next, broken) =
        ([one.set(), two.set()], Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(true)));
    let (serving, breaks) = (Arc::clone(&next), Arc::clone(&broken));
    let server = Server::start(Some(pki.server_config()), move |stream| {
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            stream.read_line(&mut line)?;
        }
        let (status, body) = match breaks.load(SeqCst) {
            true => ("500 Broken", "oh no"),
            false => ("200 OK", sets[serving.load(SeqCst)].as_str()),
        };
        let length = body.len();
        write!(
            stream.get_mut(),
            "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        )?;
        stream.get_mut().flush()?;
        stream.get_mut().finish()
    });
    let url = format!("https://localhost:{}/keys", server.address().port());
    let keys = format!(", trust = [{:?}], refresh = \"1s\"", pki.file("ca.pem"));
    let (_backend, ringate) = guarded(&url, &keys);
    let mut client = ringate.client();
    let mut ask = |of: &Issuer| client.send(get(&of.token(&claims(&json!({}))))).response();
    let unknown = ask(&one);
    assert_eq!((unknown.status, unknown.header("Retry-After")), (503, Some("5")), "no keys yet");
    ringate.await_log("the response is 500");
    broken.store(false, SeqCst);
    eventually("the first keys", || (ask(&one).status == 200).then_some(()));
    assert_eq!(ask(&two).status, 401);
    next.store(1, SeqCst);
    eventually("the next keys", || (ask(&two).status == 200).then_some(()));
    broken.store(true, SeqCst);
    ringate.await_log("those before stay");
    assert_eq!((ask(&two).status, ask(&one).status), (200, 401));
}

#[test]
fn a_shared_secret_is_taken_from_a_file_where_it_is_listed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys.json");
    fs::write(&file, json!({ "keys": [{ "kty": "oct", "kid": "s", "k": encoded([9; 32]) }] }).to_string())
        .unwrap();
    let (_backend, ringate) = guarded(file.to_str().unwrap(), ", algorithms = [\"HS256\"]");
    let sign = |secret: &[u8]| {
        let header = encoded(r#"{"alg":"HS256","kid":"s"}"#);
        let message = format!("{header}.{}", encoded(claims(&json!({})).to_string()));
        let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
        format!("{message}.{}", encoded(signature))
    };
    let mut client = ringate.client();
    assert_eq!(client.send(get(&sign(&[9; 32]))).response().status, 200);
    assert_eq!(client.send(get(&sign(&[8; 32]))).response().status, 401);
}
