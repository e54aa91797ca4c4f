//! Header blocks of what we send (RFC 9113 §4.3 and §8.2).

use super::super::config::Role;
use super::super::error::SendError;
use super::super::field_lines::{FieldSource, fields_of};
use super::super::fields::Field;
use super::super::frame::{self, END_STREAM};
use super::super::hpack::{ENTRY_OVERHEAD, KnownLine, PseudoField};
use super::super::message::{check_value, is_left_out, is_sendable};
use super::Connection;
use crate::http::{first_line, split_line};

/// A pseudo-field to send.
pub(super) type Pseudo<'a> = (PseudoField, &'a [u8]);

/// Lines that are read once: most heads have no more. Those behind them are read twice.
const NOTED: usize = 32;

/// A line that was checked.
#[derive(Clone, Copy)]
enum Noted<'a> {
    /// It was written as an index before.
    Known { line: &'a [u8], known: KnownLine },
    /// It is this field.
    Field { line: &'a [u8], name: &'a [u8], value: &'a [u8] },
}

/// What a field counts in a list's size (§6.5.2).
fn cost(name: &[u8], value: &[u8]) -> usize {
    name.len() + value.len() + ENTRY_OVERHEAD
}

/// Whether a field is sent: not those of an HTTP/1 connection (§8.2.2), nor a request's Host, which is in `:authority`.
fn is_kept(role: Role, field: &Field<'_>) -> bool {
    let is_host = role == Role::Client && field.name.eq_ignore_ascii_case(b"host");
    !is_host && !is_left_out(field)
}

impl Connection {
    /// Writes HEADERS, and CONTINUATION if need be. All is checked first: encoding changes the table.
    pub(super) fn write_block<'p, 'a>(
        &mut self,
        stream: u32,
        pseudo: impl Iterator<Item = Pseudo<'p>> + Clone,
        source: impl FieldSource<'a>,
        end_stream: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), SendError> {
        let role = self.role;
        let mut noted = [const { None }; NOTED];
        let (rest, mut size) = self.note(source.lines(), &mut noted)?;
        let fields = fields_of(rest).chain(source.fields());
        for (name, value) in pseudo.clone() {
            check_value(value).map_err(|_| SendError::Field)?;
            size += cost(name.name(), value);
        }
        for field in fields.clone() {
            if !is_sendable(&field) {
                return Err(SendError::Field);
            }
            size += if is_kept(role, &field) { cost(field.name, field.value) } else { 0 };
        }
        if self.peer.header_list_bytes.is_some_and(|most| size > most as usize) {
            return Err(SendError::HeaderListTooLarge);
        }
        let start = frame::begin_headers(out);
        self.encoder.begin(out);
        for (name, value) in pseudo {
            self.encoder.pseudo(name, value, out);
        }
        for line in noted.into_iter().map_while(|line| line) {
            self.encode_line(line, out);
        }
        for field in fields.filter(|field| is_kept(role, field)) {
            self.encoder.field(field.name, field.value, field.never_indexed, out);
        }
        let flags = if end_stream { END_STREAM } else { 0 };
        frame::finish_headers(start, stream, flags, self.peer.max_frame_bytes as usize, out);
        Ok(())
    }

    /// Checks lines, and notes those that are sent. Returns the lines for which there was no room, and what the others count
    /// in the list's size.
    fn note<'a>(
        &self,
        lines: &'a [u8],
        noted: &mut [Option<Noted<'a>>; NOTED],
    ) -> Result<(&'a [u8], usize), SendError> {
        let (mut rest, mut size, mut count) = (lines, 0, 0);
        while count < NOTED
            && let Some((line, behind)) = first_line(rest)
        {
            rest = behind;
            if let Some(known) = self.encoder.known(line) {
                size += usize::from(known.size);
                noted[count] = Some(Noted::Known { line, known });
                count += 1;
                continue;
            }
            let Some((name, value)) = split_line(line) else { continue };
            let field = Field { name, value, never_indexed: false };
            if !is_sendable(&field) {
                return Err(SendError::Field);
            }
            if is_kept(self.role, &field) {
                size += cost(name, value);
                noted[count] = Some(Noted::Field { line, name, value });
                count += 1;
            }
        }
        Ok((rest, size))
    }

    fn encode_line(&mut self, noted: Noted<'_>, out: &mut Vec<u8>) {
        let (line, name, value) = match noted {
            Noted::Field { line, name, value } => (line, name, value),
            Noted::Known { line, known } => {
                if let Some(index) = self.encoder.known_index(&known) {
                    return out.extend_from_slice(index);
                }
                // The table has changed within this block.
                let Some((name, value)) = split_line(line) else { return };
                (line, name, value)
            }
        };
        let start = out.len();
        self.encoder.field(name, value, false, out);
        self.encoder.learn(line, cost(name, value), &out[start..]);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::super::super::config::Config;
    use super::super::super::error::ErrorCode;
    use super::super::super::field_lines::FieldLines;
    use super::super::super::message::RequestLine;
    use super::*;

    const LINE: RequestLine<'_> = RequestLine {
        method: "GET",
        scheme: Some("https"),
        authority: "a.example",
        path: Some("/"),
        protocol: None,
    };
    const NAMES: [&str; 9] = [
        "server",
        "X-Some-Name",
        "date",
        "accept-encoding",
        "te",
        "host",
        "authorization",
        "connection",
        "bad name",
    ];

    /// Names and values by their numbers: few, so that lines repeat.
    fn fields_by(numbers: &[(usize, usize)]) -> Vec<(&'static str, String)> {
        let value = |number: usize| match number {
            0 => "gzip, deflate".to_owned(),
            1 => "trailers".to_owned(),
            2 => "v".repeat(100),
            3 => "v".repeat(1100),
            other => format!("value {other}"),
        };
        numbers.iter().map(|&(name, number)| (NAMES[name], value(number))).collect()
    }

    /// Numbers of a head's fields, and a table limit that the peer sets before it.
    type Heads = [(Vec<(usize, usize)>, Option<u32>)];

    /// Sends the same heads as lines and as fields.
    fn sends_the_same(heads: &Heads) -> Result<(), TestCaseError> {
        let client = || Connection::client(Arc::new(Config::default()));
        let (mut by_lines, mut by_fields) = (client(), client());
        for (numbers, limit) in heads {
            let fields = fields_by(numbers);
            let lines: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
            let fields = fields.iter().map(|(name, value)| Field {
                name: name.as_bytes(),
                value: value.as_bytes(),
                never_indexed: false,
            });
            if let Some(limit) = *limit {
                by_lines.encoder.set_limit(limit);
                by_fields.encoder.set_limit(limit);
            }
            let (mut one, mut other) = (Vec::new(), Vec::new());
            let sent = by_lines.send_request(&LINE, FieldLines::of(lines.as_bytes()), true, &mut one);
            prop_assert_eq!(sent, by_fields.send_request(&LINE, fields, true, &mut other));
            prop_assert_eq!(one, other);
            if let Ok(stream) = sent {
                by_lines.reset(stream, ErrorCode::CANCEL, &mut Vec::new());
                by_fields.reset(stream, ErrorCode::CANCEL, &mut Vec::new());
            }
        }
        Ok(())
    }

    #[test]
    fn a_line_that_takes_the_place_of_a_known_one_does_not_change_it() {
        // In the last head a line becomes known between the look at the other one and its turn.
        let heads = [
            vec![(0, 4), (0, 6), (0, 4), (0, 1)],
            vec![(0, 1), (0, 6)],
            vec![],
            vec![(0, 1)],
            vec![(0, 6), (0, 1)],
        ];
        sends_the_same(&heads.map(|head| (head, None))).unwrap();
    }

    proptest! {
        /// Known lines change no byte of what is sent, whatever the table does meanwhile.
        #[test]
        fn lines_are_written_as_their_fields_are(
            heads in prop::collection::vec(
                (prop::collection::vec((0..NAMES.len(), 0..7usize), 0..40), prop::option::weighted(0.1, 0u32..5000)),
                1..40,
            ),
        ) {
            sends_the_same(&heads)?;
        }
    }
}
