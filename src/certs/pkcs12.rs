//! PKCS#12 containers (RFC 7292): `.p12` and `.pfx`, as OpenSSL, Java and Windows write them.

use aws_lc_rs::digest;
use aws_lc_rs::hmac;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::asn1_rs::Oid;
use x509_parser::oid_registry::asn1_rs::oid;
use zeroize::Zeroizing;

use super::ber::{self, Element};
use super::bundle::{BundleError, LockError};
use super::encrypted::{self, Locked, Pkcs12Kdf, Purpose};
use super::parse::Material;
use super::passphrase::Passphrase;

mod write;

pub(crate) use write::write;

const DATA: Oid<'static> = oid!(1.2.840.113549.1.7.1);
const ENCRYPTED_DATA: Oid<'static> = oid!(1.2.840.113549.1.7.6);
const KEY_BAG: Oid<'static> = oid!(1.2.840.113549.1.12.10.1.1);
const SHROUDED_KEY_BAG: Oid<'static> = oid!(1.2.840.113549.1.12.10.1.2);
const CERT_BAG: Oid<'static> = oid!(1.2.840.113549.1.12.10.1.3);
const SAFE_CONTENTS_BAG: Oid<'static> = oid!(1.2.840.113549.1.12.10.1.6);
const X509_CERTIFICATE: Oid<'static> = oid!(1.2.840.113549.1.9.22.1);

/// How deep SafeContents may lie in each other.
const MAX_DEPTH: usize = 4;

/// Whether keys are wanted, too, or certificates only.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    /// Certificates and keys.
    All,
    /// Certificates. Keys stay locked.
    Certificates,
}

/// Reads a PFX. Its certificates are in no particular order.
pub(super) fn read(
    bytes: &[u8],
    passphrase: Option<&Passphrase>,
    want: Want,
) -> Result<Material, BundleError> {
    let mut material = Material::default();
    Reader { passphrase, want }.pfx(bytes, &mut material).map_err(|locked| match locked {
        Locked::WrongPassphrase if passphrase.is_none() => BundleError::Locked(LockError::Pkcs12Locked),
        Locked::WrongPassphrase => BundleError::Locked(LockError::WrongPassphrase),
        Locked::Unsupported { algorithm } => BundleError::Locked(LockError::Pkcs12Unsupported { algorithm }),
        Locked::TooCostly { what } => BundleError::Locked(LockError::TooCostly { what }),
        Locked::Damaged => BundleError::Pkcs12Damaged,
    })?;
    Ok(material)
}

struct Reader<'a> {
    passphrase: Option<&'a Passphrase>,
    want: Want,
}

impl Reader<'_> {
    /// `PFX ::= SEQUENCE { version, authSafe ContentInfo, macData MacData OPTIONAL }`
    fn pfx(&self, bytes: &[u8], material: &mut Material) -> Result<(), Locked> {
        let pfx = ber::one(bytes).ok_or(Locked::Damaged)?;
        let parts = pfx.sequence().ok_or(Locked::Damaged)?;
        let info = parts.get(1).ok_or(Locked::Damaged)?;
        let (kind, content) = ber::content_info(info).ok_or(Locked::Damaged)?;
        if kind != DATA {
            return Err(Locked::Unsupported { algorithm: "a signature instead of a passphrase".to_owned() });
        }
        let safe = content.octets().ok_or(Locked::Damaged)?;
        if let Some(mac) = parts.get(2) {
            self.check_mac(mac, &safe)?;
        }
        let safe = ber::one(&safe).ok_or(Locked::Damaged)?;
        for info in safe.sequence().ok_or(Locked::Damaged)? {
            self.authenticated(&info, material)?;
        }
        Ok(())
    }

    /// Distinguishes a wrong passphrase from a right one (`MacData`, RFC 7292 §4).
    fn check_mac(&self, mac: &Element<'_>, safe: &[u8]) -> Result<(), Locked> {
        let parts = mac.sequence().ok_or(Locked::Damaged)?;
        let [info, salt, rest @ ..] = &parts[..] else { return Err(Locked::Damaged) };
        let info = info.sequence().ok_or(Locked::Damaged)?;
        let [algorithm, wanted] = &info[..] else { return Err(Locked::Damaged) };
        let algorithm = algorithm.sequence().ok_or(Locked::Damaged)?;
        let Some((hash, mac)) = algorithm.first().and_then(Element::oid).and_then(|oid| hash(&oid)) else {
            // An unknown kind (PBMAC1, RFC 9579): the decryption fails as well with a wrong passphrase.
            return Ok(());
        };
        let salt = salt.octets().ok_or(Locked::Damaged)?;
        let iterations = rest.first().map_or(Some(1), Element::integer).ok_or(Locked::Damaged)?;
        let iterations = encrypted::bounded(iterations)?;
        let wanted = wanted.octets().ok_or(Locked::Damaged)?;
        let kdf = Pkcs12Kdf { hash, salt: &salt, iterations };
        let fits = |password: &[u8]| {
            let key = hmac::Key::new(mac, &kdf.derive(Purpose::Mac, password, hash.output_len()));
            hmac::verify(&key, safe, &wanted).is_ok()
        };
        // Without a passphrase: an empty one, or none at all.
        let is_empty = self.passphrase.is_none_or(|passphrase| passphrase.as_str().is_empty());
        if fits(&kdf.password(self.passphrase)) || (is_empty && fits(&[])) {
            return Ok(());
        }
        Err(Locked::WrongPassphrase)
    }

    /// One ContentInfo of the AuthenticatedSafe.
    fn authenticated(&self, info: &Element<'_>, material: &mut Material) -> Result<(), Locked> {
        let (kind, content) = ber::content_info(info).ok_or(Locked::Damaged)?;
        let contents = if kind == DATA {
            content.octets().ok_or(Locked::Damaged)?
        } else if kind == ENCRYPTED_DATA {
            // EncryptedData ::= SEQUENCE { version, EncryptedContentInfo { type, algorithm, [0] content } }
            let parts = content.sequence().ok_or(Locked::Damaged)?;
            let encrypted = parts.get(1).and_then(Element::sequence).ok_or(Locked::Damaged)?;
            let [_, algorithm, ciphertext] = &encrypted[..] else { return Err(Locked::Damaged) };
            let ciphertext = ciphertext.implicit_octets(0).ok_or(Locked::Damaged)?;
            encrypted::decrypt(algorithm, &ciphertext, self.passphrase)?
        } else {
            return Err(Locked::Unsupported {
                algorithm: "a recipient's key instead of a passphrase".to_owned(),
            });
        };
        // Padding that fits by chance leaves junk.
        let contents = ber::one(&contents).ok_or(Locked::WrongPassphrase)?;
        self.bags(&contents, material, 0)
    }

    /// `SafeContents ::= SEQUENCE OF SafeBag`
    fn bags(&self, contents: &Element<'_>, material: &mut Material, depth: usize) -> Result<(), Locked> {
        for bag in contents.sequence().ok_or(Locked::Damaged)? {
            let parts = bag.sequence().ok_or(Locked::Damaged)?;
            let [kind, value, ..] = &parts[..] else { return Err(Locked::Damaged) };
            let (kind, value) =
                (kind.oid().ok_or(Locked::Damaged)?, value.explicit(0).ok_or(Locked::Damaged)?);
            if kind == CERT_BAG {
                material.certificates.extend(certificate(&value)?);
            } else if kind == KEY_BAG && self.want == Want::All {
                push_key(material, Zeroizing::new(value.der.to_vec()));
            } else if kind == SHROUDED_KEY_BAG && self.want == Want::All {
                push_key(material, encrypted::open_key(value.der, self.passphrase)?);
            } else if kind == SAFE_CONTENTS_BAG && depth < MAX_DEPTH {
                self.bags(&value, material, depth + 1)?;
            }
            // CRLs and secrets are no use here.
        }
        Ok(())
    }
}

/// `CertBag ::= SEQUENCE { certId, [0] EXPLICIT certValue }`; none if it is not X.509's kind.
fn certificate(bag: &Element<'_>) -> Result<Option<CertificateDer<'static>>, Locked> {
    let parts = bag.sequence().ok_or(Locked::Damaged)?;
    let [kind, value] = &parts[..] else { return Err(Locked::Damaged) };
    if kind.oid().ok_or(Locked::Damaged)? != X509_CERTIFICATE {
        return Ok(None);
    }
    let der = value.explicit(0).and_then(|value| value.octets()).ok_or(Locked::Damaged)?;
    Ok(Some(CertificateDer::from(der.to_vec())))
}

fn push_key(material: &mut Material, der: Zeroizing<Vec<u8>>) {
    let key: PrivateKeyDer<'static> = PrivateKeyDer::Pkcs8(der.to_vec().into());
    material.keys.push(key.into());
}

fn hash(oid: &Oid<'_>) -> Option<(&'static digest::Algorithm, hmac::Algorithm)> {
    let known = [
        (oid!(1.3.14.3.2.26), &digest::SHA1_FOR_LEGACY_USE_ONLY, hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY),
        (oid!(2.16.840.1.101.3.4.2.4), &digest::SHA224, hmac::HMAC_SHA224),
        (oid!(2.16.840.1.101.3.4.2.1), &digest::SHA256, hmac::HMAC_SHA256),
        (oid!(2.16.840.1.101.3.4.2.2), &digest::SHA384, hmac::HMAC_SHA384),
        (oid!(2.16.840.1.101.3.4.2.3), &digest::SHA512, hmac::HMAC_SHA512),
    ];
    known.into_iter().find(|(known, ..)| known == oid).map(|(_, hash, mac)| (hash, mac))
}
