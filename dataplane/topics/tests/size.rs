//! What the index takes at two million subscriptions, that matching allocates nothing, and that churn adds nothing.

use topics::{Fit, Fold, Key, Limits, Message, Options, Retained, RetainedLimits, Subscriptions, Usage};

#[global_allocator]
static GUARD: alloc_guard::Guard = alloc_guard::Guard;

const SPACE: u32 = 3;

fn index(subscription_count_max: usize, level_count_max: usize) -> Subscriptions {
    let session_count_max = subscription_count_max.min(1 << 20);
    Subscriptions::new(
        Limits { level_count_max, subscription_count_max, session_count_max, depth_max: 32 },
        Key([0xA5; 16]),
    )
}

/// Bytes that are resident of this process.
fn resident() -> usize {
    const PAGE_BYTES: usize = 4096;
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: usize = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number of pages");
    pages * PAGE_BYTES
}

fn subscribe(index: &mut Subscriptions, session: u32, filter: &str) {
    index.subscribe(SPACE, session, filter.as_bytes(), Options::default()).expect("room");
}

/// Filters that share nothing but their first level: three nodes each, the most expensive that are usual.
#[test]
fn two_million_filters_with_wildcards_take_less_than_500_mb() {
    const COUNT: u32 = 2_000_000;
    const BYTES_MAX: usize = 500_000_000;
    let before = resident();
    let mut index = index(COUNT as usize, 8 << 20);
    for number in 0..COUNT {
        let eui = 0x70B3_D57E_D000_0000 + u64::from(number);
        subscribe(&mut index, number / 2, &format!("device/{eui:016x}/+/{}", if number % 2 == 0 { "up" } else { "#" }));
    }
    let after = resident();
    assert_eq!(index.len(), COUNT as usize);
    assert!(index.level_count() > 5_000_000, "{} levels", index.level_count());
    assert!(index.bytes() < BYTES_MAX, "{} bytes", index.bytes());
    // Other tests of this process may give memory back meanwhile, but not so much.
    let grown = after.saturating_sub(before);
    assert!(grown < BYTES_MAX, "{grown} bytes resident");
    assert!(grown > BYTES_MAX / 4, "{grown} bytes resident: the test measures nothing");

    let (mut found, mut fold) = (0, Fold::new(COUNT as usize));
    fold.clear();
    alloc_guard::serving(true);
    for number in (0..COUNT).step_by(997) {
        let mut topic = *b"device/70b3d57ed0000000/x/up";
        for (at, byte) in topic[15..23].iter_mut().enumerate() {
            *byte = b"0123456789abcdef"[((0xD000_0000 + number) >> (28 - 4 * at) & 15) as usize];
        }
        index.matches(
            SPACE,
            &topic,
            |_| Fit::Now,
            |one| {
                assert_eq!(one.session, number / 2);
                found += 1;
            },
        );
    }
    alloc_guard::serving(false);
    assert_eq!(
        (found, alloc_guard::strays()),
        (COUNT.div_ceil(997), 0),
        "every topic has one, and nothing was allocated"
    );
}

/// A filter with a hundred thousand subscribers who come, are told and leave in any order.
#[test]
fn a_popular_filter_costs_its_subscribers_and_no_more() {
    const COUNT: u32 = 100_000;
    let mut index = index(COUNT as usize, 100);
    let mut fold = Fold::new(COUNT as usize);
    let mut bytes = 0;
    for round in 0..3 {
        for session in 0..COUNT {
            subscribe(&mut index, session, "news/+");
        }
        for told in 0..2 {
            fold.clear();
            alloc_guard::serving(told > 0);
            let before = alloc_guard::strays();
            index.matches(SPACE, b"news/today", |_| Fit::Now, |one| fold.add(one, None));
            alloc_guard::serving(false);
            assert_eq!(alloc_guard::strays(), before, "the second message of a size allocates nothing");
            assert_eq!(fold.deliveries().len(), COUNT as usize);
        }
        for step in 0..u64::from(COUNT) {
            // An odd multiplier goes through all of a power of two: those beyond are passed over.
            let session = (step * 7919 % u64::from(COUNT)) as u32;
            assert!(index.unsubscribe(SPACE, session, b"news/+").is_some());
        }
        assert!(index.is_empty() && index.level_count() == 0);
        assert!(round == 0 || index.bytes() == bytes, "round {round}: {} bytes, {bytes} before", index.bytes());
        bytes = index.bytes();
    }
}

/// A hostile client subscribes and gives up, always something else: nothing stays.
#[test]
fn churn_adds_nothing() {
    let mut index = index(1000, 20_000);
    let mut retained: Retained<u64> =
        Retained::new(RetainedLimits { level_count_max: 20_000, depth_max: 32 }, Key([7; 16]));
    let mut after_first = None;
    for round in 0..40u64 {
        for number in 0..900u64 {
            let unlike = round << 32 | number;
            // Levels short and long, lists of one and of many, groups.
            let filter = match number % 4 {
                0 => format!("a/{unlike}/+/#"),
                1 => format!("b/{unlike:0>200}"),
                2 => format!("common/{round}"),
                _ => format!("$share/{unlike}/c/{round}/#"),
            };
            subscribe(&mut index, (number / 4) as u32, &filter);
            let message = Message { value: unlike, bytes: 8, expires: None };
            let quota = Usage { count: 1000, bytes: 10_000 };
            retained.set(SPACE, format!("d/{unlike:0>30}/x").as_bytes(), message, quota).expect("room");
        }
        for session in 0..225 {
            assert!(index.remove_session(session, 100, |_| {}));
        }
        for number in 0..900u64 {
            let unlike = round << 32 | number;
            assert_eq!(retained.clear(SPACE, format!("d/{unlike:0>30}/x").as_bytes()), Some(unlike));
        }
        assert_eq!((index.level_count(), index.len(), retained.level_count()), (0, 0, 0));
        let bytes = (index.bytes(), retained.bytes());
        // Tables settle within the second round: which of their slots are full depends on the texts.
        assert!(round < 2 || Some(bytes) == after_first, "round {round}: {bytes:?}, {after_first:?} before");
        after_first = Some(bytes);
    }
}
