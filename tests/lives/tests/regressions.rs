//! Lives that broke a law once, as short as they were found.

use offsite_lives::many::relive;

fn holds(text: &str) {
    relive(text).unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn a_full_whose_file_was_cut_off_is_not_folded_into() {
    holds(
        "places 0 0 30 0 0 hours 7; join 0 22 1; backup 0 168 1; run 0 14 1; join 0 142 1; backup 0 95 1; run 0 92 1; \
         backup 0 6 1; damage 3 9 1; run 0 123 1",
    );
}

#[test]
fn a_plan_knows_what_a_writer_of_which_nothing_is_known_may_still_write_into() {
    holds(
        "places 0 0 14 0 0 hours 75; join 0 116 1; backup 0 37 1; run 0 176 1; backup 0 35 1; run 0 19 1 !fault 88; \
         run 0 58 1 !lost-answer 14; restart 0 169 1; backup 0 152 1 !full 55; run 0 153 1",
    );
}

#[test]
fn a_source_file_that_was_cut_off_costs_only_the_machines_that_it_touches() {
    holds(
        "places 0 0 0 0 0 hours 7; join 0 144 1; join 0 146 1; backup 0 76 1; rename 0 150 1; run 0 32 1; backup 0 27 1; \
         damage 3 129 1; sync 0 137 1; run 2 86 1",
    );
}

#[test]
fn verification_names_no_machine_of_a_point_that_was_cut_off_at_it() {
    holds(
        "places 0 0 0 0 0 hours 7; join 0 35 1; join 0 82 1; backup 3 147 1; add-disk 0 137 1; run 9 168 1; \
         backup 0 119 1 !lost-answer 81; sync 0 71 1 !gate 1643; damage 3 59 1; verify 3 123 1",
    );
}

#[test]
fn a_plan_of_several_folds_is_not_misled_by_what_the_first_will_write() {
    holds(
        "places 0 0 6 0 0 hours 7; join 0 152 1; backup 0 96 1; backup 0 34 1; run 0 1; backup 0 61 1; transform 0 92 1; \
         restore 3 42 1; sync 0 138 1; sync 0 131 1; run 0 1 1; transform 0 170 1; sync 0 42 1; sync 10 89 1; backup 0 80 1; \
         transform 0 28 1; backup 0 33 1; run 4 152 1; run 0 36 1; transform 0 1; run 0 25 1; restore 3 139 1; transform 0 120 1; \
         transform 0 88 1; backup 0 165 1; grow 0 54 1; backup 0 23 1; policy 0 0 15; run 0 42 1; backup 0 58 1; sync 0 159 1; \
         backup 0 140 1; run 0 165 1",
    );
}

#[test]
fn an_archive_is_not_lost_with_the_older_chain_that_it_is_an_increment_of() {
    holds(
        "places 0 0 0 0 0 hours 75; policy 0 113 15; run 0 117 1 !lost-answer 46; run 0 51 1; join 0 1; sync !gate 1459; backup; \
         run; backup; run; repair 0 1; backup 0 8 1; sync 0 9 1; policy 0 0 5; backup; run",
    );
}

#[test]
fn a_full_made_of_an_increment_keeps_the_machine_that_a_copy_was_cut_off_at() {
    holds(
        "places 0 0 0 0 0 hours 75; join 9 106 1; policy 0 1 59; backup 0 171 1; run; backup; run; join; backup; damage 0 80 1; \
         run; policy 0 64 37; transform 0 106 1",
    );
}

#[test]
fn what_a_repair_commits_has_a_second_copy_whatever_cuts_it_off() {
    holds(
        "places 0 0 0 0 0 hours 24; join 0 1; backup; damage 0 20 1; run; mend; run; damage 3 139 1; damage 3 24 1; \
         repair 3 43 1 !power-cut 4",
    );
}

#[test]
fn what_is_damaged_here_and_in_its_source_hinders_no_copy() {
    holds("places 0 0 0 0 0 hours 7; join 0 59 1; backup; run; damage 3 40 1; verify 3; damage 0 10 1; run");
    holds(
        "places 0 0 0 0 0 hours 24; join 0 63 1; backup; run; damage 0 129 1; leave 0 106 1; join 0 175 1; damage 3 110 1; \
         verify 3; backup; run",
    );
}

#[test]
fn a_block_is_put_back_wherever_its_bytes_are() {
    holds(
        "places 0 0 0 0 0 hours 1; join 0 102 1; backup; keep 0 91 1; run 1 124 1; drive 7 100 1; run 0 97 1; rename 10 47 1; \
         backup 0 135 1; damage 3 70 1; verify 3; backup; run",
    );
    // Of what a plan is to copy first, it knows that it will be intact.
    holds(
        "places 0 0 0 0 0 hours 7; join 0 110 1; backup; rename 0 43 1; run 0 120 1; damage 3 10 1; verify 3; backup; run 0 1",
    );
}

#[test]
fn a_lost_file_costs_no_point_while_a_head_tells_of_it() {
    holds(
        "places 0 0 0 0 0 hours 75; join 0 147 1; backup 0 3 1; run 0 89 1; damage 3 109 1; write 0 144 1; backup 0 100 1; \
         sync 0 57 1 !outage 33; repair 3 8 1",
    );
}

#[test]
fn what_is_cloned_out_of_a_cut_file_is_moved() {
    holds(
        "places 0 0 23 0 0 hours 1; join 6 40 1; share 0 89 1; compaction 0 27 1; join; backup; run; damage 3 79 1; \
         transform 0 120 1; run 0 97 1",
    );
}

#[test]
fn a_note_that_an_outage_left_is_removed_by_the_next_run() {
    holds(
        "places 0 0 0 0 0 hours 170; join 0 75 1; join 0 87 1; backup 0 18 !fault 49; run 0 10 1 !outage@source 28; run 0 58 1; \
         idle 3 97 1; run 0 95 1 !fault 19; verify 3 154 1; run 0 162 1; run 0 42 1; run 0 174 1; verify 3 124 1 !outage 37; \
         idle 3 133 1",
    );
}

#[test]
fn a_flag_with_a_date_moves_to_no_increment() {
    holds(
        "places 0 0 0 0 0 hours 170; join 3 76 1; backup; run; backup; run; backup; run; restore 0 31 1; map 1; verify 0 164 1; \
         backup 0 46 1 !full 33; backup 0 18 1; grow 0 49 1; keep 0 137 1; policy 0 48 6; clock 9; backup; run; backup 0 9 1; \
         backup 0 84 1 !outage 69; damage 3 50 1; run 0 75 1; damage 3 90; verify 3; backup; run",
    );
}

/// A source was not there yet, so that nothing was learnt of the selection; the machine was copied, and removed by what was known before.
#[test]
fn a_machine_that_is_selected_again_does_not_go() {
    holds(
        "places 0 0 0 0 0 hours 170; join 0 1; join 0 1; backup; run 0 69 1; select 0 10 1; run 0 20 1; select 0 119 1; deleted 0 172 1; \
         compaction 0 72 1; sources 0 97 1; run 0 1 !kill 77; run",
    );
    holds(
        "places 0 0 0 0 0 hours 170; join 0 1; join 0 1; backup; run 0 69 1; select 0 10 1; run 0 20 1; select 0 119 1; deleted 0 172 1; \
         sources 0 97 1; run",
    );
    holds(
        "places 0 0 0 0 0 hours 170; join 0 1; join 0 1; backup; run 0 69 1; select 0 10 1; run 0 20 1; select 0 119 1; deleted 0 172 1; \
         transform",
    );
}

/// A full that is read whole took the newest state of each machine, though the copy was asked for the next one, and points were left out.
#[test]
fn an_active_full_leaves_no_state_out() {
    holds(
        "places 0 0 0 0 0 hours 170; join; backup 0 0 1; run 0 101 1; policy 0 16 5; backup; backup 0 104 1; sync 0 1 47",
    );
}

/// The damage was gone by itself, and the repair took it out of the note of the verification, though it had nothing to mend.
#[test]
fn a_repair_that_mends_nothing_writes_nothing() {
    holds("places 0 0 0 0 0 hours 75; join 0 1; backup; damage 0 12 1; verify 0 68 1; mend 11 133 1; repair 0 145 1");
}
