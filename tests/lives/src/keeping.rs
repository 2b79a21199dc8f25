//! What retention has to keep.

use std::collections::BTreeSet;

use offsite::model::MachineName;
use offsite::model::PointKind;
use offsite::model::RestorePoint;
use offsite::model::Sequence;
use offsite::model::Timestamp;
use offsite::retention::Ageing;
use offsite::retention::Conditions;
use offsite::retention::Flags;
use offsite::retention::Policy;
use offsite::retention::Regular;
use offsite::retention::Subject;
use offsite::retention::Tier;
use offsite::retention::Verdict;
use offsite_core::retention::due;
use offsite_core::retention::stand_in;
use offsite_core::retention::verdicts;

use crate::proof::Proven;
use crate::violation::{Law, Violation, ensure};

/// What a run may let go by, at most.
#[derive(Debug)]
pub struct Keeping<'a> {
    /// What is kept; none: everything.
    pub policy: Option<&'a Policy>,
    /// The time of the run.
    pub now: Timestamp,
    /// The job's points in other places.
    pub elsewhere: &'a [RestorePoint],
    /// Whether machines go that are not selected.
    pub deletes_machines: bool,
}

fn subjects(points: &[(RestorePoint, bool)], elsewhere: &[RestorePoint]) -> Vec<(bool, Subject)> {
    let own = points.iter().map(|(point, archived)| (true, Subject::from(point).with_archived(*archived)));
    let others = elsewhere.iter().map(|point| {
        let mut subject = Subject::from(point);
        subject.kind = PointKind::Increment;
        (false, subject)
    });
    let mut subjects: Vec<_> = own.chain(others).collect();
    if !elsewhere.is_empty() {
        subjects.sort_by_key(|(_, subject)| (!subject.is_archived, subject.time));
    }
    subjects
}

impl Keeping<'_> {
    fn said(&self, points: &[(RestorePoint, bool)]) -> Vec<Verdict> {
        let subjects = subjects(points, self.elsewhere).into_iter().map(|(_, subject)| subject).collect::<Vec<_>>();
        let conditions = Conditions::default().with_merges_carry(true);
        self.policy.map_or_else(Vec::new, |policy| verdicts(&subjects, policy, self.now, &conditions))
    }

    /// The points that have to stay, of those that were there before and those that were made.
    fn kept(&self, points: &[(RestorePoint, bool)]) -> BTreeSet<Sequence> {
        let Some(policy) = self.policy else { return points.iter().map(|(point, _)| point.sequence).collect() };
        let deleted: BTreeSet<MachineName> = if self.deletes_machines {
            let machines = points.iter().flat_map(|(point, _)| &point.machines);
            machines.map(|machine| machine.name.clone()).collect()
        } else {
            BTreeSet::new()
        };
        let conditions = Conditions::default().with_deleted(deleted).with_merges_carry(true);
        let subjects = subjects(points, self.elsewhere);
        let (is_own, subjects): (Vec<bool>, Vec<Subject>) = subjects.into_iter().unzip();
        let verdicts = verdicts(&subjects, policy, self.now, &conditions);
        let own = verdicts.iter().zip(is_own).filter(|(verdict, is_own)| *is_own && verdict.keeps());
        own.map(|(verdict, _)| verdict.sequence).collect()
    }

    /// Checks what has gone between two moments, of which `after` may have points that are new.
    ///
    /// # Errors
    /// A point that had to stay.
    pub fn check_kept(&self, job: &str, before: Option<&Proven>, after: &Proven) -> Result<(), Violation> {
        let is_known = |sequence| before.is_some_and(|before| before.head.chain.get(sequence).is_some());
        let both = before.into_iter().flat_map(|before| {
            let archives = before.head.chain.archives().iter().map(|point| (point.clone(), true));
            archives.chain(before.head.chain.points().iter().map(|point| (point.clone(), false)))
        });
        let new = after.points().filter(|point| !is_known(point.sequence)).map(|point| (point.clone(), false));
        // A sync may flag the point before the one that it makes, and an intact point takes the flag of a damaged one.
        let flagged = |(point, archived): (RestorePoint, bool)| {
            let left = before.map_or(point.flags, |before| self.flags_left(before, after, &point));
            let flags = after.head.chain.get(point.sequence).map_or(left, |now| now.flags);
            (point.with_flags(flags), archived)
        };
        let points: Vec<_> = both.chain(new).map(flagged).collect();
        let gone: Vec<Sequence> = points
            .iter()
            .map(|(point, _)| point.sequence)
            .filter(|sequence| after.head.chain.get(*sequence).is_none())
            .collect();
        if gone.is_empty() {
            return Ok(());
        }
        let clock = before.map_or(self.now, |before| before.head.clock);
        ensure(self.now >= clock, Law::Kept, || format!("{job}: {gone:?} went by a clock that was behind"))?;
        // What a point was when it was decided is not known: increments become fulls before, which carry all machines, and by it.
        let decided_on = |as_it_was: &dyn Fn(&RestorePoint) -> RestorePoint| {
            let points = points.iter().map(|(point, archived)| (as_it_was(point), *archived));
            self.kept(&points.collect::<Vec<_>>())
        };
        let as_left = decided_on(&|point| after.head.chain.get(point.sequence).unwrap_or(point).clone());
        let as_new = decided_on(&|point| match is_known(point.sequence) {
            true => point.clone(),
            false => point.clone().with_kind(PointKind::Increment),
        });
        let as_found = self.kept(&points);
        let kept: BTreeSet<&Sequence> =
            as_found.iter().filter(|sequence| as_left.contains(sequence) && as_new.contains(sequence)).collect();
        let wrong: Vec<_> = gone.iter().filter(|sequence| kept.contains(sequence)).collect();
        // A point of which all machines went is no more.
        ensure(wrong.is_empty() || self.deletes_machines, Law::Kept, || {
            let kinds: Vec<_> =
                points.iter().map(|(point, archived)| (point.sequence.0, point.kind, point.flags, archived)).collect();
            let left = after.head.chain.all().map(|point| (point.sequence.0, point.kind));
            format!(
                "{job}: points {wrong:?} of {kinds:?} went and {:?} are left, which {:?} keeps at {}: {:?}",
                left.collect::<Vec<_>>(),
                self.policy,
                self.now,
                self.said(&points)
            )
        })?;
        // Said once more, without the verdicts: the newest are there, as many as were asked for, or as there were.
        if let Some(Policy { regular: Regular::Simple(simple), .. }) = self.policy
            && self.elsewhere.is_empty()
            && !self.deletes_machines
        {
            let newest = points.iter().filter(|(_, archived)| !archived).rev().take(simple.keep() as usize);
            let missing = newest.map(|(point, _)| point.sequence).find(|sequence| gone.contains(sequence));
            ensure(missing.is_none(), Law::Kept, || {
                let all: Vec<_> = points
                    .iter()
                    .map(|(point, archived)| (point.sequence.0, point.kind, point.time, archived))
                    .collect();
                format!("{job}: {missing:?} of the newest {} went, of {all:?}", simple.keep())
            })?;
        }
        Ok(())
    }

    /// The flags of a point but for those that another one of the same slot took over since, as this one was damaged.
    fn flags_left(&self, before: &Proven, after: &Proven, point: &RestorePoint) -> Flags {
        let Some((policy, gfs)) = self.policy.and_then(|policy| Some((policy, policy.gfs.as_ref()?))) else {
            return point.flags;
        };
        if !before.lost().iter().any(|(sequence, _)| *sequence == point.sequence) {
            return point.flags;
        }
        let had = |other: &RestorePoint, tier| {
            before.head.chain.get(other.sequence).is_some_and(|other| other.flags.contains(tier))
        };
        let is_taken = |tier: &Tier| {
            let newly = after.points().filter(|other| other.flags.contains(*tier) && !had(other, *tier));
            let candidates = newly.map(|other| (other.sequence, other.time, Flags::NONE));
            stand_in(gfs, &policy.zone, *tier, point.time, candidates).is_some()
        };
        point.flags.tiers().filter(|tier| !is_taken(tier)).collect()
    }

    /// Checks that nothing is there any more that nothing keeps.
    ///
    /// # Errors
    /// What had to go.
    pub fn check_gone(&self, job: &str, ageing: Ageing, after: &Proven) -> Result<(), Violation> {
        let Some(policy) = self.policy else { return Ok(()) };
        let chain = &after.head.chain;
        let points: Vec<_> = (chain.archives().iter().map(|point| (point.clone(), true)))
            .chain(chain.points().iter().map(|point| (point.clone(), false)))
            .collect();
        let conditions = Conditions::default().with_merges_carry(true);
        let (is_own, subjects): (Vec<bool>, Vec<Subject>) = subjects(&points, self.elsewhere).into_iter().unzip();
        let verdicts = verdicts(&subjects, policy, self.now, &conditions);
        let own = verdicts.into_iter().zip(is_own).filter_map(|(verdict, is_own)| is_own.then_some(verdict));
        let due = due(chain, &own.collect::<Vec<_>>(), ageing);
        ensure(due.is_empty(), Law::Gone, || format!("{job}: {due:?} are due, and were not done"))?;
        let are_complete = points.iter().all(|(point, _)| point.machines.iter().all(|machine| machine.is_whole()));
        if let (Regular::Simple(simple), None, true, true) =
            (policy.regular, policy.gfs, are_complete && ageing == Ageing::Merge, self.elsewhere.is_empty())
        {
            // Of several fulls, the older go as a whole.
            let fulls = chain.points().iter().filter(|point| point.kind == PointKind::Full).count();
            let is_rising = fulls == 1
                && chain.points().is_sorted_by_key(|point| point.time)
                && chain.points().iter().all(|point| point.time <= self.now);
            let count = chain.points().len();
            ensure(!is_rising || count <= simple.keep() as usize, Law::Gone, || {
                let points = chain.points().iter().map(|point| (point.kind, point.time));
                format!("{job}: {:?} are there, {} are kept", points.collect::<Vec<_>>(), simple.keep())
            })?;
        }
        Ok(())
    }
}
