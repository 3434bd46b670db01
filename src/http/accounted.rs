//! A response body whose bytes are counted for the journal as they go out.

use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};

use crate::journals::Accessing;
use footage::units::TimeRange;

/// When these bytes of a body were filmed.
type Filmed = Box<dyn Fn(Range<u64>) -> Option<TimeRange> + Send>;

struct Accounted {
    body: Body,
    accessing: Accessing,
    filmed: Filmed,
    at: u64,
}

/// The same body, whose bytes belong to this access. `at` is what its first byte counts as for `filmed`. Bytes count when
/// they are handed to the connection: what was on its way when it broke counts as sent.
pub(super) fn accounted(
    body: Body,
    accessing: Accessing,
    at: u64,
    filmed: impl Fn(Range<u64>) -> Option<TimeRange> + Send + 'static,
) -> Body {
    Body::new(Accounted { body, accessing, filmed: Box::new(filmed), at })
}

impl HttpBody for Accounted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            let end = self.at + data.len() as u64;
            self.accessing.sent(data.len() as u64, (self.filmed)(self.at..end));
            self.at = end;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
