//! Topic names, filters and matching (4.7, v5 4.8.2).

use crate::sample::Sample;
use mqtt::topic::{NotShared, matches};
use mqtt::{TopicFilter, TopicName};

fn filter(text: &str) -> TopicFilter<'_> {
    TopicFilter::new(text).expect("a filter")
}

fn name(text: &str) -> TopicName<'_> {
    TopicName::new(text).expect("a name")
}

fn check(pattern: &str, names: &[&str], others: &[&str]) {
    for one in names {
        assert!(matches(filter(pattern), name(one)), "{pattern} has {one}");
    }
    for one in others {
        assert!(!matches(filter(pattern), name(one)), "{pattern} has no {one}");
    }
}

#[test]
fn names_have_no_wildcards_and_filters_may() {
    for text in ["+", "#", "a/+/b", "a/#", "/+"] {
        assert!(TopicName::new(text).is_none() && TopicFilter::new(text).is_some(), "{text}");
    }
    assert!(filter("a/+").is_wild() && !filter("a/b").is_wild());
}

#[test]
fn the_multi_level_wildcard_is_the_whole_last_level() {
    for text in ["#", "a/#", "/#", "+/#", "a//#"] {
        assert!(TopicFilter::new(text).is_some(), "{text}");
    }
    for text in ["a#", "#a", "a/#/b", "#/", "a/b#", "##", "#/#", "+#"] {
        assert!(TopicFilter::new(text).is_none(), "{text}");
    }
}

#[test]
fn the_single_level_wildcard_is_a_whole_level() {
    for text in ["+", "+/a", "a/+", "a/+/b", "+/+", "/+", "+/"] {
        assert!(TopicFilter::new(text).is_some(), "{text}");
    }
    for text in ["a+", "+a", "a/b+", "a/+b/c", "++", "a/++"] {
        assert!(TopicFilter::new(text).is_none(), "{text}");
    }
}

/// The examples of 4.7.1.2, and those around them.
#[test]
fn multi_level_wildcards_match_parents_and_all_below() {
    check(
        "sport/tennis/player1/#",
        &["sport/tennis/player1", "sport/tennis/player1/ranking", "sport/tennis/player1/score/wimbledon"],
        &["sport/tennis", "sport/tennis/player10", "sport/tennis/player2/ranking"],
    );
    check("sport/#", &["sport", "sport/", "sport/a/b"], &["sports", "/sport"]);
    check("#", &["a", "/", "a/b", "/a"], &[]);
    check("sport/tennis/#", &["sport/tennis"], &["sport"]);
}

/// The examples of 4.7.1.3.
#[test]
fn single_level_wildcards_match_one_level() {
    check(
        "sport/tennis/+",
        &["sport/tennis/player1", "sport/tennis/"],
        &["sport/tennis/player1/ranking", "sport/tennis"],
    );
    check("sport/+", &["sport/", "sport/a"], &["sport", "sport/a/b"]);
    check("+/+", &["/finance", "a/b", "/"], &["finance", "a/b/c"]);
    check("/+", &["/finance"], &["finance", "/a/b"]);
    check("+", &["finance"], &["/finance"]);
    check("+/tennis/#", &["a/tennis", "/tennis/b/c"], &["tennis"]);
}

#[test]
fn wildcards_do_not_begin_a_match_of_hidden_topics() {
    check("#", &["a"], &["$SYS", "$SYS/a"]);
    check("+/monitor/Clients", &["a/monitor/Clients"], &["$SYS/monitor/Clients"]);
    check("$SYS/#", &["$SYS", "$SYS/", "$SYS/a/b"], &["SYS"]);
    check("$SYS/monitor/+", &["$SYS/monitor/Clients"], &["$SYS/monitor"]);
    check("+", &["a$"], &["$", "$a"]);
    assert!(name("$SYS").is_hidden() && !name("a/$SYS").is_hidden());
    check("a/+", &["a/$b"], &[]);
}

#[test]
fn topics_have_at_least_one_character() {
    assert_eq!((TopicName::new(""), TopicFilter::new("")), (None, None));
    for text in ["/", " ", "a"] {
        assert!(TopicName::new(text).is_some() && TopicFilter::new(text).is_some());
    }
    assert_eq!(name("/").levels().count(), 2);
}

#[test]
fn topics_have_no_null_character() {
    for text in ["\0", "a\0", "a/\0/b", "aaaaaaaaaaaaaaaa\0"] {
        assert_eq!((TopicName::new(text), TopicFilter::new(text)), (None, None));
    }
}

#[test]
fn topics_have_a_longest() {
    let long = "a/".repeat(32_768);
    assert_eq!((TopicName::new(&long), TopicFilter::new(&long)), (None, None));
    assert!(TopicName::new(&long[1..]).is_some() && TopicFilter::new(&long[1..]).is_some());
}

/// Case, accents, spaces and empty levels tell topics apart.
#[test]
fn nothing_is_normalised() {
    check("ACCOUNTS", &["ACCOUNTS"], &["Accounts", "ACCOUNTS ", " ACCOUNTS", "ACCOUNTS/"]);
    check("é", &["é"], &["e\u{301}", "e"]);
    check("a//b", &["a//b"], &["a/b"]);
    check("\u{FEFF}a", &["\u{FEFF}a"], &["a"]);
    check("\u{FFFD}", &["\u{FFFD}"], &["?"]);
}

#[test]
fn shared_filters_are_taken_apart() {
    let shared = filter("$share/consumer1/sport/tennis/+").shared().expect("shared").expect("shared");
    assert_eq!((shared.name.as_str(), shared.filter.as_str()), ("consumer1", "sport/tennis/+"));
    let shared = filter("$share/c//finance").shared().expect("shared").expect("shared");
    assert_eq!((shared.name.as_str(), shared.filter), ("c", filter("/finance")));
    for text in ["$share/c", "$share/", "$share//a", "$share/c/", "$share/+/a", "$share/#"] {
        assert_eq!(filter(text).shared(), Err(NotShared), "{text}");
    }
    for text in ["$share", "share/c/a", "$shared/c/a", "a/$share/c/a", "$SHARE/c/a"] {
        assert_eq!(filter(text).shared(), Ok(None), "{text}");
    }
    assert_eq!(TopicFilter::new("$share/a+/b"), None);
}

/// Names and filters drawn at random, against the matching of another codec, which hides topics that begin with `$`
/// always and knows ASCII alone.
#[test]
fn matching_agrees_with_another_codec() {
    let (mut sample, mut matched) = (Sample::new(12), 0);
    for _ in 0..50_000 {
        let levels = ["a", "b", "", "x"];
        let topic = (0..=sample.below(4)).map(|_| levels[sample.below(4)]).collect::<Vec<_>>().join("/");
        let Some(name) = TopicName::new(&topic) else {
            continue;
        };
        let filter = sample.filter();
        let expected = mqttbytes::matches(name.as_str(), filter.as_str());
        assert_eq!(matches(filter, name), expected, "{filter:?} {name:?}");
        matched += u32::from(expected);
    }
    assert!(matched > 1_000, "{matched} matched");
}

/// Any bytes, as a fuzzer gives them, and any that are nearly right.
#[test]
fn the_laws_of_topics_hold() {
    let mut sample = Sample::new(13);
    let pieces = ["a", "b", "/", "/", "+", "#", "$", "$share/", "\n", "\0", "ü", "\u{7F}"];
    for _ in 0..50_000 {
        let text: String = (0..sample.below(14)).map(|_| pieces[sample.below(12)]).collect();
        mqtt::fuzzing::topic(text.as_bytes());
        mqtt::fuzzing::topic(sample.data(30));
    }
}
