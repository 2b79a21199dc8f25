//! What has happened in lives, counted: which operation after which, and what came between which.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::operation::{Kind, Weather};

/// Two matrices: (operation, next operation) and (operation, what came between).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Lives that were lived to their end.
    pub lives: u64,
    /// Steps that were carried out.
    pub steps: u64,
    /// Steps that there was nothing for.
    pub skipped: u64,
    pairs: BTreeMap<(Kind, Kind), u64>,
    weathers: BTreeMap<(Kind, Weather), u64>,
    deeds: BTreeMap<&'static str, u64>,
}

/// Why a pair cannot occur; none, if it can.
#[must_use]
pub fn impossible(before: Kind, after: Kind) -> Option<&'static str> {
    match (before, after) {
        (Kind::Restart, Kind::LetGo) => Some("readers die with their host"),
        _ => None,
    }
}

/// Why nothing of this kind can come between an operation; none, if it can.
#[must_use]
pub fn impossible_weather(kind: Kind, weather: Weather) -> Option<&'static str> {
    match (kind, weather) {
        _ if !kind.calls() => Some("it asks nothing of a place"),
        (_, Weather::Gate) if !kind.transfers() => Some("only a sync passes a gate"),
        (Kind::Verify | Kind::Restore, Weather::Full) => {
            Some("it reads without a pin, and notes nothing, where there is no room")
        }
        _ => None,
    }
}

impl Coverage {
    /// Takes note of a step that was carried out after another.
    pub fn note(&mut self, before: Option<Kind>, kind: Kind, weather: Option<Weather>) {
        self.steps += 1;
        if let Some(before) = before {
            *self.pairs.entry((before, kind)).or_default() += 1;
        }
        if let Some(weather) = weather {
            *self.weathers.entry((kind, weather)).or_default() += 1;
        }
    }

    /// Takes note of what the engine has done.
    pub fn did(&mut self, deeds: &BTreeMap<&'static str, u64>) {
        for (deed, count) in deeds {
            *self.deeds.entry(deed).or_default() += count;
        }
    }

    /// How often the engine has done this.
    #[must_use]
    pub fn deed(&self, deed: &str) -> u64 {
        self.deeds.get(deed).copied().unwrap_or(0)
    }

    /// How often `kind` came after `before`.
    #[must_use]
    pub fn pair(&self, before: Kind, kind: Kind) -> u64 {
        self.pairs.get(&(before, kind)).copied().unwrap_or(0)
    }

    /// How often something came between.
    #[must_use]
    pub fn weather(&self, kind: Kind, weather: Weather) -> u64 {
        self.weathers.get(&(kind, weather)).copied().unwrap_or(0)
    }

    /// How often something came between whatever was done.
    #[must_use]
    pub fn weathers(&self, weather: Weather) -> u64 {
        self.weathers.iter().filter(|((_, known), _)| *known == weather).map(|(_, count)| count).sum()
    }

    /// What was seen since a moment before.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        fn less<K: Ord + Copy>(now: &BTreeMap<K, u64>, before: &BTreeMap<K, u64>) -> BTreeMap<K, u64> {
            let left = now.iter().map(|(key, count)| (*key, count - before.get(key).copied().unwrap_or(0)));
            left.filter(|(_, count)| *count > 0).collect()
        }
        Self {
            lives: self.lives - before.lives,
            steps: self.steps - before.steps,
            skipped: self.skipped - before.skipped,
            pairs: less(&self.pairs, &before.pairs),
            weathers: less(&self.weathers, &before.weathers),
            deeds: less(&self.deeds, &before.deeds),
        }
    }

    /// Adds what others have seen.
    pub fn add(&mut self, other: &Self) {
        self.lives += other.lives;
        self.steps += other.steps;
        self.skipped += other.skipped;
        for (pair, count) in &other.pairs {
            *self.pairs.entry(*pair).or_default() += count;
        }
        self.did(&other.deeds);
        for (pair, count) in &other.weathers {
            *self.weathers.entry(*pair).or_default() += count;
        }
    }

    /// The operations that can follow each other and did not.
    #[must_use]
    pub fn missing_pairs(&self) -> Vec<(Kind, Kind)> {
        let both = Kind::ALL.iter().flat_map(|before| Kind::ALL.iter().map(move |after| (*before, *after)));
        both.filter(|(before, after)| impossible(*before, *after).is_none() && self.pair(*before, *after) == 0)
            .collect()
    }

    /// What could come between operations and did not.
    #[must_use]
    pub fn missing_weathers(&self) -> Vec<(Kind, Weather)> {
        let all = Kind::ALL.iter().flat_map(|kind| Weather::ALL.into_iter().map(move |weather| (*kind, weather)));
        all.filter(|(kind, weather)| {
            impossible_weather(*kind, *weather).is_none() && self.weather(*kind, *weather) == 0
        })
        .collect()
    }

    /// All that can occur and did not.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let pairs = self.missing_pairs().into_iter().map(|(before, after)| format!("{before}, {after}"));
        let weathers = self.missing_weathers().into_iter().map(|(kind, weather)| format!("{kind} !{}", weather.word()));
        pairs.chain(weathers).collect()
    }

    /// Both matrices, for people.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text =
            format!("{} lives, {} steps, {} that there was nothing for\n", self.lives, self.steps, self.skipped);
        let count = |count: u64| match count {
            0 => ".".to_owned(),
            1_000.. => format!("{}k", count / 1_000),
            _ => count.to_string(),
        };
        let _ = write!(text, "{:>11}", "");
        for number in 0..Kind::ALL.len() {
            let _ = write!(text, "{number:>4}");
        }
        text.push('\n');
        for (number, before) in Kind::ALL.iter().enumerate() {
            let _ = write!(text, "{before:>10}{number:>3}");
            for after in Kind::ALL {
                let _ = write!(text, "{:>4}", count(self.pair(*before, *after)));
            }
            text.push('\n');
        }
        let _ = write!(text, "{:>13}", "");
        for weather in Weather::ALL {
            let _ = write!(text, "{:>12}", weather.word());
        }
        text.push('\n');
        for kind in Kind::ALL.iter().filter(|kind| kind.calls()) {
            let _ = write!(text, "{kind:>13}");
            for weather in Weather::ALL {
                let shown = match impossible_weather(*kind, weather) {
                    Some(_) => "-".to_owned(),
                    None => count(self.weather(*kind, weather)),
                };
                let _ = write!(text, "{shown:>12}");
            }
            text.push('\n');
        }
        for (deed, count) in &self.deeds {
            let _ = writeln!(text, "{count:>8} {deed}");
        }
        text
    }
}
