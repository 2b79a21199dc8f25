//! The machines that a job selects, and since when it does not select the others. A machine is removed after a number of days
//! without selection.

use std::collections::{BTreeMap, BTreeSet};

use offsite_core::{Head, MachineName, Timestamp};

const DAY_SECS: i64 = 86_400;

/// The machines that a job selects, as the last look at its sources found.
pub(crate) struct Selected {
    pub(crate) machines: Vec<MachineName>,
    /// Whether all sources were seen. If not, an unselected machine may be in the others.
    pub(crate) are_all: bool,
}

impl Selected {
    /// Returns when each machine was last selected, for a look at `now`.
    ///
    /// - A selected machine gets the date of this look.
    /// - A machine of the chain that is not selected keeps the date of its last selection. If it has none, it gets the date of this
    ///   look.
    /// - If the last look that saw all sources selected the machine, that look may be long ago, and the machine may have been
    ///   selected until today. It gets the date of that look, but at most a day ago.
    /// - If a source was not seen, no days pass. This look counts as if it had been at the time of the last one that saw all
    ///   sources.
    pub(crate) fn dates(&self, head: &Head, now: Timestamp) -> BTreeMap<MachineName, Timestamp> {
        let present: BTreeSet<&MachineName> =
            head.chain.all().flat_map(|point| &point.machines).map(|machine| &machine.name).collect();
        let seen_before = head.last_selected.values().max().copied();
        let seen = if self.are_all { now } else { seen_before.unwrap_or(now) };
        let a_day_ago = Timestamp::from_unix_secs(now.unix_secs() - DAY_SECS).unwrap_or(now);
        let missed = |name: &MachineName| match head.last_selected.get(name).copied() {
            Some(last) if self.are_all && Some(last) == seen_before => last.max(a_day_ago),
            last => last.unwrap_or(seen),
        };
        let date = |name: &MachineName| match () {
            () if self.machines.contains(name) => Some((name.clone(), seen)),
            () if present.contains(name) => Some((name.clone(), missed(name))),
            () => None,
        };
        head.machines.iter().filter_map(date).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Sample;

    /// Nothing of such a machine is left to remove, and its date would be kept for ever.
    #[tokio::test]
    async fn a_machine_that_is_in_no_point_and_not_selected_keeps_no_date() {
        let mut head = Sample::new(1).await.head;
        let day = |number: i64| Timestamp::from_unix_secs(1_793_570_400 + number * DAY_SECS).unwrap();
        let (there, gone) = (MachineName::new("web01").unwrap(), MachineName::new("db01").unwrap());
        head.machines = vec![there.clone(), gone.clone()];
        head.last_selected = BTreeMap::from([(there.clone(), day(0)), (gone, day(0))]);
        for are_all in [true, false] {
            let selected = Selected { machines: Vec::new(), are_all };
            assert_eq!(selected.dates(&head, day(1)), BTreeMap::from([(there.clone(), day(0))]));
        }
    }
}
