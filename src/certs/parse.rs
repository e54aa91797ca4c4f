//! Bytes of unknown form → certificates and keys: PEM, DER, PKCS#12 or PKCS#7, told apart by their content, never by a file's
//! name.

use rustls::pki_types::pem::{self, PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::der_parser::ber::{BerObject, BerObjectContent, parse_ber};
use zeroize::{Zeroize, Zeroizing};

use super::bundle::{BundleError, LockError, PrivateKey};
use super::encrypted::{self, Locked};
use super::inspect;
use super::legacy;
use super::passphrase::Passphrase;
use super::pkcs7;
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
    let (text, sections) = apart(&text)?;
    let mut material = plain(&text)?;
    for section in sections {
        section.open(passphrase, &mut material)?;
    }
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
        let found = || labels(&text).map(str::to_owned).collect();
        let (text, sections) = apart(&text)?;
        for certificate in CertificateDer::pem_slice_iter(&text) {
            certificates.push(certificate.map_err(damaged)?);
        }
        for section in sections.iter().filter(|section| section.is_container()) {
            certificates.extend(section.certificates()?);
        }
        if certificates.is_empty() {
            return Err(BundleError::NoCertificate { found: found() });
        }
    } else {
        let material = object(bytes, passphrase, Want::Certificates)?;
        if material.certificates.is_empty() {
            return Err(BundleError::NoCertificate { found: found(&material) });
        }
        certificates = material.certificates;
    }
    for (index, certificate) in certificates.iter().enumerate() {
        inspect::parse(certificate)
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

/// Of the file's content only a label is repeated: where line breaks were lost, the decoder takes a key for a label.
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

/// A PEM section that the decoder of plain ones does not read: a locked key, or a PKCS#7 container.
struct Section {
    label: String,
    /// `DEK-Info` of a key that is locked in OpenSSL's old way.
    dek_info: Option<String>,
    der: Zeroizing<Vec<u8>>,
}

const ENCRYPTED_KEY: &str = "ENCRYPTED PRIVATE KEY";
const CONTAINERS: [&str; 2] = ["PKCS7", "CMS"];

/// Takes the sections out that need more than decoding. The rest is answered as text.
fn apart(text: &[u8]) -> Result<(Zeroizing<Vec<u8>>, Vec<Section>), BundleError> {
    let mut rest = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut sections = Vec::new();
    let mut lines = text.split_inclusive(|byte| *byte == b'\n');
    while let Some(line) = lines.next() {
        let label = labels(line).next().map(str::to_owned);
        let next = || lines.clone().find(|line| !line.trim_ascii().is_empty());
        let begins_old = label.is_some() && next().is_some_and(|next| next.starts_with(b"Proc-Type:"));
        let is_apart = |label: &str| label == ENCRYPTED_KEY || CONTAINERS.contains(&label);
        match label {
            Some(label) if begins_old || is_apart(&label) => sections.push(section(label, &mut lines)?),
            _ => rest.extend_from_slice(line),
        }
    }
    Ok((rest, sections))
}

/// Reads a section up to its end.
fn section<'a>(label: String, lines: &mut impl Iterator<Item = &'a [u8]>) -> Result<Section, BundleError> {
    let end = format!("-----END {label}-----");
    let mut packed = Zeroizing::new(Vec::new());
    let mut dek_info = None;
    for line in lines {
        let line = line.trim_ascii();
        if line == end.as_bytes() {
            let der = data_encoding::BASE64.decode(&packed);
            let der = der.map_err(|_| BundleError::Pem { reason: "its base64 is not valid".to_owned() })?;
            return Ok(Section { label, dek_info, der: Zeroizing::new(der) });
        }
        // The headers of RFC 1421 §4.6 and their continuations. Base64 has neither a colon nor a comma.
        if line.contains(&b':') || line.contains(&b',') {
            let line = String::from_utf8_lossy(line);
            dek_info = line.strip_prefix("DEK-Info:").map(|info| info.trim().to_owned()).or(dek_info);
        } else {
            packed.extend_from_slice(line);
        }
    }
    Err(BundleError::Pem { reason: format!("{end} is missing") })
}

impl Section {
    fn is_container(&self) -> bool {
        CONTAINERS.contains(&&*self.label)
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, BundleError> {
        pkcs7::certificates(&self.der).ok_or(BundleError::Pkcs7 { der: false })
    }

    fn open(&self, passphrase: Option<&Passphrase>, material: &mut Material) -> Result<(), BundleError> {
        if self.is_container() {
            material.unordered |= material.certificates.is_empty();
            material.certificates.extend(self.certificates()?);
            return Ok(());
        }
        let key = match &self.dek_info {
            None if self.label == ENCRYPTED_KEY => open_key(&self.der, passphrase, false)?,
            None => {
                let reason = "a locked key has no DEK-Info line".to_owned();
                return Err(BundleError::Pem { reason });
            }
            Some(dek_info) => {
                let passphrase =
                    passphrase.ok_or(BundleError::Locked(LockError::KeyEncrypted { der: false }))?;
                let opened = legacy::open(dek_info, &self.der, passphrase);
                let opened = opened.map_err(|locked| still_locked(locked, false))?.to_vec();
                match &*self.label {
                    "RSA PRIVATE KEY" => PrivateKeyDer::Pkcs1(opened.into()).into(),
                    "EC PRIVATE KEY" => PrivateKeyDer::Sec1(opened.into()).into(),
                    _ => PrivateKeyDer::Pkcs8(opened.into()).into(),
                }
            }
        };
        material.keys.push(key);
        Ok(())
    }
}

fn plain(text: &[u8]) -> Result<Material, BundleError> {
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

/// The labels that `sections` takes.
const USABLE: [&str; 4] = ["CERTIFICATE", "PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"];

/// The label of every section that begins in `text`.
fn labels(text: &[u8]) -> impl Iterator<Item = &str> {
    let named = lines(text).filter_map(|line| line.strip_prefix("-----BEGIN ")?.strip_suffix("-----"));
    named.filter(|label| is_label(label))
}

/// Whether it can be a section's name: those in use are a few words in capitals, and no key in base64 has that form.
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
    Ok(())
}

/// Opens an EncryptedPrivateKeyInfo.
fn open_key(locked: &[u8], passphrase: Option<&Passphrase>, der: bool) -> Result<PrivateKey, BundleError> {
    if passphrase.is_none() {
        return Err(BundleError::Locked(LockError::KeyEncrypted { der }));
    }
    let opened = encrypted::open_key(locked, passphrase).map_err(|locked| still_locked(locked, der))?;
    Ok(PrivateKeyDer::Pkcs8(opened.to_vec().into()).into())
}

fn still_locked(locked: Locked, der: bool) -> BundleError {
    match locked {
        Locked::WrongPassphrase => BundleError::Locked(LockError::WrongPassphrase),
        Locked::Unsupported { algorithm } => {
            BundleError::Locked(LockError::KeyLockUnsupported { der, algorithm })
        }
        Locked::TooCostly { what } => BundleError::Locked(LockError::TooCostly { what }),
        Locked::Damaged => BundleError::NotPemNorDer,
    }
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
            inspect::parse(&certificate)
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
        Shape::Pkcs7 => {
            material.certificates = pkcs7::certificates(bytes).ok_or(BundleError::Pkcs7 { der: true })?;
            material.unordered = true;
            for (index, certificate) in material.certificates.iter().enumerate() {
                inspect::parse(certificate)
                    .map_err(|reason| BundleError::NotACertificate { position: index + 1, reason })?;
            }
        }
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
        // Certificate (RFC 5280 §4.1) and CertificationRequest (RFC 2986 §4.2); only the latter has version 0
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
