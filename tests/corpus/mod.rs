//! Hostile and odd messages, and what becomes of each: `tests/data`, read from files, judged without I/O and
//! through the real binary. None may reach a backend as two requests where one was meant, or one where two were.

mod format;
mod pure;
mod translated;
mod wire;

pub use format::{Outcome, ResponseCase, Then, Verdict, one_chunk, requests, responses};

#[test]
fn the_corpus_is_as_large_as_it_says() {
    assert!(requests().len() >= 580 && responses().len() >= 200);
}

/// Bytes as a message shows them.
fn shown(bytes: &[u8]) -> String {
    let text = bytes.escape_ascii().to_string().replace("\\r\\n", "\n").replace("\\\"", "\"");
    if text.len() > 2000 { format!("{}…", &text[..2000]) } else { text }
}

/// Fails with all that went wrong, not just the first of it.
#[track_caller]
fn assert_none(faults: &[String]) {
    assert!(faults.is_empty(), "{} cases:\n\n{}", faults.len(), faults.join("\n\n"));
}
