//! The gate of a running sync: open, paused outside the window, or stopped.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::future::{Either, select};
use tokio::sync::watch;

use super::event::{RunnerEvent, RunnerEvents};
use super::slots::{Slot, Slots};
use crate::{Activity, Gate, JobName, Passage};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Open,
    Paused,
    Stopped,
}

/// Lets a sync through while it has a slot. A sync that is paused gives its slot back, so that other jobs do not wait for the window.
pub(super) struct WindowGate {
    job: JobName,
    access: watch::Sender<Access>,
    slots: Slots,
    slot: Mutex<Option<Slot>>,
    events: Arc<dyn RunnerEvents>,
}

impl WindowGate {
    pub(super) fn new(job: JobName, slots: Slots, events: Arc<dyn RunnerEvents>) -> Self {
        Self { job, access: watch::Sender::new(Access::Open), slots, slot: Mutex::new(None), events }
    }

    pub(super) fn pause(&self) {
        self.set(Access::Paused);
    }

    pub(super) fn resume(&self) {
        self.set(Access::Open);
    }

    /// Ends the transfer, for good.
    pub(super) fn stop(&self) {
        self.set(Access::Stopped);
    }

    fn set(&self, to: Access) {
        self.access.send_modify(|access| {
            if *access != Access::Stopped {
                *access = to;
            }
        });
    }

    /// Waits for a slot, and for the window; false if the sync is to end.
    pub(super) async fn enter(&self) -> bool {
        let mut access = self.access.subscribe();
        loop {
            let now = *access.borrow_and_update();
            match now {
                Access::Stopped => return false,
                Access::Open if self.has_slot() => return true,
                Access::Open => {
                    let (slot, change) = (Box::pin(self.slots.take()), Box::pin(access.changed()));
                    if let Either::Left((slot, _)) = select(slot, change).await {
                        self.keep(Some(slot));
                    }
                }
                Access::Paused => {
                    self.keep(None);
                    // It cannot fail: this gate holds the sender.
                    let _ = access.changed().await;
                }
            }
        }
    }

    /// Gives the slot back.
    pub(super) fn leave(&self) {
        self.keep(None);
    }

    fn has_slot(&self) -> bool {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn keep(&self, slot: Option<Slot>) {
        *self.slot.lock().unwrap_or_else(PoisonError::into_inner) = slot;
    }
}

#[async_trait]
impl Gate for WindowGate {
    async fn pass(&self, _activity: &Activity<'_>, bytes: u64) -> Passage {
        if !self.enter().await {
            return Passage::Stop;
        }
        self.events.tell(&self.job, RunnerEvent::Transferring { bytes });
        Passage::Go
    }
}
