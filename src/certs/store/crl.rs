//! Certificate revocation lists from files.

use std::path::Path;

use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use super::{MAX_CRL_BYTES, StoreError, read_file};

/// Reads revocation lists: any number in PEM, or one in DER.
pub(crate) fn load_crls(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, StoreError> {
    let file = read_file(path, MAX_CRL_BYTES)?;
    let bad = |reason: String| StoreError::NotARevocationList { path: path.to_owned(), reason };
    let text = file.bytes.windows(11).any(|window| window == b"-----BEGIN ");
    let lists: Vec<CertificateRevocationListDer<'static>> = if text {
        let lists = CertificateRevocationListDer::pem_slice_iter(&file.bytes).collect::<Result<_, _>>();
        lists.map_err(|error| bad(error.to_string()))?
    } else {
        vec![file.bytes.to_vec().into()]
    };
    if lists.is_empty() {
        return Err(bad("it has no section `X509 CRL`".to_owned()));
    }
    for list in &lists {
        CertificateRevocationList::from_der(list).map_err(|error| bad(error.to_string()))?;
    }
    Ok(lists)
}
