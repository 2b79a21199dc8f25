//! Job folders with records in them that no writer wrote, and objects that were changed: the engine tells, or goes on; it never ends.
#![no_main]

use offsite_core::format::WireFormat;
use std::sync::{Arc, LazyLock};

use arbitrary::{Arbitrary, Unstructured};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use offsite::{Error, JobFolder, OpenRepository, Restore, TransformJob, Verify};
use offsite_core::{Head, Lease, RetiredObject, Retirement};
use offsite_core::format::records::{LeaseRenewal, Pin, ReleaseList, VerificationRecord};
use offsite_core::format::{Kind, encode_record};
use offsite_core::{CommitId, Digest, FolderId, MachineName, ObjectId};
use offsite_fuzz::export::{Built, import, job};
use offsite_fuzz::{mended, now, object, run};
use offsite_repository::testing::Memory;
use offsite_repository::{Key, Repository, RepositoryExt};

/// What is put into the folder. Folders are named rightly where that is asked for.
#[derive(Debug, Arbitrary)]
enum Thing {
    Pin {
        nonce: [u8; 16],
        renewals: u32,
        is_ours: bool,
        head: u64,
        holder: String,
    },
    Lease {
        epoch: u32,
        count: u64,
        is_ours: bool,
    },
    VerificationNotes {
        number: u64,
        next: Option<(u64, u64)>,
        damaged: Vec<(u64, u64, [u8; 32])>,
        cut: Vec<(u64, u64)>,
        indexes: Vec<u64>,
        frames: u8,
    },
    Release {
        files: Vec<(u8, Vec<(u64, u64)>)>,
        is_lost: bool,
    },
    Retired {
        kind: u8,
        id: u64,
        since: u8,
        bytes: u64,
    },
    Taken {
        holder: String,
        duration_secs: u16,
    },
    Record {
        folder: u8,
        name: String,
        kind: u8,
        record: Vec<u8>,
    },
    /// The object, the byte of it and what that is changed by.
    Change {
        object: u8,
        changes: Vec<(u32, u8)>,
        is_mended: bool,
    },
    Gone {
        object: u8,
    },
}

const FOLDERS: [&str; 7] = ["head", "index", "blocks", "release", "pin", "lease", "verify"];
const RETIRED_MAX: usize = 4;

static FOLDER: LazyLock<Arc<Memory>> =
    LazyLock::new(|| import(Built::plain().bytes().expect("an export")).expect("an import"));

/// Puts an object in the place of what is there.
async fn put(memory: &Memory, name: &str, bytes: Vec<u8>) {
    let Ok(key) = Key::new(format!("{}/{name}", job())) else { return };
    let _ = memory.delete(&key).await;
    let _ = memory.put(&key, Bytes::from(bytes)).await;
}

fn newest(memory: &Memory) -> Option<Head> {
    let contents = memory.contents();
    let mut heads = contents.iter().filter(|(key, _)| key.as_str().starts_with("copy/head/"));
    Head::decode(&heads.next_back()?.1).ok()
}

/// A head after the newest one, with something in it that none of its writers put there.
async fn put_head(memory: &Memory, change: impl FnOnce(&mut Head)) {
    let Some(mut head) = newest(memory) else { return };
    head.ancestry.insert(0, head.commit);
    head.ancestry.truncate(8);
    (head.number, head.commit) = (head.number + 1, CommitId::new([head.number as u8; 16]));
    change(&mut head);
    if let Ok(bytes) = head.encode() {
        put(memory, &format!("head/{:020}", head.number), bytes).await;
    }
}

async fn put_thing(memory: &Memory, thing: Thing) {
    let ours = newest(memory).map_or(FolderId::new([0; 16]), |head| head.folder);
    let folder = |is_ours: bool| if is_ours { ours } else { FolderId::new([9; 16]) };
    match thing {
        Thing::Pin { nonce, renewals, is_ours, head, holder } => {
            let nonce: String = nonce.iter().map(|byte| format!("{byte:02x}")).collect();
            let Ok(record) = encode_record(Kind::Pin, &Pin { folder: folder(is_ours), head, holder }) else { return };
            put(memory, &format!("pin/{nonce}-{renewals:010}"), record).await;
        }
        Thing::Lease { epoch, count, is_ours } => {
            let record = LeaseRenewal { folder: folder(is_ours), epoch, count };
            let record = encode_record(Kind::LeaseRenewal, &record).expect("a short record");
            put(memory, &format!("lease/{epoch:010}-{count:020}"), record).await;
        }
        Thing::VerificationNotes { number, next, mut damaged, mut cut, indexes, frames } => {
            // Places of frames that are there, too.
            let files = newest(memory).map(|head| head.files).unwrap_or_default();
            for (file, state) in files.iter().take(frames.into()) {
                damaged.push((file.stored(), state.length / 2, [0; 32]));
                cut.push((file.stored(), state.length / 2));
            }
            let record = VerificationRecord { folder: ours, next, damaged, cut, indexes };
            let Ok(record) = encode_record(Kind::VerificationNotes, &record) else { return };
            put(memory, &format!("verify/{number:020}"), record).await;
        }
        Thing::Release { files, is_lost } => {
            let Some(head) = newest(memory) else { return };
            let known: Vec<u64> = head.files.keys().map(|id| id.stored()).collect();
            let file = |number: u8| known.get(usize::from(number)).copied().unwrap_or(number.into());
            let files = files.into_iter().map(|(number, ranges)| (file(number), ranges)).collect();
            let id = ObjectId::new(head.epoch, 77);
            let Ok(record) = encode_record(Kind::ReleaseList, &ReleaseList { folder: ours, files }) else { return };
            let digest = Digest::of(&record);
            if !is_lost {
                put(memory, &format!("release/{id}"), record).await;
            }
            put_head(memory, |head| {
                let since = head.number;
                head.retired.push(Retirement::new(since, RetiredObject::Ranges { list: id, digest }, 1));
            })
            .await;
        }
        Thing::Retired { kind, id, since, bytes } => {
            let id = ObjectId::from_stored(id);
            let what = [RetiredObject::File(id), RetiredObject::Index(id), RetiredObject::Ranges { list: id, digest: Digest([0; 32]) }];
            let what = what[usize::from(kind % 3)];
            put_head(memory, |head| head.retired.push(Retirement::new(since.into(), what, bytes))).await;
        }
        Thing::Taken { holder, duration_secs } => {
            put_head(memory, |head| {
                head.lease = Some(Lease::new(holder, duration_secs.into()));
            })
            .await;
        }
        Thing::Record { folder, name, kind, record } => {
            let folder = FOLDERS[usize::from(folder) % FOLDERS.len()];
            let kind = offsite_fuzz::kind(kind);
            put(memory, &format!("{folder}/{name}"), object(kind, &record, &[])).await;
        }
        Thing::Change { object, changes, is_mended } => {
            let contents = memory.contents();
            let Some((key, bytes)) = contents.get(usize::from(object) % contents.len().max(1)) else { return };
            let mut bytes = bytes.to_vec();
            for (at, change) in changes {
                let length = bytes.len().max(1);
                if let Some(byte) = bytes.get_mut(at as usize % length) {
                    *byte ^= change;
                }
            }
            let bytes = mended(&bytes).filter(|_| is_mended).unwrap_or(bytes);
            let _ = memory.delete(key).await;
            let _ = memory.put(key, Bytes::from(bytes)).await;
        }
        Thing::Gone { object } => {
            let contents = memory.contents();
            if let Some((key, _)) = contents.get(usize::from(object) % contents.len().max(1)) {
                memory.remove(key);
            }
        }
    }
}

/// Anything may be said of such a folder, but not that the library is wrong.
fn told<T>(answer: Result<T, Error>) -> Option<T> {
    match answer {
        Ok(value) => Some(value),
        Err(Error::Defect { what, .. }) => panic!("{what}"),
        Err(_) => None,
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(things) = Vec::<Thing>::arbitrary(&mut Unstructured::new(bytes)) else { return };
    // Made outside: the first time, it needs a runtime of its own.
    let memory = Arc::new(FOLDER.fork());
    run(async {
        for thing in things.into_iter().take(RETIRED_MAX) {
            put_thing(&memory, thing).await;
        }
        let Some(repository) = told(OpenRepository::open(memory.clone()).await) else { return };
        told(repository.jobs().await);
        told(JobFolder::open(&repository, &job()).await);
        told(Verify::new(&repository, job()).read_data(true).budget_bytes(1000).run().await);
        told(TransformJob::new(&repository, job()).run(now()).await);
        let machine = MachineName::new("m0").expect("a plain name");
        let to = tempfile::tempdir_in("/dev/shm").expect("a folder");
        told(Restore::new(&repository, job(), machine).run(to.path()).await);
        told(Verify::new(&repository, job()).read_data(true).run().await);
    });
});
