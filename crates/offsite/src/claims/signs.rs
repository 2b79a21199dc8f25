//! Background work that shows others that its owner lives.

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A task that gives signs of life until it is stopped or dropped.
#[derive(Debug)]
pub(crate) struct Signs {
    stop: Option<oneshot::Sender<()>>,
    task: Option<JoinHandle<()>>,
}

impl Signs {
    /// Starts a task that gives signs with `give` until it is told to end.
    pub(crate) fn start<F>(give: impl FnOnce(oneshot::Receiver<()>) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (stop, stopped) = oneshot::channel();
        Self { stop: Some(stop), task: Some(tokio::spawn(give(stopped))) }
    }

    /// Ends the signs of life, and waits until the task has ended.
    pub(crate) async fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // The task may have ended by itself.
            let _ = stop.send(());
        }
        if let Some(task) = self.task.take() {
            let _ = task.await;
        }
    }
}

impl Drop for Signs {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}
