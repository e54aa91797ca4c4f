//! Priorities of responses (RFC 9218): the `priority` field, and PRIORITY_UPDATE.

/// How urgent a response is, and whether its parts are of use before its end (§4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Priority {
    /// 0 is the most urgent, 7 the least (§4.1).
    pub urgency: u8,
    /// Shares the connection with others of its urgency, instead of being sent in one piece (§4.2).
    ///
    /// True where the peer signals nothing at all: a client that knows no priorities is served fairly.
    pub incremental: bool,
}

/// Urgencies (§4.1).
pub(super) const URGENCIES: usize = 8;
/// Urgency where none is named (§4.1).
const DEFAULT_URGENCY: u8 = 3;

impl Default for Priority {
    /// Nothing was signalled.
    fn default() -> Self {
        Self { urgency: DEFAULT_URGENCY, incremental: true }
    }
}

impl Priority {
    /// Reads the value of a `priority` field or of PRIORITY_UPDATE, a dictionary of Structured Fields (RFC 9651 §3.2).
    /// Unknown members are passed over, and so are known ones with a value out of range (RFC 9218 §4). `None` if it is
    /// not a dictionary.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let mut priority = Self { urgency: DEFAULT_URGENCY, incremental: false };
        let mut rest = Reader(value);
        rest.skip_spaces();
        while !rest.0.is_empty() {
            let key = rest.key()?;
            let item = if rest.eat(b'=') { rest.item()? } else { Item::Boolean(true) };
            rest.parameters()?;
            match (key, item) {
                (b"u", Item::Integer(urgency @ 0..=7)) => priority.urgency = urgency as u8,
                (b"i", Item::Boolean(incremental)) => priority.incremental = incremental,
                _ => {}
            }
            rest.skip_white_space();
            if rest.0.is_empty() {
                break;
            }
            if !rest.eat(b',') {
                return None;
            }
            rest.skip_white_space();
            if rest.0.is_empty() {
                return None; // a comma at the end
            }
        }
        Some(priority)
    }
}

/// What a member's value is, as far as it matters.
enum Item {
    Integer(i64),
    Boolean(bool),
    Other,
}

/// A reader of Structured Fields (RFC 9651 §4.2), which knows as much of them as it takes to pass over what is unknown.
struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn eat(&mut self, byte: u8) -> bool {
        match self.0 {
            [first, rest @ ..] if *first == byte => {
                self.0 = rest;
                true
            }
            _ => false,
        }
    }

    fn take_while(&mut self, accepts: impl Fn(u8) -> bool) -> &'b [u8] {
        let end = self.0.iter().position(|&byte| !accepts(byte)).unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at(end);
        self.0 = rest;
        taken
    }

    fn skip_spaces(&mut self) {
        self.take_while(|byte| byte == b' ');
    }

    fn skip_white_space(&mut self) {
        self.take_while(|byte| matches!(byte, b' ' | b'\t'));
    }

    fn key(&mut self) -> Option<&'b [u8]> {
        if !matches!(self.0, [b'a'..=b'z' | b'*', ..]) {
            return None;
        }
        Some(
            self.take_while(|byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.*".contains(&byte)
            }),
        )
    }

    /// Parameters behind an item (RFC 9651 §3.1.2).
    fn parameters(&mut self) -> Option<()> {
        while self.eat(b';') {
            self.skip_spaces();
            self.key()?;
            if self.eat(b'=') {
                self.bare_item()?;
            }
        }
        Some(())
    }

    /// An item or an inner list, without its parameters.
    fn item(&mut self) -> Option<Item> {
        if !self.eat(b'(') {
            return self.bare_item();
        }
        loop {
            self.skip_spaces();
            if self.eat(b')') {
                return Some(Item::Other);
            }
            self.bare_item()?;
            self.parameters()?;
            if !matches!(self.0, [b' ' | b')', ..]) {
                return None;
            }
        }
    }

    fn bare_item(&mut self) -> Option<Item> {
        match *self.0.first()? {
            b'-' | b'0'..=b'9' => self.number(),
            b'?' => {
                self.eat(b'?');
                match *self.0.first()? {
                    bit @ (b'0' | b'1') => {
                        self.eat(bit);
                        Some(Item::Boolean(bit == b'1'))
                    }
                    _ => None,
                }
            }
            b'"' => self.string(),
            b':' => {
                self.eat(b':');
                self.take_while(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte));
                self.eat(b':').then_some(Item::Other)
            }
            b'A'..=b'Z' | b'a'..=b'z' | b'*' => {
                self.take_while(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&byte));
                Some(Item::Other)
            }
            _ => None,
        }
    }

    /// An integer of 15 digits at most, or a decimal.
    fn number(&mut self) -> Option<Item> {
        let sign = if self.eat(b'-') { -1 } else { 1 };
        let digits = self.take_while(|byte| byte.is_ascii_digit());
        if !(1..=15).contains(&digits.len()) {
            return None;
        }
        if self.eat(b'.') {
            let fraction = self.take_while(|byte| byte.is_ascii_digit());
            return (digits.len() <= 12 && (1..=3).contains(&fraction.len())).then_some(Item::Other);
        }
        Some(Item::Integer(sign * digits.iter().fold(0, |value, digit| value * 10 + i64::from(digit - b'0'))))
    }

    fn string(&mut self) -> Option<Item> {
        self.eat(b'"');
        loop {
            self.take_while(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\');
            if self.eat(b'"') {
                return Some(Item::Other);
            }
            if !self.eat(b'\\') || !(self.eat(b'"') || self.eat(b'\\')) {
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_are_read_and_what_is_unknown_is_passed_over() {
        let priority = |urgency, incremental| Some(Priority { urgency, incremental });
        for (value, parsed) in [
            ("", priority(3, false)),
            ("u=0", priority(0, false)),
            ("u=7, i", priority(7, true)),
            (" i,u=5 ", priority(5, true)),
            ("u=5,i=?0", priority(5, false)),
            ("u=5,i=?1", priority(5, true)),
            ("u=8", priority(3, false)),
            ("u=-1", priority(3, false)),
            ("u=1.0", priority(3, false)),
            ("u=a, i=1", priority(3, false)),
            ("u=1, u=2", priority(2, false)),
            ("u=1;foo=\"a\\\"b\";bar, i;x=:YQ==:", priority(1, true)),
            ("foo=(1 \"a\" b;c=1), u=2, *x=tok/en", priority(2, false)),
            ("foo=(), u=2", priority(2, false)),
            ("u=", None),
            ("u=1,", None),
            ("u=1 i", None),
            ("U=1", None),
            ("u=1;", None),
            ("u=1, ,i", None),
            ("i=?2", None),
            ("i=?", None),
            ("a=\"", None),
            ("a=\"\\n\"", None),
            ("a=(1", None),
            ("a=(1\"x\")", None),
            ("a=1234567890123456", None),
            ("a=1.", None),
            ("a=1.1234", None),
            ("a=:YQ==", None),
            ("ä", None),
            ("u=\u{e4}", None),
        ] {
            assert_eq!(Priority::parse(value.as_bytes()), parsed, "{value}");
        }
    }
}
