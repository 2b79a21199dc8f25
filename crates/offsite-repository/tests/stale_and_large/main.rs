//! The suite tells repositories that are wrong about what was before, about what was given up, about parts of large objects, or at
//! the ends of pages; each by the one case that names it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod place;
mod writer;

use std::future::ready;
use std::sync::Arc;

use offsite_repository::testing::conformance::{self, Options, Outcome, Report};

use self::place::{Flaw, Place};

/// Objects of these parts have more bytes than any other case writes.
const PART_BYTES: usize = 512 << 10;

async fn report(flaw: Flaw, part_bytes: usize, options: Options, cases: &[&str]) -> Report {
    let place = Place::new(flaw, part_bytes);
    let factory = conformance::factory(move || ready(Ok(place.opened_anew())));
    let report = conformance::check_cases(factory, &options, cases).await;
    println!("{flaw:?}\n{report}");
    report
}

fn failing(report: &Report) -> Vec<&'static str> {
    report.failed().map(|case| case.name).collect()
}

/// So that the cases of large objects alone write large ones.
fn options() -> Options {
    Options::default().with_large_object_bytes(200_003)
}

async fn failing_of_all(flaw: Flaw) -> Vec<&'static str> {
    failing(&report(flaw, PART_BYTES, options(), &conformance::cases()).await)
}

async fn failing_in_one_handle(flaw: Flaw) -> Vec<&'static str> {
    let report = conformance::check(Arc::new(Place::new(flaw, PART_BYTES)), &options()).await;
    println!("{flaw:?}\n{report}");
    failing(&report)
}

/// Each flaw fails this case and no other.
macro_rules! caught {
    ($failing:ident $($test:ident: $flaw:ident by $case:literal;)*) => {$(
        #[tokio::test]
        async fn $test() {
            assert_eq!($failing(Flaw::$flaw).await, [$case]);
        }
    )*};
}

// Wrong in each handle, and so in a second one, too.
caught! { failing_in_one_handle
    abort_appears_late: AbortAppearsLate by "late_abort";
    abort_appears_on_sweep: AbortAppearsOnSweep by "late_abort";
    drop_appears_late: DropAppearsLate by "late_drop";
}

caught! { failing_of_all
    other_handle_remembers_objects: HandleRemembersObjects by "second_handle_reads";
    other_handle_remembers_ranges: HandleRemembersRanges by "second_handle_reads";
    other_handle_lists_nothing_new: HandleListsNothingNew by "second_handle_lists";
    other_handle_lists_the_deleted: HandleListsTheDeleted by "second_handle_lists";
    other_handle_remembers_lengths: HandleRemembersLengths by "second_handle_lengths";
    content_of_before: ContentOfBefore by "recreated_content";
    ranges_of_before: RangesOfBefore by "recreated_content";
    length_of_before: LengthOfBefore by "recreated_length";

    range_ends_at_a_page: RangeEndsAtPage by "range_ends";
    range_starts_at_a_page: RangeStartsAtPage by "range_ends";
    range_spans_pages: RangeSpansPages by "range_ends";
    object_ends_at_a_page: ObjectEndsAtPage by "range_ends";
    range_ends_at_a_part: RangeEndsAtPart by "large_ranges";
    range_starts_at_a_part: RangeStartsAtPart by "large_ranges";
    range_spans_parts: RangeSpansParts by "large_ranges";

    large_is_truncated: LargeIsTruncated by "large_content";
    large_is_listed_short: LargeIsListedShort by "large_content";
    large_is_damaged_inside: LargeIsDamagedInside by "large_content";
    last_part_is_lost_if_full: LastPartIsLostIfFull by "large_content";
    large_ranges_are_cut_short: LargeRangesAreCutShort by "large_past_end";
    large_limit_is_ignored: LargeLimitIsIgnored by "large_past_end";
    large_delete_does_nothing: LargeDeleteDoesNothing by "large_delete";
    large_delete_hides_from_lists: LargeDeleteHidesFromLists by "large_delete";
    large_create_overwrites: LargeCreateOverwrites by "large_create_if_absent";
    large_racers_all_win: LargeRacersAllWin by "large_create_if_absent";
    large_is_visible_early: LargeIsVisibleEarly by "large_atomic_finish";
    large_is_listed_early: LargeIsListedEarly by "large_atomic_finish";
    large_abort_finishes: LargeAbortFinishes by "large_abort_and_drop";
    large_drop_finishes: LargeDropFinishes by "large_abort_and_drop";
    large_abort_appears_late: LargeAbortAppearsLate by "large_abort_and_drop";

    abort_appears_when_free: AbortAppearsWhenFree by "late_abort";
    loser_appears_late: LoserAppearsLate by "late_loser";
    deleted_appears_late: DeletedAppearsLate by "late_delete";
    abort_overwrites_late: AbortOverwritesLate by "abort_then_finish";
    abort_forgets_the_name: AbortForgetsTheName by "abort_then_finish";
    abort_appears_elsewhere: AbortAppearsElsewhere by "second_handle_aborts";
    drop_appears_elsewhere: DropAppearsElsewhere by "second_handle_aborts";

    long_list_is_cut: LongListIsCut by "list_long";
    long_list_is_out_of_order: LongListIsOutOfOrder by "list_long";
    full_page_is_the_last: FullPageIsTheLast by "list_long";
    full_page_loses_the_next: FullPageLosesTheNext by "list_long";
}

#[tokio::test]
async fn a_place_without_a_flaw_passes() {
    assert_eq!(failing_of_all(Flaw::None).await, [""; 0]);
}

/// Pages and parts of the lengths that there are, which take objects of megabytes.
#[tokio::test]
async fn edges_of_real_pages_and_parts_are_tried() {
    for (edge, part_bytes) in [(4 << 10, 8 << 20), (64 << 10, 8 << 20), (1 << 20, 8 << 20), (5 << 20, 8 << 20)] {
        for flaw in [Flaw::EndsAt(edge), Flaw::StartsAt(edge), Flaw::Spans(edge)] {
            let report = report(flaw, part_bytes, Options::default(), &["range_ends"]).await;
            assert_eq!(failing(&report), ["range_ends"], "{flaw:?}");
        }
    }
    for part_bytes in [5 << 20, 8 << 20, 16 << 20] {
        for flaw in [Flaw::EndsAt(part_bytes as u64), Flaw::StartsAt(part_bytes as u64), Flaw::Spans(part_bytes as u64)]
        {
            let report = report(flaw, part_bytes, Options::default(), &["large_ranges"]).await;
            assert_eq!(failing(&report), ["large_ranges"], "{flaw:?}");
        }
        let report = report(Flaw::LargeIsTruncated, part_bytes, Options::default(), &["large_content"]).await;
        assert_eq!(failing(&report), ["large_content"], "{part_bytes}");
    }
}

/// What cannot be tried is neither passed nor failed, and says why.
#[tokio::test]
async fn parts_that_are_too_long_are_left_out() {
    let large = ["large_content", "large_ranges", "large_past_end", "large_delete", "large_create_if_absent"];
    let large = [&large[..], &["large_atomic_finish", "large_abort_and_drop"]].concat();
    let report = report(Flaw::LargeIsTruncated, 8 << 20, Options::quick(), &large).await;
    assert!(report.nothing_failed() && report.passed().next().is_none(), "{report}");
    for case in report.left_out() {
        let Outcome::LeftOut(why) = &case.outcome else { unreachable!("it is left out") };
        assert!(why.contains("a part has 8388608 bytes here; more than 1048576 are not written"), "{why}");
    }
    assert_eq!(report.left_out().count(), large.len());
}
