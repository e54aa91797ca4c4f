//! `GET /v1/events`: a stream of what happens (`text/event-stream`, HTML Living Standard §9.2).

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::body::{Bytes, Frame};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::Control;
use super::problem::Problem;
use crate::server::events::{Events, NoSubscription, Subscription};

/// How often a stream without an event gets a comment, so that what is between the two does not take it for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// What a stream begins with: its head is sent with it, and a browser whose stream ended connects again after so long.
const BEGIN: &str = ": ringate\nretry: 2000\n\n";

pub(super) async fn events(State(control): State<Control>) -> Result<Response, Problem> {
    let events = &control.deployment.events;
    let subscription = events.subscribe().map_err(|reason| match reason {
        NoSubscription::Full => {
            let detail = "as many clients read events as may: end one of them, or repeat the request later";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "too many clients read events", detail)
        }
        NoSubscription::Closed => {
            let detail = "ringate is draining: there are no further events";
            Problem::new(StatusCode::CONFLICT, "draining", "ringate is draining", detail)
        }
    })?;
    let mut silence = interval(KEEP_ALIVE);
    silence.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let feed = Feed { subscription, events: Arc::clone(events), silence, stage: Stage::First };
    Ok(([(header::CONTENT_TYPE, "text/event-stream")], Body::new(feed)).into_response())
}

/// The body of a stream.
struct Feed {
    subscription: Subscription,
    events: Arc<Events>,
    silence: Interval,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    First,
    Open,
    Ended,
}

impl Feed {
    /// The final event of a stream that Ringate ends.
    fn end(&self) -> &'static str {
        if self.subscription.fell_behind.load(Relaxed) {
            "event: dropped\ndata: {\"reason\":\"events were not read in time\"}\n\n"
        } else if self.events.is_closed() {
            "event: end\ndata: {\"reason\":\"ringate is draining\"}\n\n"
        } else {
            "event: end\ndata: {\"reason\":\"the stream was ended\"}\n\n"
        }
    }
}

impl hyper::body::Body for Feed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        let frame = |text: &str| Poll::Ready(Some(Ok(Frame::data(Bytes::copy_from_slice(text.as_bytes())))));
        match this.stage {
            Stage::First => {
                this.stage = Stage::Open;
                this.silence.reset();
                return frame(BEGIN);
            }
            Stage::Ended => return Poll::Ready(None),
            Stage::Open => {}
        }
        match this.subscription.queue.poll_recv(context) {
            Poll::Ready(Some(text)) => {
                this.silence.reset();
                frame(&text)
            }
            Poll::Ready(None) => {
                this.stage = Stage::Ended;
                frame(this.end())
            }
            Poll::Pending => match this.silence.poll_tick(context) {
                Poll::Ready(_) => frame(":\n\n"),
                Poll::Pending => Poll::Pending,
            },
        }
    }
}
