//! What a value is asked for without reading it, and forms of single keys.

use std::time::Duration;

use super::Value;
use crate::config::units;

impl Value<'_> {
    /// Whether it is `true` or `false`; records nothing.
    pub(in crate::config) fn is_boolean(&self) -> bool {
        self.inner.get_ref().is_bool()
    }

    /// Records a warning about this value. The title is led by the key.
    pub(in crate::config) fn warning(&self, title: &str, help: Option<String>) {
        self.errors.borrow_mut().warning(self.span(), format!("`{}`: {title}", self.name), help);
    }

    /// Whether both keys are in the same section of the file, and not one of them in the section that it lies over.
    pub(in crate::config) fn is_beside(&self, other: &Self) -> bool {
        let section = |name: &str| name.rfind('.').map_or(0, |at| at);
        self.name[..section(&self.name)] == other.name[..section(&other.name)]
    }

    /// How long a credential is valid: longer than other durations.
    pub(in crate::config) fn validity(&self) -> Option<Duration> {
        self.duration_by(false, |text| units::duration_up_to(text, units::LONGEST_VALIDITY))
    }

    /// Whether it is a table; records nothing.
    pub(in crate::config) fn is_table(&self) -> bool {
        self.inner.get_ref().is_table()
    }

    /// Whether it is `[]`; records nothing.
    pub(in crate::config) fn is_empty_list(&self) -> bool {
        self.inner.get_ref().as_array().is_some_and(|list| list.is_empty())
    }
}
