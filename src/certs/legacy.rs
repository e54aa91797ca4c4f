//! Keys that OpenSSL locked in its old way: `Proc-Type: 4,ENCRYPTED` and `DEK-Info` within a PEM section (RFC 1421
//! §4.6.1.1 and §4.6.1.3). The key of the cipher is MD5 over passphrase and salt (OpenSSL's EVP_BytesToKey, one round).

use aes::{Aes128, Aes192, Aes256};
use cbc::cipher::KeyInit;
use des::{Des, TdesEde3};
use md5::{Digest, Md5};
use x509_parser::asn1_rs::{Any, FromBer};
use zeroize::Zeroizing;

use super::encrypted::{Locked, cbc_decrypt};
use super::passphrase::Passphrase;

/// How many bytes of the initialisation vector salt the key.
const SALT: usize = 8;

/// Opens the content of a section whose `DEK-Info` is `dek_info`: `AES-256-CBC,HEX`.
pub(super) fn open(
    dek_info: &str,
    ciphertext: &[u8],
    passphrase: &Passphrase,
) -> Result<Zeroizing<Vec<u8>>, Locked> {
    let (name, iv) = dek_info.split_once(',').ok_or(Locked::Damaged)?;
    let name = name.trim().to_ascii_uppercase();
    let iv = data_encoding::HEXUPPER_PERMISSIVE.decode(iv.trim().as_bytes()).map_err(|_| Locked::Damaged)?;
    let salt = iv.get(..SALT).ok_or(Locked::Damaged)?;
    let key = |length: usize| derive(passphrase, salt, length);
    let opened = match &*name {
        "AES-128-CBC" => {
            Aes128::new_from_slice(&key(16)).ok().and_then(|it| cbc_decrypt(it, &iv, ciphertext))
        }
        "AES-192-CBC" => {
            Aes192::new_from_slice(&key(24)).ok().and_then(|it| cbc_decrypt(it, &iv, ciphertext))
        }
        "AES-256-CBC" => {
            Aes256::new_from_slice(&key(32)).ok().and_then(|it| cbc_decrypt(it, &iv, ciphertext))
        }
        "DES-EDE3-CBC" => {
            TdesEde3::new_from_slice(&key(24)).ok().and_then(|it| cbc_decrypt(it, &iv, ciphertext))
        }
        "DES-CBC" => Des::new_from_slice(&key(8)).ok().and_then(|it| cbc_decrypt(it, &iv, ciphertext)),
        _ => {
            return Err(Locked::Unsupported { algorithm: "a cipher other than AES, 3DES or DES".to_owned() });
        }
    };
    let opened = opened.ok_or(Locked::WrongPassphrase)?;
    // One wrong passphrase in 256 gives a padding that seems right.
    let is_key =
        Any::from_ber(&opened).is_ok_and(|(rest, any)| rest.is_empty() && any.header.is_constructed());
    if is_key { Ok(opened) } else { Err(Locked::WrongPassphrase) }
}

fn derive(passphrase: &Passphrase, salt: &[u8], length: usize) -> Zeroizing<Vec<u8>> {
    let mut key = Zeroizing::new(Vec::with_capacity(length + 16));
    let mut last = Zeroizing::new(Vec::new());
    while key.len() < length {
        let mut hash = Md5::new();
        hash.update(&*last);
        hash.update(passphrase.as_str());
        hash.update(salt);
        last = Zeroizing::new(hash.finalize().to_vec());
        key.extend_from_slice(&last);
    }
    key.truncate(length);
    key
}
