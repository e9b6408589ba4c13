//! Guards the house: which room may know which, where the outside world may be touched, and how
//! long a file may get.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Rooms by floor, the ground first. A room uses only floors below its own.
const FLOORS: [&[&str]; 5] = [
    &[
        "request", "compose", "safe", "owner", "dstack", "config", "clock", "planted", "siwe",
        "roles",
    ],
    &["store", "chain", "safe_service", "phala", "vault", "notify", "access", "child", "wire"],
    &["intake", "review", "propose", "execute", "watch", "commit", "audit", "remind"],
    &["flow"],
    &["cli", "web", "devnet"],
];
const GROUND: usize = 0;
const DOORS: usize = 4;

/// Who may know a room of the same floor, and why.
const NEIGHBOURS: [(&str, &str, &str); 4] = [
    ("store", "vault", "rows hold sealed tokens, which the store cannot open"),
    ("store", "child", "the private PostgreSQL is a child process"),
    ("phala", "wire", "a client of an HTTP API"),
    ("safe_service", "wire", "a client of an HTTP API"),
];

/// What touches the outside world, and the rooms that may.
const OUTSIDE: [(&str, &[&str]); 9] = [
    ("sqlx::", &["store"]),
    ("axum::", &["web", "devnet"]),
    ("reqwest::", &["wire", "phala", "safe_service", "notify", "chain", "cli"]),
    ("alloy::providers", &["chain", "devnet"]),
    ("alloy::transports", &["chain", "devnet"]),
    ("revm::", &["chain"]),
    ("alloy_signer_local", &["chain", "safe_service", "devnet"]),
    ("Utc::now", &["clock"]),
    ("SystemTime::now", &[]),
];

const LINES_MAX: usize = 400;

struct Source {
    path: PathBuf,
    room: String,
    /// Without comments and without its tests.
    code: String,
    lines: usize,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.clone()];
    let mut sources = vec![];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                sources.push(Source::read(&root, &path));
            }
        }
    }
    sources.retain(|source| !source.path.to_string_lossy().contains("tests"));
    assert!(sources.len() > 50, "the sources are where they are looked for");
    sources
}

impl Source {
    fn read(src: &Path, path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let path = path.strip_prefix(src).unwrap().to_owned();
        let first = path.components().next().unwrap().as_os_str().to_string_lossy();
        let room = first.trim_end_matches(".rs").to_owned();
        let text = text.split("\n#[cfg(test)]").next().unwrap();
        let is_code = |line: &&str| !line.trim_start().starts_with("//");
        let code = text.lines().filter(is_code).collect::<Vec<_>>().join("\n");
        Self { path, room, code, lines: text.lines().count() }
    }

    /// The rooms that it names, other than its own.
    fn known(&self) -> BTreeSet<String> {
        let mut known = BTreeSet::new();
        for (at, _) in self.code.match_indices("crate::") {
            let rest = &self.code[at + "crate::".len()..];
            match rest.strip_prefix('{') {
                Some(list) => known.extend(first_names(list)),
                None => known.extend(name_at(rest)),
            }
        }
        known.remove(&self.room);
        known.retain(|name| floor(name).is_some());
        known
    }
}

/// The name that a text begins with.
fn name_at(text: &str) -> Option<String> {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    (end > 0).then(|| text[..end].to_owned())
}

/// The first names of the paths in a list of imports, up to its closing brace.
fn first_names(list: &str) -> Vec<String> {
    let (mut depth, mut start, mut names) = (0_u32, true, vec![]);
    for (at, c) in list.char_indices() {
        match c {
            '}' if depth == 0 => break,
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => start = true,
            c if start && !c.is_whitespace() => {
                names.extend(name_at(&list[at..]));
                start = false;
            }
            _ => {}
        }
    }
    names
}

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

fn may_know(room: &str, other: &str) -> bool {
    let (Some(from), Some(to)) = (floor(room), floor(other)) else { return true };
    let neighbours = NEIGHBOURS.iter().any(|(one, another, _)| (*one, *another) == (room, other));
    // The ground is one vocabulary; the doors are opened by the command line.
    let same_floor = from == to && (from == GROUND || (from == DOORS && room == "cli"));
    to < from || same_floor || neighbours
}

#[track_caller]
fn assert_none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

#[test]
fn every_room_uses_only_the_floors_below() {
    let mut wrong = vec![];
    for source in sources() {
        if !matches!(source.room.as_str(), "lib" | "main") {
            assert!(floor(&source.room).is_some(), "{} has no floor", source.path.display());
        }
        for other in source.known().into_iter().filter(|other| !may_know(&source.room, other)) {
            wrong.push(format!("{} knows {other}", source.path.display()));
        }
    }
    assert_none("these look up or sideways", &wrong);
}

#[test]
fn the_outside_world_is_touched_in_its_rooms_only() {
    let mut wrong = vec![];
    for source in sources().iter().filter(|source| source.room != "main") {
        for (name, rooms) in OUTSIDE {
            let named = source.code.match_indices(name).any(|(at, _)| {
                let before = source.code[..at].chars().next_back();
                !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
            });
            if named && !rooms.contains(&source.room.as_str()) {
                wrong.push(format!("{} uses {name}", source.path.display()));
            }
        }
    }
    assert_none("these reach outside", &wrong);
}

#[test]
fn files_stay_short_and_finished() {
    let mut wrong = vec![];
    for source in sources() {
        if source.lines > LINES_MAX {
            wrong.push(format!("{}: {} lines", source.path.display(), source.lines));
        }
        for unfinished in ["todo!", "unimplemented!", "#[allow", "#![allow", ".ignore]"] {
            if source.code.contains(unfinished) {
                wrong.push(format!("{}: {unfinished}", source.path.display()));
            }
        }
    }
    assert_none("these are too long or not finished", &wrong);
}

#[test]
fn the_reader_of_imports_reads_imports() {
    let list = "chain::{Chain, ChainError},\n    clock::Time, store, }; use x::{y};";
    assert_eq!(first_names(list), ["chain", "clock", "store"]);
    assert_eq!(name_at("safe_service::Client"), Some("safe_service".into()));
    assert!(may_know("watch", "store") && !may_know("watch", "propose"));
    assert!(
        !may_know("store", "watch") && !may_know("phala", "chain") && may_know("safe", "request")
    );
}
