//! A naive interpreter beside the compiler: random trees are interpreted as trees, rendered as text, compiled and run.
//! Both must write the same. The model spells values with `std` and `serde_json` and shares nothing with the engine.

use crate::sample::{Held, SCHEMA, Sample};
use base::mix::SplitMix64;
use emit::{Escape, Template, fuzzing};

/// A template as a tree.
enum Node {
    Literal(&'static str),
    /// The template's own quotation marks (JSON only).
    Quoted(Vec<Node>),
    Write {
        name: Name,
        filter: Option<&'static str>,
        escape: Option<Escape>,
        default: Option<&'static str>,
    },
    If {
        arms: Vec<(Condition, Vec<Node>)>,
        otherwise: Option<Vec<Node>>,
    },
    Each {
        separator: &'static str,
        body: Vec<Node>,
        empty: Option<Vec<Node>>,
    },
}

/// A field: its name, its number, and whether it is the item's.
#[derive(Clone, Copy)]
struct Name {
    text: &'static str,
    number: usize,
    item: bool,
}

struct Condition {
    name: Name,
    /// A number to be equal (or not) to.
    number: Option<(i64, bool)>,
}

const OUTER: [Name; 7] = [
    Name { text: "name", number: 0, item: false },
    Name { text: "flag", number: 1, item: false },
    Name { text: "number", number: 2, item: false },
    Name { text: "other", number: 3, item: false },
    Name { text: "raw", number: 4, item: false },
    Name { text: "when", number: 5, item: false },
    Name { text: "doc", number: 6, item: false },
];

const INNER: [Name; 5] = [
    Name { text: "../name", number: 0, item: false },
    Name { text: "name", number: 8, item: true },
    Name { text: "size", number: 9, item: true },
    Name { text: "key", number: 10, item: true },
    Name { text: "at", number: 11, item: true },
];

struct Maker {
    random: SplitMix64,
    json: bool,
}

impl Maker {
    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.random.below(choices.len() as u64) as usize]
    }

    fn name(&mut self, in_list: bool) -> Name {
        // In a list the plain word "name" means the item's.
        if in_list && self.random.below(2) == 0 { self.one_of(&INNER) } else { self.one_of(&OUTER[1..]) }
    }

    fn nodes(&mut self, depth: u32, in_list: bool, quoted: bool) -> Vec<Node> {
        (0..self.random.below(5)).map(|_| self.node(depth, in_list, quoted)).collect()
    }

    fn node(&mut self, depth: u32, in_list: bool, quoted: bool) -> Node {
        match self.random.below(if depth == 0 { 4 } else { 7 }) {
            0 => Node::Literal(self.one_of(&["x", ", ", "é\n", "<&>", "}} ", "{ "])),
            1..=3 => self.write(in_list, quoted),
            4 if self.json && !quoted => Node::Quoted(self.nodes(depth - 1, in_list, true)),
            5 if !in_list => Node::Each {
                separator: self.one_of(&["", ",", "\n"]),
                body: self.nodes(depth - 1, true, quoted),
                empty: (self.random.below(2) == 0).then(|| self.nodes(depth - 1, false, quoted)),
            },
            _ => {
                let arms = 1 + self.random.below(2);
                Node::If {
                    arms: (0..arms)
                        .map(|_| (self.condition(in_list), self.nodes(depth - 1, in_list, quoted)))
                        .collect(),
                    otherwise: (self.random.below(2) == 0).then(|| self.nodes(depth - 1, in_list, quoted)),
                }
            }
        }
    }

    fn write(&mut self, in_list: bool, quoted: bool) -> Node {
        let name = self.name(in_list);
        let filter = match name.number {
            4 | 10 => self.one_of(&[None, Some("hex"), Some("hex_lower"), Some("base64")]),
            5 | 11 => self.one_of(&[None, Some("seconds"), Some("millis"), Some("micros"), Some("iso8601:3")]),
            _ => None,
        };
        // Another escaping between the template's own quotation marks is the author's risk; the law is the same.
        let escape = if quoted || self.random.below(3) > 0 { None } else { Some(self.one_of(&Escape::ALL)) };
        let default = self.one_of(&[None, None, Some("none, \"<\\>\"")]);
        Node::Write { name, filter, escape, default }
    }

    fn condition(&mut self, in_list: bool) -> Condition {
        let name = self.name(in_list);
        let comparable = matches!(name.number, 2 | 3 | 9) && self.random.below(2) == 0;
        let number = comparable.then(|| (self.one_of(&[0, 1, -7]), self.random.below(2) == 0));
        Condition { name, number }
    }

    fn held(&mut self, number: usize) -> Held {
        if self.random.below(4) == 0 {
            return Held::Absent;
        }
        let any = self.random.next();
        let texts = ["", "plain", "a,b", "\"q\"\\", "<é&'\r\n\t>", "\u{1}\u{7f}", "日本", "\u{2028}+/=~-_."];
        match number {
            0 | 8 => Held::Text(self.one_of(&texts).into()),
            1 => Held::Flag(any.is_multiple_of(2)),
            2 | 3 | 9 => match any % 4 {
                0 => Held::Unsigned(self.one_of(&[0, 1, 10, u64::MAX])),
                1 => Held::Signed(self.one_of(&[0, 1, -7, i64::MIN, i64::MAX])),
                _ => Held::Decimal(
                    self.one_of(&[0, 1, -70, 7, 868_100_000, i64::MIN]),
                    self.one_of(&[0, 1, 2, 6, 18, 30]),
                ),
            },
            4 | 10 => Held::Bytes((0..any % 12).map(|at| (any >> at) as u8).collect()),
            5 | 11 => Held::Time(any % 8_000_000_000_000_000),
            6 => Held::Json(self.one_of(&["{}", "{\"a\": \"<\\n>\"}"]).into()),
            _ => Held::Absent,
        }
    }

    fn sample(&mut self) -> Sample {
        Sample {
            values: (0..7).map(|number| self.held(number)).collect(),
            items: (0..self.random.below(4)).map(|_| (8..12).map(|number| self.held(number)).collect()).collect(),
        }
    }
}

fn source(nodes: &[Node], out: &mut String) {
    for node in nodes {
        match node {
            Node::Literal(text) => *out += text,
            Node::Quoted(inner) => {
                *out += "\"";
                source(inner, out);
                *out += "\"";
            }
            Node::Write { name, filter, escape, default } => {
                *out += "{{";
                *out += name.text;
                for filter in filter.iter().copied().chain(escape.iter().map(|escape| escape.name())) {
                    *out += &format!("|{filter}");
                }
                if let Some(default) = default {
                    *out += &format!("|default:\"{}\"", default.replace('\\', "\\\\").replace('"', "\\\""));
                }
                *out += "}}";
            }
            Node::If { arms, otherwise } => {
                for (index, (condition, inner)) in arms.iter().enumerate() {
                    *out += if index == 0 { "{{#if " } else { "{{else if " };
                    *out += condition.name.text;
                    if let Some((number, equal)) = condition.number {
                        *out += &format!(" {} {number}", if equal { "==" } else { "!=" });
                    }
                    *out += "}}";
                    source(inner, out);
                }
                if let Some(inner) = otherwise {
                    *out += "{{else}}";
                    source(inner, out);
                }
                *out += "{{/if}}";
            }
            Node::Each { separator, body, empty } => {
                *out += &format!("{{{{#each items separator=\"{}\"}}}}", separator.replace('\n', "\\n"));
                source(body, out);
                if let Some(empty) = empty {
                    *out += "{{else}}";
                    source(empty, out);
                }
                *out += "{{/each}}";
            }
        }
    }
}

struct Model<'a> {
    sample: &'a Sample,
    escape: Escape,
}

impl Model<'_> {
    fn get(&self, name: Name, item: Option<usize>) -> &Held {
        match item {
            Some(index) if name.item => &self.sample.items[index][name.number - 8],
            _ => &self.sample.values[name.number],
        }
    }

    fn write(&self, nodes: &[Node], item: Option<usize>, quoted: bool, out: &mut String) {
        for node in nodes {
            match node {
                Node::Literal(text) => *out += text,
                Node::Quoted(inner) => {
                    *out += "\"";
                    self.write(inner, item, true, out);
                    *out += "\"";
                }
                Node::Write { name, filter, escape, default } => {
                    let escape = escape.unwrap_or(self.escape);
                    let whole = escape == Escape::Json && !quoted;
                    *out += &match (spell(self.get(*name, item), *filter), default) {
                        (Some((text, true)), _) => escaped(&text, escape, whole),
                        (Some((text, false)), _) if matches!(self.get(*name, item), Held::Json(_)) && !whole => {
                            escaped(&text, escape, whole)
                        }
                        (Some((text, false)), _) => text,
                        (None, Some(default)) => escaped(default, escape, whole),
                        (None, None) => if whole { "null" } else { "" }.into(),
                    };
                }
                Node::If { arms, otherwise } => {
                    let arm = arms.iter().find(|(condition, _)| self.holds(condition, item));
                    let inner = arm.map(|(_, inner)| inner).or(otherwise.as_ref());
                    self.write(inner.map_or(&[][..], Vec::as_slice), item, quoted, out);
                }
                Node::Each { separator, body, empty } => {
                    for index in 0..self.sample.items.len() {
                        *out += if index > 0 { separator } else { "" };
                        self.write(body, Some(index), quoted, out);
                    }
                    if let (true, Some(empty)) = (self.sample.items.is_empty(), empty) {
                        self.write(empty, None, quoted, out);
                    }
                }
            }
        }
    }

    fn holds(&self, condition: &Condition, item: Option<usize>) -> bool {
        let held = self.get(condition.name, item);
        match condition.number {
            None => !matches!(held, Held::Absent | Held::Flag(false)),
            Some((number, equal)) => {
                let same = match *held {
                    Held::Unsigned(value) => i128::from(value) == i128::from(number),
                    Held::Signed(value) => value == number,
                    Held::Decimal(digits, scale) => plain(i128::from(digits), usize::from(scale)) == number.to_string(),
                    _ => false,
                };
                same == equal
            }
        }
    }
}

/// The text before escaping, and whether it is text; `None` if absent.
fn spell(held: &Held, filter: Option<&str>) -> Option<(String, bool)> {
    Some(match held {
        Held::Absent => return None,
        Held::Flag(flag) => (flag.to_string(), false),
        Held::Unsigned(number) => (number.to_string(), false),
        Held::Signed(number) => (number.to_string(), false),
        Held::Decimal(digits, scale) => (plain(i128::from(*digits), usize::from(*scale)), false),
        Held::Text(text) => (text.clone(), true),
        Held::Json(text) => (text.clone(), false),
        Held::Bytes(bytes) => match filter {
            Some("base64") => (base64(bytes), true),
            Some("hex_lower") => (bytes.iter().map(|byte| format!("{byte:02x}")).collect(), true),
            _ => (bytes.iter().map(|byte| format!("{byte:02X}")).collect(), true),
        },
        Held::Time(micros) => match filter {
            Some("seconds") => ((micros / 1_000_000).to_string(), false),
            Some("millis") => ((micros / 1_000).to_string(), false),
            Some("micros") => (micros.to_string(), false),
            Some("iso8601:3") => (date(*micros, 3), true),
            _ => (date(*micros, 6), true),
        },
    })
}

fn plain(digits: i128, scale: usize) -> String {
    let text = format!("{:0width$}", digits.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = text.split_at(text.len() - scale);
    let number = format!("{whole}.{fraction}");
    let number = number.trim_end_matches('0').trim_end_matches('.');
    if digits < 0 { format!("-{number}") } else { number.into() }
}

fn base64(bytes: &[u8]) -> String {
    let bits: String = bytes.iter().map(|byte| format!("{byte:08b}")).collect();
    let letters: Vec<char> = ('A'..='Z').chain('a'..='z').chain('0'..='9').chain(['+', '/']).collect();
    let mut out: String = bits
        .as_bytes()
        .chunks(6)
        .map(|six| {
            let six = format!("{:0<6}", core::str::from_utf8(six).expect("bits"));
            letters[usize::from_str_radix(&six, 2).expect("bits")]
        })
        .collect();
    while !out.len().is_multiple_of(4) {
        out.push('=');
    }
    out
}

/// Counts days off, month by month.
fn date(micros: u64, places: usize) -> String {
    let (mut days, second) = (micros / 86_400_000_000, micros / 1_000_000 % 86_400);
    let (mut year, mut month) = (1970u64, 0);
    loop {
        let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let months = [31, 28 + u64::from(leap), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        if days < months[month] {
            let (month, day) = (month + 1, days + 1);
            let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
            let fraction = &format!("{:06}", micros % 1_000_000)[..places];
            return format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction}Z");
        }
        days -= months[month];
        month += 1;
        if month == 12 {
            (year, month) = (year + 1, 0);
        }
    }
}

fn escaped(text: &str, escape: Escape, whole: bool) -> String {
    let each = |stand: &dyn Fn(char) -> String| text.chars().map(stand).collect::<String>();
    match escape {
        Escape::None => text.into(),
        Escape::Json => {
            let quoted = serde_json::to_string(text).expect("a text").replace("\\u007f", "\u{7f}");
            // Hex digits of an escape may be of either case; ours are upper.
            let quoted = quoted.replace("\\u001f", "\\u001F");
            if whole { quoted } else { quoted[1..quoted.len() - 1].into() }
        }
        Escape::Xml => each(&|letter| match letter {
            '&' => "&amp;".into(),
            '<' => "&lt;".into(),
            '>' => "&gt;".into(),
            '"' => "&quot;".into(),
            '\'' => "&apos;".into(),
            '\r' => "&#13;".into(),
            '\t' | '\n' => letter.into(),
            '\0'..='\u{1F}' | '\u{FFFE}' | '\u{FFFF}' => '\u{FFFD}'.into(),
            _ => letter.into(),
        }),
        Escape::Csv if text.contains(',') || text.contains('"') || text.contains('\n') || text.contains('\r') => {
            format!("\"{}\"", text.replace('"', "\"\""))
        }
        Escape::Csv => text.into(),
        Escape::Url => text
            .bytes()
            .map(|byte| match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
                _ => format!("%{byte:02X}"),
            })
            .collect(),
        Escape::Line => each(&|letter| if letter < ' ' || letter == '\u{7f}' { " ".into() } else { letter.into() }),
    }
}

#[test]
fn compiled_templates_agree_with_the_tree() {
    let mut bytes = 0;
    for seed in 0..20_000 {
        let escape = Escape::ALL[seed as usize % Escape::ALL.len()];
        let mut maker = Maker { random: SplitMix64::new(seed), json: escape == Escape::Json };
        let tree = maker.nodes(3, false, false);
        let mut text = format!("{{{{!escape {}}}}}\n", escape.name());
        source(&tree, &mut text);
        // The template's very last line break is not part of it.
        text.push('\n');
        let template = match Template::parse(&text, &SCHEMA) {
            Ok(template) => template,
            Err(error) => panic!("seed {seed}: {error}\n{text}"),
        };
        for _ in 0..3 {
            let sample = maker.sample();
            let mut expected = String::new();
            Model { sample: &sample, escape }.write(&tree, None, false, &mut expected);
            let mut out = vec![0; expected.len()];
            let count = template.run(&sample, &mut out);
            assert_eq!(count, Ok(expected.len()), "seed {seed}: {text}\n{sample:?}\n{expected}");
            assert_eq!(String::from_utf8(out).as_deref(), Ok(expected.as_str()), "seed {seed}: {text}\n{sample:?}");
            fuzzing::fills_exactly(&template, &sample);
            bytes += expected.len();
        }
    }
    assert!(bytes > 1_000_000, "{bytes} bytes were compared");
}
