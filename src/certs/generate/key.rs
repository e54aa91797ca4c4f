//! Keys that are made here, or that sign here. rcgen's own key type keeps its bytes in memory that is not wiped;
//! this one lends it the signatures and keeps the bytes to itself.

use std::fmt;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{self, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair,
};
use rcgen::{
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ECDSA_P521_SHA512, PKCS_ED25519, PKCS_RSA_SHA256,
    PublicKeyData, SignatureAlgorithm, SigningKey,
};
use rustls::SignatureScheme;
use rustls::crypto::aws_lc_rs::sign;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::Signer;
use x509_parser::prelude::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::{GenerateError, KeyType};
use crate::certs::bundle::{BundleError, PrivateKey};

/// How each kind of key signs certificates: its name in TLS, and in X.509.
const ALGORITHMS: [(SignatureScheme, &SignatureAlgorithm); 5] = [
    (SignatureScheme::ECDSA_NISTP256_SHA256, &PKCS_ECDSA_P256_SHA256),
    (SignatureScheme::ECDSA_NISTP384_SHA384, &PKCS_ECDSA_P384_SHA384),
    (SignatureScheme::ECDSA_NISTP521_SHA512, &PKCS_ECDSA_P521_SHA512),
    (SignatureScheme::RSA_PKCS1_SHA256, &PKCS_RSA_SHA256),
    (SignatureScheme::ED25519, &PKCS_ED25519),
];

/// A key that signs certificates and requests.
pub(super) struct CertificateKey {
    key: PrivateKey,
    signer: Box<dyn Signer>,
    algorithm: &'static SignatureAlgorithm,
    /// The key itself within its SubjectPublicKeyInfo.
    public: Vec<u8>,
}

impl CertificateKey {
    /// Makes a key. All are in PKCS#8 version 1: OpenSSL 3.0 does not read the next one.
    pub(super) fn generate(key_type: KeyType) -> Result<Self, GenerateError> {
        let key = match key_type {
            KeyType::EcdsaP256 => ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING),
            KeyType::EcdsaP384 => ecdsa(&ECDSA_P384_SHA384_ASN1_SIGNING),
            KeyType::Rsa2048 => rsa(KeySize::Rsa2048),
            KeyType::Rsa3072 => rsa(KeySize::Rsa3072),
            KeyType::Rsa4096 => rsa(KeySize::Rsa4096),
            KeyType::Ed25519 => {
                Ed25519KeyPair::generate().and_then(|key| key.to_pkcs8v1()).map(|der| pkcs8(der.as_ref()))
            }
        };
        Self::new(key.map_err(|_| GenerateError::Random)?)
    }

    /// Takes a key of any kind that signs.
    pub(super) fn new(key: PrivateKey) -> Result<Self, GenerateError> {
        let unsupported = |reason: &str| BundleError::KeyUnsupported { reason: reason.to_owned() };
        let signing = sign::any_supported_type(&key)
            .map_err(|_| unsupported("it is damaged, or of no kind that signs"))?;
        let found = ALGORITHMS.into_iter().find_map(|(scheme, algorithm)| {
            signing.choose_scheme(&[scheme]).map(|signer| (signer, algorithm))
        });
        let (signer, algorithm) = found.ok_or_else(|| unsupported("it does not sign certificates"))?;
        let spki = signing.public_key().ok_or_else(|| unsupported("its public half cannot be computed"))?;
        let (_, spki) = SubjectPublicKeyInfo::from_der(&spki)
            .map_err(|_| unsupported("its public half cannot be computed"))?;
        Ok(Self { public: spki.subject_public_key.data.to_vec(), key, signer, algorithm })
    }

    pub(super) fn private(&self) -> &PrivateKey {
        &self.key
    }
}

impl fmt::Debug for CertificateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CertificateKey(…)")
    }
}

impl PublicKeyData for CertificateKey {
    fn der_bytes(&self) -> &[u8] {
        &self.public
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.algorithm
    }
}

impl SigningKey for CertificateKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.signer.sign(message).map_err(|_| rcgen::Error::RemoteKeyError)
    }
}

fn ecdsa(algorithm: &'static EcdsaSigningAlgorithm) -> Result<PrivateKey, aws_lc_rs::error::Unspecified> {
    let der = EcdsaKeyPair::generate(algorithm)?.to_pkcs8v1()?;
    Ok(pkcs8(der.as_ref()))
}

fn rsa(size: KeySize) -> Result<PrivateKey, aws_lc_rs::error::Unspecified> {
    let der: Pkcs8V1Der<'_> = rsa::KeyPair::generate(size)?.as_der()?;
    Ok(pkcs8(der.as_ref()))
}

/// The bytes given wipe themselves, as what is made of them does.
fn pkcs8(der: &[u8]) -> PrivateKey {
    PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(der.to_vec())).into()
}
