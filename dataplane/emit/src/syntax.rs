//! The surface of the language: where tags begin and end, and the words in them. Knows no field and no operation.
//!
//! ```text
//!   literal {{word "text" 1.5 | filter:"x"}} literal {{{{ literal {{! comment }} literal
//! ```

use core::fmt;

/// What is wrong, and how far into the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) at: usize,
    pub(crate) message: String,
}

pub(crate) fn fault<T>(at: usize, message: impl fmt::Display) -> Result<T, Fault> {
    Err(Fault { at, message: message.to_string() })
}

/// A stretch of the template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// Copied as it is.
    Literal { at: usize, text: &'a str },
    /// `{{! … }}`: the text after the exclamation mark.
    Comment { at: usize, text: &'a str },
    /// Everything else in braces, in words.
    Tag { at: usize, words: Vec<Word<'a>> },
}

/// A word of a tag and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word<'a> {
    pub(crate) at: usize,
    pub(crate) token: Token<'a>,
}

/// The words that tags are made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    /// A name, with its sigil (`#`, `/`, `@`, `../`) if it has one.
    Name(&'a str),
    /// A quoted text, its escapes resolved.
    Text(String),
    /// A number as written.
    Number(&'a str),
    /// `|`
    Bar,
    /// `:`
    Colon,
    /// `=`
    Is,
    /// `==`
    Equal,
    /// `!=`
    Unequal,
}

/// Takes a template apart.
pub(crate) fn pieces(text: &str) -> Result<Vec<Piece<'_>>, Fault> {
    let mut out = Vec::new();
    let mut at = 0;
    let mut trim = false;
    while at < text.len() {
        let open = text[at..].find("{{").map_or(text.len(), |found| at + found);
        let doubled = text[open..].starts_with("{{{{");
        let trim_before = !doubled && text[open..].starts_with("{{~");
        literal(&mut out, text, at..open, trim, trim_before);
        trim = false;
        if open == text.len() {
            break;
        }
        if doubled {
            out.push(Piece::Literal { at: open, text: &text[open..open + 2] });
            at = open + 4;
            continue;
        }
        let start = open + 2 + usize::from(trim_before);
        if text[start..].starts_with('{') {
            return fault(open, "three braces: put a space between the brace and the tag, and {{~ to drop the space");
        }
        if let Some(comment) = text[start..].strip_prefix('!') {
            let close = if comment.starts_with("--") { "--}}" } else { "}}" };
            let Some(end) = comment.find(close) else {
                return fault(open, format_args!("this comment is never closed with {close}"));
            };
            let inner = &comment[..end];
            trim = close == "}}" && inner.ends_with('~');
            out.push(Piece::Comment { at: open, text: inner.trim_end_matches('~') });
            at = start + 1 + end + close.len();
            continue;
        }
        let (words, end) = words(text, open, start)?;
        out.push(Piece::Tag { at: open, words });
        trim = text[end..].starts_with('~');
        at = end + usize::from(trim) + 2;
    }
    Ok(out)
}

fn literal<'a>(out: &mut Vec<Piece<'a>>, text: &'a str, range: core::ops::Range<usize>, front: bool, back: bool) {
    let (mut at, mut part) = (range.start, &text[range]);
    if front {
        let trimmed = part.trim_start();
        at += part.len() - trimmed.len();
        part = trimmed;
    }
    if back {
        part = part.trim_end();
    }
    if !part.is_empty() {
        out.push(Piece::Literal { at, text: part });
    }
}

/// The words from `start` to the closing braces, and where those (or their `~`) stand.
fn words(text: &str, open: usize, start: usize) -> Result<(Vec<Word<'_>>, usize), Fault> {
    let mut out = Vec::new();
    let mut at = start;
    loop {
        let rest = &text[at..];
        let Some(first) = rest.chars().next() else {
            return fault(open, "this tag is never closed with }}");
        };
        if rest.starts_with("}}") || rest.starts_with("~}}") {
            return Ok((out, at));
        }
        let (token, count) = match first {
            _ if first.is_whitespace() => {
                at += first.len_utf8();
                continue;
            }
            '|' => (Token::Bar, 1),
            ':' => (Token::Colon, 1),
            '=' if rest.starts_with("==") => (Token::Equal, 2),
            '=' => (Token::Is, 1),
            '!' if rest.starts_with("!=") => (Token::Unequal, 2),
            '"' => quoted(rest, at)?,
            '0'..='9' | '-' => {
                let count = rest[1..].find(|letter: char| !letter.is_ascii_digit() && letter != '.');
                let count = count.map_or(rest.len(), |found| found + 1);
                (Token::Number(&rest[..count]), count)
            }
            _ => {
                let sigil = if rest.starts_with("../") { 3 } else { usize::from(matches!(first, '#' | '/' | '@')) };
                let name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '.';
                let count = rest[sigil..].find(|letter| !name(letter)).map_or(rest.len(), |found| found + sigil);
                if count == sigil {
                    return fault(at, format_args!("{first:?} does not belong in a tag"));
                }
                (Token::Name(&rest[..count]), count)
            }
        };
        out.push(Word { at, token });
        at += count;
    }
}

fn quoted<'a>(rest: &str, at: usize) -> Result<(Token<'a>, usize), Fault> {
    let mut out = String::new();
    let mut letters = rest.char_indices().skip(1);
    while let Some((index, letter)) = letters.next() {
        match letter {
            '"' => return Ok((Token::Text(out), index + 1)),
            '\\' => match letters.next() {
                Some((_, 'n')) => out.push('\n'),
                Some((_, 'r')) => out.push('\r'),
                Some((_, 't')) => out.push('\t'),
                Some((_, letter @ ('"' | '\\'))) => out.push(letter),
                _ => return fault(at + index, "in quotation marks a backslash is followed by n, r, t, \" or \\"),
            },
            _ => out.push(letter),
        }
    }
    fault(at, "this quotation mark is never closed")
}
