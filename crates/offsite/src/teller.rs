//! Telling a listener how far a part of an operation is, and asking the gate whether it may go on.

use std::sync::atomic::{AtomicU64, Ordering};

use futures::stream::{self, Stream, StreamExt};
use offsite_core::plan::Batch;
use offsite_core::{DiskNumber, MachineName};

use crate::progress::{Activity, Progress, Step, Task};
use crate::{Error, Gate, JobName, OpenGate, Passage, Result};

/// Who listens to an operation, and what lets its block data through.
#[derive(Clone, Copy)]
pub(crate) struct Control<'a> {
    pub(crate) progress: &'a dyn Progress,
    pub(crate) gate: &'a dyn Gate,
}

impl<'a> Control<'a> {
    pub(crate) fn new(progress: &'a dyn Progress, gate: &'a dyn Gate) -> Self {
        Self { progress, gate }
    }

    pub(crate) fn teller(self, task: Task, job: &'a JobName) -> Teller<'a> {
        Teller::new(self.progress, task, job).gate(self.gate)
    }
}

/// Whom a part of an operation tells how far it is, and what it is a part of.
#[derive(Clone, Copy)]
pub(crate) struct Teller<'a> {
    listener: &'a dyn Progress,
    task: Task,
    job: &'a JobName,
    machine: Option<&'a MachineName>,
    disk: Option<DiskNumber>,
    within: Option<&'a Running<'a>>,
    gate: &'a dyn Gate,
}

impl<'a> Teller<'a> {
    pub(crate) fn new(listener: &'a dyn Progress, task: Task, job: &'a JobName) -> Self {
        Self { listener, task, job, machine: None, disk: None, within: None, gate: &OpenGate }
    }

    /// That the activity passes through this gate.
    pub(crate) fn gate(self, gate: &'a dyn Gate) -> Self {
        Self { gate, ..self }
    }

    /// That only this machine is worked on.
    pub(crate) fn machine(self, machine: &'a MachineName) -> Self {
        Self { machine: Some(machine), ..self }
    }

    /// That only this disk is worked on.
    pub(crate) fn disk(self, disk: DiskNumber) -> Self {
        Self { disk: Some(disk), ..self }
    }

    /// The activity has begun.
    pub(crate) fn begin(self, step: Step, total_bytes: u64) -> Running<'a> {
        let running = Running { teller: self, step, total_bytes, done_bytes: AtomicU64::new(0) };
        if self.within.is_none() {
            self.listener.begin(&running.activity(0, self.machine, self.disk));
        }
        running
    }
}

/// An activity that has begun. It ends when this is dropped.
pub(crate) struct Running<'a> {
    teller: Teller<'a>,
    step: Step,
    total_bytes: u64,
    done_bytes: AtomicU64,
}

impl<'a> Running<'a> {
    /// Whoever works on a part of this activity: it tells of no activity of its own.
    pub(crate) fn part(&'a self) -> Teller<'a> {
        Teller { within: Some(self), ..self.teller }
    }

    /// Asks the gate whether so many bytes may be read.
    pub(crate) async fn pass(&self, bytes: u64) -> Passage {
        let done = self.done_bytes.load(Ordering::Relaxed);
        self.teller.gate.pass(&self.activity(done, self.teller.machine, self.teller.disk), bytes).await
    }

    /// The batches that the gate lets through, one after the other, and then [`Error::Stopped`] if it ends the activity.
    pub(crate) fn passed<'b>(&'b self, batches: Vec<Batch>) -> impl Stream<Item = Result<Batch>> + Send + 'b {
        stream::iter(batches).then(move |batch| async move {
            match self.pass(batch.range.end - batch.range.start).await {
                Passage::Go => Ok(batch),
                Passage::Stop => Err(self.stopped()),
            }
        })
    }

    /// That the gate has ended the activity.
    pub(crate) fn stopped(&self) -> Error {
        Error::stopped(self.teller.task, self.teller.job)
    }

    pub(crate) fn advance(&self, bytes: u64) {
        self.advanced(bytes, self.teller.machine, self.teller.disk);
    }

    /// So many more bytes of a disk are done.
    pub(crate) fn advance_disk(&self, machine: &MachineName, disk: DiskNumber, bytes: u64) {
        self.advanced(bytes, Some(machine), Some(disk));
    }

    fn advanced(&self, bytes: u64, machine: Option<&MachineName>, disk: Option<DiskNumber>) {
        if let Some(whole) = self.teller.within {
            return whole.advanced(bytes, machine, disk);
        }
        let done = self.done_bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        self.teller.listener.advance(&self.activity(done, machine, disk));
    }

    pub(crate) fn end(self) {
        drop(self);
    }

    fn activity<'b>(
        &'b self,
        done_bytes: u64,
        machine: Option<&'b MachineName>,
        disk: Option<DiskNumber>,
    ) -> Activity<'b> {
        let (Teller { task, job, .. }, step, total_bytes) = (self.teller, self.step, self.total_bytes);
        Activity { task, step, job, machine, disk, done_bytes, total_bytes }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if self.teller.within.is_none() {
            let done = self.done_bytes.load(Ordering::Relaxed);
            self.teller.listener.end(&self.activity(done, self.teller.machine, self.teller.disk));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Default)]
    struct Heard(Mutex<Vec<String>>);

    impl Heard {
        fn hear(&self, what: &str, activity: &Activity<'_>) {
            let Activity { task, step, machine, disk, done_bytes, total_bytes, .. } = activity;
            let disk = disk.map(|disk| disk.0);
            let machine = machine.map(MachineName::as_str);
            let text = format!("{what} {task} {step:?} {machine:?} {disk:?} {done_bytes}/{total_bytes}");
            self.0.lock().unwrap().push(text);
        }
    }

    impl Progress for Heard {
        fn begin(&self, activity: &Activity<'_>) {
            self.hear("begin", activity);
        }

        fn advance(&self, activity: &Activity<'_>) {
            self.hear("advance", activity);
        }

        fn end(&self, activity: &Activity<'_>) {
            self.hear("end", activity);
        }
    }

    /// Also where an error or a cancellation ends it.
    #[test]
    fn an_activity_that_was_begun_ends() {
        let (heard, job) = (Heard::default(), JobName::new("nightly").unwrap());
        let machine = MachineName::new("web01").unwrap();
        let running = Teller::new(&heard, Task::Copy, &job).begin(Step::Transfer, 10);
        running.advance(4);
        running.advance_disk(&machine, DiskNumber(1), 5);
        drop(running);
        assert_eq!(
            *heard.0.lock().unwrap(),
            [
                "begin copy Transfer None None 0/10",
                "advance copy Transfer None None 4/10",
                "advance copy Transfer Some(\"web01\") Some(1) 9/10",
                "end copy Transfer None None 9/10"
            ]
        );
    }

    #[test]
    fn the_parts_of_an_activity_are_told_as_one() {
        let (heard, job) = (Heard::default(), JobName::new("nightly").unwrap());
        let machine = MachineName::new("web01").unwrap();
        let whole = Teller::new(&heard, Task::Map, &job).machine(&machine).disk(DiskNumber(0)).begin(Step::Transfer, 9);
        for bytes in [3, 6] {
            let part = whole.part().begin(Step::Transfer, bytes);
            part.advance(bytes);
            part.end();
        }
        whole.end();
        let told = heard.0.lock().unwrap().clone();
        let of = |what: &str, done: u64| format!("{what} map Transfer Some(\"web01\") Some(0) {done}/9");
        assert_eq!(told, [of("begin", 0), of("advance", 3), of("advance", 9), of("end", 9)]);
    }
}
