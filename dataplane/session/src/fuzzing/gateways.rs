//! The law of the links to gateways: beside a naive model that knows nothing of slabs, indexes and timers.
//! The model does not predict rates: a datagram beyond one changes nothing, and that is all it asks.

use super::Steps;
use crate::gateways::{Gateways, Limits, Link, Path, Policy, Refused, STATUS_BYTES_MAX};
use base::{Eui64, Monotonic, UnixMicros};
use core::net::SocketAddr;
use core::time::Duration;
use std::collections::BTreeMap;

const GATEWAY_COUNT_MAX: usize = 3;
const EUI_COUNT: u64 = 5;

/// PULL_RESPs of one gateway that may await their TX_ACK.
const AWAITED_COUNT_MAX: usize = 16;

#[derive(Default)]
struct Known {
    registered: bool,
    online: bool,
    path: Option<Path>,
    heard_at: Monotonic,
    last_seen: UnixMicros,
    /// Whose TX_ACK may still come, the oldest first; `None` is one that came.
    awaited: Vec<Option<([u8; 2], u64)>>,
    status: Vec<u8>,
}

/// Whatever gateways and operators do: nobody but a PULL_DATA moves a return path, a TX_ACK counts once and for the
/// gateway that was asked, a stranger's place comes back, a registered gateway finds room as long as there are strangers,
/// and both counts are those of the table.
pub fn gateways(bytes: &[u8]) {
    let mut gateways = Gateways::new(Limits { gateway_count_max: GATEWAY_COUNT_MAX }, 3);
    let mut model: BTreeMap<Eui64, Known> = BTreeMap::new();
    let mut policy =
        Policy { accept_unknown: true, gateway_rate_max: 4, address_rate_max: 9, silence: Duration::from_secs(90) };
    let (mut now, mut unix, mut reference) = (Monotonic(1), UnixMicros(1_700_000_000_000_000), 0);
    let mut steps = Steps(bytes);
    while !steps.0.is_empty() {
        let operation = steps.byte() % 10;
        let eui = Eui64::new(1 + u64::from(steps.byte()) % EUI_COUNT);
        match operation {
            0..=2 => {
                let choice = steps.byte();
                let address = SocketAddr::from(([10, 0, 0, choice % 3], 1700));
                let path = Path { address, socket: u16::from(choice >> 4), acknowledges: choice & 8 != 0 };
                let was_online = model.get(&eui).is_some_and(|known| known.online);
                let outcome = if operation == 0 {
                    gateways.heard(eui, address, &policy, now, unix).map(|link| assert_eq!(link.eui, eui))
                } else {
                    gateways.pull(eui, path, &policy, now, unix).map(|news| assert_eq!(news, !was_online))
                };
                if admitted(outcome.err(), eui, &model, &policy) {
                    let known = model.entry(eui).or_default();
                    (known.heard_at, known.last_seen) = (now, unix);
                    if operation > 0 {
                        (known.online, known.path) = (true, Some(path));
                    }
                }
            }
            3 => {
                let stays = model.contains_key(&eui);
                let full = model.len() == GATEWAY_COUNT_MAX;
                let strangers = model.values().any(|known| !known.registered);
                let room = gateways.upsert(eui, 1, None);
                assert_eq!(room, stays || !full || strangers, "strangers keep nobody out");
                if room && !stays && full {
                    let gone: Vec<_> = model.keys().copied().filter(|eui| gateways.link(*eui).is_none()).collect();
                    assert_eq!(gone.len(), 1, "one leaves for one");
                    assert!(!model.remove(&gone[0]).expect("it was known").registered, "a stranger leaves");
                }
                if room {
                    model.entry(eui).or_default().registered = true;
                }
            }
            4 => assert_eq!(gateways.remove(eui), model.remove(&eui).is_some()),
            5 => {
                reference += 1;
                transmit(&mut gateways, eui, reference, &mut model);
            }
            6 => {
                let index = steps.below(AWAITED_COUNT_MAX);
                let awaited = model.get_mut(&eui).and_then(|known| known.awaited.get_mut(index)?.take());
                match awaited {
                    Some((token, reference)) => {
                        assert_eq!(gateways.tx_ack(eui, token), Ok(reference));
                        assert_eq!(gateways.tx_ack(eui, token), Err(Refused::TokenUnknown), "an answer counts once");
                    }
                    None if model.get(&eui).is_none_or(|known| known.awaited.iter().all(Option::is_none)) => {
                        let token = [steps.byte(), steps.byte()];
                        assert_eq!(gateways.tx_ack(eui, token), Err(Refused::TokenUnknown));
                    }
                    None => {}
                }
            }
            7 => {
                let millis = [1, 300, 1000, 40_000, 90_000][steps.below(5)];
                now.0 += millis * 1_000_000;
                unix.0 += millis * 1000;
                expire(&mut gateways, &policy, now, &mut model);
            }
            8 => {
                let status = vec![b' '; usize::from(steps.byte()) * 3];
                gateways.report(eui, &status);
                if let Some(known) = model.get_mut(&eui) {
                    known.status = if status.len() > STATUS_BYTES_MAX { Vec::new() } else { status };
                }
            }
            _ => policy.accept_unknown = !policy.accept_unknown,
        }
        agree(&gateways, &model);
    }
    now.0 += 200_000_000_000;
    expire(&mut gateways, &policy, now, &mut model);
    agree(&gateways, &model);
    assert_eq!(gateways.deadline(), Monotonic::NEVER, "nothing is left to wait for");
    assert!(model.values().all(|known| known.registered && !known.online), "strangers have left");
}

/// Whether the datagram was taken; if not, that it was for the reason given.
fn admitted(refused: Option<Refused>, eui: Eui64, model: &BTreeMap<Eui64, Known>, policy: &Policy) -> bool {
    let known = model.get(&eui);
    let welcome = policy.accept_unknown || known.is_some_and(|known| known.registered);
    let room = known.is_some() || model.len() < GATEWAY_COUNT_MAX;
    match refused {
        None => assert!(welcome && room),
        Some(Refused::Unknown) => assert!(!welcome),
        Some(Refused::TableFull) => assert!(welcome && !room),
        Some(Refused::GatewayRate) => assert!(known.is_some(), "a first datagram is within every rate"),
        Some(Refused::AddressRate) => {}
        Some(other) => panic!("{other:?} is no reason for this"),
    }
    refused.is_none()
}

fn transmit(gateways: &mut Gateways, eui: Eui64, reference: u64, model: &mut BTreeMap<Eui64, Known>) {
    let outcome = gateways.transmit(eui, reference);
    let Some(known) = model.get_mut(&eui).filter(|known| known.online) else {
        assert_eq!(outcome, Err(Refused::NoReturnPath));
        return;
    };
    let sending = outcome.expect("it is online");
    assert_eq!(Some(sending.path), known.path, "the source of the last PULL_DATA");
    assert!(known.awaited.iter().flatten().all(|(token, _)| *token != sending.token), "tokens differ");
    if sending.path.acknowledges {
        known.awaited.push(Some((sending.token, reference)));
        if known.awaited.len() > AWAITED_COUNT_MAX {
            known.awaited.remove(0);
        }
    }
}

fn expire(gateways: &mut Gateways, policy: &Policy, now: Monotonic, model: &mut BTreeMap<Eui64, Known>) {
    let silent = |known: &Known| known.heard_at.after(policy.silence) <= now;
    while let Some(Link { eui, online, .. }) = gateways.expire(policy, now) {
        let known = model.get_mut(eui).expect("it was known");
        assert!(known.online && silent(known) && !online, "it was online, and is silent");
        (known.online, known.path) = (false, None);
    }
    model.retain(|_, known| known.registered || !silent(known));
    assert!(model.values().all(|known| !known.online || !silent(known)), "who is silent is offline");
    assert!(gateways.deadline() > now, "what is due is done");
}

fn agree(gateways: &Gateways, model: &BTreeMap<Eui64, Known>) {
    assert_eq!(gateways.count(), model.len());
    assert_eq!(gateways.online_count(), model.values().filter(|known| known.online).count());
    for eui in (1..=EUI_COUNT).map(Eui64::new) {
        match (gateways.link(eui), model.get(&eui)) {
            (Some(link), Some(known)) => {
                assert_eq!((link.eui, link.online, link.path()), (eui, known.online, known.path));
                assert_eq!((link.last_seen, link.status()), (known.last_seen, &*known.status));
            }
            (link, known) => assert!(link.is_none() && known.is_none(), "{eui} is in one of them alone"),
        }
    }
}
