//! What callers store and show with the feature `serde`: one instance of each plan, report, status and event, against a golden text,
//! and back. `OFFSITE_UPDATE_GOLDENS=1` writes the text anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::path::Path;
use std::time::Duration;

use offsite_core::plan::Cost;
use offsite_core::retention::Tier;
use offsite_core::schedule::{ClockReading, Span};
use offsite_core::{
    BlockSize, DiskIdentity, DiskName, DiskNumber, FolderId, ImageFormat, MachineName, ObjectId, RepositoryId,
    Sequence, Timestamp, Transferred,
};
use offsite_repository::{ErrorClass, Key};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::folder::disks::DiskSummary;
use crate::report::*;
use crate::runner::*;
use crate::{
    BackupPlan, Basis, ClosedFolder, DamagedPart, DiskExtent, Error, ErrorPlace, ExportPlan, JobFolders, JobName,
    LeftOut, MapPlan, PlannedBackup, PlannedOperation, PlannedSync, RemovedJob, RepairReport, Room, RunPlan, Side,
    Step, Task, Unneeded,
};

fn time(minutes: i64) -> Timestamp {
    Timestamp::from_unix_secs(1_793_570_400 + minutes * 60).unwrap()
}

fn machine() -> MachineName {
    MachineName::new("web01").unwrap()
}

fn job() -> JobName {
    JobName::new("Offsite Copy").unwrap()
}

fn key(name: &str) -> Key {
    Key::new(format!("Offsite Copy/{name}")).unwrap()
}

fn away() -> ErrorSummary {
    ErrorSummary::new("primary is away", true)
}

fn text(text: &str) -> String {
    text.to_owned()
}

fn span() -> Span {
    Span::new(time(0), time(60))
}

fn cost() -> Cost {
    let mut cost = Cost::default();
    (cost.blocks, cost.bytes_read, cost.bytes_written, cost.read_requests) = (3, 4096, 5120, 2);
    cost
}

fn tally() -> Tally {
    let source = BlockTraffic { bytes_read: 4096, read_requests: 2, bytes_written: 0 };
    let target = BlockTraffic { bytes_read: 0, read_requests: 0, bytes_written: 5120 };
    Tally { planned: cost(), source, target, duration: Duration::from_millis(1500) }
}

fn copied() -> MachineCopy {
    let nightly = JobName::new("nightly").unwrap();
    MachineCopy { name: machine(), captured: time(0), source: Sequence(7), job: nightly, location: text("primary") }
}

fn outcomes() -> Vec<MachineOutcome> {
    let transferred = Transferred::new(5, 7);
    vec![
        MachineOutcome::Complete { captured: time(0) },
        MachineOutcome::Incomplete { captured: Some(time(0)), transferred, why: Reason::Failed(away()) },
        MachineOutcome::Unchanged { captured: time(0) },
        MachineOutcome::Waiting { job: Some(job()) },
        MachineOutcome::Absent { why: Reason::TooOld { captured: time(0) } },
        MachineOutcome::Absent { why: Reason::FutureDated { earliest: None } },
        MachineOutcome::Absent { why: Reason::BackupAtWork { job: None } },
        MachineOutcome::Absent {
            why: Reason::OtherBlockSize { job: job(), source: BlockSize::MiB1, copy: BlockSize::KiB256 },
        },
        MachineOutcome::Absent {
            why: Reason::OtherOrigin { job: job(), known: FolderId::new([1; 16]), found: FolderId::new([2; 16]) },
        },
        MachineOutcome::Absent { why: Reason::NoWholePoint },
    ]
}

fn machines() -> Vec<MachineReport> {
    outcomes().into_iter().map(|outcome| MachineReport { name: machine(), outcome }).collect()
}

fn sync() -> SyncReport {
    SyncReport {
        sequence: Sequence(8),
        time: time(1),
        full: false,
        joined: true,
        machines: vec![copied()],
        tally: tally(),
        gave_way: Duration::from_secs(90),
        savings: savings(),
        look_up: LookUp::Made,
        cached: Amount::new(2, 20),
    }
}

fn savings() -> Savings {
    let mut savings = Savings::default();
    (savings.asked, savings.sent, savings.unchanged) = (Amount::new(9, 99), Amount::new(2, 20), Amount::new(7, 79));
    savings
}

fn doubts() -> Vec<Doubt> {
    let pattern = |place| Doubt::IdlePattern { place, pattern: text("db*") };
    vec![
        pattern(PatternPlace::Include(PatternKind::Machines)),
        pattern(PatternPlace::Exclude(PatternKind::Tags)),
        pattern(PatternPlace::Source),
        Doubt::LeftBehind {
            machine: machine(),
            job: job(),
            location: text("primary"),
            last: Some((Sequence(3), time(0))),
        },
        Doubt::Vanished { machine: machine() },
        Doubt::NothingSelected,
    ]
}

fn notes() -> Vec<Note> {
    let head = DamagedHead { number: 9, key: key("head/9"), location: text("dr"), why: away() };
    let (disk, captured) = (DiskNumber(1), time(0));
    vec![
        Note::NotSeen(Unseen::Repository { name: text("primary"), why: away() }),
        Note::NotSeen(Unseen::Source { why: away() }),
        Note::NotSeen(Unseen::Folder { name: text("nightly"), location: text("primary"), why: away() }),
        Note::NotSeen(Unseen::Heads { job: job(), head }),
        Note::NotSeen(Unseen::Elsewhere { name: text("drive 2"), why: away() }),
        Note::Custom { text: text("said by the caller") },
        Note::PostJob { text: text("the script failed") },
        Note::Stopped,
        Note::EndUnknown,
        Note::FutureDated { machine: machine(), earliest: time(9) },
        Note::ClockWentBack { machine: machine(), job: job(), sequence: Sequence(2), captured, copied: time(5) },
        Note::KeptFromChain { machine: machine(), why: Reason::Missing },
        Note::DiskGone { machine: machine(), disk, size_bytes: 10, captured },
        Note::DiskShrunk { machine: machine(), disk, before_bytes: 10, now_bytes: 4, captured },
        Note::DiskEmptied { machine: machine(), disk, before_blocks: 10, now_blocks: 4, captured },
        Note::PolicyChanged,
        Note::ClockInDoubt { clock: ClockReading::Behind { now: time(0), known: time(5) } },
        Note::DeselectedKept { why: away() },
        Note::FullFromChain { sequence: Sequence(3) },
        Note::FullNotRead { sequence: Sequence(3), why: away() },
        Note::ArchiveShares { sequence: Sequence(3), machine: machine(), blocks: 2 },
        Note::NotHealedFromSource { why: away() },
        Note::SourcesNotSearched { why: away() },
        Note::SourceNotSearched { job: job(), location: text("primary"), why: away() },
        Note::HealingWaits,
        Note::NotHealed { machine: machine(), blocks: 2, points: vec![Sequence(3)], searched: HealingSearch::Chain },
        Note::LenderNotSearched { job: job(), location: text("dr"), why: away() },
        Note::ReadElsewhere { is_lent: true, blocks: 2, why: away() },
        Note::CacheNotFilled { why: away() },
        Note::NotVerified { why: away() },
        Note::DamageFound { places: 2 },
        Note::NotReadAgain { blocks: 2 },
        Note::FindingsNotStored { why: away() },
        Note::NewerHeadCopy { job: job(), copy: 9, newest: 8 },
        Note::IndexUnassigned { why: IndexLoss::WithCopy { index: key("index/1") } },
    ]
}

fn operations() -> Vec<Operation> {
    let (sequence, points) = (Sequence(3), vec![Sequence(1), Sequence(2)]);
    vec![
        Operation::Heal { blocks: 2, points: points.clone(), from: HealedFrom::Source },
        Operation::Merge {
            absorbed: points.clone(),
            full: sequence,
            method: MergeMethod::Fold,
            why: MergeReason::CannotPunch,
            archived: Some(Sequence(1)),
        },
        Operation::RemoveArchive { sequence },
        Operation::MarkAgain { points: points.clone() },
        Operation::StandIn { tier: Tier::Weekly, damaged: Sequence(2), sequence },
        Operation::BackFill { sequence, time: time(3), tiers: vec![Tier::Monthly], moved: points.clone() },
        Operation::MakeIndependent { sequence, carriage: Carriage::Cloned },
        Operation::MakeFull { sequence, from: FullFrom::Chain(Carriage::Moved { why: MoveReason::CannotClone }) },
        Operation::MakeFull { sequence, from: FullFrom::Source },
        Operation::RemoveMachines { machines: vec![machine()], points: points.clone(), fulls: vec![sequence] },
        Operation::Compact { files: 2, carriage: Carriage::Cloned },
        Operation::RemovePoints { points, archived: vec![Sequence(2)] },
    ]
}

fn damage() -> Vec<Damage> {
    let bytes = Fault::HasBytes { bytes: 5, expected_bytes: 7 };
    let unreadable = Fault::Unreadable(ErrorSummary::new("head is damaged: its checksum does not match", false));
    let (disk, fault) = (DiskNumber(0), Fault::FoundBefore);
    let kinds = [
        ("head/9", DamageKind::Head { fault: unreadable, hides_commit: true }),
        ("index/1", DamageKind::Index { fault: Fault::MissingOrOtherLength }),
        ("index/2", DamageKind::IndexGap { machine: machine() }),
        ("blocks/1.index", DamageKind::IndexCopy { fault: Fault::OtherIndex }),
        ("blocks/1", DamageKind::File { fault: bytes }),
        ("blocks/2", DamageKind::FileHeader { fault: Fault::HeaderCutOff }),
        ("blocks/3", DamageKind::Block { machine: machine(), disk, block: 7, fault }),
    ];
    let touches = [None, Some(machine())].map(|machine| Touched { sequence: Sequence(3), machine });
    kinds.into_iter().map(|(name, what)| Damage { object: key(name), what, touches: touches.to_vec() }).collect()
}

fn verification() -> VerifyReport {
    VerifyReport {
        points: 3,
        files: 2,
        blocks: 40,
        bytes_read: 4096,
        damage: damage(),
        bytes_left: 5,
        is_stopped: true,
        notes: vec![Note::NotReadAgain { blocks: 2 }],
        duration: Duration::from_secs(3),
    }
}

fn transform() -> TransformReport {
    TransformReport {
        operations: operations()
            .into_iter()
            .map(|operation| OperationReport { operation, tally: Tally::default() })
            .collect(),
        released: Released { bytes: 1, ranges: 2, objects: 3, held_bytes: 4, linked_bytes: 5 },
        release_duration: Duration::from_secs(2),
        verification: Some(VerifyReport::default()),
        is_stopped: false,
        damage: KnownDamage {
            points: BTreeMap::from([(Sequence(3), BTreeMap::from([(machine(), 2)]))]),
            unreadable: BTreeSet::from([Sequence(4)]),
        },
        notes: notes(),
    }
}

fn backup() -> BackupReport {
    BackupReport {
        sequence: Sequence(8),
        time: time(1),
        full: false,
        rolled_back: Some(Sequence(7)),
        machines: vec![MachineBackup {
            name: machine(),
            disk_bytes: 30,
            read_bytes: 20,
            changed_bytes: 10,
            warnings: vec![
                ImageWarning::WrittenTo { location: text("/vm/web01.raw") },
                ImageWarning::LooksLike { location: text("/vm/web01.raw"), format: text("qcow2") },
                ImageWarning::Custom { text: text("the volume was written to") },
            ],
        }],
        failed: vec![MachineFailure { name: machine(), why: Reason::Failed(away()) }],
        stored_blocks: 3,
        stored_bytes: 5120,
        tally: tally(),
        duration: Duration::from_secs(4),
        transform: TransformReport::default(),
    }
}

fn repair() -> RepairReport {
    let losses = [
        Loss::Index(IndexLoss::NotThere { index: ObjectId::new(1, 2) }),
        Loss::Index(IndexLoss::NotProven { index: key("index/1") }),
        Loss::Index(IndexLoss::Damaged { index: key("index/1"), why: away() }),
        Loss::BaseIndex,
        Loss::NotDescribed { machine: machine() },
        Loss::Blocks { blocks: 2, file: key("blocks/1"), is_file_lost: true },
        Loss::Base,
    ];
    RepairReport {
        basis: Basis::HeadCopy,
        damaged_heads: vec![key("head/9")],
        restored: vec![key("index/1")],
        salvaged: vec![key("index/2")],
        rewritten: vec![key("index/3")],
        points: vec![Sequence(3)],
        left_out: vec![LeftOut { sequence: Sequence(2), machine: Some(machine()), why: losses.into() }],
        unneeded: vec![Unneeded { object: key("blocks/1"), bytes: 5 }],
        damage: Vec::new(),
        notes: Vec::new(),
        head: Some(70_000),
    }
}

fn restore() -> RestoreReport {
    RestoreReport {
        sequence: Sequence(3),
        captured: time(0),
        disks: vec![RestoredDisk {
            number: DiskNumber(0),
            name: DiskName::new("vda").unwrap(),
            path: Some("/restored/vda.raw".into()),
            size_bytes: 30,
            data_bytes: 20,
            lost: std::iter::once(0..4).collect(),
            device_bytes: Some(32),
        }],
        traffic: BlockTraffic { bytes_read: 4096, read_requests: 2, bytes_written: 0 },
        duration: Duration::from_secs(5),
    }
}

fn copy_run() -> CopyRun {
    CopyRun {
        job: job(),
        repository: text("dr"),
        ended: time(2),
        result: RunResult {
            span: span(),
            machines: BTreeMap::from([(machine(), MachineOutcome::Complete { captured: time(0) })]),
            transform_failure: Some(away()),
            incidents: incidents(),
        },
        point: Some(Sequence(8)),
        syncs: vec![sync()],
        history: None,
        transform: Some(TransformReport::default()),
        notes: vec![Note::Stopped],
        doubts: vec![Doubt::NothingSelected],
        elsewhere: BTreeSet::from([machine()]),
        is_refused: true,
        newest: BTreeMap::from([(machine(), Some(time(0)))]),
        max_age: Some(Duration::from_secs(93_600)),
    }
}

fn incidents() -> Vec<Incident> {
    vec![
        Incident::Failed { at: time(1), why: away() },
        Incident::GaveUp { at: time(1) },
        Incident::ClockRanBack { from: time(1), to: time(0) },
    ]
}

fn interval_run<Report>(done: Report) -> IntervalRun<Report> {
    IntervalRun {
        job: job(),
        repository: text("dr"),
        span: span(),
        ended: time(2),
        done: Some(done),
        incidents: incidents(),
        notes: vec![Note::EndUnknown],
    }
}

fn status() -> JobStatus {
    JobStatus {
        subject: Subject { repository: text("dr"), job: job() },
        kind: WorkKind::Copy,
        phase: Phase::PostJob,
        waits_for: Some(Wait::Retry),
        is_paused: true,
        interval: Some(span()),
        is_window_open: false,
        next: Some(time(60)),
        transferred_bytes: 4096,
        activity: Some(ActivityStatus::new(crate::Task::Copy, crate::Step::Transfer, job(), 4096, time(0))),
        newest: BTreeMap::from([(machine(), None)]),
        max_age: Some(Duration::from_secs(93_600)),
        last: Some(LastEnd {
            at: time(0),
            status: RunStatus::Warning,
            point: Some(Sequence(8)),
            failure: Some(text("primary is away")),
        }),
        failure: Some(LastFailure { at: time(0), why: text("primary is away"), is_retryable: true }),
    }
}

/// What is written, by name.
#[derive(Default)]
struct Written(Map<String, Value>);

impl Written {
    fn one_way(&mut self, name: &str, value: &impl Serialize) {
        let before = self.0.insert(name.to_owned(), serde_json::to_value(value).unwrap());
        assert_eq!(before, None, "{name} is there twice");
    }

    /// What is read again, and is what it was.
    fn both_ways<T: Serialize + DeserializeOwned + PartialEq + Debug>(&mut self, name: &str, value: &T) {
        let text = serde_json::to_string(value).unwrap();
        assert_eq!(serde_json::from_str::<T>(&text).unwrap(), *value, "{text}");
        self.one_way(name, value);
    }
}

fn write_plans(written: &mut Written) {
    let room = Room { needed_bytes: 3, free_bytes: Some(9), min_free_bytes: 1 };
    let planned = PlannedOperation { operation: Operation::RemoveArchive { sequence: Sequence(1) }, cost: cost() };
    let run = RunPlan {
        history: Vec::new(),
        sync: Some(PlannedSync {
            machines: vec![copied()],
            full: true,
            cost: cost(),
            room,
            savings: Savings::default(),
            look_up: LookUp::Off,
        }),
        operations: vec![planned.clone()],
        machines: machines(),
        notes: vec![Note::PolicyChanged],
        doubts: doubts(),
    };
    written.both_ways("run_plan", &run);
    let backup = BackupPlan {
        sequence: Sequence(9),
        full: true,
        machines: vec![PlannedBackup { name: machine(), disks: 2, read_bytes_max: 30, is_new: true }],
        failed: vec![MachineFailure { name: machine(), why: Reason::Failed(away()) }],
        operations: vec![planned],
    };
    written.both_ways("backup_plan", &backup);
    let machines = vec![exported()];
    let lost = BTreeMap::from([(machine(), 2)]);
    let (bytes_max, cost, time) = (6000, cost(), time(1));
    let plan = ExportPlan { sequence: Sequence(8), time, machines, bytes_max, cost, room, lost: lost.clone() };
    written.both_ways("export_plan", &plan);
    written.both_ways("map_plan", &MapPlan { points: 3, sequence: Sequence(8), time, cost, room, lost });
}

fn exported() -> ExportedMachine {
    ExportedMachine { name: machine(), sequence: Sequence(7), captured: time(0) }
}

fn write_reports(written: &mut Written) {
    let (transform, notes, doubts) = (transform(), Vec::new(), Vec::new());
    written.both_ways(
        "copy_report",
        &CopyReport { sync: Some(sync()), history: None, machines: machines(), transform, notes, doubts },
    );
    let outcome = SyncOutcome::default();
    written.both_ways("sync_outcome", &outcome);
    written.both_ways("backup_report", &backup());
    written.both_ways("verify_report", &verification());
    written.both_ways("repair_report", &repair());
    written.both_ways("restore_report", &restore());
    let map = MapReport { points: 3, sequence: Sequence(8), time: time(1), tally: tally() };
    written.both_ways("map_report", &map);
    let machines = vec![exported()];
    let export = ExportReport { sequence: Sequence(8), time: time(1), machines, bytes: 5990, tally: tally() };
    written.both_ways("export_report", &export);
    let (job_name, machines) = (text("nightly"), vec![machine()]);
    let import = ImportReport { job: job_name, sequence: Sequence(8), time: time(1), machines, tally: tally() };
    written.both_ways("import_report", &import);
    written.both_ways("removed_job", &RemovedJob { points: 3, released: Released::default(), is_gone: true });
    let closed = vec![ClosedFolder { name: text("foreign"), why: away() }];
    written.both_ways("job_folders", &JobFolders { jobs: vec![job()], headless: vec![job()], closed });
    written.both_ways("disk_extent", &DiskExtent { range: 0..5, is_data: true });
    let identity = DiskIdentity::new(DiskName::new("vda").unwrap(), ImageFormat::Raw);
    written.both_ways("disk_summary", &DiskSummary { number: DiskNumber(0), identity, size_bytes: 30 });
}

fn write_errors(written: &mut Written) {
    let part = DamagedPart::Block { machine: machine(), disk: DiskNumber(0), block: 7 };
    let error = Error::damaged(part.clone(), key("blocks/1"), text("dr")).in_job(&job()).on(Side::Target);
    written.both_ways("error_class", &error.class());
    assert_eq!(error.class(), ErrorClass::Damaged);
    written.both_ways("damaged_part", &part);
    let Error::Damaged { at, .. } = error else { panic!("{error:?}") };
    written.one_way("error_place", &at);
    written.one_way("error_place_unknown", &ErrorPlace::default());
    written.both_ways("side", &Side::Target);
    written.both_ways("task", &Task::MakeIndependent);
    written.both_ways("step", &Step::Transfer);
    written.both_ways("open_failure", &OpenFailure { why: away() });
}

fn write_runner(written: &mut Written) {
    written.both_ways("run_report_copy", &RunReport::Copy(copy_run()));
    written.both_ways("run_report_backup", &RunReport::Backup(interval_run(backup())));
    written.both_ways("run_report_verify", &RunReport::Verify(interval_run(VerifyReport::default())));
    let verified = || Box::new(RunReport::Verify(interval_run(VerifyReport::default())));
    written.both_ways("run_end_done", &RunEnd::Done(verified()));
    written.both_ways("run_end_stopped", &RunEnd::Stopped(verified()));
    written.both_ways("overdue", &Overdue { machine: machine(), captured: None });
    written.both_ways("job_status", &status());
    let daemon = DaemonStatus {
        holder: Holder { pid: 7, host: text("backup1"), about: text("/etc/offsite.toml") },
        is_running: true,
        started: time(0),
        stopped: None,
        jobs: BTreeMap::from([(job(), status())]),
    };
    written.both_ways("daemon_status", &daemon);
    let names = || BTreeSet::from([job()]);
    written.both_ways("replaced", &Replaced { started: names(), kept: BTreeSet::new(), removed: names() });
    let last = LastRun::new(span(), BTreeMap::from([(machine(), MachineOutcome::Complete { captured: time(0) })]));
    let target = RepositoryId::new([0xa1; 16]);
    let open = OpenInterval { start: time(60), end: time(120), target, after: Sequence(7) };
    written.both_ways("memory", &Memory { last: Some(last), open: Some(open), added: 2 });
}

fn write_events(written: &mut Written) {
    let (backup, verified, transformed) = (backup(), VerifyReport::default(), TransformReport::default());
    let outcome = SyncOutcome::default();
    let (ended, why, max_age) = (RunReport::Verify(interval_run(verified.clone())), away(), Duration::from_secs(60));
    let (names, overdue) = ([machine()], [Overdue { machine: machine(), captured: Some(time(0)) }]);
    let machines = [MachineReport { name: machine(), outcome: MachineOutcome::Complete { captured: time(0) } }];
    let events = [
        ("started", RunnerEvent::Started),
        ("phase", RunnerEvent::Phase { phase: Phase::Sync, span: span() }),
        ("waiting", RunnerEvent::Waiting { until: Some(time(60)) }),
        ("sync_started", RunnerEvent::SyncStarted { machines: &names }),
        ("transferring", RunnerEvent::Transferring { bytes: 4096 }),
        ("paused", RunnerEvent::Paused),
        ("resumed", RunnerEvent::Resumed),
        ("sync_ended", RunnerEvent::SyncEnded(&outcome)),
        ("backed_up", RunnerEvent::BackedUp(&backup)),
        ("verified", RunnerEvent::Verified(&verified)),
        ("failed", RunnerEvent::Failed { why: &why, is_retryable: true }),
        ("at_work_elsewhere", RunnerEvent::AtWorkElsewhere { why: &why }),
        ("overdue", RunnerEvent::Overdue { machines: &overdue, max_age }),
        ("closed", RunnerEvent::Closed { machines: &machines }),
        ("transformed", RunnerEvent::Transformed(&transformed)),
        ("ended", RunnerEvent::Ended(&ended)),
        ("store_failed", RunnerEvent::StoreFailed { why: "the disk is full" }),
        ("stopped", RunnerEvent::Stopped { report: Some(&ended) }),
        ("defect", RunnerEvent::Defect { why: "it panicked" }),
    ];
    for (name, event) in events {
        written.one_way(&format!("event_{name}"), &event);
    }
}

#[test]
fn what_callers_receive_is_written_as_the_golden_file_has_it() {
    let mut written = Written::default();
    write_plans(&mut written);
    write_reports(&mut written);
    write_errors(&mut written);
    write_runner(&mut written);
    write_events(&mut written);
    let actual = serde_json::to_string_pretty(&written.0).unwrap() + "\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/serialized.json");
    if std::env::var_os("OFFSITE_UPDATE_GOLDENS").is_some() {
        std::fs::write(&path, actual).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let lines = expected.lines().zip(actual.lines()).enumerate().find(|(_, (expected, actual))| expected != actual);
    assert!(
        expected == actual,
        "OFFSITE_UPDATE_GOLDENS=1 writes {} anew; the first difference: {lines:?}",
        path.display()
    );
}

/// A name that is none is refused as it is read.
#[test]
fn names_are_checked_as_they_are_read() {
    let text = serde_json::to_string(&repair()).unwrap();
    for (name, wrong) in [("web01", "web/01"), ("Offsite Copy/head/9", "Offsite Copy//9")] {
        assert!(serde_json::from_str::<RepairReport>(&text.replace(name, wrong)).is_err(), "{wrong}");
    }
    let text = serde_json::to_string(&copy_run()).unwrap();
    assert!(serde_json::from_str::<CopyRun>(&text.replace("Offsite Copy", "lost+found")).is_err());
}

/// A path that is no text is no reason to lose a report.
#[test]
fn a_path_that_is_no_text_is_written_as_nearly_as_can_be() {
    use std::os::unix::ffi::OsStrExt;

    let mut report = restore();
    report.disks[0].path = Some(std::ffi::OsStr::from_bytes(b"/restored/\xff.raw").into());
    let value = serde_json::to_value(&report).unwrap();
    assert_eq!(value["disks"][0]["path"], "/restored/\u{fffd}.raw");
}
