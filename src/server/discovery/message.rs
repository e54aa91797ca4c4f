//! Messages of the DNS (RFC 1035 §4): a query with one question, and what a response says to it. Bytes only, no sockets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The longest name on the wire in bytes (RFC 1035 §2.3.4).
const MAX_NAME: usize = 255;
/// Aliases that are followed from a name to its records.
const MAX_ALIASES: usize = 16;
/// Bytes of a UDP response that are asked for (RFC 6891): more would be cut into fragments on some ways.
pub(super) const MAX_UDP: usize = 1232;
/// Records of one response that are read.
const MAX_RECORDS: usize = 1024;

const CLASS_IN: u16 = 1;
const CNAME: u16 = 5;
const SOA: u16 = 6;
const OPT: u16 = 41;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses (RFC 3596).
    Aaaa,
    /// Services (RFC 2782).
    Srv,
}

impl Kind {
    fn code(self) -> u16 {
        match self {
            Self::A => 1,
            Self::Aaaa => 28,
            Self::Srv => 33,
        }
    }
}

/// The data of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// Of A and AAAA.
    Address(IpAddr),
    /// Of SRV.
    Service(Service),
}

/// One SRV record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The lowest is used first.
    pub priority: u16,
    /// Its share among those of its priority.
    pub weight: u16,
    /// Where it listens.
    pub port: u16,
    /// Its host's name in lower case, without the dot of the root. Empty: the service is not offered.
    pub target: String,
}

/// What a response says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Records, and the least TTL of them and of the aliases to them, in seconds.
    Records(Vec<Data>, u32),
    /// There are none, and for how many seconds that holds (RFC 2308 §5), if it says that.
    Empty(Option<u32>),
    /// The response did not fit: it is to be asked for over TCP.
    Truncated,
    /// The name server reports an error, by its code.
    Error(u8),
}

/// A query; `None`: the name can't be asked for.
pub(super) fn query(id: u16, name: &str, kind: Kind) -> Option<Vec<u8>> {
    let mut out = id.to_be_bytes().to_vec();
    // Recursion is desired; one question, and one additional record.
    out.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
        out.push(length);
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
    (out.len() - 12 <= MAX_NAME).then_some(())?;
    out.extend_from_slice(&kind.code().to_be_bytes());
    out.extend_from_slice(&CLASS_IN.to_be_bytes());
    // OPT (RFC 6891 §6.1.2): the root's name, and the size of responses.
    out.push(0);
    out.extend_from_slice(&OPT.to_be_bytes());
    out.extend_from_slice(&(MAX_UDP as u16).to_be_bytes());
    out.extend_from_slice(&[0; 6]);
    Some(out)
}

/// What a message says to the query with this id, name and kind. `None`: it is no response to that, or malformed.
pub fn parse(bytes: &[u8], id: u16, name: &str, kind: Kind) -> Option<Reply> {
    let mut reader = Reader { bytes, at: 0 };
    let (own_id, flags) = (reader.short()?, reader.short()?);
    let [questions, answers, authorities, _] =
        [reader.short()?, reader.short()?, reader.short()?, reader.short()?];
    // A response, of the operation QUERY, to one question.
    if own_id != id || flags & 0xf800 != 0x8000 || questions != 1 {
        return None;
    }
    let asked = reader.name()?;
    if !asked.eq_ignore_ascii_case(name) || reader.short()? != kind.code() || reader.short()? != CLASS_IN {
        return None;
    }
    if flags & 0x0200 != 0 {
        return Some(Reply::Truncated);
    }
    let code = (flags & 0xf) as u8;
    if !matches!(code, 0 | 3) {
        return Some(Reply::Error(code));
    }
    let records = reader.records(answers, kind)?;
    let (found, ttl) = follow(&records, &asked, kind);
    if !found.is_empty() {
        return Some(Reply::Records(found, ttl));
    }
    // What stands behind a malformed authority is of no use, but the answer is.
    let authority = reader.records(authorities, kind).unwrap_or_default();
    let holds = authority.iter().find_map(|record| match record.data {
        Read::Negative(minimum) => Some(record.ttl.min(minimum)),
        _ => None,
    });
    Some(Reply::Empty(holds))
}

/// The records that a name has, over its aliases, and the least TTL on the way.
fn follow(records: &[Record], name: &str, kind: Kind) -> (Vec<Data>, u32) {
    let (mut owner, mut ttl) = (name.to_owned(), u32::MAX);
    for _ in 0..=MAX_ALIASES {
        let own = || records.iter().filter(|record| record.owner.eq_ignore_ascii_case(&owner));
        let mut found = Vec::new();
        for record in own().filter(|record| record.kind == kind.code()) {
            if let Read::Data(data) = &record.data {
                ttl = ttl.min(record.ttl);
                found.push(data.clone());
            }
        }
        if !found.is_empty() {
            return (found, ttl);
        }
        let alias = own().find_map(|record| match &record.data {
            Read::Alias(target) => Some((target.clone(), record.ttl)),
            _ => None,
        });
        let Some((target, least)) = alias else { break };
        (owner, ttl) = (target, ttl.min(least));
    }
    (Vec::new(), ttl)
}

struct Record {
    owner: String,
    kind: u16,
    ttl: u32,
    data: Read,
}

enum Read {
    Data(Data),
    Alias(String),
    /// The MINIMUM of a zone's SOA record.
    Negative(u32),
    Other,
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(N)?)?.try_into().ok()?;
        self.at += N;
        Some(taken)
    }

    fn short(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }

    fn long(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    /// A name without the dot of the root. A compressed one (RFC 1035 §4.1.4) continues at an earlier place, each time an
    /// earlier one: so it ends.
    fn name(&mut self) -> Option<String> {
        let (mut at, mut end, mut earliest) = (self.at, None, self.at);
        let mut name = String::new();
        loop {
            let length = usize::from(*self.bytes.get(at)?);
            match length >> 6 {
                0 if length == 0 => break,
                0 => {
                    let label = self.bytes.get(at + 1..at + 1 + length)?;
                    if !name.is_empty() {
                        name.push('.');
                    }
                    // A dot within a label would make another name of it.
                    let plain = |byte: &u8| byte.is_ascii_graphic() && *byte != b'.';
                    label.iter().all(plain).then_some(())?;
                    name.push_str(std::str::from_utf8(label).ok()?);
                    (name.len() < MAX_NAME).then_some(())?;
                    at += 1 + length;
                }
                3 => {
                    let low = usize::from(*self.bytes.get(at + 1)?);
                    end.get_or_insert(at + 2);
                    at = (length & 0x3f) << 8 | low;
                    (at < earliest).then_some(())?;
                    earliest = at;
                }
                _ => return None,
            }
        }
        self.at = end.unwrap_or(at + 1);
        name.make_ascii_lowercase();
        Some(name)
    }

    fn records(&mut self, count: u16, kind: Kind) -> Option<Vec<Record>> {
        (0..usize::from(count).min(MAX_RECORDS)).map(|_| self.record(kind)).collect()
    }

    fn record(&mut self, wanted: Kind) -> Option<Record> {
        let owner = self.name()?;
        let (kind, class, ttl) = (self.short()?, self.short()?, self.long()?);
        let length = usize::from(self.short()?);
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len())?;
        // RFC 2181 §8: a TTL with the highest bit is zero.
        let ttl = if ttl > i32::MAX as u32 { 0 } else { ttl };
        let data = match (class, kind) {
            (CLASS_IN, CNAME) => Read::Alias(self.name()?),
            (CLASS_IN, SOA) => {
                self.name()?;
                self.name()?;
                self.take::<16>()?;
                Read::Negative(self.long()?)
            }
            (CLASS_IN, kind) if kind == wanted.code() => Read::Data(self.data(wanted)?),
            _ => Read::Other,
        };
        let is_whole = matches!(data, Read::Other) || self.at == end;
        is_whole.then_some(())?;
        self.at = end;
        Some(Record { owner, kind, ttl, data })
    }

    fn data(&mut self, kind: Kind) -> Option<Data> {
        Some(match kind {
            Kind::A => Data::Address(Ipv4Addr::from(self.take::<4>()?).into()),
            Kind::Aaaa => Data::Address(Ipv6Addr::from(self.take::<16>()?).into()),
            Kind::Srv => Data::Service(Service {
                priority: self.short()?,
                weight: self.short()?,
                port: self.short()?,
                target: self.name()?,
            }),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A response to `query` with these flags, records and authorities, each with its owner as a pointer to the question.
    fn response(
        query: &[u8],
        flags: u16,
        records: &[(u16, u32, &[u8])],
        authorities: &[(u16, u32, &[u8])],
    ) -> Vec<u8> {
        let question = &query[12..query.len() - 11];
        let mut out = query[..2].to_vec();
        out.extend_from_slice(&flags.to_be_bytes());
        for count in [1, records.len() as u16, authorities.len() as u16, 0] {
            out.extend_from_slice(&count.to_be_bytes());
        }
        out.extend_from_slice(question);
        for (kind, ttl, data) in records.iter().chain(authorities) {
            out.extend_from_slice(&[0xc0, 12]);
            out.extend_from_slice(&kind.to_be_bytes());
            out.extend_from_slice(&[0, 1]);
            out.extend_from_slice(&ttl.to_be_bytes());
            out.extend_from_slice(&(data.len() as u16).to_be_bytes());
            out.extend_from_slice(data);
        }
        out
    }

    fn address(text: &str) -> Data {
        Data::Address(text.parse().unwrap())
    }

    #[test]
    fn addresses_and_their_least_ttl_are_read() {
        let asked = query(7, "App.test", Kind::A).unwrap();
        let records: [(u16, u32, &[u8]); 2] = [(1, 30, &[127, 0, 0, 1]), (1, 5, &[127, 0, 0, 2])];
        let answer = response(&asked, 0x8180, &records, &[]);
        let expected = Reply::Records(vec![address("127.0.0.1"), address("127.0.0.2")], 5);
        assert_eq!(parse(&answer, 7, "app.test", Kind::A), Some(expected));
        for (id, name, kind) in
            [(8, "app.test", Kind::A), (7, "bpp.test", Kind::A), (7, "app.test", Kind::Aaaa)]
        {
            assert_eq!(parse(&answer, id, name, kind), None, "{id} {name} {kind:?}");
        }
        assert_eq!(parse(&asked, 7, "app.test", Kind::A), None, "a query is no response");
        for end in 0..answer.len() {
            assert_eq!(parse(&answer[..end], 7, "app.test", Kind::A), None, "{end}");
        }
    }

    #[test]
    fn an_alias_leads_to_the_records_of_its_target() {
        let asked = query(1, "a.test", Kind::A).unwrap();
        let mut answer = response(&asked, 0x8180, &[(CNAME, 3, b"\x01b\xc0\x0e")], &[]);
        // `b.test`, by a pointer to the alias's data.
        let target = (answer.len() - 4) as u8;
        answer.extend_from_slice(&[0xc0, target, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 10, 0, 0, 9]);
        answer[7] = 2;
        assert_eq!(parse(&answer, 1, "a.test", Kind::A), Some(Reply::Records(vec![address("10.0.0.9")], 3)));
        let circle = response(&asked, 0x8180, &[(CNAME, 3, &[0xc0, 12])], &[]);
        assert_eq!(parse(&circle, 1, "a.test", Kind::A), Some(Reply::Empty(None)));
    }

    #[test]
    fn services_and_what_is_no_record_are_read() {
        let asked = query(1, "_http._tcp.a.test", Kind::Srv).unwrap();
        let service = b"\x00\x05\x00\x0a\x1f\x90\x01b\x04test\x00";
        let expected = Service { priority: 5, weight: 10, port: 8080, target: "b.test".to_owned() };
        let name = "_http._tcp.a.test";
        let answer = response(&asked, 0x8180, &[(33, 60, service)], &[]);
        assert_eq!(
            parse(&answer, 1, name, Kind::Srv),
            Some(Reply::Records(vec![Data::Service(expected)], 60))
        );
        let soa = [&[0, 0][..], &[0; 16], &[0, 0, 0, 20]].concat();
        let none = response(&asked, 0x8183, &[], &[(SOA, 60, &soa)]);
        assert_eq!(parse(&none, 1, name, Kind::Srv), Some(Reply::Empty(Some(20))));
        for (flags, reply) in
            [(0x8182, Reply::Error(2)), (0x8185, Reply::Error(5)), (0x8380, Reply::Truncated)]
        {
            assert_eq!(parse(&response(&asked, flags, &[], &[]), 1, name, Kind::Srv), Some(reply));
        }
    }

    #[test]
    fn pointers_that_lead_nowhere_are_malformed() {
        let asked = query(1, "a.test", Kind::A).unwrap();
        for data in [&[0xc0, 0xff][..], &[0xc0, 36], &[0x40, 0], &[5, b'a'], &[3, b'a', b'.', b'b', 0]] {
            assert_eq!(
                parse(&response(&asked, 0x8180, &[(CNAME, 3, data)], &[]), 1, "a.test", Kind::A),
                None
            );
        }
    }

    #[test]
    fn names_that_do_not_fit_are_not_asked_for() {
        assert!(query(1, &"a.".repeat(130), Kind::A).is_none());
        assert!(query(1, &"a".repeat(64), Kind::A).is_none() && query(1, "a..b", Kind::A).is_none());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes: Vec<u8>, flip: usize, to: u8) {
            let _ = parse(&bytes, 1, "a.test", Kind::A);
            let asked = query(1, "a.test", Kind::A).unwrap();
            let mut answer = response(&asked, 0x8180, &[(CNAME, 3, b"\x01b\xc0\x0e"), (1, 3, &[1, 2, 3, 4])], &[]);
            let at = flip % answer.len();
            answer[at] = to;
            let _ = parse(&answer, 1, "a.test", Kind::A);
        }
    }
}
