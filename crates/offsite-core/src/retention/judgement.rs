//! Verdicts over a whole chain.

use super::policy::Policy;
use super::reason::Verdict;
use super::verdicts::{Conditions, Subject, verdicts};
use std::collections::BTreeSet;

use crate::{Chain, PointKind, RestorePoint, Sequence, Timestamp};

/// The verdict of `policy` on each archive and point of `chain`, oldest first.
///
/// `elsewhere` are the job's points on other drives. They count, and get no verdict.
#[must_use]
pub fn judge(
    chain: &Chain,
    elsewhere: &[RestorePoint],
    policy: &Policy,
    now: Timestamp,
    conditions: &Conditions,
) -> Vec<Verdict> {
    let subject = |(point, place): (&RestorePoint, Option<bool>)| match place {
        Some(is_archived) => (true, Subject { is_archived, ..Subject::from(point) }),
        // Of a chain elsewhere, its points count one by one, whatever they stand on there.
        None => (false, Subject { kind: PointKind::Increment, ..Subject::from(point) }),
    };
    let subjects = by_age(chain, elsewhere).into_iter().map(subject);
    let (is_own, subjects): (Vec<bool>, Vec<Subject>) = subjects.unzip();
    let verdicts = verdicts(&subjects, policy, now, conditions).into_iter();
    let mut own: Vec<_> = verdicts.zip(is_own).filter_map(|(verdict, is_own)| is_own.then_some(verdict)).collect();
    own.sort_by_key(|verdict| verdict.sequence);
    own
}

/// The points of a chain and those elsewhere, oldest first. Of those of the chain, whether they are archives.
///
/// What is elsewhere counts as newer than the archives, but for back-filled ones, which their times place.
pub(super) fn by_age<'a>(chain: &'a Chain, elsewhere: &'a [RestorePoint]) -> Vec<(&'a RestorePoint, Option<bool>)> {
    let archives: BTreeSet<Sequence> = chain.archives().iter().map(|archive| archive.sequence).collect();
    let own = chain.all().map(|point| (point, Some(archives.contains(&point.sequence))));
    let mut all: Vec<_> = own.chain(elsewhere.iter().map(|point| (point, None))).collect();
    if !elsewhere.is_empty() {
        all.sort_by_key(|(point, place)| (*place != Some(true) || point.is_back_filled, point.time));
    }
    all
}
