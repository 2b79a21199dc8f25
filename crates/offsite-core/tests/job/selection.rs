//! What a job takes.

use std::collections::BTreeMap;

use offsite_core::FolderId;
use offsite_core::RepositoryId;
use offsite_core::schedule::PointRange;
use offsite_core::selection::{
    Age, Candidate, Choice, CopiedState, Decision, MachineFilter, Pattern, Request, Scope, SelectionRules, Take, decide,
};
use offsite_core::{Labels, MachineName, Origin, Sequence, Status, Timestamp};
use proptest::prelude::*;

use crate::{machine, time};

const PRIMARY: RepositoryId = RepositoryId::new([1; 16]);
const SECOND: RepositoryId = RepositoryId::new([2; 16]);
const TARGET: RepositoryId = RepositoryId::new([9; 16]);

fn hour(number: i64) -> Timestamp {
    time("2026-11-22T00:00:00Z").saturating_add_secs(number * 3600)
}

fn candidate(job: &str, name: &str, at: i64) -> Candidate {
    let folder = FolderId::new([job.len().try_into().unwrap(); 16]);
    Candidate::new(PRIMARY, Origin::new(folder, Sequence(at.unsigned_abs())), job, machine(name), hour(at))
}

/// The same in another repository.
fn moved(repository: RepositoryId, mut candidate: Candidate) -> Candidate {
    candidate.repository = repository;
    candidate
}

type Copied = BTreeMap<MachineName, CopiedState>;

fn all() -> SelectionRules {
    SelectionRules::new(vec![Scope::infrastructure(PRIMARY)])
}

fn patterns(texts: &[&str]) -> Vec<Pattern> {
    texts.iter().map(|text| Pattern::new(text)).collect()
}

fn chosen(
    selection: &SelectionRules,
    candidates: &[Candidate],
    copied: &Copied,
    take: Take,
) -> Vec<(String, Decision)> {
    let range = PointRange { not_before: hour(0), not_after: hour(24) };
    let choices = decide(selection, candidates, &Request::new(TARGET, copied, range).with_take(take));
    choices.into_iter().map(|Choice { machine, decision, .. }| (machine.to_string(), decision)).collect()
}

fn decisions(selection: &SelectionRules, candidates: &[Candidate]) -> Vec<(String, Decision)> {
    chosen(selection, candidates, &Copied::new(), Take::Newest)
}

fn only(candidates: &[Candidate], copied: Option<i64>, take: Take) -> Decision {
    let copied = copied.map(|at| (machine("a"), CopiedState::new(hour(at), None))).into_iter().collect();
    let mut all = chosen(&all(), candidates, &copied, take);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0).1
}

#[test]
fn the_newest_of_any_job() {
    let points = [candidate("nightly", "a", 3), candidate("weekly", "a", 5), candidate("nightly", "a", 4)];
    assert_eq!(only(&points, None, Take::Newest), Decision::Take { candidate: 1 });
    assert_eq!(only(&points, Some(5), Take::Newest), Decision::AlreadyCopied { captured: hour(5) });
    assert_eq!(only(&points, Some(6), Take::Newest), Decision::AlreadyCopied { captured: hour(6) });
    // Each in turn, where every point is copied; the first time the newest.
    assert_eq!(only(&points, Some(3), Take::Next), Decision::Take { candidate: 2 });
    assert_eq!(only(&points, Some(4), Take::Next), Decision::Take { candidate: 1 });
    assert_eq!(only(&points, None, Take::Next), Decision::Take { candidate: 1 });
}

#[test]
fn what_is_never_copied() {
    let own = moved(TARGET, candidate("nightly", "a", 9));
    let incomplete = candidate("nightly", "a", 8).with_status(Status::Incomplete);
    let future = candidate("nightly", "a", 25);
    let good = candidate("nightly", "a", 2);
    let sources = vec![Scope::infrastructure(PRIMARY), Scope::infrastructure(TARGET)];
    let both = SelectionRules::new(sources);
    let points = [own.clone(), incomplete.clone(), future.clone(), good];
    assert_eq!(decisions(&both, &points), [("a".to_owned(), Decision::Take { candidate: 3 })]);
    assert_eq!(decisions(&both, &[own]), [("a".to_owned(), Decision::InTarget)]);
    assert_eq!(only(&[incomplete], None, Take::Newest), Decision::Incomplete);
    assert_eq!(only(&[future], None, Take::Newest), Decision::FutureDated { captured: hour(25) });
    assert_eq!(only(&[candidate("n", "a", -1)], None, Take::Newest), Decision::TooOld { captured: hour(-1) });
}

#[test]
fn a_locked_point_is_waited_for() {
    let running = candidate("nightly", "a", 5).with_lock(true).with_status(Status::Incomplete);
    let older = candidate("nightly", "a", 4);
    let points = [older.clone(), running.clone()];
    assert_eq!(only(&points, None, Take::Newest), Decision::Locked { captured: hour(5) });
    let done = running.clone().with_lock(false).with_status(Status::Complete);
    assert_eq!(only(&[older.clone(), done], None, Take::Newest), Decision::Take { candidate: 1 });
    // Another job's point that is newer need not wait for it.
    let newer = candidate("weekly", "a", 6);
    assert_eq!(only(&[older.clone(), running.clone(), newer], None, Take::Newest), Decision::Take { candidate: 2 });
    // Each in turn: the older one first.
    assert_eq!(only(&points, Some(3), Take::Next), Decision::Take { candidate: 0 });
    assert_eq!(only(&points, Some(4), Take::Next), Decision::Locked { captured: hour(5) });
}

/// Numbers say what is new in the folder that was copied from, and times elsewhere.
#[test]
fn a_date_ahead_ends_no_copying() {
    let folder = candidate("nightly", "a", 1).folder;
    let numbered = |sequence, at| {
        let mut candidate = candidate("nightly", "a", at);
        candidate.sequence = Sequence(sequence);
        candidate.age = Age::of(candidate.sequence);
        candidate
    };
    let had = |sequence, at| {
        let origin = Some(Origin::new(folder, Sequence(sequence)));
        Copied::from([(machine("a"), CopiedState::new(hour(at), origin))])
    };
    let decide = |points: &[Candidate], copied: &Copied, take| chosen(&all(), points, copied, take).remove(0).1;
    // The third was made by a clock that was ahead, and copied.
    let points = [numbered(2, 2), numbered(3, 20), numbered(4, 4), numbered(5, 5)];
    for take in [Take::Newest, Take::Next] {
        let candidate = if take == Take::Newest { 3 } else { 2 };
        assert_eq!(decide(&points, &had(3, 20), take), Decision::Take { candidate });
        assert_eq!(decide(&points, &had(5, 5), take), Decision::AlreadyCopied { captured: hour(5) });
    }
    // Two points of one second are two.
    let twice = [numbered(2, 2), numbered(3, 2)];
    assert_eq!(decide(&twice, &had(2, 2), Take::Newest), Decision::Take { candidate: 1 });
    // A source that lost its newest points gives nothing; one that was put back and went on gives numbers again.
    assert_eq!(decide(&points[..1], &had(3, 20), Take::Newest), Decision::AlreadyCopied { captured: hour(20) });
    assert_eq!(decide(&[numbered(3, 21)], &had(3, 20), Take::Newest), Decision::Take { candidate: 0 });
    assert_eq!(decide(&[numbered(3, 19)], &had(3, 20), Take::Newest), Decision::AlreadyCopied { captured: hour(20) });
    // A state that is carried has another's number.
    let carried = numbered(9, 4).with_status(Status::Carried);
    assert_eq!(
        decide(std::slice::from_ref(&carried), &had(5, 5), Take::Newest),
        Decision::AlreadyCopied { captured: hour(5) }
    );
    assert_eq!(decide(&[carried], &had(3, 3), Take::Newest), Decision::Take { candidate: 0 });
    // In another folder only the time can tell.
    let elsewhere = [candidate("weekly", "a", 4), candidate("weekly", "a", 6)];
    assert_eq!(decide(&elsewhere[..1], &had(5, 5), Take::Newest), Decision::AlreadyCopied { captured: hour(5) });
    assert_eq!(decide(&elsewhere, &had(5, 5), Take::Newest), Decision::Take { candidate: 1 });
    // If the folder is no source any more, no time hides what the sources have.
    let gone = |at| Copied::from([(machine("a"), had(5, at)[&machine("a")].with_origin_gone(true))]);
    assert_eq!(decide(&elsewhere, &gone(20), Take::Newest), Decision::Take { candidate: 1 });
    assert_eq!(decide(&elsewhere, &gone(20), Take::Next), Decision::Take { candidate: 0 });
    // Without a known origin, there is only the time.
    let unknown = CopiedState::new(hour(20), None).with_origin_gone(true);
    let unknown = Copied::from([(machine("a"), unknown)]);
    assert_eq!(decide(&elsewhere, &unknown, Take::Newest), Decision::AlreadyCopied { captured: hour(20) });
}

/// What waits for its date is told, also where something else is taken.
/// The very point that was copied is not newer than itself, by whatever clock.
#[test]
fn what_was_copied_is_not_newer_than_itself() {
    let point = candidate("nightly", "web01", 3);
    let origin = Some(Origin::new(point.folder, point.sequence));
    for captured in [hour(3), hour(2), hour(4)] {
        let had = CopiedState::new(captured, origin);
        assert_eq!(had.is_before(&point, std::slice::from_ref(&point)), captured < hour(3), "{captured}");
    }
    let incomplete = point.clone().with_status(Status::Incomplete);
    assert!(!CopiedState::new(hour(2), origin).is_before(&incomplete, std::slice::from_ref(&incomplete)));
}

#[test]
fn what_is_dated_ahead_is_told() {
    let range = PointRange { not_before: hour(0), not_after: hour(24) };
    let points = [candidate("nightly", "a", 3), candidate("nightly", "a", 30), candidate("nightly", "a", 27)];
    let of = |copied: &Copied| {
        let request = Request::new(TARGET, copied, range);
        let Choice { decision, future_dated, .. } = decide(&all(), &points, &request).remove(0);
        (decision, future_dated)
    };
    let had = |at| Copied::from([(machine("a"), CopiedState::new(hour(at), None))]);
    assert_eq!(of(&Copied::new()), (Decision::Take { candidate: 0 }, Some(hour(27))));
    assert_eq!(of(&had(3)), (Decision::AlreadyCopied { captured: hour(3) }, Some(hour(27))));
    assert_eq!(of(&had(30)), (Decision::AlreadyCopied { captured: hour(30) }, None));
}

#[test]
fn objects_and_exclusions() {
    let tagged = candidate("nightly", "db01", 1).with_labels(Labels::new(["gold".to_owned()], []).unwrap());
    let placed = candidate("nightly", "mail", 1).with_labels(Labels::new([], ["berlin/esx-03".to_owned()]).unwrap());
    let points = [candidate("nightly", "web01", 1), candidate("nightly", "web-test", 1), tagged, placed];
    let names = |include: MachineFilter, exclude: MachineFilter| -> Vec<String> {
        let selection = all().with_include(include).with_exclude(exclude);
        decisions(&selection, &points).into_iter().map(|(name, _)| name).collect()
    };
    let machines = |texts: &[&str]| MachineFilter::default().with_machines(patterns(texts));
    let tags = |texts: &[&str]| MachineFilter::default().with_tags(patterns(texts));
    let containers = |texts: &[&str]| MachineFilter::default().with_containers(patterns(texts));
    let none = MachineFilter::default;
    assert_eq!(names(none(), none()), ["db01", "mail", "web-test", "web01"]);
    assert_eq!(names(machines(&["web??"]), none()), ["web01"]);
    assert_eq!(names(machines(&["web*"]), machines(&["*-test"])), ["web01"]);
    assert_eq!(names(tags(&["g*"]), none()), ["db01"]);
    assert_eq!(names(none(), tags(&["gold"])), ["mail", "web-test", "web01"]);
    assert_eq!(names(containers(&["berlin"]), none()), ["mail"]);
    assert_eq!(names(containers(&["*/esx-03"]), none()), ["mail"]);
    assert_eq!(names(containers(&["esx-03", "berlin/esx-0"]), none()), [] as [&str; 0]);
    let several = machines(&["web01"]).with_tags(patterns(&["gold"]));
    assert_eq!(names(several, none()), ["db01", "web01"]);
    // Named and not there is missed, a pattern is not; what is excluded is not missed.
    let selection = all().with_include(machines(&["web01", "erp", "x*"]));
    assert_eq!(decisions(&selection, &points)[0], ("erp".to_owned(), Decision::Missing));
    let selection = all().with_include(machines(&["erp"])).with_exclude(machines(&["e*"]));
    assert_eq!(decisions(&selection, &points), []);
}

#[test]
fn scopes() {
    let second = moved(SECOND, candidate("nightly", "c", 7));
    let points = [candidate("nightly", "a", 1), candidate("weekly", "b", 2), candidate("weekly", "c", 3), second];
    let taken = |sources: Vec<Scope>| -> Vec<(String, Decision)> { decisions(&SelectionRules::new(sources), &points) };
    let take = |name: &str, candidate| (name.to_owned(), Decision::Take { candidate });
    assert_eq!(taken(vec![Scope::infrastructure(PRIMARY)]), [take("a", 0), take("b", 1), take("c", 2)]);
    assert_eq!(taken(vec![Scope::job(PRIMARY, "weekly")]), [take("b", 1), take("c", 2)]);
    assert_eq!(taken(vec![Scope::backup(PRIMARY, "weekly", patterns(&["b"]))]), [take("b", 1)]);
    let several = vec![Scope::job(PRIMARY, "nightly"), Scope::infrastructure(SECOND)];
    assert_eq!(taken(several), [take("a", 0), take("c", 3)]);
    let missed = taken(vec![Scope::backup(PRIMARY, "nightly", patterns(&["b", "a"]))]);
    assert_eq!(missed, [take("a", 0), ("b".to_owned(), Decision::Missing)]);
}

/// Tries everything.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, _) => name.is_empty(),
        (Some((b'*', rest)), _) => (0..=name.len()).any(|skip| matches(rest, &name[skip..])),
        (Some((b'?', rest)), Some((_, name))) => matches(rest, name),
        (Some((letter, rest)), Some((first, name))) => letter == first && matches(rest, name),
        (Some(_), None) => false,
    }
}

fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
    let one = (0..3_u8, 0..3_usize, 0..3_usize, -4..30_i64, 0..6_u8, any::<bool>()).prop_map(
        |(repository, job, name, at, status, locks)| {
            let one = candidate(["n", "we", "mon"][job], ["a", "b", "c"][name], at);
            moved([PRIMARY, SECOND, TARGET][usize::from(repository)], one)
                .with_status(
                    [Status::Complete, Status::Incomplete, Status::Carried][usize::from(status.saturating_sub(3))],
                )
                .with_lock(locks && status == 0)
        },
    );
    prop::collection::vec(one, 0..16)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn patterns_match_as_by_trying(pattern in "[ab*?]{0,7}", name in "[ab]{0,8}") {
        prop_assert_eq!(Pattern::new(&pattern).matches(&name), matches(pattern.as_bytes(), name.as_bytes()));
    }

    #[test]
    fn what_is_taken_counts_and_is_the_newest(
        candidates in candidates(),
        copied in prop::collection::btree_map(
            prop::sample::select(&["a", "b", "c"][..]), (-4..30_i64, prop::option::of((1..4_u8, 0..30_u64))), 0..3),
        takes_next in any::<bool>(),
    ) {
        let had = |(at, origin): (i64, Option<(u8, u64)>)| CopiedState::new(hour(at), origin.map(|(folder, sequence)| Origin::new(FolderId::new([folder; 16]), Sequence(sequence))));
        let copied: Copied = copied.into_iter().map(|(name, what)| (machine(name), had(what))).collect();
        let range = PointRange { not_before: hour(0), not_after: hour(24) };
        let take = if takes_next { Take::Next } else { Take::Newest };
        let sources = vec![Scope::infrastructure(PRIMARY), Scope::job(SECOND, "we"), Scope::infrastructure(TARGET)];
        let selection = SelectionRules::new(sources);
        let request = Request::new(TARGET, &copied, range).with_take(take);
        let choices = decide(&selection, &candidates, &request);
        prop_assert!(choices.is_sorted_by(|left, right| left.machine < right.machine));
        let there: std::collections::BTreeSet<_> = candidates.iter()
            .filter(|one| one.repository != SECOND || &*one.job == "we").map(|one| &one.machine).collect();
        prop_assert_eq!(choices.iter().map(|choice| &choice.machine).collect::<std::collections::BTreeSet<_>>(), there);
        for Choice { machine, decision, future_dated, .. } in &choices {
            let is_new = |one: &Candidate| match copied.get(machine) {
                None => true,
                Some(had) => match had.origin.filter(|origin| origin.folder == one.folder && one.status != Status::Carried) {
                    // A folder that was put back to an earlier day has the number no more, or has given it again.
                    Some(origin) if candidates.iter().any(|other| other.folder == one.folder && other.sequence >= origin.sequence)
                        && candidates.iter().all(|other| {
                        let is_it = (other.folder, &other.machine, other.sequence) == (origin.folder, machine, origin.sequence);
                        !is_it || other.status != Status::Complete || other.captured == had.captured
                    }) => one.sequence > origin.sequence,
                    _ => one.captured > had.captured,
                },
            };
            let may = |one: &&Candidate| one.machine == *machine && selection.has(one) && one.repository != TARGET
                && (one.is_locked || one.status != Status::Incomplete) && is_new(one);
            let counts = |one: &&Candidate| may(one) && range.contains(one.captured);
            let goes_first = takes_next && copied.contains_key(machine);
            // Not passed over by any of its folder, nor by time by the one that is so of another.
            let beats = |one: &Candidate, other: &Candidate| {
                (one.sequence < other.sequence) == goes_first && one.sequence != other.sequence
            };
            let is_best_of_folder = |one: &&Candidate| !candidates.iter().filter(counts)
                .any(|other| (other.repository, other.folder) == (one.repository, one.folder) && beats(other, one));
            let times: Vec<_> = candidates.iter().filter(counts).filter(is_best_of_folder).map(|one| one.captured).collect();
            match *decision {
                Decision::Take { candidate } => {
                    let one = &candidates[candidate];
                    prop_assert!(counts(&one) && !one.is_locked && is_best_of_folder(&one));
                    let best = if goes_first { times.iter().min() } else { times.iter().max() };
                    prop_assert!(times.contains(&one.captured) && (Some(&one.captured) == best || has_ties(&candidates, machine)));
                }
                Decision::Locked { captured } => prop_assert!(times.contains(&captured)),
                _ => prop_assert!(times.is_empty()),
            }
            let ahead = candidates.iter().filter(may).filter(|one| one.captured > range.not_after).map(|one| one.captured).min();
            prop_assert!(future_dated.is_none() || *future_dated == ahead);
            let is_all_ahead = matches!(decision, Decision::FutureDated { .. });
            prop_assert!(future_dated.is_some() || ahead.is_none() || is_all_ahead);
        }
    }
}

/// Whether two points of a folder have one number, which no folder has: then either may be taken.
fn has_ties(candidates: &[Candidate], machine: &offsite_core::MachineName) -> bool {
    let places = candidates.iter().filter(|one| one.machine == *machine);
    let places: Vec<_> = places.map(|one| (one.repository, one.folder, one.sequence)).collect();
    places.iter().collect::<std::collections::BTreeSet<_>>().len() < places.len()
}
