//! Shared groups: whose turn it is, and what becomes of it as members come, go and cannot take a message.

use topics::{Fit, Key, Limits, Options, Subscriptions};

const SPACE: u32 = 1;

fn group(members: u32) -> Subscriptions {
    let limits = Limits { level_count_max: 100, subscription_count_max: 1000, session_count_max: 1000, depth_max: 8 };
    let mut index = Subscriptions::new(limits, Key([1; 16]));
    for session in 0..members {
        index.subscribe(SPACE, session, b"$share/workers/jobs/+", Options::default()).expect("room");
    }
    index
}

fn told(index: &mut Subscriptions, fit: impl FnMut(u32) -> Fit) -> Option<u32> {
    let mut found = Vec::new();
    index.matches(SPACE, b"jobs/1", fit, |one| {
        assert!(one.is_shared);
        found.push(one.session);
    });
    assert!(found.len() <= 1, "one member for a message: {found:?}");
    found.first().copied()
}

#[test]
fn members_take_turns() {
    for members in [1, 2, 7, 40] {
        let mut index = group(members);
        for round in 0..5 {
            let mut seen: Vec<u32> = (0..members).filter_map(|_| told(&mut index, |_| Fit::Now)).collect();
            seen.sort_unstable();
            assert!(seen.into_iter().eq(0..members), "round {round} of {members}");
        }
    }
}

#[test]
fn who_cannot_take_it_is_passed_over() {
    let mut index = group(6);
    let even = |session: u32| if session.is_multiple_of(2) { Fit::Now } else { Fit::Later };
    let seen: Vec<u32> = (0..6).filter_map(|_| told(&mut index, even)).collect();
    assert_eq!(seen, [0, 2, 4, 0, 2, 4], "those who can take turns");
    let seen: Vec<u32> = (0..6).filter_map(|_| told(&mut index, |_| Fit::Later)).collect();
    assert_eq!(seen, [5, 0, 1, 2, 3, 4], "if nobody can at once, those who can keep it");
    assert_eq!(told(&mut index, |_| Fit::Never), None);
    assert_eq!(told(&mut index, |session| if session == 3 { Fit::Later } else { Fit::Never }), Some(3));
}

#[test]
fn members_leave_and_the_last_takes_the_group_along() {
    let mut index = group(5);
    for left in (0..5u32).rev() {
        let ended = index.unsubscribe(SPACE, left, b"$share/workers/jobs/+").expect("it was a member");
        assert_eq!(ended.was_last, left == 0);
        let mut seen: Vec<u32> = (0..left).filter_map(|_| told(&mut index, |_| Fit::Now)).collect();
        seen.sort_unstable();
        assert!(seen.into_iter().eq(0..left), "{left} are left");
    }
    assert_eq!((told(&mut index, |_| Fit::Now), index.level_count()), (None, 0));
}

#[test]
fn a_group_and_a_subscription_of_ones_own_are_two() {
    let mut index = group(1);
    index.subscribe(SPACE, 0, b"jobs/+", Options::default()).expect("room");
    let mut shared = Vec::new();
    index.matches(SPACE, b"jobs/1", |_| Fit::Now, |one| shared.push(one.is_shared));
    shared.sort_unstable();
    assert_eq!(shared, [false, true]);
}
