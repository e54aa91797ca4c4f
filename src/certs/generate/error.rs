//! What cannot be generated, and what to request instead.

use std::fmt;

use super::super::bundle::BundleError;
use super::super::time::Timestamp;
use super::{KeyType, MAX_DAYS, MAX_ORGANIZATIONS};
use crate::base::text::shown;

/// Why nothing was generated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GenerateError {
    /// A key type that does not exist.
    UnknownKeyType {
        /// As given.
        text: String,
    },
    /// Not an alternative name.
    BadSan {
        /// As given.
        text: String,
    },
    /// Not a country code.
    BadCountry {
        /// As given.
        text: String,
    },
    /// A validity out of range.
    BadDays {
        /// As given.
        days: u32,
    },
    /// A subject field is blank or has control characters.
    EmptyField {
        /// Its key.
        field: &'static str,
    },
    /// A subject field is longer than X.509 allows.
    FieldTooLong {
        /// Its key.
        field: &'static str,
        /// The most characters it may have.
        limit: usize,
    },
    /// More organizations than can be written.
    TooManyOrganizations {
        /// How many were given.
        count: usize,
    },
    /// Neither server nor client.
    NoUsage,
    /// A subject with parts that cannot be written here.
    CannotRepeat {
        /// The subject.
        subject: String,
    },
    /// The issuer is no CA, or must not sign certificates (keyUsage).
    IssuerIsNoCa {
        /// Its subject.
        subject: String,
    },
    /// The issuer's key is not known.
    IssuerHasNoKey {
        /// Its subject.
        subject: String,
    },
    /// The issuer's name cannot be copied byte by byte.
    IssuerName {
        /// Its subject.
        subject: String,
    },
    /// What is to be signed is no request, or not a good one.
    BadRequest {
        /// Why, and what to do.
        reason: String,
    },
    /// The issuer, or what was made, does not hold together.
    Bundle(BundleError),
    /// A time that X.509 cannot write.
    Clock {
        /// That time.
        now: Timestamp,
    },
    /// The system's random numbers failed.
    Random,
    /// The library that writes certificates refused.
    Library(rcgen::Error),
}

impl From<BundleError> for GenerateError {
    fn from(error: BundleError) -> Self {
        Self::Bundle(error)
    }
}

impl From<rcgen::Error> for GenerateError {
    fn from(error: rcgen::Error) -> Self {
        Self::Library(error)
    }
}

impl fmt::Display for GenerateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKeyType { text } => {
                let names = KeyType::ALL.map(KeyType::name).join(", ");
                write!(f, "there is no key type {}; choose one of {names}", shown(text))
            }
            Self::BadSan { text } => write!(
                f,
                "{} is not an alternative name; write DNS:host.example, DNS:*.example, IP:192.0.2.1, URI:… \
                 or email:…",
                shown(text)
            ),
            Self::BadCountry { text } => {
                write!(f, "{} is not a country; give its two letters, like DE", shown(text))
            }
            Self::BadDays { days } => write!(f, "a validity of {days} days; give 1 to {MAX_DAYS}"),
            Self::EmptyField { field } => {
                write!(f, "{field} is blank or has control characters; give a plain text")
            }
            Self::FieldTooLong { field, limit } => {
                write!(f, "{field} is longer than the {limit} characters that X.509 allows")?;
                if *field == "common_name" {
                    f.write_str("; put long host names into the alternative names")?;
                }
                Ok(())
            }
            Self::TooManyOrganizations { count } => {
                write!(f, "{count} organizations; a subject takes {MAX_ORGANIZATIONS} at most")
            }
            Self::NoUsage => f.write_str("neither server nor client usage; choose at least one"),
            Self::CannotRepeat { subject } => write!(
                f,
                "the subject {subject} has parts that cannot be written here; bring the successor with --cert and --key"
            ),
            Self::IssuerIsNoCa { subject } => {
                write!(f, "{subject} may not sign certificates; choose a CA certificate as issuer")
            }
            Self::IssuerHasNoKey { subject } => {
                write!(f, "the key of {subject} is not known; import it with its key")
            }
            Self::IssuerName { subject } => write!(
                f,
                "the name of the CA {subject} is written in a way that cannot be copied exactly; \
                 make a request (CSR) and sign it with the CA's own tools"
            ),
            Self::BadRequest { reason } => {
                write!(f, "the certificate request (CSR) can't be signed: {reason}")
            }
            Self::Bundle(error) => error.fmt(f),
            Self::Clock { now } => write!(f, "X.509 cannot write the time {now}; check this machine's clock"),
            Self::Random => f.write_str("the system gave no random numbers; try again"),
            Self::Library(error) => write!(f, "the certificate could not be written: {error}"),
        }
    }
}

impl std::error::Error for GenerateError {}
