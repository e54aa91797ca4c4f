//! Heads of calls of gRPC-Web, which reach their backend as calls of gRPC, and of its responses to them.

use crate::http::grpc::is_grpc;
use crate::http::grpc_web::{GrpcWeb, grpc_type};
use crate::http::{BodyLength, HeadEdit, OutgoingRequest, RequestHead, ResponseHead, is_same_name, put_line};

const CONTENT_TYPE: &[u8] = b"content-type";

/// The request as one of gRPC: of its Content-Type, with `TE: trailers`. The text form has another length.
pub(crate) fn request(
    web: GrpcWeb,
    head: &RequestHead<'_, '_>,
    edit: &HeadEdit<'_>,
    write: impl FnOnce(&RequestHead<'_, '_>, &HeadEdit<'_>) -> OutgoingRequest,
) -> OutgoingRequest {
    let body = match head.body {
        BodyLength::Known(1..) if web.text_request => BodyLength::Unknown,
        body => body,
    };
    let media_type = head.fields.get("content-type").and_then(grpc_type).unwrap_or_default();
    let mut outgoing = with_type(&media_type, edit, |edit| write(&RequestHead { body, ..*head }, edit));
    outgoing.takes_trailers = true;
    outgoing
}

/// Whether a response is one of gRPC, so that its client gets one of gRPC-Web; and whether content follows its head.
pub(crate) fn translates(head: &ResponseHead<'_, '_>) -> Option<HasContent> {
    let is_call = !head.is_interim() && head.fields.get("content-type").is_some_and(is_grpc);
    is_call.then_some(match head.body {
        BodyLength::None | BodyLength::Known(0) => HasContent::No,
        BodyLength::Known(_) | BodyLength::Unknown => HasContent::Yes,
    })
}

/// Whether content follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HasContent {
    /// Trailers will be part of it.
    Yes,
    /// What would be in trailers is in the head (Trailers-Only).
    No,
}

/// The response as one of gRPC-Web: of its Content-Type, and of unknown length if it has content.
pub(crate) fn response<R>(
    (web, content): (GrpcWeb, HasContent),
    head: &ResponseHead<'_, '_>,
    edit: &HeadEdit<'_>,
    write: impl FnOnce(&ResponseHead<'_, '_>, &HeadEdit<'_>) -> R,
) -> R {
    let media_type = web.response_type(head.fields.get("content-type").unwrap_or_default());
    with_type(&media_type, edit, |edit| match content {
        HasContent::No => write(head, edit),
        HasContent::Yes => {
            write(&ResponseHead { body: BodyLength::Unknown, content_length: None, ..*head }, edit)
        }
    })
}

/// Hands `write` an edit that gives the message this Content-Type, unless rules have a say in that.
fn with_type<R>(media_type: &[u8], edit: &HeadEdit<'_>, write: impl FnOnce(&HeadEdit<'_>) -> R) -> R {
    if edit.removes(CONTENT_TYPE) {
        return write(edit);
    }
    let mut added = edit.added.to_vec();
    put_line("content-type", media_type, &mut added);
    let removed = |name: &[u8]| edit.removes(name) || is_same_name(name, CONTENT_TYPE);
    write(&HeadEdit { removed: Some(&removed), added: &added })
}
