//! mqttbytes beside our codec, 3.1.1: it reads what we write as what was meant, and we what it writes.

use crate::sample::Sample;
use crate::{V3, connect, decode};
use bytes::{Bytes, BytesMut};
use mqtt::{AckKind, Connect, Packet, Publish, Qos, ReasonCode, Role};
use mqttbytes::v4::{self, ConnectReturnCode, SubscribeReasonCode};
use mqttbytes::{Protocol, QoS};

pub(crate) fn qos(qos: Qos) -> QoS {
    match qos {
        Qos::AtMostOnce => QoS::AtMostOnce,
        Qos::AtLeastOnce => QoS::AtLeastOnce,
        Qos::ExactlyOnce => QoS::ExactlyOnce,
    }
}

fn theirs_of_connect(connect: &Connect<'_>) -> v4::Connect {
    v4::Connect {
        protocol: Protocol::V4,
        keep_alive: connect.keep_alive_s,
        client_id: connect.client_id.as_str().to_owned(),
        clean_session: connect.clean_start,
        last_will: connect.will.map(|will| v4::LastWill {
            topic: will.topic.as_str().to_owned(),
            message: Bytes::copy_from_slice(will.payload.as_bytes()),
            qos: qos(will.qos),
            retain: will.retain,
        }),
        login: connect.user_name.map(|name| v4::Login {
            username: name.as_str().to_owned(),
            password: connect
                .password
                .map_or(String::new(), |word| String::from_utf8(word.as_bytes().to_vec()).expect("made of a text")),
        }),
    }
}

fn theirs_of_publish(publish: &Publish<'_>) -> v4::Publish {
    v4::Publish {
        dup: publish.dup,
        qos: qos(publish.delivery.qos()),
        retain: publish.retain,
        topic: publish.topic.expect("3.1.1 has no aliases").as_str().to_owned(),
        pkid: publish.delivery.packet_id().map_or(0, |id| id.get()),
        payload: Bytes::copy_from_slice(publish.payload),
    }
}

fn theirs(packet: &Packet<'_>) -> v4::Packet {
    match packet {
        Packet::Connack(connack) => v4::Packet::ConnAck(v4::ConnAck {
            session_present: connack.session_present,
            code: match connack.code {
                ReasonCode::Success => ConnectReturnCode::Success,
                ReasonCode::UnsupportedProtocolVersion => ConnectReturnCode::RefusedProtocolVersion,
                ReasonCode::ClientIdentifierNotValid => ConnectReturnCode::BadClientId,
                ReasonCode::ServerUnavailable => ConnectReturnCode::ServiceUnavailable,
                ReasonCode::BadUserNameOrPassword => ConnectReturnCode::BadUserNamePassword,
                ReasonCode::NotAuthorized => ConnectReturnCode::NotAuthorized,
                other => panic!("{other:?} is none of 3.1.1"),
            },
        }),
        Packet::Publish(publish) => v4::Packet::Publish(theirs_of_publish(publish)),
        Packet::Ack(ack) => {
            let id = ack.packet_id.get();
            match ack.kind {
                AckKind::Puback => v4::Packet::PubAck(v4::PubAck::new(id)),
                AckKind::Pubrec => v4::Packet::PubRec(v4::PubRec::new(id)),
                AckKind::Pubrel => v4::Packet::PubRel(v4::PubRel::new(id)),
                AckKind::Pubcomp => v4::Packet::PubComp(v4::PubComp::new(id)),
            }
        }
        Packet::Subscribe(subscribe) => v4::Packet::Subscribe(v4::Subscribe {
            pkid: subscribe.packet_id.get(),
            filters: subscribe
                .subscriptions
                .iter()
                .map(|one| v4::SubscribeFilter::new(one.filter.as_str().to_owned(), qos(one.qos)))
                .collect(),
        }),
        Packet::Suback(suback) => v4::Packet::SubAck(v4::SubAck {
            pkid: suback.packet_id.get(),
            return_codes: suback
                .codes
                .iter()
                .map(|code| match code {
                    ReasonCode::Success => SubscribeReasonCode::Success(QoS::AtMostOnce),
                    ReasonCode::GrantedQos1 => SubscribeReasonCode::Success(QoS::AtLeastOnce),
                    ReasonCode::GrantedQos2 => SubscribeReasonCode::Success(QoS::ExactlyOnce),
                    _ => SubscribeReasonCode::Failure,
                })
                .collect(),
        }),
        Packet::Unsubscribe(unsubscribe) => v4::Packet::Unsubscribe(v4::Unsubscribe {
            pkid: unsubscribe.packet_id.get(),
            topics: unsubscribe.filters.iter().map(|filter| filter.as_str().to_owned()).collect(),
        }),
        Packet::Unsuback(unsuback) => v4::Packet::UnsubAck(v4::UnsubAck::new(unsuback.packet_id.get())),
        Packet::Pingreq => v4::Packet::PingReq,
        Packet::Pingresp => v4::Packet::PingResp,
        Packet::Disconnect(_) => v4::Packet::Disconnect,
        Packet::Auth(_) => panic!("3.1.1 has no AUTH"),
    }
}

fn written(packet: &v4::Packet) -> BytesMut {
    let mut out = BytesMut::new();
    match packet {
        v4::Packet::Connect(packet) => packet.write(&mut out),
        v4::Packet::ConnAck(packet) => packet.write(&mut out),
        v4::Packet::Publish(packet) => packet.write(&mut out),
        v4::Packet::PubAck(packet) => packet.write(&mut out),
        v4::Packet::PubRec(packet) => packet.write(&mut out),
        v4::Packet::PubRel(packet) => packet.write(&mut out),
        v4::Packet::PubComp(packet) => packet.write(&mut out),
        v4::Packet::Subscribe(packet) => packet.write(&mut out),
        v4::Packet::SubAck(packet) => packet.write(&mut out),
        v4::Packet::Unsubscribe(packet) => packet.write(&mut out),
        v4::Packet::UnsubAck(packet) => packet.write(&mut out),
        v4::Packet::PingReq => v4::PingReq.write(&mut out),
        v4::Packet::PingResp => v4::PingResp.write(&mut out),
        v4::Packet::Disconnect => v4::Disconnect.write(&mut out),
    }
    .expect("they write it");
    out
}

#[test]
fn they_agree_on_every_packet() {
    let mut kinds = [0; 16];
    for receiver in [Role::Server, Role::Client] {
        let mut sample = Sample::new(31 + receiver as u64);
        for _ in 0..5_000 {
            let packet = sample.packet(V3, receiver);
            let mut ours = vec![0; packet.encoded_bytes(V3)];
            packet.write(V3, &mut ours).expect("room");
            kinds[usize::from(ours[0] >> 4)] += 1;
            let meant = theirs(&packet);
            let read = v4::read(&mut BytesMut::from(&ours[..]), 1 << 20);
            assert_eq!(read, Ok(meant.clone()), "{ours:x?}");
            let written = written(&meant);
            assert_eq!(decode(receiver, V3, &written), Ok(packet), "{written:x?}");
            assert_eq!(written, ours, "byte for byte");
        }
    }
    assert!(kinds[2..15].iter().all(|count| *count > 100), "each kind was tried: {kinds:?}");
}

/// They know passwords of UTF-8 alone, and write a user name or a password only if it is not empty.
#[test]
fn they_agree_on_connect() {
    let mut sample = Sample::new(33);
    for _ in 0..5_000 {
        let mut ours = sample.connect(V3);
        ours.user_name = ours.user_name.filter(|name| !name.is_empty());
        let word = sample.text();
        ours.password = (ours.user_name.is_some() && !word.is_empty())
            .then(|| mqtt::Binary::new(word.as_bytes()).expect("few bytes"));
        let mut out = vec![0; ours.encoded_bytes()];
        ours.write(&mut out).expect("room");
        let meant = theirs_of_connect(&ours);
        let read = v4::read(&mut BytesMut::from(&out[..]), 1 << 20);
        assert_eq!(read, Ok(v4::Packet::Connect(meant.clone())), "{out:x?}");
        let written = written(&v4::Packet::Connect(meant));
        assert_eq!(connect(&written), Ok(ours), "{written:x?}");
        assert_eq!(written, out, "byte for byte");
    }
}
