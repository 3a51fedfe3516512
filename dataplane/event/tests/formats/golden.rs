//! Each format's bytes for each sample, against `tests/vectors/field/emit/FORMAT/SAMPLE.txt`.
//!
//! `TRUNKLINE_BLESS=1` writes the files anew; what changed is then for a person to read.

use crate::samples;
use emit::{NoRoom, Template};
use event::formats::SHIPPED;
use event::{Event, SCHEMA};
use std::path::PathBuf;

fn emitted(text: &str, event: &Event<'_>) -> String {
    let template = Template::parse(text, &SCHEMA).expect("a shipped template compiles");
    let mut out = vec![0; 8192];
    alloc_guard::serving(true);
    let before = alloc_guard::counts();
    let count = template.run(event, &mut out);
    let after = alloc_guard::counts();
    alloc_guard::serving(false);
    assert_eq!(before, after, "running a template neither allocates nor frees");
    let count = count.expect("room");
    for short in 0..count {
        assert_eq!(template.run(event, &mut vec![0; short]), Err(NoRoom), "{count} bytes do not fit {short}");
    }
    out.truncate(count);
    String::from_utf8(out).expect("UTF-8")
}

#[test]
fn formats_write_their_golden_bytes() {
    let vectors = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/field/emit");
    let bless = std::env::var_os("TRUNKLINE_BLESS").is_some();
    let receptions = samples::receptions();
    let mut compared = 0;
    for format in SHIPPED {
        for (name, event) in samples::all(&receptions) {
            let Some((_, text)) = format.templates.iter().find(|(kind, _)| *kind == event.kind) else {
                continue;
            };
            let emitted = emitted(text, &event);
            let path = vectors.join(format.name).join(name).with_extension("txt");
            if bless {
                std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
                std::fs::write(&path, format!("{emitted}\n")).expect("a golden file");
            }
            let golden = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert_eq!(format!("{emitted}\n"), golden, "{} {name}", format.name);
            if format.content_type == "application/json" {
                let value: serde_json::Value = serde_json::from_str(&emitted).expect(&emitted);
                assert!(value.is_object(), "one object per message: {emitted}");
            }
            compared += 1;
        }
    }
    assert!(compared > 50, "{compared} files were compared");
}
