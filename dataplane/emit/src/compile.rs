//! The compiler: a template's text into flat operations, or an error that says where and what would be right.
//!
//! Runs when a template is configured, never per message. One pass; blocks are a stack of what is still to be patched.
//! Under `{{!escape json}}` it follows the template's own quotation marks, so that each value is spelt for its place.

use crate::run::{self, NoRoom, Operand, Operation, Source, Span, Test};
use crate::sink::{BLOCK_BYTES, Sink};
use crate::spell::{self, BytesAs, Spelling, TimeAs};
use crate::syntax::{self, Fault, Piece, Token, Word, fault};
use crate::{Escape, Field, FieldName, Record, Schema, Shape, reference};
use core::fmt;

/// The longest template, in bytes.
pub const TEMPLATE_BYTES_MAX: usize = 64 * 1024;

/// The most operations a template may compile to.
pub const OPERATION_COUNT_MAX: usize = 4096;

/// How deep blocks may stand in blocks.
pub const DEPTH_MAX: usize = 16;

/// A template, checked against a schema and compiled.
///
/// The language, for people who configure streams:
///
/// - `{{name}}` writes a field; `{{name|filter|filter:"x"}}` says how. See [`mod@crate::reference`] for fields and filters.
/// - `{{#if name}} … {{else if other}} … {{else}} … {{/if}}` and `{{#unless name}} … {{/unless}}` ask whether the
///   field is there (a flag: is true; a list: has items). Zero and the empty text are there.
///   `{{#if name == "text"}}` and `!=` compare with a text, a number, `true` or `false`; bytes compare with hex digits.
/// - `{{#each list separator=","}} … {{else}} … {{/each}}` goes through a list; inside, a name means the item's field,
///   or else the record's, and `{{../name}}` always the record's. `{{@index}}` counts from 0; `@first` and `@last` are flags.
///   Lists do not nest. `{{list|count}}` is the number of items.
/// - `{{! … }}` and `{{!-- … --}}` are comments. `{{~` and `~}}` drop the white space beside a tag.
/// - `{{{{` writes two literal braces; `}}` outside a tag is literal. One line break at the very end is dropped.
/// - `{{!escape json}}` (or `xml`, `csv`, `url`, `line`, `raw`) at the very start says what every value is made safe
///   for; its line is not part of the output. Under `json` a value between the template's quotation marks is escaped;
///   elsewhere it is a whole JSON value: texts are quoted, numbers are numbers, and what is absent is `null`.
///
/// ```
/// # use emit::{Field, FieldName, Record, Schema, Shape, Template, Value};
/// # struct Name(&'static str);
/// # impl Record for Name {
/// #     fn value(&self, _: Field) -> Value<'_> { Value::Text(self.0) }
/// #     fn item(&self, _: Field, _: usize, _: Field) -> Value<'_> { Value::Absent }
/// # }
/// # const SCHEMA: Schema = Schema {
/// #     fields: &[FieldName { name: "name", field: Field(0), shape: Shape::Text, list: None, help: "" }],
/// # };
/// let template = Template::parse(r#"{{!escape json}}{"a":{{name}},"b":"is {{name}}"}"#, &SCHEMA)?;
/// let mut out = [0; 64];
/// let count = template.run(&Name("\"x\""), &mut out)?;
/// assert_eq!(&out[..count], br#"{"a":"\"x\"","b":"is \"x\""}"#);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    pub(crate) operations: Box<[Operation]>,
    constants: Box<[u8]>,
    fields: Box<[Field]>,
    escape: Escape,
}

/// Why a text is no template, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateError {
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    /// One sentence; names what would be allowed.
    pub message: String,
}

impl fmt::Display for TemplateError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "line {}, column {}: {}", self.line, self.column, self.message)
    }
}

impl std::error::Error for TemplateError {}

impl TemplateError {
    fn new(text: &str, fault: Fault) -> Self {
        let before = &text[..fault.at];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Self {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            message: fault.message,
        }
    }
}

impl Template {
    /// Compiles a text whose values are escaped as its `{{!escape …}}` says, or not at all.
    ///
    /// # Errors
    /// [`TemplateError`] for the first thing that is wrong.
    pub fn parse(text: &str, schema: &Schema) -> Result<Self, TemplateError> {
        Self::parse_as(text, schema, Escape::None)
    }

    /// Compiles a text whose values are escaped as its `{{!escape …}}` says, or else by `escape`.
    ///
    /// # Errors
    /// [`TemplateError`] for the first thing that is wrong.
    pub fn parse_as(text: &str, schema: &Schema, escape: Escape) -> Result<Self, TemplateError> {
        compile(text, schema, escape).map_err(|fault| TemplateError::new(text, fault))
    }

    /// Writes `record` into the front of `out`. Returns the count of bytes; those behind may have changed as well. Never
    /// allocates.
    ///
    /// # Errors
    /// [`NoRoom`] when `out` is too short; its content is then of no use.
    pub fn run<R: Record + ?Sized>(&self, record: &R, out: &mut [u8]) -> Result<usize, NoRoom> {
        run::run(self, record, out)
    }

    /// The fields that it reads, each once, in ascending order.
    #[must_use]
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// What its values are escaped for, unless a filter says otherwise.
    #[must_use]
    pub const fn escape(&self) -> Escape {
        self.escape
    }

    /// All constant bytes, and [`BLOCK_BYTES`] that are in no [`Span`].
    pub(crate) fn constants(&self) -> &[u8] {
        &self.constants
    }

    pub(crate) fn constant(&self, span: Span) -> &[u8] {
        &self.constants[span.start as usize..span.end as usize]
    }
}

/// A block whose end is not met yet.
struct Block {
    at: usize,
    name: &'static str,
    /// The operation that goes on at the next `else`, or at the end.
    pending: Option<usize>,
    /// Jumps that go on at the end.
    ends: Vec<usize>,
    /// Where the template's quotation marks stood at its start.
    quotes: Quotes,
    /// A list's body and separator.
    each: Option<(u32, Span)>,
}

/// Whether the template's own text is inside a JSON string.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Quotes {
    open: bool,
    backslash: bool,
}

struct Compiler<'s> {
    schema: &'s Schema,
    escape: Escape,
    operations: Vec<Operation>,
    constants: Vec<u8>,
    fields: Vec<Field>,
    blocks: Vec<Block>,
    list: Option<Field>,
    quotes: Quotes,
    /// Operations before this one are jumped behind: nothing may be appended to a literal there.
    barrier: usize,
    /// Literals that are no operations of their own any more.
    taken_count: usize,
}

fn compile(text: &str, schema: &Schema, escape: Escape) -> Result<Template, Fault> {
    if text.len() > TEMPLATE_BYTES_MAX {
        return fault(
            0,
            format_args!("a template has at most {TEMPLATE_BYTES_MAX} bytes, this one has {}", text.len()),
        );
    }
    let body = text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
    let mut compiler = Compiler {
        schema,
        escape,
        operations: Vec::new(),
        constants: Vec::new(),
        fields: Vec::new(),
        blocks: Vec::new(),
        list: None,
        quotes: Quotes::default(),
        barrier: 0,
        taken_count: 0,
    };
    let mut swallow_line_break = false;
    for piece in syntax::pieces(body)? {
        match piece {
            Piece::Literal { text, .. } => {
                let rest = if swallow_line_break { after_line_break(text) } else { text };
                compiler.literal(rest.as_bytes());
            }
            Piece::Comment { at, text } => {
                if let Some(name) = text.strip_prefix("escape ") {
                    if at != 0 {
                        return fault(at, "{{!escape …}} stands at the very start of a template");
                    }
                    compiler.escape = escape_named(at, name.trim())?;
                    swallow_line_break = true;
                    continue;
                }
            }
            Piece::Tag { at, words } => compiler.tag(at, &words)?,
        }
        swallow_line_break = false;
        if compiler.operations.len() + compiler.taken_count > OPERATION_COUNT_MAX {
            return fault(text.len(), format_args!("a template has at most {OPERATION_COUNT_MAX} tags and texts"));
        }
    }
    if let Some(block) = compiler.blocks.last() {
        return fault(block.at, format_args!("{{{{#{0}}}}} is never closed with {{{{/{0}}}}}", block.name));
    }
    if compiler.quotes != Quotes::default() {
        return fault(body.len(), "a quotation mark of the template's JSON is never closed");
    }
    compiler.constants.extend_from_slice(&[0; BLOCK_BYTES]);
    compiler.fields.sort_unstable();
    compiler.fields.dedup();
    Ok(Template {
        operations: compiler.operations.into(),
        constants: compiler.constants.into(),
        fields: compiler.fields.into(),
        escape: compiler.escape,
    })
}

fn after_line_break(text: &str) -> &str {
    text.strip_prefix("\r\n").or_else(|| text.strip_prefix('\n')).unwrap_or(text)
}

fn escape_named(at: usize, name: &str) -> Result<Escape, Fault> {
    Escape::from_name(name).map_or_else(
        || {
            let names = Escape::ALL.map(Escape::name).join(", ");
            fault(at, format_args!("there is no escaping {name:?}; there are {names}"))
        },
        Ok,
    )
}

impl Compiler<'_> {
    fn literal(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let span = self.constant(bytes);
        self.follow(bytes);
        if self.operations.len() > self.barrier
            && let Some(Operation::Literal(last)) = self.operations.last_mut()
            && last.end == span.start
        {
            last.end = span.end;
            return;
        }
        self.operations.push(Operation::Literal(span));
    }

    fn constant(&mut self, bytes: &[u8]) -> Span {
        let start = self.constants.len() as u32;
        self.constants.extend_from_slice(bytes);
        Span { start, end: self.constants.len() as u32 }
    }

    /// Follows the quotation marks of the template's own JSON.
    fn follow(&mut self, bytes: &[u8]) {
        if self.escape != Escape::Json {
            return;
        }
        for byte in bytes {
            self.quotes = match (self.quotes.open, *byte) {
                (true, _) if self.quotes.backslash => Quotes { open: true, backslash: false },
                (true, b'\\') => Quotes { open: true, backslash: true },
                (open, b'"') => Quotes { open: !open, backslash: false },
                (open, _) => Quotes { open, backslash: false },
            };
        }
    }

    fn tag(&mut self, at: usize, words: &[Word<'_>]) -> Result<(), Fault> {
        if self.quotes.backslash {
            return fault(at, "a backslash stands before this tag; put the tag before it or double it");
        }
        let Some((first, rest)) = words.split_first() else {
            return fault(at, "there is nothing in these braces");
        };
        match first.token {
            Token::Name("#if") => self.open_if(at, "if", rest),
            Token::Name("#unless") => self.open_if(at, "unless", rest),
            Token::Name("#each") => self.open_each(at, rest),
            Token::Name("else") => self.otherwise(at, rest),
            Token::Name(name) if name.starts_with('/') => self.close(at, &name[1..], rest),
            Token::Name(name) if name.starts_with('#') => {
                fault(at, format_args!("there is no block {{{{{name}}}}}; there are #if, #unless and #each"))
            }
            _ => self.write(at, words),
        }
    }

    fn open(&mut self, block: Block) -> Result<(), Fault> {
        if self.blocks.len() == DEPTH_MAX {
            return fault(block.at, format_args!("blocks stand at most {DEPTH_MAX} deep"));
        }
        self.blocks.push(block);
        Ok(())
    }

    fn open_if(&mut self, at: usize, name: &'static str, words: &[Word<'_>]) -> Result<(), Fault> {
        let branch = self.branch(at, name == "if", words)?;
        let quotes = self.quotes;
        self.open(Block { at, name, pending: Some(branch), ends: Vec::new(), quotes, each: None })
    }

    fn branch(&mut self, at: usize, wanted: bool, words: &[Word<'_>]) -> Result<usize, Fault> {
        let (test, unequal) = self.test(at, words)?;
        self.operations.push(Operation::Branch { test, wanted: wanted != unequal, target: 0 });
        Ok(self.operations.len() - 1)
    }

    fn open_each(&mut self, at: usize, words: &[Word<'_>]) -> Result<(), Fault> {
        if self.list.is_some() {
            return fault(at, "lists do not nest: this {{#each}} stands in another");
        }
        let (name, separator) = match words {
            [Word { token: Token::Name(name), .. }] => (name, ""),
            [
                Word { token: Token::Name(name), .. },
                Word { token: Token::Name("separator"), .. },
                Word { token: Token::Is, .. },
                Word { token: Token::Text(separator), .. },
            ] => (name, separator.as_str()),
            _ => return fault(at, "write {{#each list}} or {{#each list separator=\",\"}}"),
        };
        let entry = self.entry(at, name)?;
        if entry.shape != Shape::List {
            let lists = names(self.schema.fields.iter().filter(|entry| entry.shape == Shape::List));
            return fault(at, format_args!("{name} is no list; there are {lists}"));
        }
        let separator_span = self.constant(separator.as_bytes());
        let quotes = self.quotes;
        self.follow(separator.as_bytes());
        if self.quotes != quotes {
            return fault(at, "the separator opens a quotation mark and does not close it");
        }
        self.operations.push(Operation::Each { list: entry.field, empty: 0 });
        let body = self.label();
        self.list = Some(entry.field);
        let pending = Some(self.operations.len() - 1);
        self.open(Block { at, name: "each", pending, ends: Vec::new(), quotes, each: Some((body, separator_span)) })
    }

    fn otherwise(&mut self, at: usize, words: &[Word<'_>]) -> Result<(), Fault> {
        let Some(mut block) = self.blocks.pop() else {
            return fault(at, "{{else}} stands in no block");
        };
        let Some(pending) = block.pending.take() else {
            return fault(at, format_args!("a second {{{{else}}}} in one {{{{#{}}}}}", block.name));
        };
        self.settle(at, &mut block)?;
        self.operations.push(Operation::Jump { target: 0 });
        block.ends.push(self.operations.len() - 1);
        let here = self.label();
        self.patch(pending, here);
        block.pending = match words {
            [] => None,
            [Word { token: Token::Name(word @ ("if" | "unless")), .. }, rest @ ..] if block.name != "each" => {
                Some(self.branch(at, *word == "if", rest)?)
            }
            _ => return fault(at, "write {{else}}, or {{else if …}} where the block is an {{#if}}"),
        };
        self.blocks.push(block);
        Ok(())
    }

    fn close(&mut self, at: usize, name: &str, words: &[Word<'_>]) -> Result<(), Fault> {
        let Some(mut block) = self.blocks.pop() else {
            return fault(at, format_args!("{{{{/{name}}}}} closes nothing"));
        };
        if block.name != name || !words.is_empty() {
            return fault(at, format_args!("here {{{{/{0}}}}} is expected: {{{{#{0}}}}} is open", block.name));
        }
        self.settle(at, &mut block)?;
        let here = self.label();
        for operation in block.pending.into_iter().chain(block.ends) {
            self.patch(operation, here);
        }
        Ok(())
    }

    /// Ends a branch: the quotation marks stand as before, and a list takes its next item.
    fn settle(&mut self, at: usize, block: &mut Block) -> Result<(), Fault> {
        if self.quotes != block.quotes {
            let name = block.name;
            return fault(at, format_args!("this part of {{{{#{name}}}}} opens or closes a quotation mark alone"));
        }
        if let Some((body, separator)) = block.each.take() {
            self.operations.push(Operation::Next { body, separator });
            self.list = None;
        }
        Ok(())
    }

    fn label(&mut self) -> u32 {
        self.barrier = self.operations.len();
        self.barrier as u32
    }

    fn patch(&mut self, operation: usize, here: u32) {
        match &mut self.operations[operation] {
            Operation::Branch { target, .. } | Operation::Jump { target } | Operation::Each { empty: target, .. } => {
                *target = here;
            }
            other => unreachable!("{other:?} has no target"),
        }
    }

    fn test(&mut self, at: usize, words: &[Word<'_>]) -> Result<(Test, bool), Fault> {
        let (name, comparison) = match words {
            [Word { token: Token::Name(name), at }] => ((name, *at), None),
            [Word { token: Token::Name(name), at }, Word { token: Token::Equal, .. }, operand] => {
                ((name, *at), Some((operand, false)))
            }
            [Word { token: Token::Name(name), at }, Word { token: Token::Unequal, .. }, operand] => {
                ((name, *at), Some((operand, true)))
            }
            _ => return fault(at, "a condition is a name, or a name, == or != and a text, number, true or false"),
        };
        let (source, shape) = self.source(name.1, name.0)?;
        match comparison {
            None => Ok((Test::Holds(source), false)),
            Some((operand, unequal)) => Ok((Test::Equals(source, self.operand(shape, operand)?), unequal)),
        }
    }

    fn operand(&mut self, shape: Shape, word: &Word<'_>) -> Result<Operand, Fault> {
        match (shape, &word.token) {
            (Shape::Text, Token::Text(text)) => Ok(Operand::Text(self.constant(text.as_bytes()))),
            (Shape::Bytes, Token::Text(digits)) => {
                let mut bytes = vec![0; digits.len() / 2];
                if base::hex::decode(digits.as_bytes(), &mut bytes).is_err() {
                    return fault(word.at, "bytes are compared with an even number of hexadecimal digits");
                }
                Ok(Operand::Octets(self.constant(&bytes)))
            }
            (Shape::Number, Token::Number(number)) => {
                let (digits, scale) = number_of(word.at, number)?;
                Ok(Operand::Number { digits, scale })
            }
            (Shape::Flag, Token::Name("true")) => Ok(Operand::Flag(true)),
            (Shape::Flag, Token::Name("false")) => Ok(Operand::Flag(false)),
            (Shape::Text, _) => fault(word.at, "a text is compared with a text in quotation marks"),
            (Shape::Bytes, _) => fault(word.at, "bytes are compared with hexadecimal digits in quotation marks"),
            (Shape::Number, _) => fault(word.at, "a number is compared with a number"),
            (Shape::Flag, _) => fault(word.at, "a flag is compared with true or false"),
            (Shape::Json | Shape::Time | Shape::List, _) => {
                fault(word.at, format_args!("a {} is not compared; test whether it is there", shape.name()))
            }
        }
    }

    fn write(&mut self, at: usize, words: &[Word<'_>]) -> Result<(), Fault> {
        let [Word { token: Token::Name(name), at: name_at }, filters @ ..] = words else {
            return fault(at, "a tag begins with a field's name, or #, / or else");
        };
        let (mut source, mut shape) = self.source(*name_at, name)?;
        let mut spelling =
            Spelling { bytes: BytesAs::Hex, time: TimeAs::Iso8601(6), escape: self.escape, quoted: false };
        let mut default = None;
        let mut rest = filters;
        while let Some((bar, after)) = rest.split_first() {
            let (Token::Bar, [Word { token: Token::Name(filter), at: filter_at }, after @ ..]) = (&bar.token, after)
            else {
                return fault(bar.at, "after the name come filters: {{name|filter}} or {{name|filter:\"x\"}}");
            };
            let (argument, after) = match after {
                [Word { token: Token::Colon, .. }, argument, after @ ..] => (Some(argument), after),
                _ => (None, after),
            };
            rest = after;
            let fits = reference::filter(filter).map(|filter| filter.fits(shape));
            match fits {
                None => {
                    let names = reference::filter_names();
                    return fault(*filter_at, format_args!("there is no filter {filter:?}; there are {names}"));
                }
                Some(false) => {
                    return fault(*filter_at, format_args!("{name} is a {}: {filter} does not apply", shape.name()));
                }
                Some(true) => {}
            }
            match (*filter, argument) {
                ("hex", None) => spelling.bytes = BytesAs::Hex,
                ("hex_lower", None) => spelling.bytes = BytesAs::HexLower,
                ("base64", None) => spelling.bytes = BytesAs::Base64,
                ("seconds", None) => spelling.time = TimeAs::Seconds,
                ("millis", None) => spelling.time = TimeAs::Millis,
                ("micros", None) => spelling.time = TimeAs::Micros,
                ("iso8601", None) => spelling.time = TimeAs::Iso8601(6),
                ("iso8601", Some(Word { token: Token::Number(digits @ ("0" | "3" | "6" | "9")), .. })) => {
                    spelling.time = TimeAs::Iso8601(digits.as_bytes()[0] - b'0');
                }
                ("iso8601", Some(word)) => return fault(word.at, "iso8601 takes 0, 3, 6 or 9 digits: iso8601:3"),
                ("count", None) => {
                    let Source::Outer(list) = source else { unreachable!("a list stands in no list") };
                    (source, shape) = (Source::Count(list), Shape::Number);
                }
                ("default", Some(word)) => default = Some(word),
                ("default", None) => return fault(*filter_at, "default takes what to write instead: default:\"x\""),
                (escape, None) => spelling.escape = escape_named(*filter_at, escape)?,
                (filter, Some(word)) => return fault(word.at, format_args!("{filter} takes nothing after a colon")),
            }
        }
        if shape == Shape::List {
            return fault(
                *name_at,
                format_args!("{name} is a list: write {{{{#each {name}}}}} or {{{{{name}|count}}}}"),
            );
        }
        spelling.quoted = spelling.escape == Escape::Json && !self.quotes.open;
        let absent = self.absent(default, spelling)?;
        let before = self.take_literal();
        self.operations.push(Operation::Write { before, source, spelling, absent });
        Ok(())
    }

    /// The literal at the end, taken away so that the next operation brings it; what jumps to it will jump to that one.
    fn take_literal(&mut self) -> Span {
        if self.operations.len() <= self.barrier {
            return Span::default();
        }
        let literal = self.operations.pop_if(|operation| matches!(operation, Operation::Literal(_)));
        let Some(Operation::Literal(span)) = literal else { return Span::default() };
        self.taken_count += 1;
        span
    }

    /// What is written where there is no value.
    fn absent(&mut self, default: Option<&Word<'_>>, spelling: Spelling) -> Result<Span, Fault> {
        let Some(word) = default else {
            return Ok(self.constant(if spelling.quoted { b"null" } else { b"" }));
        };
        match &word.token {
            Token::Text(text) => {
                // Six bytes for one is the worst that an escape does, and two quotation marks.
                let mut out = vec![0; text.len() * 6 + 2];
                let mut sink = Sink::new(&mut out);
                spell::text(&mut sink, text.as_bytes(), &spelling).expect("room was made");
                let count = sink.count();
                Ok(self.constant(&out[..count]))
            }
            Token::Number(number) => {
                number_of(word.at, number)?;
                Ok(self.constant(number.as_bytes()))
            }
            Token::Name(name @ ("true" | "false" | "null")) => Ok(self.constant(name.as_bytes())),
            _ => fault(word.at, "default takes a text in quotation marks, a number, true, false or null"),
        }
    }

    fn source(&mut self, at: usize, name: &str) -> Result<(Source, Shape), Fault> {
        if name.starts_with('@') {
            if self.list.is_none() {
                return fault(at, format_args!("{name} stands in no {{{{#each}}}}"));
            }
            return match name {
                "@index" => Ok((Source::Index, Shape::Number)),
                "@first" => Ok((Source::First, Shape::Flag)),
                "@last" => Ok((Source::Last, Shape::Flag)),
                _ => fault(at, format_args!("there is no {name}; there are @index, @first and @last")),
            };
        }
        let entry = self.entry(at, name)?;
        let source = if entry.list.is_some() { Source::Item(entry.field) } else { Source::Outer(entry.field) };
        Ok((source, entry.shape))
    }

    fn entry(&mut self, at: usize, name: &str) -> Result<&'static FieldName, Fault> {
        let (bare, list) = name.strip_prefix("../").map_or((name, self.list), |bare| (bare, None));
        let Some(entry) = self.schema.find(bare, list) else {
            let visible = |entry: &&FieldName| entry.list.is_none() || entry.list == list;
            let names = names(self.schema.fields.iter().filter(visible));
            return fault(at, format_args!("there is no field {bare:?} here; there are {names}"));
        };
        self.fields.push(entry.field);
        self.fields.extend(entry.list);
        Ok(entry)
    }
}

fn names<'a>(entries: impl Iterator<Item = &'a FieldName>) -> String {
    let mut names: Vec<&str> = entries.map(|entry| entry.name).collect();
    names.sort_unstable();
    names.dedup();
    names.join(", ")
}

/// Reads `-7.50` as `(-75, 1)`: at most 18 digits, spelt as JSON spells numbers.
fn number_of(at: usize, number: &str) -> Result<(i128, u8), Fault> {
    let (negative, bare) = number.strip_prefix('-').map_or((false, number), |bare| (true, bare));
    let (whole, fraction) = bare.split_once('.').unwrap_or((bare, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let leading_zero = whole.len() > 1 && whole.starts_with('0');
    if !digits(whole) || !digits(fraction) || leading_zero || whole.len() + fraction.len() > 18 {
        return fault(at, format_args!("{number} is no number: write 7, -7 or 7.5, at most 18 digits"));
    }
    let all = whole.bytes().chain(fraction.bytes()).fold(0i128, |sum, byte| sum * 10 + i128::from(byte - b'0'));
    Ok(run::reduce(if negative { -all } else { all }, fraction.len() as u8))
}
