//! Which certificate of a chain is why webpki refuses it.

use rustls::pki_types::CertificateDer;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::backend_verifier::{TrustAnchors, Unacceptable};
use super::certificate_facts::{plain_name, unsupported_extension};
use super::revocation::is_signed_by;

/// A better word for `error` than webpki has; `None`: there is none.
pub(super) fn explain(
    error: &webpki::Error,
    end_entity: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    anchors: &TrustAnchors,
) -> Option<Unacceptable> {
    let (_, leaf) = X509Certificate::from_der(end_entity).ok()?;
    let above: Vec<_> =
        intermediates.iter().filter_map(|der| Some(X509Certificate::from_der(der).ok()?.1)).collect();
    match error {
        webpki::Error::UnsupportedCriticalExtension => critical(&leaf, &above),
        webpki::Error::NameConstraintViolation => constrained(&leaf, &above, anchors),
        webpki::Error::PathLenConstraintViolated
        | webpki::Error::UnknownIssuer
        | webpki::Error::InvalidSignatureForPublicKey => self_issued(&above, anchors),
        _ => None,
    }
}

fn critical(leaf: &X509Certificate<'_>, above: &[X509Certificate<'_>]) -> Option<Unacceptable> {
    if let Some(extension) = unsupported_extension(leaf) {
        return Some(Unacceptable::CriticalExtension { extension, authority: None });
    }
    above.iter().find_map(|authority| {
        let extension = unsupported_extension(authority)?;
        let authority = Some(plain_name(authority.subject()));
        Some(Unacceptable::CriticalExtension { extension, authority })
    })
}

/// The authority that constrains names of a kind that webpki knows no constraints of, if the leaf has such a name.
fn constrained(
    leaf: &X509Certificate<'_>,
    above: &[X509Certificate<'_>],
    anchors: &TrustAnchors,
) -> Option<Unacceptable> {
    let names = leaf.subject_alternative_name().ok().flatten();
    let names = names.map_or(&[][..], |names| &names.value.general_names);
    let by = |authority: &X509Certificate<'_>| {
        let constraints =
            authority.extensions().iter().find_map(|extension| match extension.parsed_extension() {
                ParsedExtension::NameConstraints(constraints) => Some(constraints),
                _ => None,
            })?;
        let subtrees = [&constraints.permitted_subtrees, &constraints.excluded_subtrees];
        let mut bases = subtrees.into_iter().flatten().flatten().map(|subtree| &subtree.base);
        let kind = bases.find_map(|base| {
            let kind = unsupported(base)?;
            let is_named = matches!(base, GeneralName::DirectoryName(_))
                || names.iter().any(|name| unsupported(name) == Some(kind));
            is_named.then_some(kind)
        })?;
        Some(Unacceptable::NameConstraints { authority: plain_name(authority.subject()), kind })
    };
    let last = above.last().unwrap_or(leaf);
    above.iter().find_map(by).or_else(|| {
        let mut roots = anchors.facts().filter(|known| known.subject == last.issuer().as_raw());
        roots.find_map(|known| by(&X509Certificate::from_der(&known.der).ok()?.1))
    })
}

/// The kind of a name, if webpki knows no constraints of it.
fn unsupported(name: &GeneralName<'_>) -> Option<&'static str> {
    match name {
        GeneralName::DNSName(_) | GeneralName::IPAddress(_) => None,
        GeneralName::DirectoryName(_) => Some("directory names"),
        GeneralName::URI(_) => Some("URIs"),
        GeneralName::RFC822Name(_) => Some("e-mail addresses"),
        _ => Some("other names"),
    }
}

/// A certificate that an authority issued to itself for another key (RFC 5280 §3.2), which webpki does not follow.
fn self_issued(above: &[X509Certificate<'_>], anchors: &TrustAnchors) -> Option<Unacceptable> {
    let found = above.iter().find(|authority| {
        authority.subject() == authority.issuer()
            && anchors.facts().any(|known| known.subject == authority.subject().as_raw())
            && !is_signed_by(authority.as_raw(), authority.public_key().raw)
    })?;
    Some(Unacceptable::SelfIssued { name: plain_name(found.subject()) })
}
