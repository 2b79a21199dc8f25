//! What is written with the feature `serde` is read again as it was.
#![cfg(feature = "serde")]

use std::collections::BTreeMap;
use std::fmt::Debug;

use offsite_core::phase::{Absence, LastRun, Note, Outcome, Phase, RunResult, TransformResult};
use offsite_core::plan::Cost;
use offsite_core::retention::{Departure, Flags, Reason, Tier, Until, Verdict, Zone};
use offsite_core::schedule::{ClockReading, Interval, Period, Span, TimeOfDay};
use offsite_core::selection::Decision;
use offsite_core::{
    BlockSize, Digest, DiskIdentity, DiskName, DiskNumber, FolderId, ImageFormat, IndexReference, Labels, MachineName,
    MachineState, ObjectId, Origin, PointKind, RestorePoint, Sequence, Status, Stored, Timestamp, Transferred,
};
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

#[track_caller]
fn round<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) -> Value {
    let text = serde_json::to_string(value).expect("it can be written");
    assert_eq!(serde_json::from_str::<T>(&text).expect("it can be read"), *value, "{text}");
    serde_json::from_str(&text).expect("it is JSON")
}

#[track_caller]
fn written<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: T, expected: Value) {
    assert_eq!(round(&value), expected);
}

#[track_caller]
fn refused<T: DeserializeOwned + Debug>(value: Value) {
    if let Ok(read) = serde_json::from_value::<T>(value.clone()) {
        panic!("{value} is read as {read:?}");
    }
}

fn time(secs: i64) -> Timestamp {
    Timestamp::from_unix_secs(secs).expect("a time in range")
}

fn machine(name: &str) -> MachineName {
    MachineName::new(name).expect("a name")
}

#[test]
fn values_with_a_form_of_their_own_have_it() {
    written(time(0), json!("1970-01-01T00:00:00Z"));
    written(Timestamp::MIN, json!(Timestamp::MIN.to_string()));
    written(Timestamp::MAX, json!(Timestamp::MAX.to_string()));
    written(Sequence(7), json!(7));
    written(DiskNumber(3), json!(3));
    written(machine("web01"), json!("web01"));
    written(DiskName::new("vda").unwrap(), json!("vda"));
    written(DiskIdentity::new(DiskName::nearest("vda"), ImageFormat::Qcow2), json!({"name": "vda", "format": "qcow2"}));
    written(ObjectId::new(3, 0xabc), json!("00000003-00000abc"));
    written(Digest([0xa1; 32]), json!("a1".repeat(32)));
    written(BlockSize::MiB1, json!(1 << 20));
    written(Flags::NONE.with(Tier::Yearly).with(Tier::Weekly), json!(["weekly", "yearly"]));
    let labels = Labels::new(["gold".to_owned()], ["berlin/esx-03".to_owned()]).unwrap();
    written(labels, json!({"tags": ["gold"], "containers": ["berlin/esx-03"]}));
    let interval = |every: &str, zone| {
        Interval::new(Period::parse(every).unwrap(), TimeOfDay::parse("22:00").unwrap(), Zone::named(zone).unwrap())
    };
    let expected = json!({"period": "15 minutes", "start": "22:00", "zone": "Europe/Berlin"});
    written(interval("15 minutes", "europe/berlin"), expected);
    round(&interval("1 day", "UTC"));
    round(&Interval::new(Period::days(7).unwrap(), TimeOfDay::default(), Zone::utc()));
}

#[test]
fn what_is_no_value_is_refused() {
    refused::<Timestamp>(json!("tomorrow"));
    refused::<Timestamp>(json!(0));
    refused::<MachineName>(json!("a/b"));
    refused::<DiskName>(json!(""));
    refused::<ObjectId>(json!("3-4"));
    refused::<Digest>(json!("A1".repeat(32)));
    refused::<Digest>(json!("a1".repeat(31)));
    refused::<BlockSize>(json!(2 << 20));
    refused::<Flags>(json!(["daily"]));
    refused::<Labels>(json!({"tags": [""], "containers": []}));
    refused::<Labels>(json!({"tags": (0..257).map(|number| number.to_string()).collect::<Vec<_>>(), "containers": []}));
    refused::<Period>(json!("immediate"));
    refused::<TimeOfDay>(json!("24:00"));
    refused::<Zone>(json!("Europe/Atlantis"));
    refused::<Outcome>(json!("complete"));
    refused::<Outcome>(json!({"complete": {}}));
}

/// A variant without fields is its name, and one with fields is a map with its name as the only key.
#[test]
fn variants_are_tagged_in_one_way() {
    written(Absence::NoWholePoint, json!("no_whole_point"));
    written(Phase::PostJob, json!("post_job"));
    written(PointKind::Rollback, json!("rollback"));
    written(Status::Carried, json!("carried"));
    written(Outcome::Absent(Absence::Locked), json!({"absent": "locked"}));
    written(Outcome::Unchanged { captured: time(0) }, json!({"unchanged": {"captured": "1970-01-01T00:00:00Z"}}));
    written(
        Outcome::Incomplete { done_bytes: 1, left_bytes: 2 },
        json!({"incomplete": {"done_bytes": 1, "left_bytes": 2}}),
    );
    written(TransformResult::Done, json!("done"));
    written(TransformResult::Failed { why: "no".to_owned() }, json!({"failed": {"why": "no"}}));
    written(Note::GaveUp { at: time(0) }, json!({"gave_up": {"at": "1970-01-01T00:00:00Z"}}));
    written(Decision::Missing, json!("missing"));
    written(Decision::Take { candidate: 3 }, json!({"take": {"candidate": 3}}));
    written(Until::Newer(2), json!({"newer": 2}));
    written(Until::NewerOf(Tier::Weekly, 2), json!({"newer_of": ["weekly", 2]}));
    written(Reason::OnHold, json!("on_hold"));
    let clock = ClockReading::Ahead { now: time(9), known: time(1), mark: time(5) };
    let value = round(&Reason::ClockInDoubt { clock });
    assert_eq!(value["clock_in_doubt"]["clock"]["ahead"]["mark"], json!("1970-01-01T00:00:05Z"));
}

#[test]
fn reasons_costs_and_departures_come_back() {
    let reasons = vec![
        Reason::Newest { position: 1, keep: 7, goes_after: 7 },
        Reason::FutureDated { now: time(1) },
        Reason::Recent { days: 3, until: time(2) },
        Reason::Slot { tier: Tier::Monthly, slot: 1, count: 2, goes_after: 2 },
        Reason::Flagged { tier: Tier::Quarterly },
        Reason::Dated { tier: Tier::Weekly, until: time(3) },
        Reason::ChainOf { kept: Sequence(4), until: Until::LeavesChain },
        Reason::LastOfMachine { machine: machine("web01") },
        Reason::Immutable { until: time(4) },
        Reason::Pinned,
        Reason::PolicyChanged,
    ];
    round(&Verdict::new(Sequence(1), reasons));
    let mut cost = Cost::default();
    (cost.blocks, cost.peak_extra_bytes) = (3, u64::MAX);
    round(&cost);
    let mut departure = Departure::never(Sequence(3));
    departure.goes = Some(time(7));
    assert_eq!(round(&departure)["goes"], json!("1970-01-01T00:00:07Z"));
}

fn times() -> impl Strategy<Value = Timestamp> {
    (Timestamp::MIN.unix_secs()..=Timestamp::MAX.unix_secs()).prop_map(time)
}

fn names() -> impl Strategy<Value = MachineName> {
    "\\PC{1,12}".prop_filter_map("no name", |text| MachineName::new(&text).ok())
}

fn outcomes() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        times().prop_map(|captured| Outcome::Complete { captured }),
        times().prop_map(|captured| Outcome::Unchanged { captured }),
        any::<(u64, u64)>().prop_map(|(done_bytes, left_bytes)| Outcome::Incomplete { done_bytes, left_bytes }),
        Just(Outcome::Absent(Absence::NotCommitted)),
    ]
}

fn states() -> impl Strategy<Value = MachineState> {
    let status = prop::sample::select(&[Status::Complete, Status::Incomplete, Status::Carried][..]);
    let origin = prop::option::of(any::<([u8; 16], u64)>());
    (names(), status, times(), origin, any::<(u64, u64)>()).prop_map(
        |(name, status, captured, origin, (done, left))| {
            let origin = origin.map(|(folder, sequence)| Origin::new(FolderId::new(folder), Sequence(sequence)));
            MachineState::new(name, status, captured).with_origin(origin).with_transferred(Transferred::new(done, left))
        },
    )
}

fn indexes() -> impl Strategy<Value = IndexReference> {
    any::<(u64, u64, u64)>().prop_map(|(id, length, of)| {
        IndexReference::new(ObjectId::from_stored(id), length, Digest::of(&of.to_le_bytes()))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn times_names_and_digests_come_back(time in times(), name in names(), digest in any::<[u8; 32]>()) {
        round(&time);
        round(&name);
        round(&Digest(digest));
    }

    #[test]
    fn restore_points_come_back(
        (sequence, time, flags) in (any::<u64>(), times(), 0..16_u8),
        kind in prop::sample::select(&[PointKind::Full, PointKind::Increment, PointKind::Rollback][..]),
        machines in prop::collection::vec(states(), 0..4),
        below in prop::collection::vec(indexes(), 0..3),
        index in indexes(),
        (blocks, bytes) in any::<(u64, u64)>(),
    ) {
        let point = RestorePoint::new(Sequence(sequence), time, kind, machines, index)
            .with_below(below)
            .with_stored(Stored::new(blocks, bytes))
            .with_flags(Flags::from_stored(flags).expect("four bits"));
        round(&point);
    }

    #[test]
    fn results_come_back(
        (start, end, intervals) in (times(), times(), any::<u32>()),
        machines in prop::collection::btree_map(names(), outcomes(), 0..4),
        failure in prop::option::of("\\PC{0,9}"),
        is_finished in any::<bool>(),
    ) {
        let span = Span::new(start, end).with_intervals(intervals);
        let machines: BTreeMap<MachineName, Outcome> = machines;
        let mut result = RunResult::new(span, machines.clone());
        if let Some(why) = failure {
            result.notes = vec![Note::Failed { at: start, why: why.clone() }, Note::ClockRanBack { from: end, to: start }];
            result.transform = TransformResult::Failed { why };
        }
        round(&result);
        round(&LastRun::new(span, machines).with_finished(is_finished));
    }
}
