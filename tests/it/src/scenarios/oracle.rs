//! The device that the other scenarios use, against npm `lora-packet`.

use crate::harness::device::{Device, Say, hex};
use crate::harness::foreign::{Browser, Packets};
use serde_json::json;

#[test]
fn our_device_and_lora_packet_make_the_same_frames() {
    let mut packets = Packets::start();
    let mut device = Device::new(1);
    for (fcnt, payload) in [&[][..], &[1], &[2; 16], &[3; 51]].into_iter().enumerate() {
        for confirmed in [false, true] {
            device.fcnt_up = fcnt as u32;
            let ours = device.uplink(7, payload, Say { confirmed, ..Say::default() });
            let theirs = packets.frame(
                "uplink",
                fields(
                    &device,
                    json!({
                        "fcnt": fcnt, "fport": 7, "payload": hex(payload), "confirmed": confirmed,
                    }),
                ),
            );
            assert_eq!(hex(&ours), hex(&theirs));
        }
    }
    let nonce = device.dev_nonce;
    let ours = device.join_request();
    let theirs = packets.frame(
        "join",
        json!({
            "joinEui": format!("{:016X}", device.join_eui), "devEui": device.eui(),
            "devNonce": format!("{nonce:04X}"), "appKey": hex(&device.app_key),
        }),
    );
    assert_eq!(hex(&ours), hex(&theirs));
}

fn fields(device: &Device, mut more: serde_json::Value) -> serde_json::Value {
    more["devAddr"] = format!("{:08X}", device.dev_addr).into();
    more["nwkSKey"] = hex(&device.nwk_s_key).into();
    more["appSKey"] = hex(&device.app_s_key).into();
    more
}

#[test]
fn the_browser_can_be_asked() {
    let directory = crate::harness::system::Directory::new();
    let mut browser = Browser::start(&directory.0);
    browser.open("data:text/html,<title>a page</title>");
    browser.wait("document.title === 'a page'");
    assert_eq!(browser.evaluate("Promise.resolve(6 * 7)"), 42);
}
