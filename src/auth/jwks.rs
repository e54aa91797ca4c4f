//! The keys that tokens are verified by: a JSON Web Key Set (RFC 7517, RFC 7518 §6, RFC 8037).
//!
//! The type of a key says which algorithms it is for, never the token alone: a token that names HS256 can't have an RSA key's
//! public part taken for a secret.

use std::fmt;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519,
    EcdsaVerificationAlgorithm, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512,
    RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey,
};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Map, Value};

use super::json;
use super::verified::Verified;
use crate::base::limits::{MAX_TOKEN_KEYS, VERIFIED_TOKENS};

/// An algorithm of a signature (RFC 7518 §3.1, RFC 8037 §3.1). `none` is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// With SHA-384.
    Rs384,
    /// With SHA-512.
    Rs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// With SHA-384.
    Ps384,
    /// With SHA-512.
    Ps512,
    /// ECDSA with P-256 and SHA-256.
    Es256,
    /// With P-384 and SHA-384.
    Es384,
    /// With P-521 and SHA-512.
    Es512,
    /// Ed25519.
    EdDsa,
    /// HMAC with SHA-256.
    Hs256,
    /// With SHA-384.
    Hs384,
    /// With SHA-512.
    Hs512,
}

impl Algorithm {
    /// Each with its name in tokens and in the config.
    pub(crate) const ALL: [(&'static str, Self); 13] = [
        ("RS256", Self::Rs256),
        ("RS384", Self::Rs384),
        ("RS512", Self::Rs512),
        ("PS256", Self::Ps256),
        ("PS384", Self::Ps384),
        ("PS512", Self::Ps512),
        ("ES256", Self::Es256),
        ("ES384", Self::Es384),
        ("ES512", Self::Es512),
        ("EdDSA", Self::EdDsa),
        ("HS256", Self::Hs256),
        ("HS384", Self::Hs384),
        ("HS512", Self::Hs512),
    ];

    /// The algorithm of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, algorithm)| *algorithm)
    }

    /// Whether the key is a shared secret, with which tokens can be signed as well as verified.
    pub(crate) fn is_symmetric(self) -> bool {
        matches!(self, Self::Hs256 | Self::Hs384 | Self::Hs512)
    }

    /// Those with public keys.
    pub(crate) fn asymmetric() -> Vec<Self> {
        Self::ALL.iter().map(|(_, it)| *it).filter(|it| !it.is_symmetric()).collect()
    }

    fn rsa(self) -> Option<&'static RsaParameters> {
        Some(match self {
            Self::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
            Self::Rs384 => &RSA_PKCS1_2048_8192_SHA384,
            Self::Rs512 => &RSA_PKCS1_2048_8192_SHA512,
            Self::Ps256 => &RSA_PSS_2048_8192_SHA256,
            Self::Ps384 => &RSA_PSS_2048_8192_SHA384,
            Self::Ps512 => &RSA_PSS_2048_8192_SHA512,
            _ => return None,
        })
    }

    fn hmac(self) -> Option<hmac::Algorithm> {
        Some(match self {
            Self::Hs256 => hmac::HMAC_SHA256,
            Self::Hs384 => hmac::HMAC_SHA384,
            Self::Hs512 => hmac::HMAC_SHA512,
            _ => return None,
        })
    }
}

/// The keys of an issuer.
#[derive(Debug)]
pub struct KeySet {
    keys: Vec<TokenKey>,
    /// Members of the set that are not used, in words.
    skipped: Vec<String>,
    /// Tokens whose signature was verified by these keys.
    pub(super) verified: Verified,
    /// What they were read from, unless it may have secrets.
    text: Option<Box<str>>,
}

/// One key.
struct TokenKey {
    id: Option<Box<str>>,
    /// The one algorithm that it is for, where it says so.
    algorithm: Option<Algorithm>,
    material: Material,
}

enum Material {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    Ec { algorithm: Algorithm, point: Vec<u8> },
    Ed25519(Vec<u8>),
    Secret(zeroize::Zeroizing<Vec<u8>>),
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenKey")
            .field("id", &self.id)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

impl KeySet {
    /// Reads a set. Keys that are for something else are passed over, as RFC 7517 §5 has it. `secrets`: whether shared secrets
    /// (`oct`) count.
    ///
    /// # Errors
    /// It is no such set, or no key in it can be used; in words.
    pub(crate) fn parse(bytes: &[u8], secrets: bool) -> Result<Self, String> {
        let set = json::object(bytes).map_err(|error| format!("not a JSON Web Key Set: {error}"))?;
        let Some(Value::Array(members)) = set.get("keys") else {
            return Err("not a JSON Web Key Set: `keys` is missing, or no list".to_owned());
        };
        if members.len() > MAX_TOKEN_KEYS {
            return Err(format!("it has more than {MAX_TOKEN_KEYS} keys"));
        }
        let (mut keys, mut skipped) = (Vec::new(), Vec::new());
        for (index, member) in members.iter().enumerate() {
            match member
                .as_object()
                .ok_or_else(|| "it is no object".to_owned())
                .and_then(|it| TokenKey::of(it, secrets))
            {
                Ok(key) => keys.push(key),
                Err(why) => skipped.push(format!("key {}: {why}", index + 1)),
            }
        }
        if keys.is_empty() {
            let why = if skipped.is_empty() { String::new() } else { format!(": {}", skipped.join("; ")) };
            return Err(format!("there is no key in it that can be used{why}"));
        }
        let verified =
            Verified::new(VERIFIED_TOKENS).map_err(|_| "the system gives no random numbers".to_owned())?;
        let text = std::str::from_utf8(bytes).ok().filter(|_| !secrets).map(Into::into);
        Ok(Self { keys, skipped, verified, text })
    }

    /// What they were read from; `None` where it may have secrets.
    pub(crate) fn text(&self) -> Option<&str> {
        self.text.as_deref()
    }

    /// How many keys there are.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Members of the set that are not used, in words.
    pub(crate) fn skipped(&self) -> &[String] {
        &self.skipped
    }

    /// Verifies a signature. `Ok(false)`: it is not one of these keys. `None`: no key has this id and is for the algorithm.
    pub(super) fn verify(
        &self,
        (algorithm, id): (Algorithm, Option<&str>),
        message: &[u8],
        signature: &[u8],
    ) -> Option<bool> {
        let named = |key: &&TokenKey| match (id, &key.id) {
            (Some(id), Some(own)) => **own == *id,
            (Some(_), None) | (None, _) => true,
        };
        let fits = |key: &&TokenKey| named(key) && key.is_for(algorithm);
        let mut candidates = self.keys.iter().filter(fits).peekable();
        candidates.peek()?;
        Some(candidates.any(|key| key.verify(algorithm, message, signature)))
    }
}

impl TokenKey {
    fn of(member: &Map<String, Value>, secrets: bool) -> Result<Self, String> {
        let text = |name: &str| member.get(name).and_then(Value::as_str);
        let bytes = |name: &str| {
            let encoded = text(name).ok_or_else(|| format!("`{name}` is missing"))?;
            BASE64URL_NOPAD.decode(encoded.as_bytes()).map_err(|_| format!("`{name}` is not base64url"))
        };
        if text("use").is_some_and(|it| it != "sig") {
            return Err("it is not for signatures".to_owned());
        }
        if let Some(Value::Array(operations)) = member.get("key_ops")
            && !operations.iter().any(|it| it.as_str() == Some("verify"))
        {
            return Err("it is not for verifying".to_owned());
        }
        let algorithm = match text("alg") {
            Some(name) => {
                Some(Algorithm::named(name).ok_or_else(|| "its algorithm is not known".to_owned())?)
            }
            None => None,
        };
        let material = match text("kty") {
            Some("RSA") => {
                let (mut n, e) = (bytes("n")?, bytes("e")?);
                // RFC 7518 §6.3.1.1 has no zeros in front; some issuers do.
                n.drain(..n.iter().position(|&byte| byte != 0).unwrap_or_default());
                if !(2048..=8192).contains(&(n.len() * 8)) {
                    return Err("an RSA key has 2048 to 8192 bits".to_owned());
                }
                Material::Rsa { n, e }
            }
            Some("EC") => {
                let (algorithm, size) = match text("crv") {
                    Some("P-256") => (Algorithm::Es256, 32),
                    Some("P-384") => (Algorithm::Es384, 48),
                    Some("P-521") => (Algorithm::Es512, 66),
                    _ => return Err("its curve is not known".to_owned()),
                };
                let (x, y) = (bytes("x")?, bytes("y")?);
                if x.len() != size || y.len() != size {
                    return Err("its point is none of the curve".to_owned());
                }
                Material::Ec { algorithm, point: [&[4], &x[..], &y[..]].concat() }
            }
            Some("OKP") if text("crv") == Some("Ed25519") => match bytes("x")? {
                key if key.len() == 32 => Material::Ed25519(key),
                _ => return Err("its point is none of the curve".to_owned()),
            },
            Some("oct") if !secrets => {
                return Err(
                    "a shared secret counts only in a file, for an algorithm that `algorithms` lists"
                        .to_owned(),
                );
            }
            Some("oct") => match bytes("k")? {
                secret if secret.len() >= 32 => Material::Secret(secret.into()),
                _ => return Err("a shared secret has 32 bytes at least".to_owned()),
            },
            _ => return Err("its type is not known".to_owned()),
        };
        let key = Self { id: text("kid").map(Into::into), algorithm: None, material };
        if algorithm.is_some_and(|algorithm| !key.is_for(algorithm)) {
            return Err("its algorithm does not fit its type".to_owned());
        }
        Ok(Self { algorithm, ..key })
    }

    fn is_for(&self, algorithm: Algorithm) -> bool {
        let by_type = match &self.material {
            Material::Rsa { .. } => algorithm.rsa().is_some(),
            Material::Ec { algorithm: own, .. } => algorithm == *own,
            Material::Ed25519(_) => algorithm == Algorithm::EdDsa,
            Material::Secret(_) => algorithm.is_symmetric(),
        };
        by_type && self.algorithm.is_none_or(|own| own == algorithm)
    }

    fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let ecdsa = |algorithm: &'static EcdsaVerificationAlgorithm, point: &[u8]| {
            UnparsedPublicKey::new(algorithm, point).verify(message, signature).is_ok()
        };
        match &self.material {
            Material::Rsa { n, e } => algorithm
                .rsa()
                .is_some_and(|rsa| RsaPublicKeyComponents { n, e }.verify(rsa, message, signature).is_ok()),
            Material::Ec { point, .. } => match algorithm {
                Algorithm::Es256 => ecdsa(&ECDSA_P256_SHA256_FIXED, point),
                Algorithm::Es384 => ecdsa(&ECDSA_P384_SHA384_FIXED, point),
                Algorithm::Es512 => ecdsa(&ECDSA_P521_SHA512_FIXED, point),
                _ => false,
            },
            Material::Ed25519(point) => {
                UnparsedPublicKey::new(&ED25519, point).verify(message, signature).is_ok()
            }
            Material::Secret(secret) => algorithm
                .hmac()
                .is_some_and(|hash| hmac::verify(&hmac::Key::new(hash, secret), message, signature).is_ok()),
        }
    }
}
