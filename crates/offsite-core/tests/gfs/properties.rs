//! The simulation against the model, and the verdicts against the simulation, over random histories.
#![allow(clippy::disallowed_methods, reason = "how many histories is asked by the environment")]

use offsite_core::retention::{
    Anchors, ArchiveMethod, Conditions, Days, Flags, Gfs, Marking, MonthDay, Policy, QuarterMonth, Regular, Simple,
    Simulation, Subject, Tier, Weekday, verdicts,
};
use offsite_core::{PointKind, Sequence, Timestamp};
use proptest::prelude::*;

use crate::model::{Day, Model, State};
use crate::zone;

const ZONES: [&str; 7] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "America/St_Johns",
    "Pacific/Apia",
];

/// How many histories: a long campaign sets the variable.
pub(crate) fn config() -> ProptestConfig {
    let cases = std::env::var("OFFSITE_RETENTION_HISTORIES").ok().and_then(|text| text.parse().ok()).unwrap_or(3000);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

fn days() -> impl Strategy<Value = Day> {
    prop_oneof![
        (1..=4_i8, 0..7_i8).prop_map(|(nth, weekday)| Day::Nth(nth, weekday)),
        (0..7_i8).prop_map(Day::LastWeekday),
        (1..=31_i8).prop_map(Day::Number),
        Just(Day::Last),
    ]
}

pub(crate) fn models() -> impl Strategy<Value = Model> {
    let keep = prop_oneof![(2..9_usize).prop_map(Ok), (1..12_i64).prop_map(Err)];
    let counts = prop::array::uniform4(0..4_usize).prop_filter("a tier", |counts| *counts != [0; 4]);
    let anchors = (0..24_i8, 0..7_i8, days(), any::<bool>(), 1..=12_i8);
    (keep, counts, anchors, any::<bool>(), any::<bool>(), prop::sample::select(&ZONES[..])).prop_map(
        |(keep, counts, (hour, weekday, month_day, last_month_of_quarter, year_month), is_active, is_nearest, zone)| {
            Model {
                keep,
                counts,
                hour,
                weekday,
                month_day,
                last_month_of_quarter,
                year_month,
                is_active,
                is_nearest,
                zone,
            }
        },
    )
}

/// Points hours, days, weeks or months apart, somewhere between 2005 and 2031.
pub(crate) fn histories() -> impl Strategy<Value = Vec<i64>> {
    let gaps = prop_oneof![
        4 => 1..90_000_i64,
        4 => Just(86_400_i64),
        2 => Just(604_800_i64),
        1 => 1..40_000_000_i64,
    ];
    let start = 1_100_000_000..1_900_000_000_i64;
    (start, prop::collection::vec(gaps, 0..45), prop_oneof![Just(1), Just(3600)]).prop_map(|(start, gaps, align)| {
        let mut time = start - start % align;
        let later = gaps.into_iter().map(|gap| {
            time += gap;
            time
        });
        std::iter::once(start - start % align).chain(later).collect()
    })
}

fn small(number: i8) -> u32 {
    u32::from(number.unsigned_abs())
}

fn weekday(number: i8) -> Weekday {
    Weekday::ALL[usize::from(number.unsigned_abs())]
}

pub(crate) fn policy(model: &Model) -> Policy {
    let month_day = match model.month_day {
        Day::Nth(nth, day) => MonthDay::nth(small(nth), weekday(day)).expect("it is valid"),
        Day::LastWeekday(day) => MonthDay::last(weekday(day)),
        Day::Number(number) => MonthDay::day(small(number)).expect("it is valid"),
        Day::Last => MonthDay::last_day(),
    };
    let month = if model.last_month_of_quarter { QuarterMonth::Last } else { QuarterMonth::First };
    let anchors = Anchors::default()
        .at_hour(small(model.hour))
        .expect("it is valid")
        .on_weekday(weekday(model.weekday))
        .on_month_day(month_day)
        .in_quarter(month, month_day)
        .in_year(small(model.year_month), month_day)
        .expect("it is valid");
    let [weekly, monthly, quarterly, yearly] = model.counts.map(|count| u32::try_from(count).expect("it is valid"));
    let gfs = Gfs::new(weekly, monthly, quarterly, yearly)
        .expect("it is valid")
        .with_anchors(anchors)
        .with_method(if model.is_active { ArchiveMethod::Active } else { ArchiveMethod::Shared })
        .with_marking(if model.is_nearest { Marking::Nearest } else { Marking::InInterval });
    let regular = match model.keep {
        Ok(keep) => Regular::Simple(Simple::new(u32::try_from(keep).expect("it is valid")).expect("it is valid")),
        Err(days) => Regular::Days(Days::new(u32::try_from(days).expect("it is valid")).expect("it is valid")),
    };
    Policy::new(regular).with_gfs(gfs).with_zone(zone(model.zone))
}

fn tiers(flags: Flags) -> [bool; 4] {
    Tier::ALL.map(|tier| flags.contains(tier))
}

fn seen(simulation: &Simulation) -> State {
    State {
        chain: simulation
            .points()
            .map(|member| (member.time.unix_secs(), member.kind == PointKind::Full, tiers(member.flags)))
            .collect(),
        archive: simulation.archives().map(|archived| (archived.time.unix_secs(), tiers(archived.flags))).collect(),
    }
}

/// The points of a simulation as retention is asked about them.
fn subjects(simulation: &Simulation) -> Vec<Subject> {
    let subject = |time: Timestamp, kind, flags, is_archived| {
        let sequence = Sequence(u64::try_from(time.unix_secs()).expect("it is valid"));
        Subject::new(sequence, time, kind).with_flags(flags).with_archived(is_archived)
    };
    let archive = simulation.archives().map(|archived| subject(archived.time, PointKind::Full, archived.flags, true));
    let chain = simulation.points().map(|member| subject(member.time, member.kind, member.flags, false));
    archive.chain(chain).collect()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_life_is_as_the_model_says(model in models(), history in histories()) {
        let anchors = model.anchors(history[0], *history.last().unwrap());
        let mut simulation = Simulation::new(policy(&model)).unwrap();
        let mut expected = State::default();
        for time in history {
            simulation.add(Timestamp::from_unix_secs(time).unwrap()).unwrap();
            expected = model.step(&expected, &anchors, time);
            prop_assert_eq!(&seen(&simulation), &expected);
        }
    }

    /// After a run nothing is left to expire; and before the next run's transform the verdicts expire what that run
    /// lets go of, and nothing else.
    #[test]
    fn verdicts_foretell_the_next_run(model in models(), history in histories()) {
        let policy = policy(&model);
        let mut simulation = Simulation::new(policy.clone()).unwrap();
        let mut before: Vec<Subject> = Vec::new();
        for secs in history {
            let now = Timestamp::from_unix_secs(secs).unwrap();
            simulation.add(now).unwrap();
            let after = subjects(&simulation);
            let settled = verdicts(&after, &policy, now, &Conditions::default());
            prop_assert!(settled.iter().all(|verdict| verdict.keeps()), "{:?}", settled);

            // The state before the transform: what was there, with the marks of the new point, and that point.
            let mut points = std::mem::take(&mut before);
            if let Some(gfs) = policy.gfs && let Some(last) = points.last_mut() {
                let marks = offsite_core::retention::mark(&gfs, &policy.zone, last.time, now);
                last.flags = last.flags.union(marks.predecessor);
                if model.is_active && !marks.predecessor.is_empty() {
                    last.kind = PointKind::Full;
                }
            }
            points.extend(after.last().cloned());
            let foretold = verdicts(&points, &policy, now, &Conditions::default());
            let kept: Vec<_> = foretold.iter().filter(|verdict| verdict.keeps()).map(|verdict| verdict.sequence).collect();
            let left: Vec<_> = after.iter().map(|point| point.sequence).collect();
            prop_assert_eq!(kept, left);
            before = after;
        }
    }
}
