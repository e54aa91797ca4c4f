//! Access lines as entries of systemd's journal, by its native protocol (systemd: JOURNAL_NATIVE_PROTOCOL, and
//! systemd.journal-fields(7) for the names).
//!
//! A line that is a JSON object has its members as fields of the entry, too: `status` is `RINGATE_STATUS`.

use serde_json::{Map, Value};

/// Bytes that are kept of a line that is longer than a datagram may be, where there can be no file in memory.
const SHORTENED: usize = 32 * 1024;
/// The longest name of a field that the journal takes.
const LONGEST_NAME: usize = 64;

/// Appends the entry of a line.
pub(super) fn put_entry(line: &[u8], out: &mut Vec<u8>) {
    put_message(line, out);
    let members = line.starts_with(b"{").then(|| serde_json::from_slice::<Map<String, Value>>(line).ok());
    for (name, value) in members.flatten().into_iter().flatten() {
        let name = name.bytes().map(|byte| match byte.to_ascii_uppercase() {
            plain @ (b'A'..=b'Z' | b'0'..=b'9') => char::from(plain),
            _ => '_',
        });
        let name: String = "RINGATE_".chars().chain(name).take(LONGEST_NAME).collect();
        match value {
            Value::Null => {}
            Value::String(text) => put_field(&name, text.as_bytes(), out),
            other => put_field(&name, other.to_string().as_bytes(), out),
        }
    }
}

/// Appends the entry of a line that is too long: its beginning, without further fields.
pub(super) fn put_shortened(line: &[u8], out: &mut Vec<u8>) {
    let mut kept = line[..line.len().min(SHORTENED)].to_vec();
    kept.extend_from_slice(b"...");
    put_message(&kept, out);
}

/// The fields of every entry: severity informational, facility local0 as of syslog messages.
fn put_message(message: &[u8], out: &mut Vec<u8>) {
    put_field("MESSAGE", message, out);
    out.extend_from_slice(b"PRIORITY=6\nSYSLOG_FACILITY=16\nSYSLOG_IDENTIFIER=ringate\n");
}

/// Appends a field. One with a line feed in it has its length before it.
fn put_field(name: &str, value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    if value.contains(&b'\n') {
        out.push(b'\n');
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend_from_slice(value);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_of_an_object_are_fields() {
        let mut entry = Vec::new();
        put_entry(br#"{"status":200,"client.a":"x\ny","upstream":null}"#, &mut entry);
        let mut expected = br#"MESSAGE={"status":200,"client.a":"x\ny","upstream":null}"#.to_vec();
        expected.extend_from_slice(b"\nPRIORITY=6\nSYSLOG_FACILITY=16\nSYSLOG_IDENTIFIER=ringate\n");
        expected.extend_from_slice(b"RINGATE_CLIENT_A\n\x03\0\0\0\0\0\0\0x\ny\nRINGATE_STATUS=200\n");
        let sorted = |entry: &[u8]| {
            let mut bytes = entry.to_vec();
            bytes.sort_unstable();
            bytes
        };
        // The members may be in any order.
        assert_eq!(sorted(&entry), sorted(&expected), "{}", entry.escape_ascii());
        entry.clear();
        put_entry(b"plain {line}", &mut entry);
        assert!(entry.starts_with(b"MESSAGE=plain {line}\nPRIORITY=6\n"));
        entry.clear();
        put_shortened(&[b'a'; 2 * SHORTENED], &mut entry);
        assert!(entry.starts_with(b"MESSAGE=aaa") && entry.len() < SHORTENED + 200);
    }
}
