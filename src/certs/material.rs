//! Bytes of unknown form → certificates and keys: PEM, DER or PKCS#12, told apart by their content, never by a file's
//! name.

use rustls::pki_types::pem::{self, PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::der_parser::ber::{BerObject, BerObjectContent, parse_ber};
use x509_parser::pem::Pem;
use zeroize::{Zeroize, Zeroizing};

use super::bundle::{BundleError, LockError, PrivateKey};
use super::facts;
use super::locked::{self, Locked};
use super::passphrase::Passphrase;
use super::pkcs12::{self, Want};

/// What a text or a DER object held, in its order. Not checked against each other yet.
#[derive(Default)]
pub(crate) struct Material {
    pub certificates: Vec<CertificateDer<'static>>,
    pub keys: Vec<PrivateKey>,
    /// From a container, whose certificates are in no order.
    pub unordered: bool,
    /// What else was seen: PEM labels, or the name of a DER structure. For the error if nothing was usable.
    pub others: Vec<String>,
}

/// Reads everything usable in `bytes`, and opens with the passphrase what is locked. Use [`certificates`] where
/// only certificates are wanted.
pub(crate) fn read(bytes: &[u8], passphrase: Option<&Passphrase>) -> Result<Material, BundleError> {
    let Some(text) = pem_text(bytes) else { return object(bytes, passphrase, Want::All) };
    refuse_containers(&text)?;
    refuse_foreign_keys(&text)?;
    let mut material = sections(&text)?;
    open_locked_keys(&text, passphrase, &mut material)?;
    Ok(material)
}

/// Reads the certificates in `bytes` and passes over keys, locked or not.
pub(crate) fn certificates(
    bytes: &[u8],
    passphrase: Option<&Passphrase>,
) -> Result<Vec<CertificateDer<'static>>, BundleError> {
    let mut certificates = Vec::new();
    if let Some(text) = pem_text(bytes) {
        refuse_containers(&text)?;
        for certificate in CertificateDer::pem_slice_iter(&text) {
            certificates.push(certificate.map_err(damaged)?);
        }
        if certificates.is_empty() {
            return Err(BundleError::NoCertificate { found: labels(&text).map(str::to_owned).collect() });
        }
    } else {
        let material = object(bytes, passphrase, Want::Certificates)?;
        if material.certificates.is_empty() {
            return Err(BundleError::NoCertificate { found: found(&material) });
        }
        certificates = material.certificates;
    }
    for (index, certificate) in certificates.iter().enumerate() {
        facts::parse(certificate)
            .map_err(|reason| BundleError::NotACertificate { position: index + 1, reason })?;
    }
    Ok(certificates)
}

/// Names of what `material` holds besides certificates.
pub(crate) fn found(material: &Material) -> Vec<String> {
    let keys = material.keys.iter().map(|_| "PRIVATE KEY".to_owned());
    keys.chain(material.others.iter().cloned()).collect()
}

// PEM

/// `bytes` without indentation, as pasted text often has, if they hold any PEM section.
fn pem_text(bytes: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    const BEGIN: &[u8] = b"-----BEGIN ";
    const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";
    if !bytes.windows(BEGIN.len()).any(|window| window == BEGIN) {
        return None;
    }
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    // Sized at once, so that growing leaves no copies of a key behind.
    let mut text = Zeroizing::new(Vec::with_capacity(bytes.len() + 1));
    for line in bytes.split(|byte| matches!(byte, b'\n' | b'\r')) {
        text.extend_from_slice(line.trim_ascii());
        text.push(b'\n');
    }
    Some(text)
}

/// Of what stands in the file, only a label is told: where line breaks were lost, the decoder takes a key for one.
fn damaged(error: pem::Error) -> BundleError {
    let reason = match error {
        pem::Error::MissingSectionEnd { end_marker } => match std::str::from_utf8(&end_marker) {
            Ok(label) if is_label(label) => format!("-----END {label}----- is missing"),
            _ => {
                "a line that begins with -----BEGIN goes on after its name; were line breaks lost?".to_owned()
            }
        },
        pem::Error::IllegalSectionStart { .. } => {
            "a line that begins with -----BEGIN does not end with five dashes; were line breaks lost?"
                .to_owned()
        }
        other => other.to_string(),
    };
    BundleError::Pem { reason }
}

fn sections(text: &[u8]) -> Result<Material, BundleError> {
    let mut material = Material {
        others: labels(text).filter(|label| !USABLE.contains(label)).map(str::to_owned).collect(),
        ..Material::default()
    };
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(text) {
        let (kind, mut der) = section.map_err(damaged)?;
        match kind {
            SectionKind::Certificate => material.certificates.push(der.into()),
            SectionKind::PrivateKey => material.keys.push(PrivateKeyDer::Pkcs8(der.into()).into()),
            SectionKind::RsaPrivateKey => material.keys.push(PrivateKeyDer::Pkcs1(der.into()).into()),
            SectionKind::EcPrivateKey => material.keys.push(PrivateKeyDer::Sec1(der.into()).into()),
            _ => der.zeroize(),
        }
    }
    Ok(material)
}

/// The labels that [`sections`] takes.
const USABLE: [&str; 4] = ["CERTIFICATE", "PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"];

/// The label of every section that begins in `text`.
fn labels(text: &[u8]) -> impl Iterator<Item = &str> {
    let named = lines(text).filter_map(|line| line.strip_prefix("-----BEGIN ")?.strip_suffix("-----"));
    named.filter(|label| is_label(label))
}

/// Whether it can be a section's name: those in use are a few words in capitals, and no key in base64 looks like that.
fn is_label(text: &str) -> bool {
    text.len() <= 40 && text.bytes().all(|byte| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b' '))
}

fn lines(text: &[u8]) -> impl Iterator<Item = &str> {
    let lines = text.split(|byte| *byte == b'\n');
    lines.filter_map(|line| std::str::from_utf8(line).ok())
}

/// Containers and dialects that hold what we want in a form that we do not read.
fn refuse_containers(text: &[u8]) -> Result<(), BundleError> {
    for label in labels(text) {
        match label {
            "PKCS7" | "CMS" => return Err(BundleError::Pkcs7 { der: false }),
            "TRUSTED CERTIFICATE" => return Err(BundleError::TrustedCertificate),
            "PKCS12" => return Err(BundleError::Pkcs12Damaged),
            _ => {}
        }
    }
    Ok(())
}

/// Keys in forms that are not read here, or that TLS has no use for.
fn refuse_foreign_keys(text: &[u8]) -> Result<(), BundleError> {
    for label in labels(text) {
        match label {
            "DSA PRIVATE KEY" => {
                return Err(BundleError::KeyUnsupported { reason: "it is a DSA key".to_owned() });
            }
            "OPENSSH PRIVATE KEY" => {
                let reason =
                    "it is in OpenSSH's own format; `ssh-keygen -p -m PKCS8 -f FILE` converts it in place";
                return Err(BundleError::KeyUnsupported { reason: reason.to_owned() });
            }
            _ => {}
        }
    }
    // OpenSSL's old way, inside RSA or EC PRIVATE KEY (RFC 1421 §4.6.1.1): its key comes from MD5.
    let encrypted = |line: &str| line.starts_with("Proc-Type:") && line.ends_with("ENCRYPTED");
    if lines(text).any(encrypted) {
        let algorithm = "the old PEM encryption (Proc-Type: 4,ENCRYPTED)".to_owned();
        return Err(BundleError::Locked(LockError::KeyLockUnsupported { der: false, algorithm }));
    }
    Ok(())
}

/// ENCRYPTED PRIVATE KEY sections (RFC 7468 §11).
fn open_locked_keys(
    text: &[u8],
    passphrase: Option<&Passphrase>,
    material: &mut Material,
) -> Result<(), BundleError> {
    const LABEL: &str = "ENCRYPTED PRIVATE KEY";
    if !labels(text).any(|label| label == LABEL) {
        return Ok(());
    }
    material.others.retain(|label| label != LABEL);
    for section in Pem::iter_from_buffer(text) {
        let section = section.map_err(|error| BundleError::Pem { reason: error.to_string() })?;
        if section.label == LABEL {
            material.keys.push(open_key(&section.contents, passphrase, false)?);
        }
    }
    Ok(())
}

/// Opens an EncryptedPrivateKeyInfo.
fn open_key(locked: &[u8], passphrase: Option<&Passphrase>, der: bool) -> Result<PrivateKey, BundleError> {
    if passphrase.is_none() {
        return Err(BundleError::Locked(LockError::KeyEncrypted { der }));
    }
    let opened = locked::open_key(locked, passphrase).map_err(|locked| match locked {
        Locked::WrongPassphrase => BundleError::Locked(LockError::WrongPassphrase),
        Locked::Unsupported { algorithm } => {
            BundleError::Locked(LockError::KeyLockUnsupported { der, algorithm })
        }
        Locked::TooCostly { what } => BundleError::Locked(LockError::TooCostly { what }),
        Locked::Damaged => BundleError::NotPemNorDer,
    })?;
    Ok(PrivateKeyDer::Pkcs8(opened.to_vec().into()).into())
}

// DER

fn object(bytes: &[u8], passphrase: Option<&Passphrase>, want: Want) -> Result<Material, BundleError> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(BundleError::Empty);
    }
    let mut material = Material::default();
    match shape(bytes) {
        Shape::Certificate => {
            let certificate = CertificateDer::from(bytes.to_vec());
            facts::parse(&certificate)
                .map_err(|reason| BundleError::NotACertificate { position: 1, reason })?;
            material.certificates.push(certificate);
        }
        Shape::Key => match PrivateKeyDer::try_from(bytes) {
            Ok(key) => material.keys.push(key.clone_key().into()),
            Err(_) => return Err(BundleError::NotPemNorDer),
        },
        Shape::Request => material.others.push("CERTIFICATE REQUEST".to_owned()),
        Shape::PublicKey => material.others.push("PUBLIC KEY".to_owned()),
        Shape::EncryptedKey => material.keys.push(open_key(bytes, passphrase, true)?),
        Shape::Pkcs7 => return Err(BundleError::Pkcs7 { der: true }),
        Shape::Pkcs12 => {
            material = pkcs12::read(bytes, passphrase, want)?;
            material.unordered = true;
        }
        Shape::Unknown => return Err(BundleError::NotPemNorDer),
    }
    Ok(material)
}

/// What a DER object is, judged by its outermost elements.
enum Shape {
    Certificate,
    Request,
    Key,
    PublicKey,
    EncryptedKey,
    Pkcs7,
    Pkcs12,
    Unknown,
}

/// BER, not DER, since Windows writes PKCS#12 with indefinite lengths.
fn shape(bytes: &[u8]) -> Shape {
    use BerObjectContent::{BitString, Integer, OID, OctetString, Sequence};
    let Ok((_, object)) = parse_ber(bytes) else { return Shape::Unknown };
    let Sequence(elements) = &object.content else { return Shape::Unknown };
    match contents(elements).as_slice() {
        // PFX ::= SEQUENCE { version 3, authSafe ContentInfo, … } (RFC 7292 §4)
        [Integer(version), Sequence(info), ..] if *version == [3] && starts_with_oid(info) => Shape::Pkcs12,
        // PrivateKeyInfo (RFC 5958 §2), RSAPrivateKey (RFC 8017 §A.1.2), ECPrivateKey (RFC 5915 §3)
        [Integer(_), Sequence(_) | Integer(_) | OctetString(_), ..] => Shape::Key,
        // ContentInfo (RFC 5652 §3)
        [OID(_), ..] => Shape::Pkcs7,
        // EncryptedPrivateKeyInfo (RFC 5958 §3)
        [Sequence(algorithm), OctetString(_)] if starts_with_oid(algorithm) => Shape::EncryptedKey,
        // SubjectPublicKeyInfo (RFC 5280 §4.1)
        [Sequence(algorithm), BitString(..)] if starts_with_oid(algorithm) => Shape::PublicKey,
        // Certificate (RFC 5280 §4.1) and CertificationRequest (RFC 2986 §4.2); version 0 tells the latter
        [Sequence(signed), Sequence(_), BitString(..)] => match contents(signed).as_slice() {
            [Integer(version), Sequence(_), Sequence(_), ..] if *version == [0] => Shape::Request,
            _ => Shape::Certificate,
        },
        _ => Shape::Unknown,
    }
}

fn contents<'a, 'b>(elements: &'b [BerObject<'a>]) -> Vec<&'b BerObjectContent<'a>> {
    elements.iter().map(|element| &element.content).collect()
}

fn starts_with_oid(elements: &[BerObject<'_>]) -> bool {
    matches!(elements.first().map(|element| &element.content), Some(BerObjectContent::OID(_)))
}
