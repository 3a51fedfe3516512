//! mqttbytes beside our codec, 5.0: it reads what we write as what was meant, and we what it writes.
//!
//! It puts properties into an order of its own, knows neither AUTH nor a DISCONNECT because of one, leaves out the length of properties where there are none in
//! CONNACK and DISCONNECT, which 5.0 does not allow, and counts a byte too many for each subscription identifier, which shows
//! from the second on; those are left to the vectors and to `message`.

use crate::oracle_v3::qos;
use crate::sample::Sample;
use crate::{V5, connect, decode};
use bytes::{Bytes, BytesMut};
use mqtt::{AckKind, Binary, Connect, Packet, Properties, ReasonCode, Role, Subscription, Text, TopicName};
use mqttbytes::v5::{self, RetainForwardRule};

type Pairs = Vec<(String, String)>;

fn text(text: Option<Text<'_>>) -> Option<String> {
    text.map(|text| text.as_str().to_owned())
}

fn name(name: Option<TopicName<'_>>) -> Option<String> {
    name.map(|name| name.as_str().to_owned())
}

fn data(data: Option<Binary<'_>>) -> Option<Bytes> {
    data.map(|data| Bytes::copy_from_slice(data.as_bytes()))
}

fn pairs(properties: &Properties<'_>) -> Pairs {
    properties.user_properties().map(|(name, value)| (name.as_str().to_owned(), value.as_str().to_owned())).collect()
}

/// `None` stands for no properties.
fn some<T>(properties: &Properties<'_>, theirs: impl FnOnce(&Properties<'_>) -> T) -> Option<T> {
    (!properties.is_empty()).then(|| theirs(properties))
}

/// Properties of a packet that has a reason and pairs alone.
fn words(properties: &Properties<'_>) -> Option<(Option<String>, Pairs)> {
    some(properties, |properties| (text(properties.reason_string()), pairs(properties)))
}

macro_rules! words {
    ($theirs:expr) => {
        $theirs.as_ref().map(|properties| (properties.reason_string.clone(), properties.user_properties.clone()))
    };
}

fn same_connect(ours: &Connect<'_>, theirs: &v5::Connect) {
    assert_eq!(theirs.protocol, mqttbytes::Protocol::V5);
    assert_eq!((ours.keep_alive_s, ours.clean_start), (theirs.keep_alive, theirs.clean_session));
    assert_eq!(ours.client_id.as_str(), theirs.client_id);
    let will = ours.will.map(|will| v5::LastWill {
        topic: will.topic.as_str().to_owned(),
        message: Bytes::copy_from_slice(will.payload.as_bytes()),
        qos: qos(will.qos),
        retain: will.retain,
        properties: some(&will.properties, |p| v5::WillProperties {
            delay_interval: p.will_delay_interval_s(),
            payload_format_indicator: p.payload_format_indicator().map(u8::from),
            message_expiry_interval: p.message_expiry_interval_s(),
            content_type: text(p.content_type()),
            response_topic: name(p.response_topic()),
            correlation_data: data(p.correlation_data()),
            user_properties: pairs(p),
        }),
    });
    assert_eq!(will, theirs.last_will);
    let login = theirs.login.clone().map_or((None, None), |login| {
        let given = |text: String| (!text.is_empty()).then_some(text);
        (given(login.username), given(login.password).map(|word| Bytes::from(word.into_bytes())))
    });
    assert_eq!((text(ours.user_name), data(ours.password)), login);
    let properties = some(&ours.properties, |p| v5::ConnectProperties {
        session_expiry_interval: p.session_expiry_interval_s(),
        receive_maximum: p.receive_maximum().map(|most| most.get()),
        max_packet_size: p.maximum_packet_size_bytes().map(|most| most.get()),
        topic_alias_max: p.topic_alias_maximum(),
        request_response_info: p.request_response_information().map(u8::from),
        request_problem_info: p.request_problem_information().map(u8::from),
        user_properties: pairs(p),
        authentication_method: text(p.authentication_method()),
        authentication_data: data(p.authentication_data()),
    });
    assert_eq!(properties, theirs.properties);
}

/// Field by field.
fn same(ours: &Packet<'_>, theirs: &v5::Packet) {
    match (ours, theirs) {
        (Packet::Connack(ours), v5::Packet::ConnAck(theirs)) => {
            assert_eq!((ours.session_present, ours.code as u8), (theirs.session_present, theirs.code as u8));
            let properties = some(&ours.properties, |p| v5::ConnAckProperties {
                session_expiry_interval: p.session_expiry_interval_s(),
                receive_max: p.receive_maximum().map(|most| most.get()),
                max_qos: p.maximum_qos().map(|qos| qos as u8),
                retain_available: p.retain_available().map(u8::from),
                max_packet_size: p.maximum_packet_size_bytes().map(|most| most.get()),
                assigned_client_identifier: text(p.assigned_client_identifier()),
                topic_alias_max: p.topic_alias_maximum(),
                reason_string: text(p.reason_string()),
                user_properties: pairs(p),
                wildcard_subscription_available: p.wildcard_subscription_available().map(u8::from),
                subscription_identifiers_available: p.subscription_identifier_available().map(u8::from),
                shared_subscription_available: p.shared_subscription_available().map(u8::from),
                server_keep_alive: p.server_keep_alive_s(),
                response_information: text(p.response_information()),
                server_reference: text(p.server_reference()),
                authentication_method: text(p.authentication_method()),
                authentication_data: data(p.authentication_data()),
            });
            assert_eq!(properties, theirs.properties);
        }
        (Packet::Publish(ours), v5::Packet::Publish(theirs)) => {
            assert_eq!((ours.dup, ours.retain, qos(ours.delivery.qos())), (theirs.dup, theirs.retain, theirs.qos));
            assert_eq!(ours.delivery.packet_id().map_or(0, |id| id.get()), theirs.pkid);
            assert_eq!(name(ours.topic).unwrap_or_default(), theirs.topic);
            assert_eq!(ours.payload, &theirs.payload[..]);
            let properties = some(&ours.properties, |p| v5::PublishProperties {
                payload_format_indicator: p.payload_format_indicator().map(u8::from),
                message_expiry_interval: p.message_expiry_interval_s(),
                topic_alias: p.topic_alias().map(|alias| alias.get()),
                response_topic: name(p.response_topic()),
                correlation_data: data(p.correlation_data()),
                user_properties: pairs(p),
                subscription_identifiers: p.subscription_identifiers().map(|id| id.get() as usize).collect(),
                content_type: text(p.content_type()),
            });
            assert_eq!(properties, theirs.properties);
        }
        (Packet::Ack(ours), theirs) => {
            let (kind, id, code, properties) = match theirs {
                v5::Packet::PubAck(ack) => (AckKind::Puback, ack.pkid, ack.reason as u8, words!(ack.properties)),
                v5::Packet::PubRec(ack) => (AckKind::Pubrec, ack.pkid, ack.reason as u8, words!(ack.properties)),
                v5::Packet::PubRel(ack) => (AckKind::Pubrel, ack.pkid, ack.reason as u8, words!(ack.properties)),
                v5::Packet::PubComp(ack) => (AckKind::Pubcomp, ack.pkid, ack.reason as u8, words!(ack.properties)),
                other => panic!("{ours:?} is no {other:?}"),
            };
            assert_eq!((ours.kind, ours.packet_id.get(), ours.code as u8), (kind, id, code));
            assert_eq!(words(&ours.properties), properties);
        }
        (Packet::Subscribe(ours), v5::Packet::Subscribe(theirs)) => {
            assert_eq!(ours.packet_id.get(), theirs.pkid);
            let filter = |one: Subscription<'_>| v5::SubscribeFilter {
                path: one.filter.as_str().to_owned(),
                qos: qos(one.qos),
                nolocal: one.no_local,
                preserve_retain: one.retain_as_published,
                retain_forward_rule: match one.retain_handling {
                    mqtt::RetainHandling::Send => RetainForwardRule::OnEverySubscribe,
                    mqtt::RetainHandling::SendIfNew => RetainForwardRule::OnNewSubscribe,
                    mqtt::RetainHandling::DoNotSend => RetainForwardRule::Never,
                },
            };
            assert_eq!(ours.subscriptions.iter().map(filter).collect::<Vec<_>>(), theirs.filters);
            let properties = some(&ours.properties, |p| v5::SubscribeProperties {
                id: p.subscription_identifier().map(|id| id.get() as usize),
                user_properties: pairs(p),
            });
            assert_eq!(properties, theirs.properties);
        }
        (Packet::Suback(ours), v5::Packet::SubAck(theirs)) => {
            assert_eq!(ours.packet_id.get(), theirs.pkid);
            let codes: Vec<_> = theirs.return_codes.iter().map(|code| *code as u8).collect();
            assert_eq!(ours.codes.iter().map(|code| code as u8).collect::<Vec<_>>(), codes);
            assert_eq!(words(&ours.properties), words!(theirs.properties));
        }
        (Packet::Unsubscribe(ours), v5::Packet::Unsubscribe(theirs)) => {
            assert_eq!(ours.packet_id.get(), theirs.pkid);
            assert_eq!(
                ours.filters.iter().map(|filter| filter.as_str().to_owned()).collect::<Vec<_>>(),
                theirs.filters
            );
            let theirs = theirs.properties.as_ref().map(|properties| properties.user_properties.clone());
            assert_eq!(some(&ours.properties, pairs), theirs);
        }
        (Packet::Unsuback(ours), v5::Packet::UnsubAck(theirs)) => {
            assert_eq!(ours.packet_id.get(), theirs.pkid);
            let codes: Vec<_> = theirs.reasons.iter().map(|code| *code as u8).collect();
            assert_eq!(ours.codes.iter().map(|code| code as u8).collect::<Vec<_>>(), codes);
            assert_eq!(words(&ours.properties), words!(theirs.properties));
        }
        (Packet::Pingreq, v5::Packet::PingReq) | (Packet::Pingresp, v5::Packet::PingResp) => {}
        (Packet::Disconnect(ours), v5::Packet::Disconnect(theirs)) => {
            assert_eq!(ours.code as u8, theirs.reason_code as u8);
            let properties = some(&ours.properties, |p| v5::DisconnectProperties {
                session_expiry_interval: p.session_expiry_interval_s(),
                reason_string: text(p.reason_string()),
                user_properties: pairs(p),
                server_reference: text(p.server_reference()),
            });
            assert_eq!(properties, theirs.properties);
        }
        _ => panic!("{ours:?} is no {theirs:?}"),
    }
}

fn written(packet: &v5::Packet) -> BytesMut {
    let mut out = BytesMut::new();
    match packet {
        v5::Packet::Connect(packet) => packet.write(&mut out),
        v5::Packet::ConnAck(packet) => packet.write(&mut out),
        v5::Packet::Publish(packet) => packet.write(&mut out),
        v5::Packet::PubAck(packet) => packet.write(&mut out),
        v5::Packet::PubRec(packet) => packet.write(&mut out),
        v5::Packet::PubRel(packet) => packet.write(&mut out),
        v5::Packet::PubComp(packet) => packet.write(&mut out),
        v5::Packet::Subscribe(packet) => packet.write(&mut out),
        v5::Packet::SubAck(packet) => packet.write(&mut out),
        v5::Packet::Unsubscribe(packet) => packet.write(&mut out),
        v5::Packet::UnsubAck(packet) => packet.write(&mut out),
        v5::Packet::PingReq => v5::PingReq.write(&mut out),
        v5::Packet::PingResp => v5::PingResp.write(&mut out),
        v5::Packet::Disconnect(packet) => packet.write(&mut out),
    }
    .expect("they write it");
    out
}

/// By identifier; those of one identifier stay in their order.
fn sorted(properties: &Properties<'static>) -> Properties<'static> {
    let mut list: Vec<_> = properties.iter().collect();
    list.sort_by_key(|property| property.id() as u8);
    Properties::listed(list.leak())
}

/// The same packet, its properties by identifier.
fn ordered(packet: Packet<'static>) -> Packet<'static> {
    let mut packet = packet;
    let properties = match &mut packet {
        Packet::Connack(packet) => &mut packet.properties,
        Packet::Publish(packet) => &mut packet.properties,
        Packet::Ack(packet) => &mut packet.properties,
        Packet::Subscribe(packet) => &mut packet.properties,
        Packet::Suback(packet) => &mut packet.properties,
        Packet::Unsubscribe(packet) => &mut packet.properties,
        Packet::Unsuback(packet) => &mut packet.properties,
        Packet::Disconnect(packet) => &mut packet.properties,
        Packet::Auth(packet) => &mut packet.properties,
        Packet::Pingreq | Packet::Pingresp => return packet,
    };
    *properties = sorted(properties);
    packet
}

#[test]
fn they_agree_on_every_packet() {
    let mut kinds = [0; 16];
    for receiver in [Role::Server, Role::Client] {
        let mut sample = Sample::new(51 + receiver as u64);
        for _ in 0..6_000 {
            let packet = sample.packet(V5, receiver);
            match packet {
                Packet::Auth(_) => continue,
                Packet::Connack(connack) if connack.properties.is_empty() => continue,
                Packet::Disconnect(disconnect)
                    if disconnect.properties.is_empty() || disconnect.code == ReasonCode::BadAuthenticationMethod =>
                {
                    continue;
                }
                Packet::Publish(publish) if publish.properties.subscription_identifiers().count() > 1 => continue,
                _ => {}
            }
            let mut ours = vec![0; packet.encoded_bytes(V5)];
            packet.write(V5, &mut ours).expect("room");
            kinds[usize::from(ours[0] >> 4)] += 1;
            let read = v5::read(&mut BytesMut::from(&ours[..]), 1 << 20);
            let theirs = read.unwrap_or_else(|error| panic!("{error:?}: {packet:?}"));
            same(&packet, &theirs);
            let written: &'static [u8] = written(&theirs).to_vec().leak();
            let again = decode(receiver, V5, written).unwrap_or_else(|failure| panic!("{failure}: {written:x?}"));
            assert_eq!(ordered(again), ordered(packet), "{written:x?}");
        }
    }
    assert!(kinds[2..15].iter().all(|count| *count > 100), "each kind was tried: {kinds:?}");
}

/// They know passwords of UTF-8 alone, and write a user name or a password only if it is not empty.
#[test]
fn they_agree_on_connect() {
    let mut sample = Sample::new(53);
    for _ in 0..5_000 {
        let mut ours = sample.connect(V5);
        ours.user_name = ours.user_name.filter(|name| !name.is_empty());
        let word = sample.text();
        ours.password = (!word.is_empty()).then(|| Binary::new(word.as_bytes()).expect("few bytes"));
        let mut out = vec![0; ours.encoded_bytes()];
        ours.write(&mut out).expect("room");
        let read = v5::read(&mut BytesMut::from(&out[..]), 1 << 20);
        let Ok(v5::Packet::Connect(theirs)) = read else {
            panic!("{read:?}: {ours:?}");
        };
        same_connect(&ours, &theirs);
        let written: &'static [u8] = written(&v5::Packet::Connect(theirs)).to_vec().leak();
        let again = connect(written).unwrap_or_else(|refusal| panic!("{refusal}: {written:x?}"));
        let ordered = |mut connect: Connect<'static>| {
            connect.properties = sorted(&connect.properties);
            connect.will = connect.will.map(|will| mqtt::Will { properties: sorted(&will.properties), ..will });
            connect
        };
        assert_eq!(ordered(again), ordered(ours), "{written:x?}");
    }
}
