//! Headers byte by byte: which are valid, which are not, and that it makes no difference in which pieces they arrive.

use std::net::SocketAddr;

use proptest::prelude::*;

use super::*;

fn addresses_of(source: &str, destination: &str) -> Addresses {
    Addresses { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
}

/// Parses all of it; and each beginning of it, which must give the same or wait for more.
fn read(bytes: &[u8], accept: Accept) -> Result<Parsed, HeaderError> {
    let whole = parse(bytes, accept);
    for cut in 0..bytes.len() {
        let part = parse(&bytes[..cut], accept);
        assert!(part == Ok(Parsed::Partial) || part == whole, "{part:?} of {cut} bytes, {whole:?} of all");
        if let Ok(Parsed::Complete(header)) = &part {
            assert!(header.len <= cut);
        }
    }
    whole
}

/// The addresses of a whole header, whatever follows it.
fn said(header: &[u8]) -> Option<Addresses> {
    let behind = [header, b"GET / HTTP/1.1\r\n\r\n"].concat();
    match read(&behind, Accept::Any) {
        Ok(Parsed::Complete(read)) => {
            assert_eq!(read.len, header.len(), "{}", header.escape_ascii());
            read.addresses
        }
        other => panic!("{other:?}: {}", header.escape_ascii()),
    }
}

fn refused(bytes: &[u8]) -> HeaderError {
    read(bytes, Accept::Any).expect_err("a header")
}

/// A header of version 2.
fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let len = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [&v2::SIGNATURE[..], &[command, family], &len, rest].concat()
}

const TCP4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 2, 0xdc, 4, 1, 0xbb];

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind][..], &u16::try_from(value.len()).unwrap().to_be_bytes(), value].concat()
}

#[test]
fn lines_are_read() {
    let four = addresses_of("192.0.2.1:56324", "198.51.100.2:443");
    assert_eq!(said(b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n"), Some(four));
    let six = addresses_of("[2001:db8::1]:0", "[2001:db8::a]:65535");
    assert_eq!(said(b"PROXY TCP6 2001:DB8::1 2001:0db8:0:0:0:0:0:a 0 65535\r\n"), Some(six));
    let mapped = addresses_of("[::ffff:192.0.2.1]:1", "[::ffff:c633:6402]:2");
    assert_eq!(said(b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:198.51.100.2 1 2\r\n"), Some(mapped));
    for unknown in ["PROXY UNKNOWN\r\n", "PROXY UNKNOWN ffff::1 ffff::2 1 x\r\n", "PROXY UNKNOWN \r\n"] {
        assert_eq!(said(unknown.as_bytes()), None);
    }
    let full = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let longest = format!("PROXY UNKNOWN {full} {full} 65535 65535\r\n");
    assert_eq!(longest.len(), v1::MAX_LINE);
    assert_eq!(said(longest.as_bytes()), None);
}

#[test]
fn lines_that_bend_the_rules_are_none() {
    for absent in
        ["GET / HTTP/1.1\r\n", "proxy TCP4", "PROXYTCP4 ", "PROXY\tTCP4", " PROXY", "\nPROXY", "P\r\n"]
    {
        assert_eq!(refused(absent.as_bytes()), HeaderError::Absent, "{absent:?}");
    }
    for broken in [
        "PROXY \r\n",
        "PROXY UNKNOWNS\r\n",
        "PROXY unknown\r\n",
        "PROXY TCP4\r\n",
        "PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1  2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
        "PROXY TCP4 192.0.2.1\t192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\rX",
        "PROXY TCP4 192.0.2.1\r 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.256 192.0.2.2 1 2\r\n",
        "PROXY TCP4 0x7f.0.0.1 192.0.2.2 1 2\r\n",
        "PROXY TCP4 ::1 ::2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 ::2 1 2\r\n",
        "PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP6 ::1%1 ::2 1 2\r\n",
        "PROXY TCP6 [::1] ::2 1 2\r\n",
        "PROXY TCP6 1::2::3 ::2 1 2\r\n",
        "PROXY TCP6 00001::1 ::2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 -1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 00\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 \r\n",
        "PROXY TCP4 host.example 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\0\r\n",
        "PROXY TCP4 192.0.2.\u{661} 192.0.2.2 1 2\r\n",
    ] {
        assert_eq!(refused(broken.as_bytes()), HeaderError::Line, "{broken:?}");
    }
    let endless = format!("PROXY UNKNOWN {}", "x".repeat(200));
    assert_eq!(refused(endless.as_bytes()), HeaderError::TooLong);
    let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(92));
    assert_eq!((long.len(), refused(long.as_bytes())), (108, HeaderError::TooLong));
}

#[test]
fn binary_headers_are_read() {
    let four = addresses_of("192.0.2.1:56324", "198.51.100.2:443");
    assert_eq!(said(&binary(0x21, 0x11, &TCP4)), Some(four));
    let mut six = [0u8; 36];
    (six[0], six[15], six[31], six[33], six[35]) = (0x20, 1, 2, 80, 81);
    assert_eq!(said(&binary(0x21, 0x21, &six)), Some(addresses_of("[2000::1]:80", "[::2]:81")));
    assert_eq!(said(&binary(0x21, 0x00, &[])), None, "UNSPEC");
    assert_eq!(said(&binary(0x21, 0x31, &[b'/'; 216])), None, "UNIX");
    let tlvs = [tlv(0x04, &[]), tlv(0x02, b"\xff.example"), tlv(0xea, &[1; 300])].concat();
    assert_eq!(said(&binary(0x21, 0x11, &[&TCP4[..], &tlvs].concat())), Some(four));
    assert_eq!(said(&binary(0x21, 0x00, &tlvs)), None);
    let most = [&TCP4[..], &tlv(0x04, &vec![0; MAX_PROXY_V2_BYTES - 12 - 3])].concat();
    assert_eq!(said(&binary(0x21, 0x11, &most)), Some(four));
}

#[test]
fn local_connections_keep_their_own_addresses_whatever_family_they_name() {
    let blocks = [(0x00, &[][..]), (0x11, &TCP4), (0x11, &[1]), (0xff, &[1, 2, 3]), (0x12, &TCP4)];
    for (family, rest) in blocks.into_iter().chain([(0x00, &[1, 2, 3][..]), (0x11, &[0x20; 14])]) {
        assert_eq!(said(&binary(0x20, family, rest)), None, "{family:#x}");
    }
}

#[test]
fn binary_headers_that_bend_the_rules_are_none() {
    let good = binary(0x21, 0x11, &TCP4);
    for at in 1..12 {
        let mut bent = good.clone();
        bent[at] ^= 1;
        assert_eq!(refused(&bent), HeaderError::Absent);
    }
    for command in [0x00, 0x01, 0x10, 0x11, 0x22, 0x2f, 0x31, 0xff] {
        assert_eq!(refused(&binary(command, 0x11, &TCP4)), HeaderError::Command, "{command:#x}");
    }
    for family in [0x01, 0x02, 0x10, 0x12, 0x13, 0x20, 0x22, 0x30, 0x32, 0x41, 0xff] {
        assert_eq!(refused(&binary(0x21, family, &TCP4)), HeaderError::Family, "{family:#x}");
    }
    assert_eq!(refused(&binary(0x21, 0x11, &TCP4[1..])), HeaderError::Length);
    assert_eq!(refused(&binary(0x21, 0x21, &[0; 35])), HeaderError::Length);
    assert_eq!(refused(&binary(0x21, 0x31, &[0; 215])), HeaderError::Length);
    // Before the rest has come.
    let long = binary(0x21, 0x11, &vec![0; MAX_PROXY_V2_BYTES + 1]);
    assert_eq!(refused(&long[..16]), HeaderError::TooLong);
    for tlvs in [&[4][..], &[4, 0], &[4, 0, 1], &[4, 0, 0, 9], &[3, 0, 3, 1, 2, 3], &[3, 0, 5, 1, 2, 3, 4, 5]]
    {
        assert_eq!(refused(&binary(0x21, 0x11, &[&TCP4, tlvs].concat())), HeaderError::Tlv, "{tlvs:?}");
    }
}

#[test]
fn a_checksum_is_compared_if_it_is_there() {
    assert_eq!(v2::CHECKSUM.checksum(b"123456789"), 0xe306_9283);
    let blank = [&TCP4[..], &tlv(0x04, b"x"), &tlv(v2::CRC32C, &[0; 4]), &tlv(0x05, b"id")].concat();
    let mut header = binary(0x21, 0x11, &blank);
    let at = 16 + 12 + 4 + 3;
    let sum = v2::CHECKSUM.checksum(&header).to_be_bytes();
    header[at..at + 4].copy_from_slice(&sum);
    assert!(said(&header).is_some());
    for byte in [20, 26, 31, at, at + 3, header.len() - 1] {
        let mut bent = header.clone();
        bent[byte] ^= 0x40;
        assert_eq!(refused(&bent), HeaderError::Checksum, "{byte}");
    }
    let twice = [&TCP4[..], &tlv(v2::CRC32C, &[0; 4]), &tlv(v2::CRC32C, &[0; 4])].concat();
    assert_eq!(refused(&binary(0x21, 0x11, &twice)), HeaderError::Tlv);
    let local = binary(0x20, 0x00, &tlv(v2::CRC32C, &[1; 4]));
    assert_eq!(refused(&local), HeaderError::Checksum);
}

#[test]
fn a_version_that_is_not_taken_is_no_header() {
    let (line, binary) = (b"PROXY UNKNOWN\r\n", binary(0x20, 0, &[]));
    assert_eq!(read(line, Accept::V2), Err(HeaderError::Absent));
    assert_eq!(read(&binary, Accept::V1), Err(HeaderError::Absent));
    assert!(read(line, Accept::V1).is_ok() && read(&binary, Accept::V2).is_ok());
}

#[test]
fn headers_are_written_as_the_specification_has_them() {
    let four = Subject::Client(addresses_of("192.0.2.1:56324", "198.51.100.2:443"));
    assert_eq!(encode(Version::V1, four), b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n");
    assert_eq!(encode(Version::V2, four), binary(0x21, 0x11, &TCP4));
    assert_eq!(encode(Version::V1, Subject::Local), b"PROXY UNKNOWN\r\n");
    assert_eq!(encode(Version::V2, Subject::Local), binary(0x20, 0, &[]));
    let mapped = Subject::Client(addresses_of("[::ffff:192.0.2.1]:56324", "198.51.100.2:443"));
    assert_eq!(encode(Version::V2, mapped), binary(0x21, 0x11, &TCP4));
    let half = Subject::Client(addresses_of("[::ffff:192.0.2.1]:1", "[2001:db8::1]:2"));
    assert_eq!(encode(Version::V1, half), b"PROXY TCP6 ::ffff:192.0.2.1 2001:db8::1 1 2\r\n");
    let unlike = Subject::Client(addresses_of("192.0.2.1:1", "[2001:db8::1]:2"));
    assert_eq!(encode(Version::V1, unlike), b"PROXY UNKNOWN\r\n");
    assert_eq!(encode(Version::V2, unlike), binary(0x21, 0, &[]));
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        four: bool, from: u128, to: u128, ports: (u16, u16), second: bool, behind: Vec<u8>,
    ) {
        let address = |bits: u128, port| match four {
            true => SocketAddr::new(std::net::Ipv4Addr::from_bits(bits as u32).into(), port),
            false => SocketAddr::new(std::net::Ipv6Addr::from_bits(bits).into(), port),
        };
        let addresses = Addresses { source: address(from, ports.0), destination: address(to, ports.1) };
        let version = if second { Version::V2 } else { Version::V1 };
        let header = encode(version, Subject::Client(addresses));
        prop_assert!(header.len() <= MAX_HEADER && (second || header.len() <= v1::MAX_LINE));
        let all = [&header[..], &behind].concat();
        let mapped = |address: SocketAddr| address.is_ipv6() && address.ip().to_canonical().is_ipv4();
        prop_assume!(!mapped(addresses.source) || !mapped(addresses.destination));
        let expected = Header { len: header.len(), addresses: Some(addresses) };
        prop_assert_eq!(read(&all, Accept::Any), Ok(Parsed::Complete(expected)));
    }

    #[test]
    fn whatever_comes_reads_the_same_in_pieces(mut bytes: Vec<u8>, start in 0..4usize) {
        let starts: [&[u8]; 4] = [b"", b"PROXY TCP4 ", v2::SIGNATURE, b"PROXY TCP6 ::1 "];
        bytes.splice(0..0, starts[start].iter().copied());
        let _ = read(&bytes, Accept::Any);
    }
}
