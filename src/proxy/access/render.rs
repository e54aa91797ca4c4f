//! Values as text that stays within its field and its line.

use std::cell::Cell;
use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::config::access::Style;
use crate::http1::put_decimal;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Appends `value` escaped: whatever a client sent, a line stays one line and a terminal stays as it is.
pub(crate) fn escape(style: Style, value: &[u8], out: &mut Vec<u8>) {
    // Mostly there is nothing to escape.
    let plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
    if value.iter().fold(true, |all, &byte| all & plain(byte)) {
        out.extend_from_slice(value);
        return;
    }
    match style {
        Style::Text => {
            for &byte in value {
                if plain(byte) {
                    out.push(byte);
                } else {
                    out.extend_from_slice(&[
                        b'\\',
                        b'x',
                        HEX[usize::from(byte >> 4)],
                        HEX[usize::from(byte & 15)],
                    ]);
                }
            }
        }
        Style::Json => {
            for chunk in value.utf8_chunks() {
                for c in chunk.valid().chars() {
                    json_char(c, out);
                }
                if !chunk.invalid().is_empty() {
                    out.extend_from_slice(b"\\ufffd");
                }
            }
        }
    }
}

/// RFC 8259 §7; besides, what a terminal would act upon is escaped.
fn json_char(c: char, out: &mut Vec<u8>) {
    match c {
        '"' | '\\' => out.extend_from_slice(&[b'\\', c as u8]),
        ' '..='~' => out.push(c as u8),
        c if c.is_control() => {
            let code = c as usize;
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', HEX[code >> 4 & 15], HEX[code & 15]]);
        }
        c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

/// Appends a query in which the values of `hidden` keys (in lower case) are left out.
pub(crate) fn query(style: Style, query: &[u8], hidden: &[String], out: &mut Vec<u8>) {
    if hidden.is_empty() {
        return escape(style, query, out);
    }
    for (at, pair) in query.split(|&byte| byte == b'&').enumerate() {
        if at > 0 {
            out.push(b'&');
        }
        // To some backends `;` ends a pair as well. From the first hidden key on, nothing is shown.
        let mut shown = 0;
        let end = pair.split(|&byte| byte == b';').find_map(|part| {
            let key = part.split(|&byte| byte == b'=').next().unwrap_or_default();
            let start = shown;
            shown += part.len() + 1;
            (key.len() < part.len() && is_hidden(key, hidden)).then_some(start + key.len() + 1)
        });
        match end {
            Some(end) => {
                escape(style, &pair[..end], out);
                out.extend_from_slice(b"[redacted]");
            }
            None => escape(style, pair, out),
        }
    }
}

/// Whether a key is hidden, however it is encoded.
fn is_hidden(key: &[u8], hidden: &[String]) -> bool {
    hidden.iter().any(|name| {
        let mut rest = key;
        let decoded = std::iter::from_fn(|| {
            let (&first, behind) = rest.split_first()?;
            let digit = |at: usize| char::from(*behind.get(at)?).to_digit(16);
            let byte = match (first, digit(0), digit(1)) {
                (b'%', Some(high), Some(low)) => {
                    rest = &behind[2..];
                    (high * 16 + low) as u8
                }
                _ => {
                    rest = behind;
                    first
                }
            };
            Some(byte.to_ascii_lowercase())
        });
        decoded.eq(name.bytes())
    })
}

/// A value of ours, or the replacement for none.
pub(crate) fn value(style: Style, value: Option<&str>, out: &mut Vec<u8>) {
    match (value, style) {
        (None, _) => missing(style, out),
        (Some(value), Style::Text) => escape(style, value.as_bytes(), out),
        (Some(value), Style::Json) => {
            out.push(b'"');
            escape(style, value.as_bytes(), out);
            out.push(b'"');
        }
    }
}

pub(crate) fn missing(style: Style, out: &mut Vec<u8>) {
    out.extend_from_slice(match style {
        Style::Text => b"-",
        Style::Json => b"null",
    });
}

pub(crate) fn number(number: Option<u64>, style: Style, out: &mut Vec<u8>) {
    match number {
        Some(number) => put_decimal(out, number),
        None => missing(style, out),
    }
}

pub(crate) fn microseconds(duration: Option<Duration>, style: Style, out: &mut Vec<u8>) {
    match duration {
        Some(duration) => put_decimal(out, duration.as_micros() as u64),
        None => missing(style, out),
    }
}

/// Milliseconds with three digits behind the point.
pub(crate) fn milliseconds(duration: Option<Duration>, style: Style, out: &mut Vec<u8>) {
    let Some(duration) = duration else { return missing(style, out) };
    let micros = duration.as_micros() as u64;
    put_decimal(out, micros / 1000);
    let rest = (micros % 1000) as u32;
    out.push(b'.');
    thousandths(rest, out);
}

fn thousandths(number: u32, out: &mut Vec<u8>) {
    out.extend([100, 10, 1].map(|unit| b'0' + (number / unit % 10) as u8));
}

/// The time of day, of which only the milliseconds are written anew within a second.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    second: Cell<u64>,
    text: Cell<[u8; 19]>,
}

impl Clock {
    pub(crate) fn write(&self, style: Style, out: &mut Vec<u8>) {
        self.write_at(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(), style, out);
    }

    fn write_at(&self, since: Duration, style: Style, out: &mut Vec<u8>) {
        if self.second.get() != since.as_secs() || self.text.get()[0] == 0 {
            self.second.set(since.as_secs());
            self.text.set(date(since.as_secs()));
        }
        let quote: &[u8] = if style == Style::Json { b"\"" } else { b"" };
        out.extend_from_slice(quote);
        out.extend_from_slice(&self.text.get());
        out.push(b'.');
        thousandths(since.subsec_millis(), out);
        out.push(b'Z');
        out.extend_from_slice(quote);
    }
}

/// `2026-01-31T23:59:59`
fn date(second: u64) -> [u8; 19] {
    let mut text = [b'0'; 19];
    let time = i64::try_from(second).ok().and_then(|at| time::OffsetDateTime::from_unix_timestamp(at).ok());
    let Some(time) = time else { return text };
    let (date, (hour, minute, second)) = (time.date(), time.to_hms());
    let month = u8::from(date.month());
    let _ = write!(
        &mut text[..],
        "{:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}",
        date.year(),
        date.day()
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(style: Style, value: &[u8]) -> String {
        let mut out = Vec::new();
        escape(style, value, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn no_value_ends_its_field_or_its_line() {
        let value = b"a\"b\\c\r\n\x1b[31m\x7f\xc2\x85\xff\xc3\xa9";
        assert_eq!(escaped(Style::Text, value), r"a\x22b\x5cc\x0d\x0a\x1b[31m\x7f\xc2\x85\xff\xc3\xa9");
        let json = escaped(Style::Json, value);
        assert_eq!(json, "a\\\"b\\\\c\\u000d\\u000a\\u001b[31m\\u007f\\u0085\\ufffdé");
        let read: String = serde_json::from_str(&format!("\"{json}\"")).unwrap();
        assert_eq!(read, "a\"b\\c\r\n\x1b[31m\x7f\u{85}\u{fffd}é");
        for byte in 0..=255u8 {
            for style in [Style::Text, Style::Json] {
                let text = escaped(style, &[b'x', byte]);
                assert!(!text.chars().any(char::is_control), "{byte}");
            }
        }
    }

    #[test]
    fn hidden_keys_are_found_in_every_disguise() {
        let hidden = ["token".to_owned(), "a b".to_owned()];
        for (from, to) in [
            ("a=1&token=secret&b=2", "a=1&token=[redacted]&b=2"),
            ("TOKEN=secret", "TOKEN=[redacted]"),
            ("%74oke%6E=secret", "%74oke%6E=[redacted]"),
            ("x=1;token=sec;ret&y", "x=1;token=[redacted]&y"),
            ("a%20b=secret", "a%20b=[redacted]"),
            ("token", "token"),
            ("token=", "token=[redacted]"),
            ("tokens=1&%7", "tokens=1&%7"),
            ("", ""),
        ] {
            let mut out = Vec::new();
            query(Style::Text, from.as_bytes(), &hidden, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), to, "{from}");
        }
    }

    #[test]
    fn times_are_rfc_3339() {
        let clock = Clock::default();
        for (milliseconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_767_225_599_999, "2025-12-31T23:59:59.999Z"),
            (1_767_225_600_007, "2026-01-01T00:00:00.007Z"),
            (1_767_225_600_120, "2026-01-01T00:00:00.120Z"),
        ] {
            let mut out = Vec::new();
            clock.write_at(Duration::from_millis(milliseconds), Style::Text, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
        let mut out = Vec::new();
        milliseconds(Some(Duration::from_micros(12_034_005)), Style::Text, &mut out);
        assert_eq!(out, b"12034.005");
    }
}
