//! What the fleet says on standard output: one JSON object per line.

use base::Eui64;
use fleet::{Device, DeviceEvent, Refusal, Totals};
use serde_json::{Value, json};
use std::io::Write as _;

/// Something that happened to a device.
pub(crate) fn device(device: &Device, event: &DeviceEvent) {
    line(&with_device(device.config().dev_eui, describe(event)));
}

/// A gateway refused a downlink.
pub(crate) fn refused(gateway: Eui64, refusal: Refusal) {
    line(&json!({ "event": "refused", "gateway": gateway.to_string(), "reason": format!("{refusal:?}") }));
}

/// The summary at the end.
pub(crate) fn totals(totals: &Totals) {
    line(&json!({
        "event": "totals", "join_requests": totals.join_requests, "joins": totals.joins, "uplinks": totals.uplinks,
        "repeats": totals.repeats, "acknowledged": totals.acknowledged, "given_up": totals.given_up,
        "downlinks": totals.downlinks, "ignored": totals.ignored, "refused": totals.refused,
        "unheard": totals.unheard, "malformed": totals.malformed,
    }));
}

fn describe(event: &DeviceEvent) -> Value {
    match event {
        DeviceEvent::Joining { dev_nonce } => json!({ "event": "joining", "dev_nonce": dev_nonce }),
        DeviceEvent::Joined { dev_addr } => json!({ "event": "joined", "dev_addr": dev_addr.to_string() }),
        DeviceEvent::Sent { fcnt, fport, payload, confirmed, attempt, ack } => json!({
            "event": "sent", "fcnt": fcnt, "fport": fport, "payload": hex(payload), "confirmed": confirmed,
            "attempt": attempt, "ack": ack,
        }),
        DeviceEvent::Received { fcnt, fport, payload, confirmed, ack } => json!({
            "event": "received", "fcnt": fcnt, "fport": fport, "payload": hex(payload), "confirmed": confirmed,
            "ack": ack,
        }),
        DeviceEvent::Acknowledged { fcnt } => json!({ "event": "acknowledged", "fcnt": fcnt }),
        DeviceEvent::GaveUp { fcnt } => json!({ "event": "gave_up", "fcnt": fcnt }),
        DeviceEvent::LinkChecked { margin_db, gateway_count } => {
            json!({ "event": "link_checked", "margin_db": margin_db, "gateway_count": gateway_count })
        }
        DeviceEvent::TimeTold { gps_seconds } => json!({ "event": "time_told", "gps_seconds": gps_seconds }),
        DeviceEvent::Ignored => json!({ "event": "ignored" }),
        DeviceEvent::Dropped => json!({ "event": "dropped" }),
    }
}

fn with_device(eui: Eui64, mut value: Value) -> Value {
    value["dev_eui"] = eui.to_string().into();
    value
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

fn line(value: &Value) {
    // A reader that went away is no reason to stop.
    let _ = writeln!(std::io::stdout().lock(), "{}", value);
}
