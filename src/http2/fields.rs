//! The fields of one message head or trailer section, in one piece of text.

use super::hpack::{ENTRY_OVERHEAD, StaticName};

/// The bounds of one field list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldLimits {
    /// Bytes of names and values, and 32 for each field (RFC 9113 §6.5.2, SETTINGS_MAX_HEADER_LIST_SIZE).
    pub bytes: usize,
    /// Fields, pseudo-fields included.
    pub fields: usize,
}

/// Between a name and its value.
const SEPARATOR: &[u8] = b": ";
/// Behind a value.
const LINE_END: &[u8] = b"\r\n";

/// Where a field is in the text, which has it as a line of HTTP/1: so lines that are passed on unchanged to an HTTP/1 peer
/// are copied together.
#[derive(Clone, Copy, Debug)]
struct Span {
    name: u32,
    value: u32,
    end: u32,
    never_indexed: bool,
    static_name: StaticName,
}

/// A field as it was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'b> {
    /// In lower case, once its message is known to be well-formed.
    pub name: &'b [u8],
    /// Without CR, LF, NUL and other control characters, once its message is known to be well-formed.
    pub value: &'b [u8],
    /// The sender asked that no hop keep it in a table (RFC 7541 §7.1.3): pass it on so.
    pub never_indexed: bool,
}

/// The fields of one head or trailer section, as lines of HTTP/1. Its memory is used again for the next one: a worker needs one list for all
/// of its connections.
#[derive(Debug, Default)]
pub struct FieldList {
    pub(super) text: Vec<u8>,
    spans: Vec<Span>,
    /// So many of them, at the beginning, are pseudo-fields.
    pseudo: usize,
    size: usize,
    count: usize,
    limits: Option<FieldLimits>,
}

impl FieldList {
    /// An empty list. It allocates when fields are put in.
    pub fn new() -> Self {
        Self::default()
    }

    /// Empties it, for a list within these bounds. Of a longer one, no more than what fits is kept.
    pub fn clear(&mut self, limits: FieldLimits) {
        self.text.clear();
        self.spans.clear();
        (self.pseudo, self.size, self.count, self.limits) = (0, 0, 0, Some(limits));
    }

    /// Appends a field.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        self.push_named(name, value, StaticName::default());
    }

    /// Appends a field whose name comes from there.
    pub(super) fn push_named(&mut self, name: &[u8], value: &[u8], static_name: StaticName) {
        self.count_in(name.len() + value.len());
        if self.is_within() {
            let start = self.text.len();
            self.text.extend_from_slice(name);
            let value_start = self.begin_value();
            self.text.extend_from_slice(value);
            self.add(start, value_start, false, static_name);
        }
    }

    /// A name was appended to the text: its value may follow from the returned place on.
    pub(super) fn begin_value(&mut self) -> usize {
        self.text.extend_from_slice(SEPARATOR);
        self.text.len()
    }

    /// Name and value of a field that was appended to the text.
    pub(super) fn appended(&self, start: usize, value: usize) -> (&[u8], &[u8]) {
        (&self.text[start..value - SEPARATOR.len()], &self.text[value..])
    }

    /// Makes a field of what was appended to the text from `start` on, its value from `value` on.
    pub(super) fn close(&mut self, start: usize, value: usize, never_indexed: bool, static_name: StaticName) {
        self.count_in(self.text.len() - start - SEPARATOR.len());
        if self.is_within() {
            self.add(start, value, never_indexed, static_name);
        } else {
            self.text.truncate(start);
        }
    }

    fn count_in(&mut self, bytes: usize) {
        self.size = self.size.saturating_add(bytes + ENTRY_OVERHEAD);
        self.count += 1;
    }

    fn add(&mut self, start: usize, value: usize, never_indexed: bool, static_name: StaticName) {
        // Header blocks are bounded far below 4 GiB.
        let place = |at: usize| at as u32;
        let end = place(self.text.len());
        self.text.extend_from_slice(LINE_END);
        self.spans.push(Span { name: place(start), value: place(value), end, never_indexed, static_name });
    }

    /// Whether the list is within its bounds. If not, fields are missing.
    pub fn is_within(&self) -> bool {
        self.limits.is_none_or(|limits| self.size <= limits.bytes && self.count <= limits.fields)
    }

    /// Size of all fields, also of those that did not fit (RFC 9113 §6.5.2).
    pub fn size(&self) -> usize {
        self.size
    }

    pub(super) fn max_size(&self) -> usize {
        self.limits.map_or(usize::MAX, |limits| limits.bytes)
    }

    fn field(&self, span: &Span) -> Field<'_> {
        let text = |from: u32, to: u32| &self.text[from as usize..to as usize];
        Field {
            name: text(span.name, span.value - SEPARATOR.len() as u32),
            value: text(span.value, span.end),
            never_indexed: span.never_indexed,
        }
    }

    /// All fields in the order of their reception, pseudo-fields included.
    pub fn all(&self) -> impl Iterator<Item = Field<'_>> + Clone {
        self.all_named().map(|(field, _)| field)
    }

    /// The same, with where their names come from.
    pub(super) fn all_named(&self) -> impl Iterator<Item = (Field<'_>, StaticName)> + Clone {
        self.spans.iter().map(|span| (self.field(span), span.static_name))
    }

    /// The fields without the pseudo-fields, with where their names come from.
    pub(super) fn named(&self) -> impl Iterator<Item = (Field<'_>, StaticName)> + Clone {
        self.spans[self.pseudo..].iter().map(|span| (self.field(span), span.static_name))
    }

    /// The fields without the pseudo-fields.
    pub fn iter(&self) -> impl Iterator<Item = Field<'_>> + Clone {
        self.named().map(|(field, _)| field)
    }

    /// The value of the first field of this name, which is in lower case. Pseudo-fields have their colon.
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        self.all().find(|field| field.name == name).map(|field| field.value)
    }

    /// So many fields at the beginning are pseudo-fields: what validation found.
    pub(super) fn set_pseudo(&mut self, count: usize) {
        self.pseudo = count;
    }

    /// Joins the Cookie fields into one, in the place of the first (RFC 9113 §8.2.3).
    pub(super) fn join_cookies(&mut self) {
        let is_cookie = |list: &Self, at: usize| list.field(&list.spans[at]).name == b"cookie";
        let mut cookies = (self.pseudo..self.spans.len()).filter(|&at| is_cookie(self, at));
        let (Some(first), Some(_)) = (cookies.next(), cookies.next()) else { return };
        let start = self.text.len();
        self.text.extend_from_slice(b"cookie");
        let value = self.begin_value();
        let (mut kept, mut never_indexed) = (first + 1, false);
        for at in first..self.spans.len() {
            let span = self.spans[at];
            if is_cookie(self, at) {
                if at > first {
                    self.text.extend_from_slice(b"; ");
                }
                self.text.extend_from_within(span.value as usize..span.end as usize);
                never_indexed |= span.never_indexed;
            } else {
                self.spans[kept] = span;
                kept += 1;
            }
        }
        let static_name = self.spans[first].static_name;
        self.spans.truncate(kept);
        self.add(start, value, never_indexed, static_name);
        if let Some(joined) = self.spans.pop() {
            self.spans[first] = joined;
        }
    }

    /// Gives memory back that a list of usual size does not need.
    pub fn shrink(&mut self, bytes: usize) {
        if self.text.capacity() > bytes {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: FieldLimits = FieldLimits { bytes: 1000, fields: 10 };

    fn list(fields: &[(&str, &str)]) -> FieldList {
        let mut list = FieldList::new();
        list.clear(LIMITS);
        for (name, value) in fields {
            list.push(name.as_bytes(), value.as_bytes());
        }
        list
    }

    fn pairs(list: &FieldList) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        list.all().map(|field| (text(field.name), text(field.value))).collect()
    }

    #[test]
    fn cookie_crumbs_become_one_field_in_the_place_of_the_first() {
        let mut fields =
            list(&[("a", "1"), ("cookie", "x=1"), ("b", "2"), ("cookie", "y=2"), ("cookie", "")]);
        fields.join_cookies();
        let joined = [("a", "1"), ("cookie", "x=1; y=2; "), ("b", "2")];
        assert_eq!(pairs(&fields), pairs(&list(&joined)));
        for unchanged in [&[("a", "1"), ("cookie", "x=1"), ("b", "2")][..], &[("a", "1")], &[]] {
            let mut fields = list(unchanged);
            fields.join_cookies();
            assert_eq!(pairs(&fields), pairs(&list(unchanged)));
        }
    }

    #[test]
    fn a_list_knows_that_it_is_beyond_its_bounds() {
        let mut fields = list(&[("name", "value"); 10]);
        assert!(fields.is_within());
        assert_eq!(fields.size(), 410);
        fields.push(b"a", b"");
        assert!(!fields.is_within());
        assert_eq!(fields.all().count(), 10);
        let mut fields = list(&[]);
        fields.push(b"name", &[b'v'; 1000 - 36]);
        assert!(fields.is_within());
        fields.push(b"", b"");
        assert!(!fields.is_within());
    }
}
