//! Rules of this house that no compiler checks.
//!
//! Each rule is a function from a file's path and text to findings; owns the thresholds. Never changes a file.

use crate::{arrows, shell, table, words};

/// A file that no longer fits in the head.
const LINE_COUNT_MAX: usize = 1000;

/// The only rooms that may hold unsafe code.
const UNSAFE_ROOMS: [&str; 2] = ["dataplane/uring/", "dataplane/alloc-guard/"];

/// Folders that may stand at the top.
const TOP: [&str; 8] = [".cargo", ".ci", "bench", "control", "dataplane", "fuzz", "scripts", "tests"];

/// Checks everything that git tracks or would track.
pub(crate) fn tidy() -> Result<(), String> {
    let mut findings = arrows::findings(&arrows::rooms(&shell::metadata()?));
    let files = shell::files()?;
    let mut vectors_named = String::new();
    for file in &files {
        findings.extend(place(file));
        let Ok(text) = std::fs::read_to_string(shell::root().join(file)) else { continue };
        findings.extend(leftovers(file, &text));
        findings.extend(length(file, &text));
        findings.extend(machine_paths(file, &text));
        findings.extend(unsafe_code(file, &text));
        findings.extend(header(file, &text));
        findings.extend(manifest(file, &text));
        if file.ends_with(".rs") {
            vectors_named.extend(text.lines().filter(|line| line.contains("vectors/")));
        }
    }
    let origins = std::fs::read_to_string(shell::root().join("tests/vectors/README.md")).unwrap_or_default();
    findings.extend(files.iter().filter_map(|file| origin(file, &origins)));
    findings.extend(files.iter().filter_map(|file| reader(file, &vectors_named)));
    findings.extend(table::finding());
    if findings.is_empty() { Ok(()) } else { Err(findings.join("\n")) }
}

/// Nothing stands at the top but the houses and the papers every project has.
fn place(file: &str) -> Option<String> {
    let (top, below) = file.split_once('/').map_or((file, false), |(top, _)| (top, true));
    let paper = !below && (top.starts_with('.') || top.ends_with(".toml") || top == "Cargo.lock");
    let document = !below && (top.ends_with(".md") || top == "LICENSE" || top == "NOTICE");
    (!paper && !document && !TOP.contains(&top)).then(|| format!("{file}: does not belong at the top"))
}

/// Work left for later belongs in an issue.
fn leftovers(file: &str, text: &str) -> Vec<String> {
    let words = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("HA", "CK")];
    let phrases =
        [concat!("to", "do!("), concat!("unimple", "mented!("), concat!("#[ign", "ore"), concat!("for ", "now")];
    let code = [".rs", ".sh", ".py", ".js", ".mjs", ".toml", ".proto", ".sql", ".yml"];
    if !code.iter().any(|ending| file.ends_with(ending)) && !file.starts_with("scripts/") {
        return Vec::new();
    }
    let left = |line: &str| {
        words.iter().chain(&phrases).find(|word| {
            if words.contains(word) {
                words::has_word(line, word)
            } else {
                line.to_lowercase().contains(**word) && !loops(line)
            }
        })
    };
    numbered(text).filter_map(|(number, line)| Some(format!("{file}:{number}: `{}` is left", left(line)?))).collect()
}

/// A loop over points in time is no postponement.
fn loops(line: &str) -> bool {
    line.contains(concat!("for ", "now in "))
}

/// A module fits in the head.
fn length(file: &str, text: &str) -> Option<String> {
    let count = text.lines().count();
    let written = file.ends_with(".rs") && !generated(text);
    (written && count > LINE_COUNT_MAX).then(|| format!("{file}: {count} lines; at most {LINE_COUNT_MAX}"))
}

/// Files name no place of the machine that wrote them.
fn machine_paths(file: &str, text: &str) -> Vec<String> {
    let places = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/Us", "ers/")];
    if file.ends_with(".lock") || file.ends_with("package-lock.json") {
        return Vec::new();
    }
    let named = |line: &str| {
        places.iter().find(|place| {
            line.match_indices(**place).any(|(at, _)| {
                // A path begins a word: `tests/homes/root/` is none.
                at == 0 || !line.as_bytes()[at - 1].is_ascii_alphanumeric() && line.as_bytes()[at - 1] != b'.'
            })
        })
    };
    numbered(text).filter_map(|(number, line)| Some(format!("{file}:{number}: names `{}`", named(line)?))).collect()
}

/// Unsafe code lives in two rooms.
fn unsafe_code(file: &str, text: &str) -> Vec<String> {
    if !file.ends_with(".rs") || UNSAFE_ROOMS.iter().any(|room| file.starts_with(room)) {
        return Vec::new();
    }
    let code = words::code_only(text);
    let finding = |(number, line)| {
        words::has_word(line, "unsafe")
            .then(|| format!("{file}:{number}: `unsafe` outside {}", UNSAFE_ROOMS.join(", ")))
    };
    numbered(&code).filter_map(finding).collect()
}

/// Every module says what it is before anything else.
fn header(file: &str, text: &str) -> Option<String> {
    let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    // A `tests.rs` belongs to the module beside it, which has said it.
    let spoken = first.starts_with("//!") || generated(text) || file.ends_with("/tests.rs");
    (file.ends_with(".rs") && !spoken).then(|| format!("{file}: does not open with `//!`"))
}

/// Every crate takes the workspace's lints, edition and licence.
fn manifest(file: &str, text: &str) -> Option<String> {
    let own_workspace = text.lines().any(|line| line == "[workspace]");
    let of_a_crate = file.ends_with("/Cargo.toml") && !own_workspace;
    let inherits = |key: &str| text.contains(key);
    let whole = inherits("[lints]\nworkspace = true") && inherits("edition.workspace") && inherits("license.workspace");
    (of_a_crate && !whole).then(|| format!("{file}: does not inherit the workspace's lints, edition and licence"))
}

/// Every vector names its producer, by its own name or by that of a folder it lies in.
fn origin(file: &str, origins: &str) -> Option<String> {
    let below = file.strip_prefix("tests/vectors/")?;
    let named = below == "README.md" || below_and_folders(below).any(|name| origins.contains(&format!("`{name}`")));
    (!named).then(|| format!("{file}: its origin is not recorded in tests/vectors/README.md"))
}

/// Every vector is read by a test, which names it or a folder it lies in.
fn reader(file: &str, named: &str) -> Option<String> {
    let below = file.strip_prefix("tests/vectors/")?;
    // Papers, and the scripts that made the vectors.
    let is_vector = ![".md", ".cjs", ".mjs", ".py"].iter().any(|ending| below.ends_with(ending));
    let whole = |name: &str| named.contains(&format!("vectors/{}\"", name.trim_end_matches('/')));
    let read = below_and_folders(below).any(whole);
    (is_vector && !read).then(|| format!("{file}: no test reads it"))
}

/// `a/b/c.txt`, `a/`, `a/b/`.
fn below_and_folders(below: &str) -> impl Iterator<Item = &str> {
    std::iter::once(below).chain(below.match_indices('/').map(|(at, _)| &below[..=at]))
}

fn generated(text: &str) -> bool {
    text.lines().take(6).any(|line| line.contains("@generated"))
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<F: IntoIterator>(found: F, expected: bool) {
        assert_eq!(found.into_iter().next().is_some(), expected);
    }

    #[test]
    fn what_stands_at_the_top() {
        check(place("dataplane/base/src/lib.rs"), false);
        check(place("README.md"), false);
        check(place(".gitignore"), false);
        check(place("notes.txt"), true);
        check(place("src/main.rs"), true);
    }

    #[test]
    fn what_is_left_for_later() {
        check(leftovers("a/b.rs", concat!("// TO", "DO: later")), true);
        check(leftovers("a/b.rs", concat!("let METHO", "DOLOGY = 1;")), false);
        check(leftovers("a/b.rs", concat!("For ", "now this is enough")), true);
        check(leftovers("a/b.rs", concat!("for ", "now in 0..9 {")), false);
        check(leftovers("a/b.rs", concat!("#[ign", "ore]")), true);
        check(leftovers("a/b.md", concat!("a TO", "DO list is a document")), false);
    }

    #[test]
    fn how_long_a_file_is() {
        check(length("a.rs", &"\n".repeat(LINE_COUNT_MAX)), false);
        check(length("a.rs", &"\n".repeat(LINE_COUNT_MAX + 1)), true);
        check(length("a.rs", &format!("// @generated by prost\n{}", "\n".repeat(LINE_COUNT_MAX))), false);
        check(length("a.json", &"\n".repeat(LINE_COUNT_MAX + 1)), false);
    }

    #[test]
    fn which_paths_are_a_machines() {
        check(machine_paths("a.sh", concat!("cd /wo", "rk/main")), true);
        check(machine_paths("a.sh", concat!("cd net/wo", "rk/main")), false);
        check(machine_paths("a.sh", "cd /tmp/x"), false);
    }

    #[test]
    fn where_unsafe_lives() {
        check(unsafe_code("dataplane/uring/src/ring.rs", "unsafe { a() }"), false);
        check(unsafe_code("dataplane/shard/src/lib.rs", "unsafe { a() }"), true);
        check(unsafe_code("dataplane/shard/src/lib.rs", "// unsafe { a() }"), false);
    }

    #[test]
    fn how_a_module_opens() {
        check(header("a.rs", "//! What it is.\n"), false);
        check(header("a.rs", "\n//! What it is.\n"), false);
        check(header("a.rs", "use b;\n//! Late.\n"), true);
        check(header("a.py", "import b\n"), false);
    }

    #[test]
    fn what_a_manifest_inherits() {
        let whole = "[package]\nedition.workspace = true\nlicense.workspace = true\n[lints]\nworkspace = true\n";
        check(manifest("a/b/Cargo.toml", whole), false);
        check(manifest("a/b/Cargo.toml", "[package]\n"), true);
        check(manifest("fuzz/Cargo.toml", "[workspace]\n\n[package]\n"), false);
    }

    #[test]
    fn which_vectors_have_an_origin() {
        check(origin("tests/vectors/spec/a.json", "| `spec/a.json` | L2 1.0.4 |"), false);
        check(origin("tests/vectors/spec/b.json", "| `spec/a.json` | L2 1.0.4 |"), true);
        check(origin("tests/vectors/field/emit/a/b.txt", "| `field/emit/` | ourselves |"), false);
        check(origin("tests/it/src/main.rs", ""), false);
    }

    #[test]
    fn which_vectors_are_read() {
        let named = "include_str!(\"../../../tests/vectors/spec/a.json\") join(\"../../tests/vectors/field/emit\")";
        check(reader("tests/vectors/spec/a.json", named), false);
        check(reader("tests/vectors/spec/b.json", named), true);
        check(reader("tests/vectors/field/emit/json/uplink.txt", named), false);
        check(reader("tests/vectors/field/made.cjs", named), false);
    }
}
