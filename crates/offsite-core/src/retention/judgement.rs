//! Verdicts over a whole chain.

use super::policy::Policy;
use super::reason::Verdict;
use super::verdicts::{Conditions, Subject, verdicts};
use crate::{Chain, PointKind, RestorePoint, Timestamp};

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
    let archived = chain.archives().iter().map(|point| Subject { is_archived: true, ..Subject::from(point) });
    let own = archived.chain(chain.points().iter().map(Subject::from)).map(|subject| (true, subject));
    // Of a chain elsewhere, its points count one by one, whatever they stand on there.
    let others = elsewhere.iter().map(|point| (false, Subject { kind: PointKind::Increment, ..Subject::from(point) }));
    let mut subjects: Vec<(bool, Subject)> = own.chain(others).collect();
    if !elsewhere.is_empty() {
        subjects.sort_by_key(|(_, subject)| (!subject.is_archived, subject.time));
    }
    let (is_own, subjects): (Vec<bool>, Vec<Subject>) = subjects.into_iter().unzip();
    let verdicts = verdicts(&subjects, policy, now, conditions).into_iter();
    let mut own: Vec<_> = verdicts.zip(is_own).filter_map(|(verdict, is_own)| is_own.then_some(verdict)).collect();
    own.sort_by_key(|verdict| verdict.sequence);
    own
}
