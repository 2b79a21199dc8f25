//! The suite tells what several processes do to one place, in processes: this test binary is its own racer.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use offsite_repository::testing::conformance::{self, Options, Outcome, RacerProcess};
use offsite_repository::{
    Error, ErrorKind, Key, Limits, ListPage, ObjectInfo, ObjectWriter, Prefix, ReadRequest, Repository, RepositoryExt,
    Result,
};

const PLACE: &str = "OFFSITE_TEST_PLACE";

/// What is wrong with a folder; all else is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    None,
    /// That a name is taken is known to the process alone that took it.
    EachProcessForItself,
    /// Who loses against another process is told that it won.
    LoserIsToldItWon,
    /// An object grows under its name.
    WritesInPlace,
    /// A sweep takes the unfinished objects of others, which may be at work.
    SweepsWriters,
}

impl Flaw {
    fn named(name: &str) -> Self {
        let all = [Self::EachProcessForItself, Self::LoserIsToldItWon, Self::WritesInPlace, Self::SweepsWriters];
        all.into_iter().find(|flaw| format!("{flaw:?}") == name).unwrap_or(Self::None)
    }
}

/// A flat folder of files: a key's slashes are commas there. Just enough of a repository to race in.
#[derive(Debug, Clone)]
struct Folder {
    path: PathBuf,
    flaw: Flaw,
    taken: Arc<Mutex<BTreeSet<Key>>>,
}

impl Folder {
    fn new(path: PathBuf, flaw: Flaw) -> Self {
        Self { path, flaw, taken: Arc::default() }
    }

    fn file(&self, key: &Key) -> PathBuf {
        self.path.join(file_name(key))
    }
}

fn failed(error: &std::io::Error) -> Error {
    let kind = match error.kind() {
        std::io::ErrorKind::NotFound => ErrorKind::NotFound,
        std::io::ErrorKind::AlreadyExists => ErrorKind::AlreadyExists,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, "use a folder").with_detail(error.to_string())
}

#[async_trait]
impl Repository for Folder {
    fn location(&self) -> String {
        self.path.display().to_string()
    }

    fn limits(&self) -> Limits {
        Limits::new(u64::MAX)
    }

    async fn create(&self, key: &Key) -> Result<Box<dyn ObjectWriter>> {
        let staged = match self.flaw {
            Flaw::WritesInPlace => self.file(key),
            _ => self.path.join(format!(".{}-{}", std::process::id(), file_name(key))),
        };
        let file = fs::File::create(&staged).map_err(|error| failed(&error))?;
        Ok(Box::new(Writer { folder: self.clone(), key: key.clone(), staged, file }))
    }

    async fn read(&self, key: &Key, what: ReadRequest<'_>) -> Result<Vec<Bytes>> {
        let mut content = Vec::new();
        let mut file = fs::File::open(self.file(key)).map_err(|error| failed(&error))?;
        file.read_to_end(&mut content).map_err(|error| failed(&error))?;
        match what {
            ReadRequest::Whole { .. } => Ok(vec![content.into()]),
            ReadRequest::Ranges(_) => Err(Error::new(ErrorKind::Unsupported, "read").with_key(key)),
        }
    }

    async fn list(&self, prefix: &Prefix, after: Option<&Key>, _limit: usize) -> Result<ListPage> {
        let mut objects = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(|error| failed(&error))?.flatten() {
            let name = entry.file_name().to_string_lossy().replace(',', "/");
            let Ok(key) = Key::new(name) else { continue };
            if prefix.contains(&key) && after.is_none_or(|after| key > *after) {
                objects.push(ObjectInfo::new(key, entry.metadata().unwrap().len()));
            }
        }
        objects.sort_by(|one, other| one.key.cmp(&other.key));
        Ok(ListPage::new(objects, false))
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        match fs::remove_file(self.file(key)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed(&error)),
            _ => Ok(()),
        }
    }

    async fn sweep(&self) -> Result<()> {
        if self.flaw == Flaw::SweepsWriters {
            for entry in fs::read_dir(&self.path).map_err(|error| failed(&error))?.flatten() {
                if entry.file_name().to_string_lossy().starts_with('.') {
                    fs::remove_file(entry.path()).map_err(|error| failed(&error))?;
                }
            }
        }
        Ok(())
    }
}

fn file_name(key: &Key) -> String {
    key.as_str().replace('/', ",")
}

struct Writer {
    folder: Folder,
    key: Key,
    staged: PathBuf,
    file: fs::File,
}

#[async_trait]
impl ObjectWriter for Writer {
    async fn write(&mut self, chunks: Vec<Bytes>) -> Result<()> {
        let written = chunks.iter().try_for_each(|chunk| self.file.write_all(chunk));
        written.map_err(|error| failed(&error))
    }

    async fn finish(self: Box<Self>) -> Result<()> {
        let to = self.folder.file(&self.key);
        match self.folder.flaw {
            Flaw::WritesInPlace => return Ok(()),
            Flaw::EachProcessForItself => {
                if !self.folder.taken.lock().unwrap().insert(self.key.clone()) {
                    return Err(Error::new(ErrorKind::AlreadyExists, "finish").with_key(&self.key));
                }
                return fs::rename(&self.staged, to).map_err(|error| failed(&error));
            }
            _ => {}
        }
        let linked = fs::hard_link(&self.staged, to).map_err(|error| failed(&error));
        let _ = fs::remove_file(&self.staged);
        if self.folder.flaw == Flaw::LoserIsToldItWon { Ok(()) } else { linked }
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        let _ = fs::remove_file(&self.staged);
        Ok(())
    }
}

/// Plays a racer, if this process is one.
#[tokio::test]
async fn part_of_a_racer() {
    let Some(place) = std::env::var_os(PLACE) else { return };
    let place = place.into_string().unwrap();
    let (flaw, path) = place.split_once(' ').unwrap();
    conformance::play_racer(&Folder::new(path.into(), Flaw::named(flaw))).await;
}

async fn report_of(flaw: Flaw) -> conformance::Report {
    let folder = tempfile::tempdir().unwrap();
    let racers = RacerProcess::this_test("part_of_a_racer", PLACE, format!("{flaw:?} {}", folder.path().display()));
    let options = Options::default().with_large_object_bytes(300_000).with_processes(racers);
    let place = Arc::new(Folder::new(folder.path().to_owned(), flaw));
    let report = conformance::check_cases(place, &options, &["race_processes", "killed_process"]).await;
    println!("{report}");
    report
}

fn failed_cases(report: &conformance::Report) -> Vec<&str> {
    report.failed().map(|case| case.name).collect()
}

#[tokio::test]
async fn a_folder_without_a_flaw_passes() {
    let report = report_of(Flaw::None).await;
    assert_eq!(report.cases.iter().filter(|case| case.outcome == Outcome::Passed).count(), 2, "{report}");
}

#[tokio::test]
async fn each_process_for_itself_is_caught() {
    assert_eq!(failed_cases(&report_of(Flaw::EachProcessForItself).await), ["race_processes"]);
}

#[tokio::test]
async fn a_loser_that_is_told_it_won_is_caught() {
    assert_eq!(failed_cases(&report_of(Flaw::LoserIsToldItWon).await), ["race_processes"]);
}

#[tokio::test]
async fn writing_in_place_is_caught() {
    assert!(failed_cases(&report_of(Flaw::WritesInPlace).await).contains(&"killed_process"));
}

#[tokio::test]
async fn sweeping_the_writers_of_others_is_caught() {
    assert_eq!(failed_cases(&report_of(Flaw::SweepsWriters).await), ["killed_process"]);
}

#[tokio::test]
async fn a_process_that_cannot_start_or_does_not_play_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    for program in ["/no/such/program", "/bin/true"] {
        let racers = RacerProcess::new(move || std::process::Command::new(program));
        let options = Options::quick().with_processes(racers);
        let place = Arc::new(Folder::new(folder.path().to_owned(), Flaw::None));
        let report = conformance::check_cases(place, &options, &["race_processes", "killed_process"]).await;
        assert_eq!(failed_cases(&report), ["race_processes", "killed_process"], "{report}");
    }
}

/// The folder is a repository as far as these tests go.
#[tokio::test]
async fn the_folder_stores() {
    let folder = tempfile::tempdir().unwrap();
    let place = Folder::new(folder.path().to_owned(), Flaw::None);
    let key = Key::new("a/b").unwrap();
    place.put(&key, Bytes::from_static(b"x")).await.unwrap();
    assert_eq!(place.list_all(&Prefix::new("a").unwrap()).await.unwrap(), [ObjectInfo::new(key, 1)]);
}
