//! Which room may depend on which: the arrows of STYLE, checked against `cargo metadata`.
//!
//! Owns the table. A crate that the table does not name is itself a finding, so that a new room declares its arrows.

use serde_json::Value;

/// A room and the rooms it may know; a name ending in `/*` stands for a whole house.
const ROOMS: &[(&str, &[&str])] = &[
    ("dataplane/base", &[]),
    ("dataplane/lorawan", &["base"]),
    ("dataplane/wire", &["base"]),
    ("dataplane/mqtt", &["base"]),
    ("dataplane/payload", &["base"]),
    ("dataplane/emit", &["base"]),
    ("dataplane/contract", &["base"]),
    ("dataplane/driver", &["base"]),
    ("dataplane/files", &[]),
    ("dataplane/journal", &["base"]),
    ("dataplane/topics", &["base"]),
    ("dataplane/broker", &["base", "mqtt", "topics"]),
    ("dataplane/keeper", &["base", "event", "files", "journal", "lorawan", "session"]),
    ("dataplane/alloc-guard", &[]),
    ("dataplane/logs", &[]),
    ("dataplane/event", &["base", "emit"]),
    ("dataplane/session", &["base", "lorawan", "wire", "event"]),
    ("dataplane/plan", &["base", "contract", "payload", "emit", "event", "lorawan", "session"]),
    ("dataplane/uring", &["base", "driver"]),
    ("dataplane/glommio-driver", &["base", "driver", "uring"]),
    (
        "dataplane/shard",
        &[
            "base", "lorawan", "wire", "mqtt", "broker", "payload", "emit", "contract", "driver", "journal", "event",
            "session", "plan",
        ],
    ),
    ("dataplane/dataplaned", &["dataplane/*"]),
    ("dataplane/bridge", &["base", "contract", "emit", "event", "plan"]),
    ("control/model", &["base", "contract", "plan"]),
    ("control/store", &["base", "contract", "plan", "model"]),
    ("control/push", &["base", "contract", "plan"]),
    ("control/api", &["base", "contract", "plan", "model", "store", "push"]),
    ("control/console", &[]),
    ("control/cli", &[]),
    ("control/controld", &["base", "contract", "plan", "logs", "control/*"]),
    ("tests/corpus", &["dataplane/*"]),
    ("tests/fleet", &["base", "lorawan"]),
    ("tests/sim", &["dataplane/*", "fleet"]),
    ("tests/it", &["base", "lorawan", "wire", "contract", "fleet"]),
    ("bench/floor", &["dataplane/*"]),
    ("bench/journaling", &["dataplane/*"]),
    ("bench/micro", &["dataplane/*", "sim"]),
    ("bench/load", &["dataplane/*", "control/*", "fleet", "floor"]),
    ("bench/scale", &["dataplane/*", "journaling"]),
    ("scripts/xtask", &[]),
];

/// One crate of the workspace, as far as arrows go.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Room {
    /// Folder below the top, as in `dataplane/base`.
    folder: String,
    /// The crate's name.
    name: String,
    /// Folders it depends on, and whether only its tests do.
    arrows: Vec<(String, bool)>,
}

/// The rooms in `cargo metadata --no-deps`.
pub(crate) fn rooms(metadata: &Value) -> Vec<Room> {
    let top = metadata["workspace_root"].as_str().unwrap_or_default();
    let below = |path: &str| path.strip_prefix(top).unwrap_or(path).trim_matches('/').to_owned();
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let room = |package: &Value| Room {
        folder: below(package["manifest_path"].as_str().unwrap_or_default().trim_end_matches("/Cargo.toml")),
        name: package["name"].as_str().unwrap_or_default().to_owned(),
        arrows: package["dependencies"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default()
            .iter()
            .filter_map(|dependency| Some((below(dependency["path"].as_str()?), dependency["kind"] == "dev")))
            .collect(),
    };
    packages.iter().map(room).collect()
}

/// Everything that is wrong with these rooms, one line each.
pub(crate) fn findings(rooms: &[Room]) -> Vec<String> {
    let mut findings = Vec::new();
    for room in rooms {
        let folder_name = room.folder.rsplit('/').next().unwrap_or_default();
        if folder_name != room.name {
            findings
                .push(format!("{}: the crate is called `{}`; folder and crate share one name", room.folder, room.name));
        }
        let Some((_, allowed)) = ROOMS.iter().find(|(folder, _)| *folder == room.folder) else {
            findings.push(format!("{}: no arrows are declared for it in scripts/xtask/src/arrows.rs", room.folder));
            continue;
        };
        for (target, only_tests) in &room.arrows {
            if !permits(&room.folder, allowed, target, *only_tests) {
                let how = if *only_tests { "its tests may not" } else { "it may not" };
                findings.push(format!("{}: {how} depend on {target}", room.folder));
            }
        }
    }
    findings
}

/// Tests of a room may reach anything in their own house, and the house their own house stands on.
fn permits(source: &str, allowed: &[&str], target: &str, only_tests: bool) -> bool {
    let house = |folder: &str| folder.split('/').next().unwrap_or_default().to_owned();
    let name = target.rsplit('/').next().unwrap_or_default();
    let by_table = allowed.iter().any(|arrow| match arrow.strip_suffix("/*") {
        Some(whole) => whole == house(target),
        None => *arrow == name,
    });
    let by_tests = only_tests
        && match house(source).as_str() {
            "dataplane" => house(target) == "dataplane",
            "control" => matches!(house(target).as_str(), "control" | "dataplane"),
            _ => matches!(house(target).as_str(), "dataplane" | "control" | "tests"),
        };
    by_table || by_tests
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(folder: &str, arrow: (&str, bool), expected: bool) {
        let name = folder.rsplit('/').next().expect("a name").to_owned();
        let room = Room { folder: folder.into(), name, arrows: vec![(arrow.0.into(), arrow.1)] };
        assert_eq!(findings(&[room]).is_empty(), expected, "{folder} -> {arrow:?}");
    }

    #[test]
    fn arrows_of_the_house() {
        check("dataplane/base", ("dataplane/event", false), false);
        check("dataplane/event", ("dataplane/emit", false), true);
        check("dataplane/session", ("dataplane/plan", false), false);
        check("dataplane/plan", ("dataplane/session", false), true);
        check("dataplane/shard", ("dataplane/uring", false), false);
        check("dataplane/shard", ("dataplane/uring", true), true);
        check("dataplane/dataplaned", ("dataplane/uring", false), true);
        check("dataplane/shard", ("control/model", false), false);
        check("dataplane/shard", ("control/model", true), false);
        check("dataplane/shard", ("tests/fleet", true), false);
        check("control/api", ("control/store", false), true);
        check("control/store", ("control/api", false), false);
        check("control/controld", ("control/api", false), true);
        check("control/api", ("tests/it", false), false);
        check("tests/sim", ("dataplane/shard", false), true);
        check("tests/sim", ("control/api", false), false);
    }

    #[test]
    fn a_room_must_be_declared_and_named_as_its_folder() {
        let room = |folder: &str, name: &str| Room { folder: folder.into(), name: name.into(), arrows: vec![] };
        assert_eq!(findings(&[room("dataplane/base", "base")]), Vec::<String>::new());
        assert_eq!(findings(&[room("dataplane/base", "foundation")]).len(), 1);
        assert_eq!(findings(&[room("dataplane/attic", "attic")]).len(), 1);
    }

    #[test]
    fn rooms_are_read_from_metadata() {
        let metadata = serde_json::json!({
            "workspace_root": "/w",
            "packages": [{
                "name": "event",
                "manifest_path": "/w/dataplane/event/Cargo.toml",
                "dependencies": [
                    { "name": "emit", "path": "/w/dataplane/emit", "kind": null },
                    { "name": "proptest", "kind": "dev" },
                    { "name": "wire", "path": "/w/dataplane/wire", "kind": "dev" },
                ],
            }],
        });
        let arrows = vec![("dataplane/emit".into(), false), ("dataplane/wire".into(), true)];
        assert_eq!(rooms(&metadata), [Room { folder: "dataplane/event".into(), name: "event".into(), arrows }]);
    }
}
