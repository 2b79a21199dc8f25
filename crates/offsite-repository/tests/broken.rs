//! The suite tells each kind of broken repository by the case that names what is wrong with it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use offsite_repository::testing::Memory;
use offsite_repository::testing::conformance::{self, Linker, Options};
use offsite_repository::{
    CloneRange, Endpoint, ErrorKind, Extent, Key, Limits, Links, ListPage, ObjectWriter, Patch, Piece, Prefix,
    ReadRequest, Reclaim, Repository, RepositoryExt, Result, Retain,
};

/// What is wrong with a repository; all else is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Flaw {
    VisibleBeforeFinish,
    CreateOverwrites,
    CheckThenWrite,
    EveryRacerWins,
    LoserIsToldLate,
    AbortDeletesTheFinished,
    DropFinishes,
    ShortReads,
    LimitIgnored,
    RangesSorted,
    FolderReadsAsEmpty,
    EmptyObjectIsLost,
    ChunkIsLost,
    UnorderedList,
    PrefixIsText,
    LastOfPageIsLost,
    AfterIsInclusive,
    MoreIsForgotten,
    DeleteTakesNeighbour,
    DeleteOfAbsentFails,
    NameStaysTaken,
    TornByCancellation,
    SweepTakesWriters,
    PunchHitsNeighbour,
    PunchDoesNothing,
    CloneIsEmpty,
    PatchTruncates,
    RetainForgets,
    FinishGrows,
    HandleRemembersAbsence,
    LimitIsNone,
    DeadWriterFinishes,
    LongNamesAreCut,
    EscapesCollide,
    PrefixIsPattern,
    NothingWrittenNothingStored,
    DeleteTearsFirst,
    CloneGrows,
    PatchRewritesAll,
    RetainNeverExtends,
    LinksUntold,
    PunchesWhatIsLinked,
    PatchesWhatIsLinked,
    EndpointIsNowhere,
}

/// The largest object of those whose flaw is about it.
const LIMIT: usize = 300_000;

#[derive(Debug, Clone)]
struct Broken {
    inner: Memory,
    flaw: Flaw,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    deleted: BTreeMap<String, ()>,
    absent: BTreeSet<String>,
    sweeps: u64,
}

impl Broken {
    fn new(flaw: Flaw) -> Self {
        Self { inner: Memory::new(), flaw, state: Arc::default() }
    }

    /// Another handle of the same place, which remembers nothing of this one.
    fn opened_anew(&self) -> Self {
        Self { state: Arc::default(), ..self.clone() }
    }

    /// The name under which `key` is kept.
    fn kept_as(&self, key: &Key) -> Key {
        let text = key.as_str();
        match self.flaw {
            Flaw::LongNamesAreCut => Key::new(text[..text.len().min(255)].trim_end_matches('/')).unwrap(),
            Flaw::EscapesCollide => Key::new(text.replace("%2f", "%2F")).unwrap(),
            _ => key.clone(),
        }
    }

    fn sweeps(&self) -> u64 {
        self.state.lock().unwrap().sweeps
    }
}

fn error(kind: ErrorKind) -> offsite_repository::Error {
    offsite_repository::Error::new(kind, "use a broken repository")
}

#[async_trait]
impl Repository for Broken {
    fn location(&self) -> String {
        format!("broken: {:?}", self.flaw)
    }

    fn limits(&self) -> Limits {
        match self.flaw {
            Flaw::LimitIsNone | Flaw::DeadWriterFinishes => Limits::new(LIMIT as u64),
            _ => self.inner.limits(),
        }
    }

    fn endpoint(&self) -> Endpoint {
        match self.flaw {
            Flaw::EndpointIsNowhere => Endpoint::Address(Ipv4Addr::UNSPECIFIED.into()),
            _ => self.inner.endpoint(),
        }
    }

    async fn create(&self, key: &Key) -> Result<Box<dyn ObjectWriter>> {
        let key = &self.kept_as(key);
        let taken = self.inner.get(key, u64::MAX).await.is_ok();
        let deleted = self.state.lock().unwrap().deleted.contains_key(key.as_str());
        if (taken && self.flaw != Flaw::CreateOverwrites) || (deleted && self.flaw == Flaw::NameStaysTaken) {
            return Err(error(ErrorKind::AlreadyExists));
        }
        let sweeps = self.sweeps();
        Ok(Box::new(Writer {
            place: self.clone(),
            key: key.clone(),
            content: Vec::new(),
            calls: 0,
            sweeps,
            done: false,
        }))
    }

    async fn read(&self, key: &Key, what: ReadRequest<'_>) -> Result<Vec<Bytes>> {
        let key = &self.kept_as(key);
        if self.flaw == Flaw::HandleRemembersAbsence {
            let answer = self.inner.read(key, what).await;
            let absent = &mut self.state.lock().unwrap().absent;
            if answer.is_err() {
                absent.insert(key.to_string());
            }
            return if absent.contains(key.as_str()) { Err(error(ErrorKind::NotFound)) } else { answer };
        }
        let mut sorted: Vec<Range<u64>>;
        let what = match what {
            ReadRequest::Whole { .. } if self.flaw == Flaw::LimitIgnored => {
                ReadRequest::Whole { limit_bytes: u64::MAX }
            }
            ReadRequest::Ranges(ranges) if self.flaw == Flaw::ShortReads => {
                let length = self.inner.get(key, u64::MAX).await?.len() as u64;
                let end = |range: &Range<u64>| range.end.min(length);
                sorted = ranges.iter().map(|range| range.start.min(end(range))..end(range)).collect();
                ReadRequest::Ranges(&sorted)
            }
            ReadRequest::Ranges(ranges) if self.flaw == Flaw::RangesSorted => {
                sorted = ranges.to_vec();
                sorted.sort_by_key(|range| range.start);
                ReadRequest::Ranges(&sorted)
            }
            what => what,
        };
        let answer = self.inner.read(key, what).await;
        if answer.is_err() && self.flaw == Flaw::FolderReadsAsEmpty {
            let below = self.inner.list_all(&Prefix::new(key.as_str()).unwrap()).await?;
            if !below.is_empty() && matches!(what, ReadRequest::Whole { .. }) {
                return Ok(vec![Bytes::new()]);
            }
        }
        answer
    }

    async fn list(&self, prefix: &Prefix, after: Option<&Key>, limit: usize) -> Result<ListPage> {
        let mut page = match self.flaw {
            Flaw::PrefixIsText if !prefix.as_str().is_empty() => {
                let mut objects = self.inner.list_all(&Prefix::root()).await?;
                objects.retain(|object| {
                    object.key.as_str().starts_with(prefix.as_str()) && after.is_none_or(|after| object.key > *after)
                });
                let more = objects.len() > limit;
                objects.truncate(limit);
                ListPage::new(objects, more)
            }
            Flaw::PrefixIsPattern => {
                let mut objects = self.inner.list_all(&Prefix::root()).await?;
                let pattern = format!("{prefix}/");
                let alike = |(own, wanted): (u8, u8)| own == wanted || wanted == b'_';
                objects.retain(|object| {
                    let text = object.key.as_str();
                    let below = prefix.as_str().is_empty()
                        || (text.len() > pattern.len() && text.bytes().zip(pattern.bytes()).all(alike));
                    below && after.is_none_or(|after| object.key > *after)
                });
                let more = objects.len() > limit;
                objects.truncate(limit);
                ListPage::new(objects, more)
            }
            Flaw::AfterIsInclusive => {
                let mut objects = self.inner.list_all(prefix).await?;
                objects.retain(|object| after.is_none_or(|after| object.key >= *after));
                let more = objects.len() > limit;
                objects.truncate(limit);
                ListPage::new(objects, more)
            }
            _ => self.inner.list(prefix, after, limit).await?,
        };
        match self.flaw {
            // As a walk through folders finds them: a folder's content where the folder's bare name sorts.
            Flaw::UnorderedList => {
                page.objects
                    .sort_by_key(|object| object.key.as_str().split('/').map(str::to_owned).collect::<Vec<_>>());
            }
            Flaw::LastOfPageIsLost if page.more && page.objects.len() > 3 => drop(page.objects.remove(2)),
            Flaw::MoreIsForgotten => page.more = page.more && page.objects.len() != 5,
            _ => {}
        }
        Ok(page)
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        let key = &self.kept_as(key);
        if self.flaw == Flaw::DeleteTearsFirst {
            self.inner.truncate(key, 0);
            tokio::task::yield_now().await;
        }
        if self.flaw == Flaw::DeleteOfAbsentFails {
            self.inner.get(key, u64::MAX).await?;
        }
        if self.flaw == Flaw::DeleteTakesNeighbour {
            for (neighbour, _) in self.inner.contents() {
                if neighbour.as_str().starts_with(key.as_str()) {
                    self.inner.remove(&neighbour);
                }
            }
        }
        self.state.lock().unwrap().deleted.insert(key.to_string(), ());
        if self.flaw == Flaw::RetainForgets {
            self.inner.remove(key);
        }
        self.inner.delete(key).await
    }

    async fn sweep(&self) -> Result<()> {
        self.state.lock().unwrap().sweeps += 1;
        Ok(())
    }

    fn links(&self) -> Option<&dyn Links> {
        Some(self)
    }

    fn reclaim(&self) -> Option<&dyn Reclaim> {
        Some(self)
    }

    fn clone_range(&self) -> Option<&dyn CloneRange> {
        Some(self)
    }

    fn patch(&self) -> Option<&dyn Patch> {
        Some(self)
    }

    fn retain(&self) -> Option<&dyn Retain> {
        if self.flaw == Flaw::RetainNeverExtends { Some(self) } else { self.inner.retain() }
    }
}

struct Writer {
    place: Broken,
    key: Key,
    content: Vec<u8>,
    calls: u64,
    sweeps: u64,
    done: bool,
}

impl Writer {
    async fn store(&self) -> Result<()> {
        self.place.inner.put(&self.key, self.content.clone().into()).await
    }

    fn store_by_force(&self) {
        self.place.inner.remove(&self.key);
        // Memory without yields is ready at once.
        futures::FutureExt::now_or_never(self.store()).unwrap().unwrap();
    }
}

#[async_trait]
impl ObjectWriter for Writer {
    async fn write(&mut self, chunks: Vec<Bytes>) -> Result<()> {
        self.calls += 1;
        let length = self.content.len() + chunks.iter().map(Bytes::len).sum::<usize>();
        if self.place.flaw == Flaw::DeadWriterFinishes && length > LIMIT {
            return Err(error(ErrorKind::Unsupported));
        }
        for (number, chunk) in chunks.into_iter().enumerate() {
            if self.place.flaw == Flaw::ChunkIsLost && number == 1_500 {
                continue;
            }
            if self.place.flaw == Flaw::TornByCancellation && number > 0 {
                tokio::task::yield_now().await;
            }
            self.content.extend_from_slice(&chunk);
        }
        if self.place.flaw == Flaw::VisibleBeforeFinish {
            self.store_by_force();
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<()> {
        self.done = true;
        self.place.state.lock().unwrap().absent.remove(self.key.as_str());
        match self.place.flaw {
            Flaw::VisibleBeforeFinish | Flaw::CreateOverwrites => self.store_by_force(),
            Flaw::CheckThenWrite => {
                if self.place.inner.get(&self.key, u64::MAX).await.is_ok() {
                    return Err(error(ErrorKind::AlreadyExists));
                }
                tokio::task::yield_now().await;
                self.store_by_force();
            }
            Flaw::EveryRacerWins => drop(self.store().await),
            Flaw::LoserIsToldLate => {
                // The loser learns it, but its content is what stays.
                let answer = self.store().await;
                self.store_by_force();
                return answer;
            }
            Flaw::NothingWrittenNothingStored if self.calls == 0 => {}
            Flaw::FinishGrows => {
                let whole = self.content.split_off(self.content.len() / 2);
                self.store().await?;
                tokio::task::yield_now().await;
                self.content.extend_from_slice(&whole);
                self.store_by_force();
            }
            Flaw::EmptyObjectIsLost if self.content.is_empty() => {}
            Flaw::SweepTakesWriters if self.place.sweeps() > self.sweeps => return Err(error(ErrorKind::NotFound)),
            _ => return self.store().await,
        }
        Ok(())
    }

    async fn abort(mut self: Box<Self>) -> Result<()> {
        self.done = true;
        if self.place.flaw == Flaw::AbortDeletesTheFinished {
            self.place.inner.remove(&self.key);
        }
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.place.flaw == Flaw::DropFinishes && !self.done && self.calls > 0 {
            self.store_by_force();
        }
    }
}

#[async_trait]
impl Links for Broken {
    async fn is_linked(&self, key: &Key) -> Result<bool> {
        Ok(self.inner.links().unwrap().is_linked(key).await? && self.flaw != Flaw::LinksUntold)
    }
}

#[async_trait]
impl Reclaim for Broken {
    fn punch_granularity_bytes(&self) -> u64 {
        4_096
    }

    async fn punch(&self, key: &Key, ranges: &[Range<u64>]) -> Result<()> {
        let reclaim = self.inner.reclaim().unwrap();
        match self.flaw {
            Flaw::PunchesWhatIsLinked => {
                self.inner.link(key, false);
                reclaim.punch(key, ranges).await
            }
            Flaw::PunchDoesNothing => reclaim.punch(key, &[]).await,
            Flaw::PunchHitsNeighbour => {
                // Rounded outwards instead of inwards.
                let length = self.inner.get(key, u64::MAX).await?.len() as u64;
                let wide = |range: &Range<u64>| {
                    let end =
                        if range.end > length { range.end } else { range.end.next_multiple_of(4_096).min(length) };
                    range.start / 4_096 * 4_096..end
                };
                reclaim.punch(key, &ranges.iter().map(wide).collect::<Vec<_>>()).await
            }
            _ => reclaim.punch(key, ranges).await,
        }
    }

    async fn allocated_bytes(&self, key: &Key) -> Result<u64> {
        self.inner.reclaim().unwrap().allocated_bytes(key).await
    }
}

#[async_trait]
impl CloneRange for Broken {
    fn clone_granularity_bytes(&self) -> u64 {
        4_096
    }

    async fn create_from(&self, key: &Key, pieces: &[Piece]) -> Result<()> {
        let pieces = if self.flaw == Flaw::CloneIsEmpty { &[] } else { pieces };
        if self.flaw == Flaw::CloneGrows && pieces.len() > 1 {
            self.inner.clone_range().unwrap().create_from(key, &pieces[..1]).await?;
            tokio::task::yield_now().await;
            self.inner.remove(key);
        }
        self.inner.clone_range().unwrap().create_from(key, pieces).await
    }
}

#[async_trait]
impl Patch for Broken {
    async fn write_extents(&self, key: &Key, extents: Vec<Extent>) -> Result<()> {
        let end = extents.last().map_or(0, Extent::end);
        if self.flaw == Flaw::PatchRewritesAll {
            let old = self.inner.get(key, u64::MAX).await?;
            self.inner.truncate(key, 0);
            tokio::task::yield_now().await;
            self.inner.remove(key);
            self.inner.put(key, old).await?;
        }
        if self.flaw == Flaw::PatchesWhatIsLinked {
            self.inner.link(key, false);
        }
        self.inner.patch().unwrap().write_extents(key, extents).await?;
        if self.flaw == Flaw::PatchTruncates {
            self.inner.truncate(key, end);
        }
        Ok(())
    }
}

#[async_trait]
impl Retain for Broken {
    async fn retain_until(&self, key: &Key, until_unix_secs: i64) -> Result<()> {
        let retain = self.inner.retain().unwrap();
        let set = retain.retained_until(key).await?;
        if set.is_some_and(|set| until_unix_secs > set) {
            return Ok(());
        }
        retain.retain_until(key, until_unix_secs).await
    }

    async fn retained_until(&self, key: &Key) -> Result<Option<i64>> {
        self.inner.retain().unwrap().retained_until(key).await
    }
}

async fn failing_cases(flaw: Flaw) -> Vec<&'static str> {
    let options = Options::default().with_retain_secs(3_600).with_large_object_bytes(200_003);
    let broken = Broken::new(flaw);
    let inner = broken.inner.clone();
    let options = options.with_linker(Linker::new(move |key| {
        assert!(inner.link(key, true));
        Ok(())
    }));
    let factory = conformance::factory(move || std::future::ready(Ok(broken.opened_anew())));
    let report = conformance::check(factory, &options).await;
    println!("{report}");
    report.failed().map(|case| case.name).collect()
}

macro_rules! caught {
    ($($test:ident: $flaw:ident by $case:literal;)*) => {$(
        #[tokio::test]
        async fn $test() {
            let failed = failing_cases(Flaw::$flaw).await;
            assert!(failed.contains(&$case), "{:?} fails {failed:?}", Flaw::$flaw);
        }
    )*};
}

caught! {
    visible_before_finish: VisibleBeforeFinish by "atomic_finish";
    create_overwrites: CreateOverwrites by "create_if_absent";
    check_then_write: CheckThenWrite by "race_one_name";
    every_racer_wins: EveryRacerWins by "race_one_name";
    loser_is_told_late: LoserIsToldLate by "create_if_absent";
    abort_deletes_the_finished: AbortDeletesTheFinished by "abort_and_drop";
    drop_finishes: DropFinishes by "abort_and_drop";
    short_reads: ShortReads by "read_ranges";
    limit_ignored: LimitIgnored by "read_whole";
    ranges_sorted: RangesSorted by "read_ranges";
    folder_reads_as_empty: FolderReadsAsEmpty by "missing_objects";
    empty_object_is_lost: EmptyObjectIsLost by "sizes";
    chunk_is_lost: ChunkIsLost by "sizes";
    unordered_list: UnorderedList by "list_order";
    prefix_is_text: PrefixIsText by "list_prefix";
    last_of_page_is_lost: LastOfPageIsLost by "list_pages";
    after_is_inclusive: AfterIsInclusive by "list_pages";
    more_is_forgotten: MoreIsForgotten by "list_pages";
    delete_takes_neighbour: DeleteTakesNeighbour by "delete";
    delete_of_absent_fails: DeleteOfAbsentFails by "delete";
    name_stays_taken: NameStaysTaken by "delete";
    torn_by_cancellation: TornByCancellation by "cancelled_calls";
    sweep_takes_writers: SweepTakesWriters by "sweep_spares_writers";
    punch_hits_neighbour: PunchHitsNeighbour by "punch";
    punch_does_nothing: PunchDoesNothing by "punch";
    clone_is_empty: CloneIsEmpty by "clone_range";
    patch_truncates: PatchTruncates by "patch";
    retain_forgets: RetainForgets by "retain";
    finish_grows: FinishGrows by "whole_or_nothing";
    handle_remembers_absence: HandleRemembersAbsence by "second_handle";
    limit_is_none: LimitIsNone by "size_limit";
    dead_writer_finishes: DeadWriterFinishes by "size_limit";
    long_names_are_cut: LongNamesAreCut by "odd_keys";
    escapes_collide: EscapesCollide by "odd_keys";
    prefix_is_pattern: PrefixIsPattern by "list_prefix";
    nothing_written_nothing_stored: NothingWrittenNothingStored by "sizes";
    delete_tears_first: DeleteTearsFirst by "cancelled_others";
    clone_grows: CloneGrows by "cancelled_capabilities";
    patch_rewrites_all: PatchRewritesAll by "cancelled_capabilities";
    retain_never_extends: RetainNeverExtends by "retain";
    links_untold: LinksUntold by "linked";
    endpoint_is_nowhere: EndpointIsNowhere by "endpoint";
    punches_what_is_linked: PunchesWhatIsLinked by "linked";
    patches_what_is_linked: PatchesWhatIsLinked by "linked";
}
