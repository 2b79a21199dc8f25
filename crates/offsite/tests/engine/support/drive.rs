//! Futures driven by hand: cut off or held up at any of their await points.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Polls `future` at most `polls` times: its value, or `None` if it was not done by then. It can be polled on, or dropped.
pub async fn poll_times<F: Future + Unpin>(future: &mut F, polls: usize) -> Option<F::Output> {
    let output = Times { future, polls }.await;
    if output.is_none() {
        // What yielded is woken when the runtime next rests; were it left now, it would sleep for ever.
        tokio::task::yield_now().await;
    }
    output
}

struct Times<'a, F> {
    future: &'a mut F,
    polls: usize,
}

impl<F: Future + Unpin> Future for Times<'_, F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.polls == 0 {
            return Poll::Ready(None);
        }
        self.polls -= 1;
        match Pin::new(&mut *self.future).poll(context) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending if self.polls == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}
