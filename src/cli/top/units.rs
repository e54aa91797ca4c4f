//! Figures as few characters: `1234`, `12.3k`, `4.5M`.

/// What stands where there is no figure.
pub(super) const NONE: &str = "-";

const STEPS: [(f64, &str); 4] = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];

/// A count or a rate.
pub(super) fn number(value: f64) -> String {
    if value < 10_000.0 {
        return digits(value);
    }
    scaled(value)
}

/// Bytes, in powers of 1000.
pub(super) fn bytes(value: f64) -> String {
    if value < 1000.0 { format!("{value:.0}B") } else { scaled(value) + "B" }
}

/// Milliseconds, without their unit.
pub(super) fn millis(value: f64) -> String {
    if value > 0.0 && value < 1.0 { format!("{value:.2}") } else { number(value) }
}

/// The same of what may be missing.
pub(super) fn or_none(value: Option<f64>, text: fn(f64) -> String) -> String {
    value.map_or_else(|| NONE.to_owned(), text)
}

/// `3d 4h`, `2h 5m`, `1m 3s`, `7s`.
pub(super) fn time(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m {}s", seconds % 60),
        3600..86_400 => format!("{hours}h {}m", minutes % 60),
        _ => format!("{days}d {}h", hours % 24),
    }
}

/// Three digits or the whole part.
fn digits(value: f64) -> String {
    if value == 0.0 || value >= 100.0 || value.fract() == 0.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.1}")
    }
}

fn scaled(value: f64) -> String {
    // What rounds to 1000 of one unit is 1 of the next.
    let step = STEPS.iter().find(|(step, _)| value >= step * 0.9995).unwrap_or(&STEPS[3]);
    format!("{}{}", digits(value / step.0), step.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        let cases =
            [(0.0, "0"), (0.25, "0.2"), (9.96, "10.0"), (99.9, "99.9"), (1234.5, "1234"), (9999.0, "9999")];
        let large =
            [(12_345.0, "12.3k"), (999_999.0, "1.0M"), (4.5e6, "4.5M"), (7e9, "7G"), (1.5e15, "1500T")];
        for (value, text) in cases.into_iter().chain(large) {
            assert_eq!(number(value), text);
            assert!(number(value).len() <= 6, "{text}");
        }
        assert_eq!([bytes(0.0), bytes(999.0), bytes(1500.0), bytes(123e6)], ["0B", "999B", "1.5kB", "123MB"]);
        assert_eq!(
            [millis(0.254), millis(1.0), millis(12.34), millis(60_000.0)],
            ["0.25", "1", "12.3", "60k"]
        );
        assert_eq!([time(7), time(63), time(7500), time(270_000)], ["7s", "1m 3s", "2h 5m", "3d 3h"]);
        assert_eq!([or_none(None, bytes), or_none(Some(1.0), number)], ["-", "1"]);
    }
}
