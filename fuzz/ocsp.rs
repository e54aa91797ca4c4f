//! OCSP responses about one certificate. What is taken holds, byte for byte, something that its CA has signed, or a delegate of that.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use ringate::internals::certs::ocsp::Subject;
use rustls::pki_types::CertificateDer;

/// Within the time of the good responses.
const NOW: Duration = Duration::from_secs(1_800_000_000);

/// The leaf, and its issuer.
static CHAIN: LazyLock<[CertificateDer<'static>; 2]> = LazyLock::new(|| {
    [&include_bytes!("ocsp/leaf.der")[..], &include_bytes!("ocsp/ca.der")[..]].map(CertificateDer::from)
});

/// The signed parts of all good responses that there are.
static SIGNED: LazyLock<[&[u8]; 3]> = LazyLock::new(|| {
    let good = [
        &include_bytes!("seeds/ocsp/good")[..],
        &include_bytes!("seeds/ocsp/bare")[..],
        &include_bytes!("seeds/ocsp/delegated")[..],
    ];
    good.map(signed)
});

/// The content of an element in DER, and its length with its head.
fn element(der: &[u8]) -> (&[u8], usize) {
    let (head, length) = match usize::from(der[1]) {
        short @ 0..0x80 => (2, short),
        long => {
            let bytes = &der[2..2 + (long & 0x7f)];
            (2 + bytes.len(), bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
        }
    };
    (&der[head..head + length], head + length)
}

/// The ResponseData of a response (RFC 6960 §4.2.1).
fn signed(der: &[u8]) -> &[u8] {
    let (response, _) = element(der);
    let (_, status) = element(response);
    let (tagged, _) = element(&response[status..]);
    let (bytes, _) = element(tagged);
    let (_, oid) = element(bytes);
    let (octets, _) = element(&bytes[oid..]);
    let (basic, _) = element(octets);
    &basic[..element(basic).1]
}

/// A response, in DER or PEM.
pub fn ocsp(input: &[u8]) {
    let now = SystemTime::UNIX_EPOCH + NOW;
    let subject = Subject::of(&*CHAIN).expect("the chain has its issuer");
    let judged = subject.judge(input, now);
    let Ok(response) = &judged else {
        let why = judged.expect_err("a reason").to_string();
        assert!(!why.is_empty() && !why.contains('\n'), "{why}");
        return;
    };
    assert!(
        SIGNED.iter().any(|signed| response.der.windows(signed.len()).any(|window| window == *signed)),
        "nothing of it was signed: {}",
        response.der.escape_ascii()
    );
    let ends = u64::try_from(response.next_update.unix()).expect("it is good now");
    assert!(SystemTime::UNIX_EPOCH + Duration::from_secs(ends) > now);
    assert_eq!(subject.judge(&response.der, now).as_ref(), Ok(response));
    let end = SystemTime::UNIX_EPOCH + Duration::from_secs(ends);
    assert!(subject.judge(&response.der, end).is_err(), "it has ended");
}
