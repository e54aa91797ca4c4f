//! What a WebSocket's handshake has on HTTP/1 and lacks on HTTP/2.

use crate::http::{RequestHead, Version};

/// The field line that a WebSocket's handshake has on HTTP/1, and an extended CONNECT has not (RFC 8441 §5): a nonce.
pub(super) fn websocket_key(head: &RequestHead<'_, '_>, id: &str) -> Option<String> {
    let lacks = head.version == Version::Http2 && head.upgrade.is_some();
    if !lacks || head.fields.get("sec-websocket-key").is_some() {
        return None;
    }
    let mut nonce = [0; 16];
    for (place, byte) in nonce.iter_mut().zip(id.bytes().rev()) {
        *place = byte;
    }
    Some(format!("Sec-WebSocket-Key: {}\r\n", data_encoding::BASE64.encode(&nonce)))
}
