//! Bytes as text: base64 (RFC 4648 §4), PEM (RFC 7468), hexadecimal.

use aws_lc_rs::digest::{SHA256, digest};
use zeroize::Zeroizing;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Appends `bytes` as base64 with padding.
fn push_base64(out: &mut String, bytes: &[u8]) {
    for group in bytes.chunks(3) {
        let mut word = 0u32;
        for position in 0..3 {
            word = word << 8 | group.get(position).copied().map_or(0, u32::from);
        }
        for position in 0..4 {
            let digit = ALPHABET[(word >> (18 - 6 * position) & 63) as usize];
            out.push(if position <= group.len() { char::from(digit) } else { '=' });
        }
    }
}

/// The public key pin that configs use: `sha256/` and the base64 of the digest of a SubjectPublicKeyInfo.
pub(crate) fn pin(spki: &[u8]) -> String {
    let mut out = String::from("sha256/");
    push_base64(&mut out, digest(&SHA256, spki).as_ref());
    out
}

/// A certificate's SHA-256 fingerprint the way openssl and browsers print it: `AB:CD:…`.
pub(crate) fn fingerprint(der: &[u8]) -> String {
    let digest = digest(&SHA256, der);
    let pairs: Vec<String> = digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    pairs.join(":")
}

/// Upper-case hexadecimal without separators.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
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
        push_base64(&mut out, line);
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

    #[test]
    fn base64_is_that_of_rfc_4648() {
        let pairs = [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")];
        for (plain, encoded) in pairs {
            let mut out = String::new();
            push_base64(&mut out, plain.as_bytes());
            assert_eq!(out, encoded);
        }
    }

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
