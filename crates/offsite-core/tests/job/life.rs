//! Ten years of a job, with all that can go wrong, under the laws.
//!
//! `OFFSITE_SEED` replays a life; `OFFSITE_JOB_LIVES` asks for more of each kind.

use offsite_core::phase::{Note, Outcome, Settings};
use offsite_core::schedule::{Lookup, Window};

use crate::world::{Trouble, World, lives, seed};
use crate::{ZONES, schedule, time, zone};

const DAY_SECS: i64 = 86_400;

fn trouble() -> Trouble {
    Trouble {
        missed_backups: 20,
        long_backups: 15,
        future_dated: 2,
        look_failures: 30,
        sync_failures: 120,
        close_failures: 30,
        transform_failures: 40,
        restarts: 4,
        outages: 150,
        clocks_back: 0,
        copy_secs: 4 * 3600,
        transform_secs: 2 * 3600,
        commits_early: false,
    }
}

fn settings(every: &str, at: &str, zone_name: &str, window: &[&str]) -> Settings {
    let mut settings = Settings::new(schedule(every, at, zone_name));
    settings.look_every_secs = 1800;
    if !window.is_empty() {
        settings.window = Window::parse(window, zone(zone_name)).unwrap();
    }
    settings
}

fn live(settings: &Settings, machines: u32, backup_every_secs: i64, trouble: Trouble, seed: u64, years: i64) -> World {
    let start = time("2019-12-30T10:17:00Z");
    let mut world = World::new(settings.clone(), machines, backup_every_secs, trouble, seed, start);
    world.live(start.saturating_add_secs(years * 31_557_600));
    if trouble.clocks_back == 0 {
        world.assert_none_dropped();
    }
    world
}

fn complete(world: &World) -> usize {
    let all = world.results.iter().flat_map(|result| result.machines.values());
    all.filter(|outcome| matches!(outcome, Outcome::Complete { .. })).count()
}

#[test]
fn ten_years_of_a_daily_job() {
    for number in 0..lives() * u64::try_from(ZONES.len()).unwrap() {
        let zone_name = ZONES[usize::try_from(number).unwrap() % ZONES.len()];
        let seed = seed(number + 1);
        let mut settings = settings("1 day", "22:00", zone_name, &["mon-fri 20:00-06:00", "sat-sun"]);
        if number % 2 == 1 {
            settings.lookup = Lookup::Forward;
        }
        let trouble = Trouble { commits_early: number % 3 == 0, ..trouble() };
        let world = live(&settings, 3, DAY_SECS, trouble, seed, 10);
        let (runs, complete) = (world.results.len(), complete(&world));
        println!("{zone_name}: {} steps, {runs} results, {complete} copies, {} pauses", world.steps, world.pauses);
        // Looking forward, little of the night is left for what was made in the day.
        assert!(runs > 2500 && complete > runs, "{runs} results, {complete} copies");
        assert!(world.pauses > 20, "{}", world.pauses);
        let has = |test: fn(&Outcome) -> bool| world.results.iter().any(|result| result.machines.values().any(test));
        assert!(has(|outcome| matches!(outcome, Outcome::Incomplete { .. })));
        assert!(has(|outcome| matches!(outcome, Outcome::Absent(_))));
        assert!(world.results.iter().any(|result| result.span.intervals > 2), "outages make aggregates");
    }
}

/// Without trouble every day has its result, all of them complete, and none is joined with another.
#[test]
fn ten_years_without_trouble() {
    for zone_name in ZONES {
        let calm = Trouble { copy_secs: 3600, transform_secs: 600, ..Trouble::default() };
        let world = live(&settings("1 day", "22:00", zone_name, &[]), 2, DAY_SECS, calm, seed(7), 10);
        let is_whole = |result: &&offsite_core::phase::RunResult| result.is_success() && result.span.intervals == 1;
        let whole = world.results.iter().filter(is_whole).count();
        // A backup that comes earlier each day than the day before leaves a day without one now and then.
        assert!(whole > 3600 && world.results.len() >= 3650, "{zone_name}: {whole} of {}", world.results.len());
    }
}

/// An interval that is shorter than the closed hours: one aggregate after them, that tells how many it stands for.
#[test]
fn closed_hours_become_one_interval() {
    for (every, least) in [("15 minutes", 56), ("1 hour", 14), ("5 hours", 3)] {
        let calm = Trouble { copy_secs: 300, transform_secs: 60, ..Trouble::default() };
        let settings = settings(every, "00:00", "Europe/Berlin", &["20:00-06:00"]);
        let world = live(&settings, 2, 3600, calm, seed(11), 1);
        let spans: Vec<u32> = world.results.iter().map(|result| result.span.intervals).collect();
        let aggregates = spans.iter().filter(|intervals| **intervals >= least).count();
        assert!((360..=366).contains(&aggregates) || every == "5 hours" && aggregates > 300, "{every}: {aggregates}");
    }
}

#[test]
fn short_intervals_and_immediate_copies() {
    for number in 0..lives() * 4 {
        let seed = seed(100 + number);
        let hourly =
            settings("1 hour", "00:30", ZONES[usize::try_from(number).unwrap() % ZONES.len()], &["22:00-05:00", "sat"]);
        let trouble = Trouble { copy_secs: 1500, transform_secs: 5000, ..trouble() };
        let world = live(&hourly, 2, 3 * 3600, trouble, seed, 2);
        assert!(complete(&world) > 1000);
        let immediate =
            settings("immediate", "00:00", "UTC", if number % 2 == 0 { &[] } else { &["12:00-13:00", "18:00-08:00"] });
        let world = live(&immediate, 2, 3 * 3600, trouble, seed, 2);
        // Every point is copied, but for those that were gone from the source before their turn.
        assert!(complete(&world) > 3000, "{}", complete(&world));
    }
}

/// Clocks that are set back: the job waits or goes on, and never hangs.
#[test]
fn clocks_that_are_set_back() {
    for number in 0..lives() * 4 {
        let trouble = Trouble { clocks_back: 900, ..trouble() };
        let world =
            live(&settings("1 day", "22:00", "Europe/Berlin", &[]), 2, DAY_SECS, trouble, seed(200 + number), 5);
        let has_ran_back = |note: &Note| matches!(note, Note::ClockRanBack { .. });
        assert!(world.results.iter().any(|result| result.notes.iter().any(has_ran_back)));
        assert!(complete(&world) > 1500, "{}", complete(&world));
    }
}
