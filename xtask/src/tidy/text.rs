//! Rules about the text of one file.

use super::{Complaint, File, Tree};

/// Lines of a source file without its tests.
const LINES_MAX: usize = 1000;

/// Lines of an example, the comment at its top included.
const EXAMPLE_LINES_MAX: usize = 80;

pub(super) fn check(tree: &Tree, complaints: &mut Vec<Complaint>) {
    for file in &tree.files {
        check_lines(file, complaints);
        if file.path.ends_with(".rs") {
            check_source(file, complaints);
        }
        if file.path.starts_with("examples/") && !file.path.ends_with(".md") {
            check_example(file, complaints);
        }
    }
}

fn check_lines(file: &File, complaints: &mut Vec<Complaint>) {
    for (number, line) in (1..).zip(file.text.lines()) {
        if line.contains('\t') {
            complaints.push(file.complain(number, "a tab: use spaces"));
        }
        if line.ends_with(' ') || line.ends_with('\r') {
            complaints.push(file.complain(number, "space at the end of the line"));
        }
    }
    if !file.text.ends_with('\n') || file.text.ends_with("\n\n") {
        complaints.push(file.complain(0, "it must end with one line break"));
    }
}

fn check_source(file: &File, complaints: &mut Vec<Complaint>) {
    if !file.text.starts_with("//! ") {
        complaints.push(file.complain(1, "it must open with `//!`: what is this file?"));
    }
    let header = file.text.lines().take_while(|line| line.starts_with("//!"));
    for (number, line) in (1..).zip(header) {
        if line.contains(concat!("FIX", "ME")) {
            complaints.push(file.complain(number, "no header excuses itself"));
        }
    }
    for (number, line) in (1..).zip(file.text.lines()) {
        let line = line.trim_start();
        if line.starts_with("#[allow(") || line.starts_with("#![allow(") {
            complaints.push(file.complain(number, "use #[expect(lint, reason = \"…\")]"));
        }
        if line.starts_with("fn test_") {
            complaints.push(file.complain(number, "the name of a test is a claim"));
        }
    }
    let lines = source_lines(&file.text);
    if !is_test(&file.path) && lines > LINES_MAX {
        let reason = format!("{lines} lines without tests, of {LINES_MAX}: split it");
        complaints.push(file.complain(0, reason));
    }
}

fn check_example(file: &File, complaints: &mut Vec<Complaint>) {
    let lines = file.text.lines().count();
    if lines >= EXAMPLE_LINES_MAX {
        let reason = format!("{lines} lines: an example has less than {EXAMPLE_LINES_MAX}");
        complaints.push(file.complain(0, reason));
    }
    let first = file.text.lines().find(|line| !line.starts_with("#!")).unwrap_or_default();
    if !first.starts_with("# ") && !first.starts_with("//! ") {
        complaints.push(file.complain(1, "it must open with when one would want it"));
    }
}

/// Is the whole file a test?
fn is_test(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("/tests.rs")
}

/// How many lines stand before the tests, which are last.
fn source_lines(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let tests = lines.windows(2).position(|pair| {
        pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{')
    });
    tests.unwrap_or(lines.len())
}

#[cfg(test)]
mod tests {
    use super::super::tree_of;
    use super::{check, source_lines};

    fn complaints(path: &str, text: &str) -> Vec<String> {
        let mut complaints = Vec::new();
        check(&tree_of(&[(path, text)]), &mut complaints);
        complaints.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_rule_of_text_has_a_file_that_breaks_it() {
        let path = "crates/a/src/lib.rs";
        assert_eq!(complaints(path, "//! A.\n"), Vec::<String>::new());
        for (text, place) in [
            ("fn a() {}\n", ":1: it must open"),
            ("//! A.\n\tfn a() {}\n", ":2: a tab"),
            ("//! A. \n", ":1: space"),
            ("//! A.", ": it must end"),
            (concat!("//! A, FIX", "ME.\n"), ":1: no header"),
            ("//! A.\n    #[allow(dead_code)]\n", ":2: use #[expect"),
            ("//! A.\n    fn test_a() {}\n", ":2: the name of a test"),
        ] {
            let found = complaints(path, text);
            assert_eq!(found.len(), 1, "{text:?}: {found:?}");
            assert!(found[0].starts_with(&format!("{path}{place}")), "{found:?}");
        }
        let long = format!("//! A.\n{}", "fn a() {}\n".repeat(1000));
        assert!(complaints(path, &long)[0].contains("1001 lines"));
        assert!(complaints("crates/a/tests/long.rs", &long).is_empty());
        assert!(complaints("examples/a.sh", "#!/bin/sh\nls\n")[0].contains("when one would want"));
    }

    #[test]
    fn tests_are_not_counted() {
        assert_eq!(source_lines("//! A.\nfn a() {}\n#[cfg(test)]\nmod tests {\n}\n"), 2);
        assert_eq!(source_lines("#[cfg(test)]\nmod tests;\nfn a() {}\n"), 3);
    }
}
