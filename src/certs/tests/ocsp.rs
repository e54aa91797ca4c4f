//! OCSP requests and responses against OpenSSL's responder.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, SerialNumber,
};
use rustls::pki_types::CertificateDer;

use crate::certs::ocsp::{OcspError, Subject, must_staple};

const DAY: Duration = Duration::from_secs(86_400);

/// A CA with the files that OpenSSL's responder needs.
struct Ca {
    dir: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
}

impl Ca {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "A CA with OCSP");
        let key = KeyPair::generate().unwrap();
        let made = params.self_signed(&key).unwrap();
        std::fs::write(dir.path().join("ca.pem"), made.pem()).unwrap();
        std::fs::write(dir.path().join("ca.key"), key.serialize_pem()).unwrap();
        Self { der: made.der().clone(), issuer: Issuer::new(params, key), dir }
    }

    fn leaf(
        &self,
        serial: u64,
        shape: impl FnOnce(&mut CertificateParams),
    ) -> (Vec<CertificateDer<'static>>, PathBuf) {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.serial_number = Some(SerialNumber::from(serial));
        shape(&mut params);
        let key = KeyPair::generate().unwrap();
        let made = params.signed_by(&key, &self.issuer).unwrap();
        let file = self.dir.path().join(format!("{serial}.pem"));
        std::fs::write(&file, made.pem()).unwrap();
        std::fs::write(file.with_extension("key"), key.serialize_pem()).unwrap();
        (vec![made.der().clone(), self.der.clone()], file)
    }

    /// OpenSSL's response about a certificate, for a day. `line` is its line of the index, but for the serial number.
    fn response(&self, leaf: &Path, line: &str, signer: &str, options: &[&str]) -> Vec<u8> {
        let at = |name: &str| self.dir.path().join(name);
        let serial: u64 = leaf.file_stem().unwrap().to_str().unwrap().parse().unwrap();
        std::fs::write(at("index"), format!("{line}\t{serial:02X}\tunknown\t/CN=x\n")).unwrap();
        let mut command = Command::new("openssl");
        command.arg("ocsp").arg("-index").arg(at("index")).arg("-CA").arg(at("ca.pem"));
        command
            .arg("-rsigner")
            .arg(at(&format!("{signer}.pem")))
            .arg("-rkey")
            .arg(at(&format!("{signer}.key")));
        command.arg("-issuer").arg(at("ca.pem")).arg("-cert").arg(leaf).arg("-respout").arg(at("response"));
        let output = command.arg("-noverify").args(options).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        std::fs::read(at("response")).unwrap()
    }
}

const VALID: &str = "V\t491231235959Z\t";
const ENDS: &[&str] = &["-ndays", "1"];

#[test]
fn a_response_is_good_in_its_time_for_its_certificate_alone() {
    let (ca, now) = (Ca::new(), SystemTime::now());
    let (chain, file) = ca.leaf(0x1234, |_| {});
    let (other, _) = ca.leaf(0x8765, |_| {});
    let der = ca.response(&file, VALID, "ca", ENDS);
    let subject = Subject::of(&chain).unwrap();
    let good = subject.judge(&der, now).unwrap();
    assert_eq!(good.next_update.unix() - good.this_update.unix(), 86_400);
    let pem = format!(
        "-----BEGIN OCSP RESPONSE-----\n{}\n-----END OCSP RESPONSE-----\n",
        data_encoding::BASE64.encode(&der)
    );
    assert_eq!(subject.judge(pem.as_bytes(), now).unwrap(), good);
    let judged = |der: &[u8], at| subject.judge(der, at).unwrap_err();
    assert!(matches!(judged(&der, now + DAY + DAY), OcspError::Ended(_)));
    assert!(matches!(judged(&der, now - DAY), OcspError::NotYet(_)));
    let foreign = Subject::of(&other).unwrap().judge(&der, now).unwrap_err();
    assert_eq!(foreign, OcspError::Foreign(vec!["1234".to_owned()]));
    // The same serial number of another CA.
    let (stranger, _) = Ca::new().leaf(0x1234, |_| {});
    assert!(matches!(Subject::of(&stranger).unwrap().judge(&der, now), Err(OcspError::Foreign(_))));
    assert_eq!(judged(&ca.response(&file, VALID, "ca", &[]), now), OcspError::Endless);
    let revoked = ca.response(&file, "R\t491231235959Z\t240102030405Z", "ca", ENDS);
    let OcspError::Revoked(Some(since)) = judged(&revoked, now) else { panic!("it is revoked") };
    assert_eq!(since.to_string(), "2024-01-02T03:04:05Z");
    let nothing = ca.response(&file, VALID, "ca", &["-ndays", "1", "-resp_no_certs"]);
    assert!(subject.judge(&nothing, now).is_ok(), "the issuer itself needs no certificate in it");
    assert_eq!(judged(&[0x30, 0x03, 0x0a, 0x01, 0x06], now), OcspError::Status(6));
    assert_eq!(judged(b"hello", now), OcspError::Damaged);
}

#[test]
fn a_response_counts_only_if_the_issuer_signed_it_or_delegated_that() {
    let (ca, now) = (Ca::new(), SystemTime::now());
    let (chain, file) = ca.leaf(7, |_| {});
    let subject = Subject::of(&chain).unwrap();
    let delegated = |params: &mut CertificateParams| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::OcspSigning]
    };
    let _ = ca.leaf(8, delegated);
    assert!(subject.judge(&ca.response(&file, VALID, "8", ENDS), now).is_ok());
    // Any other certificate of the CA may not sign, nor may a delegate that has ended.
    let _ = ca.leaf(9, |_| {});
    let signed = |signer: &str| subject.judge(&ca.response(&file, VALID, signer, ENDS), now);
    assert_eq!(signed("9"), Err(OcspError::Signature));
    let _ = ca.leaf(10, |params| {
        delegated(params);
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    });
    assert_eq!(signed("10"), Err(OcspError::Signature));
    let mut damaged = ca.response(&file, VALID, "ca", &["-ndays", "1", "-resp_no_certs"]);
    *damaged.last_mut().unwrap() ^= 1;
    assert_eq!(subject.judge(&damaged, now), Err(OcspError::Signature));
}

#[test]
fn openssl_understands_our_request() {
    let ca = Ca::new();
    let (chain, _) = ca.leaf(0x00ff_ee00, |_| {});
    let request = ca.dir.path().join("request");
    std::fs::write(&request, Subject::of(&chain).unwrap().request()).unwrap();
    let output =
        Command::new("openssl").args(["ocsp", "-req_text", "-reqin"]).arg(&request).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("Hash Algorithm: sha1") && said.contains("Serial Number: FFEE00"), "{said}");
    assert!(!said.contains("Nonce"), "{said}");
}

#[test]
fn what_a_certificate_says_of_ocsp_is_read() {
    let ca = Ca::new();
    let url = b"http://ocsp.example/x";
    let access =
        [&[0x30, 0x23, 0x30, 0x21, 0x06, 0x08, 0x2b, 6, 1, 5, 5, 7, 0x30, 1, 0x86, 0x15], &url[..]].concat();
    let (chain, _) = ca.leaf(1, |params| {
        params.custom_extensions = vec![
            CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 1], access),
            CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 24], vec![0x30, 3, 2, 1, 5]),
        ];
    });
    assert_eq!(Subject::of(&chain).unwrap().url().as_deref(), Some("http://ocsp.example/x"));
    assert!(must_staple(&chain[0]));
    let (plain, _) = ca.leaf(2, |_| {});
    assert_eq!((Subject::of(&plain).unwrap().url(), must_staple(&plain[0])), (None, false));
    assert!(
        matches!(Subject::of(&plain[..1]), Err(OcspError::NoIssuer(name)) if name.contains("A CA with OCSP"))
    );
}

proptest! {
    #[test]
    fn any_damage_is_survived(at in 0_usize..600, value in any::<u8>(), end in 0_usize..600) {
        use std::sync::LazyLock;
        static MADE: LazyLock<(Vec<CertificateDer<'static>>, Vec<u8>)> = LazyLock::new(|| {
            let ca = Ca::new();
            let (chain, file) = ca.leaf(3, |_| {});
            let der = ca.response(&file, VALID, "ca", &["-ndays", "1", "-resp_no_certs"]);
            (chain, der)
        });
        let (chain, der) = &*MADE;
        let subject = Subject::of(chain).unwrap();
        let mut damaged = der.clone();
        let index = at % damaged.len();
        let same = damaged[index] == value;
        damaged[index] = value;
        // What is signed is, and what is not (the status before it, lengths) is read strictly.
        prop_assert!(subject.judge(&damaged, SystemTime::now()).is_ok() == same || index < 40, "{value:02x} at {index} of {der:02x?}");
        let _ = subject.judge(&damaged[..end.min(damaged.len())], SystemTime::now());
    }
}
