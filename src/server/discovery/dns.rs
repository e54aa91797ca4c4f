//! Lookups in the DNS, with the time for which an answer holds: over UDP, and over TCP where a response does not fit.
//!
//! A resolver is made for each lookup: so it reads the system's resolv.conf and hosts file as they are then. Nothing is
//! cached here: the caller asks again when the time is over.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::message::{Data, Kind, MAX_UDP, Reply, parse, query};

pub(super) use super::message::Service;

/// How long a name server has to answer.
const QUERY: Duration = Duration::from_secs(1);
/// How often the list of name servers is gone through.
const ROUNDS: usize = 2;
/// The longest that a lookup takes, all of its queries together.
const LOOKUP: Duration = Duration::from_secs(6);
/// Name servers of resolv.conf that are used (resolv.conf(5)).
const MAX_SERVERS: usize = 3;

/// What a lookup found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer<T> {
    /// Records, and the least of their TTLs.
    Records(Vec<T>, Duration),
    /// A name server says that there are none, and for how long that holds, if it says that.
    Empty(Option<Duration>),
    /// Each name server has answered with an error: the last one's code (RFC 1035 §4.1.1), and the same in words.
    Error(u8, String),
    /// A name server has not answered, or could not.
    Failed(String),
}

/// The code of an error within the name server (RFC 1035 §4.1.1).
pub(super) const SERVFAIL: u8 = 2;

/// Why there is no reply to a question.
struct NoReply {
    /// The last error's code, if each name server has answered with an error.
    code: Option<u8>,
    why: String,
}

impl From<String> for NoReply {
    fn from(why: String) -> Self {
        Self { code: None, why }
    }
}

/// Asks name servers.
#[derive(Debug, Default)]
pub(super) struct Resolver {
    servers: Vec<SocketAddr>,
    /// Domains that are added to names with fewer dots than `dots`.
    search: Vec<String>,
    dots: usize,
    /// The hosts file.
    hosts: Vec<(IpAddr, Vec<String>)>,
}

impl Resolver {
    /// Asks `servers`; without any, those of the system, after its hosts file.
    ///
    /// # Errors
    /// The system's resolver configuration can't be read, or names no server.
    pub(super) fn new(servers: &[SocketAddr]) -> Result<Self, String> {
        if !servers.is_empty() {
            return Ok(Self { servers: servers.to_vec(), ..Self::default() });
        }
        let path = "/etc/resolv.conf";
        let text = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
        let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
        let resolver = Self { hosts: hosts_of(&hosts), ..Self::configured(&text) };
        match resolver.servers.is_empty() {
            true => Err(format!("{path} names no name server")),
            false => Ok(resolver),
        }
    }

    /// What the text of resolv.conf says.
    fn configured(text: &str) -> Self {
        let mut resolver = Self { dots: 1, ..Self::default() };
        for line in text.lines() {
            let mut words = line.split(['#', ';']).next().unwrap_or_default().split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let address = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                    let room = MAX_SERVERS - resolver.servers.len().min(MAX_SERVERS);
                    let server = address.map(|address| SocketAddr::new(address, 53));
                    resolver.servers.extend(server.into_iter().take(room));
                }
                // The last of them counts.
                Some("search" | "domain") => {
                    let domain = |word: &str| word.trim_end_matches('.').to_ascii_lowercase();
                    resolver.search = words.map(domain).filter(|domain| !domain.is_empty()).collect();
                }
                Some("options") => {
                    let dots = words.filter_map(|word| word.strip_prefix("ndots:")?.parse().ok()).next_back();
                    resolver.dots = dots.unwrap_or(resolver.dots);
                }
                _ => {}
            }
        }
        resolver
    }

    /// The IPv4 addresses of a name, or its IPv6 addresses.
    pub(super) async fn addresses(&self, host: &str, v6: bool) -> Answer<IpAddr> {
        let is_host =
            |(_, names): &&(IpAddr, Vec<String>)| names.iter().any(|name| name.eq_ignore_ascii_case(host));
        let known: Vec<IpAddr> = self.hosts.iter().filter(is_host).map(|(address, _)| *address).collect();
        if !known.is_empty() {
            let own: Vec<IpAddr> = known.into_iter().filter(|address| address.is_ipv6() == v6).collect();
            return if own.is_empty() { Answer::Empty(None) } else { Answer::Records(own, Duration::ZERO) };
        }
        let kind = if v6 { Kind::Aaaa } else { Kind::A };
        let read = |data| match data {
            Data::Address(address) => Some(address),
            Data::Service(_) => None,
        };
        self.lookup(host, kind, read).await
    }

    /// The SRV records of a service.
    pub(super) async fn services(&self, name: &str) -> Answer<Service> {
        let read = |data| match data {
            Data::Service(service) => Some(service),
            Data::Address(_) => None,
        };
        self.lookup(name, Kind::Srv, read).await
    }

    async fn lookup<T>(&self, name: &str, kind: Kind, read: impl Fn(Data) -> Option<T>) -> Answer<T> {
        let asking = async {
            let mut empty = None;
            for name in self.candidates(name) {
                match self.ask(&name, kind).await {
                    Ok(Reply::Records(records, ttl)) => {
                        let records = records.into_iter().filter_map(&read).collect();
                        return Answer::Records(records, Duration::from_secs(ttl.into()));
                    }
                    Ok(Reply::Empty(holds)) => {
                        let holds = holds.map(|seconds| Duration::from_secs(seconds.into()));
                        empty = Some(empty.unwrap_or(holds));
                    }
                    Ok(_) => {}
                    Err(NoReply { code: Some(code), why }) => return Answer::Error(code, why),
                    Err(NoReply { code: None, why }) => return Answer::Failed(why),
                }
            }
            Answer::Empty(empty.flatten())
        };
        let late = || Answer::Failed(format!("no name server has answered within {} s", LOOKUP.as_secs()));
        timeout(LOOKUP, asking).await.unwrap_or_else(|_| late())
    }

    /// The names that are asked for, in order (resolv.conf(5), `search` and `ndots`).
    fn candidates(&self, name: &str) -> Vec<String> {
        let mut names: Vec<String> = self.search.iter().map(|domain| format!("{name}.{domain}")).collect();
        let is_whole = name.bytes().filter(|byte| *byte == b'.').count() >= self.dots;
        names.insert(if is_whole { 0 } else { names.len() }, name.to_owned());
        names
    }

    /// What the first name server says that answers.
    async fn ask(&self, name: &str, kind: Kind) -> Result<Reply, NoReply> {
        let mut failed = "there is no name server".to_owned();
        let (mut last_code, mut all_answered) = (None, true);
        for server in std::iter::repeat_n(&self.servers, ROUNDS).flatten() {
            let id = random_id().ok_or_else(|| "the system gives no random numbers".to_owned())?;
            let message = query(id, name, kind).ok_or_else(|| format!("`{name}` is too long"))?;
            let is_reply = |bytes: &[u8]| parse(bytes, id, name, kind);
            let mut reply = timeout(QUERY, over_udp(*server, &message, is_reply)).await;
            if matches!(reply, Ok(Ok(Reply::Truncated))) {
                reply = timeout(QUERY, over_tcp(*server, &message, is_reply)).await;
            }
            all_answered &= matches!(reply, Ok(Ok(Reply::Error(_))));
            failed = match reply {
                Err(_) => format!("{server} does not answer"),
                Ok(Err(error)) => format!("{server}: {error}"),
                Ok(Ok(Reply::Error(code))) => {
                    last_code = Some(code);
                    format!("{server} answers with {}", error_name(code))
                }
                Ok(Ok(Reply::Truncated)) => format!("{server}: the response does not fit, over TCP either"),
                Ok(Ok(reply)) => return Ok(reply),
            };
        }
        Err(NoReply { code: last_code.filter(|_| all_answered), why: failed })
    }
}

/// The error's name (RFC 1035 §4.1.1).
fn error_name(code: u8) -> String {
    match code {
        1 => "FORMERR".to_owned(),
        SERVFAIL => "SERVFAIL".to_owned(),
        4 => "NOTIMP".to_owned(),
        5 => "REFUSED".to_owned(),
        code => format!("error {code}"),
    }
}

/// Another party must not guess it.
fn random_id() -> Option<u16> {
    let mut bytes = [0; 2];
    aws_lc_rs::rand::fill(&mut bytes).ok()?;
    Some(u16::from_ne_bytes(bytes))
}

/// Asks over UDP. What is no reply to the query is passed over.
async fn over_udp(
    server: SocketAddr,
    message: &[u8],
    read: impl Fn(&[u8]) -> Option<Reply>,
) -> io::Result<Reply> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // Each query has a port of its own; connected, the socket takes datagrams of this server alone.
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(message).await?;
    let mut buffer = [0; MAX_UDP];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if let Some(reply) = read(&buffer[..length]) {
            return Ok(reply);
        }
    }
}

/// Asks over TCP, where each message has its length before it (RFC 1035 §4.2.2).
async fn over_tcp(
    server: SocketAddr,
    message: &[u8],
    read: impl Fn(&[u8]) -> Option<Reply>,
) -> io::Result<Reply> {
    let stream = TcpStream::connect(server).await?;
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    let out = [&length.to_be_bytes(), message].concat();
    let mut sent = 0;
    while sent < out.len() {
        stream.writable().await?;
        match stream.try_write(&out[sent..]) {
            Ok(count) => sent += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    let mut length = [0; 2];
    receive(&stream, &mut length).await?;
    let mut response = vec![0; usize::from(u16::from_be_bytes(length))];
    receive(&stream, &mut response).await?;
    read(&response).ok_or_else(|| io::Error::other("the response is malformed"))
}

/// Fills `into`.
async fn receive(stream: &TcpStream, into: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while filled < into.len() {
        stream.readable().await?;
        match stream.try_read(&mut into[filled..]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The lines of a hosts file (hosts(5)).
fn hosts_of(text: &str) -> Vec<(IpAddr, Vec<String>)> {
    let lines = text.lines().filter_map(|line| {
        let mut words = line.split('#').next()?.split_whitespace();
        Some((words.next()?.parse().ok()?, words.map(str::to_owned).collect()))
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_s_configuration_is_read() {
        let text = "# made by hand\nnameserver 192.0.2.1\nnameserver 2001:db8::1 ; second\nnameserver x\n\
            nameserver 192.0.2.3\nnameserver 192.0.2.4\ndomain old.test\nsearch a.test B.test.\noptions ndots:2 timeout:1\n";
        let resolver = Resolver::configured(text);
        let servers: Vec<String> = resolver.servers.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["192.0.2.1:53", "[2001:db8::1]:53", "192.0.2.3:53"]);
        assert_eq!(resolver.candidates("app"), ["app.a.test", "app.b.test", "app"]);
        assert_eq!(resolver.candidates("app.x.test")[0], "app.x.test");
        let hosts = hosts_of("127.0.0.1 localhost lo # here\n::1 localhost\nbad line\n");
        assert_eq!(hosts.len(), 2);
        assert_eq!(hosts[0].1, ["localhost", "lo"]);
    }
}
