//! The gate of a running sync: open, paused outside the window, or stopped.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::future::{Either, select};
use tokio::sync::watch;

use crate::runner::event::RunnerEvent;
use crate::runner::slots::{Slot, Slots};
use crate::runner::status::Wait;
use crate::runner::tell::Teller;
use crate::{Activity, Gate, Passage};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Open,
    Paused,
    Stopped,
}

/// Lets a sync through while it has a slot.
///
/// A paused sync gives its slot back, so that other jobs do not wait for its window.
pub(super) struct WindowGate {
    teller: Arc<Teller>,
    access: watch::Sender<Access>,
    slots: Slots,
    slot: Mutex<Option<Slot>>,
}

impl WindowGate {
    pub(super) fn new(teller: Arc<Teller>, slots: Slots) -> Self {
        Self { teller, access: watch::Sender::new(Access::Open), slots, slot: Mutex::new(None) }
    }

    /// Pauses or continues the transfer. Returns whether that is a change.
    pub(super) fn pause(&self, is_paused: bool) -> bool {
        let before = *self.access.borrow();
        self.set(if is_paused { Access::Paused } else { Access::Open });
        before != *self.access.borrow()
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

    /// Waits for a slot and for the window. Returns `false` if the sync is to end.
    pub(super) async fn enter(&self) -> bool {
        let mut access = self.access.subscribe();
        loop {
            let now = *access.borrow_and_update();
            match now {
                Access::Stopped => return false,
                Access::Open if self.has_slot() => {
                    self.teller.waits_for(None);
                    return true;
                }
                Access::Open => {
                    self.teller.waits_for(Some(Wait::Slot));
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
        self.teller.tell(RunnerEvent::Transferring { bytes });
        self.teller.show_progress().await;
        Passage::Go
    }
}
