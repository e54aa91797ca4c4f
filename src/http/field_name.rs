//! When two field names are one.

/// Whether two field names are one to a CGI, WSGI or PHP backend, which gets `HTTP_X_A` for `X-A`, `x_a` and `X.A`
/// alike: case and whatever is neither letter nor digit are lost (RFC 3875 §4.1.18).
///
/// Everything that sets, removes or trusts a field compares names by this, so that no similar name takes the field's place.
#[inline]
pub fn is_same_name(one: &[u8], other: &[u8]) -> bool {
    let seen = |byte: &u8| if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'-' };
    one.len() == other.len() && one.iter().map(seen).eq(other.iter().map(seen))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_and_digits_tell_names_apart_and_nothing_else_does() {
        for separator in b"!#$%&'*+-.^_`|~" {
            let name = [b"X".as_slice(), &[*separator], b"Api9", &[*separator], b"KEY"].concat();
            assert!(is_same_name(&name, b"x-api9-key") && is_same_name(b"x-api9-key", &name));
            assert!(!is_same_name(&name, b"x-api8-key") && !is_same_name(&name, b"x-api9key"));
            assert!(!is_same_name(&name, b"xaapi9-key") && !is_same_name(&name, b"x-api9-key-"));
        }
        assert!(is_same_name(b"", b"") && !is_same_name(b"", b"-"));
    }
}
