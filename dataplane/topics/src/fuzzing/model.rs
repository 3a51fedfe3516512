//! The naive matcher, as the specification says it (MQTT 5.0 §4.7).

/// Whether a filter without `$share/NAME/` matches a topic.
pub(super) fn matches(filter: &str, topic: &str) -> bool {
    let filter: Vec<&str> = filter.split('/').collect();
    let topic: Vec<&str> = topic.split('/').collect();
    let reserved = topic[0].starts_with('$') && matches!(filter[0], "+" | "#");
    !reserved && levels_match(&filter, &topic)
}

fn levels_match(filter: &[&str], topic: &[&str]) -> bool {
    match (filter, topic) {
        (["#"], _) => true,
        ([], []) => true,
        (["+", filter @ ..], [_, topic @ ..]) => levels_match(filter, topic),
        ([level, filter @ ..], [other, topic @ ..]) => level == other && levels_match(filter, topic),
        _ => false,
    }
}

/// `$share/NAME/FILTER` taken apart; no name if it is not shared.
pub(super) fn group_of(filter: &str) -> (Option<&str>, &str) {
    let parts: Vec<&str> = filter.splitn(3, '/').collect();
    match parts[..] {
        ["$share", name, filter] => (Some(name), filter),
        _ => (None, filter),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of MQTT 5.0 §4.7.1 and §4.7.2.
    #[test]
    fn says_what_the_specification_says() {
        for (filter, topic, expected) in [
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/ranking", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
            ("sport/#", "sport", true),
            ("#", "a/b", true),
            ("sport/tennis/+", "sport/tennis/player1", true),
            ("sport/tennis/+", "sport/tennis/player1/ranking", false),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("#", "$SYS/monitor", false),
            ("+/monitor/Clients", "$SYS/monitor/Clients", false),
            ("$SYS/#", "$SYS/monitor", true),
            ("$SYS/monitor/+", "$SYS/monitor/Clients", true),
            ("ACCOUNTS", "Accounts", false),
        ] {
            assert_eq!(matches(filter, topic), expected, "{filter} and {topic}");
        }
    }
}
