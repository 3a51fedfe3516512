//! Properties (v5 2.2.2): checked once when a packet is read, then found by name or walked through in their order.
//!
//! The table below is the specification's: identifier, name, type, and where it may stand. The type carries the range: what is
//! never 0 is of a type that never is. One property is written as it was read; a few can be left out, as a forwarded message
//! leaves out those that were meant for the server.

use crate::put::{Put, variable_bytes};
use crate::read::Read;
use crate::text::{Binary, Text};
use crate::{Failure, Place, Qos, Role, TopicName};
use core::num::{NonZeroU16, NonZeroU32};

/// What a subscription is called in the messages that it brings; 1 to 268 435 455 (v5 3.8.2.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SubscriptionId(NonZeroU32);

impl SubscriptionId {
    /// `None` if it is 0 or above 268 435 455.
    #[must_use]
    pub const fn new(number: u32) -> Option<Self> {
        match NonZeroU32::new(number) {
            Some(number) if number.get() <= 268_435_455 => Some(Self(number)),
            _ => None,
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

/// How a property's value stands on the wire.
trait Value<'a>: Sized {
    fn read(read: &mut Read<'a>) -> Result<Self, Failure>;
    fn bytes(&self) -> usize;
    fn put(&self, put: &mut Put<'_>);
}

macro_rules! value {
    ($type:ty, $read:expr, $bytes:expr, $put:expr) => {
        impl<'a> Value<'a> for $type {
            fn read(read: &mut Read<'a>) -> Result<Self, Failure> {
                let read_one: fn(&mut Read<'a>) -> Result<Self, Failure> = $read;
                read_one(read)
            }

            fn bytes(&self) -> usize {
                let bytes: fn(&Self) -> usize = $bytes;
                bytes(self)
            }

            fn put(&self, put: &mut Put<'_>) {
                let put_one: fn(&Self, &mut Put<'_>) = $put;
                put_one(self, put);
            }
        }
    };
}

value!(
    bool,
    |read| match read.one()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Failure::PropertyValue),
    },
    |_| 1,
    |value, put| put.one(u8::from(*value))
);
// Only a maximum below 2 is ever said (v5 3.2.2.3.4).
value!(
    Qos,
    |read| match read.one()? {
        0 => Ok(Self::AtMostOnce),
        1 => Ok(Self::AtLeastOnce),
        _ => Err(Failure::PropertyValue),
    },
    |_| 1,
    |value, put| put.one(*value as u8)
);
value!(u16, Read::two, |_| 2, |value, put| put.two(*value));
value!(u32, Read::four, |_| 4, |value, put| put.four(*value));
value!(NonZeroU16, |read| Self::new(read.two()?).ok_or(Failure::PropertyValue), |_| 2, |value, put| put
    .two(value.get()));
value!(NonZeroU32, |read| Self::new(read.four()?).ok_or(Failure::PropertyValue), |_| 4, |value, put| put
    .four(value.get()));
value!(
    SubscriptionId,
    |read| Self::new(read.variable()?).ok_or(Failure::PropertyValue),
    |value| variable_bytes(value.get() as usize),
    |value, put| put.variable(value.get() as usize)
);
value!(Text<'a>, Read::text, |value| 2 + value.as_bytes().len(), |value, put| put.counted(value.as_bytes()));
value!(TopicName<'a>, Read::name, |value| 2 + value.as_bytes().len(), |value, put| put.counted(value.as_bytes()));
value!(Binary<'a>, Read::binary, |value| 2 + value.as_bytes().len(), |value, put| put.counted(value.as_bytes()));
value!(
    (Text<'a>, Text<'a>),
    |read| Ok((read.text()?, read.text()?)),
    |(name, value)| name.bytes() + value.bytes(),
    |(name, value), put| {
        name.put(put);
        value.put(put);
    }
);

macro_rules! properties {
    ($($(#[$doc:meta])* $number:literal $name:ident $getter:ident: $type:ty, $($place:ident)*;)*) => {
        /// What a property is (v5 table 2-4).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum PropertyId {
            $($(#[$doc])* $name = $number,)*
        }

        impl PropertyId {
            /// Every identifier, in order.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The identifier of that number.
            #[must_use]
            pub const fn from_wire(number: u8) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// The set of places where it may stand.
            const fn places(self) -> u16 {
                match self {
                    $(Self::$name => 0 $(| Place::$place.bit())*,)*
                }
            }
        }

        /// A property and its value.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Property<'a> {
            $($(#[$doc])* $name($type),)*
        }

        impl<'a> Property<'a> {
            /// What it is.
            #[must_use]
            pub const fn id(&self) -> PropertyId {
                match self {
                    $(Self::$name(_) => PropertyId::$name,)*
                }
            }

            fn read(id: PropertyId, read: &mut Read<'a>) -> Result<Self, Failure> {
                match id {
                    $(PropertyId::$name => <$type as Value<'a>>::read(read).map(Self::$name),)*
                }
            }

            /// Bytes on the wire, its identifier included.
            #[must_use]
            pub fn encoded_bytes(&self) -> usize {
                1 + match self {
                    $(Self::$name(value) => value.bytes(),)*
                }
            }

            fn put(&self, put: &mut Put<'_>) {
                put.one(self.id() as u8);
                match self {
                    $(Self::$name(value) => value.put(put),)*
                }
            }
        }

        impl<'a> Properties<'a> {
            $(
                $(#[$doc])*
                ///
                /// The first one; there is more than one of a user property or a subscription identifier at most.
                #[must_use]
                pub fn $getter(&self) -> Option<$type> {
                    if self.kept & PropertyId::$name.bit() == 0 {
                        return None;
                    }
                    self.iter().find_map(|property| match property {
                        Property::$name(value) => Some(value),
                        _ => None,
                    })
                }
            )*
        }
    };
}

properties! {
    /// Whether the payload is UTF-8 (v5 3.3.2.3.2).
    1 PayloadFormatIndicator payload_format_indicator: bool, Publish Will;
    /// Seconds after which the message is of no use (v5 3.3.2.3.3).
    2 MessageExpiryInterval message_expiry_interval_s: u32, Publish Will;
    /// What the payload is, to applications (v5 3.3.2.3.9).
    3 ContentType content_type: Text<'a>, Publish Will;
    /// Where an answer is to be published (v5 3.3.2.3.5).
    8 ResponseTopic response_topic: TopicName<'a>, Publish Will;
    /// What an answer repeats (v5 3.3.2.3.6).
    9 CorrelationData correlation_data: Binary<'a>, Publish Will;
    /// What the subscription is called (v5 3.3.2.3.8, 3.8.2.1.2).
    11 SubscriptionIdentifier subscription_identifier: SubscriptionId, Publish Subscribe;
    /// Seconds that the session outlives its connection; 0xFFFF_FFFF: for ever (v5 3.1.2.11.2).
    17 SessionExpiryInterval session_expiry_interval_s: u32, Connect Connack Disconnect;
    /// The client identifier that the server chose (v5 3.2.2.3.7).
    18 AssignedClientIdentifier assigned_client_identifier: Text<'a>, Connack;
    /// Seconds of keep alive that the client is to use (v5 3.2.2.3.14).
    19 ServerKeepAlive server_keep_alive_s: u16, Connack;
    /// How the client is authenticated (v5 3.1.2.11.9).
    21 AuthenticationMethod authentication_method: Text<'a>, Connect Connack Auth;
    /// What the method says (v5 3.1.2.11.10).
    22 AuthenticationData authentication_data: Binary<'a>, Connect Connack Auth;
    /// Whether reasons may be given in other packets than CONNACK, PUBLISH and DISCONNECT; true without it (v5 3.1.2.11.7).
    23 RequestProblemInformation request_problem_information: bool, Connect;
    /// Seconds that the will waits (v5 3.1.3.2.2).
    24 WillDelayInterval will_delay_interval_s: u32, Will;
    /// Whether the client asks for response information; false without it (v5 3.1.2.11.6).
    25 RequestResponseInformation request_response_information: bool, Connect;
    /// What response topics may begin with (v5 3.2.2.3.15).
    26 ResponseInformation response_information: Text<'a>, Connack;
    /// Another server (v5 4.11).
    28 ServerReference server_reference: Text<'a>, Connack Disconnect;
    /// The reason in words, for people (v5 3.2.2.3.9).
    31 ReasonString reason_string: Text<'a>, Connack Puback Pubrec Pubrel Pubcomp Suback Unsuback Disconnect Auth;
    /// Unacknowledged messages above QoS 0 that the sender takes at once; 65 535 without it (v5 3.1.2.11.3).
    33 ReceiveMaximum receive_maximum: NonZeroU16, Connect Connack;
    /// The highest alias that the sender takes; 0 without it (v5 3.1.2.11.5).
    34 TopicAliasMaximum topic_alias_maximum: u16, Connect Connack;
    /// What stands for the topic (v5 3.3.2.3.4).
    35 TopicAlias topic_alias: NonZeroU16, Publish;
    /// The highest quality of service that the server takes; 2 without it (v5 3.2.2.3.4).
    36 MaximumQos maximum_qos: Qos, Connack;
    /// Whether the server keeps retained messages; true without it (v5 3.2.2.3.5).
    37 RetainAvailable retain_available: bool, Connack;
    /// A name and a value, of no meaning here (v5 3.1.2.11.8).
    38 UserProperty user_property: (Text<'a>, Text<'a>),
        Connect Will Connack Publish Puback Pubrec Pubrel Pubcomp Subscribe Suback Unsubscribe Unsuback Disconnect Auth;
    /// Bytes of the largest packet that the sender takes (v5 3.1.2.11.4).
    39 MaximumPacketSize maximum_packet_size_bytes: NonZeroU32, Connect Connack;
    /// Whether filters may have wildcards; true without it (v5 3.2.2.3.11).
    40 WildcardSubscriptionAvailable wildcard_subscription_available: bool, Connack;
    /// Whether subscriptions may have identifiers; true without it (v5 3.2.2.3.12).
    41 SubscriptionIdentifierAvailable subscription_identifier_available: bool, Connack;
    /// Whether subscriptions may be shared; true without it (v5 3.2.2.3.13).
    42 SharedSubscriptionAvailable shared_subscription_available: bool, Connack;
}

impl PropertyId {
    /// Whether it may stand there in a packet that `receiver` gets, once or more often.
    ///
    /// # Errors
    /// [`Failure::Property`] or [`Failure::PropertyDirection`].
    const fn check(self, place: Place, receiver: Role) -> Result<(), Failure> {
        if self.places() & place.bit() == 0 {
            return Err(Failure::Property);
        }
        match (self, place, receiver) {
            (Self::SubscriptionIdentifier, Place::Publish, Role::Server)
            | (Self::SessionExpiryInterval, Place::Disconnect, Role::Client)
            | (Self::ServerReference, Place::Disconnect, Role::Server) => Err(Failure::PropertyDirection),
            _ => Ok(()),
        }
    }

    /// Its bit in a set of properties.
    const fn bit(self) -> u64 {
        1 << self as u8
    }

    /// Whether there may be several: user properties, and in a PUBLISH one identifier for each subscription.
    const fn repeats(self, place: Place) -> bool {
        matches!((self, place), (Self::UserProperty, _) | (Self::SubscriptionIdentifier, Place::Publish))
    }
}

#[derive(Clone, Copy, Debug)]
enum Source<'a> {
    /// As they were read, and checked then.
    Wire(&'a [u8]),
    /// As they are to be written.
    Listed(&'a [Property<'a>]),
}

/// The properties of a packet or a will, in their order. Packets of 3.1.1 have none, and none are written into them.
#[derive(Clone, Copy, Debug)]
pub struct Properties<'a> {
    source: Source<'a>,
    /// Those of these identifiers are there; with [`WHOLE`], all that the source has.
    kept: u64,
}

/// Above the bits of all identifiers.
const WHOLE: u64 = 1 << 63;

impl<'a> Properties<'a> {
    /// No properties.
    pub const NONE: Self = Self { source: Source::Wire(b""), kept: WHOLE };

    /// Properties to be written, in this order. Which of them a packet may have, and how often, is for the caller to know;
    /// debug builds check it when they are written.
    #[must_use]
    pub const fn listed(list: &'a [Property<'a>]) -> Self {
        Self { source: Source::Listed(list), kept: u64::MAX }
    }

    /// Reads the length and what it announces.
    #[inline]
    pub(crate) fn read(read: &mut Read<'a>, place: Place, receiver: Role) -> Result<Self, Failure> {
        let count = read.variable()?;
        if count == 0 {
            return Ok(Self::NONE);
        }
        Self::parse(read.take(count as usize)?, place, receiver)
    }

    /// Properties without the length before them, as they stand in a packet that `receiver` gets, or were kept of one.
    ///
    /// # Errors
    /// What is wrong with the first that is wrong.
    pub fn parse(bytes: &'a [u8], place: Place, receiver: Role) -> Result<Self, Failure> {
        let mut read = Read(bytes);
        let mut kept = WHOLE;
        while !read.is_empty() {
            // Identifiers are Variable Byte Integers, and all that are defined are of one byte.
            let id = PropertyId::from_wire(read.one()?).ok_or(Failure::Property)?;
            id.check(place, receiver)?;
            if kept & id.bit() != 0 && !id.repeats(place) {
                return Err(Failure::PropertyTwice);
            }
            kept |= id.bit();
            Property::read(id, &mut read).map_err(|failure| match (id, failure) {
                (PropertyId::TopicAlias, Failure::PropertyValue) => Failure::TopicAlias,
                (_, failure) => failure,
            })?;
        }
        Ok(Self { source: Source::Wire(bytes), kept })
    }

    /// Whether one of these is there.
    pub(crate) fn has(&self, id: PropertyId) -> bool {
        self.kept & id.bit() != 0 && self.iter().any(|property| property.id() == id)
    }

    /// All of them, in order.
    #[must_use]
    pub const fn iter(&self) -> Iter<'a> {
        Iter { source: self.source, kept: self.kept }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// User properties, in order: names may repeat.
    pub fn user_properties(&self) -> impl Iterator<Item = (Text<'a>, Text<'a>)> {
        self.iter().filter_map(|property| match property {
            Property::UserProperty(pair) => Some(pair),
            _ => None,
        })
    }

    /// Subscription identifiers, in order.
    pub fn subscription_identifiers(&self) -> impl Iterator<Item = SubscriptionId> {
        self.iter().filter_map(|property| match property {
            Property::SubscriptionIdentifier(id) => Some(id),
            _ => None,
        })
    }

    /// The same without those of one kind.
    #[must_use]
    pub const fn without(self, id: PropertyId) -> Self {
        Self { kept: self.kept & !(id.bit() | WHOLE), ..self }
    }

    /// Those of a received PUBLISH, or of a will, that every subscriber gets unaltered: without topic alias, message expiry,
    /// subscription identifiers and will delay, which concern one connection or change on the way (v5 3.3.2.3).
    #[must_use]
    pub const fn forwarded(self) -> Self {
        const KEPT_BACK: u64 = PropertyId::TopicAlias.bit()
            | PropertyId::MessageExpiryInterval.bit()
            | PropertyId::SubscriptionIdentifier.bit()
            | PropertyId::WillDelayInterval.bit();
        if matches!(self.source, Source::Wire(_)) && self.kept & KEPT_BACK == 0 {
            return self;
        }
        Self { kept: self.kept & !(KEPT_BACK | WHOLE), ..self }
    }

    /// Bytes of them all, without the length before them.
    #[must_use]
    pub fn encoded_bytes(&self) -> usize {
        match self.source {
            Source::Wire(bytes) if self.kept & WHOLE != 0 => bytes.len(),
            _ => self.iter().map(|property| property.encoded_bytes()).sum(),
        }
    }

    /// Puts them all, without the length before them.
    pub(crate) fn put(&self, put: &mut Put<'_>) {
        match self.source {
            Source::Wire(bytes) if self.kept & WHOLE != 0 => put.bytes(bytes),
            _ => self.iter().for_each(|property| property.put(put)),
        }
    }

    /// Bytes of the length and of them all.
    pub(crate) fn framed_bytes(&self) -> usize {
        let count = self.encoded_bytes();
        variable_bytes(count) + count
    }

    /// Puts the length and them all. `place` says what must be so of a list.
    pub(crate) fn put_framed(&self, place: Place, put: &mut Put<'_>) {
        debug_assert!(self.is_allowed(place), "properties that {place:?} may have: {self:?}");
        put.variable(self.encoded_bytes());
        self.put(put);
    }

    /// Whether each may stand there, and as often.
    fn is_allowed(&self, place: Place) -> bool {
        let mut seen = 0;
        self.iter().all(|property| {
            let id = property.id();
            let again = seen & id.bit() != 0;
            seen |= id.bit();
            id.places() & place.bit() != 0 && (!again || id.repeats(place))
        })
    }

    /// Writes them into the front of `out`, without the length before them. Returns the count of bytes.
    ///
    /// # Errors
    /// [`crate::NoRoom`] if they do not fit.
    pub fn write(&self, out: &mut [u8]) -> Result<usize, crate::NoRoom> {
        let count = self.encoded_bytes();
        self.put(&mut Put::new(out.get_mut(..count).ok_or(crate::NoRoom)?));
        Ok(count)
    }
}

impl PartialEq for Properties<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Properties<'_> {}

impl<'a> IntoIterator for &Properties<'a> {
    type Item = Property<'a>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// Walks through [`Properties`].
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    source: Source<'a>,
    kept: u64,
}

impl<'a> Iterator for Iter<'a> {
    type Item = Property<'a>;

    fn next(&mut self) -> Option<Property<'a>> {
        loop {
            let property = match &mut self.source {
                Source::Wire(bytes) => {
                    let mut read = Read(bytes);
                    // Checked when they were read; nothing is found where nothing is left.
                    let id = PropertyId::from_wire(read.one().ok()?)?;
                    let property = Property::read(id, &mut read).ok()?;
                    *bytes = read.0;
                    property
                }
                Source::Listed(list) => *list.split_off_first()?,
            };
            if self.kept & property.id().bit() != 0 {
                return Some(property);
            }
        }
    }
}
