//! Rules about crates: who may know whom, and which lints hold.
//!
//! Manifests are read line by line: ours have one dependency a line and no clever tables.

use super::{Complaint, File, Tree};

/// The floor of every crate. A crate may depend on lower floors; on its own only where `SAME_FLOOR`
/// says so.
const FLOORS: &[(&str, u32)] = &[
    ("stdx", 0),
    ("consensus", 1),
    ("keyspace", 1),
    ("wire", 1),
    ("hashring", 1),
    ("storage", 1),
    ("rdb", 1),
    ("node", 2),
    ("client", 2),
    ("server", 3),
    ("sim", 4),
    ("synod", 4),
];

/// Edges within a floor, each with its reason in ARCHITECTURE.md.
const SAME_FLOOR: &[(&str, &str)] =
    &[("keyspace", "wire"), ("keyspace", "hashring"), ("synod", "sim")];

/// No clock, socket, file, thread, dice or order of a hash map: their `clippy.toml` sees to it.
const PURE: &[&str] = &["consensus", "keyspace", "wire", "hashring", "rdb", "node"];

/// What the `clippy.toml` of a pure crate must forbid.
const FORBIDDEN: &[&str] = &[
    "std::collections::HashMap",
    "std::collections::HashSet",
    "std::time::Instant",
    "std::time::SystemTime",
    "std::fs::File",
    "std::net::TcpStream",
    "std::thread::spawn",
    "std::thread::sleep",
];

pub(super) fn check(tree: &Tree, complaints: &mut Vec<Complaint>) {
    let manifests = || tree.ending("/Cargo.toml").filter(|file| !file.path.starts_with("fuzz/"));
    for file in manifests() {
        if !in_section(&file.text, |section| section == "lints", "workspace = true") {
            complaints.push(file.complain(0, "[lints] workspace = true is missing"));
        }
        if let Some(name) = crate_of(&file.path) {
            check_floor(file, name, complaints);
        }
    }
    for name in PURE {
        check_pure(tree, name, complaints);
    }
    if let Some(root) = tree.get("Cargo.toml") {
        let all = dependencies(&root.text, |section| section == "workspace.dependencies");
        for dependency in all.filter(|name| floor_of(name).is_none()) {
            let used = |file: &File| {
                dependencies(&file.text, is_dependencies).any(|name| name == dependency)
            };
            if !manifests().any(used) {
                complaints.push(root.complain(0, format!("no crate depends on {dependency}")));
            }
        }
    }
}

fn check_floor(file: &File, name: &str, complaints: &mut Vec<Complaint>) {
    let Some(floor) = floor_of(name) else {
        complaints.push(file.complain(0, format!("xtask/src/tidy knows no floor of {name}")));
        return;
    };
    for dependency in dependencies(&file.text, is_dependencies) {
        let Some(other) = floor_of(dependency) else { continue };
        if other >= floor && !SAME_FLOOR.contains(&(name, dependency)) {
            let reason = format!("{name} (floor {floor}) may not know {dependency} ({other})");
            complaints.push(file.complain(0, reason));
        }
    }
}

fn check_pure(tree: &Tree, name: &str, complaints: &mut Vec<Complaint>) {
    let path = format!("crates/{name}/clippy.toml");
    let Some(file) = tree.get(&path) else {
        let reason = "a pure crate keeps its own clippy.toml".into();
        complaints.push(Complaint { path, line: 0, reason });
        return;
    };
    for forbidden in FORBIDDEN.iter().filter(|item| !file.text.contains(**item)) {
        complaints.push(file.complain(0, format!("a pure crate must forbid {forbidden}")));
    }
}

fn floor_of(name: &str) -> Option<u32> {
    FLOORS.iter().find(|(known, _)| *known == name).map(|(_, floor)| *floor)
}

/// The crate that this manifest describes, if it is one of the house's floors.
fn crate_of(path: &str) -> Option<&str> {
    path.strip_prefix("crates/")?.strip_suffix("/Cargo.toml")
}

fn is_dependencies(section: &str) -> bool {
    section.ends_with("dependencies") && !section.starts_with("workspace")
}

/// The names in the sections that `wanted` picks.
pub(super) fn dependencies(
    text: &str,
    wanted: impl Fn(&str) -> bool,
) -> impl Iterator<Item = &str> {
    let mut within = false;
    text.lines().filter_map(move |line| {
        if let Some(section) = line.strip_prefix('[') {
            within = wanted(section.trim_end_matches(']'));
            return None;
        }
        let (name, _) = line.split_once('=')?;
        let name = name.trim().trim_end_matches(".workspace");
        (within && !name.starts_with('#')).then_some(name)
    })
}

fn in_section(text: &str, wanted: impl Fn(&str) -> bool, line: &str) -> bool {
    let mut within = false;
    text.lines().any(|candidate| {
        if let Some(section) = candidate.strip_prefix('[') {
            within = wanted(section.trim_end_matches(']'));
        }
        within && candidate == line
    })
}

#[cfg(test)]
mod tests {
    use super::super::tree_of;
    use super::{FORBIDDEN, PURE, check};

    fn complaints(path: &str, text: &str) -> Vec<String> {
        let clippy = FORBIDDEN.join("\n");
        let pure: Vec<String> = PURE.iter().map(|n| format!("crates/{n}/clippy.toml")).collect();
        let mut files: Vec<(&str, &str)> =
            pure.iter().map(|path| (path.as_str(), clippy.as_str())).collect();
        files.push((path, text));
        let mut complaints = Vec::new();
        check(&tree_of(&files), &mut complaints);
        complaints.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_upward_edge_is_refused() {
        let path = "crates/consensus/Cargo.toml";
        let lints = "[lints]\nworkspace = true\n";
        let good = format!("{lints}[dependencies]\nstdx.workspace = true\n");
        assert_eq!(complaints(path, &good), Vec::<String>::new());
        for (edge, word) in [("storage", "may not know storage"), ("server", "server (3)")] {
            let bad = format!("{lints}[dev-dependencies]\n{edge}.workspace = true\n");
            assert!(complaints(path, &bad)[0].contains(word));
        }
        let unknown = complaints("crates/attic/Cargo.toml", lints);
        assert!(unknown[0].contains("knows no floor of attic"), "{unknown:?}");
    }

    #[test]
    fn lints_and_unused_guests_are_seen() {
        assert!(complaints("crates/stdx/Cargo.toml", "[package]\n")[0].contains("[lints]"));
        let root = "[workspace.dependencies]\n# A guest.\nh2 = \"0.4\"\n";
        assert_eq!(complaints("Cargo.toml", root), ["Cargo.toml: no crate depends on h2"]);
    }
}
