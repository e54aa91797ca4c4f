//! Signed tokens in their compact form (RFC 7519, RFC 7515 §7.1): `HEADER.CLAIMS.SIGNATURE`.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Map, Value};

use super::json;
use super::jwks::{Algorithm, KeySet};
use crate::base::limits::{MAX_CLAIM_BYTES, MAX_TOKEN_BYTES};

/// What a token must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenPolicy {
    /// `iss`
    pub issuer: String,
    /// One of these is in `aud`; empty: any.
    pub audience: Vec<String>,
    /// The algorithms that are accepted.
    pub algorithms: Vec<Algorithm>,
    /// How far clocks may differ, in seconds.
    pub leeway: i64,
    /// Claims that it must have, each with one of these values.
    pub claims: Vec<(String, Vec<String>)>,
}

/// Which part of a request has the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenSource {
    /// `Authorization: Bearer` (RFC 6750 §2.1).
    Bearer,
    /// A field, named in lower case.
    Header(String),
    /// A cookie.
    Cookie(String),
    /// A query parameter.
    Query(String),
}

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenError {
    /// It is longer than is looked at.
    TooLong,
    /// It is not of the compact form, not base64url, not JSON, or has a name twice.
    Malformed,
    /// It has extensions that must be understood (RFC 7515 §4.1.11).
    Critical,
    /// Its algorithm is `none`, unknown or not accepted.
    Algorithm,
    /// No key has its id, and is for its algorithm.
    UnknownKey,
    /// Its signature is of another key, or of another content.
    Signature,
    /// It has no end, or one that is over.
    Expired,
    /// It is from the future.
    NotYetValid,
    /// It is another issuer's.
    Issuer,
    /// It is for another audience.
    Audience,
    /// It lacks a claim that is required, or has it with another value.
    Claim,
}

impl TokenError {
    /// In words, for logs.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::TooLong => "the token is too long",
            Self::Malformed => "the token is malformed",
            Self::Critical => "the token has extensions that are not understood",
            Self::Algorithm => "the token's algorithm is not accepted",
            Self::UnknownKey => "the token names no key of its issuer",
            Self::Signature => "the token's signature is not valid",
            Self::Expired => "the token has expired, or has no end",
            Self::NotYetValid => "the token is not valid yet",
            Self::Issuer => "the token is of another issuer",
            Self::Audience => "the token is for another audience",
            Self::Claim => "the token lacks a claim that the route requires",
        }
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

/// The claims of a token that was verified.
#[derive(Clone, Debug)]
pub(crate) struct Claims(Map<String, Value>);

impl TokenPolicy {
    /// The claims of a token that is in order at `now`, in seconds of Unix time.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub(crate) fn check(&self, keys: &KeySet, token: &[u8], now: i64) -> Result<Claims, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::TooLong);
        }
        let mut parts = token.split(|&byte| byte == b'.');
        let (Some(header), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenError::Malformed);
        };
        let key = self.header(header)?;
        let key = (key.0, key.1.as_deref());
        let message = &token[..header.len() + 1 + claims.len()];
        let fingerprint = keys.verified.fingerprint(&[token]);
        if keys.verified.get(fingerprint) != Some(true) {
            let signature = BASE64URL_NOPAD.decode(signature).map_err(|_| TokenError::Malformed)?;
            match keys.verify(key, message, &signature) {
                Some(true) => keys.verified.note(fingerprint, true),
                Some(false) => return Err(TokenError::Signature),
                None => return Err(TokenError::UnknownKey),
            }
        }
        let claims = BASE64URL_NOPAD.decode(claims).map_err(|_| TokenError::Malformed)?;
        let claims = Claims(json::object(&claims).map_err(|_| TokenError::Malformed)?);
        self.judge(&claims, now)?;
        Ok(claims)
    }

    /// The algorithm, and the key's id if there is one.
    fn header(&self, encoded: &[u8]) -> Result<(Algorithm, Option<String>), TokenError> {
        let header = BASE64URL_NOPAD.decode(encoded).map_err(|_| TokenError::Malformed)?;
        let mut header = json::object(&header).map_err(|_| TokenError::Malformed)?;
        if header.contains_key("crit") {
            return Err(TokenError::Critical);
        }
        let algorithm = header.get("alg").and_then(Value::as_str).and_then(Algorithm::named);
        let algorithm = algorithm.filter(|it| self.algorithms.contains(it)).ok_or(TokenError::Algorithm)?;
        match header.remove("kid") {
            None => Ok((algorithm, None)),
            Some(Value::String(id)) => Ok((algorithm, Some(id))),
            Some(_) => Err(TokenError::Malformed),
        }
    }

    fn judge(&self, claims: &Claims, now: i64) -> Result<(), TokenError> {
        let at = |name: &str| match claims.0.get(name) {
            None => Ok(None),
            Some(value) => value.as_f64().map(|seconds| Some(seconds as i64)).ok_or(TokenError::Malformed),
        };
        let end = at("exp")?.ok_or(TokenError::Expired)?;
        if now >= end.saturating_add(self.leeway) {
            return Err(TokenError::Expired);
        }
        let later = now.saturating_add(self.leeway);
        if at("nbf")?.is_some_and(|start| start > later) || at("iat")?.is_some_and(|made| made > later) {
            return Err(TokenError::NotYetValid);
        }
        if claims.0.get("iss").and_then(Value::as_str) != Some(&self.issuer) {
            return Err(TokenError::Issuer);
        }
        let is_ours =
            |value: &Value| value.as_str().is_some_and(|it| self.audience.iter().any(|own| own == it));
        let for_us = match claims.0.get("aud") {
            _ if self.audience.is_empty() => true,
            Some(Value::Array(list)) => list.iter().any(is_ours),
            Some(one) => is_ours(one),
            None => false,
        };
        if !for_us {
            return Err(TokenError::Audience);
        }
        let holds =
            |(name, values): &(String, Vec<String>)| values.iter().any(|value| claims.has(name, value));
        if self.claims.iter().all(holds) { Ok(()) } else { Err(TokenError::Claim) }
    }
}

impl Claims {
    /// A claim by its name, or by names with dots between them where objects lie in each other.
    fn get(&self, name: &str) -> Option<&Value> {
        if let found @ Some(_) = self.0.get(name) {
            return found;
        }
        let mut parts = name.split('.');
        let first = self.0.get(parts.next()?)?;
        parts.try_fold(first, |value, part| value.as_object()?.get(part))
    }

    /// Whether a claim has this value: alone, as an entry of a list, or as words of a scope (RFC 8693 §4.2).
    fn has(&self, name: &str, expected: &str) -> bool {
        let is = |value: &Value| match value {
            Value::String(text) if matches!(name, "scope" | "scp") => {
                expected.split(' ').all(|word| text.split(' ').any(|own| own == word))
            }
            Value::String(text) => text == expected,
            Value::Number(number) => number.to_string() == expected,
            Value::Bool(value) => value.to_string() == expected,
            _ => false,
        };
        match self.get(name) {
            Some(Value::Array(list)) => list.iter().any(is),
            Some(one) => is(one),
            None => false,
        }
    }

    /// A claim as a header field's value: a text, a number, `true` or `false`, or those of a list with commas between them.
    /// `None`: there is none, or it is of another kind.
    ///
    /// # Errors
    /// It is too long, or has bytes that no field can carry.
    pub(crate) fn text(&self, name: &str) -> Result<Option<String>, TokenError> {
        let plain = |value: &Value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(value) => Some(value.to_string()),
            _ => None,
        };
        let text = match self.get(name) {
            Some(Value::Array(list)) => {
                let entries: Vec<String> = list.iter().filter_map(plain).collect();
                Some(entries.join(","))
            }
            Some(one) => plain(one),
            None => None,
        };
        match text {
            Some(text) if text.len() > MAX_CLAIM_BYTES || text.chars().any(char::is_control) => {
                Err(TokenError::Malformed)
            }
            // A field's value has no spaces around it (RFC 9110 §5.5), and HTTP/2 refuses them (RFC 9113 §8.2.1).
            text => Ok(text.map(|text| text.trim_matches(' ').to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::hmac;
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize, PublicKeyComponents};
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
        RSA_PSS_SHA512,
    };
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn encoded(bytes: impl AsRef<[u8]>) -> String {
        BASE64URL_NOPAD.encode(bytes.as_ref())
    }

    fn policy() -> TokenPolicy {
        TokenPolicy {
            issuer: "https://issuer.example".to_owned(),
            audience: vec!["orders".to_owned()],
            algorithms: Algorithm::asymmetric(),
            leeway: 60,
            claims: Vec::new(),
        }
    }

    /// A token of these parts, signed by `sign`.
    fn token(header: &str, claims: &str, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> Vec<u8> {
        let message = format!("{}.{}", encoded(header), encoded(claims));
        let signature = encoded(sign(message.as_bytes()));
        format!("{message}.{signature}").into_bytes()
    }

    struct Issuer {
        rsa: RsaKeyPair,
        ec: EcdsaKeyPair,
        ed: Ed25519KeyPair,
        keys: KeySet,
        n: Vec<u8>,
    }

    fn issuer() -> Issuer {
        let rsa = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
        let ec = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        let ed = Ed25519KeyPair::generate().expect("a key");
        let parts = PublicKeyComponents::<Vec<u8>>::from(rsa.public_key());
        let point = ec.public_key().as_ref();
        let set = json!({ "keys": [
            { "kty": "RSA", "kid": "r", "use": "sig", "n": encoded([&[0], &parts.n[..]].concat()), "e": encoded(&parts.e) },
            { "kty": "EC", "kid": "e", "crv": "P-256", "x": encoded(&point[1..33]), "y": encoded(&point[33..]) },
            { "kty": "OKP", "kid": "d", "crv": "Ed25519", "x": encoded(ed.public_key()) },
            { "kty": "EC", "kid": "k", "crv": "secp256k1", "x": "AA", "y": "AA" },
            { "kty": "RSA", "kid": "enc", "use": "enc", "n": encoded(&parts.n), "e": "AQAB" },
            { "kty": "oct", "kid": "o", "k": encoded([7; 32]) },
        ] });
        let keys = KeySet::parse(set.to_string().as_bytes(), false).expect("a set");
        Issuer { rsa, ec, ed, keys, n: parts.n }
    }

    impl Issuer {
        fn rs256(&self, message: &[u8]) -> Vec<u8> {
            let mut signature = vec![0; self.rsa.public_modulus_len()];
            self.rsa.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).expect("signed");
            signature
        }

        fn check(&self, policy: &TokenPolicy, claims: &Value) -> Result<Claims, TokenError> {
            let token = token(r#"{"alg":"RS256","kid":"r"}"#, &claims.to_string(), |it| self.rs256(it));
            policy.check(&self.keys, &token, NOW)
        }
    }

    fn claims() -> Value {
        json!({ "iss": "https://issuer.example", "aud": "orders", "sub": "alice", "exp": NOW + 300 })
    }

    #[test]
    fn each_algorithm_is_verified_by_the_key_of_its_type() {
        let issuer = issuer();
        assert_eq!((issuer.keys.len(), issuer.keys.skipped().len()), (3, 3));
        let (policy, text) = (policy(), claims().to_string());
        let ps512 = |message: &[u8]| {
            let mut signature = vec![0; issuer.rsa.public_modulus_len()];
            issuer.rsa.sign(&RSA_PSS_SHA512, &SystemRandom::new(), message, &mut signature).expect("signed");
            signature
        };
        let es256 =
            |message: &[u8]| issuer.ec.sign(&SystemRandom::new(), message).expect("signed").as_ref().to_vec();
        let tokens = [
            token(r#"{"alg":"RS256","kid":"r"}"#, &text, |it| issuer.rs256(it)),
            token(r#"{"alg":"PS512","kid":"r"}"#, &text, ps512),
            token(r#"{"alg":"ES256","kid":"e"}"#, &text, es256),
            token(r#"{"alg":"EdDSA"}"#, &text, |it| issuer.ed.sign(it).as_ref().to_vec()),
        ];
        for token in &tokens {
            for _ in 0..2 {
                let claims = policy.check(&issuer.keys, token, NOW).expect("a good token");
                assert_eq!(claims.text("sub"), Ok(Some("alice".to_owned())));
            }
            // One byte of each part, and what was verified before helps none of them.
            for at in [3, token.len() / 2, token.len() - 20] {
                let mut other = token.clone();
                other[at] = if other[at] == b'A' { b'B' } else { b'A' };
                assert!(policy.check(&issuer.keys, &other, NOW).is_err(), "{at}");
            }
        }
        let narrow = TokenPolicy { algorithms: vec![Algorithm::Es256], ..policy };
        assert_eq!(narrow.check(&issuer.keys, &tokens[0], NOW).err(), Some(TokenError::Algorithm));
        assert!(narrow.check(&issuer.keys, &tokens[2], NOW).is_ok());
    }

    #[test]
    fn forged_tokens_are_refused() {
        let (issuer, policy) = (issuer(), policy());
        let text = claims().to_string();
        let none = |_: &[u8]| Vec::new();
        let secret = |message: &[u8]| {
            // The public part as a secret: what a confused verifier would take.
            hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &issuer.n), message).as_ref().to_vec()
        };
        let all =
            TokenPolicy { algorithms: Algorithm::ALL.iter().map(|it| it.1).collect(), ..policy.clone() };
        for (policy, token, error) in [
            (&policy, token(r#"{"alg":"none"}"#, &text, none), TokenError::Algorithm),
            (&policy, token(r#"{"alg":"None","kid":"r"}"#, &text, none), TokenError::Algorithm),
            (&policy, token(r#"{"kid":"r"}"#, &text, none), TokenError::Algorithm),
            (&policy, token(r#"{"alg":"HS256","kid":"r"}"#, &text, secret), TokenError::Algorithm),
            (&all, token(r#"{"alg":"HS256","kid":"r"}"#, &text, secret), TokenError::UnknownKey),
            (&all, token(r#"{"alg":"HS256"}"#, &text, secret), TokenError::UnknownKey),
            (
                &policy,
                token(r#"{"alg":"RS256","kid":"x"}"#, &text, |it| issuer.rs256(it)),
                TokenError::UnknownKey,
            ),
            (
                &policy,
                token(r#"{"alg":"RS256","kid":"e"}"#, &text, |it| issuer.rs256(it)),
                TokenError::UnknownKey,
            ),
            (
                &policy,
                token(r#"{"alg":"RS384","kid":"r"}"#, &text, |it| issuer.rs256(it)),
                TokenError::Signature,
            ),
            (&policy, token(r#"{"alg":"RS256","kid":"r"}"#, &text, none), TokenError::Signature),
            (
                &policy,
                token(r#"{"alg":"RS256","kid":1}"#, &text, |it| issuer.rs256(it)),
                TokenError::Malformed,
            ),
            (
                &policy,
                token(r#"{"alg":"RS256","kid":"r","crit":["b64"],"b64":true}"#, &text, |it| issuer.rs256(it)),
                TokenError::Critical,
            ),
            (
                &policy,
                token(r#"{"alg":"none","alg":"RS256","kid":"r"}"#, &text, |it| issuer.rs256(it)),
                TokenError::Malformed,
            ),
        ] {
            assert_eq!(policy.check(&issuer.keys, &token, NOW).err(), Some(error));
        }
    }

    #[test]
    fn claims_must_hold() {
        let (issuer, policy) = (issuer(), policy());
        let with = |name: &str, value: Value| {
            let mut claims = claims();
            claims[name] = value;
            claims
        };
        let without = |name: &str| {
            let mut claims = claims();
            claims.as_object_mut().expect("an object").remove(name);
            claims
        };
        for (claims, error) in [
            (with("exp", json!(NOW - 59)), None),
            (with("exp", json!(NOW - 60)), Some(TokenError::Expired)),
            (with("exp", json!(NOW as f64 + 0.5)), None),
            (with("exp", json!("soon")), Some(TokenError::Malformed)),
            (without("exp"), Some(TokenError::Expired)),
            (with("nbf", json!(NOW + 60)), None),
            (with("nbf", json!(NOW + 61)), Some(TokenError::NotYetValid)),
            (with("iat", json!(NOW + 61)), Some(TokenError::NotYetValid)),
            (with("iss", json!("https://issuer.example/")), Some(TokenError::Issuer)),
            (without("iss"), Some(TokenError::Issuer)),
            (with("aud", json!(["x", "orders"])), None),
            (with("aud", json!(["x"])), Some(TokenError::Audience)),
            (with("aud", json!({ "orders": 1 })), Some(TokenError::Audience)),
            (without("aud"), Some(TokenError::Audience)),
        ] {
            assert_eq!(issuer.check(&policy, &claims).err(), error, "{claims}");
        }
        let twice = claims().to_string().replacen('{', r#"{"aud":"x","#, 1);
        let twice = token(r#"{"alg":"RS256","kid":"r"}"#, &twice, |it| issuer.rs256(it));
        assert_eq!(policy.check(&issuer.keys, &twice, NOW).err(), Some(TokenError::Malformed));

        let wants = |name: &str, values: &[&str]| TokenPolicy {
            claims: vec![(name.to_owned(), values.iter().map(ToString::to_string).collect())],
            ..policy.clone()
        };
        for (policy, claims, good) in [
            (wants("scope", &["orders"]), with("scope", json!("read orders")), true),
            (wants("scope", &["orders read"]), with("scope", json!("read x orders")), true),
            (wants("scope", &["order"]), with("scope", json!("read orders")), false),
            (wants("scope", &["a", "b"]), with("scope", json!("b")), true),
            (wants("scope", &["a"]), claims(), false),
            (wants("roles", &["admin"]), with("roles", json!(["x", "admin"])), true),
            (wants("realm.roles", &["admin"]), with("realm", json!({ "roles": ["admin"] })), true),
            (wants("https://a.b/c", &["1"]), with("https://a.b/c", json!(1)), true),
            (wants("verified", &["true"]), with("verified", json!(false)), false),
        ] {
            let expected = if good { None } else { Some(TokenError::Claim) };
            assert_eq!(issuer.check(&policy, &claims).err(), expected, "{claims}");
        }
        let found = issuer.check(&policy, &with("sub", json!("a\r\nX-Evil: 1"))).expect("a good token");
        assert_eq!(found.text("sub"), Err(TokenError::Malformed));
        let found = issuer.check(&policy, &with("sub", json!(" a b "))).expect("a good token");
        assert_eq!(found.text("sub"), Ok(Some("a b".to_owned())));
    }

    #[test]
    fn garbage_is_no_token() {
        let (issuer, policy) = (issuer(), policy());
        let long = vec![b'a'; MAX_TOKEN_BYTES + 1];
        for token in
            [&b""[..], b".", b"..", b"...", b"a.b.c", b"e30.e30.", b"\xff.\xff.\xff", b"e30=.e30=.", &long]
        {
            assert!(policy.check(&issuer.keys, token, NOW).is_err());
        }
        for set in [
            "",
            "{}",
            "[]",
            r#"{"keys":[]}"#,
            r#"{"keys":{}}"#,
            r#"{"keys":[1]}"#,
            r#"{"keys":[{"kty":"RSA"}]}"#,
        ] {
            assert!(KeySet::parse(set.as_bytes(), true).is_err(), "{set}");
        }
    }

    #[test]
    fn a_shared_secret_counts_where_it_is_wanted() {
        let set = json!({ "keys": [{ "kty": "oct", "k": encoded([7; 32]) }] }).to_string();
        assert!(KeySet::parse(set.as_bytes(), false).is_err());
        let keys = KeySet::parse(set.as_bytes(), true).expect("a set");
        let sign = |it: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]), it).as_ref().to_vec();
        let token = token(r#"{"alg":"HS256"}"#, &claims().to_string(), sign);
        assert_eq!(policy().check(&keys, &token, NOW).err(), Some(TokenError::Algorithm));
        let listed = TokenPolicy { algorithms: vec![Algorithm::Hs256], ..policy() };
        assert!(listed.check(&keys, &token, NOW).is_ok());
        let short = json!({ "keys": [{ "kty": "oct", "k": encoded([7; 31]) }] }).to_string();
        assert!(KeySet::parse(short.as_bytes(), true).is_err());
    }
}
