//! Durations, sizes and CPU lists, as they are written and back.

use std::time::Duration;

use super::suggest::quoted;

/// Why a value is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// What is wrong with it.
    pub title: String,
    /// How to correct it.
    pub help: Option<String>,
}

impl Wrong {
    /// A reason without a correction.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), help: None }
    }

    /// The same with a correction.
    #[must_use]
    pub fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }
}

/// Units of durations in milliseconds, largest first.
const DURATIONS: [(&str, u64); 5] =
    [("d", 24 * 3600 * 1000), ("h", 3600 * 1000), ("m", 60 * 1000), ("s", 1000), ("ms", 1)];
/// Units of sizes in bytes, largest first.
const SIZES: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];
/// The longest duration: far from where adding one to a clock overflows.
const LONGEST: Duration = Duration::from_secs(365 * DAY);
/// The longest validity of a credential.
pub(crate) const LONGEST_VALIDITY: Duration = Duration::from_secs(3650 * DAY);
/// In seconds.
const DAY: u64 = 24 * 3600;
/// The highest CPU number: Linux is built for 8192 at most.
const HIGHEST_CPU: usize = 8191;

/// Reads `250ms`, `5s`, `1m`, `1h`, `2d`: a whole number and one unit.
///
/// # Errors
///
/// What is wrong with it; also with more than 365 days.
pub(crate) fn duration(text: &str) -> Result<Duration, Wrong> {
    duration_up_to(text, LONGEST)
}

/// The same, up to `longest`, which is whole days.
///
/// # Errors
///
/// What is wrong with it; also with more than that.
pub(crate) fn duration_up_to(text: &str, longest: Duration) -> Result<Duration, Wrong> {
    let wrong = |reason: &str| Wrong::new(format!("{} is not a duration: {reason}", quoted(text)));
    let (digits, unit) = split(text);
    let form = "a duration is a whole number and one unit (ms, s, m, h or d), such as \"30s\"";
    if digits.is_empty() {
        return Err(wrong("it does not begin with a number").help(form));
    }
    let Some((_, milliseconds)) = DURATIONS.iter().find(|(name, _)| *name == unit) else {
        return Err(match unit {
            "" => wrong("the unit is missing").help(format!("did you mean \"{digits}s\"?")),
            other => match synonym(other.trim(), &DURATION_SYNONYMS) {
                Some(unit) => wrong("unknown unit").help(format!("did you mean \"{digits}{unit}\"?")),
                None => wrong("unknown unit").help(form),
            },
        });
    };
    let duration =
        digits.parse::<u64>().ok().and_then(|n| n.checked_mul(*milliseconds)).map(Duration::from_millis);
    let too_long = || wrong(&format!("it is longer than {} days", longest.as_secs() / DAY));
    duration.filter(|duration| *duration <= longest).ok_or_else(too_long)
}

/// Reads `512B`, `16KiB`, `1MiB`, `2GiB`, `1TiB`, or plain bytes.
///
/// # Errors
///
/// What is wrong with it; also with 2⁶³ bytes and more.
pub(crate) fn size(text: &str) -> Result<u64, Wrong> {
    let wrong = |reason: &str| Wrong::new(format!("{} is not a size: {reason}", quoted(text)));
    let (digits, unit) = split(text);
    let form = "a size is a whole number and one unit (B, KiB, MiB, GiB or TiB), such as \"16KiB\"";
    if digits.is_empty() {
        return Err(wrong("it does not begin with a number").help(form));
    }
    let unit = if unit.is_empty() { "B" } else { unit };
    let Some((_, bytes)) = SIZES.iter().find(|(name, _)| *name == unit) else {
        return Err(match synonym(unit.trim(), &SIZE_SYNONYMS) {
            Some(unit) => wrong("unknown unit").help(format!("did you mean \"{digits}{unit}\"?")),
            None => wrong("unknown unit").help(form),
        });
    };
    let size = digits.parse::<u64>().ok().and_then(|n| n.checked_mul(*bytes));
    size.filter(|size| i64::try_from(*size).is_ok()).ok_or_else(|| wrong("it is too large"))
}

/// Reads `240B/s`, `1KiB/s`: a size and `/s`. Bytes a second.
///
/// # Errors
///
/// What is wrong with it.
pub(crate) fn rate(text: &str) -> Result<u64, Wrong> {
    let Some(amount) = text.strip_suffix("/s") else {
        let wrong = Wrong::new(format!("{} is not a rate: it does not end with `/s`", quoted(text)));
        return Err(match size(text) {
            Ok(bytes) => wrong.help(format!("did you mean \"{}/s\"?", size_text(bytes))),
            Err(_) => wrong.help("a rate is a size and `/s`, such as \"240B/s\""),
        });
    };
    size(amount)
}

/// Writes a size so that [`size`] reads it back, in the largest unit that is exact.
pub(crate) fn size_text(bytes: u64) -> String {
    if bytes == 0 { "0B".to_owned() } else { exact(bytes, &SIZES) }
}

/// Reads a CPU list such as `0-3,8`: sorted, without repetition, never empty.
///
/// # Errors
///
/// What is wrong with it.
pub(crate) fn cpus(text: &str) -> Result<Vec<usize>, Wrong> {
    let wrong = |reason: String| {
        Wrong::new(format!("{} is not a CPU list: {reason}", quoted(text)))
            .help("write CPU numbers and ranges between commas, such as \"0-3,8\"")
    };
    let number = |digits: &str| match split(digits.trim()) {
        (digits, "") if !digits.is_empty() => match digits.parse::<usize>() {
            Ok(cpu) if cpu <= HIGHEST_CPU => Ok(cpu),
            _ => Err(wrong(format!("there is no CPU {digits}, the highest is {HIGHEST_CPU}"))),
        },
        _ => Err(wrong(format!("{} is not a CPU number", quoted(digits)))),
    };
    let mut cpus = Vec::new();
    for item in text.split(',') {
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(wrong(format!("the range {first}-{last} runs backwards")));
        }
        cpus.extend(first..=last);
    }
    cpus.sort_unstable();
    cpus.dedup();
    Ok(cpus)
}

/// What people write for a unit, in lower case, and the unit.
const DURATION_SYNONYMS: [(&str, &str); 16] = [
    ("ms", "ms"),
    ("msec", "ms"),
    ("millis", "ms"),
    ("s", "s"),
    ("sec", "s"),
    ("secs", "s"),
    ("second", "s"),
    ("seconds", "s"),
    ("m", "m"),
    ("min", "m"),
    ("minutes", "m"),
    ("h", "h"),
    ("hr", "h"),
    ("hours", "h"),
    ("d", "d"),
    ("days", "d"),
];
const SIZE_SYNONYMS: [(&str, &str); 14] = [
    ("b", "B"),
    ("bytes", "B"),
    ("k", "KiB"),
    ("kb", "KiB"),
    ("kib", "KiB"),
    ("m", "MiB"),
    ("mb", "MiB"),
    ("mib", "MiB"),
    ("g", "GiB"),
    ("gb", "GiB"),
    ("gib", "GiB"),
    ("t", "TiB"),
    ("tb", "TiB"),
    ("tib", "TiB"),
];

fn synonym(unit: &str, synonyms: &[(&str, &'static str)]) -> Option<&'static str> {
    let unit = unit.to_ascii_lowercase();
    synonyms.iter().find(|(name, _)| *name == unit).map(|(_, unit)| *unit)
}

/// Leading digits and the rest.
fn split(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// `amount` in the largest unit that divides it; the last unit is 1.
fn exact(amount: u64, units: &[(&str, u64)]) -> String {
    let unit = units.iter().find(|(_, worth)| amount.is_multiple_of(*worth));
    unit.map_or_else(String::new, |(name, worth)| format!("{}{name}", amount / worth))
}

/// A number from 1 to 100 with at most two decimals, or 0, in percent.
pub(super) fn percent(text: &str) -> Option<u32> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || whole.len() > 3 || part.len() > 2 || !is_number(whole) || !is_number(part) {
        return None;
    }
    let percent: u32 = format!("{whole}{part:0<2}").parse().ok()?;
    (percent == 0 || (100..=10_000).contains(&percent)).then_some(percent)
}

/// A number of percent from 0 to 100 with at most four decimals, in millionths.
pub(super) fn millionths(text: &str) -> Option<u32> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || whole.len() > 3 || part.len() > 4 || !is_number(whole) || !is_number(part) {
        return None;
    }
    format!("{whole}{part:0<4}").parse().ok().filter(|millionths| *millionths <= 1_000_000)
}

/// A number from 0 to 1 with at most six decimals, in millionths.
pub(super) fn share(text: &str) -> Option<u32> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !matches!(whole, "0" | "1") || part.len() > 6 || !is_number(part) {
        return None;
    }
    format!("{whole}{part:0<6}").parse().ok().filter(|millionths| *millionths <= 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_from_nothing_to_all() {
        let known =
            [("0", 0), ("0.0", 0), ("0.01", 10_000), ("0.000001", 1), ("1", 1_000_000), ("1.0", 1_000_000)];
        for (text, millionths) in known {
            assert_eq!(share(text), Some(millionths), "{text}");
        }
        for text in ["", ".5", "1.01", "2", "-0.1", "0.0000001", "1e-2", "0.1x"] {
            assert_eq!(share(text), None, "{text}");
        }
    }

    /// A duration as it is written.
    fn duration_text(duration: Duration) -> String {
        let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        if milliseconds == 0 { "0s".to_owned() } else { exact(milliseconds, &DURATIONS) }
    }
    use proptest::prelude::*;

    #[test]
    fn durations_have_one_unit() {
        for (text, milliseconds) in
            [("250ms", 250), ("5s", 5_000), ("1m", 60_000), ("1h", 3_600_000), ("2d", 172_800_000), ("0s", 0)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for (text, help) in [
            ("30", Some("did you mean \"30s\"?")),
            ("30 s", Some("did you mean \"30s\"?")),
            ("5min", Some("did you mean \"5m\"?")),
            ("5S", Some("did you mean \"5s\"?")),
            ("366d", None),
            ("99999999999999999999d", None),
        ] {
            assert_eq!(duration(text).unwrap_err().help.as_deref(), help, "{text}");
        }
        for text in ["", "s", "-5s", "1.5s", "1m30s", "٣s", "5us", "+5s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_powers_of_two() {
        for (text, bytes) in
            [("16KiB", 16 << 10), ("1MiB", 1 << 20), ("2GiB", 2 << 30), ("7B", 7), ("512", 512)]
        {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["16KB", "16k", "16 KiB", "16kib"] {
            assert_eq!(size(text).unwrap_err().help.as_deref(), Some("did you mean \"16KiB\"?"), "{text}");
        }
        for text in ["", "KiB", "1.5MiB", "-1", "9000000TiB", "9223372036854775808"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rates_are_sizes_a_second() {
        assert_eq!((rate("240B/s"), rate("1KiB/s"), rate("0B/s")), (Ok(240), Ok(1024), Ok(0)));
        for (text, help) in [
            ("240", "did you mean \"240B/s\"?"),
            ("2KiB", "did you mean \"2KiB/s\"?"),
            ("2KB/s", "did you mean \"2KiB\"?"),
            ("fast", "a rate is a size and `/s`, such as \"240B/s\""),
        ] {
            assert_eq!(rate(text).unwrap_err().help.as_deref(), Some(help), "{text}");
        }
    }

    #[test]
    fn cpu_lists_are_sorted_sets() {
        assert_eq!(cpus("0-3,8"), Ok(vec![0, 1, 2, 3, 8]));
        assert_eq!(cpus("8, 1-2 ,2"), Ok(vec![1, 2, 8]));
        for text in ["", ",", "0,", "a", "3-1", "-1", "1-", "0-9999999", "1-2-3", "0x1"] {
            assert!(cpus(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn durations_come_back(milliseconds in 0u64..=365 * 24 * 3600 * 1000) {
            let original = Duration::from_millis(milliseconds);
            prop_assert_eq!(duration(&duration_text(original)), Ok(original));
        }

        #[test]
        fn sizes_come_back(bytes in 0u64..=i64::MAX as u64) {
            prop_assert_eq!(size(&size_text(bytes)), Ok(bytes));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[0-9]{0,25}\\PC{0,8}") {
            let _ = (duration(&text), size(&text), rate(&text), cpus(&text));
        }
    }

    #[test]
    fn shares_have_four_decimals() {
        for (text, share) in [("0", 0), ("5", 50_000), ("0.0001", 1), ("12.5", 125_000), ("100", 1_000_000)] {
            assert_eq!(millionths(text), Some(share), "{text}");
        }
        for text in ["", "-1", "100.1", "0.00001", "1e1", ".5", "inf"] {
            assert_eq!(millionths(text), None, "{text}");
        }
    }
}
