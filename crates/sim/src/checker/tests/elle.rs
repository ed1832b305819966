//! The classes of Elle, each by the smallest history that has it.

use super::{bad, good};

#[test]
fn transactions_that_happen_one_after_the_other_are_fine() {
    good(
        "1 1 2 append x 1 > 1; r y > []\n 2 3 4 append y 1 > 1; r x > [1]\n 1 5 8 r x > [1]; r y > [1]
         2 6 7 append x 2 > 2; r x > [1 2]\n 1 9 10 r x > [1 2]",
    );
}

#[test]
fn a_list_is_read_as_it_was_written() {
    bad("garbage", "1 1 2 r x > [1]");
    bad("duplicate", "1 1 2 append x 1 > 1\n 1 3 4 r x > [1 1]");
    bad(
        "incompatible order",
        "1 1 9 append x 1\n 2 2 8 append x 2\n 3 3 4 r x > [1 2]\n 4 3 5 r x > [2]",
    );
    bad("lost or moved", "1 1 2 append x 1 > 1\n 1 3 4 append x 2 > 2\n 2 5 6 r x > [2 1]");
    bad("internal", "1 1 2 append x 1 > 1; r x > []\n 2 3 4 r x > [1]");
}

#[test]
fn nobody_reads_what_failed_or_is_half_done() {
    bad("G1a", "1 1 x2 append x 1\n 2 1 3 r x > [1]");
    bad("G1b", "1 1 9 append x 1 > 1; append x 2 > 2\n 2 2 3 r x > [1]\n 2 10 11 r x > [1 2]");
    good("1 1 - append x 1; append x 2\n 2 2 3 r x > [1 2]");
}

#[test]
fn cycles_are_named_by_their_edges() {
    let write = "1 1 9 append x 1; append y 1\n 2 2 8 append x 2; append y 2\n";
    bad("G0", &format!("{write} 3 10 11 r x > [1 2]; r y > [2 1]"));
    bad("G1c", "1 1 9 append x 1 > 1; r y > [1]\n 2 2 8 append y 1 > 1; r x > [1]");
    bad(
        "G-single",
        "1 1 9 append x 1 > 1; append y 1 > 1\n 2 2 8 r x > [1]; r y > []\n 3 10 11 r y > [1]",
    );
    bad(
        "G2",
        "1 1 9 append x 1 > 1; r y > []\n 2 2 8 append y 1 > 1; r x > []\n 3 10 11 r x > [1]; r y > [1]",
    );
}

#[test]
fn serializable_and_stale_is_not_strict() {
    let stale = "1 1 2 append x 1 > 1\n 2 3 4 r x > []\n 2 5 6 r x > [1]";
    bad("G-single in real time", stale);
    // What was acknowledged and is never seen again is lost.
    bad("G-single in real time", "1 1 2 append x 1 > 1\n 2 3 4 r x > []");
    bad("lost or moved", "1 1 2 append x 1 > 1\n 2 3 4 append x 2 > 1\n 2 5 6 r x > [2]");
    good("1 1 - append x 1\n 2 3 4 r x > []");
    bad("G-single in real time", "1 1 - append x 1\n 2 2 3 r x > [1]\n 2 4 5 r x > []");
}
