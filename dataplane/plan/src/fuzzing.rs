//! Laws of the configuration, as a function a fuzz target calls in one line. It panics if one is broken.

use crate::{Config, Plan, Refusal, Upsert};
use contract::frame::Decoder;
use contract::v1;
use lorawan::Direction;
use lorawan::profile::Profile;
use lorawan::region::Window;

/// Every request of the contract, whoever makes it, is in force as a whole or refused with the field's name; what is in
/// force is what the same changes give one at a time; whatever compiles can be looked up. Takes requests one after
/// another, `| length u16 LE | Apply, length bytes |`; what is no request is passed over.
pub fn config(mut bytes: &[u8]) {
    let mut config = Config::default();
    while let Some((length, rest)) = bytes.split_first_chunk::<2>() {
        let (request, rest) = rest.split_at(rest.len().min(usize::from(u16::from_le_bytes(*length))));
        if let Some(request) = read(request)
            && let Some(next) = applied(&config, &request.changes)
        {
            match next.compile(request.revision) {
                Ok(plan) => {
                    compiled(&next, &plan, request.revision);
                    config = next;
                }
                // As in service: what cannot be compiled is not kept.
                Err(refusal) => explained(&refusal),
            }
        }
        bytes = rest;
    }
}

fn read(request: &[u8]) -> Option<v1::Apply> {
    let mut decoder = Decoder::<v1::Apply>::default();
    decoder.feed(&(request.len() as u32).to_le_bytes());
    decoder.feed(request);
    decoder.message().ok().flatten()
}

fn applied(config: &Config, changes: &[v1::Change]) -> Option<Config> {
    let mut upserts = Vec::new();
    let outcome = config.apply(changes, &mut upserts);
    let (mut single, mut singles) = (config.clone(), Vec::new());
    let refused = changes.iter().find_map(|change| {
        let next = single.apply(core::slice::from_ref(change), &mut singles);
        next.map(|next| single = next).err()
    });
    match &outcome {
        Ok(next) if refused.is_none() => {
            assert_eq!(written(next, &upserts), written(&single, &singles), "one at a time, the same");
            let moves = |upsert: &Upsert| matches!(upsert, Upsert::Device(_) | Upsert::RemoveDevice(_));
            if upserts.len() == changes.len() && upserts.iter().all(moves) {
                assert!(next.same_tables(config), "devices change no table");
            }
        }
        // References may be made whole by a later change of the same request.
        Ok(_) => {}
        Err(refusal) => {
            explained(refusal);
            assert!(refused.is_some(), "what is right one at a time is right together: {refusal}");
        }
    }
    outcome.ok()
}

fn written(config: &Config, upserts: &[Upsert]) -> String {
    format!("{config:?} {upserts:?}")
}

fn explained(refusal: &Refusal) {
    let tables = ["changes[", "applications[", "profiles[", "streams"];
    assert!(tables.iter().any(|table| refusal.field.starts_with(table)), "{refusal} names a field");
    assert!(!refusal.reason.is_empty(), "{refusal} says why");
}

fn compiled(config: &Config, plan: &Plan, revision: u64) {
    assert_eq!((plan.revision, plan.streams.len()), (revision, config.streams.len()));
    for (id, stream) in &config.streams {
        let index = plan.stream_of_id(*id).expect("every stream has its place");
        let entry = &plan.streams[index as usize];
        assert_eq!((entry.id, entry.level, entry.enabled), (*id, stream.level, stream.enabled));
        assert_eq!(entry.delivery, stream.delivery);
        if let Some(durable) = entry.delivery.durable() {
            assert!(durable.in_flight_max > 0 && durable.attempts_max > 0, "a message can be delivered");
            assert!(!stream.enabled || plan.has_durable_streams());
        }
        assert!((entry.format as usize) < plan.formats.len(), "its format is compiled");
        for hash in &stream.token_hashes {
            assert_eq!(plan.stream_of_token(hash), stream.enabled.then_some(index), "its tokens open it alone");
        }
    }
    for (id, owned) in &config.profiles {
        let profile = plan.profile(*id).expect("every profile has its place");
        assert_eq!(profile, &owned.profile);
        windows(profile);
    }
}

/// What was accepted of a profile gives windows in which a device of the region can listen.
fn windows(profile: &Profile) {
    let plan = profile.plan();
    let listens = |window: Window| {
        let rate = plan.rate(window.data_rate, Direction::Down);
        assert!(rate.is_some() && plan.holds(window.frequency_hz) && (1..=16).contains(&window.delay_s));
    };
    listens(profile.rx2());
    for frequency_hz in (0..=u8::MAX).filter_map(|channel| plan.uplink_frequency_hz(channel)) {
        for rate in (0..16).filter_map(|index| plan.data_rate(index, Direction::Up)) {
            profile.rx1(frequency_hz, rate).into_iter().for_each(listens);
        }
    }
    assert!(profile.confirmed_attempts_max() > 0 && profile.queue_count_max() > 0 && profile.fcnt_gap_max() > 0);
}
