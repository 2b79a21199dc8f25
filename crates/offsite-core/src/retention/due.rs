//! Transforms that verdicts ask for.

use std::collections::BTreeMap;

use super::reason::Verdict;
use crate::{Chain, PointKind, Sequence};

/// How a job removes the oldest points of its chain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ageing {
    /// The oldest increments merge into the full (forever forward).
    #[default]
    Merge,
    /// Nothing merges. A chain goes as a whole when enough points follow in newer chains (forward with periodic fulls).
    WholeChains,
}

/// A transform that brings a chain to what its policy asks for.
// Exhaustive: an engine that does not know one must not compile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Due {
    /// Remove the archive with this number.
    RemoveArchive(Sequence),
    /// Remove these rollbacks at the old end of the chain. No other point needs them.
    RemoveRollbacks(Vec<Sequence>),
    /// Remove the oldest full and all points that need it. Some fulls among them may stay as archives.
    RemoveChain {
        /// The points to remove.
        points: Vec<Sequence>,
        /// The fulls among them that stay beside the chain as archives.
        archived: Vec<Sequence>,
    },
    /// Merge the oldest increments into the full. The full then becomes the point of the last of them.
    Merge {
        /// The increments, oldest first.
        increments: Vec<Sequence>,
        /// The old full, if it also stays beside the chain as an archive.
        archived: Option<Sequence>,
    },
}

/// The transforms that `verdicts` ask for, in the order in which the engine does them.
///
/// A point stays in the chain if its verdict keeps it there ([`Verdict::stays_in_chain`]). A point without a verdict stays. The
/// newest point stays in any case.
///
/// A flagged point must be the full before it can become an archive. So one merge takes the increments up to the next flagged
/// one.
#[must_use]
pub fn due(chain: &Chain, verdicts: &[Verdict], ageing: Ageing) -> Vec<Due> {
    let judge: BTreeMap<Sequence, &Verdict> = verdicts.iter().map(|verdict| (verdict.sequence, verdict)).collect();
    let is_kept = |sequence| judge.get(&sequence).is_none_or(|verdict| verdict.keeps());
    let stays = |sequence| judge.get(&sequence).is_none_or(|verdict| verdict.stays_in_chain());
    let mut due: Vec<Due> = chain
        .archives()
        .iter()
        .filter(|archive| !is_kept(archive.sequence))
        .map(|archive| Due::RemoveArchive(archive.sequence))
        .collect();
    let mut points = chain.points();
    loop {
        let rollbacks =
            points.iter().take_while(|point| point.kind == PointKind::Rollback && !stays(point.sequence)).count();
        if rollbacks > 0 {
            due.push(Due::RemoveRollbacks(points[..rollbacks].iter().map(|point| point.sequence).collect()));
            points = &points[rollbacks..];
        }
        if points.first().is_none_or(|point| point.kind == PointKind::Rollback) {
            return due;
        }
        let is_full = |point: &crate::RestorePoint| point.kind != PointKind::Increment;
        let Some(next) = points.iter().skip(1).position(is_full).map(|position| position + 1) else { break };
        if points[..next].iter().any(|point| stays(point.sequence)) {
            return due;
        }
        let mut from = 0;
        for to in (1..next).filter(|position| is_kept(points[*position].sequence)) {
            if ageing == Ageing::WholeChains {
                // An increment that is to be an archive keeps its chain, as nothing is merged.
                return due;
            }
            let archived = is_kept(points[from].sequence).then_some(points[from].sequence);
            let increments = points[from + 1..=to].iter().map(|point| point.sequence).collect();
            due.push(Due::Merge { increments, archived });
            from = to;
        }
        let archived = is_kept(points[from].sequence).then_some(points[from].sequence).into_iter().collect();
        let leaving = points[from..next].iter().map(|point| point.sequence).collect();
        due.push(Due::RemoveChain { points: leaving, archived });
        points = &points[next..];
    }
    if ageing == Ageing::WholeChains {
        return due;
    }
    // The newest point stays whatever the verdicts say.
    let leaving = points.iter().take_while(|point| !stays(point.sequence)).count().min(points.len() - 1);
    let mut from = 0;
    while from < leaving {
        let archived = is_kept(points[from].sequence).then_some(points[from].sequence);
        // Up to the next point that has to be a full for a while, or to the first that stays.
        let to = (from + 1..leaving).find(|position| is_kept(points[*position].sequence)).unwrap_or(leaving);
        let increments = points[from + 1..=to].iter().map(|point| point.sequence).collect();
        due.push(Due::Merge { increments, archived });
        from = to;
    }
    due
}
