//! A new container (RFC 7292): a chain and the key of its first certificate, locked by a passphrase as OpenSSL 3 and Windows
//! lock theirs: PBES2 with PBKDF2 (HMAC-SHA-256) and AES-256, and a MAC with SHA-256.

use aws_lc_rs::digest::{self, SHA256};
use aws_lc_rs::{hmac, rand};
use pkcs5::EncryptionScheme;
use pkcs5::der::Encode;
use pkcs5::pbes2::Parameters;
use rustls::pki_types::PrivateKeyDer;
use x509_parser::asn1_rs::Oid;
use x509_parser::oid_registry::asn1_rs::oid;
use zeroize::Zeroizing;

use super::{CERT_BAG, DATA, ENCRYPTED_DATA, SHROUDED_KEY_BAG, X509_CERTIFICATE};
use crate::certs::ber;
use crate::certs::bundle::Bundle;
use crate::certs::encrypted::{Pkcs12Kdf, Purpose};
use crate::certs::inspect;
use crate::certs::passphrase::Passphrase;

const FRIENDLY_NAME: Oid<'static> = oid!(1.2.840.113549.1.9.20);
const LOCAL_KEY_ID: Oid<'static> = oid!(1.2.840.113549.1.9.21);
const SHA256_ID: Oid<'static> = oid!(2.16.840.1.101.3.4.2.1);

/// How often keys are stretched. Readers bound it: Windows at 600,000.
const ITERATIONS: u32 = 100_000;
const SALT_BYTES: usize = 16;
/// More than an AlgorithmIdentifier of PBES2 has.
const MAX_ALGORITHM_BYTES: usize = 256;

const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const NULL: u8 = 0x05;
const OBJECT_IDENTIFIER: u8 = 0x06;
const BMP_STRING: u8 = 0x1e;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// `[0] EXPLICIT`
const EXPLICIT: u8 = 0xa0;
/// `[0] IMPLICIT OCTET STRING`
const IMPLICIT_OCTETS: u8 = 0x80;

/// Why no container was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WriteError {
    /// The bundle has no key.
    NoKey,
    /// The system gives no random numbers, or the library refuses.
    Failed,
}

impl std::fmt::Display for WriteError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NoKey => "there is no private key to put into the container: give it, too",
            Self::Failed => "the container can't be made: the system gives no random numbers",
        })
    }
}

/// The container of a bundle with its key. `name` is what key stores show.
///
/// # Errors
/// See [`WriteError`].
pub(crate) fn write(
    bundle: &Bundle,
    passphrase: &Passphrase,
    name: &str,
) -> Result<Zeroizing<Vec<u8>>, WriteError> {
    let key = pkcs8(bundle)?;
    let attributes = attributes(bundle, name);
    let certificates = bundle.chain().iter().enumerate().map(|(at, der)| {
        let value = [id(&X509_CERTIFICATE), tagged(EXPLICIT, &tagged(OCTET_STRING, der))].concat();
        // What belongs to the key is the first one alone.
        bag(&CERT_BAG, &tagged(SEQUENCE, &value), if at == 0 { &attributes } else { &[] })
    });
    let certificates = tagged(SEQUENCE, &certificates.collect::<Vec<_>>().concat());
    let (algorithm, ciphertext) = lock(&certificates, passphrase)?;
    let content = [id(&DATA), algorithm, tagged(IMPLICIT_OCTETS, &ciphertext)].concat();
    let encrypted = [number(0), tagged(SEQUENCE, &content)].concat();
    let (algorithm, ciphertext) = lock(&key, passphrase)?;
    let shrouded = tagged(SEQUENCE, &[algorithm, tagged(OCTET_STRING, &ciphertext)].concat());
    let keys = tagged(SEQUENCE, &bag(&SHROUDED_KEY_BAG, &shrouded, &attributes));
    let safe = [
        content_info(&ENCRYPTED_DATA, &tagged(SEQUENCE, &encrypted)),
        content_info(&DATA, &tagged(OCTET_STRING, &keys)),
    ];
    let safe = tagged(SEQUENCE, &safe.concat());
    let pfx = [number(3), content_info(&DATA, &tagged(OCTET_STRING, &safe)), mac(&safe, passphrase)?];
    Ok(Zeroizing::new(tagged(SEQUENCE, &pfx.concat())))
}

/// The key in PKCS#8 (RFC 5958 §2), whose algorithm is that of the certificate's public key.
fn pkcs8(bundle: &Bundle) -> Result<Zeroizing<Vec<u8>>, WriteError> {
    let key = bundle.key().ok_or(WriteError::NoKey)?;
    if let PrivateKeyDer::Pkcs8(key) = &**key {
        return Ok(Zeroizing::new(key.secret_pkcs8_der().to_vec()));
    }
    let certificate = inspect::parse(&bundle.chain()[0]).map_err(|_| WriteError::Failed)?;
    let spki = ber::one(certificate.public_key().raw).and_then(|spki| spki.sequence());
    let algorithm = spki.as_ref().and_then(|parts| parts.first()).ok_or(WriteError::Failed)?;
    let key = Zeroizing::new(tagged(OCTET_STRING, key.secret_der()));
    let parts = Zeroizing::new([&number(0), algorithm.der, &key].concat());
    Ok(Zeroizing::new(tagged(SEQUENCE, &parts)))
}

/// `SET OF Attribute` of the key and its certificate, by which they are known to belong together.
fn attributes(bundle: &Bundle, name: &str) -> Vec<u8> {
    let id_of_key = digest::digest(&SHA256, &bundle.chain()[0]);
    let name: Vec<u8> = name.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let attribute =
        |kind: &Oid<'_>, value: Vec<u8>| tagged(SEQUENCE, &[id(kind), tagged(SET, &value)].concat());
    // DER has the members of a set in the order of their bytes.
    let mut members = [
        attribute(&LOCAL_KEY_ID, tagged(OCTET_STRING, &id_of_key.as_ref()[..20])),
        attribute(&FRIENDLY_NAME, tagged(BMP_STRING, &name)),
    ];
    members.sort();
    tagged(SET, &members.concat())
}

/// The AlgorithmIdentifier and the ciphertext.
fn lock(plaintext: &[u8], passphrase: &Passphrase) -> Result<(Vec<u8>, Vec<u8>), WriteError> {
    let failed = |_| WriteError::Failed;
    let parameters =
        Parameters::generate_pbkdf2_sha256_aes256cbc(ITERATIONS, &random::<SALT_BYTES>()?, random()?);
    let parameters = parameters.map_err(failed)?;
    let ciphertext = parameters.encrypt(passphrase.as_str(), plaintext).map_err(failed)?;
    let scheme = EncryptionScheme::from(parameters);
    let mut algorithm = vec![0; MAX_ALGORITHM_BYTES];
    let written = scheme.encode_to_slice(&mut algorithm).map_err(|_| WriteError::Failed)?.len();
    algorithm.truncate(written);
    Ok((algorithm, ciphertext))
}

/// `MacData ::= SEQUENCE { DigestInfo, macSalt, iterations }`
fn mac(safe: &[u8], passphrase: &Passphrase) -> Result<Vec<u8>, WriteError> {
    let salt = random::<SALT_BYTES>()?;
    let kdf = Pkcs12Kdf { hash: &SHA256, salt: &salt, iterations: ITERATIONS };
    let key = kdf.derive(Purpose::Mac, &kdf.password(Some(passphrase)), SHA256.output_len());
    let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), safe);
    let algorithm = tagged(SEQUENCE, &[id(&SHA256_ID), vec![NULL, 0]].concat());
    let info = tagged(SEQUENCE, &[algorithm, tagged(OCTET_STRING, mac.as_ref())].concat());
    Ok(tagged(SEQUENCE, &[info, tagged(OCTET_STRING, &salt), number(ITERATIONS)].concat()))
}

fn random<const N: usize>() -> Result<[u8; N], WriteError> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| WriteError::Failed)?;
    Ok(bytes)
}

fn bag(kind: &Oid<'_>, value: &[u8], attributes: &[u8]) -> Vec<u8> {
    tagged(SEQUENCE, &[&id(kind), &tagged(EXPLICIT, value), attributes].concat())
}

fn content_info(kind: &Oid<'_>, content: &[u8]) -> Vec<u8> {
    tagged(SEQUENCE, &[id(kind), tagged(EXPLICIT, content)].concat())
}

fn id(oid: &Oid<'_>) -> Vec<u8> {
    tagged(OBJECT_IDENTIFIER, oid.as_bytes())
}

fn number(number: u32) -> Vec<u8> {
    let bytes = number.to_be_bytes();
    let first = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len() - 1);
    // A first bit that is set would make it negative.
    let sign: &[u8] = if bytes[first] < 0x80 { &[] } else { &[0] };
    tagged(INTEGER, &[sign, &bytes[first..]].concat())
}

/// One element of DER (X.690 §10.1): tag, definite length in the least bytes, content.
fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() + 6);
    out.push(tag);
    let length = content.len().to_be_bytes();
    let first = length.iter().position(|byte| *byte != 0).unwrap_or(length.len() - 1);
    let length = &length[first..];
    if content.len() >= 0x80 {
        out.push(0x80 | length.len() as u8);
    }
    out.extend_from_slice(length);
    out.extend_from_slice(content);
    out
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::super::{Want, read};
    use super::*;
    use crate::certs::generate::{GenerateRequest, self_signed};

    #[test]
    fn what_is_written_is_read_back_with_its_passphrase_alone() {
        let made = self_signed(&GenerateRequest::new("orders"), SystemTime::now()).unwrap();
        let passphrase = Passphrase::from("pass phrase with ü".to_owned());
        let container = write(&made.bundle, &passphrase, "orders ✓").unwrap();
        let material = read(&container, Some(&passphrase), Want::All).unwrap();
        assert_eq!(material.certificates, made.bundle.chain());
        assert_eq!(material.keys[0].to_pem(), made.bundle.key_pem().unwrap());
        assert!(read(&container, Some(&Passphrase::from("other".to_owned())), Want::All).is_err());
        assert!(read(&container, None, Want::All).is_err());
        // Nothing of it is in the clear.
        let leaf = &made.bundle.chain()[0];
        assert!(!container.windows(64).any(|window| window == &leaf[..64]));
        let public = Bundle::from_parts(made.chain_pem.as_bytes(), None).unwrap();
        assert_eq!(write(&public, &passphrase, "x").unwrap_err(), WriteError::NoKey);
    }

    #[test]
    fn lengths_and_numbers_are_of_the_least_bytes() {
        assert_eq!(tagged(OCTET_STRING, &[]), [4, 0]);
        assert_eq!(tagged(OCTET_STRING, &[7; 0x80])[..3], [4, 0x81, 0x80]);
        assert_eq!(tagged(OCTET_STRING, &[7; 0x100])[..4], [4, 0x82, 1, 0]);
        assert_eq!(
            (number(0), number(0x80), number(100_000)),
            (vec![2, 1, 0], vec![2, 2, 0, 0x80], vec![2, 3, 1, 0x86, 0xa0])
        );
    }
}
