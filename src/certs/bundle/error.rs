//! What can be wrong with a chain and a key, and what to do about it.

use std::fmt;

use super::super::time::Timestamp;

/// Why bytes are not a usable chain and key. Each message has what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BundleError {
    /// No bytes, or only white space.
    Empty,
    /// Neither a PEM section nor a DER structure that could hold a certificate or key.
    NotPemNorDer,
    /// A PEM section is damaged.
    Pem {
        /// The decoder's error.
        reason: String,
    },
    /// A certificate does not parse.
    NotACertificate {
        /// Which one, counted from 1.
        position: usize,
        /// The parser's error.
        reason: String,
    },
    /// There is no certificate.
    NoCertificate {
        /// What is there instead: PEM labels.
        found: Vec<String>,
    },
    /// There is no private key where one was promised.
    NoKey {
        /// What is there instead: PEM labels.
        found: Vec<String>,
    },
    /// Several different private keys.
    SeveralKeys {
        /// How many.
        count: usize,
    },
    /// A key or a container stays locked.
    Locked(LockError),
    /// A PKCS#12 container that is not what it should be.
    Pkcs12Damaged,
    /// A PKCS#7 container (`.p7b`) without certificates that can be read.
    Pkcs7 {
        /// Whether it is DER rather than PEM.
        der: bool,
    },
    /// OpenSSL's own TRUSTED CERTIFICATE dialect.
    TrustedCertificate,
    /// A key of a kind, size or form that TLS here cannot use.
    KeyUnsupported {
        /// What is wrong with it.
        reason: String,
    },
    /// The key belongs to none of the certificates.
    KeyMismatch {
        /// The leaf's subject.
        subject: String,
        /// The pin of the leaf's public key.
        certificate: String,
        /// The pin of the key's public half.
        key: String,
    },
    /// The curve of a certificate's EC key is not named but written out.
    ExplicitParameters {
        /// The certificate's subject.
        subject: String,
    },
    /// A certificate is no longer valid.
    Expired {
        /// Which one, counted from 1.
        position: usize,
        /// Its subject.
        subject: String,
        /// The last second it was valid.
        since: Timestamp,
    },
    /// A certificate is not valid yet.
    NotYetValid {
        /// Which one, counted from 1.
        position: usize,
        /// Its subject.
        subject: String,
        /// The first second it will be valid.
        from: Timestamp,
        /// The time of this machine's clock.
        now: Timestamp,
    },
}

impl fmt::Display for BundleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let form = |der: &bool| if *der { " -inform DER" } else { "" };
        match self {
            Self::Empty => f.write_str("it is empty; give a certificate in PEM or DER form"),
            Self::NotPemNorDer => f.write_str(
                "it is neither PEM (text with -----BEGIN CERTIFICATE-----) nor a DER certificate or key; \
                 if it is PEM, save it as plain UTF-8 text",
            ),
            Self::Pem { reason } => {
                write!(f, "a PEM section is damaged ({reason}); copy the text again, whole")
            }
            Self::NotACertificate { position, reason } => {
                write!(f, "certificate {position} cannot be read ({reason}); copy or export it again")
            }
            Self::NoCertificate { found } => {
                write!(f, "it holds no certificate{}; {}", but(found), mend_without_certificate(found))
            }
            Self::NoKey { found } => write!(f, "it holds no private key{}; give the key's file", but(found)),
            Self::SeveralKeys { count } => {
                write!(
                    f,
                    "it holds {count} different private keys; keep only the one of the first certificate"
                )
            }
            Self::Locked(error) => error.fmt(f),
            Self::Pkcs12Damaged => f.write_str(
                "it seems to be a PKCS#12 container, but cannot be read; export it again, or convert it with \
                 `openssl pkcs12 -in FILE -nodes -out bundle.pem` and use bundle.pem",
            ),
            Self::Pkcs7 { der } => write!(
                f,
                "it is a PKCS#7 container that holds no certificates, or is damaged; export the certificates again, or \
                 convert it with `openssl pkcs7{} -print_certs -in FILE -out chain.pem` and use chain.pem",
                form(der)
            ),
            Self::TrustedCertificate => f.write_str(
                "it is in OpenSSL's own TRUSTED CERTIFICATE form; convert it with \
                 `openssl x509 -in FILE -out cert.pem` and use cert.pem",
            ),
            Self::KeyUnsupported { reason } => write!(f, "the private key cannot be used: {reason}"),
            Self::KeyMismatch { subject, certificate, key } => write!(
                f,
                "the private key does not belong to the certificate {subject}: its public key is {key}, the \
                 certificate's is {certificate}; give the key that the certificate was requested with"
            ),
            Self::ExplicitParameters { subject } => write!(
                f,
                "the key of the certificate {subject} has explicit curve parameters in place of a curve's name, which TLS \
                 does not allow (RFC 5480 §2.1.1); make a key with `openssl ecparam -name prime256v1 -genkey -noout \
                 -param_enc named_curve -out key.pem`, and have a certificate made for it"
            ),
            Self::Expired { position, subject, since } => {
                write!(f, "certificate {position} ({subject}) expired at {since}; renew it")
            }
            Self::NotYetValid { position, subject, from, now } => write!(
                f,
                "certificate {position} ({subject}) is valid only from {from} on, and it is {now} now; \
                 wait, or check this machine's clock"
            ),
        }
    }
}

impl std::error::Error for BundleError {}

/// Why an encrypted file cannot be opened. Each message has what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockError {
    /// The key is locked by a passphrase.
    KeyEncrypted {
        /// Whether it is DER rather than PEM.
        der: bool,
    },
    /// The passphrase does not open it.
    WrongPassphrase,
    /// The key is locked in a way that is not read here.
    KeyLockUnsupported {
        /// Whether it is DER rather than PEM.
        der: bool,
        /// What it is locked with.
        algorithm: String,
    },
    /// Decrypting it would take more time or memory than any ordinary file requires.
    TooCostly {
        /// What it requires.
        what: String,
    },
    /// A PKCS#12 container (`.p12`, `.pfx`) that needs a passphrase.
    Pkcs12Locked,
    /// A PKCS#12 container that is locked in a way that is not read here.
    Pkcs12Unsupported {
        /// What it is locked with.
        algorithm: String,
    },
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let form = |der: &bool| if *der { " -inform DER" } else { "" };
        match self {
            Self::KeyEncrypted { der } => write!(
                f,
                "the private key is locked; give its passphrase in a file (passphrase_file, --passphrase-file), or unlock \
                 it with `openssl pkey{} -in FILE -out key.pem` and use key.pem",
                form(der)
            ),
            Self::WrongPassphrase => {
                f.write_str("the passphrase does not open it; give the right one, or get the file anew if it is damaged")
            }
            Self::KeyLockUnsupported { der, algorithm } => write!(
                f,
                "the private key is locked with {algorithm}, which is not read here; unlock it with \
                 `openssl pkey{} -in FILE -out key.pem` and use key.pem (OpenSSL 3 may need \
                 -provider legacy -provider default)",
                form(der)
            ),
            Self::TooCostly { what } => write!(
                f,
                "decrypting it would take {what}, more than any ordinary file requires; encrypt it anew, with \
                 `openssl pkcs8 -topk8` or `openssl pkcs12 -export`"
            ),
            Self::Pkcs12Locked => f.write_str(
                "it is a PKCS#12 container, which a passphrase locks; give that in a file (passphrase_file, \
                 --passphrase-file), or convert it with `openssl pkcs12 -in FILE -nodes -out bundle.pem` and use bundle.pem",
            ),
            Self::Pkcs12Unsupported { algorithm } => write!(
                f,
                "it is a PKCS#12 container locked with {algorithm}, which is not read here; convert it with \
                 `openssl pkcs12 -legacy -in FILE -nodes -out bundle.pem` and use bundle.pem"
            ),
        }
    }
}

impl std::error::Error for LockError {}

impl From<LockError> for BundleError {
    fn from(error: LockError) -> Self {
        Self::Locked(error)
    }
}

fn but(found: &[String]) -> String {
    if found.is_empty() { String::new() } else { format!(", but: {}", found.join(", ")) }
}

fn mend_without_certificate(found: &[String]) -> &'static str {
    let has = |what: &str| found.iter().any(|label| label.contains(what));
    if has("CERTIFICATE REQUEST") {
        "send the request to a CA, and give the certificate that it returns"
    } else if has("PRIVATE KEY") {
        "the key goes beside its certificate"
    } else {
        "give a certificate in PEM or DER form"
    }
}
