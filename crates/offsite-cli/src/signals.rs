//! Handles the signals of the command.

use std::future::Future;
use std::time::Duration;

use rustix::process::Signal as Number;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::status::Failure;
use crate::stop_signal::StopSignal;

/// How long an operation may take to end in order.
pub(crate) const GRACE: Duration = Duration::from_secs(10);

/// Makes a write fail with `EFBIG` if a file grows past the size limit (`ulimit -f`, `LimitFSIZE=`). Without it, the process would
/// end.
///
/// It catches the signal. Scripts that are started still get it. They would not if it were ignored.
pub(crate) fn file_size_is_an_error() -> Result<(), Failure> {
    // Once caught, the signal stays caught, even if nobody listens.
    listen(SignalKind::from_raw(Number::XFSZ.as_raw())).map(drop)
}

pub(crate) fn listen(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| Failure::Failed(format!("cannot listen to signals: {error}")))
}

/// Whether the command is to stop. The first `Ctrl-C` or `SIGTERM` asks it to stop. The second ends the process at once.
#[derive(Debug, Clone)]
pub(crate) struct Stop(watch::Receiver<Option<StopSignal>>);

impl Stop {
    /// Starts to listen. From now on, the command ends in order.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
        let (sender, receiver) = watch::channel(None);
        tokio::spawn(async move {
            loop {
                let signal = tokio::select! {
                    _ = interrupt.recv() => StopSignal::Interrupt,
                    _ = terminate.recv() => StopSignal::Terminate,
                };
                if sender.borrow().is_some() {
                    std::process::exit(signal.status().into());
                }
                sender.send_replace(Some(signal));
            }
        });
        Ok(Self(receiver))
    }

    /// A command that was asked to stop already.
    #[cfg(test)]
    pub(crate) fn asked(signal: StopSignal) -> Self {
        Self(watch::channel(Some(signal)).1)
    }

    pub(crate) fn signal(&self) -> Option<StopSignal> {
        *self.0.borrow()
    }

    pub(crate) fn is_set(&self) -> bool {
        self.signal().is_some()
    }

    /// Returns when the command is to stop.
    pub(crate) async fn wait(&self) -> StopSignal {
        let mut receiver = self.0.clone();
        let signal = receiver.wait_for(Option::is_some).await.ok().and_then(|signal| *signal);
        match signal {
            Some(signal) => signal,
            // Nobody listens any more, so no signal comes.
            None => std::future::pending().await,
        }
    }

    /// Does `work`, which ends by itself once the command is to stop. If it still goes on, it is cut off. `what` says what stopping
    /// means.
    pub(crate) async fn end<T>(
        &self,
        work: impl Future<Output = Result<T, Failure>>,
        what: &str,
    ) -> Result<T, Failure> {
        self.end_within(GRACE, work, what).await
    }

    /// Does `work`, and drops it as soon as the command is to stop.
    pub(crate) async fn cut_off<T>(
        &self,
        work: impl Future<Output = Result<T, Failure>>,
        what: &str,
    ) -> Result<T, Failure> {
        self.end_within(Duration::ZERO, work, what).await
    }

    async fn end_within<T>(
        &self,
        grace: Duration,
        work: impl Future<Output = Result<T, Failure>>,
        what: &str,
    ) -> Result<T, Failure> {
        let mut work = std::pin::pin!(work);
        let signal = tokio::select! {
            biased;
            done = &mut work => return done,
            signal = self.wait() => signal,
        };
        match timeout(grace, work).await {
            // The work was done all the same.
            Ok(Ok(done)) => Ok(done),
            _ => Err(Failure::Stopped { signal, what: what.to_owned() }),
        }
    }
}
