//! Which signatures count, in certificates and in handshakes: those of the provider, RSA keys from a size on.
//!
//! The provider's own algorithms take RSA keys of 2048 bits and more. A higher bound is put before them; below it
//! they know no PSS, so keys of 1024 to 2047 bits, where an operator lets them in, are verified by the `rsa` crate.
//! Verifying involves no secrets, so its duration reveals nothing.

use std::sync::LazyLock;

use aws_lc_rs::signature::RsaParameters;
use rsa::pkcs1::DecodeRsaPublicKey;
use rsa::sha2::{Sha256, Sha384, Sha512};
use rsa::signature::Verifier;
use rsa::{RsaPublicKey, pkcs1v15, pss};
use rustls::SignatureScheme;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{
    AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm as Algorithm, alg_id,
};

/// The methods of a certificate verifier that check handshake signatures, with its field `algorithms`. `$explain` (the
/// verifier, the error, the certificate) may replace an error by a more precise one.
macro_rules! verify_handshake_signatures {
    ($explain:expr) => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            rustls::crypto::verify_tls12_signature(message, cert, dss, &self.algorithms)
                .map_err(|error| $explain(self, error, cert))
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            rustls::crypto::verify_tls13_signature(message, cert, dss, &self.algorithms)
                .map_err(|error| $explain(self, error, cert))
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.algorithms.supported_schemes()
        }
    };
}
pub(super) use verify_handshake_signatures;

/// The size from which the provider verifies RSA signatures itself, in bits.
const MODERN: u32 = 2048;

/// The least size of an RSA key (`min_rsa_bits`), in bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RsaBits {
    /// For old backends only: 1024 bits can be broken with enough money.
    Legacy1024,
    /// The default, as everywhere.
    #[default]
    Bits2048,
    /// As strong as AES-128 and P-256.
    Bits3072,
    /// Beyond that.
    Bits4096,
}

impl RsaBits {
    /// Each of them, the smallest first.
    pub const ALL: [Self; 4] = [Self::Legacy1024, Self::Bits2048, Self::Bits3072, Self::Bits4096];

    /// The number.
    pub fn bits(self) -> u32 {
        match self {
            Self::Legacy1024 => 1024,
            Self::Bits2048 => 2048,
            Self::Bits3072 => 3072,
            Self::Bits4096 => 4096,
        }
    }

    /// The algorithms that hold to it.
    pub fn algorithms(self) -> WebPkiSupportedAlgorithms {
        static LEGACY: LazyLock<WebPkiSupportedAlgorithms> = LazyLock::new(|| bounded(1024));
        static BITS3072: LazyLock<WebPkiSupportedAlgorithms> = LazyLock::new(|| bounded(3072));
        static BITS4096: LazyLock<WebPkiSupportedAlgorithms> = LazyLock::new(|| bounded(4096));
        match self {
            Self::Legacy1024 => *LEGACY,
            Self::Bits2048 => default_provider().signature_verification_algorithms,
            Self::Bits3072 => *BITS3072,
            Self::Bits4096 => *BITS4096,
        }
    }
}

/// The provider's algorithms with another bound for RSA. Made once a bound: rustls wants them to last for ever.
fn bounded(least: u32) -> WebPkiSupportedAlgorithms {
    let provider = default_provider().signature_verification_algorithms;
    let bound = |list: &[&'static dyn Algorithm]| -> &'static [&'static dyn Algorithm] {
        list.iter().map(|&inner| Rsa::bound(inner, least)).collect::<Vec<_>>().leak()
    };
    let mapping: Vec<(SignatureScheme, &'static [&'static dyn Algorithm])> =
        provider.mapping.iter().map(|(scheme, list)| (*scheme, bound(list))).collect();
    WebPkiSupportedAlgorithms { all: bound(provider.all), mapping: mapping.leak() }
}

/// How an RSA signature is padded and hashed.
#[derive(Clone, Copy, Debug)]
enum Padding {
    Pkcs1(Hash),
    Pss(Hash),
}

#[derive(Clone, Copy, Debug)]
enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl Padding {
    /// That of a signature's algorithm identifier; `None`: it is not RSA, or not known.
    fn of(id: &AlgorithmIdentifier) -> Option<Self> {
        // sha256WithRSAEncryption and its kin (RFC 8017 §A.2.4), whatever parameters follow.
        const PKCS1: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
        let pss = [
            (alg_id::RSA_PSS_SHA256, Hash::Sha256),
            (alg_id::RSA_PSS_SHA384, Hash::Sha384),
            (alg_id::RSA_PSS_SHA512, Hash::Sha512),
        ];
        if let Some((_, hash)) = pss.iter().find(|(known, _)| known == id) {
            return Some(Self::Pss(*hash));
        }
        Some(Self::Pkcs1(match id.as_ref().strip_prefix(PKCS1)?.first()? {
            0x0b => Hash::Sha256,
            0x0c => Hash::Sha384,
            0x0d => Hash::Sha512,
            _ => return None,
        }))
    }
}

/// An algorithm of the provider with a bound of its own.
#[derive(Debug)]
struct Rsa {
    inner: &'static dyn Algorithm,
    padding: Padding,
    least: u32,
}

impl Rsa {
    /// `inner` with the bound; as it is, if it is not RSA.
    fn bound(inner: &'static dyn Algorithm, least: u32) -> &'static dyn Algorithm {
        match Padding::of(&inner.signature_alg_id()) {
            Some(padding) => Box::leak(Box::new(Self { inner, padding, least })),
            None => inner,
        }
    }
}

impl Algorithm for Rsa {
    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.inner.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.inner.signature_alg_id()
    }

    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        match RsaParameters::public_modulus_len(key) {
            Ok(bits) if bits < self.least => Err(InvalidSignature),
            Ok(bits) if bits < MODERN => verify_small(self.padding, key, message, signature),
            _ => self.inner.verify_signature(key, message, signature),
        }
    }
}

fn verify_small(
    padding: Padding,
    key: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Result<(), InvalidSignature> {
    let key = RsaPublicKey::from_pkcs1_der(key).map_err(|_| InvalidSignature)?;
    let verified = match padding {
        Padding::Pkcs1(hash) => {
            let signature = pkcs1v15::Signature::try_from(signature).map_err(|_| InvalidSignature)?;
            match hash {
                Hash::Sha256 => pkcs1v15::VerifyingKey::<Sha256>::new(key).verify(message, &signature),
                Hash::Sha384 => pkcs1v15::VerifyingKey::<Sha384>::new(key).verify(message, &signature),
                Hash::Sha512 => pkcs1v15::VerifyingKey::<Sha512>::new(key).verify(message, &signature),
            }
        }
        Padding::Pss(hash) => {
            let signature = pss::Signature::try_from(signature).map_err(|_| InvalidSignature)?;
            match hash {
                Hash::Sha256 => pss::VerifyingKey::<Sha256>::new(key).verify(message, &signature),
                Hash::Sha384 => pss::VerifyingKey::<Sha384>::new(key).verify(message, &signature),
                Hash::Sha512 => pss::VerifyingKey::<Sha512>::new(key).verify(message, &signature),
            }
        }
    };
    verified.map_err(|_| InvalidSignature)
}

/// The size of an RSA key in bits, from its SubjectPublicKeyInfo's key bits; `None`: it is no RSA key.
pub(super) fn rsa_bits(key: &[u8]) -> Option<u32> {
    RsaParameters::public_modulus_len(key).ok()
}
