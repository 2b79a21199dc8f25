//! The fingerprint of a policy.
//!
//! Heads store it. So it is made of bytes that are defined here, and not of anything that a compiler or a library may print otherwise
//! tomorrow.

use super::policy::{ArchiveMethod, Expiry, Gfs, Marking, Policy, Regular};
use super::tier::Tier;

impl Policy {
    /// A number that changes when the policy changes.
    ///
    /// A head stores it, so that a run notices a changed policy. Policies that keep different points have different numbers in
    /// all likelihood. A false alarm only makes a run delete less.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let mut bytes = Vec::new();
        let (kind, number) = match self.regular {
            Regular::Simple(simple) => (0, simple.keep()),
            Regular::Days(days) => (1, days.days()),
        };
        bytes.push(kind);
        bytes.extend(number.to_le_bytes());
        bytes.push(u8::from(self.gfs.is_some()));
        if let Some(gfs) = &self.gfs {
            encode_gfs(gfs, &mut bytes);
        }
        bytes.extend(self.zone.name().as_bytes());
        crate::format::checksum(&bytes)
    }
}

fn encode_gfs(gfs: &Gfs, bytes: &mut Vec<u8>) {
    for tier in Tier::ALL {
        bytes.extend(gfs.count(tier).to_le_bytes());
    }
    bytes.extend(gfs.anchors().canonical());
    bytes.push(match gfs.method() {
        ArchiveMethod::Shared => 0,
        ArchiveMethod::Independent => 1,
        ArchiveMethod::Active => 2,
    });
    bytes.push(match gfs.marking() {
        Marking::Nearest => 0,
        Marking::InInterval => 1,
    });
    bytes.push(match gfs.expiry() {
        Expiry::Count => 0,
        Expiry::Date => 1,
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retention::{Anchors, Days, MonthDay, QuarterMonth, Simple, Weekday, Zone};

    /// Each setting is in the fingerprint: of two policies that differ in one, the fingerprints differ.
    #[test]
    fn each_setting_counts() {
        let base = Gfs::new(4, 12, 4, 3).unwrap();
        let anchored = |anchors| base.with_anchors(anchors);
        let day = MonthDay::day(15).unwrap();
        let anchors = Anchors::default;
        let tiers = [
            base,
            Gfs::new(5, 12, 4, 3).unwrap(),
            Gfs::new(4, 13, 4, 3).unwrap(),
            Gfs::new(4, 12, 5, 3).unwrap(),
            Gfs::new(4, 12, 4, 4).unwrap(),
            base.with_method(ArchiveMethod::Independent),
            base.with_method(ArchiveMethod::Active),
            base.with_marking(Marking::InInterval),
            base.with_expiry(Expiry::Date),
            anchored(anchors().at_hour(23).unwrap()),
            anchored(anchors().on_weekday(Weekday::Monday)),
            anchored(anchors().on_month_day(day)),
            anchored(anchors().on_month_day(MonthDay::last_day())),
            anchored(anchors().on_month_day(MonthDay::last(Weekday::Sunday))),
            anchored(anchors().on_month_day(MonthDay::nth(2, Weekday::Sunday).unwrap())),
            anchored(anchors().in_quarter(QuarterMonth::Last, MonthDay::default())),
            anchored(anchors().in_quarter(QuarterMonth::First, day)),
            anchored(anchors().in_year(2, MonthDay::default()).unwrap()),
            anchored(anchors().in_year(1, day).unwrap()),
        ];
        let seven = || Policy::new(Simple::new(7).unwrap());
        let mut policies: Vec<Policy> = tiers.into_iter().map(|gfs| seven().with_gfs(gfs)).collect();
        policies.push(seven());
        policies.push(seven().with_zone(Zone::named("Europe/Berlin").unwrap()));
        policies.push(Policy::new(Simple::new(8).unwrap()));
        policies.push(Policy::new(Days::new(7).unwrap()));
        let prints: std::collections::BTreeSet<u64> = policies.iter().map(Policy::fingerprint).collect();
        assert_eq!(prints.len(), policies.len());
    }

    /// A stored fingerprint must mean the same policy in every later version.
    #[test]
    fn a_fingerprint_never_changes() {
        let policy = Policy::new(Days::new(14).unwrap()).with_gfs(Gfs::new(4, 12, 0, 3).unwrap());
        assert_eq!(policy.fingerprint(), 0x4c14_0931_eaff_8670);
        assert_eq!(Policy::default().fingerprint(), 0x7faf_3b6f_eae9_59c0);
    }
}
