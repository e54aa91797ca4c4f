//! Sets of revocation lists: issuer, key, scope, time, number and order, judged by an oracle that sees the fields that
//! the lists were made from.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CrlDistributionPoint,
    CrlIssuingDistributionPoint, CrlScope, DnType, IsCa, Issuer, KeyIdMethod, KeyPair, RevokedCertParams,
    SerialNumber,
};
use ringate::internals::tls::{BackendVerifier, RsaBits, TrustAnchors};
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime};
use rustls::{CertificateError, Error};
use time::OffsetDateTime;

const NOW: i64 = 1_800_000_000;
const NAME: &str = "backend.test";
const POINT: &str = "http://crl.test/";
/// Serial numbers of the leaf, of the authority below the root, and of neither.
const SERIALS: [u64; 3] = [0x80_4e, 0x7f, 0x1234_5678];
/// The first day of a list and, counted from there, the last one.
const STARTS: [i64; 8] = [-30, -9, -5, -5, -1, -1, 0, 1];
const LENGTHS: [i64; 8] = [1, 2, 4, 5, 8, 9, 30, 40];
const NUMBERS: [u64; 4] = [1, 2, 200, 300];
/// Most lists of a set.
const MOST: usize = 10;

/// Who signs lists, and where that key stands.
struct Pki {
    /// Two keys of one name, a key of another name, and the authority below the first one.
    signers: [Issuer<'static, KeyPair>; 4],
    anchors: TrustAnchors,
    /// Issued by the first key.
    leaf: CertificateDer<'static>,
    /// Issued by the last one, which comes with it.
    below: [CertificateDer<'static>; 2],
}

fn day(offset: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(NOW + offset * 86_400).expect("a time")
}

fn params(name: &str, serial: u64, authority: bool) -> CertificateParams {
    let names = if authority { Vec::new() } else { vec![NAME.to_owned()] };
    let mut params = CertificateParams::new(names).expect("names");
    if authority {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(SerialNumber::from(serial));
    params.crl_distribution_points = vec![rcgen::CrlDistributionPoint { uris: vec![POINT.to_owned()] }];
    (params.not_before, params.not_after) = (day(-99), day(99));
    params
}

static PKI: LazyLock<Pki> = LazyLock::new(|| {
    let root = |name: &str| {
        let (params, key) = (params(name, 1, true), KeyPair::generate().expect("a key"));
        (params.self_signed(&key).expect("a root").der().clone(), Issuer::new(params, key))
    };
    let [one, same, other] = ["One", "One", "Two"].map(root);
    let (inner, key) = (params("Inner", SERIALS[1], true), KeyPair::generate().expect("a key"));
    let inner_der = inner.signed_by(&key, &one.1).expect("an authority").der().clone();
    let inner = Issuer::new(inner, key);
    let leaf = |issuer: &Issuer<'static, KeyPair>| {
        let key = KeyPair::generate().expect("a key");
        params("leaf", SERIALS[0], false).signed_by(&key, issuer).expect("a leaf").der().clone()
    };
    Pki {
        anchors: TrustAnchors::build([one.0, same.0, other.0]).expect("anchors"),
        leaf: leaf(&one.1),
        below: [leaf(&inner), inner_der],
        signers: [one.1, same.1, other.1, inner],
    }
});

/// A list, by two bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct List([u8; 2]);

impl List {
    fn signer(self) -> usize {
        usize::from(self.0[0] & 3)
    }

    /// The scope, and whether its point is that of the certificates.
    fn scope(self) -> (Option<CrlScope>, bool) {
        match self.0[0] >> 2 & 3 {
            0 => (None, true),
            1 => (Some(CrlScope::UserCertsOnly), true),
            2 => (Some(CrlScope::CaCertsOnly), true),
            _ => (Some(CrlScope::UserCertsOnly), false),
        }
    }

    fn revokes(self, serial: u64) -> bool {
        let at = SERIALS.iter().position(|known| *known == serial).expect("a serial");
        at == 2 || self.0[0] & 0x10 << at != 0
    }

    fn number(self) -> u64 {
        NUMBERS[usize::from(self.0[0] >> 6)]
    }

    fn days(self) -> (i64, i64) {
        let from = STARTS[usize::from(self.0[1] & 7)];
        (from, from + LENGTHS[usize::from(self.0[1] >> 3 & 7)])
    }

    /// The list itself, signed once.
    fn der(self) -> CertificateRevocationListDer<'static> {
        static MADE: LazyLock<Mutex<HashMap<List, CertificateRevocationListDer<'static>>>> =
            LazyLock::new(Mutex::default);
        let mut made = MADE.lock().expect("no panic holds it");
        made.entry(self).or_insert_with(|| self.sign()).clone()
    }

    fn sign(self) -> CertificateRevocationListDer<'static> {
        let (from, until) = self.days();
        let (scope, ours) = self.scope();
        let point = scope.map(|scope| CrlIssuingDistributionPoint {
            distribution_point: CrlDistributionPoint {
                uris: vec![if ours { POINT } else { "http://other.test/" }.to_owned()],
            },
            scope: Some(scope),
        });
        let revoked = SERIALS.into_iter().filter(|serial| self.revokes(*serial));
        let params = CertificateRevocationListParams {
            this_update: day(from),
            next_update: day(until),
            crl_number: SerialNumber::from(self.number()),
            issuing_distribution_point: point,
            revoked_certs: revoked
                .map(|serial| RevokedCertParams {
                    serial_number: SerialNumber::from(serial),
                    revocation_time: day(from),
                    reason_code: None,
                    invalidity_date: None,
                })
                .collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&PKI.signers[self.signer()]).expect("a list").der().clone()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Good,
    Revoked,
    Ended,
    Unknown,
}

/// What the newest list in its time says, of those that the certificate's issuer signed for certificates of its kind.
fn oracle(lists: &[List], signer: usize, serial: u64, authority: bool) -> Verdict {
    let covers = |list: &&List| {
        let (scope, ours) = list.scope();
        list.signer() == signer
            && ours
            && match scope {
                None => true,
                Some(CrlScope::UserCertsOnly) => !authority,
                Some(CrlScope::CaCertsOnly) => authority,
            }
    };
    let covering: Vec<List> = lists.iter().filter(covers).copied().collect();
    let current = |list: &&List| list.days().0 <= 0 && list.days().1 >= 0;
    match covering.iter().filter(current).map(|list| (list.days().0, list.number())).max() {
        Some(newest) => {
            let newest = covering.iter().filter(|list| (list.days().0, list.number()) == newest);
            let revoked = newest.filter(current).any(|list| list.revokes(serial));
            if revoked { Verdict::Revoked } else { Verdict::Good }
        }
        None if covering.iter().any(|list| list.days().1 < 0) => Verdict::Ended,
        None => Verdict::Unknown,
    }
}

/// Two bytes a list, behind a byte whose lowest bit says whether the leaf's authority is a root.
pub fn crl(input: &[u8]) {
    let Some((kind, bytes)) = input.split_first() else { return };
    let lists: Vec<List> =
        bytes.chunks_exact(2).take(MOST).map(|pair| List([pair[0], pair[1] & 0x3f])).collect();
    if lists.is_empty() {
        return; // nothing is asked for
    }
    let judge = |lists: &[List]| {
        let ders = lists.iter().map(|list| list.der()).collect();
        let verifier =
            BackendVerifier::new(PKI.anchors.clone(), ders, [], RsaBits::default()).expect("lists");
        let name = ServerName::try_from(NAME).expect("a name");
        let now = UnixTime::since_unix_epoch(Duration::from_secs(NOW as u64));
        let (leaf, chain) = match kind & 1 {
            0 => (&PKI.leaf, &[][..]),
            _ => (&PKI.below[0], &PKI.below[1..]),
        };
        match verifier.verify_server_cert(leaf, chain, &name, &[], now) {
            Ok(_) => Verdict::Good,
            Err(Error::InvalidCertificate(error)) => match error {
                CertificateError::Revoked => Verdict::Revoked,
                CertificateError::UnknownRevocationStatus => Verdict::Unknown,
                CertificateError::ExpiredRevocationList
                | CertificateError::ExpiredRevocationListContext { .. } => Verdict::Ended,
                other => panic!("{other:?}"),
            },
            Err(other) => panic!("{other:?}"),
        }
    };
    let found = judge(&lists);
    let mut reversed = lists.clone();
    reversed.reverse();
    let again = judge(&reversed);
    if kind & 1 == 0 {
        let right = oracle(&lists, 0, SERIALS[0], false);
        assert_eq!((found, again), (right, right), "{lists:?}");
    } else {
        // Of two faults either may be named.
        let right = [oracle(&lists, 3, SERIALS[0], false), oracle(&lists, 0, SERIALS[1], true)];
        let good = right == [Verdict::Good; 2];
        for found in [found, again] {
            assert!(
                (found == Verdict::Good) == good && right.contains(&found),
                "{found:?} {right:?} {lists:?}"
            );
        }
    }
}
