//! The response of HTTP/1.1 to a request of ours, as far as it has arrived.

use crate::base::limits::Limits;
use crate::http::{RequestContext, ResponseHead};
use crate::http1::{self, HeadLimits, Parsed, Received};

/// Hands `read` the head of the final response and the bytes behind it; interim responses (RFC 9110 §15.2) are passed over.
/// `None`: the head is not whole yet. `method`: of the request.
///
/// # Errors
/// It is no response of HTTP/1.1.
pub(super) fn final_response<R>(
    mut bytes: &[u8],
    method: &str,
    read: impl FnOnce(&Received<ResponseHead<'_, '_>>, &[u8]) -> R,
) -> Result<Option<R>, String> {
    let context = RequestContext { head: method == "HEAD", ..RequestContext::default() };
    let limits = HeadLimits::from(&Limits::default());
    while !bytes.is_empty() {
        let mut slots = http1::header_slots();
        let head = match http1::parse_response(bytes, &mut slots, &limits, &context) {
            Ok(Parsed::Complete(head)) => head,
            Ok(Parsed::Partial) => return Ok(None),
            Err(error) => return Err(format!("the backend does not speak HTTP/1.1: {}", error.reason())),
        };
        let rest = &bytes[head.len..];
        if !head.is_interim() {
            return Ok(Some(read(&head, rest)));
        }
        bytes = rest;
    }
    Ok(None)
}
