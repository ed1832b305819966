//! Rules about documents: that they are there, that their links lead somewhere, and that what must
//! be written about is.

use std::path::Path;

use super::crates::dependencies;
use super::{Complaint, File, Tree};

/// Lines of ARCHITECTURE.md: a map that nobody can fold is no map.
const ARCHITECTURE_LINES_MAX: usize = 400;

pub(super) fn check(tree: &Tree, complaints: &mut Vec<Complaint>) {
    for file in tree.ending(".md") {
        check_links(tree, file, complaints);
    }
    check_architecture(tree, complaints);
    check_changelog(tree, complaints);
    check_mentions(tree, "docs/limits.md", limits(tree), complaints);
    check_mentions(tree, "docs/operations.md", variables(tree), complaints);
    check_mentions(tree, "crates/sim/src/coverage.rs", marks(tree), complaints);
}

/// Relative links must lead to a file or a folder.
fn check_links(tree: &Tree, file: &File, complaints: &mut Vec<Complaint>) {
    let folder = Path::new(&file.path).parent().unwrap_or_else(|| Path::new(""));
    let mut fenced = false;
    for (number, line) in (1..).zip(file.text.lines()) {
        fenced ^= line.starts_with("```");
        for link in links(line).filter(|_| !fenced) {
            let path = link.split('#').next().unwrap_or(link);
            if path.is_empty() || path.contains("://") || path.starts_with("mailto:") {
                continue;
            }
            if !tree.root.join(folder).join(path).exists() {
                complaints.push(file.complain(number, format!("the link {link} leads nowhere")));
            }
        }
    }
}

/// The targets of the links `[…](…)` in a line.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split_once(')').map(|(target, _)| target))
}

fn check_architecture(tree: &Tree, complaints: &mut Vec<Complaint>) {
    let Some(root) = tree.get("Cargo.toml") else { return };
    let guests = dependencies(&root.text, |section| section == "workspace.dependencies");
    let folders = tree.ending("/Cargo.toml").filter_map(|file| file.path.split('/').rev().nth(1));
    let names = guests.chain(folders).map(|name| format!("`{name}`"));
    check_mentions(tree, "ARCHITECTURE.md", names.collect(), complaints);
    let Some(file) = tree.get("ARCHITECTURE.md") else { return };
    if file.text.lines().count() > ARCHITECTURE_LINES_MAX {
        let reason = format!("more than {ARCHITECTURE_LINES_MAX} lines: move a part to docs/");
        complaints.push(file.complain(0, reason));
    }
}

fn check_changelog(tree: &Tree, complaints: &mut Vec<Complaint>) {
    let Some(root) = tree.get("Cargo.toml") else { return };
    let version = root.text.lines().find_map(|line| line.strip_prefix("version = "));
    let version = version.unwrap_or_default().trim_matches('"');
    check_mentions(tree, "CHANGELOG.md", vec![format!("## {version} ")], complaints);
}

/// `path` must hold each of these words.
fn check_mentions(tree: &Tree, path: &str, words: Vec<String>, complaints: &mut Vec<Complaint>) {
    let Some(file) = tree.get(path) else {
        let reason = "it is missing".into();
        complaints.push(Complaint { path: path.into(), line: 0, reason });
        return;
    };
    for word in words.iter().filter(|word| !file.text.contains(word.as_str())) {
        complaints.push(file.complain(0, format!("it does not say anything about {word}")));
    }
}

/// The names of all limits that a user can meet: those of a simulated cluster are figures of a test.
fn limits(tree: &Tree) -> Vec<String> {
    let files = tree.ending("/limits.rs").filter(|file| !file.path.starts_with("crates/sim/"));
    let lines = files.flat_map(|file| file.text.lines());
    lines.filter_map(constant).map(|name| format!("`{name}`")).collect()
}

/// The name of the constant that this line defines.
fn constant(line: &str) -> Option<&str> {
    let line =
        ["pub ", "pub(crate) "].iter().find_map(|word| line.strip_prefix(word)).unwrap_or(line);
    let (name, _) = line.strip_prefix("const ")?.split_once(':')?;
    (name != "_").then_some(name)
}

/// The names of all rare branches of the product that carry a mark: somebody must watch for each.
fn marks(tree: &Tree) -> Vec<String> {
    let product =
        |file: &&File| file.path.starts_with("crates/") && !file.path.starts_with("crates/stdx/");
    let parts =
        tree.ending(".rs").filter(product).flat_map(|file| file.text.split(" mark!(\"").skip(1));
    parts.filter_map(|rest| rest.split('"').next()).map(|name| format!("\"{name}\"")).collect()
}

/// The environment variables of all settings.
fn variables(tree: &Tree) -> Vec<String> {
    let Some(file) = tree.get("crates/synod/src/settings.rs") else { return Vec::new() };
    let parts = file.text.split("env = \"").skip(1);
    parts.filter_map(|rest| rest.split('"').next()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tree_of;
    use super::{check_links, check_mentions, constant, limits, links};

    #[test]
    fn a_link_that_leads_nowhere_is_seen_and_others_are_not_followed() {
        let text = "[a](b.md) [c](https://d.example) [e](#f)\n```\n[g](h.md)\n```\n";
        let tree = tree_of(&[("docs/a.md", text)]);
        let mut complaints = Vec::new();
        check_links(&tree, &tree.files[0], &mut complaints);
        assert_eq!(complaints.len(), 1);
        assert_eq!(complaints[0].to_string(), "docs/a.md:1: the link b.md leads nowhere");
        assert_eq!(links("x [a](b#c) y [d](e)").collect::<Vec<_>>(), ["b#c", "e"]);
    }

    #[test]
    fn a_limit_that_nobody_writes_about_is_seen() {
        let source =
            "//! L.\npub const A_MAX: u32 = 1;\nconst _: () = ();\nconst B_MAX: u32 = 2;\n";
        let tree = tree_of(&[("docs/limits.md", "`A_MAX`\n"), ("crates/a/src/limits.rs", source)]);
        let mut complaints = Vec::new();
        check_mentions(&tree, "docs/limits.md", limits(&tree), &mut complaints);
        let texts: Vec<String> = complaints.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["docs/limits.md: it does not say anything about `B_MAX`"]);
        assert_eq!(constant("    pub const FIELD: u32 = 1;"), None, "one of a type, no limit");
    }
}
