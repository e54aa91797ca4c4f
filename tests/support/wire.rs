//! HTTP/1.1 messages as they were on the wire, taken apart strictly: what Ringate sends must be beyond doubt.

use std::io::{self, Read};

/// A request as a backend received it.
#[derive(Clone, Debug)]
pub struct Request {
    /// From the request line to the empty line, that included.
    pub head: String,
    /// The body with its framing, exactly as it came.
    pub wire: Vec<u8>,
    /// The body's bytes.
    pub body: Vec<u8>,
}

/// A response as a client received it.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    /// From the status line to the empty line, that included.
    pub head: String,
    /// The body with its framing, exactly as it came.
    pub wire: Vec<u8>,
    /// The body's bytes.
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    pub fn headers(&self, name: &str) -> Vec<&str> {
        headers(&self.head, name)
    }

    /// The method and the target.
    pub fn line(&self) -> &str {
        self.head.lines().next().unwrap().strip_suffix(" HTTP/1.1").expect("HTTP/1.1 goes to backends")
    }
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    pub fn headers(&self, name: &str) -> Vec<&str> {
        headers(&self.head, name)
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// The one value of a field.
fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let all = headers(head, name);
    assert!(all.len() <= 1, "{name} more than once:\n{head}");
    all.first().copied()
}

fn headers<'h>(head: &'h str, name: &str) -> Vec<&'h str> {
    let fields = head.split("\r\n").skip(1).take_while(|line| !line.is_empty());
    let named = fields.filter_map(|line| {
        let (field, value) = line.split_once(": ").unwrap_or_else(|| panic!("no field: {line:?}"));
        field.eq_ignore_ascii_case(name).then_some(value)
    });
    named.collect()
}

/// A head as text, a character a byte.
pub fn text(head: &[u8]) -> String {
    head.iter().copied().map(char::from).collect()
}

/// Bytes read ahead of what was asked for.
#[derive(Debug, Default)]
pub struct Ahead(pub Vec<u8>);

impl Ahead {
    /// Reads until `bytes` end with `end`, and returns all up to there. `None`: the stream ended before the first byte.
    pub fn until(&mut self, stream: &mut impl Read, end: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let mut seen = 0;
        loop {
            if let Some(at) = self.0[seen..].windows(end.len()).position(|window| window == end) {
                return Ok(Some(self.take(seen + at + end.len())));
            }
            seen = (self.0.len() + 1).saturating_sub(end.len());
            if self.more(stream)? == 0 {
                return if self.0.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
        }
    }

    pub fn exactly(&mut self, stream: &mut impl Read, count: usize) -> io::Result<Vec<u8>> {
        while self.0.len() < count {
            if self.more(stream)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.take(count))
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        let rest = self.0.split_off(count);
        std::mem::replace(&mut self.0, rest)
    }

    /// All to the stream's end.
    pub fn rest(&mut self, stream: &mut impl Read) -> io::Result<Vec<u8>> {
        stream.read_to_end(&mut self.0)?;
        Ok(std::mem::take(&mut self.0))
    }

    pub fn more(&mut self, stream: &mut impl Read) -> io::Result<usize> {
        let mut some = [0; 65_536];
        loop {
            match stream.read(&mut some) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(count) => {
                    self.0.extend_from_slice(&some[..count]);
                    return Ok(count);
                }
            }
        }
    }

    /// The next request with its body; `None` at the connection's end.
    pub fn request(&mut self, stream: &mut impl Read) -> io::Result<Option<Request>> {
        let Some(head) = self.until(stream, b"\r\n\r\n")? else {
            return Ok(None);
        };
        let head = text(&head);
        let (wire, body) = self.framed(stream, &head)?.unwrap_or_default();
        Ok(Some(Request { head, wire, body }))
    }

    /// The next response with its body, which may be none whatever the head says.
    pub fn response(&mut self, stream: &mut impl Read, bodiless: bool) -> io::Result<Response> {
        let head = self.until(stream, b"\r\n\r\n")?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let head = text(&head);
        let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no status line: {head:?}"));
        let never = bodiless || (100..200).contains(&status) || status == 204 || status == 304;
        let (wire, body) = if never {
            Default::default()
        } else if let Some(framed) = self.framed(stream, &head)? {
            framed
        } else {
            let rest = self.rest(stream)?;
            (rest.clone(), rest)
        };
        Ok(Response { status, head, wire, body })
    }

    /// A body as its head frames it: on the wire and without framing. `None`: the head says nothing of it.
    fn framed(&mut self, stream: &mut impl Read, head: &str) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
        match (header(head, "Content-Length"), header(head, "Transfer-Encoding")) {
            (None, None) => Ok(None),
            (Some(length), None) => {
                let body = self.exactly(stream, length.parse().map_err(io::Error::other)?)?;
                Ok(Some((body.clone(), body)))
            }
            (None, Some("chunked")) => self.chunked(stream).map(Some),
            _ => panic!("framing in doubt:\n{head}"),
        }
    }

    fn chunked(&mut self, stream: &mut impl Read) -> io::Result<(Vec<u8>, Vec<u8>)> {
        let (mut wire, mut body) = (Vec::new(), Vec::new());
        loop {
            let line = self.until(stream, b"\r\n")?.ok_or(io::ErrorKind::UnexpectedEof)?;
            let size = std::str::from_utf8(&line[..line.len() - 2]).map_err(io::Error::other)?;
            let size = usize::from_str_radix(size, 16).unwrap_or_else(|_| panic!("no chunk size: {size:?}"));
            wire.extend_from_slice(&line);
            if size == 0 {
                break;
            }
            let chunk = self.exactly(stream, size + 2)?;
            assert_eq!(&chunk[size..], b"\r\n", "a chunk ends with CR LF");
            wire.extend_from_slice(&chunk);
            body.extend_from_slice(&chunk[..size]);
        }
        loop {
            let line = self.until(stream, b"\r\n")?.ok_or(io::ErrorKind::UnexpectedEof)?;
            wire.extend_from_slice(&line);
            if line == b"\r\n" {
                return Ok((wire, body));
            }
        }
    }
}
