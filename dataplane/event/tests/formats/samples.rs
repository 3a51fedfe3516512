//! One event of each kind, and the variants that a format may treat differently.

use base::{DataRate, Eui64, UnixMicros};
use event::{Copy, Event, Failure, Kind, Reception, Receptions};

const DEVICE: Eui64 = Eui64::new(0x70B3_D57E_D000_0001);
const JOIN: Eui64 = Eui64::new(0x70B3_D57E_D000_00FF);
const GATEWAY: Eui64 = Eui64::new(0xAA55_5A00_0000_0101);
const OTHER: Eui64 = Eui64::new(0xAA55_5A00_0000_0202);
const AT: UnixMicros = UnixMicros(1_658_136_855_775_023);

/// The receptions that every sample borrows from.
pub(crate) fn receptions() -> Vec<u8> {
    let best = Reception {
        gateway: GATEWAY,
        time: UnixMicros(1_658_136_855_774_001),
        tmst: 3_512_348_611,
        rssi_deci: -1120,
        snr_deci: -75,
        channel: 2,
        rf_chain: 1,
        antenna: 0,
    };
    let other = Reception { gateway: OTHER, time: UnixMicros(0), rssi_deci: -1195, snr_deci: 40, ..best };
    [best.to_wire(), other.to_wire()].concat()
}

/// Every sample with its name, which is its golden file's.
pub(crate) fn all(receptions: &[u8]) -> Vec<(&'static str, Event<'_>)> {
    let one = Receptions::new(&receptions[..event::RECEPTION_BYTES]);
    let uplink = Event {
        mtype: 2,
        fport: Some(10),
        adr: true,
        tenant: 1,
        application: 1,
        dev_eui: DEVICE,
        join_eui: JOIN,
        dev_addr: 0x2601_1BDA,
        session: 3,
        fcnt: 1042,
        frequency_hz: 868_100_000,
        data_rate: DataRate::Lora { sf: 7, bw_khz: 125 },
        receptions: one,
        payload: &[0x01, 0x67, 0x00, 0xFA],
        ..Event::new(Kind::Uplink, AT)
    };
    let radio = |kind| Event {
        frequency_hz: 867_500_000,
        data_rate: DataRate::Lora { sf: 12, bw_khz: 125 },
        receptions: one,
        ..Event::new(kind, AT)
    };
    let device =
        |kind| Event { dev_eui: DEVICE, join_eui: JOIN, dev_addr: 0x2601_1BDA, session: 3, ..Event::new(kind, AT) };
    let downlink = |kind| Event { mtype: 5, fport: Some(10), fcnt: 7, downlink: 17, ..device(kind) };
    let gateway = |kind| Event { gateway: GATEWAY, ..Event::new(kind, AT) };
    vec![
        ("uplink", uplink.clone()),
        ("uplink_later", Event { copy: Copy::Later, copy_index: 1, mtype: 4, ..uplink.clone() }),
        (
            "uplink_best",
            Event { copy: Copy::Best, copy_index: 2, receptions: Receptions::new(receptions), ..uplink.clone() },
        ),
        (
            "uplink_bare",
            Event {
                mtype: 4,
                fport: None,
                adr: false,
                fcnt: 0,
                data_rate: DataRate::Fsk { bps: 50_000 },
                frequency_hz: 868_800_000,
                payload: &[],
                ..uplink
            },
        ),
        ("join_request", Event { dev_eui: DEVICE, join_eui: JOIN, dev_nonce: 77, ..radio(Kind::JoinRequest) }),
        ("joined", Event { dev_nonce: 77, receptions: one, ..device(Kind::Joined) }),
        (
            "unknown_frame",
            Event {
                mtype: 2,
                dev_addr: 0x0102_0304,
                fcnt: 9,
                payload: &[0x40, 4, 3, 2, 1, 0x80, 9, 0, 1, 0xAA, 1, 2, 3, 4],
                ..radio(Kind::UnknownFrame)
            },
        ),
        ("unknown_frame_proprietary", Event { mtype: 7, payload: &[0xE0, 1, 2], ..radio(Kind::UnknownFrame) }),
        ("downlink_sent", Event { gateway: GATEWAY, ..downlink(Kind::DownlinkSent) }),
        ("downlink_acknowledged", downlink(Kind::DownlinkAcknowledged)),
        ("downlink_failed", Event { failure: Some(Failure::Expired), fcnt: 0, ..downlink(Kind::DownlinkFailed) }),
        (
            "gateway_status",
            Event { payload: br#"{"rxnb":2,"ackr":100.0,"desc":"roof \"A\" <1>"}"#, ..gateway(Kind::GatewayStatus) },
        ),
        ("gateway_status_broken", Event { payload: b"{\"rxnb\":2},{", ..gateway(Kind::GatewayStatus) }),
        ("gateway_online", gateway(Kind::GatewayOnline)),
        ("gateway_offline", gateway(Kind::GatewayOffline)),
    ]
}
