//! Packets at random: every kind, every property where the specification has it.

use base::mix::SplitMix64;
use mqtt::{
    Ack, AckKind, Auth, Binary, Codes, Connack, Connect, Delivery, Disconnect, Filters, Packet, PacketId, Place,
    Properties, Property, PropertyId, Publish, Qos, ReasonCode, RetainHandling, Role, Suback, Subscribe, Subscription,
    SubscriptionId, Subscriptions, Text, TopicAlias, TopicFilter, TopicName, Unsuback, Unsubscribe, Version, Will,
};
use std::num::{NonZeroU16, NonZeroU32};

/// What v5 says of each packet, packet by packet; the codec's own table goes property by property.
pub(crate) fn allowed(place: Place, receiver: Role) -> &'static [PropertyId] {
    use PropertyId as P;
    match (place, receiver) {
        (Place::Connect, _) => &[
            P::SessionExpiryInterval,
            P::ReceiveMaximum,
            P::MaximumPacketSize,
            P::TopicAliasMaximum,
            P::RequestResponseInformation,
            P::RequestProblemInformation,
            P::UserProperty,
            P::AuthenticationMethod,
            P::AuthenticationData,
        ],
        (Place::Will, _) => &[
            P::WillDelayInterval,
            P::PayloadFormatIndicator,
            P::MessageExpiryInterval,
            P::ContentType,
            P::ResponseTopic,
            P::CorrelationData,
            P::UserProperty,
        ],
        (Place::Connack, _) => &[
            P::SessionExpiryInterval,
            P::ReceiveMaximum,
            P::MaximumQos,
            P::RetainAvailable,
            P::MaximumPacketSize,
            P::AssignedClientIdentifier,
            P::TopicAliasMaximum,
            P::ReasonString,
            P::UserProperty,
            P::WildcardSubscriptionAvailable,
            P::SubscriptionIdentifierAvailable,
            P::SharedSubscriptionAvailable,
            P::ServerKeepAlive,
            P::ResponseInformation,
            P::ServerReference,
            P::AuthenticationMethod,
            P::AuthenticationData,
        ],
        (Place::Publish, Role::Server) => &[
            P::PayloadFormatIndicator,
            P::MessageExpiryInterval,
            P::TopicAlias,
            P::ResponseTopic,
            P::CorrelationData,
            P::UserProperty,
            P::ContentType,
        ],
        (Place::Publish, Role::Client) => &[
            P::PayloadFormatIndicator,
            P::MessageExpiryInterval,
            P::TopicAlias,
            P::ResponseTopic,
            P::CorrelationData,
            P::UserProperty,
            P::ContentType,
            P::SubscriptionIdentifier,
        ],
        (Place::Puback | Place::Pubrec | Place::Pubrel | Place::Pubcomp | Place::Suback | Place::Unsuback, _) => {
            &[P::ReasonString, P::UserProperty]
        }
        (Place::Subscribe, _) => &[P::SubscriptionIdentifier, P::UserProperty],
        (Place::Unsubscribe, _) => &[P::UserProperty],
        (Place::Disconnect, Role::Server) => &[P::SessionExpiryInterval, P::ReasonString, P::UserProperty],
        (Place::Disconnect, Role::Client) => &[P::ReasonString, P::UserProperty, P::ServerReference],
        (Place::Auth, _) => &[P::AuthenticationMethod, P::AuthenticationData, P::ReasonString, P::UserProperty],
    }
}

/// What is drawn from a seed. Texts and lists of it live as long as the test.
pub(crate) struct Sample(SplitMix64);

impl Sample {
    pub(crate) fn new(seed: u64) -> Self {
        Self(SplitMix64::new(seed))
    }

    pub(crate) fn below(&mut self, bound: u64) -> usize {
        self.0.below(bound) as usize
    }

    pub(crate) fn coin(&mut self) -> bool {
        self.below(2) == 1
    }

    fn string(&mut self, alphabet: &[&str], count_min: u64, count_below: u64) -> &'static str {
        let count = count_min as usize + self.below(count_below);
        let text: String = (0..count).map(|_| alphabet[self.below(alphabet.len() as u64)]).collect();
        Box::leak(text.into_boxed_str())
    }

    pub(crate) fn text(&mut self) -> Text<'static> {
        let alphabet = ["a", "Z", "7", " ", "ü", "€", "𐍈", "\u{FEFF}", "+", "#", "/", "$", "~"];
        Text::new(self.string(&alphabet, 0, 14)).expect("a text")
    }

    pub(crate) fn name(&mut self) -> TopicName<'static> {
        let alphabet = ["a", "b", "devices", "€", "$", "/", "/", " ", "7"];
        TopicName::new(self.string(&alphabet, 1, 9)).expect("a name")
    }

    pub(crate) fn filter(&mut self) -> TopicFilter<'static> {
        let levels = ["a", "+", "b", "", "€", "$SYS", "x"];
        let count = 1 + self.below(5);
        let mut filter: Vec<_> = (0..count).map(|_| levels[self.below(7)]).collect();
        match self.below(4) {
            0 => filter.push("#"),
            1 => filter.splice(0..0, ["$share", "group"]).for_each(drop),
            _ => {}
        }
        let mut filter = filter.join("/");
        if filter.is_empty() || filter == "$share/group/" {
            filter.push('+');
        }
        TopicFilter::new(Box::leak(filter.into_boxed_str())).expect("a filter")
    }

    pub(crate) fn data(&mut self, count_below: u64) -> &'static [u8] {
        let data: Vec<_> = (0..self.below(count_below)).map(|_| self.0.next() as u8).collect();
        data.leak()
    }

    fn binary(&mut self) -> Binary<'static> {
        Binary::new(self.data(20)).expect("few bytes")
    }

    pub(crate) fn id(&mut self) -> PacketId {
        PacketId::new(1 + self.below(65_535) as u16).expect("not 0")
    }

    pub(crate) fn qos(&mut self) -> Qos {
        Qos::from_wire(self.below(3) as u8).expect("a quality")
    }

    /// Any value, often an outermost one.
    fn number(&mut self, most: u32) -> u32 {
        match self.below(4) {
            0 => 0,
            1 => most,
            2 => self.below(300) as u32 % most,
            _ => self.below(u64::from(most)) as u32,
        }
    }

    pub(crate) fn property(&mut self, id: PropertyId) -> Property<'static> {
        use PropertyId as P;
        let short = self.number(65_535) as u16;
        let long = self.number(u32::MAX);
        let (short_1, long_1) =
            (NonZeroU16::new(short.max(1)).expect("not 0"), NonZeroU32::new(long.max(1)).expect("not 0"));
        match id {
            P::PayloadFormatIndicator => Property::PayloadFormatIndicator(self.coin()),
            P::MessageExpiryInterval => Property::MessageExpiryInterval(long),
            P::ContentType => Property::ContentType(self.text()),
            P::ResponseTopic => Property::ResponseTopic(self.name()),
            P::CorrelationData => Property::CorrelationData(self.binary()),
            P::SubscriptionIdentifier => {
                let number = self.number(268_435_455).max(1);
                Property::SubscriptionIdentifier(SubscriptionId::new(number).expect("in range"))
            }
            P::SessionExpiryInterval => Property::SessionExpiryInterval(long),
            P::AssignedClientIdentifier => Property::AssignedClientIdentifier(self.text()),
            P::ServerKeepAlive => Property::ServerKeepAlive(short),
            P::AuthenticationMethod => Property::AuthenticationMethod(self.text()),
            P::AuthenticationData => Property::AuthenticationData(self.binary()),
            P::RequestProblemInformation => Property::RequestProblemInformation(self.coin()),
            P::WillDelayInterval => Property::WillDelayInterval(long),
            P::RequestResponseInformation => Property::RequestResponseInformation(self.coin()),
            P::ResponseInformation => Property::ResponseInformation(self.text()),
            P::ServerReference => Property::ServerReference(self.text()),
            P::ReasonString => Property::ReasonString(self.text()),
            P::ReceiveMaximum => Property::ReceiveMaximum(short_1),
            P::TopicAliasMaximum => Property::TopicAliasMaximum(short),
            P::TopicAlias => Property::TopicAlias(short_1),
            P::MaximumQos => Property::MaximumQos(if self.coin() { Qos::AtLeastOnce } else { Qos::AtMostOnce }),
            P::RetainAvailable => Property::RetainAvailable(self.coin()),
            P::UserProperty => Property::UserProperty((self.text(), self.text())),
            P::MaximumPacketSize => Property::MaximumPacketSize(long_1),
            P::WildcardSubscriptionAvailable => Property::WildcardSubscriptionAvailable(self.coin()),
            P::SubscriptionIdentifierAvailable => Property::SubscriptionIdentifierAvailable(self.coin()),
            P::SharedSubscriptionAvailable => Property::SharedSubscriptionAvailable(self.coin()),
        }
    }

    /// Some that may stand there, in any order; none with 3.1.1.
    pub(crate) fn properties(&mut self, version: Version, place: Place, receiver: Role) -> Properties<'static> {
        if version == Version::V3 {
            return Properties::NONE;
        }
        let mut list = Vec::new();
        for id in allowed(place, receiver) {
            let repeats = matches!(
                (id, place),
                (PropertyId::UserProperty, _) | (PropertyId::SubscriptionIdentifier, Place::Publish)
            );
            // Authentication data never goes without a method, which AUTH always has.
            let is_method = *id == PropertyId::AuthenticationMethod;
            let count = match (repeats, is_method) {
                (true, _) => self.below(4),
                (_, true) => 1,
                _ => self.below(2),
            };
            list.extend((0..count).map(|_| self.property(*id)));
        }
        for at in (1..list.len()).rev() {
            list.swap(at, self.below(at as u64 + 1));
        }
        Properties::listed(list.leak())
    }

    pub(crate) fn connect(&mut self, version: Version) -> Connect<'static> {
        let user_name = self.coin().then(|| self.text());
        let has_password = self.coin() && (version == Version::V5 || user_name.is_some());
        let client_id = self.text();
        Connect {
            version,
            clean_start: self.coin() || version == Version::V3 && client_id.is_empty(),
            keep_alive_s: self.number(65_535) as u16,
            client_id,
            will: self.coin().then(|| Will {
                qos: self.qos(),
                retain: self.coin(),
                topic: self.name(),
                payload: self.binary(),
                properties: self.properties(version, Place::Will, Role::Server),
            }),
            user_name,
            password: has_password.then(|| self.binary()),
            properties: self.properties(version, Place::Connect, Role::Server),
        }
    }

    pub(crate) fn publish(&mut self, version: Version, receiver: Role) -> Publish<'static> {
        let qos = self.qos();
        let properties = self.properties(version, Place::Publish, receiver);
        let by_alias = properties.topic_alias().is_some() && self.coin();
        let payload_below = [1, 20, 200, 20_000][self.below(4)];
        Publish {
            delivery: Delivery::with(qos, self.id()),
            dup: qos != Qos::AtMostOnce && self.coin(),
            retain: self.coin(),
            topic: (!by_alias).then(|| self.name()),
            properties,
            payload: self.data(payload_below),
        }
    }

    fn code(&mut self, version: Version, place: Place, receiver: Role) -> ReasonCode {
        let codes: Vec<_> = ReasonCode::ALL
            .iter()
            .filter(|code| code.fits(place, receiver))
            .filter(|code| match (version, place) {
                (Version::V5, _) => true,
                (Version::V3, Place::Connack) => {
                    code.connect_return_code().and_then(ReasonCode::from_connect_return_code) == Some(**code)
                }
                (Version::V3, Place::Suback) => code.suback_return_code() == **code as u8,
                (Version::V3, _) => **code == ReasonCode::Success,
            })
            .collect();
        *codes[self.below(codes.len() as u64)]
    }

    fn codes(&mut self, version: Version, place: Place) -> Codes<'static> {
        let codes: Vec<_> = (0..=self.below(5)).map(|_| self.code(version, place, Role::Client)).collect();
        Codes::listed(codes.leak())
    }

    fn subscription(&mut self, version: Version) -> Subscription<'static> {
        let filter = self.filter();
        let mut subscription = Subscription::new(filter, self.qos());
        if version == Version::V5 {
            subscription.no_local = filter.shared() == Ok(None) && self.coin();
            subscription.retain_as_published = self.coin();
            subscription.retain_handling =
                [RetainHandling::Send, RetainHandling::SendIfNew, RetainHandling::DoNotSend][self.below(3)];
        }
        subscription
    }

    /// Any packet that this side receives after the first.
    pub(crate) fn packet(&mut self, version: Version, receiver: Role) -> Packet<'static> {
        let (properties, id) = (|sample: &mut Self, place| sample.properties(version, place, receiver), self.id());
        match self.below(7) {
            0 => Packet::Publish(self.publish(version, receiver)),
            kind @ 1..=4 => {
                let kinds = [
                    (AckKind::Puback, Place::Puback),
                    (AckKind::Pubrec, Place::Pubrec),
                    (AckKind::Pubrel, Place::Pubrel),
                    (AckKind::Pubcomp, Place::Pubcomp),
                ];
                let (kind, place) = kinds[kind - 1];
                let code = self.code(version, place, receiver);
                let properties = if self.coin() { properties(self, place) } else { Properties::NONE };
                Packet::Ack(Ack { kind, packet_id: id, code, properties })
            }
            5 if version == Version::V5 => {
                let code = self.code(version, Place::Auth, receiver);
                Packet::Auth(Auth { code, properties: properties(self, Place::Auth) })
            }
            _ => self.packet_one_way(version, receiver, id),
        }
    }

    fn packet_one_way(&mut self, version: Version, receiver: Role, id: PacketId) -> Packet<'static> {
        let one = self.below(5);
        if one == 0 && (version == Version::V5 || receiver == Role::Server) {
            let code = self.code(version, Place::Disconnect, receiver);
            let properties =
                if self.coin() { self.properties(version, Place::Disconnect, receiver) } else { Properties::NONE };
            return Packet::Disconnect(Disconnect { code, properties });
        }
        match (receiver, one) {
            (Role::Server, 1) => {
                let list: Vec<_> = (0..=self.below(4)).map(|_| self.subscription(version)).collect();
                let properties = self.properties(version, Place::Subscribe, receiver);
                Packet::Subscribe(Subscribe {
                    packet_id: id,
                    properties,
                    subscriptions: Subscriptions::listed(list.leak()),
                })
            }
            (Role::Server, 2) => {
                let list: Vec<_> = (0..=self.below(4)).map(|_| self.filter()).collect();
                let properties = self.properties(version, Place::Unsubscribe, receiver);
                Packet::Unsubscribe(Unsubscribe { packet_id: id, properties, filters: Filters::listed(list.leak()) })
            }
            (Role::Server, _) => Packet::Pingreq,
            (Role::Client, 1) => {
                let properties = self.properties(version, Place::Suback, receiver);
                Packet::Suback(Suback { packet_id: id, properties, codes: self.codes(version, Place::Suback) })
            }
            (Role::Client, 2) => {
                let properties = self.properties(version, Place::Unsuback, receiver);
                let codes = if version == Version::V3 { Codes::NONE } else { self.codes(version, Place::Unsuback) };
                Packet::Unsuback(Unsuback { packet_id: id, properties, codes })
            }
            (Role::Client, 3) => {
                let code = self.code(version, Place::Connack, receiver);
                let session_present = code == ReasonCode::Success && self.coin();
                let properties = self.properties(version, Place::Connack, receiver);
                Packet::Connack(Connack { session_present, code, properties })
            }
            (Role::Client, _) => Packet::Pingresp,
        }
    }

    pub(crate) fn alias(&mut self) -> TopicAlias {
        TopicAlias::new(1 + self.below(65_535) as u16).expect("not 0")
    }
}
