//! A request's body and its response at the same time.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use crate::http1;
use crate::io::Buffer;
use crate::proxy::exchange::relay::RelayError;
use crate::proxy::exchange::state::Outcome;
use crate::proxy::failure::Failure;

/// Runs an upload beside its response. The response decides: when it is over, so is the upload. An upload
/// that can't go on because of the client ends both; one that the backend does not take waits for the answer. Before a
/// tunnel the upload ends first: the other protocol begins behind the body (RFC 9110 §7.8).
pub(crate) async fn both(
    mut upload: Pin<Box<impl Future<Output = Result<Buffer, RelayError>>>>,
    mut answer: Pin<Box<impl Future<Output = Result<Outcome, Failure>>>>,
) -> (Result<Outcome, Failure>, Option<Buffer>) {
    let mut uploaded = None;
    let mut refused = None;
    let mut switched = None;
    poll_fn(|cx| {
        if uploaded.is_none()
            && refused.is_none()
            && let Poll::Ready(result) = upload.as_mut().poll(cx)
        {
            match result {
                Ok(rest) => uploaded = Some(rest),
                Err(RelayError::To(error)) => refused = Some(error),
                Err(RelayError::Body(http1::BodyError::Truncated) | RelayError::From(_)) => {
                    return Poll::Ready((Err(Failure::ClientGone), None));
                }
                Err(RelayError::Body(error)) => return Poll::Ready((Err(Failure::RequestBody(error)), None)),
                Err(RelayError::TooLong) => return Poll::Ready((Err(Failure::BodyTooLarge), None)),
                Err(RelayError::TooSlow) => return Poll::Ready((Err(Failure::ClientTooSlow), None)),
                Err(RelayError::Undecodable) => return Poll::Ready((Err(Failure::NotBase64), None)),
            }
        }
        let polled = match switched.take() {
            Some(answer) => Poll::Ready(Ok(answer)),
            None => answer.as_mut().poll(cx),
        };
        if let Poll::Ready(Ok(Outcome { tunnel: Some(_), .. })) = &polled {
            if refused.is_some() {
                return Poll::Ready((Err(Failure::BackendGone(refused.take())), None));
            }
            if uploaded.is_none() {
                switched = match polled {
                    Poll::Ready(Ok(answer)) => Some(answer),
                    _ => None,
                };
                return Poll::Pending;
            }
        }
        polled.map(|result| match result {
            Err(Failure::BackendGone(None)) => (Err(Failure::BackendGone(refused.take())), uploaded.take()),
            result => (result, uploaded.take()),
        })
    })
    .await
}
