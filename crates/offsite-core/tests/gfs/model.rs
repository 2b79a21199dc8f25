//! The rules once more, as slow and as plain as they can be written: anchors found by walking through every day,
//! chains as vectors that are looked over from the start after every point.

use jiff::civil::Date;
use jiff::tz::{TimeZone, TimeZoneDatabase};

/// When a tier wants its point.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Day {
    Nth(i8, i8),
    LastWeekday(i8),
    Number(i8),
    Last,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Model {
    /// The regular tier: a count, or days.
    pub(crate) keep: Result<usize, i64>,
    pub(crate) counts: [usize; 4],
    pub(crate) hour: i8,
    /// 0 is Monday.
    pub(crate) weekday: i8,
    pub(crate) month_day: Day,
    pub(crate) last_month_of_quarter: bool,
    pub(crate) year_month: i8,
    pub(crate) is_active: bool,
    pub(crate) is_nearest: bool,
    pub(crate) zone: &'static str,
}

/// Time, whether it is a full, which tiers have flagged it.
pub(crate) type Point = (i64, bool, [bool; 4]);

#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) chain: Vec<Point>,
    pub(crate) archive: Vec<(i64, [bool; 4])>,
}

impl Model {
    fn zone(&self) -> TimeZone {
        TimeZoneDatabase::bundled().get(self.zone).expect("a zone")
    }

    /// The anchors of each tier between two times and some days around them.
    pub(crate) fn anchors(&self, from: i64, to: i64) -> [Vec<i64>; 4] {
        let zone = self.zone();
        let mut anchors: [Vec<i64>; 4] = Default::default();
        let mut date = Date::new(1970, 1, 1).expect("a date");
        let mut weekday = 3;
        let days = (from.div_euclid(86_400) - 3, to.div_euclid(86_400) + 3);
        for day in 0.min(days.0)..=days.1 {
            if day >= days.0 && day >= 0 {
                let time = zone.to_ambiguous_timestamp(date.at(self.hour, 0, 0, 0)).compatible().expect("in range");
                let wants = self.wants(date, weekday);
                for tier in 0..4 {
                    if wants[tier] && self.counts[tier] > 0 {
                        anchors[tier].push(time.as_second());
                    }
                }
            }
            if day >= 0 {
                date = date.tomorrow().expect("in range");
                weekday = (weekday + 1) % 7;
            }
        }
        anchors
    }

    fn wants(&self, date: Date, weekday: i8) -> [bool; 4] {
        let (day, month) = (date.day(), date.month());
        let length = match month {
            2 if date.year() % 4 == 0 && (date.year() % 100 != 0 || date.year() % 400 == 0) => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        let is_the_day = match self.month_day {
            Day::Nth(nth, wanted) => weekday == wanted && (day - 1) / 7 + 1 == nth,
            Day::LastWeekday(wanted) => weekday == wanted && day + 7 > length,
            Day::Number(number) => day == number || (day == length && number > length),
            Day::Last => day == length,
        };
        let quarter_month = if self.last_month_of_quarter { 0 } else { 1 };
        [
            weekday == self.weekday,
            is_the_day,
            is_the_day && month % 3 == quarter_month,
            is_the_day && month == self.year_month,
        ]
    }

    /// When a point comes of age, by days.
    fn of_age(&self, time: i64, days: i64) -> i64 {
        let zone = self.zone();
        let civil = zone.to_datetime(jiff::Timestamp::from_second(time).expect("in range"));
        let mut date = civil.date();
        for _ in 0..days {
            date = date.tomorrow().expect("in range");
        }
        zone.to_ambiguous_timestamp(date.to_datetime(civil.time())).compatible().expect("in range").as_second()
    }

    fn is_kept(&self, chain: &[Point], index: usize, now: i64) -> bool {
        let from_newest = chain.len() - index;
        match self.keep {
            Ok(keep) => from_newest <= keep,
            // In order: no point goes before an older one would.
            Err(days) => from_newest <= 3 || chain[..=index].iter().any(|point| now < self.of_age(point.0, days)),
        }
    }

    pub(crate) fn step(&self, state: &State, anchors: &[Vec<i64>; 4], now: i64) -> State {
        let State { mut chain, mut archive } = state.clone();
        let mut flags = [false; 4];
        if let Some(before) = chain.last_mut() {
            for tier in 0..4 {
                for anchor in anchors[tier].iter().filter(|anchor| before.0 < **anchor && **anchor <= now) {
                    let to_before = self.is_nearest && (anchor - before.0).abs() < (now - anchor).abs();
                    if to_before {
                        before.2[tier] = true;
                        before.1 |= self.is_active;
                    } else {
                        flags[tier] = true;
                    }
                }
            }
        }
        let is_full = chain.is_empty() || (self.is_active && flags != [false; 4]);
        chain.push((now, is_full, flags));
        loop {
            let second_full = (1..chain.len()).find(|index| chain[*index].1);
            let leaving = match second_full {
                Some(full) if !(0..full).any(|index| self.is_kept(&chain, index, now)) => full,
                // A full that was read whole takes no increment in.
                None if self.is_active && chain[0].2 != [false; 4] => break,
                None if !self.is_kept(&chain, 0, now) => 1,
                _ => break,
            };
            for point in chain.drain(..leaving).filter(|point| point.2 != [false; 4]) {
                archive.push((point.0, point.2));
            }
            chain[0].1 = true;
        }
        // Which hold a slot: by counting, for each archive and tier, how many newer ones hold one.
        let in_chain = |tier: usize| chain.iter().filter(|point| self.is_active && point.1 && point.2[tier]).count();
        let has_slot = |at: usize| {
            (0..4).any(|tier| {
                let newer = archive[at + 1..].iter().filter(|later| later.1[tier]).count() + in_chain(tier);
                archive[at].1[tier] && newer < self.counts[tier]
            })
        };
        let archive = (0..archive.len()).filter(|at| has_slot(*at)).map(|at| archive[at]).collect();
        State { chain, archive }
    }
}
