//! The tables of normative statements: complete, in order, and every test that they name exists.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A line of a table.
struct Statement {
    id: String,
    places: Vec<String>,
}

fn dataplane() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// What is no comment; a line that is not of the form is a failure.
fn statements(file: &str) -> Vec<Statement> {
    let text = fs::read_to_string(dataplane().join("mqtt/conformance").join(file)).expect("a table");
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let parts: Vec<_> = line.split(" | ").collect();
            let [id, what, places] = parts[..] else {
                panic!("{file}: {line}");
            };
            assert!(what.len() > 5, "{file}: {line}");
            Statement { id: id.to_owned(), places: places.split(", ").map(str::to_owned).collect() }
        })
        .collect()
}

/// Every `.rs` file below a folder.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
    found
}

/// Whether a room has that test in a file, or a folder, of the module's name.
fn exists(room: &str, module: &str, test: &str) -> bool {
    let room = dataplane().join(room);
    let files = [sources(&room.join("src")), sources(&room.join("tests"))].concat();
    let of_module = |path: &&PathBuf| path.with_extension("").iter().any(|part| part == module);
    files.iter().filter(of_module).any(|path| {
        let text = fs::read_to_string(path).expect("a readable source");
        let lines: Vec<_> = text.lines().map(str::trim).collect();
        lines.windows(2).any(|pair| pair[0] == "#[test]" && pair[1] == format!("fn {test}() {{"))
    })
}

/// What is wrong with a place; nothing if it is right.
fn wrong(place: &str) -> Option<String> {
    if matches!(place, "broker" | "client") {
        return None;
    }
    let named = place.split_once(' ').and_then(|(room, test)| Some((room, test.split_once("::")?)));
    match named {
        Some((room, (module, test))) if exists(room, module, test) => None,
        _ => Some(format!("there is no test `{place}`")),
    }
}

/// `4.7.1-2` as numbers.
fn numbers(id: &str) -> Vec<u32> {
    id.split(['.', '-']).map(|part| part.parse().expect("a number")).collect()
}

/// How many statements each chapter has in the specification's appendix B.
fn check(file: &str, chapters: &[(u32, usize)]) {
    let statements = statements(file);
    let mut counts = BTreeMap::new();
    for statement in &statements {
        *counts.entry(numbers(&statement.id)[0]).or_insert(0) += 1;
    }
    assert_eq!(counts.into_iter().collect::<Vec<_>>(), chapters, "{file}");
    let ids: Vec<_> = statements.iter().map(|statement| numbers(&statement.id)).collect();
    for pair in ids.windows(2) {
        assert!(pair[0] < pair[1], "{file}: {:?} stands before {:?}", pair[0], pair[1]);
        let follows = pair[0][..3] != pair[1][..3] || pair[1][3] == pair[0][3] + 1;
        assert!(follows, "{file}: something is missing before {:?}", pair[1]);
    }
    let places = statements.iter().flat_map(|statement| &statement.places);
    let wrong: Vec<_> = places.filter_map(|place| wrong(place)).collect();
    assert!(wrong.is_empty(), "{file}: {wrong:#?}");
    let shown = statements.iter().filter(|one| one.places.iter().any(|place| place.contains("::"))).count();
    assert!(shown * 3 > statements.len(), "{file}: a codec shows more than a third, not {shown}");
}

#[test]
fn every_statement_of_v3_has_its_place() {
    check("v3.txt", &[(1, 3), (2, 9), (3, 95), (4, 26), (6, 4), (7, 4)]);
}

#[test]
fn every_statement_of_v5_has_its_place() {
    check("v5.txt", &[(1, 5), (2, 7), (3, 175), (4, 60), (6, 4)]);
}

/// The check itself: it finds what is there, and nothing that is not.
#[test]
fn a_test_that_is_named_exists() {
    assert_eq!(wrong("mqtt conformance::a_test_that_is_named_exists"), None);
    assert_eq!(wrong("mqtt text::texts_and_data_have_a_longest"), None);
    for missing in [
        "mqtt conformance::no_such_test",
        "mqtt conformance::wrong",
        "mqtt connect::a_test_that_is_named_exists",
        "wire conformance::a_test_that_is_named_exists",
        "conformance::a_test_that_is_named_exists",
        "nobody",
    ] {
        assert!(wrong(missing).is_some(), "{missing}");
    }
}
