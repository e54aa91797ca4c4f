//! The certificates of a PKCS#7 container (`.p7b`): a SignedData that signs nothing (RFC 5652 §5.1, "certs-only" in
//! RFC 8551 §3.2.2.1). CAs and Windows hand chains out in this form.

use rustls::pki_types::CertificateDer;
use x509_parser::asn1_rs::Oid;
use x509_parser::oid_registry::asn1_rs::oid;

use super::ber;

const SIGNED_DATA: Oid<'static> = oid!(1.2.840.113549.1.7.2);

/// The certificates of a ContentInfo, in no particular order; none if it cannot be read or is of another kind.
pub(super) fn certificates(der: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    // SignedData ::= SEQUENCE { version, digestAlgorithms, encapContentInfo, certificates [0] IMPLICIT SET OPTIONAL, … }
    let outer = ber::one(der)?;
    let (kind, content) = ber::content_info(&outer)?;
    if kind != SIGNED_DATA {
        return None;
    }
    let parts = content.sequence()?;
    let set = parts.iter().skip(3).find_map(|part| part.implicit_set(0))?;
    // The set may hold attribute certificates, too, which have other tags.
    let certificates = set.iter().filter(|one| one.sequence().is_some());
    Some(certificates.map(|one| CertificateDer::from(one.der.to_vec())).collect())
}
