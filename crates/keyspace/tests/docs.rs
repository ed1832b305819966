//! docs/commands.md is what the command table says. With `UPDATE_DOCS=1` the test writes it.

use std::fmt::Write as _;
use std::path::Path;

use keyspace::command::{self, Command, Flags, Keys};

const HEAD: &str = "# Commands

Made from the command table (`crates/keyspace/src/command.rs`) by `UPDATE_DOCS=1 cargo test -p keyspace
--test docs`; a test keeps the two in step. Arity counts the name of the command; a negative one is the
least. *Write* goes through the log of the cluster, *read* is answered without it, the rest
concerns the connection or the node that is asked. `since` is the version of Redis that brought it.
";

fn has(row: &Command, flag: Flags) -> bool {
    row.flags.0 & flag.0 != 0
}

fn kind(row: &Command) -> &'static str {
    match () {
        () if has(row, Flags::WRITE) => "write",
        () if has(row, Flags::READONLY) => "read",
        () => "",
    }
}

fn keys(row: &Command) -> String {
    match row.keys {
        Keys::None => String::new(),
        Keys::Find(_) => "by its arguments".to_owned(),
        Keys::Range { first, last, .. } if first == last => format!("{first}"),
        Keys::Range { first, last: -1, step: 1 } => format!("from {first}"),
        Keys::Range { first, last, step } => format!("{first} to {last}, step {step}"),
    }
}

fn line(out: &mut String, name: &str, row: &Command) {
    let name = name.to_uppercase();
    let arity = row.arity.to_string();
    let cells = [&name, &arity, kind(row), &keys(row), row.since, row.complexity, row.summary];
    cells.iter().for_each(|cell| *out += &format!("| {} ", cell.replace('|', "\\|")));
    *out += "|\n";
}

fn document() -> String {
    let mut groups: Vec<_> = command::all().iter().map(|row| row.group).collect();
    groups.sort();
    groups.dedup();
    let mut out = HEAD.to_owned();
    for group in groups {
        let _ = write!(out, "\n## {}\n\n", group.name());
        out += "| command | arity | kind | keys | since | cost | what it does |\n";
        out += "| --- | --- | --- | --- | --- | --- | --- |\n";
        for row in command::all().iter().filter(|row| row.group == group) {
            line(&mut out, row.name, row);
            for sub in row.subcommands {
                line(&mut out, &format!("{} {}", row.name, sub.name), sub);
            }
        }
    }
    out
}

#[test]
fn the_document_of_commands_is_what_the_table_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/commands.md");
    let made = document();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap();
    let differs = made.lines().zip(kept.lines()).find(|(made, kept)| made != kept);
    assert_eq!(differs, None, "run it with UPDATE_DOCS=1");
    assert_eq!(made.len(), kept.len(), "run it with UPDATE_DOCS=1");
}
