//! `upstream.NAME.outliers`

use crate::config::file::{Section, Value};
use crate::config::plan::Outliers;
use crate::config::units::Wrong;

/// More of the same in a row are no reason to wait.
const MAX_IN_A_ROW: usize = 1000;

pub(super) fn outliers(mut section: Section<'_>, outliers: &mut Outliers) {
    if !outliers.passive {
        section.error(
            "`outliers` has no effect with `health.passive = false`",
            Some("leave one of them out".into()),
        );
    }
    for (key, count) in [
        ("consecutive_failures", &mut outliers.consecutive_failures),
        ("consecutive_5xx", &mut outliers.consecutive_5xx),
    ] {
        if let Some(number) = section.get(key).and_then(|value| value.number(0..=MAX_IN_A_ROW)) {
            *count = number as u32;
        }
    }
    for (key, share) in [
        ("error_rate", &mut outliers.error_rate),
        ("max_ejected", &mut outliers.max_ejected),
        ("panic_threshold", &mut outliers.panic_threshold),
    ] {
        if let Some(percent) = section.get(key).and_then(|value| percent(&value)) {
            *share = percent;
        }
    }
    if let Some(time) = section.get("slow_after").and_then(|value| value.duration(true)) {
        outliers.slow_after = time;
    }
    for (key, time) in
        [("base_ejection", &mut outliers.base_ejection), ("max_ejection", &mut outliers.max_ejection)]
    {
        if let Some(duration) = section.get(key).and_then(|value| value.duration(false)) {
            *time = duration;
        }
    }
    section.finish();
}

/// `"50%"`.
fn percent(value: &Value<'_>) -> Option<u32> {
    let read = |text: &str| {
        let digits = text.strip_suffix('%').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        let number = digits.and_then(|digits| digits.parse().ok()).filter(|number| *number <= 100);
        number.ok_or_else(|| Wrong::new("it is no share from \"0%\" to \"100%\""))
    };
    value.parse("\"50%\"", read).map(|at| at.value)
}
