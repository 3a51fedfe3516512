//! What serves does not allocate: every codec over a message of each kind, under the watched allocator.

use base::Eui64;
use wire::downlink::{ANSWER_BYTES_MAX, Downlink, Scratch, write_accepted};
use wire::http::{Answer, Head, Status, Upgrade, write_response};
use wire::semtech_udp::{
    Datagram, PAYLOAD_BYTES_MAX, PULL_RESP_BYTES_MAX, Txpk, Version, When, write_pull_resp, write_push_ack,
};
use wire::websocket::{Assembler, Deflater, FrameHead, Inflater, Lent, Limits, Message, Opcode, Role, apply_mask};

#[global_allocator]
static ALLOCATOR: alloc_guard::Guard = alloc_guard::Guard;

fn served<R>(work: impl FnOnce() -> R) -> R {
    let before = alloc_guard::strays();
    alloc_guard::serving(true);
    let outcome = work();
    alloc_guard::serving(false);
    assert_eq!(alloc_guard::strays() - before, 0, "allocations and frees while serving");
    outcome
}

#[test]
fn the_guard_counts_here() {
    alloc_guard::serving(true);
    drop(core::hint::black_box(vec![1]));
    alloc_guard::serving(false);
    assert_eq!(alloc_guard::strays(), 2);
}

#[test]
fn a_datagram_and_its_answers() {
    let datagram = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/wire_semtech_udp/doc_rxpk"))
        .expect("a seed");
    let (heard, bytes) = served(|| {
        let Ok(Datagram::PushData(push)) = Datagram::parse(&datagram) else {
            return (0, 0);
        };
        let mut out = [0; PULL_RESP_BYTES_MAX];
        let mut bytes = write_push_ack(push.version, push.token, &mut out).unwrap_or(0);
        let mut heard = 0;
        for rxpk in push.body().expect("a body").rxpk().flatten() {
            let mut payload = [0; PAYLOAD_BYTES_MAX];
            if let Ok(payload) = rxpk.payload(&mut payload) {
                let txpk = Txpk::downlink(When::Tmst(rxpk.tmst), rxpk.freq_hz, rxpk.data_rate, 14, payload);
                bytes += write_pull_resp(Version::V2, push.token, &txpk, &mut out).unwrap_or(0);
                heard += 1;
            }
        }
        (heard, bytes)
    });
    assert!(heard == 2 && bytes > 300, "{heard} frames, {bytes} bytes");
}

#[test]
fn a_handshake() {
    let request =
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/wire_http/bearer")).expect("a seed");
    let written = served(|| {
        let (head, _) = Head::parse(&request).expect("a head").expect("all of it");
        assert_eq!(head.bearer(), Some("abc"));
        let upgrade = Upgrade::check(&head).expect("an upgrade");
        let mut out = [0; 512];
        let refusal = write_response(Status::Unauthorized, &mut out).expect("room");
        refusal + upgrade.write(&Answer { protocol: None, deflate: upgrade.deflate() }, &mut out).expect("room")
    });
    assert!(written > 300);
}

#[test]
fn messages_compressed_and_not() {
    let (mut deflater, mut inflater) = (Deflater::new(1), Inflater::default());
    let limits = Limits { frame_bytes_max: 4096, message_bytes_max: 4096 };
    let mut assembler = Assembler::new(Role::Server, limits, true);
    let text = br#"{"Type":3,"DeviceEUI":"70B3D57ED0000001","Port":10,"Data":"01020304010203040102030401020304"}"#;
    let (mut message, mut inflated, mut compressed, mut wire) = ([0; 4096], [0; 4096], [0; 4096], [0; 4096]);
    let accepted = served(|| {
        let mut accepted = 0;
        for round in 0..100u8 {
            let payload = match deflater.deflate(text, 15, &mut compressed) {
                Some(count) if round % 2 == 0 => &compressed[..count],
                _ => &text[..],
            };
            let mask = [round, 1, 2, 3];
            let rsv1 = payload.len() < text.len();
            let head = FrameHead {
                fin: true,
                rsv1,
                opcode: Opcode::Text,
                mask: Some(mask),
                payload_bytes: payload.len() as u64,
            };
            let at = head.write(&mut wire).expect("room");
            let end = at + payload.len();
            wire[at..end].copy_from_slice(payload);
            apply_mask(&mut wire[at..end], mask, 0);
            for mut piece in wire[..end].chunks_mut(7) {
                let mut lent = Lent { message: &mut message, inflate: Some((&mut inflater, &mut inflated)) };
                while let Some(message) = assembler.next(&mut piece, &mut lent).expect("no failure") {
                    let Message::Text(json) = message else {
                        continue;
                    };
                    let mut scratch = Scratch::default();
                    let asked = Downlink::parse(json.as_bytes(), &mut scratch).expect("a downlink");
                    let mut out = [0; ANSWER_BYTES_MAX];
                    write_accepted(1, asked.dev_eui, asked.id, &mut out).expect("room");
                    assert_eq!(asked.dev_eui, Eui64::new(0x70B3_D57E_D000_0001));
                    accepted += 1;
                }
            }
        }
        accepted
    });
    assert_eq!(accepted, 100);
    assert_eq!(served(|| wire::json::validate(text)), Ok(()));
}
