//! Plans of copies that read some blocks elsewhere than at their source.

mod model;

use std::collections::{BTreeMap, BTreeSet};

use model::{Store, World, captured, config, history, live, time};
use offsite_core::plan::{
    Address, Amount, Came, Lender, Loan, Loans, Placement, Saving, Savings, SyncInput, missing, sync_from, sync_lent,
};
use offsite_core::{BlockMap, Digest, DiskNumber, ObjectId, StoredBlock};
use proptest::prelude::*;

fn placement() -> Placement {
    Placement { first_offset: 64, alignment: 64, file_bytes_max: 4000 }
}

fn minted(epoch: u32) -> impl FnMut() -> ObjectId {
    let mut count = 0;
    move || {
        count += 1;
        ObjectId::new(epoch, count)
    }
}

/// The steps of a copy of each day: what is there, and what is wanted.
fn copies(days: &[model::Day]) -> Vec<(BlockMap, BlockMap)> {
    let (mut store, mut world, mut latest) = (Store::default(), World::new(), BlockMap::empty());
    let mut copies = Vec::new();
    for (day, secs) in days.iter().zip(0..) {
        live(&mut world, day);
        let wanted = store.write(&captured(&world, day), time(secs));
        let after = latest.overlay(&latest.diff(&wanted));
        copies.push((latest, wanted));
        latest = after;
    }
    copies
}

/// What lenders have: a frame for each digest that `lends`, of a length of its own.
fn loans(wanted: &BlockMap, lends: impl Fn(&Digest) -> bool) -> Loans {
    let digests: BTreeSet<Digest> = wanted.stored().map(|(.., at)| at.digest).filter(lends).collect();
    let loan = |(digest, number): (Digest, u64)| {
        let at = StoredBlock {
            file: ObjectId::new(8, 1),
            offset: number * 1000,
            length: 100 + u32::from(digest.0[3]),
            digest,
        };
        let holder = Address { machine: model::name(9), disk: DiskNumber(0), block: 0 };
        let lender = [Lender::Chain, Lender::Spare, Lender::Job, Lender::Cache][usize::from(digest.0[4] % 4)];
        (digest, Loan { source: 7, at, holder, lender })
    };
    digests.into_iter().zip(0..).map(loan).collect()
}

fn total(savings: &Savings) -> Amount {
    let Savings { sent, unchanged, zero, left, .. } = *savings;
    let all = [sent, unchanged, zero, left, savings.detoured()];
    let mut sum = Amount::default();
    for one in all {
        sum.blocks += one.blocks;
        sum.bytes += one.bytes;
    }
    sum
}

proptest! {
    #![proptest_config(config(1000))]

    /// The state is what it would be without lenders. Every owner has a frame of its own. What is lent is not read from a source,
    /// and what is not lent is read once, however often it occurs.
    #[test]
    fn each_digest_is_read_once_and_written_for_each_owner(
        days in history(5),
        which in any::<prop::sample::Index>(),
        lent in 0..17u8,
        there in 0..16u8,
    ) {
        let copies = copies(&days);
        let (latest, wanted) = which.get(&copies);
        let sources = BTreeMap::from([(model::name(1), 5)]);
        let cut_off = latest.diff(wanted);
        let spare = cut_off.picked(|_, _, _, at| {
            (at.digest.0[9] % 16 < there).then_some(StoredBlock { file: ObjectId::new(9, 9), ..at })
        });
        let sync = SyncInput { latest, wanted, spare: &spare, sources: &sources, placement: placement() };
        let loans = loans(wanted, |digest| digest.0[5] % 16 < lent);
        let (plan, savings) = sync_lent(sync, &loans, minted(7));
        let plain = sync_from(sync, minted(7));
        prop_assert!(plan.index.same_content(&plain.index));
        let addresses = |plan: &offsite_core::plan::Plan| plan.moves.iter().map(|step| (step.address.clone(), step.source, step.from.file, step.from.offset)).collect::<BTreeSet<_>>();
        prop_assert_eq!(addresses(&plan), addresses(&plain));
        prop_assert_eq!(plan.moves.len(), plain.moves.len());
        let mut frames = BTreeSet::new();
        let mut reads: BTreeMap<Digest, BTreeSet<(u32, ObjectId, u64)>> = BTreeMap::new();
        for (position, step) in plan.moves.iter().enumerate() {
            prop_assert!(frames.insert((step.to.file, step.to.offset)), "two owners share a frame");
            let (source, read) = plan.read(position).unwrap();
            prop_assert_eq!((read.digest, read.length), (step.from.digest, step.to.length));
            prop_assert_eq!(source == 7, loans.contains_key(&read.digest));
            prop_assert_eq!(step.to.digest, read.digest);
            reads.entry(read.digest).or_default().insert((source, read.file, read.offset));
            prop_assert!(step.to.offset >= 64 && plan.files[&step.to.file] >= step.to.offset + u64::from(step.to.length));
            let own = |(machine, disk, block, at): (&offsite_core::MachineName, DiskNumber, u32, StoredBlock)| {
                (machine, disk, block, at) == (&step.address.machine, step.address.disk, step.address.block, step.to)
            };
            let is_told = plan.index.stored().any(own);
            prop_assert!(is_told);
        }
        prop_assert!(reads.values().all(|places| places.len() == 1));
        // Each frame is asked for once.
        let batches = plan.batches();
        prop_assert_eq!(batches.iter().flat_map(|batch| batch.items.clone()).collect::<Vec<_>>(), (0..plan.moves.len()).collect::<Vec<_>>());
        let mut asked = BTreeSet::new();
        for batch in &batches {
            let folder = plan.read(batch.items.start).unwrap().0;
            let own: BTreeSet<(u64, u32)> = batch.items.clone().map(|position| {
                let (source, at) = plan.read(position).unwrap();
                assert_eq!((source, at.file), (folder, batch.file));
                (at.offset, at.length)
            }).collect();
            let (first, last) = (own.first().unwrap(), own.last().unwrap());
            prop_assert_eq!(batch.range.clone(), first.0..last.0 + u64::from(last.1));
            for (offset, _) in own {
                prop_assert!(asked.insert((folder, batch.file, offset)), "a frame is read twice");
            }
        }
        prop_assert_eq!(asked.len(), reads.len());
        // The digests that a look-up would be asked for.
        let of_sources = missing(sync, |_| true);
        prop_assert_eq!(&of_sources, &reads.keys().copied().collect::<Vec<_>>());
        let of_five: BTreeSet<Digest> = plan.moves.iter().filter(|step| step.source == 5).map(|step| step.from.digest).collect();
        prop_assert_eq!(missing(sync, |source| source == 5), of_five.into_iter().collect::<Vec<_>>());
        // Everything that was asked for is accounted for.
        prop_assert_eq!(total(&savings), savings.asked);
        prop_assert_eq!(savings.asked.blocks, wanted.machines().values().flat_map(|machine| machine.disks.values()).map(|disk| u64::from(disk.block_count())).sum::<u64>());
        prop_assert_eq!(savings.sent.blocks, reads.keys().filter(|digest| !loans.contains_key(*digest)).count() as u64);
        let twice = plan.detours.values().filter(|detour| detour.why == Saving::Twice).count() as u64;
        prop_assert_eq!(savings.twice.blocks, twice);
        // Whatever comes of it, it stays accounted for.
        let came = |position: usize| [Came::AsPlanned, Came::FromSource, Came::WithAnother, Came::Not][position % 4];
        let settled = savings.settled(&plan, came);
        prop_assert_eq!(total(&settled), settled.asked);
        prop_assert_eq!(settled.left.blocks, (0..plan.moves.len()).filter(|position| position % 4 == 3).count() as u64);
    }
}
