//! `cargo xtask tidy`: the rules of this house that the compiler and clippy do not know.
//!
//! - [`text`]: every file: headers, length, tabs, attributes.
//! - [`crates`]: floors, lints, pure crates, dependencies.
//! - [`docs`]: links, limits, settings and dependencies that must be written about.
//!
//! A rule is a function over the tree that adds complaints. All of them are shown, with a place, a
//! reason and what to do; nothing is mended here.

mod crates;
mod docs;
mod text;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// Looks at the whole tree.
pub(crate) fn run() -> Result<(), String> {
    let tree = Tree::read(&root())?;
    let mut complaints = Vec::new();
    text::check(&tree, &mut complaints);
    crates::check(&tree, &mut complaints);
    docs::check(&tree, &mut complaints);
    for complaint in &complaints {
        eprintln!("{complaint}");
    }
    match complaints.len() {
        0 => {
            eprintln!("tidy: {} files, nothing to complain about", tree.files.len());
            Ok(())
        }
        count => Err(format!("tidy: {count} complaints")),
    }
}

/// The directory of the workspace.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Something that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Complaint {
    path: String,
    /// From 1; 0 is the whole file.
    line: usize,
    reason: String,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.reason),
            line => write!(f, "{}:{line}: {}", self.path, self.reason),
        }
    }
}

/// A text file of ours.
#[derive(Clone, Debug)]
struct File {
    /// From the root, with slashes.
    path: String,
    text: String,
}

impl File {
    fn complain(&self, line: usize, reason: impl Into<String>) -> Complaint {
        Complaint { path: self.path.clone(), line, reason: reason.into() }
    }
}

/// All text files of ours, by path.
#[derive(Debug, Default)]
struct Tree {
    root: PathBuf,
    files: Vec<File>,
}

/// What is ours to keep tidy.
const EXTENSIONS: &[&str] = &["rs", "md", "toml", "sh", "py"];

/// Folders that are not source.
const SKIPPED: &[&str] = &["target", "corpus", "artifacts", "synod-data"];

impl Tree {
    fn read(root: &Path) -> Result<Tree, String> {
        let mut tree = Tree { root: root.to_owned(), files: Vec::new() };
        tree.walk(root)?;
        tree.files.sort_by(|left, right| left.path.cmp(&right.path));
        Ok(tree)
    }

    fn walk(&mut self, folder: &Path) -> Result<(), String> {
        let failed = |error| format!("{}: {error}", folder.display());
        for entry in fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let extension = path.extension().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                if !name.starts_with('.') && !SKIPPED.contains(&name.as_str()) {
                    self.walk(&path)?;
                }
            } else if EXTENSIONS.contains(&extension.as_str()) {
                let text = fs::read_to_string(&path)
                    .map_err(|error| format!("{}: {error}", path.display()))?;
                let path = path.strip_prefix(&self.root).unwrap_or(&path);
                let path = path.to_string_lossy().replace('\\', "/");
                self.files.push(File { path, text });
            }
        }
        Ok(())
    }

    /// The file at this path.
    fn get(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    /// Every file whose name ends so.
    fn ending<'a>(&'a self, end: &'a str) -> impl Iterator<Item = &'a File> {
        self.files.iter().filter(move |file| file.path.ends_with(end))
    }
}

/// A tree of these files, for tests of the rules.
#[cfg(test)]
fn tree_of(files: &[(&str, &str)]) -> Tree {
    let file = |(path, text): &(&str, &str)| File { path: (*path).into(), text: (*text).into() };
    Tree { root: PathBuf::new(), files: files.iter().map(file).collect() }
}
