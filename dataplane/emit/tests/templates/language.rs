//! The language, case by case: what each construct writes, and what each mistake is told.

use crate::sample::{Held, SCHEMA, Sample};
use emit::{DEPTH_MAX, Escape, NoRoom, TEMPLATE_BYTES_MAX, Template, fuzzing, reference};

fn sample() -> Sample {
    let item = |name: &str, size: i64, key: &[u8]| {
        vec![Held::Text(name.into()), Held::Decimal(size, 1), Held::Bytes(key.to_vec()), Held::Absent]
    };
    Sample {
        values: vec![
            Held::Text("a \"b\" <c> & 'd', é\n".into()),
            Held::Flag(true),
            Held::Decimal(868_100_000, 6),
            Held::Absent,
            Held::Bytes(vec![0xDE, 0xAD, 0xBE, 0xEF]),
            Held::Time(1_658_136_855_775_023),
            Held::Json("{\"a\":[1]}".into()),
        ],
        items: vec![item("one", -1120, &[1]), item("two", -75, &[2, 0xAB])],
    }
}

fn check(text: &str, expected: &str) {
    let template = Template::parse(text, &SCHEMA).unwrap_or_else(|error| panic!("{text}: {error}"));
    let mut out = [0; 4096];
    let count = template.run(&sample(), &mut out).expect("room");
    assert_eq!(core::str::from_utf8(&out[..count]), Ok(expected), "{text}");
    for short in 0..count {
        assert_eq!(template.run(&sample(), &mut out[..short]), Err(NoRoom), "{text} in {short} bytes");
    }
    fuzzing::fills_exactly(&template, &sample());
}

#[test]
fn writes_every_shape() {
    check("{{flag}} {{number}} {{other}}.", "true 868.1 .");
    check("{{raw}} {{raw|hex}} {{raw|hex_lower}} {{raw|base64}}", "DEADBEEF DEADBEEF deadbeef 3q2+7w==");
    check("{{when}}", "2022-07-18T09:34:15.775023Z");
    check("{{when|iso8601:0}} {{when|iso8601:3}}", "2022-07-18T09:34:15Z 2022-07-18T09:34:15.775Z");
    check("{{when|iso8601:9}} {{when|iso8601}}", "2022-07-18T09:34:15.775023000Z 2022-07-18T09:34:15.775023Z");
    check("{{when|seconds}} {{when|millis}} {{when|micros}}", "1658136855 1658136855775 1658136855775023");
    check("{{items|count}} {{doc}}", "2 {\"a\":[1]}");
}

#[test]
fn escapes_for_its_surroundings() {
    check("{{name}}", "a \"b\" <c> & 'd', é\n");
    check("{{name|json}}", r#""a \"b\" <c> & 'd', é\n""#);
    check("{{name|xml}}", "a &quot;b&quot; &lt;c&gt; &amp; &apos;d&apos;, é\n");
    check("{{name|csv}}", "\"a \"\"b\"\" <c> & 'd', é\n\"");
    check("{{name|url}}", "a%20%22b%22%20%3Cc%3E%20%26%20%27d%27%2C%20%C3%A9%0A");
    check("{{name|line}}", "a \"b\" <c> & 'd', é ");
    check("{{raw|base64|url}} {{when|url}}", "3q2%2B7w%3D%3D 2022-07-18T09%3A34%3A15.775023Z");
    check("{{other|default:\"a\u{FFFE}\u{FFFD}\u{FFFF}\u{F000}<\"|xml}}", "a\u{FFFD}\u{FFFD}\u{FFFD}\u{F000}&lt;");
    check(
        "{{!escape xml}}{{name}}{{name|raw}}",
        "a &quot;b&quot; &lt;c&gt; &amp; &apos;d&apos;, é\na \"b\" <c> & 'd', é\n",
    );
}

#[test]
fn json_values_know_their_place() {
    check("{{!escape json}}\n{{name}}", r#""a \"b\" <c> & 'd', é\n""#);
    check(r#"{{!escape json}}"<{{name}}>""#, r#""<a \"b\" <c> & 'd', é\n>""#);
    check(r#"{{!escape json}}"\"{{raw}}" {{raw}} {{flag}}"#, r#""\"DEADBEEF" "DEADBEEF" true"#);
    check(r#"{{!escape json}}{{other}} "{{other}}" {{number}} "{{number}}""#, r#"null "" 868.1 "868.1""#);
    check(r#"{{!escape json}}{{doc}} "{{doc}}""#, r#"{"a":[1]} "{\"a\":[1]}""#);
    check(r#"{{!escape json}}{{when|seconds}} {{when|iso8601:0}}"#, r#"1658136855 "2022-07-18T09:34:15Z""#);
    check(r#"{{!escape json}}{{other|default:"a\"b"}} "{{other|default:"a\"b"}}""#, r#""a\"b" "a\"b""#);
    check(r#"{{!escape json}}{{other|default:-7.5}} {{other|default:false}}"#, "-7.5 false");
}

#[test]
fn branches() {
    check("{{#if flag}}yes{{else}}no{{/if}}{{#unless flag}}yes{{else}}no{{/unless}}", "yesno");
    check("{{#if other}}yes{{else if number}}number{{else}}no{{/if}}", "number");
    check("{{#if other}}a{{else if @x}}b{{/if}}".replace("@x", "flag == false").as_str(), "");
    check("{{#if number == 868.10}}=={{/if}}{{#if number != 868}}!={{/if}}", "==!=");
    check("{{#if other == 0}}a{{/if}}{{#if other != 0}}b{{/if}}", "b");
    check("{{#if raw == \"deADBEef\"}}a{{/if}}{{#if raw == \"DE\"}}b{{/if}}", "a");
    check("{{#if flag == true}}a{{/if}}{{#unless flag == false}}b{{/unless}}", "ab");
    check("{{#if name == \"a \\\"b\\\" <c> & 'd', é\\n\"}}a{{/if}}{{#if name == \"\"}}b{{/if}}", "a");
}

#[test]
fn lists() {
    check("{{#each items}}{{name}}={{size}};{{/each}}", "one=-112;two=-7.5;");
    check("{{#each items separator=\", \"}}{{@index}} {{key}} {{../raw}}{{/each}}", "0 01 DEADBEEF, 1 02AB DEADBEEF");
    check(
        "{{#each items}}{{name}}{{#unless @last}},{{/unless}}{{#if @first}}!{{/if}}{{else}}none{{/each}}",
        "one,!two",
    );
    check("{{#each items}}{{#if key == \"02ab\"}}{{number}}{{/if}}{{/each}}", "868.1");
    check("{{#each items}}{{#if at}}{{at}}{{else}}-{{/if}}{{/each}}", "--");
    let template = Template::parse("{{#each items}}x{{else}}none{{/each}}.", &SCHEMA).expect("compiles");
    let mut out = [0; 16];
    let count = template.run(&Sample::default(), &mut out).expect("room");
    assert_eq!(&out[..count], b"none.");
}

#[test]
fn spacing_comments_and_braces() {
    check("a {{~! gone ~}} b", "ab");
    check("a {{!-- {{name}} --}} b", "a  b");
    check("a \n {{~flag~}} \n b", "atrueb");
    check("{{{{flag}} }}", "{{flag}} }}");
    check("{ {{~flag}}}", "{true}");
    check("x\n", "x");
    check("x\n\n", "x\n");
    check("{{!escape csv}}\r\nx\r\n", "x");
    check("", "");
}

fn refuse(text: &str, line: usize, column: usize, part: &str) {
    let error = Template::parse(text, &SCHEMA).expect_err(text);
    assert_eq!((error.line, error.column), (line, column), "{text}: {error}");
    assert!(error.message.contains(part), "{text}: {error}");
}

#[test]
fn literals_of_every_length() {
    for count in 0..80 {
        let text = "0123456789".repeat(8)[..count].to_owned();
        check(&format!("{text}{{{{flag}}}}{text}"), &format!("{text}true{text}"));
    }
}

#[test]
fn mistakes_are_told() {
    refuse("a\né {{nam}}", 2, 5, "there are doc, flag, items, name, number, other, raw, when");
    refuse("{{#each items}}{{nam}}{{/each}}", 1, 18, "there are at, doc, flag, items, key, name");
    refuse("{{size}}", 1, 3, "there is no field \"size\" here");
    refuse("{{name|upper}}", 1, 8, "there are hex, hex_lower, base64");
    refuse("{{name|hex}}", 1, 8, "name is a text: hex does not apply");
    refuse("{{items}}", 1, 3, "{{#each items}} or {{items|count}}");
    refuse("{{#each name}}{{/each}}", 1, 1, "there are items");
    refuse("{{#each items}}{{#each items}}{{/each}}{{/each}}", 1, 16, "do not nest");
    refuse("{{#if flag}}", 1, 1, "never closed with {{/if}}");
    refuse("{{#if flag}}{{/each}}", 1, 13, "{{/if}} is expected");
    refuse("{{/if}}", 1, 1, "closes nothing");
    refuse("{{else}}", 1, 1, "stands in no block");
    refuse("{{#if flag}}{{else}}{{else}}{{/if}}", 1, 21, "a second {{else}}");
    refuse("{{#each items}}{{else if flag}}{{/each}}", 1, 16, "write {{else}}");
    refuse("{{#with flag}}{{/with}}", 1, 1, "there are #if, #unless and #each");
    refuse("{{flag", 1, 1, "never closed");
    refuse("{{! x", 1, 1, "never closed with }}");
    refuse("{{flag|default}}", 1, 8, "what to write instead");
    refuse("{{flag|default:\"x}}", 1, 16, "quotation mark is never closed");
    refuse("{{flag|default:\"\\x\"}}", 1, 17, "backslash");
    refuse("{{flag|default:01}}", 1, 16, "is no number");
    refuse("{{flag|default:1.}}", 1, 16, "is no number");
    refuse("{{when|iso8601:4}}", 1, 16, "0, 3, 6 or 9");
    refuse("{{raw|hex:3}}", 1, 11, "takes nothing");
    refuse("{{@index}}", 1, 3, "stands in no {{#each}}");
    refuse("{{#each items}}{{@odd}}{{/each}}", 1, 18, "@index, @first and @last");
    refuse("{{#if when == 3}}{{/if}}", 1, 15, "is not compared");
    refuse("{{#if flag == 3}}{{/if}}", 1, 15, "true or false");
    refuse("{{#if raw == \"abc\"}}{{/if}}", 1, 14, "hexadecimal digits");
    refuse("{{#if flag flag}}{{/if}}", 1, 1, "a condition is");
    refuse("{{}}", 1, 1, "nothing in these braces");
    refuse("{{{flag}}}", 1, 1, "three braces");
    refuse("{{flag & flag}}", 1, 8, "does not belong");
    refuse("{{flag flag}}", 1, 8, "after the name come filters");
    refuse(" {{!escape json}}", 1, 2, "very start");
    refuse("{{!escape yaml}}", 1, 1, "there are raw, json, xml, csv, url, line");
    refuse("{{!escape json}}\"", 1, 18, "never closed");
    refuse("{{!escape json}}{{#if flag}}\"{{/if}}", 1, 30, "quotation mark alone");
    refuse("{{!escape json}}{{#each items separator=\"\\\"\"}}{{/each}}", 1, 17, "separator");
    refuse("{{!escape json}}\"\\{{flag}}\"", 1, 19, "backslash");
}

#[test]
fn bounds_are_met() {
    let deep = |depth: usize| "{{#if flag}}".repeat(depth) + &"{{/if}}".repeat(depth);
    assert!(Template::parse(&deep(DEPTH_MAX), &SCHEMA).is_ok());
    refuse(&deep(DEPTH_MAX + 1), 1, 1 + DEPTH_MAX * 12, "deep");
    assert!(Template::parse(&"x".repeat(TEMPLATE_BYTES_MAX), &SCHEMA).is_ok());
    refuse(&"x".repeat(TEMPLATE_BYTES_MAX + 1), 1, 1, "at most 65536 bytes");
    refuse(&"{{flag}}".repeat(4097), 1, 1 + 8 * 4097, "at most 4096");
    assert!(Template::parse(&"x{{flag}}".repeat(2048), &SCHEMA).is_ok());
    refuse(&"x{{flag}}".repeat(2049), 1, 1 + 9 * 2049, "at most 4096");
}

#[test]
fn knows_what_it_reads() {
    let template = Template::parse("{{#each items}}{{size}}{{../name}}{{/each}}{{size|raw}}", &SCHEMA);
    assert!(template.is_err(), "size stands only in the list");
    let template = Template::parse("{{#each items}}{{size}}{{../name}}{{/each}}{{name}}", &SCHEMA).expect("compiles");
    let read: Vec<u16> = template.fields().iter().map(|field| field.0).collect();
    assert_eq!(read, [0, 7, 9]);
    assert_eq!(template.escape(), Escape::None);
    assert_eq!(Template::parse_as("", &SCHEMA, Escape::Url).expect("compiles").escape(), Escape::Url);
}

#[test]
fn the_reference_lists_everything() {
    let fields = reference::field_table(&SCHEMA);
    assert!(fields.contains("| `items.size` | number |") && fields.contains("| `doc` | json |"));
    assert_eq!(fields.lines().count(), SCHEMA.fields.len() + 2);
    assert_eq!(reference::filter_table().lines().count(), reference::FILTERS.len() + 2);
}

#[test]
fn any_text_compiles_or_is_explained() {
    let words = [
        "{{",
        "}}",
        "{{#if ",
        "{{/if}}",
        "{{else}}",
        "{{#each items}}",
        "{{/each}}",
        "flag",
        "name",
        "|json",
        "|default:",
        "\"",
        "\\",
        " ",
        "\n",
        "{",
        "{{{{",
        "~",
        "é",
        "==",
        "0.5",
        "{{!escape json}}\n",
        "{{! ",
        "--}}",
        "@last",
        "../",
    ];
    let mut random = base::mix::SplitMix64::new(11);
    let mut compiled = 0;
    for _ in 0..20_000 {
        let text: String = (0..random.below(9)).map(|_| words[random.below(words.len() as u64) as usize]).collect();
        let mut data = text.clone().into_bytes();
        data.extend_from_slice(&[0, 3, 200, 7, 9, 0x22, 0x5C, 44, 91]);
        fuzzing::template(&data, &SCHEMA);
        compiled += usize::from(Template::parse(&text, &SCHEMA).is_ok());
    }
    assert!(compiled > 1000, "{compiled} of them compiled");
}
