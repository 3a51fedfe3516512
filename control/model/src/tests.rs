//! What values accept and refuse.

use crate::{ApiSecret, Bounded, DevAddr, Key128, Name, NetId, Place, Role, SubBands, TenantId, Token, Uid};

#[test]
fn names_are_short_plain_and_trimmed() {
    let check = |text: &str, is_name: bool| assert_eq!(Name::parse(text).is_ok(), is_name, "{text:?}");
    check("Water meters", true);
    check("Wasserzähler 水", true);
    check(&"x".repeat(128), true);
    check(&"x".repeat(129), false);
    check("", false);
    check(" x", false);
    check("x\n", false);
    check("a\u{7}b", false);
}

#[test]
fn numbers_say_their_range() {
    assert_eq!(Bounded::<20, 700>::new(20).map(Bounded::value), Ok(20));
    assert_eq!(Bounded::<20, 700>::new(701), Err("must be 20 to 700, is 701".into()));
    assert_eq!(SubBands::parse(&[1, 8, 8]).map(|bands| bands.0), Ok(0x81));
    assert_eq!(SubBands(0x81).numbers(), [1, 8]);
    assert!(SubBands::parse(&[0]).is_err() && SubBands::parse(&[9]).is_err());
    assert_eq!(DevAddr::parse("26011BDA"), Ok(DevAddr(0x2601_1BDA)));
    assert!(DevAddr::parse("26011BD").is_err() && DevAddr::parse("26011BDA00").is_err());
    assert_eq!(NetId::parse("000013").map(NetId::value), Ok(0x13));
    assert!(NetId::parse("13").is_err());
    assert!(Place::new(90.0, -180.0, None).is_ok());
    assert!(Place::new(90.1, 0.0, None).is_err() && Place::new(f64::NAN, 0.0, None).is_err());
}

#[test]
fn secrets_are_not_shown() {
    let key = Key128::parse("2B7E151628AED2A6ABF7158809CF4F3C").expect("a key");
    assert_eq!(key.reveal(), "2B7E151628AED2A6ABF7158809CF4F3C");
    let shown = format!("{key:?} {:?} {:?}", ApiSecret::new(&[7; 32]), Token::new(&[7; 32]));
    assert_eq!(shown, "Key128(..) ApiSecret(..) Token(..)");
    let refused = Key128::parse("not a key").expect_err("no key");
    assert!(!refused.contains("not a key"));
    assert!(Token::parse("my-own_token.0~x").is_ok());
    assert!(Token::parse("short").is_err() && Token::parse("has a blank in it").is_err());
    assert_eq!(ApiSecret::new(&[0xAB; 32]).reveal().len(), 68);
}

#[test]
fn roles_fit_their_tenants() {
    let own = Some(TenantId(1));
    assert_eq!(Role::parse("operator", None), Ok(Role::Operator));
    assert_eq!(Role::parse("tenant_admin", own), Ok(Role::TenantAdmin(TenantId(1))));
    assert!(Role::parse("operator", own).is_err());
    assert!(Role::parse("tenant_viewer", None).is_err());
    assert!(Role::parse("root", None).is_err());
    assert!(!Role::TenantViewer(TenantId(1)).may_write());
}

#[test]
fn uuids_sort_by_age() {
    let uids: Vec<_> = (0..100).map(|_| Uid::now()).collect();
    assert!(uids.is_sorted());
    let text = uids[0].to_string();
    assert_eq!(text.parse(), Ok(uids[0]));
    assert_eq!(&text[14..15], "7");
    assert_eq!(Uid::from_bytes(uids[0].to_bytes()), uids[0]);
    assert!("x".parse::<Uid>().is_err());
}
