//! What a passphrase opens: the encryption of PKCS#8 keys and of PKCS#12 containers.
//!
//! PBES2 (RFC 8018 §6.2; AES or 3DES, PBKDF2 or scrypt) is the library's. The schemes of RFC 7292 appendix C
//! are what older OpenSSL, Java and Windows write: 3DES and RC2 with a key made by the function of its appendix B.

use aws_lc_rs::digest::{self, Context};
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeDecrypt, InnerIvInit, KeyInit};
use des::TdesEde3;
use pkcs5::pbes2::Kdf;
use rc2::Rc2;
use x509_parser::asn1_rs::{Any, FromBer, Oid};
use x509_parser::oid_registry::asn1_rs::oid;
use zeroize::Zeroizing;

use super::ber::{self, Element};
use super::passphrase::Passphrase;
use crate::base::limits::{MAX_KDF_ITERATIONS, MAX_SCRYPT_BYTES, MAX_SCRYPT_PARALLEL};

/// Why something locked stays locked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Locked {
    /// The passphrase does not fit, or the ciphertext is damaged: these cannot be distinguished.
    WrongPassphrase,
    /// An algorithm that is not understood.
    Unsupported { algorithm: String },
    /// Parameters that would keep this machine busy for long.
    TooCostly { what: String },
    /// Not what it should be.
    Damaged,
}

/// Decrypts `ciphertext` with the AlgorithmIdentifier (RFC 5280 §4.1.1.2) in `algorithm`.
pub(super) fn decrypt(
    algorithm: &Element<'_>,
    ciphertext: &[u8],
    passphrase: Option<&Passphrase>,
) -> Result<Zeroizing<Vec<u8>>, Locked> {
    const PBES2: Oid<'static> = oid!(1.2.840.113549.1.5.13);
    let parts = algorithm.sequence().ok_or(Locked::Damaged)?;
    let scheme = parts.first().and_then(Element::oid).ok_or(Locked::Damaged)?;
    if scheme == PBES2 {
        return pbes2(algorithm.der, ciphertext, passphrase);
    }
    let scheme = Pkcs12Scheme::of(&scheme)?;
    let parameters = parts.get(1).and_then(Element::sequence).ok_or(Locked::Damaged)?;
    let [salt, iterations] = &parameters[..] else { return Err(Locked::Damaged) };
    let salt = salt.octets().ok_or(Locked::Damaged)?;
    let iterations = bounded(iterations.integer().ok_or(Locked::Damaged)?)?;
    let kdf = Pkcs12Kdf { hash: &digest::SHA1_FOR_LEGACY_USE_ONLY, salt: &salt, iterations };
    // A container without a passphrase may have been locked with an empty one, or with none at all.
    let mut candidates = vec![kdf.password(passphrase)];
    if passphrase.is_none_or(|passphrase| passphrase.as_str().is_empty()) {
        candidates.push(Zeroizing::default());
    }
    let opened = candidates.iter().find_map(|password| scheme.decrypt(&kdf, password, ciphertext));
    opened.ok_or(Locked::WrongPassphrase)
}

fn pbes2(
    algorithm: &[u8],
    ciphertext: &[u8],
    passphrase: Option<&Passphrase>,
) -> Result<Zeroizing<Vec<u8>>, Locked> {
    let unknown = |_| Locked::Unsupported { algorithm: "a PBES2 scheme of an unknown kind".to_owned() };
    let scheme = pkcs5::EncryptionScheme::try_from(algorithm).map_err(unknown)?;
    let Some(parameters) = scheme.pbes2() else { return Err(Locked::Damaged) };
    match &parameters.kdf {
        Kdf::Pbkdf2(pbkdf2) => {
            bounded(u64::from(pbkdf2.iteration_count))?;
        }
        Kdf::Scrypt(scrypt) => {
            let bytes = (u64::from(scrypt.block_size) * 128).saturating_mul(scrypt.cost_parameter);
            if bytes > MAX_SCRYPT_BYTES || scrypt.parallelization > MAX_SCRYPT_PARALLEL {
                let what = format!("scrypt with {} MiB {} times over", bytes >> 20, scrypt.parallelization);
                return Err(Locked::TooCostly { what });
            }
        }
        _ => return Err(Locked::Unsupported { algorithm: parameters.kdf.oid().to_string() }),
    }
    let passphrase = passphrase.map_or("", Passphrase::as_str);
    match parameters.decrypt(passphrase, ciphertext) {
        Ok(opened) => Ok(Zeroizing::new(opened)),
        Err(pkcs5::Error::UnsupportedAlgorithm { oid }) => {
            Err(Locked::Unsupported { algorithm: oid.to_string() })
        }
        Err(pkcs5::Error::AlgorithmParametersInvalid { .. }) => Err(Locked::Damaged),
        Err(_) => Err(Locked::WrongPassphrase),
    }
}

/// A number of iterations that this machine can afford.
pub(super) fn bounded(iterations: u64) -> Result<u32, Locked> {
    let fits = u32::try_from(iterations).ok().filter(|it| (1..=MAX_KDF_ITERATIONS).contains(it));
    fits.ok_or_else(|| Locked::TooCostly { what: format!("{iterations} iterations") })
}

/// The block ciphers of RFC 7292 appendix C that are still met.
enum Pkcs12Scheme {
    TripleDes,
    Rc2 { bytes: usize },
}

impl Pkcs12Scheme {
    fn of(scheme: &Oid<'_>) -> Result<Self, Locked> {
        const KNOWN: [(Oid<'static>, Option<Pkcs12Scheme>, &str); 9] = [
            (oid!(1.2.840.113549.1.12.1.3), Some(Pkcs12Scheme::TripleDes), ""),
            (oid!(1.2.840.113549.1.12.1.5), Some(Pkcs12Scheme::Rc2 { bytes: 16 }), ""),
            (oid!(1.2.840.113549.1.12.1.6), Some(Pkcs12Scheme::Rc2 { bytes: 5 }), ""),
            (oid!(1.2.840.113549.1.12.1.1), None, "RC4 with 128 bits"),
            (oid!(1.2.840.113549.1.12.1.2), None, "RC4 with 40 bits"),
            (oid!(1.2.840.113549.1.12.1.4), None, "3DES with two keys"),
            (oid!(1.2.840.113549.1.5.3), None, "DES with MD5"),
            (oid!(1.2.840.113549.1.5.6), None, "RC2 with MD5"),
            (oid!(1.2.840.113549.1.5.10), None, "DES with SHA-1"),
        ];
        for (known, supported, name) in KNOWN {
            if known == *scheme {
                return supported.ok_or_else(|| Locked::Unsupported { algorithm: name.to_owned() });
            }
        }
        Err(Locked::Unsupported { algorithm: format!("the algorithm {scheme}") })
    }

    /// None: the padding shows that the key is a wrong one.
    fn decrypt(&self, kdf: &Pkcs12Kdf<'_>, password: &[u8], ciphertext: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        const BLOCK: usize = 8;
        let iv = kdf.derive(Purpose::Iv, password, BLOCK);
        match self {
            Self::TripleDes => {
                let key = kdf.derive(Purpose::Key, password, 24);
                cbc_decrypt(TdesEde3::new_from_slice(&key).ok()?, &iv, ciphertext)
            }
            Self::Rc2 { bytes } => {
                let key = kdf.derive(Purpose::Key, password, *bytes);
                cbc_decrypt(Rc2::new_with_eff_key_len(&key, bytes * 8), &iv, ciphertext)
            }
        }
    }
}

/// None: the padding shows that the key is a wrong one.
pub(super) fn cbc_decrypt<C>(cipher: C, iv: &[u8], ciphertext: &[u8]) -> Option<Zeroizing<Vec<u8>>>
where
    C: cbc::cipher::BlockCipherDecrypt,
{
    let decryptor = cbc::Decryptor::<C>::inner_iv_slice_init(cipher, iv).ok()?;
    let mut buffer = Zeroizing::new(ciphertext.to_vec());
    let length = decryptor.decrypt_padded::<Pkcs7>(&mut buffer).ok()?.len();
    buffer.truncate(length);
    Some(buffer)
}

/// What a derived key is for: the "ID byte" (RFC 7292 §B.3).
#[derive(Clone, Copy)]
pub(super) enum Purpose {
    Key = 1,
    Iv = 2,
    Mac = 3,
}

/// Keys from a passphrase (RFC 7292 §B.2).
pub(super) struct Pkcs12Kdf<'a> {
    pub hash: &'static digest::Algorithm,
    pub salt: &'a [u8],
    pub iterations: u32,
}

impl Pkcs12Kdf<'_> {
    /// A passphrase as this function takes it: UTF-16, big endian, with a zero at its end.
    pub(super) fn password(&self, passphrase: Option<&Passphrase>) -> Zeroizing<Vec<u8>> {
        let text = passphrase.map_or("", Passphrase::as_str);
        let mut password = Zeroizing::new(Vec::with_capacity(2 * (text.len() + 1)));
        for unit in text.encode_utf16().chain([0]) {
            password.extend_from_slice(&unit.to_be_bytes());
        }
        password
    }

    pub(super) fn derive(&self, purpose: Purpose, password: &[u8], length: usize) -> Zeroizing<Vec<u8>> {
        let block = self.hash.block_len();
        let fill = |bytes: &[u8]| -> Zeroizing<Vec<u8>> {
            let length = bytes.len().div_ceil(block) * block;
            Zeroizing::new(bytes.iter().copied().cycle().take(length).collect())
        };
        let diversifier = vec![purpose as u8; block];
        let mut input = fill(self.salt);
        input.extend_from_slice(&fill(password));
        let mut out = Zeroizing::new(Vec::with_capacity(length + self.hash.output_len()));
        loop {
            let mut context = Context::new(self.hash);
            context.update(&diversifier);
            context.update(&input);
            let mut hashed = context.finish();
            for _ in 1..self.iterations {
                hashed = digest::digest(self.hash, hashed.as_ref());
            }
            out.extend_from_slice(hashed.as_ref());
            if out.len() >= length {
                out.truncate(length);
                return out;
            }
            for chunk in input.chunks_exact_mut(block) {
                add_one_and(chunk, hashed.as_ref());
            }
        }
    }
}

/// `number` + B + 1 modulo 2^(8 × its length), where B is `hashed` over and over.
fn add_one_and(number: &mut [u8], hashed: &[u8]) {
    let mut carry = 1u16;
    for (at, byte) in number.iter_mut().enumerate().rev() {
        carry += u16::from(*byte) + u16::from(hashed[at % hashed.len()]);
        *byte = carry.to_be_bytes()[1];
        carry >>= 8;
    }
}

/// The PKCS#8 key in an EncryptedPrivateKeyInfo (RFC 5958 §3).
pub(super) fn open_key(der: &[u8], passphrase: Option<&Passphrase>) -> Result<Zeroizing<Vec<u8>>, Locked> {
    let outer = ber::one(der).ok_or(Locked::Damaged)?;
    let parts = outer.sequence().ok_or(Locked::Damaged)?;
    let [algorithm, ciphertext] = &parts[..] else { return Err(Locked::Damaged) };
    let opened = decrypt(algorithm, &ciphertext.octets().ok_or(Locked::Damaged)?, passphrase)?;
    // One wrong passphrase in 256 gives a padding that seems right.
    let is_key =
        Any::from_ber(&opened).is_ok_and(|(rest, any)| rest.is_empty() && any.header.is_constructed());
    if is_key { Ok(opened) } else { Err(Locked::WrongPassphrase) }
}
