//! Faults on demand, by which the tests prove that a panic or a blocked thread is noticed. A release build has none.
//!
//! `RINGATE_TEST_FAULT="PLACE KIND FILE"`: once FILE exists, the first thread at PLACE removes it and panics (`panic`)
//! or blocks for some milliseconds (`block=3000`).

/// A place where a test may inject a fault.
#[cfg(debug_assertions)]
pub(crate) fn point(place: &str) {
    use std::sync::OnceLock;
    use std::time::Duration;

    static ASKED: OnceLock<Option<[String; 3]>> = OnceLock::new();
    let asked = ASKED.get_or_init(|| {
        let text = std::env::var("RINGATE_TEST_FAULT").ok()?;
        text.splitn(3, ' ').map(str::to_owned).collect::<Vec<_>>().try_into().ok()
    });
    let Some([at, kind, file]) = asked else { return };
    if at != place || std::fs::remove_file(file).is_err() {
        return;
    }
    match kind.strip_prefix("block=").and_then(|text| text.parse().ok()) {
        Some(milliseconds) => std::thread::sleep(Duration::from_millis(milliseconds)),
        None => panic!("a test injected a fault at {place}"),
    }
}

/// A place where a test may inject a fault: not in this build.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub(crate) fn point(_place: &str) {}
