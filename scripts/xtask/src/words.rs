//! Rust source with everything but code blanked out, so that rules about words do not trip over prose.
//!
//! Never parses: it knows comments, strings, raw strings and character literals, and nothing else.

/// The same text with comments and literals replaced by spaces; line breaks stay where they were.
pub(crate) fn code_only(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut out = vec![b' '; bytes.len()];
    let mut at = 0;
    while at < bytes.len() {
        let end = literal_or_comment(bytes, at);
        if end > at {
            for (place, byte) in (at..end).zip(&bytes[at..end]) {
                if *byte == b'\n' {
                    out[place] = b'\n';
                }
            }
            at = end;
        } else {
            out[at] = if bytes[at].is_ascii() { bytes[at] } else { b' ' };
            at += 1;
        }
    }
    String::from_utf8(out).expect("only ASCII was written")
}

/// Whether `word` stands in `text` with no identifier character on either side.
pub(crate) fn has_word(text: &str, word: &str) -> bool {
    let part = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    text.match_indices(word).any(|(at, _)| {
        let before = at.checked_sub(1).and_then(|place| text.as_bytes().get(place));
        !part(before) && !part(text.as_bytes().get(at + word.len()))
    })
}

/// Where the literal or comment that begins at `at` ends; `at` itself if none begins there.
fn literal_or_comment(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    let inside_word = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
    if rest.starts_with(b"//") {
        return at + rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    }
    if rest.starts_with(b"/*") {
        return at + block_comment(rest);
    }
    if rest[0] == b'"' {
        return at + quoted(rest, b'"');
    }
    if rest[0] == b'\'' {
        return at + character(rest);
    }
    if !inside_word && matches!(rest[0], b'r' | b'b' | b'c') {
        let prefix = rest.iter().take(2).take_while(|byte| byte.is_ascii_alphabetic()).count();
        let hashes = rest[prefix..].iter().take_while(|byte| **byte == b'#').count();
        if rest.get(prefix + hashes) == Some(&b'"') {
            let raw = rest[..prefix].contains(&b'r');
            let open = prefix + hashes;
            return at + if raw { raw_string(rest, open + 1, hashes) } else { open + quoted(&rest[open..], b'"') };
        }
    }
    at
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

fn raw_string(rest: &[u8], from: usize, hashes: usize) -> usize {
    let closing = [&b"\""[..], &vec![b'#'; hashes]].concat();
    let found = rest[from..].windows(closing.len()).position(|window| window == closing);
    found.map_or(rest.len(), |place| from + place + closing.len())
}

/// A character literal; a lifetime is none, so nothing of it is blanked.
fn character(rest: &[u8]) -> usize {
    match rest {
        [_, b'\\', ..] => quoted(rest, b'\''),
        [_, first, ..] => {
            let width = if first.is_ascii() { 1 } else { first.leading_ones() as usize };
            if rest.get(1 + width) == Some(&b'\'') { width + 2 } else { 0 }
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &str, word: &str, expected: bool) {
        assert_eq!(has_word(&code_only(source), word), expected, "{word} in {source}");
    }

    #[test]
    fn words_count_only_as_code() {
        check("unsafe { f() }", "unsafe", true);
        check("unsafe_code = 1", "unsafe", false);
        check("// unsafe\nlet a = 1;", "unsafe", false);
        check("/* a /* nested */ unsafe */ b", "unsafe", false);
        check("/* a */ unsafe fn b()", "unsafe", true);
        check("\"unsafe \\\" unsafe\" + b", "unsafe", false);
        check("r#\"un \" unsafe\"# ; x", "unsafe", false);
        check("br\"unsafe\"", "unsafe", false);
        check("b\"unsafe\"; unsafe", "unsafe", true);
        check("'\"' unsafe '\"'", "unsafe", true);
        check("fn f<'a>(x: &'a str) { unsafe {} }", "unsafe", true);
        check("'\\'' ; unsafe", "unsafe", true);
        check("'é' ; unsafe", "unsafe", true);
    }

    #[test]
    fn lines_stay_where_they_were() {
        let source = "a\n/* b\nc */ \"d\ne\"\nf";
        let blanked = code_only(source);
        assert_eq!(blanked.lines().count(), source.lines().count());
        assert_eq!(blanked.lines().last(), Some("f"));
    }
}
