//! gRPC-Web (the gRPC project's PROTOCOL-WEB): calls of gRPC from clients that can't read trailers. Messages are framed as
//! those of gRPC are; the trailers are one more frame behind them. In the text form all of it is base64.

use std::ops::Range;

use data_encoding::BASE64;

use super::{RequestHead, Trailers, Version, list};

/// The media types, without the coding of messages (`+proto`).
const BINARY: &[u8] = b"application/grpc-web";
const TEXT: &[u8] = b"application/grpc-web-text";
/// What `application/grpc` without a coding stands for.
const USUAL: &[u8] = b"+proto";
/// The flag of the frame that has the trailers.
const TRAILERS: u8 = 0x80;
/// Characters that are decoded at a time.
const AT_ONCE: usize = 1024;
/// Characters of base64 that stand for up to three bytes.
const GROUP: usize = 4;

/// How a client of gRPC-Web sends its call, and how it gets the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GrpcWeb {
    /// The request is in the text form.
    pub(crate) text_request: bool,
    /// The response is to be in the text form.
    pub(crate) text_response: bool,
}

impl GrpcWeb {
    /// That of a request. `None`: it is no call of gRPC-Web.
    ///
    /// The response has the form of the request, unless Accept names the other one alone.
    pub(crate) fn of(head: &RequestHead<'_, '_>) -> Option<Self> {
        let (text_request, _) = media(head.fields.get("content-type")?)?;
        if head.version == Version::Http10 {
            // It has no chunks for the response.
            return None;
        }
        let mut accepted = head.fields.all("accept").flat_map(list).filter_map(media);
        let text_response = accepted.next().map_or(text_request, |(text, _)| text);
        Some(Self { text_request, text_response })
    }

    /// The Content-Type of a response to its client, of one of gRPC.
    pub(crate) fn response_type(self, grpc: &[u8]) -> Vec<u8> {
        let coding = grpc.get(GRPC.len()..).map(coding).filter(|coding| !coding.is_empty());
        [if self.text_response { TEXT } else { BINARY }, coding.unwrap_or(USUAL)].concat()
    }

    /// Appends content of a response. Each part of the text form is padded: a client decodes it without what follows.
    pub(crate) fn put(self, content: &[u8], out: &mut Vec<u8>) {
        if !self.text_response {
            return out.extend_from_slice(content);
        }
        let start = out.len();
        out.resize(start + BASE64.encode_len(content.len()), 0);
        BASE64.encode_mut(content, &mut out[start..]);
    }

    /// Appends the frame with those of a response's trailers that go on: lines, names in lower case.
    pub(crate) fn put_trailers(self, trailers: Trailers<'_>, out: &mut Vec<u8>) {
        let mut frame = vec![TRAILERS, 0, 0, 0, 0];
        for (name, value) in trailers.fields() {
            frame.extend(name.iter().map(u8::to_ascii_lowercase));
            frame.push(b':');
            frame.extend_from_slice(value);
            frame.extend_from_slice(b"\r\n");
        }
        let length = (frame.len() - 5) as u32;
        frame[1..5].copy_from_slice(&length.to_be_bytes());
        self.put(&frame, out);
    }
}

const GRPC: &[u8] = b"application/grpc";

/// The Content-Type of the call of gRPC that a call of gRPC-Web with this one stands for.
pub(crate) fn grpc_type(web: &[u8]) -> Option<Vec<u8>> {
    let (_, coding) = media(web)?;
    Some([GRPC, coding].concat())
}

/// Whether a media type is that of the text form, and the coding of its messages: `+proto`, or nothing. `None`: it is not of
/// gRPC-Web.
fn media(value: &[u8]) -> Option<(bool, &[u8])> {
    let after = |name: &[u8]| {
        let (start, rest) = value.split_at_checked(name.len())?;
        let ends = matches!(rest.first(), None | Some(b'+' | b';' | b' ' | b'\t'));
        (start.eq_ignore_ascii_case(name) && ends).then_some(rest)
    };
    let text = after(TEXT).map(|rest| (true, coding(rest)));
    text.or_else(|| after(BINARY).map(|rest| (false, coding(rest))))
}

/// The coding of messages behind a media type's name, without parameters.
fn coding(rest: &[u8]) -> &[u8] {
    rest.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii()
}

/// A request in the text form is no base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Decodes a request in the text form, part by part and in place.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    /// The characters of a group that is not whole yet.
    held: [u8; GROUP - 1],
    count: usize,
}

impl Decoder {
    /// Decodes the characters at `range` of a block, in front of which three bytes are free. Returns where the decoded bytes
    /// are; there are never more of them than characters. `end`: nothing follows.
    ///
    /// # Errors
    /// It is no base64, or ends within a group.
    pub(crate) fn decode(
        &mut self,
        block: &mut [u8],
        range: Range<usize>,
        end: bool,
    ) -> Result<Range<usize>, Malformed> {
        let start = range.start - self.count;
        block[start..range.start].copy_from_slice(&self.held[..self.count]);
        let whole = start + (range.end - start) / GROUP * GROUP;
        self.count = range.end - whole;
        self.held[..self.count].copy_from_slice(&block[whole..range.end]);
        if end && self.count > 0 {
            return Err(Malformed);
        }
        let (mut from, mut to) = (start, start);
        let mut characters = [0; AT_ONCE];
        while from < whole {
            let length = AT_ONCE.min(whole - from);
            characters[..length].copy_from_slice(&block[from..from + length]);
            let decoded = &mut block[to..to + length / GROUP * 3];
            to += BASE64.decode_mut(&characters[..length], decoded).map_err(|_| Malformed)?;
            from += length;
        }
        Ok(start..to)
    }

    /// Nothing follows.
    ///
    /// # Errors
    /// It ends within a group.
    pub(crate) fn finish(&self) -> Result<(), Malformed> {
        if self.count == 0 { Ok(()) } else { Err(Malformed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_become_those_of_grpc_and_back() {
        for (web, grpc, binary, text) in [
            ("application/grpc-web", "application/grpc", "application/grpc-web+proto", "-text+proto"),
            (
                "Application/gRPC-Web+json;x=1",
                "application/grpc+json",
                "application/grpc-web+json",
                "-text+json",
            ),
            ("application/grpc-web-text", "application/grpc", "application/grpc-web+proto", "-text+proto"),
            (
                "application/grpc-web-text+proto",
                "application/grpc+proto",
                "application/grpc-web+proto",
                "-text+proto",
            ),
        ] {
            let made = grpc_type(web.as_bytes()).unwrap();
            assert_eq!(made, grpc.as_bytes(), "{web}");
            let back = |text_response| GrpcWeb { text_request: false, text_response }.response_type(&made);
            assert_eq!(back(false), binary.as_bytes());
            assert_eq!(back(true), format!("application/grpc-web{text}").as_bytes());
        }
        for other in
            ["application/grpc", "application/grpc-webx", "application/grpc-web-texts", "text/plain", ""]
        {
            assert_eq!(grpc_type(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn text_is_decoded_however_it_is_cut_and_padded() {
        let messages: Vec<Vec<u8>> = (1..9).map(|length| vec![length as u8; length * 200]).collect();
        let text: String = messages.iter().map(|message| BASE64.encode(message)).collect();
        for size in [1, 2, 3, 4, 5, 7, 1023, 1024, 1025, 100_000] {
            let (mut decoder, mut decoded) = (Decoder::default(), Vec::new());
            for part in text.as_bytes().chunks(size) {
                let mut block = [b"abc", part, b"xyz"].concat();
                let range = decoder.decode(&mut block, 3..3 + part.len(), false).unwrap();
                decoded.extend_from_slice(&block[range]);
                assert!(block.ends_with(b"xyz"), "what is behind stays");
            }
            assert_eq!(decoder.finish(), Ok(()));
            assert_eq!(decoded, messages.concat(), "{size}");
        }
    }

    #[test]
    fn text_that_is_no_base64_is_refused() {
        for (text, end) in
            [("A", true), ("AAA", true), ("AA A", false), ("A===", false), ("AAA\n", false), ("=AAA", false)]
        {
            let mut block = [b"abc", text.as_bytes()].concat();
            let end = Decoder::default().decode(&mut block, 3..3 + text.len(), end);
            assert_eq!(end, Err(Malformed), "{text}");
        }
        let mut decoder = Decoder::default();
        assert_eq!(decoder.decode(&mut b"abcAA".to_vec(), 3..5, false), Ok(3..3));
        assert_eq!(decoder.finish(), Err(Malformed));
    }

    #[test]
    fn trailers_are_a_frame_of_their_own() {
        let trailers = Trailers::of(b"Grpc-Status: 0\r\ngrpc-message: all good\r\n");
        let mut binary = Vec::new();
        GrpcWeb { text_request: false, text_response: false }.put_trailers(trailers, &mut binary);
        assert_eq!(binary, b"\x80\0\0\0\x26grpc-status:0\r\ngrpc-message:all good\r\n");
        let mut text = Vec::new();
        GrpcWeb { text_request: true, text_response: true }.put_trailers(trailers, &mut text);
        assert_eq!(BASE64.decode(&text).unwrap(), binary);
    }
}
