//! What a template may say, rendered for people: the tables of filters and of a schema's fields, as Markdown.

use crate::{Schema, Shape};
use core::fmt::Write as _;

/// One filter.
#[derive(Clone, Copy, Debug)]
pub struct Filter {
    /// As written in a template.
    pub name: &'static str,
    /// The shapes it applies to; empty means every shape but a list.
    pub shapes: &'static [Shape],
    /// One sentence.
    pub help: &'static str,
}

impl Filter {
    pub(crate) fn fits(&self, shape: Shape) -> bool {
        if self.shapes.is_empty() { shape != Shape::List } else { self.shapes.contains(&shape) }
    }
}

/// Every filter, in the order of the reference.
pub const FILTERS: &[Filter] = &[
    Filter { name: "hex", shapes: &[Shape::Bytes], help: "Upper-case hexadecimal (how bytes are written anyway)." },
    Filter { name: "hex_lower", shapes: &[Shape::Bytes], help: "Lower-case hexadecimal." },
    Filter { name: "base64", shapes: &[Shape::Bytes], help: "Base64 with padding (RFC 4648 §4)." },
    Filter { name: "seconds", shapes: &[Shape::Time], help: "Whole seconds since 1970, a number." },
    Filter { name: "millis", shapes: &[Shape::Time], help: "Whole milliseconds since 1970, a number." },
    Filter { name: "micros", shapes: &[Shape::Time], help: "Microseconds since 1970, a number." },
    Filter {
        name: "iso8601",
        shapes: &[Shape::Time],
        help: "RFC 3339 in UTC with microseconds (how times are written anyway); `iso8601:0`, `:3`, `:6` or `:9` digits.",
    },
    Filter { name: "count", shapes: &[Shape::List], help: "How many items the list has." },
    Filter {
        name: "default",
        shapes: &[],
        help: "What to write where the field is absent: `default:\"x\"`, `default:0`.",
    },
    Filter {
        name: "json",
        shapes: &[],
        help: "Escape for JSON; outside the template's quotation marks a whole value.",
    },
    Filter { name: "xml", shapes: &[], help: "Escape for XML text and attributes." },
    Filter { name: "csv", shapes: &[], help: "Quote as a CSV field needs it." },
    Filter { name: "url", shapes: &[], help: "Percent-encode all but unreserved characters." },
    Filter { name: "line", shapes: &[], help: "Control characters become spaces." },
    Filter { name: "raw", shapes: &[], help: "Escape nothing." },
];

pub(crate) fn filter(name: &str) -> Option<&'static Filter> {
    FILTERS.iter().find(|filter| filter.name == name)
}

pub(crate) fn filter_names() -> String {
    FILTERS.iter().map(|filter| filter.name).collect::<Vec<_>>().join(", ")
}

/// The filters as a Markdown table.
#[must_use]
pub fn filter_table() -> String {
    let mut out = String::from("| Filter | For | What it does |\n|---|---|---|\n");
    for filter in FILTERS {
        let shapes: Vec<&str> = filter.shapes.iter().map(|shape| shape.name()).collect();
        let shapes = if shapes.is_empty() { "all".into() } else { shapes.join(", ") };
        writeln!(out, "| `{}` | {shapes} | {} |", filter.name, filter.help).expect("a String takes it");
    }
    out
}

/// A schema's fields as a Markdown table; a list's fields stand as `list.field`.
#[must_use]
pub fn field_table(schema: &Schema) -> String {
    let mut out = String::from("| Field | Holds | Meaning |\n|---|---|---|\n");
    for entry in schema.fields {
        let list = entry.list.and_then(|list| schema.fields.iter().find(|other| other.field == list));
        let prefix = list.map_or(String::new(), |list| format!("{}.", list.name));
        writeln!(out, "| `{prefix}{}` | {} | {} |", entry.name, entry.shape.name(), entry.help)
            .expect("a String takes it");
    }
    out
}
