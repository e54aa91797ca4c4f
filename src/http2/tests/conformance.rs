//! The cases of `tests/data/http2`: raw frames in, and exactly what becomes of them. Its README has the format.
//!
//! `UPDATE=1` writes what becomes of them into the files, to be read and judged.

use std::fs;
use std::path::{Path, PathBuf};

use super::peer::*;
use crate::http2::{Config, ErrorCode, FieldLimits, RequestLine, Role};

fn folder() -> PathBuf {
    match std::env::var_os("HTTP2_DATA") {
        Some(folder) => folder.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/http2"),
    }
}

/// Bytes of a payload's items, which are separated by spaces: hexadecimal digits, `"text"`, `{name: value}`, `u32:N`,
/// `u16:N`, `*N:ITEM`.
fn payload(mut text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        text = text.trim_start();
        let start = if text.starts_with('*') { text.find(':').unwrap() + 1 } else { 0 };
        let end = match text.as_bytes().get(start) {
            None => return bytes,
            Some(b'"') => start + text[start + 1..].find('"').unwrap() + 2,
            Some(b'{') => text.find('}').unwrap() + 1,
            Some(_) => text.find(' ').unwrap_or(text.len()),
        };
        let (item, rest) = text.split_at(end);
        bytes.extend(self::item(item));
        text = rest;
    }
}

fn item(item: &str) -> Vec<u8> {
    if let Some(rest) = item.strip_prefix('*') {
        let (times, item) = rest.split_once(':').unwrap();
        return self::item(item).repeat(times.parse().unwrap());
    }
    if let Some(field) = item.strip_prefix('{') {
        let (name, value) = field.strip_suffix('}').unwrap().split_once(": ").unwrap();
        return literal(&unescape(name), &unescape(value));
    }
    if let Some(text) = item.strip_prefix('"') {
        return unescape(text.strip_suffix('"').unwrap()).into_bytes();
    }
    match item.split_once(':') {
        Some(("u32", number)) => number.parse::<u32>().unwrap().to_be_bytes().to_vec(),
        Some(("u16", number)) => number.parse::<u16>().unwrap().to_be_bytes().to_vec(),
        _ => {
            let digit = |at: usize| u8::from_str_radix(&item[at..at + 2], 16).unwrap();
            (0..item.len()).step_by(2).map(digit).collect()
        }
    }
}

fn unescape(text: &str) -> String {
    text.replace("\\r", "\r").replace("\\n", "\n").replace("\\t", "\t").replace("\\0", "\0")
}

/// The bytes of a line `TYPE[+FLAG…] STREAM [len=N] PAYLOAD`, or `raw PAYLOAD`.
fn input(line: &str) -> Vec<u8> {
    if let Some(raw) = line.strip_prefix("raw ") {
        return payload(raw);
    }
    let mut words = line.splitn(3, ' ');
    let mut kind = words.next().unwrap().split('+');
    let number = |name: &str| {
        let names = [
            "DATA",
            "HEADERS",
            "PRIORITY",
            "RST_STREAM",
            "SETTINGS",
            "PUSH_PROMISE",
            "PING",
            "GOAWAY",
            "WINDOW_UPDATE",
            "CONTINUATION",
        ];
        match names.iter().position(|known| *known == name) {
            Some(code) => code as u8,
            None if name == "PRIORITY_UPDATE" => 0x10,
            None => u8::from_str_radix(name.strip_prefix("0x").unwrap(), 16).unwrap(),
        }
    };
    let code = number(kind.next().unwrap());
    let flags = kind.map(|flag| match flag {
        "end" | "ack" => 0x1,
        "headers" => 0x4,
        "padded" => 0x8,
        "priority" => 0x20,
        other => u8::from_str_radix(other.strip_prefix("0x").unwrap(), 16).unwrap(),
    });
    let flags = flags.fold(0, |all, flag| all | flag);
    let stream = words.next().unwrap().parse().unwrap();
    let rest = words.next().unwrap_or_default();
    match rest.strip_prefix("len=") {
        None => frame(code, flags, stream, &payload(rest)),
        Some(rest) => {
            let (len, rest) = rest.split_once(' ').unwrap_or((rest, ""));
            let mut bytes = frame(code, flags, stream, &payload(rest));
            bytes[..3].copy_from_slice(&len.parse::<u32>().unwrap().to_be_bytes()[1..]);
            bytes
        }
    }
}

/// What the application does.
fn act(peer: &mut Peer, line: &str) -> Result<String, crate::http2::SendError> {
    let mut words = line.split(' ');
    let action = words.next().unwrap();
    let mut number = || words.next().unwrap().parse::<u32>().unwrap();
    let (end, fields) = (line.ends_with(" end"), std::iter::empty());
    let Peer { connection, out, .. } = peer;
    match action {
        "respond" => {
            let (id, status) = (stream(number()), number() as u16);
            connection.send_response(id, status, fields, end, out)?;
        }
        "interim" => {
            let (id, status) = (stream(number()), number() as u16);
            connection.send_interim(id, status, fields, out)?;
        }
        "request" => {
            let line = RequestLine { method: words.next().unwrap(), ..GET };
            connection.send_request(&line, fields, end, out)?;
        }
        "connect" => {
            let line = RequestLine { method: "CONNECT", protocol: Some("websocket"), ..GET };
            connection.send_request(&line, fields, end, out)?;
        }
        "data" => {
            let (id, length) = (stream(number()), number() as usize);
            return connection
                .send_data(id, &vec![b'x'; length], end, out)
                .map(|sent| format!(" sent {sent}"));
        }
        "trailers" => connection.send_trailers(stream(number()), [field("t", "1")].into_iter(), out)?,
        "reset" => connection.reset(stream(number()), ErrorCode::CANCEL, out),
        "consume" => {
            let (id, length) = (stream(number()), number() as usize);
            connection.consume(id, length, out);
        }
        "shut-down" => connection.shut_down(out),
        "finished?" => return Ok(format!(" {}", connection.is_finished())),
        "streams?" => return Ok(format!(" {}", connection.stream_count())),
        other => panic!("{other}"),
    }
    Ok(String::new())
}

fn peer(options: &[&str]) -> Peer {
    let role = if options.contains(&"client") { Role::Client } else { Role::Server };
    let mut config = Config { stream_window: 65_535, connection_window: 65_535, ..Config::default() };
    for option in options {
        match option.split_once('=') {
            Some(("streams", count)) => config.max_concurrent_streams = count.parse().unwrap(),
            Some(("list", bytes)) => {
                config.fields = FieldLimits { bytes: bytes.parse().unwrap(), fields: 100 }
            }
            Some(("table", bytes)) => config.decoder_table_bytes = bytes.parse().unwrap(),
            Some(("window", bytes)) => config.stream_window = bytes.parse().unwrap(),
            Some(("connection-window", bytes)) => config.connection_window = bytes.parse().unwrap(),
            Some(other) => panic!("{other:?}"),
            None if *option == "connect" => config.connect_protocol = true,
            None => assert!(["client", "server", "raw"].contains(option), "{option}"),
        }
    }
    if options.contains(&"raw") { Peer::new(role, config) } else { Peer::ready(role, config) }
}

/// The lines of a case, with what becomes of them. Input is handed in by pieces of so many bytes.
fn transcript(lines: &[&str], piece: usize) -> Vec<String> {
    let options = lines.iter().find_map(|line| line.strip_prefix("? ")).unwrap_or_default();
    let mut peer = peer(&options.split(' ').filter(|option| !option.is_empty()).collect::<Vec<_>>());
    let mut transcript = Vec::new();
    for line in lines {
        if line.starts_with(['<', '=', '!']) && !line.starts_with("== ") {
            continue;
        }
        transcript.push((*line).to_owned());
        if let Some(frame) = line.strip_prefix("> ") {
            let (mut events, mut error) = (Vec::new(), None);
            for piece in input(frame).chunks(piece) {
                let result = peer.each(piece, |peer, event, input| {
                    events.push(peer.describe(event, input));
                });
                error = result.err();
                if error.is_some() {
                    break;
                }
            }
            transcript.extend(joined(events).into_iter().map(|event| format!("= {event}")));
            transcript.extend(peer.written().into_iter().map(|frame| format!("< {frame}")));
            transcript.extend(error.map(|violation| format!("! {}", verdict(violation))));
        } else if let Some(action) = line.strip_prefix("@ ") {
            match act(&mut peer, action) {
                Ok(note) if note.is_empty() => {}
                Ok(note) => transcript.push(format!("={note}")),
                Err(error) => transcript.push(format!("! {error}")),
            }
            transcript.extend(peer.written().into_iter().map(|frame| format!("< {frame}")));
        }
    }
    transcript
}

#[test]
fn the_cases_of_raw_frames_hold() {
    let mut cases = 0;
    let mut paths: Vec<_> = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths.iter().filter(|path| path.extension().is_some_and(|end| end == "txt")) {
        let text = fs::read_to_string(path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let mut new = Vec::new();
        for case in lines.chunk_by(|_, next| !next.starts_with("== ")) {
            let whole = transcript(case, usize::MAX);
            for piece in [1, 7] {
                assert_eq!(transcript(case, piece), whole, "{}: in pieces of {piece}", case[0]);
            }
            if std::env::var_os("UPDATE").is_none() {
                assert_eq!(case, whole, "{}: {}", path.display(), case[0]);
            }
            new.extend(whole);
            cases += usize::from(case[0].starts_with("== "));
        }
        if std::env::var_os("UPDATE").is_some() {
            fs::write(path, new.join("\n") + "\n").unwrap();
        }
    }
    assert!(cases > 150, "{cases}");
}
