//! One instance of each variant: what a caller learns from it, and how it reads.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as _;
use std::path::{Path, PathBuf};

use offsite_core::format::FormatError;
use offsite_core::{DiskNumber, FolderId, MachineName, RepositoryId, Role, Sequence, Timestamp};
use offsite_repository::{CreateIfAbsent, ErrorKind, Key};

use super::*;
use crate::{FileUser, JobName, Task};

/// Lists the variants. One that is not listed does not compile; one that is listed and has no instance fails the test.
macro_rules! variants {
    ($($variant:ident),* $(,)?) => {
        const VARIANTS: &[&str] = &[$(stringify!($variant)),*];

        fn name(error: &Error) -> &'static str {
            match error {
                $(Error::$variant { .. } => stringify!($variant),)*
            }
        }
    };
}

variants!(
    Repository,
    Damaged,
    NotARepository,
    NotEmpty,
    AlreadyARepository,
    NamesNotExclusive,
    SameRepository,
    NoRoom,
    NoSource,
    UnknownJob,
    UnknownMachine,
    UnknownPoint,
    UnknownDisk,
    NothingYet,
    Incomplete,
    OtherOrigin,
    Busy,
    Fenced,
    CommitUnknown,
    SnapshotExpired,
    Stopped,
    Image,
    ExportFile,
    PathTaken,
    InRepository,
    InUse,
    DeviceTooSmall,
    MachineDamaged,
    Torn,
    NoMachine,
    Io,
    JobHasPoints,
    WrongKindOfJob,
    NameTaken,
    InvalidSetting,
    Defect,
);

fn job() -> JobName {
    JobName::new("nightly").unwrap()
}

fn machine() -> MachineName {
    MachineName::new("web01").unwrap()
}

fn key() -> Key {
    Key::new("nightly/blocks/00000001-00000001").unwrap()
}

fn time() -> Timestamp {
    Timestamp::from_unix_secs(1_793_570_400).unwrap()
}

fn path() -> PathBuf {
    PathBuf::from("/images/web01.raw")
}

fn at() -> ErrorPlace {
    ErrorPlace::default()
}

fn primary() -> String {
    "primary".to_owned()
}

fn of_repository(kind: ErrorKind) -> offsite_repository::Error {
    offsite_repository::Error::new(kind, "read").with_key(&key())
}

fn reading(kind: ErrorKind) -> Error {
    Error::repository("reading backup file".to_owned(), of_repository(kind)).of_object(&key())
}

fn block() -> Error {
    let part = DamagedPart::Block { machine: machine(), disk: DiskNumber(0), block: 7 };
    Error::damaged(part, key(), primary()).because(FormatError::Checksum("frame")).in_job(&job()).on(Side::Source)
}

fn no_space() -> std::io::Error {
    std::io::Error::from(std::io::ErrorKind::StorageFull)
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

/// What a caller is told: class, whether trying again may help, side, location, key, job, machine.
type Facts = (
    ErrorClass,
    bool,
    Option<Side>,
    Option<&'static str>,
    Option<&'static str>,
    Option<&'static str>,
    Option<&'static str>,
);

const PRIMARY: Option<&str> = Some("primary");
const KEY: Option<&str> = Some("nightly/blocks/00000001-00000001");
const NIGHTLY: Option<&str> = Some("nightly");
const WEB01: Option<&str> = Some("web01");
const PATH: Option<&str> = Some("/images/web01.raw");

#[rustfmt::skip]
fn instances() -> Vec<(Error, Facts)> {
    use ErrorClass::{Busy, Damaged, Defect, FreeSpace, NotThere, RetryLater, WrongInput};
    use Side::{Image, Source, Target};
    let damaged = |part, object: &str| Error::damaged(part, object, primary()).in_job(&job());
    let (known, whole) = (names(&["db01", "web02"]), Some((Sequence(2), time())));
    vec![
        // Who knows nothing says nothing; an operation adds what it knows.
        (reading(ErrorKind::Unavailable), (RetryLater, true, None, None, KEY, None, None)),
        (reading(ErrorKind::Unavailable).on(Source).at(primary).in_job(&job()).of_machine(&machine()),
            (RetryLater, true, Some(Source), PRIMARY, KEY, NIGHTLY, WEB01)),
        (reading(ErrorKind::NoSpace).on(Target), (FreeSpace, true, Some(Target), None, KEY, None, None)),
        (reading(ErrorKind::PermissionDenied), (WrongInput, false, None, None, KEY, None, None)),
        (reading(ErrorKind::Unsupported), (WrongInput, false, None, None, KEY, None, None)),
        (reading(ErrorKind::Corrupt), (Damaged, false, None, None, KEY, None, None)),
        (reading(ErrorKind::NotFound), (Damaged, true, None, None, KEY, None, None)),
        (block(), (Damaged, false, Some(Source), PRIMARY, KEY, NIGHTLY, WEB01)),
        (damaged(DamagedPart::Marker, "offsite-repository"),
            (Damaged, false, None, PRIMARY, Some("offsite-repository"), NIGHTLY, None)),
        (damaged(DamagedPart::Head, "nightly/head/1").because(FormatError::Magic("head")),
            (Damaged, false, None, PRIMARY, Some("nightly/head/1"), NIGHTLY, None)),
        (damaged(DamagedPart::Head, "nightly/head/1").because(FormatError::Version { what: "head", version: 9, known: 1 }),
            (WrongInput, false, None, PRIMARY, Some("nightly/head/1"), NIGHTLY, None)),
        (damaged(DamagedPart::Heads, "nightly/head"),
            (Damaged, false, None, PRIMARY, Some("nightly/head"), NIGHTLY, None)),
        (damaged(DamagedPart::Index { sequence: Sequence(3) }, "nightly/index/1"),
            (Damaged, false, None, PRIMARY, Some("nightly/index/1"), NIGHTLY, None)),
        (damaged(DamagedPart::Point, "restore point 3 of job nightly").because("its indexes do not say all of machine web01"),
            (Damaged, false, None, PRIMARY, None, NIGHTLY, None)),
        (damaged(DamagedPart::File, key().as_str()).because(of_repository(ErrorKind::NotFound)),
            (Damaged, true, None, PRIMARY, KEY, NIGHTLY, None)),
        (damaged(DamagedPart::Seed, "the seed of job nightly").because("what it committed last is lost"),
            (Damaged, false, Some(Source), PRIMARY, None, NIGHTLY, None)),
        (Error::bad_export(FormatError::Checksum("export")), (Damaged, false, Some(Source), None, None, None, None)),
        (damaged(DamagedPart::Folder, "the folder of job nightly").because("no head can be read"),
            (Damaged, false, None, PRIMARY, None, NIGHTLY, None)),
        (Error::NotARepository { location: primary() }, (WrongInput, false, None, PRIMARY, None, None, None)),
        (Error::NotEmpty { location: primary(), found: "photo.jpg".to_owned() },
            (WrongInput, false, None, PRIMARY, None, None, None)),
        (Error::AlreadyARepository { location: primary() }, (WrongInput, false, None, PRIMARY, None, None, None)),
        (Error::NamesNotExclusive { location: primary(), seen: CreateIfAbsent::IgnoredInTurn },
            (WrongInput, false, None, PRIMARY, None, None, None)),
        (Error::SameRepository { source_location: primary(), target_location: "./primary".to_owned() },
            (WrongInput, false, None, Some("./primary"), None, None, None)),
        (Error::NoRoom { task: Task::Copy, location: primary(), needed_bytes: 9 << 30, free_bytes: 8 << 30, min_free_bytes: 1 << 30, at: at() }.in_job(&job()),
            (FreeSpace, true, Some(Target), PRIMARY, None, NIGHTLY, None)),
        (Error::NoSource { why: "primary is away".to_owned(), at: at() }.in_job(&job()),
            (RetryLater, true, Some(Source), None, None, NIGHTLY, None)),
        (Error::unknown_job(&job(), primary(), names(&["weekly"])).on(Source),
            (NotThere, true, Some(Source), PRIMARY, None, NIGHTLY, None)),
        (Error::UnknownMachine { machine: "web01".to_owned(), place: "job nightly".to_owned(), known: known.clone(), at: at() }.at(primary),
            (NotThere, true, None, PRIMARY, None, None, WEB01)),
        (Error::UnknownPoint { job: job(), wanted: "7".to_owned(), known: names(&["1 (2026-11-01)"]), at: at() },
            (NotThere, true, None, None, None, NIGHTLY, None)),
        (Error::UnknownDisk { machine: "web01".to_owned(), disk: "vdb".to_owned(), known: names(&["0 (vda)"]), at: at() },
            (NotThere, true, None, None, None, None, WEB01)),
        (Error::nothing_yet("restore point", "job nightly in primary".to_owned()), (NotThere, true, None, None, None, None, None)),
        (Error::Incomplete { machine: "web01".to_owned(), sequence: Sequence(3), whole, at: at() },
            (NotThere, true, None, None, None, None, WEB01)),
        (Error::Incomplete { machine: "web01".to_owned(), sequence: Sequence(3), whole: None, at: at() },
            (NotThere, true, None, None, None, None, WEB01)),
        (Error::OtherOrigin { machine: "web01".to_owned(), job: job(), location: primary(), known: FolderId::new([10; 16]), found: FolderId::new([11; 16]) },
            (WrongInput, false, Some(Source), PRIMARY, None, NIGHTLY, WEB01)),
        (Error::Busy { job: job(), location: primary(), holder: "process 7 on this host".to_owned(), at: at() }.on(Target),
            (Busy, true, Some(Target), PRIMARY, None, NIGHTLY, None)),
        (Error::fenced(&job()).on(Target).at(primary), (Busy, true, Some(Target), PRIMARY, None, NIGHTLY, None)),
        (Error::commit_unknown(&job(), 12, Box::new(of_repository(ErrorKind::Indeterminate))),
            (RetryLater, true, None, None, None, NIGHTLY, None)),
        (Error::stopped(Task::Restore, &job()), (RetryLater, true, None, None, None, NIGHTLY, None)),
        (Error::expired(&job()), (RetryLater, true, None, None, None, NIGHTLY, None)),
        (Error::image(&path(), "it cannot be read", Some(std::io::ErrorKind::PermissionDenied.into())).of_machine(&machine()),
            (WrongInput, false, Some(Image), PATH, None, None, WEB01)),
        (Error::image(&path(), "it cannot be written", Some(no_space())), (FreeSpace, true, Some(Image), PATH, None, None, None)),
        (Error::image(&path(), "it cannot be opened", Some(rustix::io::Errno::MFILE.into())),
            (WrongInput, false, Some(Image), PATH, None, None, None)),
        (Error::export_file(&path(), "it exists already", None).in_job(&job()),
            (WrongInput, false, Some(Target), PATH, None, NIGHTLY, None)),
        (Error::path_taken(&path(), false), (WrongInput, false, Some(Image), PATH, None, None, None)),
        (Error::path_taken(&path(), true), (WrongInput, false, Some(Image), PATH, None, None, None)),
        (Error::InRepository { path: path(), repository: PathBuf::from("/images"), at: at() }.on(Image),
            (WrongInput, false, Some(Image), PATH, None, None, None)),
        (Error::InUse { path: path(), holders: vec![FileUser::Mount(PathBuf::from("/mnt/data")), FileUser::Swap], at: at() },
            (Busy, true, Some(Image), PATH, None, None, None)),
        (Error::InUse { path: path(), holders: Vec::new(), at: at() }, (Busy, true, Some(Image), PATH, None, None, None)),
        (Error::DeviceTooSmall { path: path(), device_bytes: 1 << 20, disk_bytes: 2 << 20, at: at() },
            (WrongInput, false, Some(Image), PATH, None, None, None)),
        (Error::MachineDamaged {
            machine: "web01".to_owned(), sequence: Sequence(3), intact: whole, is_salvageable: true, source: Box::new(block()),
        }, (Damaged, false, Some(Source), PRIMARY, KEY, NIGHTLY, WEB01)),
        (Error::MachineDamaged {
            machine: "web01".to_owned(), sequence: Sequence(3), intact: None, is_salvageable: false,
            source: Box::new(damaged(DamagedPart::Index { sequence: Sequence(2) }, "nightly/index/1")),
        }.on(Source), (Damaged, false, Some(Source), PRIMARY, Some("nightly/index/1"), NIGHTLY, WEB01)),
        (Error::Torn { path: path(), source: Box::new(reading(ErrorKind::Unavailable)) }.on(Source).in_job(&job()),
            (RetryLater, true, Some(Source), PATH, KEY, NIGHTLY, None)),
        (Error::no_machine(&job(), BTreeMap::from(["db01", "web01"].map(|name| {
            (MachineName::new(name).unwrap(), Error::image(Path::new(name), "it is empty", None))
        }))), (WrongInput, false, Some(Image), None, None, NIGHTLY, None)),
        (Error::io("writing the disk", std::io::ErrorKind::BrokenPipe.into()).on(Image),
            (RetryLater, true, Some(Image), None, None, None, None)),
        (Error::io("writing the export", no_space()), (FreeSpace, true, None, None, None, None, None)),
        (Error::JobHasPoints { job: job(), location: primary() }, (WrongInput, false, Some(Target), PRIMARY, None, NIGHTLY, None)),
        (Error::WrongKindOfJob { job: job(), location: primary(), role: Role::Backup },
            (WrongInput, false, Some(Target), PRIMARY, None, NIGHTLY, None)),
        (Error::NameTaken { job: job(), location: primary(), other: JobName::new("Nightly").unwrap() },
            (WrongInput, false, Some(Target), PRIMARY, None, NIGHTLY, None)),
        (Error::setting("block_size", "job nightly has blocks of 1 MiB and cannot go on with 4 MiB").in_job(&job()),
            (WrongInput, false, None, None, None, NIGHTLY, None)),
        (Error::defect("a frame lies outside its batch").on(Target), (Defect, false, Some(Target), None, None, None, None)),
    ]
}

#[test]
fn each_error_tells_what_can_be_done_and_where_it_happened() {
    for (error, told) in instances() {
        let found = (
            error.class(),
            error.is_retryable(),
            error.side(),
            error.location(),
            error.key(),
            error.job(),
            error.machine(),
        );
        assert_eq!(found, told, "{error:?}");
    }
    let seen: BTreeSet<&str> = instances().iter().map(|(error, _)| name(error)).collect();
    assert_eq!(seen, VARIANTS.iter().copied().collect(), "an instance of each");
}

#[test]
fn what_is_lost_is_told_from_what_is_out_of_reach() {
    for (error, _) in instances() {
        let kind = error.repository_kind();
        let is_lost = match error.innermost() {
            Error::Damaged { part, .. } => *part != DamagedPart::Export,
            Error::Repository { .. } => matches!(kind, Some(ErrorKind::NotFound | ErrorKind::Corrupt)),
            _ => false,
        };
        assert_eq!(error.is_loss(), is_lost, "{error:?}");
    }
    let gone = Error::damaged(DamagedPart::File, key(), primary()).because(of_repository(ErrorKind::NotFound));
    assert_eq!(gone.repository_kind(), Some(ErrorKind::NotFound));
}

/// What is nearer to the fault knows better.
#[test]
fn context_is_kept_through_all_layers() {
    let (other_job, other) = (JobName::new("weekly").unwrap(), MachineName::new("db01").unwrap());
    let innermost = block();
    let error = Error::MachineDamaged {
        machine: "web01".to_owned(),
        sequence: Sequence(3),
        intact: None,
        is_salvageable: true,
        source: Box::new(innermost),
    };
    let error = Error::Torn { path: path(), source: Box::new(error) };
    let error = error.on(Side::Target).at(|| "second".to_owned()).in_job(&other_job).of_machine(&other);
    assert_eq!((error.side(), error.key()), (Some(Side::Source), KEY));
    assert_eq!((error.job(), error.machine()), (NIGHTLY, WEB01));
    assert_eq!(error.source().and_then(std::error::Error::source).map(ToString::to_string), Some(block().to_string()));
}

#[test]
fn an_operation_tells_its_sides_by_their_repositories() {
    let located = |location: &str, id: Option<u8>| Located {
        location: location.to_owned(),
        id: id.map(|id| RepositoryId::new([id; 16])),
    };
    let of = |place: Option<Located>| {
        let error = reading(ErrorKind::Unavailable);
        let error = match place {
            Some(place) => error.at(|| place),
            None => error,
        };
        let sources = [located("primary", Some(1)), located("same", Some(2))];
        let error = error.between(sources, &located("same", Some(3)));
        (error.side(), error.location().map(str::to_owned))
    };
    let at = |side, location: &str| (side, Some(location.to_owned()));
    assert_eq!(of(Some(located("primary", Some(1)))), at(Some(Side::Source), "primary"));
    assert_eq!(of(Some(located("primary", None))), at(Some(Side::Source), "primary"));
    assert_eq!(of(Some(located("same", Some(2)))), at(Some(Side::Source), "same"));
    assert_eq!(of(Some(located("same", Some(3)))), at(Some(Side::Target), "same"));
    assert_eq!(of(Some(located("same", None))), at(None, "same"));
    assert_eq!(of(Some(located("third", Some(4)))), at(None, "third"));
    assert_eq!(of(None), at(Some(Side::Target), "same"));
}

/// No text says again what the text of its cause says.
#[test]
fn no_error_repeats_its_cause() {
    for (error, _) in instances() {
        let mut outer = error.to_string();
        let mut next = error.source();
        while let Some(cause) = next {
            assert!(!outer.contains(&cause.to_string()), "{outer}: {cause}");
            outer = cause.to_string();
            next = cause.source();
        }
    }
}

/// Embedders have no command line.
#[test]
fn no_error_names_a_command_or_an_option() {
    for (error, _) in instances() {
        let text = causes(&error);
        for word in ["`", "--", "offsite init", "offsite run", "offsite verify", "offsite repair", "ulimit"] {
            assert!(!text.contains(word), "{text}");
        }
    }
}

#[test]
fn errors_read_as_the_golden_file_has_them() {
    let lines: Vec<String> = instances()
        .iter()
        .map(|(error, _)| {
            let (text, chain) = (error.to_string(), causes(error));
            let rest = chain.strip_prefix(&text).unwrap();
            let rest = if rest.is_empty() { String::new() } else { format!("\n  {rest}") };
            format!("{}\n  {}{rest}\n", name(error), text.replace('\n', "\n  "))
        })
        .collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/errors.txt");
    let actual = lines.concat();
    if std::env::var_os("OFFSITE_UPDATE_GOLDENS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, actual).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(expected == actual, "OFFSITE_UPDATE_GOLDENS=1 writes {} anew; now:\n{actual}", path.display());
}
