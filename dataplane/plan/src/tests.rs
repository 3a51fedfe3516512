//! What is refused and how it is named; who is told of what, against a filter that reads the configuration as it was sent.

use crate::{Accept, Config, Copies, Delivery, Durable, Level, Plan, Refusal, Upsert, WhenFull};
use base::mix::SplitMix64;
use base::{Eui64, UnixMicros};
use contract::v1;
use contract::v1::change::Body;
use event::{Copy, Event, Kind, Reception, Receptions};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

fn change(body: Body) -> v1::Change {
    v1::Change { body: Some(body) }
}

fn tenant(id: u32) -> Body {
    Body::Tenant(v1::Tenant { id, name: format!("tenant {id}") })
}

fn application(id: u32, tenant: u32) -> Body {
    Body::Application(v1::Application { id, tenant, ..Default::default() })
}

fn profile(id: u32, tenant: u32) -> Body {
    Body::Profile(valid_profile(id, tenant))
}

fn valid_profile(id: u32, tenant: u32) -> v1::Profile {
    let (region, mac_version) = (v1::Region::Eu868.into(), v1::MacVersion::Lorawan103.into());
    v1::Profile { id, tenant, region, mac_version, ..Default::default() }
}

/// A stream of application 11, which tenant 1 owns.
fn valid_stream() -> v1::Stream {
    v1::Stream {
        id: 5,
        tenant: 1,
        level: v1::Level::Application.into(),
        application: 11,
        enabled: true,
        downlinks: true,
        ..Default::default()
    }
}

fn valid_device() -> v1::Device {
    let otaa = v1::Otaa { app_key: vec![7; 16] };
    v1::Device {
        dev_eui: 0xA1,
        tenant: 1,
        application: 11,
        profile: 31,
        enabled: true,
        activation: Some(v1::device::Activation::Otaa(otaa)),
        ..Default::default()
    }
}

/// Two tenants with an application and a profile each, and a profile for everyone.
fn world() -> Config {
    let bodies = [tenant(1), tenant(2), application(11, 1), application(12, 2), profile(31, 0), profile(32, 2)];
    apply(&Config::default(), bodies).expect("a consistent world").0
}

fn apply(config: &Config, bodies: impl IntoIterator<Item = Body>) -> Result<(Config, Vec<Upsert>), Refusal> {
    let changes: Vec<_> = bodies.into_iter().map(change).collect();
    let mut upserts = Vec::new();
    config.apply(&changes, &mut upserts).map(|config| (config, upserts))
}

/// The plan of [`world`] with these streams.
fn plan(streams: impl IntoIterator<Item = v1::Stream>) -> Plan {
    let (config, _) = apply(&world(), streams.into_iter().map(Body::Stream)).expect("consistent");
    config.compile(1).expect("compiles")
}

/// Where a change, applied to [`world`] and compiled, is refused.
fn refused_at(body: Body) -> Option<String> {
    let refusal = match apply(&world(), [body]) {
        Err(refusal) => Some(refusal),
        Ok((config, _)) => config.compile(1).err(),
    };
    refusal.map(|refusal| {
        assert!(!refusal.reason.is_empty(), "{}: a reason is given", refusal.field);
        refusal.field
    })
}

fn covered(plan: &Plan, event: &Event<'_>) -> Vec<u32> {
    let mut ids = Vec::new();
    plan.covering(event, |index, stream| {
        assert_eq!(plan.streams[index as usize].id, stream.id);
        ids.push(stream.id);
    });
    ids.sort_unstable();
    ids
}

fn uplink(tenant: u32, application: u32, dev_eui: u64) -> Event<'static> {
    Event { tenant, application, dev_eui: Eui64::new(dev_eui), ..Event::new(Kind::Uplink, UnixMicros(1)) }
}

fn heard_by(gateways: &[u64]) -> Vec<u8> {
    let reception = |eui: &u64| Reception { gateway: Eui64::new(*eui), ..Reception::default() }.to_wire();
    gateways.iter().flat_map(reception).collect()
}

#[test]
fn a_refused_stream_names_its_field() {
    type Edit = fn(&mut v1::Stream);
    let cases: &[(Option<&str>, Edit)] = &[
        (None, |_| {}),
        (Some("id"), |it| it.id = 0),
        (Some("level"), |it| it.level = 0),
        (Some("level"), |it| it.level = 99),
        (Some("level"), |it| it.level = v1::Level::Operator.into()),
        (Some("application"), |it| it.application = 0),
        (Some("device"), |it| it.level = v1::Level::Device.into()),
        (Some("gateway"), |it| it.level = v1::Level::Gateway.into()),
        (Some("tenant"), |it| it.tenant = 0),
        (Some("name"), |it| it.name = "n".repeat(129)),
        (None, |it| it.name = "n".repeat(128)),
        (Some("copies"), |it| it.copies = 9),
        (Some("when_full"), |it| it.when_full = 9),
        (Some("kinds[1]"), |it| it.kinds = vec!["uplink".into(), "downlunk".into()]),
        (Some("queue_bytes_max"), |it| it.queue_bytes_max = (16 << 10) - 1),
        (None, |it| it.queue_bytes_max = 16 << 10),
        (None, |it| it.queue_bytes_max = 64 << 20),
        (Some("queue_bytes_max"), |it| it.queue_bytes_max = (64 << 20) + 1),
        (Some("ping_interval_s"), |it| it.ping_interval_s = 4),
        (None, |it| it.ping_interval_s = 3600),
        (Some("ping_interval_s"), |it| it.ping_interval_s = 3601),
        (Some("token_hashes"), |it| it.token_hashes = (0..65).map(|n| vec![n; 32]).collect()),
        (None, |it| it.token_hashes = (0..64).map(|n| vec![n; 32]).collect()),
        (Some("token_hashes[1]"), |it| it.token_hashes = vec![vec![1; 32], vec![2; 31]]),
        (Some("templates"), |it| {
            it.format = "json".into();
            it.templates = BTreeMap::from([("uplink".into(), "x".into())]);
        }),
        (Some("templates.downlunk"), |it| it.templates = BTreeMap::from([("downlunk".into(), "x".into())])),
        (None, |it| it.delivery = v1::Delivery::Live.into()),
        (Some("delivery"), |it| it.delivery = 9),
    ];
    for (number, (field, edit)) in cases.iter().enumerate() {
        let mut stream = valid_stream();
        edit(&mut stream);
        let expected = field.map(|field| format!("changes[0].stream.{field}"));
        assert_eq!(refused_at(Body::Stream(stream)), expected, "case {number}");
    }
}

#[test]
fn a_refused_durable_stream_names_its_field() {
    type Edit = fn(&mut v1::Stream);
    // Whether a durable stream may have it, whether a live one may.
    let cases: &[(&str, bool, bool, Edit)] = &[
        ("copies", true, true, |it| it.copies = v1::Copies::All.into()),
        ("accept", true, true, |it| it.accept = v1::Accept::Disk.into()),
        ("accept", true, false, |it| it.accept = v1::Accept::Memory.into()),
        ("accept", false, false, |it| it.accept = 9),
        ("retention_s", false, false, |it| it.retention_s = 59),
        ("retention_s", true, false, |it| it.retention_s = 60),
        ("retention_s", true, true, |it| it.retention_s = 604_800),
        ("retention_s", true, false, |it| it.retention_s = 315_360_000),
        ("retention_s", false, false, |it| it.retention_s = 315_360_001),
        ("retention_bytes", false, false, |it| it.retention_bytes = (1 << 20) - 1),
        ("retention_bytes", true, false, |it| it.retention_bytes = 1 << 20),
        ("retention_bytes", true, true, |it| it.retention_bytes = 10 << 30),
        ("retention_bytes", true, false, |it| it.retention_bytes = 1 << 50),
        ("retention_bytes", false, false, |it| it.retention_bytes = (1 << 50) + 1),
        ("in_flight_max", true, false, |it| it.in_flight_max = 1),
        ("in_flight_max", true, true, |it| it.in_flight_max = 256),
        ("in_flight_max", true, false, |it| it.in_flight_max = 4096),
        ("in_flight_max", false, false, |it| it.in_flight_max = 4097),
        ("attempts_max", true, false, |it| it.attempts_max = 1),
        ("attempts_max", true, true, |it| it.attempts_max = 5),
        ("attempts_max", true, false, |it| it.attempts_max = 100),
        ("attempts_max", false, false, |it| it.attempts_max = 101),
        ("retry_s", true, false, |it| it.retry_s = Some(0)),
        ("retry_s", true, true, |it| it.retry_s = Some(10)),
        ("retry_s", true, false, |it| it.retry_s = Some(86_400)),
        ("retry_s", false, false, |it| it.retry_s = Some(86_401)),
        ("ack_timeout_s", false, false, |it| it.ack_timeout_s = 4),
        ("ack_timeout_s", true, false, |it| it.ack_timeout_s = 5),
        ("ack_timeout_s", true, false, |it| it.ack_timeout_s = 86_400),
        ("ack_timeout_s", false, false, |it| it.ack_timeout_s = 86_401),
    ];
    for (number, (field, durable, live, edit)) in cases.iter().enumerate() {
        for (delivery, fits) in [(v1::Delivery::Durable, durable), (v1::Delivery::Live, live)] {
            let mut stream = v1::Stream { delivery: delivery.into(), ..valid_stream() };
            edit(&mut stream);
            let expected = (!fits).then(|| format!("changes[0].stream.{field}"));
            assert_eq!(refused_at(Body::Stream(stream)), expected, "case {number}, {delivery:?}");
        }
    }
}

#[test]
fn a_durable_stream_has_what_it_says_and_the_documented_defaults() {
    let durable = v1::Stream { delivery: v1::Delivery::Durable.into(), ..valid_stream() };
    let all = v1::Stream {
        id: 6,
        accept: v1::Accept::Memory.into(),
        retention_s: 3600,
        retention_bytes: 1 << 30,
        in_flight_max: 4096,
        attempts_max: 100,
        retry_s: Some(0),
        ack_timeout_s: 60,
        ..durable.clone()
    };
    let plan = plan([durable, all, v1::Stream { id: 7, ..valid_stream() }]);
    let expected = Durable {
        accept: Accept::Memory,
        retention: Duration::from_secs(3600),
        retention_bytes: 1 << 30,
        in_flight_max: 4096,
        attempts_max: 100,
        retry: Duration::ZERO,
        ack_timeout: Some(Duration::from_secs(60)),
    };
    let deliveries: Vec<_> = plan.streams.iter().map(|stream| stream.delivery).collect();
    assert_eq!(deliveries, [Delivery::Durable(Durable::DEFAULT), Delivery::Durable(expected), Delivery::Live]);
    let default = Durable::DEFAULT;
    assert_eq!((default.accept, default.retention.as_secs(), default.ack_timeout), (Accept::Disk, 604_800, None));
    assert_eq!((default.retention_bytes, default.in_flight_max), (10_737_418_240, 256));
    assert_eq!((default.attempts_max, default.retry.as_secs()), (5, 10));
}

#[test]
fn a_stream_becomes_durable_and_live_again() {
    let with = |delivery: v1::Delivery| Body::Stream(v1::Stream { delivery: delivery.into(), ..valid_stream() });
    let mut config = world();
    for (delivery, durable) in [(v1::Delivery::Live, false), (v1::Delivery::Durable, true), (v1::Delivery::Live, false)]
    {
        let (next, _) = apply(&config, [with(delivery)]).expect("either is right at any time");
        assert!(!next.same_tables(&config), "it is put in force");
        let plan = next.compile(1).expect("compiles");
        assert_eq!(plan.has_durable_streams(), durable);
        assert_eq!(plan.strictest(&uplink(1, 11, 0xA1)), durable.then_some(Accept::Disk));
        config = next;
    }
    let disabled = v1::Stream { enabled: false, delivery: v1::Delivery::Durable.into(), ..valid_stream() };
    assert!(!plan([disabled]).has_durable_streams(), "what carries nothing keeps nothing new");
}

#[test]
fn every_other_refused_object_names_its_field() {
    let settings = |edit: fn(&mut v1::Settings)| {
        let mut settings = v1::Settings::default();
        edit(&mut settings);
        Body::Settings(settings)
    };
    let application = |edit: fn(&mut v1::Application)| {
        let mut application = v1::Application { id: 13, tenant: 1, ..Default::default() };
        edit(&mut application);
        Body::Application(application)
    };
    let profile = |edit: fn(&mut v1::Profile)| {
        let mut profile = valid_profile(33, 1);
        edit(&mut profile);
        Body::Profile(profile)
    };
    let device = |edit: fn(&mut v1::Device)| {
        let mut device = valid_device();
        edit(&mut device);
        Body::Device(device)
    };
    let gateway = |edit: fn(&mut v1::Gateway)| {
        let mut gateway = v1::Gateway { eui: 0xB1, tenant: 1, ..Default::default() };
        edit(&mut gateway);
        Body::Gateway(gateway)
    };
    let abp = |nwk: usize, app: usize| {
        let abp = v1::Abp { nwk_s_key: vec![1; nwk], app_s_key: vec![1; app], ..Default::default() };
        Body::Device(v1::Device { activation: Some(v1::device::Activation::Abp(abp)), ..valid_device() })
    };
    let cases = [
        (None, settings(|_| {})),
        (Some("settings.net_id"), settings(|it| it.net_id = 1 << 24)),
        (Some("settings.gateway_silence_s"), settings(|it| it.gateway_silence_s = 4)),
        (Some("settings.gateway_silence_s"), settings(|it| it.gateway_silence_s = 86_401)),
        (Some("tenant.id"), tenant(0)),
        (Some("tenant.name"), Body::Tenant(v1::Tenant { id: 3, name: "n".repeat(129) })),
        (None, application(|_| {})),
        (Some("application.id"), application(|it| it.id = 0)),
        (Some("application.tenant"), application(|it| it.tenant = 0)),
        (Some("application.dedup_window_ms"), application(|it| it.dedup_window_ms = 19)),
        (Some("application.dedup_window_ms"), application(|it| it.dedup_window_ms = 701)),
        (None, profile(|_| {})),
        (Some("profile.id"), profile(|it| it.id = 0)),
        (Some("profile.region"), profile(|it| it.region = 0)),
        (Some("profile.mac_version"), profile(|it| it.mac_version = 77)),
        (Some("profile.rx1_delay_s"), profile(|it| it.rx1_delay_s = 16)),
        (Some("profile.rx1_delay_s"), profile(|it| it.rx1_delay_s = 256)),
        (Some("profile.rx1_dr_offset"), profile(|it| it.rx1_dr_offset = 6)),
        (Some("profile.sub_bands"), profile(|it| it.sub_bands = 1)),
        (Some("profile.queue_count_max"), profile(|it| it.queue_count_max = 65)),
        (Some("profile.fcnt_gap_max"), profile(|it| it.fcnt_gap_max = 65_536)),
        (None, device(|_| {})),
        (Some("device.dev_eui"), device(|it| it.dev_eui = 0)),
        (Some("device.tenant"), device(|it| it.tenant = 0)),
        (Some("device.application"), device(|it| it.application = 99)),
        (Some("device.application"), device(|it| it.application = 12)),
        (Some("device.profile"), device(|it| it.profile = 99)),
        (Some("device.profile"), device(|it| it.profile = 32)),
        (Some("device.activation"), device(|it| it.activation = None)),
        (Some("device.otaa.app_key"), {
            let otaa = v1::Otaa { app_key: vec![7; 15] };
            Body::Device(v1::Device { activation: Some(v1::device::Activation::Otaa(otaa)), ..valid_device() })
        }),
        (None, abp(16, 16)),
        (Some("device.abp.nwk_s_key"), abp(0, 16)),
        (Some("device.abp.app_s_key"), abp(16, 17)),
        (None, gateway(|_| {})),
        (Some("gateway.eui"), gateway(|it| it.eui = 0)),
        (Some("gateway.tenant"), gateway(|it| it.tenant = 9)),
        (Some("gateway.eirp_max_dbm"), gateway(|it| it.eirp_max_dbm = 41)),
    ];
    for (number, (field, body)) in cases.into_iter().enumerate() {
        assert_eq!(refused_at(body), field.map(|field| format!("changes[0].{field}")), "case {number}");
    }
    let mut upserts = Vec::new();
    let refusal = world().apply(&[change(tenant(3)), v1::Change::default()], &mut upserts).expect_err("it is empty");
    assert_eq!(refusal.field, "changes[1]");
}

#[test]
fn a_reference_to_nothing_or_to_another_tenant_is_refused() {
    let cases = [
        ("streams[5].tenant", Body::Stream(v1::Stream { tenant: 9, ..valid_stream() })),
        ("streams[5].application", Body::Stream(v1::Stream { application: 99, ..valid_stream() })),
        ("streams[5].application", Body::Stream(v1::Stream { application: 12, ..valid_stream() })),
        ("applications[13].tenant", application(13, 9)),
        ("profiles[33].tenant", profile(33, 9)),
        ("applications[11].tenant", Body::RemoveTenant(1)),
        ("applications[12].tenant", Body::RemoveTenant(2)),
    ];
    for (field, body) in cases {
        assert_eq!(refused_at(body).as_deref(), Some(field));
    }
    let (config, _) = apply(&world(), [Body::Stream(valid_stream())]).expect("consistent");
    let refusal = apply(&config, [Body::RemoveApplication(11)]).expect_err("a stream taps it");
    assert_eq!(refusal.field, "streams[5].application");
    // All at once it is consistent again, in whatever order.
    let all = [Body::RemoveTenant(1), Body::RemoveApplication(11), Body::RemoveStream(5)];
    assert!(apply(&config, all).is_ok());
}

#[test]
fn a_refused_change_leaves_everything_as_it_was() {
    let before = world();
    let refusal = apply(&before, [tenant(3), application(13, 3), application(14, 9)]);
    assert_eq!(refusal.expect_err("there is no tenant 9").field, "applications[14].tenant");
    assert!(before.same_tables(&world_again(&before)));
    assert!(apply(&before, [application(13, 3)]).is_err(), "tenant 3 was not kept");
}

/// `config` after a change of nothing.
fn world_again(config: &Config) -> Config {
    apply(config, []).expect("nothing to refuse").0
}

#[test]
fn only_a_change_of_structure_changes_the_tables() {
    let before = world();
    let gateway = Body::Gateway(v1::Gateway { eui: 0xB1, tenant: 1, ..Default::default() });
    let (after, upserts) =
        apply(&before, [Body::Device(valid_device()), gateway, Body::RemoveDevice(0xA1), Body::RemoveGateway(0xB1)])
            .expect("consistent");
    assert!(after.same_tables(&before));
    assert!(matches!(
        upserts[..],
        [Upsert::Device(_), Upsert::Gateway(_), Upsert::RemoveDevice(_), Upsert::RemoveGateway(_)]
    ));
    let structural = [
        tenant(1),
        application(11, 1),
        profile(31, 0),
        Body::Stream(valid_stream()),
        Body::RemoveProfile(32),
        Body::Settings(v1::Settings { net_id: 1, ..Default::default() }),
    ];
    for body in structural {
        let (after, _) = apply(&before, [body]).expect("consistent");
        assert!(!after.same_tables(&before));
    }
}

#[test]
fn a_token_opens_one_enabled_stream() {
    let hash = [3; 32];
    let opens = |id: u32, enabled: bool| v1::Stream {
        id,
        enabled,
        token_hashes: vec![vec![id as u8; 32], hash.to_vec()],
        ..valid_stream()
    };
    let (config, _) =
        apply(&world(), [Body::Stream(opens(5, true)), Body::Stream(opens(6, true))]).expect("consistent");
    let refusal = config.compile(1).expect_err("both have the token");
    assert_eq!(refusal.field, "streams[6].token_hashes");

    let twice = v1::Stream { token_hashes: vec![hash.to_vec(), hash.to_vec()], ..valid_stream() };
    assert_eq!(plan([twice]).stream_of_token(&hash), Some(0), "one stream may name a token twice");

    let open = plan([v1::Stream { id: 4, ..valid_stream() }, opens(7, true)]);
    assert_eq!(open.stream_of_token(&hash), Some(1));
    assert_eq!(open.stream_of_token(&[7; 32]), open.stream_of_id(7));
    assert_eq!(open.stream_of_token(&[8; 32]), None);
    assert_eq!(plan([opens(7, false)]).stream_of_token(&hash), None, "a disabled stream is not opened");
}

#[test]
fn a_template_error_names_the_template() {
    let with = |kind: &str, text: &str| {
        let templates = BTreeMap::from([("uplink".into(), "{{dev_eui}}".into()), (kind.into(), text.into())]);
        Body::Stream(v1::Stream { templates, ..valid_stream() })
    };
    let unknown = Body::Stream(v1::Stream { format: "morse".into(), ..valid_stream() });
    assert_eq!(refused_at(unknown).as_deref(), Some("streams[5].format"));
    for text in ["{{no_such_field}}", "{{dev_eui"] {
        let at = refused_at(with("joined", text));
        assert_eq!(at.as_deref(), Some("streams[5].templates.joined"), "{text}");
    }
    for format in event::formats::SHIPPED {
        let plan = plan([v1::Stream { format: format.name.into(), ..valid_stream() }]);
        assert!(plan.formats[0].template(Kind::Uplink).is_some(), "{} sends uplinks", format.name);
    }
}

#[test]
fn equal_formats_are_compiled_once() {
    let own = || BTreeMap::from([("uplink".to_string(), "x".to_string())]);
    let plan = plan([
        valid_stream(),
        v1::Stream { id: 6, format: "json".into(), ..valid_stream() },
        v1::Stream { id: 7, templates: own(), ..valid_stream() },
        v1::Stream { id: 8, templates: own(), ..valid_stream() },
    ]);
    assert_eq!(plan.formats.len(), 2);
    assert_eq!(plan.streams.iter().map(|stream| stream.format).collect::<Vec<_>>(), [0, 0, 1, 1]);
    let own = &plan.formats[1];
    assert!(own.template(Kind::Uplink).is_some() && own.template(Kind::Joined).is_none());
}

#[test]
fn copies_choose_among_the_records_of_an_uplink() {
    let stream = |id: u32, copies: v1::Copies| v1::Stream { id, copies: copies.into(), ..valid_stream() };
    let plan = plan([stream(1, v1::Copies::All), stream(2, v1::Copies::First), stream(3, v1::Copies::Best)]);
    for (copy, expected) in [(Copy::First, vec![1, 2]), (Copy::Later, vec![1]), (Copy::Best, vec![3])] {
        assert_eq!(covered(&plan, &Event { copy, ..uplink(1, 11, 0xA1) }), expected);
        let joined = Event { kind: Kind::Joined, copy, ..uplink(1, 11, 0xA1) };
        assert_eq!(covered(&plan, &joined), [1, 2, 3], "what is no uplink has no copies");
    }
}

#[test]
fn a_disabled_stream_carries_nothing_and_commands_nothing() {
    let plan = plan([v1::Stream { enabled: false, ..valid_stream() }, v1::Stream { id: 6, ..valid_stream() }]);
    assert_eq!(covered(&plan, &uplink(1, 11, 0xA1)), [6]);
    assert!(!plan.may_command(0, Eui64::new(0xA1), 11, 1));
    assert!(plan.may_command(1, Eui64::new(0xA1), 11, 1));
}

#[test]
fn a_stream_commands_only_what_is_its_owners() {
    let level = |id: u32, tenant: u32, level: v1::Level| v1::Stream {
        id,
        tenant,
        level: level.into(),
        device: 0xA1,
        gateway: 0xB1,
        ..valid_stream()
    };
    let plan = plan([
        level(1, 1, v1::Level::Device),
        level(2, 1, v1::Level::Application),
        level(3, 1, v1::Level::Gateway),
        level(4, 1, v1::Level::Tenant),
        level(5, 0, v1::Level::Operator),
        level(6, 0, v1::Level::Gateway),
        v1::Stream { downlinks: false, ..level(7, 1, v1::Level::Tenant) },
    ]);
    let commanders = |dev_eui: u64, application: u32, tenant: u32| -> Vec<u32> {
        let may = |index: &u32| plan.may_command(*index, Eui64::new(dev_eui), application, tenant);
        (0..7).filter(may).map(|index| plan.streams[index as usize].id).collect()
    };
    assert_eq!(commanders(0xA1, 11, 1), [1, 2, 3, 4, 5, 6]);
    assert_eq!(commanders(0xA2, 13, 1), [3, 4, 5, 6]);
    assert_eq!(commanders(0xA1, 11, 2), [5, 6], "another tenant's device with the same EUI and application");
}

#[test]
fn nobody_sees_what_was_decrypted_of_another_tenants_device() {
    let level = |id: u32, tenant: u32, level: v1::Level| v1::Stream {
        id,
        tenant,
        level: level.into(),
        device: 0xA1,
        gateway: 0xB1,
        ..valid_stream()
    };
    let plan = plan([
        level(1, 1, v1::Level::Gateway),
        level(2, 0, v1::Level::Gateway),
        level(3, 1, v1::Level::Device),
        level(4, 1, v1::Level::Application),
        level(5, 1, v1::Level::Tenant),
        level(6, 0, v1::Level::Operator),
    ]);
    let receptions = heard_by(&[0xB1]);
    let heard = |event: Event<'static>| covered(&plan, &Event { receptions: Receptions::new(&receptions), ..event });
    assert_eq!(heard(uplink(1, 11, 0xA1)), [1, 2, 3, 4, 5, 6]);
    // The device belongs to tenant 2: also if its EUI or its application was once tenant 1's.
    assert_eq!(heard(uplink(2, 12, 0xA2)), [2, 6]);
    assert_eq!(heard(uplink(2, 11, 0xA1)), [2, 6]);
    for kind in [Kind::JoinRequest, Kind::UnknownFrame] {
        assert_eq!(heard(Event { kind, ..uplink(0, 0, 0xA1) }), [1, 2, 6], "raw frames are the gateway's");
    }
    // A gateway's own news is for its owner.
    let status =
        |tenant: u32| Event { tenant, gateway: Eui64::new(0xB1), ..Event::new(Kind::GatewayStatus, UnixMicros(1)) };
    assert_eq!(covered(&plan, &status(1)), [1, 2, 5, 6]);
    assert_eq!(covered(&plan, &status(2)), [2, 6]);
}

#[test]
fn ten_thousand_streams_compile_while_one_waits() {
    let streams = (1..=10_000u32).map(|id| {
        let mut hash = vec![0; 32];
        hash[..4].copy_from_slice(&id.to_le_bytes());
        let (level, device) = (v1::Level::Device.into(), u64::from(id));
        Body::Stream(v1::Stream { id, level, device, token_hashes: vec![hash], ..valid_stream() })
    });
    let started = Instant::now();
    let (config, _) = apply(&world(), streams).expect("consistent");
    let plan = config.compile(7).expect("compiles");
    // A tenth of it is usual even unoptimised; the bound only tells linear from quadratic.
    assert!(started.elapsed() < Duration::from_secs(5), "took {:?}", started.elapsed());
    assert_eq!((plan.streams.len(), plan.formats.len(), plan.revision), (10_000, 1, 7));
    assert_eq!(covered(&plan, &uplink(1, 11, 77)), [77]);
    assert_eq!(plan.stream_of_id(9_999), Some(9_998));
}

#[test]
fn what_is_not_said_has_the_documented_default() {
    let plan = plan([valid_stream()]);
    let stream = &plan.streams[0];
    assert_eq!(
        (stream.level, stream.copies, stream.when_full),
        (Level::Application(11), Copies::All, WhenFull::DropNewest)
    );
    assert_eq!((stream.queue_bytes_max, stream.ping_interval), (1 << 20, Duration::from_secs(30)));
    assert_eq!(stream.connection_count_max, u32::MAX);
    assert!(Kind::ALL.iter().all(|kind| stream.kinds & kind.bit() != 0));
    assert_eq!((stream.delivery, plan.has_durable_streams()), (Delivery::Live, false));
    assert_eq!(plan.dedup_window(11), Duration::from_millis(200));
    assert_eq!(plan.settings.gateway_rate_max, 1000);
    assert!(plan.profile(31).is_some() && plan.profile(99).is_none());
}

/// Who is told, read off the messages as they were sent.
fn naive(streams: &BTreeMap<u32, v1::Stream>, event: &Event<'_>) -> Vec<u32> {
    let about_device = !matches!(
        event.kind,
        Kind::JoinRequest | Kind::UnknownFrame | Kind::GatewayStatus | Kind::GatewayOnline | Kind::GatewayOffline
    );
    let raw = matches!(event.kind, Kind::JoinRequest | Kind::UnknownFrame);
    let told = |stream: &&v1::Stream| {
        let touches = if event.receptions.is_empty() {
            event.gateway == Eui64::new(stream.gateway)
        } else {
            event.receptions.iter().any(|reception| reception.gateway == Eui64::new(stream.gateway))
        };
        let owner = stream.tenant == 0 || stream.tenant == event.tenant;
        let covered = match stream.level() {
            v1::Level::Device => about_device && owner && Eui64::new(stream.device) == event.dev_eui,
            v1::Level::Application => {
                about_device && owner && event.dev_eui != Eui64::default() && stream.application == event.application
            }
            v1::Level::Gateway => touches && (owner || raw),
            v1::Level::Tenant => owner,
            v1::Level::Operator => true,
            v1::Level::Unspecified => unreachable!("not made here"),
        };
        let copy = event.kind != Kind::Uplink
            || match stream.copies() {
                v1::Copies::Unspecified | v1::Copies::All => event.copy != Copy::Best,
                v1::Copies::Best => event.copy == Copy::Best,
                v1::Copies::First => event.copy == Copy::First,
            };
        let kind = stream.kinds.is_empty() || stream.kinds.iter().any(|name| name == event.kind.name());
        stream.enabled && covered && copy && kind
    };
    streams.values().filter(told).map(|stream| stream.id).collect()
}

fn random_stream(random: &mut SplitMix64, id: u32) -> v1::Stream {
    let level = [v1::Level::Device, v1::Level::Application, v1::Level::Gateway, v1::Level::Tenant, v1::Level::Operator]
        [random.below(5) as usize];
    let tenant = match level {
        v1::Level::Operator => 0,
        v1::Level::Gateway => random.below(3) as u32,
        _ => 1 + random.below(2) as u32,
    };
    // Most plans have durable streams, some have none.
    let delivery = if random.below(4) == 0 { v1::Delivery::Durable } else { v1::Delivery::Live };
    let kinds = match random.below(3) {
        0 => Vec::new(),
        _ => Kind::ALL.iter().filter(|_| random.below(3) > 0).map(|kind| kind.name().into()).collect(),
    };
    v1::Stream {
        id,
        tenant,
        level: level.into(),
        application: 10 + tenant,
        device: 0xA0 + random.below(4) + 1,
        gateway: 0xB0 + random.below(4) + 1,
        copies: random.below(4) as i32,
        kinds,
        enabled: random.below(5) > 0,
        delivery: delivery.into(),
        accept: if delivery == v1::Delivery::Durable { random.below(3) as i32 } else { 0 },
        ..Default::default()
    }
}

/// Which of these are kept, and what their acceptance waits for, read off the messages as they were sent.
fn naive_durable(streams: &BTreeMap<u32, v1::Stream>, told: &[u32]) -> (Vec<u32>, Option<Accept>) {
    let kept: Vec<_> = told.iter().copied().filter(|id| streams[id].delivery() == v1::Delivery::Durable).collect();
    let waits_for_disk = kept.iter().any(|id| streams[id].accept() != v1::Accept::Memory);
    let accept = if waits_for_disk { Accept::Disk } else { Accept::Memory };
    let strictest = (!kept.is_empty()).then_some(accept);
    (kept, strictest)
}

fn random_event<'a>(random: &mut SplitMix64, receptions: &'a mut Vec<u8>) -> Event<'a> {
    let gateways: Vec<u64> = (0..random.below(4)).map(|_| 0xB0 + random.below(5)).collect();
    *receptions = heard_by(&gateways);
    let tenant = random.below(3) as u32;
    Event {
        kind: Kind::ALL[random.below(Kind::ALL.len() as u64) as usize],
        copy: [Copy::First, Copy::Later, Copy::Best][random.below(3) as usize],
        tenant,
        // Now and then another tenant's, as after a change of owner.
        application: 10 + if random.below(4) == 0 { 1 + random.below(2) as u32 } else { tenant },
        dev_eui: Eui64::new([0, 0xA1, 0xA2, 0xA3, 0xA4, 0xA5][random.below(6) as usize]),
        gateway: Eui64::new(0xB0 + random.below(5)),
        receptions: Receptions::new(receptions),
        ..Event::new(Kind::Uplink, UnixMicros(1))
    }
}

#[test]
fn covering_agrees_with_a_filter_over_every_stream() {
    let mut random = SplitMix64::new(20_261_122);
    let (mut told, mut silent) = (0, 0);
    let mut waits = BTreeMap::<Option<Accept>, u32>::new();
    for round in 0..150 {
        let mut config = world();
        let mut streams = BTreeMap::new();
        for step in 0..1 + random.below(40) {
            let id = 1 + random.below(30) as u32;
            // Also replaced and removed ones: the plan is of what is there now.
            let body = if random.below(5) == 0 {
                streams.remove(&id);
                Body::RemoveStream(id)
            } else {
                let stream = random_stream(&mut random, id);
                streams.insert(id, stream.clone());
                Body::Stream(stream)
            };
            config = apply(&config, [body]).unwrap_or_else(|refusal| panic!("{round}.{step}: {refusal}")).0;
        }
        let plan = config.compile(round).expect("compiles");
        assert_eq!(
            plan.streams.iter().map(|stream| stream.id).collect::<Vec<_>>(),
            Vec::from_iter(streams.keys().copied())
        );
        for step in 0..60 {
            let mut receptions = Vec::new();
            let event = random_event(&mut random, &mut receptions);
            let expected = naive(&streams, &event);
            assert_eq!(covered(&plan, &event), expected, "round {round}, event {step}: {event:?}\n{streams:#?}");
            let (kept, strictest) = naive_durable(&streams, &expected);
            let mut durable = Vec::new();
            plan.covering_durable(&event, |_, stream| durable.push(stream.id));
            durable.sort_unstable();
            assert_eq!((durable, plan.strictest(&event)), (kept, strictest), "round {round}, event {step}");
            *waits.entry(strictest).or_default() += 1;
            told += expected.len();
            silent += usize::from(expected.is_empty());
        }
    }
    assert!(told > 1000 && silent > 100, "both were met: {told}, {silent}");
    assert!(waits.len() == 3 && waits.values().all(|count| *count > 50), "each was met: {waits:?}");
}
