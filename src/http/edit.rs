//! What rules change of a head.

/// Says of a field by its name whether it is meant.
pub(crate) type NamePredicate<'a> = dyn Fn(&[u8]) -> bool + 'a;

/// What is changed of a head on its way. A head is written in one pass: what is removed is not written first.
#[derive(Clone, Copy, Default)]
pub struct HeadEdit<'a> {
    /// Which of the message's fields do not go on, by their names; `None`: all go on. What a codec writes from what it
    /// understood (framing, Host, Connection, Expect) is no matter of edits.
    pub removed: Option<&'a NamePredicate<'a>>,
    /// Field lines, each ended by CRLF, that go behind all others.
    pub added: &'a [u8],
}

impl HeadEdit<'_> {
    /// Whether a field of this name does not go on.
    #[inline]
    pub fn removes(&self, name: &[u8]) -> bool {
        self.removed.is_some_and(|removed| removed(name))
    }
}

impl std::fmt::Debug for HeadEdit<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let added = self.added.escape_ascii();
        write!(f, "HeadEdit {{ removes: {}, added: {added} }}", self.removed.is_some())
    }
}
