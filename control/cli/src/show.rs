//! What people see: tables and sheets; what programs see: JSON.

use crate::resource::at;
use serde_json::Value;
use std::io::{self, Write};

/// Writes to standard output. A reader that has had enough is no error.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Printer {
    /// Whether everything is JSON.
    pub(crate) json: bool,
}

impl Printer {
    /// One value: JSON as it is, or a sheet of its fields.
    pub(crate) fn value(self, value: &Value) -> Result<(), String> {
        if self.json { self.line(&pretty(value)) } else { self.line(sheet(value).trim_end()) }
    }

    /// Several values: one JSON array, or a table.
    pub(crate) fn values(self, values: &[Value], columns: &[&str]) -> Result<(), String> {
        if self.json {
            self.line(&pretty(&Value::Array(values.to_vec())))
        } else {
            self.line(table(values, columns).trim_end())
        }
    }

    /// Something said to people alone.
    pub(crate) fn note(self, text: &str) -> Result<(), String> {
        if self.json { Ok(()) } else { self.line(text) }
    }

    /// A line as it is.
    pub(crate) fn line(self, text: &str) -> Result<(), String> {
        let mut out = io::stdout().lock();
        match writeln!(out, "{text}").and_then(|()| out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
            result => result.map_err(|error| format!("standard output: {error}")),
        }
    }
}

fn pretty(value: &Value) -> String {
    format!("{value:#}")
}

/// A cell: text as it is, nothing for null, JSON for the rest.
fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        // A terminal obeys control characters; a device's name must not speak to it.
        Some(Value::String(text)) => text.chars().filter(|char| !char.is_control()).collect(),
        Some(other) => other.to_string(),
    }
}

/// Columns that nothing fills are left out, except the first.
fn table(values: &[Value], columns: &[&str]) -> String {
    if values.is_empty() {
        return "none".to_owned();
    }
    let mut filled: Vec<Vec<String>> = Vec::new();
    for (index, column) in columns.iter().enumerate() {
        let cells: Vec<String> = values.iter().map(|value| cell(at(value, column))).collect();
        if index == 0 || cells.iter().any(|cell| !cell.is_empty()) {
            let title = column.rsplit('.').next().unwrap_or(column).replace('_', " ").to_uppercase();
            filled.push([vec![title], cells].concat());
        }
    }
    let widths: Vec<usize> =
        filled.iter().map(|cells| cells.iter().map(|cell| cell.chars().count()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for row in 0..=values.len() {
        let mut line = String::new();
        for (cells, width) in filled.iter().zip(&widths) {
            line.push_str(&format!("{:<width$}  ", cells[row]));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// One field a line, nested ones under dotted names.
fn sheet(value: &Value) -> String {
    let mut lines = Vec::new();
    flatten(value, "", &mut lines);
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    lines.iter().map(|(name, value)| format!("{name:<width$}  {value}\n")).collect()
}

fn flatten(value: &Value, name: &str, lines: &mut Vec<(String, String)>) {
    let inner = |key: &str| if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") };
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                flatten(value, &inner(key), lines);
            }
        }
        Value::Array(values) if values.iter().any(|value| value.is_object() || value.is_array()) => {
            for (index, value) in values.iter().enumerate() {
                flatten(value, &inner(&index.to_string()), lines);
            }
        }
        Value::Array(values) => {
            let cells: Vec<String> = values.iter().map(|value| cell(Some(value))).collect();
            lines.push((name.to_owned(), cells.join(", ")));
        }
        other => lines.push((name.to_owned(), cell(Some(other)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tables_line_up_and_leave_out_what_is_empty() {
        let values =
            [json!({ "id": "1", "name": "long name", "x": null }), json!({ "id": "22", "state": { "up": true } })];
        let text = table(&values, &["id", "name", "x", "state.up"]);
        assert_eq!(text, "ID  NAME       UP\n1   long name\n22             true\n");
        assert_eq!(table(&[], &["id"]), "none");
    }

    #[test]
    fn sheets_flatten_what_is_nested() {
        let value = json!({ "id": 1, "place": { "latitude": 2.5 }, "kinds": ["a", "b"], "queue": [{ "id": 7 }] });
        assert_eq!(sheet(&value), "id              1\nplace.latitude  2.5\nkinds           a, b\nqueue.0.id      7\n");
    }

    #[test]
    fn a_name_cannot_speak_to_the_terminal() {
        assert_eq!(cell(Some(&json!("a\u{1b}[2Jb\n"))), "a[2Jb");
    }
}
