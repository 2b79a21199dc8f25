//! The rules of commit and release that a head must keep. Every build checks them before a commit, and before a release.
//!
//! The table in ARCHITECTURE.md says where the other rules are checked. Only a defect of this library can break a rule. Nothing is
//! changed then.

use std::collections::BTreeSet;

use offsite_core::{Head, ObjectId, RetiredObject, Retirement};

use crate::{Error, Result};

/// Checks that `next` may follow `head`. The writer of `next` has made ids up to the count `minted`.
///
/// # Errors
/// [`Error::Defect`] if a rule is broken. It names the rule.
pub(crate) fn check_successor(head: &Head, next: &Head, minted: u32) -> Result<()> {
    check_numbers(head, next)?;
    check_clock(head, next)?;
    if next.epoch != head.epoch || next.sealed_epoch != head.sealed_epoch {
        return broken("epoch", "a writer commits in the epoch that it has taken");
    }
    let (before, after) = (referred(head), referred(next));
    let (was_retired, is_retired) = (retired(head), retired(next));
    if let Some(id) = after.iter().find(|id| is_retired.contains(id)) {
        return broken("release rule 4", &format!("{id} is retired and referred to"));
    }
    if let Some(id) = after.iter().find(|id| was_retired.contains(id)) {
        return broken("release rule 2", &format!("{id} was retired and is referred to again"));
    }
    if let Some(id) = before.iter().find(|id| !after.contains(id) && !is_retired.contains(id)) {
        return broken(
            "release rule 3",
            &format!("{id} is no more and is not listed, so that no reader could hold it"),
        );
    }
    let own = ObjectId::new(head.epoch, 1)..=ObjectId::new(head.epoch, minted);
    if let Some(id) = after.difference(&before).find(|id| !own.contains(id)) {
        return broken("release rule 5", &format!("{id} is new and not of this writer"));
    }
    let listed = next.retired.iter().filter(|retirement| !head.retired.contains(retirement));
    check_intents(listed, |since| since == next.number)
}

/// Checks that `next` may take the folder over from `head`.
///
/// # Errors
/// [`Error::Defect`] if a rule is broken. It names the rule.
pub(crate) fn check_taking(head: &Head, next: &Head, trusts_clock: bool) -> Result<()> {
    check_numbers(head, next)?;
    if !trusts_clock {
        check_clock(head, next)?;
    }
    if next.epoch.checked_sub(1) != Some(head.epoch) {
        return broken("epoch", "a writer takes the epoch after the last one");
    }
    if next.sealed_epoch != head.sealed_epoch && next.sealed_epoch != head.epoch {
        return broken("epoch", "what is sealed is the epoch that was taken over");
    }
    if referred(head) != referred(next) || head.retired != next.retired {
        return broken("epoch", "taking a folder over changes nothing in it");
    }
    Ok(())
}

/// Checks that what `head` lists may be released once no reader holds it.
///
/// # Errors
/// [`Error::Defect`] if a rule is broken. It names the rule.
pub(crate) fn check_release(head: &Head) -> Result<()> {
    check_intents(&head.retired, |since| since <= head.number)?;
    match referred(head).intersection(&retired(head)).next() {
        Some(id) => broken("release rule 4", &format!("{id} is to be released and is referred to")),
        None => Ok(()),
    }
}

/// Checks that a writer may write into the file of `id`.
///
/// # Errors
/// [`Error::Defect`] if a rule is broken. It names the rule.
pub(crate) fn check_patched(head: &Head, id: ObjectId) -> Result<()> {
    if id.epoch() <= head.sealed_epoch {
        return broken("epoch", &format!("{id} is sealed: a writer that was taken over may still write into it"));
    }
    Ok(())
}

fn check_numbers(head: &Head, next: &Head) -> Result<()> {
    if next.folder != head.folder || next.number.checked_sub(1) != Some(head.number) {
        return broken("commit", "a commit takes the next number of its folder");
    }
    if next.ancestry.first() != Some(&head.commit) || next.commit == head.commit || head.ancestry.contains(&next.commit)
    {
        return broken("commit", "a commit has an id of its own and knows the one before it");
    }
    if next.boundary < head.boundary || next.boundary >= next.number {
        return broken("boundary", "it never goes back and never reaches the newest head");
    }
    Ok(())
}

fn check_clock(head: &Head, next: &Head) -> Result<()> {
    if next.clock < head.clock {
        return broken("clock", "the time that is known never goes back, unless somebody says that the clock is right");
    }
    Ok(())
}

/// Release rule 1: when a retired object is touched, the commit that retired it is durable.
fn check_intents<'a>(
    retired: impl IntoIterator<Item = &'a Retirement>,
    is_committed: impl Fn(u64) -> bool,
) -> Result<()> {
    match retired.into_iter().find(|retirement| !is_committed(retirement.since)) {
        Some(Retirement { since, .. }) => {
            broken("release rule 1", &format!("something is listed as retired since head {since}"))
        }
        None => Ok(()),
    }
}

fn referred(head: &Head) -> BTreeSet<ObjectId> {
    head.files.keys().copied().chain(head.chain.indexes().map(|index| index.id)).collect()
}

/// Returns the retired objects. Release lists name ranges of objects that may still be referred to. These ranges are checked where
/// they are planned.
fn retired(head: &Head) -> BTreeSet<ObjectId> {
    let object = |retirement: &Retirement| match retirement.what {
        RetiredObject::File(id) | RetiredObject::Index(id) => Some(id),
        RetiredObject::Ranges { .. } => None,
    };
    head.retired.iter().filter_map(object).collect()
}

fn broken(rule: &str, what: &str) -> Result<()> {
    Err(Error::defect(format!("{rule}: {what}")))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use offsite_core::FileState;
    use offsite_core::Timestamp;

    use offsite_core::{CommitId, FolderId};

    use super::*;
    use crate::sample::empty_head;

    fn head() -> Head {
        let file = FileState::new(9, 9);
        let waiting = Retirement::new(4, RetiredObject::File(ObjectId::new(2, 1)), 9);
        let mut head = empty_head();
        head.files = BTreeMap::from([(ObjectId::new(1, 1), file), (ObjectId::new(3, 1), file)]);
        head.retired = vec![waiting];
        head
    }

    fn next() -> Head {
        let mut next = head();
        (next.number, next.commit) = (6, CommitId::new([6; 16]));
        next.ancestry = vec![CommitId::new([5; 16]), CommitId::new([4; 16])];
        next
    }

    #[track_caller]
    fn refused(answer: Result<()>, rule: &str) {
        let error = answer.unwrap_err().to_string();
        assert!(error.contains(rule), "{error}");
    }

    #[test]
    fn a_commit_that_keeps_the_rules_is_let_through() {
        let mut next = next();
        check_successor(&head(), &next, 1).unwrap();
        let file = next.files.remove(&ObjectId::new(1, 1)).unwrap();
        next.retired.push(Retirement::new(6, RetiredObject::File(ObjectId::new(1, 1)), 9));
        next.files.insert(ObjectId::new(3, 2), file);
        check_successor(&head(), &next, 2).unwrap();
        check_release(&next).unwrap();
        let mut taken = self::next();
        (taken.epoch, taken.sealed_epoch) = (4, 3);
        check_taking(&head(), &taken, false).unwrap();
        check_patched(&head(), ObjectId::new(2, 7)).unwrap();
    }

    #[test]
    fn each_rule_that_is_broken_is_named() {
        let broken = |rule: &str, change: fn(&mut Head)| {
            let mut next = next();
            change(&mut next);
            refused(check_successor(&head(), &next, 1), rule);
        };
        broken("commit", |next| next.number = 7);
        broken("commit", |next| next.folder = FolderId::new([2; 16]));
        broken("commit", |next| next.ancestry = vec![CommitId::new([4; 16])]);
        broken("commit", |next| next.commit = CommitId::new([4; 16]));
        broken("boundary", |next| next.boundary = 0);
        broken("boundary", |next| next.boundary = 6);
        broken("clock", |next| next.clock = Timestamp::from_unix_secs(6).unwrap());
        let mut earlier = self::next();
        (earlier.epoch, earlier.sealed_epoch, earlier.clock) = (4, 3, Timestamp::from_unix_secs(6).unwrap());
        refused(check_taking(&head(), &earlier, false), "clock");
        check_taking(&head(), &earlier, true).unwrap();
        broken("epoch", |next| next.epoch = 4);
        broken("epoch", |next| next.sealed_epoch = 3);
        let retire = |since, id| Retirement::new(since, RetiredObject::File(id), 9);
        let file = head().files[&ObjectId::new(1, 1)];
        let mut next = next();
        next.retired.push(retire(6, ObjectId::new(1, 1)));
        refused(check_successor(&head(), &next, 1), "release rule 4");
        refused(check_release(&next), "release rule 4");
        let mut next = self::next();
        next.retired.clear();
        next.files.insert(ObjectId::new(2, 1), file);
        refused(check_successor(&head(), &next, 1), "release rule 2");
        let mut next = self::next();
        next.files.remove(&ObjectId::new(1, 1));
        refused(check_successor(&head(), &next, 1), "release rule 3");
        for id in [ObjectId::new(3, 2), ObjectId::new(2, 9), ObjectId::new(4, 1), ObjectId::new(3, 0)] {
            let mut next = self::next();
            next.files.insert(id, file);
            refused(check_successor(&head(), &next, 1), "release rule 5");
        }
        let mut next = self::next();
        next.files.remove(&ObjectId::new(1, 1));
        next.retired.push(retire(7, ObjectId::new(1, 1)));
        refused(check_successor(&head(), &next, 1), "release rule 1");
        refused(check_release(&next), "release rule 1");
        let taking = |change: fn(&mut Head)| {
            let mut next = self::next();
            next.epoch = 4;
            change(&mut next);
            refused(check_taking(&head(), &next, false), "epoch");
        };
        taking(|next| next.epoch = 5);
        taking(|next| next.sealed_epoch = 2);
        taking(|next| next.retired = Vec::new());
        refused(check_patched(&head(), ObjectId::new(1, 7)), "epoch");
    }
}
