//! Bytes as text: pins, PEM (RFC 7468), hexadecimal.

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::{BASE64, HEXUPPER};
use zeroize::Zeroizing;

/// The public key pin that configs use: `sha256/` and the base64 of the digest of a SubjectPublicKeyInfo.
pub(crate) fn pin(spki: &[u8]) -> String {
    format!("sha256/{}", BASE64.encode(digest(&SHA256, spki).as_ref()))
}

/// A certificate's SHA-256 fingerprint the way openssl and browsers print it: `AB:CD:…`.
pub(crate) fn fingerprint(der: &[u8]) -> String {
    let digest = digest(&SHA256, der);
    let pairs: Vec<String> = digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    pairs.join(":")
}

/// Upper-case hexadecimal without separators.
pub(crate) fn hex(bytes: &[u8]) -> String {
    HEXUPPER.encode(bytes)
}

/// One PEM section. The text wipes itself, since it may be a private key; its buffer is sized at
/// once, so that growing it leaves no copies behind.
pub(crate) fn pem(label: &str, der: &[u8]) -> Zeroizing<String> {
    const BYTES_PER_LINE: usize = 48;
    let lines = der.len().div_ceil(BYTES_PER_LINE);
    let mut out = Zeroizing::new(String::with_capacity(lines * 65 + 2 * (label.len() + 18)));
    out.push_str("-----BEGIN ");
    out.push_str(label);
    out.push_str("-----\n");
    for line in der.chunks(BYTES_PER_LINE) {
        BASE64.encode_append(line, &mut out);
        out.push('\n');
    }
    out.push_str("-----END ");
    out.push_str(label);
    out.push_str("-----\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    proptest! {
        #[test]
        fn pem_is_read_back_and_never_regrows(der in proptest::collection::vec(any::<u8>(), 1..500)) {
            let text = pem("CERTIFICATE", &der);
            let back = CertificateDer::from_pem_slice(text.as_bytes()).unwrap();
            prop_assert_eq!(back.as_ref(), &der[..]);
            prop_assert!(text.lines().all(|line| line.len() <= 64));
            prop_assert!(text.len() <= der.len().div_ceil(48) * 65 + 2 * ("CERTIFICATE".len() + 18));
        }
    }
}
