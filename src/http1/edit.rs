//! Heads that are encoded already, changed by rules.
//!
//! A head is taken from its first line to its empty line, ended by CRLF throughout, as this module writes it.

/// Takes out every field whose name `taken` says.
pub(crate) fn remove_fields(head: &mut Vec<u8>, taken: impl Fn(&[u8]) -> bool) {
    let Some(mut read) = line_end(head, 0) else { return };
    let mut kept = read;
    while let Some(end) = line_end(head, read) {
        let line = &head[read..end];
        let name = line.split(|&byte| byte == b':').next().unwrap_or_default();
        if line == b"\r\n" || !taken(name) {
            head.copy_within(read..end, kept);
            kept += end - read;
        }
        read = end;
    }
    head.truncate(kept);
}

/// Puts field lines, each ended by CRLF, behind the fields that are there.
pub(crate) fn append_fields(head: &mut Vec<u8>, lines: &[u8]) {
    debug_assert!(head.ends_with(b"\r\n\r\n"));
    head.truncate(head.len().saturating_sub(2));
    head.extend_from_slice(lines);
    head.extend_from_slice(b"\r\n");
}

fn line_end(head: &[u8], from: usize) -> Option<usize> {
    let rest = head.get(from..)?;
    rest.windows(2).position(|pair| pair == b"\r\n").map(|at| from + at + 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::is_same_name;

    #[test]
    fn fields_go_and_come_and_all_else_stays() {
        let mut head = b"GET /a:b HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nx_a: 2\r\nB: X-A: 3\r\n\r\n".to_vec();
        remove_fields(&mut head, |name| is_same_name(name, b"x-a"));
        assert_eq!(head, b"GET /a:b HTTP/1.1\r\nHost: h\r\nB: X-A: 3\r\n\r\n");
        append_fields(&mut head, b"C: 1\r\nD: 2\r\n");
        assert_eq!(head, b"GET /a:b HTTP/1.1\r\nHost: h\r\nB: X-A: 3\r\nC: 1\r\nD: 2\r\n\r\n");
        remove_fields(&mut head, |_| true);
        assert_eq!(head, b"GET /a:b HTTP/1.1\r\n\r\n");
        append_fields(&mut head, b"");
        assert_eq!(head, b"GET /a:b HTTP/1.1\r\n\r\n");
    }
}
