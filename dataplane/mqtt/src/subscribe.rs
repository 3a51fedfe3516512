//! SUBSCRIBE, UNSUBSCRIBE and their answers (3.8 to 3.11).
//!
//! | packet identifier 2 | properties (v5) | filters with options, filters, or a code for each |

use crate::put::{NoRoom, Put, framed_bytes};
use crate::read::Read;
use crate::{Failure, PacketId, Place, Properties, Qos, ReasonCode, Role, TopicFilter, Version};

/// What is sent of retained messages when a subscription is made (v5 3.8.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RetainHandling {
    /// All that match.
    Send = 0,
    /// All that match, if there was no such subscription.
    SendIfNew = 1,
    /// None.
    DoNotSend = 2,
}

/// A filter and how its messages are to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscription<'a> {
    /// What is subscribed to.
    pub filter: TopicFilter<'a>,
    /// The highest quality of service to deliver with.
    pub qos: Qos,
    /// Not what this client publishes itself; false with 3.1.1.
    pub no_local: bool,
    /// RETAIN as it was published; false with 3.1.1.
    pub retain_as_published: bool,
    /// What is sent of retained messages; all with 3.1.1.
    pub retain_handling: RetainHandling,
}

impl<'a> Subscription<'a> {
    /// A subscription as 3.1.1 has it.
    #[must_use]
    pub const fn new(filter: TopicFilter<'a>, qos: Qos) -> Self {
        Self { filter, qos, no_local: false, retain_as_published: false, retain_handling: RetainHandling::Send }
    }

    /// Reads one that may stand in a packet of some version.
    fn read(read: &mut Read<'a>) -> Result<Self, Failure> {
        let filter = read.filter()?;
        let options = read.one()?;
        if options & 0xC0 != 0 {
            return Err(Failure::SubscriptionOptions);
        }
        let retain_handling = match options >> 4 {
            0 => RetainHandling::Send,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DoNotSend,
            _ => return Err(Failure::RetainHandling),
        };
        let qos = Qos::from_wire(options & 3).ok_or(Failure::Qos)?;
        Ok(Self { filter, qos, no_local: options & 4 != 0, retain_as_published: options & 8 != 0, retain_handling })
    }

    /// Checks what only this version has, or has not: `$share` is a topic like others to 3.1.1.
    fn check(&self, version: Version) -> Result<(), Failure> {
        match version {
            Version::V3 if *self != Self::new(self.filter, self.qos) => Err(Failure::SubscriptionOptions),
            Version::V3 => Ok(()),
            Version::V5 => match self.filter.shared() {
                Err(_) => Err(Failure::TopicFilter),
                Ok(Some(_)) if self.no_local => Err(Failure::NoLocalShared),
                Ok(_) => Ok(()),
            },
        }
    }

    const fn options(&self, version: Version) -> u8 {
        match version {
            Version::V3 => self.qos as u8,
            Version::V5 => {
                self.qos as u8
                    | (self.no_local as u8) << 2
                    | (self.retain_as_published as u8) << 3
                    | (self.retain_handling as u8) << 4
            }
        }
    }
}

macro_rules! sequence {
    ($(#[$doc:meta])* $name:ident, $walk:ident, $item:ty, $next:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name<'a>($walk<'a>);

        /// Walks through the sequence of that name.
        #[derive(Clone, Copy, Debug)]
        enum $walk<'a> {
            /// As they were read, and checked then.
            Wire(&'a [u8]),
            /// As they are to be written.
            Listed(&'a [$item]),
        }

        impl<'a> $name<'a> {
            /// Those, in this order.
            #[must_use]
            pub const fn listed(list: &'a [$item]) -> Self {
                Self($walk::Listed(list))
            }

            /// All of them, in order.
            pub fn iter(&self) -> impl Iterator<Item = $item> + use<'a> {
                self.0
            }
        }

        impl PartialEq for $name<'_> {
            fn eq(&self, other: &Self) -> bool {
                self.iter().eq(other.iter())
            }
        }

        impl Eq for $name<'_> {}

        impl<'a> Iterator for $walk<'a> {
            type Item = $item;

            fn next(&mut self) -> Option<$item> {
                match self {
                    Self::Wire(bytes) => {
                        let mut read = Read(bytes);
                        let next: fn(&mut Read<'a>) -> Result<$item, Failure> = $next;
                        // Checked when they were read; nothing is found where nothing is left.
                        let item = next(&mut read).ok()?;
                        *bytes = read.0;
                        Some(item)
                    }
                    Self::Listed(list) => list.split_off_first().copied(),
                }
            }
        }
    };
}

sequence! {
    /// Subscriptions of one packet, in order; at least one.
    Subscriptions, SubscriptionWalk, Subscription<'a>, Subscription::read
}
sequence! {
    /// Filters of one packet, in order; at least one.
    Filters, FilterWalk, TopicFilter<'a>, |read| read.text().map(|text| TopicFilter::checked(text.as_bytes()))
}
sequence! {
    /// A code for each filter, in order; none in an UNSUBACK of 3.1.1.
    Codes, CodeWalk, ReasonCode, |read| ReasonCode::from_wire(read.one()?).ok_or(Failure::ReasonCode)
}

impl<'a> Codes<'a> {
    /// No codes.
    pub const NONE: Self = Self::listed(&[]);

    fn read(read: &mut Read<'a>, place: Place, version: Version) -> Result<Self, Failure> {
        let bytes = core::mem::take(&mut read.0);
        let fits = |number: &u8| match version {
            Version::V3 => matches!(number, 0 | 1 | 2 | 0x80),
            Version::V5 => ReasonCode::from_wire(*number).is_some_and(|code| code.fits(place, Role::Client)),
        };
        match bytes {
            [] => Err(Failure::Empty),
            _ if bytes.iter().all(fits) => Ok(Self(CodeWalk::Wire(bytes))),
            _ => Err(Failure::ReasonCode),
        }
    }
}

/// What all four begin with.
fn begin<'a>(
    read: &mut Read<'a>,
    place: Place,
    version: Version,
    receiver: Role,
) -> Result<(PacketId, Properties<'a>), Failure> {
    let packet_id = read.packet_id()?;
    let properties = match version {
        Version::V3 => Properties::NONE,
        Version::V5 => Properties::read(read, place, receiver)?,
    };
    Ok((packet_id, properties))
}

fn begin_bytes(properties: &Properties<'_>, version: Version) -> usize {
    2 + if version == Version::V5 { properties.framed_bytes() } else { 0 }
}

fn put_begin(packet_id: PacketId, properties: &Properties<'_>, place: Place, version: Version, put: &mut Put<'_>) {
    put.two(packet_id.get());
    if version == Version::V5 {
        properties.put_framed(place, put);
    }
}

macro_rules! packet {
    (
        $(#[$doc:meta])* $name:ident, $first:literal, $place:ident,
        $(#[$items_doc:meta])* $items:ident: $sequence:ident,
        read $read:expr,
        bytes $bytes:expr,
        put $put:expr
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name<'a> {
            /// What ties the answer to the request.
            pub packet_id: PacketId,
            /// With 5.0.
            pub properties: Properties<'a>,
            $(#[$items_doc])*
            pub $items: $sequence<'a>,
        }

        impl<'a> $name<'a> {
            /// One without properties.
            #[must_use]
            pub const fn new(packet_id: PacketId, $items: $sequence<'a>) -> Self {
                Self { packet_id, properties: Properties::NONE, $items }
            }

            pub(crate) fn parse(mut read: Read<'a>, version: Version, receiver: Role) -> Result<Self, Failure> {
                let (packet_id, properties) = begin(&mut read, Place::$place, version, receiver)?;
                let read_all: fn(&mut Read<'a>, Version) -> Result<$sequence<'a>, Failure> = $read;
                let $items = read_all(&mut read, version)?;
                read.end()?;
                Ok(Self { packet_id, properties, $items })
            }

            fn body_bytes(&self, version: Version) -> usize {
                let items_bytes: fn(&$sequence<'_>, Version) -> usize = $bytes;
                begin_bytes(&self.properties, version) + items_bytes(&self.$items, version)
            }

            /// Bytes of the packet.
            #[must_use]
            pub fn encoded_bytes(&self, version: Version) -> usize {
                framed_bytes(self.body_bytes(version))
            }

            /// Writes the packet into the front of `out`. Returns the count of bytes.
            ///
            /// # Errors
            /// [`NoRoom`] if it does not fit.
            pub fn write(&self, version: Version, out: &mut [u8]) -> Result<usize, NoRoom> {
                let (mut put, count) = Put::framed($first, self.body_bytes(version), out)?;
                put_begin(self.packet_id, &self.properties, Place::$place, version, &mut put);
                let put_all: fn(&$sequence<'_>, Version, &mut Put<'_>) = $put;
                put_all(&self.$items, version, &mut put);
                put.end();
                Ok(count)
            }
        }
    };
}

packet! {
    /// Asks for messages.
    Subscribe, 0x82, Subscribe,
    /// What for; at least one.
    subscriptions: Subscriptions,
    read |read, version| {
        let bytes = read.0;
        if bytes.is_empty() {
            return Err(Failure::Empty);
        }
        while !read.is_empty() {
            Subscription::read(read)?.check(version)?;
        }
        Ok(Subscriptions(SubscriptionWalk::Wire(bytes)))
    },
    bytes |subscriptions, _| subscriptions.iter().map(|one| 3 + one.filter.as_bytes().len()).sum(),
    put |subscriptions, version, put| {
        for one in subscriptions.iter() {
            put.counted(one.filter.as_bytes());
            put.one(one.options(version));
        }
    }
}

packet! {
    /// The answer to a SUBSCRIBE.
    Suback, 0x90, Suback,
    /// What was granted, or why not, for each filter; at least one.
    codes: Codes,
    read |read, version| Codes::read(read, Place::Suback, version),
    bytes |codes, _| codes.iter().count(),
    put |codes, version, put| {
        for code in codes.iter() {
            put.one(if version == Version::V3 { code.suback_return_code() } else { code as u8 });
        }
    }
}

packet! {
    /// Ends subscriptions.
    Unsubscribe, 0xA2, Unsubscribe,
    /// Which; at least one.
    filters: Filters,
    read |read, _| {
        let bytes = read.0;
        if bytes.is_empty() {
            return Err(Failure::Empty);
        }
        while !read.is_empty() {
            read.filter()?;
        }
        Ok(Filters(FilterWalk::Wire(bytes)))
    },
    bytes |filters, _| filters.iter().map(|filter| 2 + filter.as_bytes().len()).sum(),
    put |filters, _, put| filters.iter().for_each(|filter| put.counted(filter.as_bytes()))
}

packet! {
    /// The answer to an UNSUBSCRIBE.
    Unsuback, 0xB0, Unsuback,
    /// How it went for each filter; none with 3.1.1.
    codes: Codes,
    read |read, version| match version {
        Version::V3 => Ok(Codes::NONE),
        Version::V5 => Codes::read(read, Place::Unsuback, version),
    },
    bytes |codes, version| if version == Version::V3 { 0 } else { codes.iter().count() },
    put |codes, version, put| {
        if version == Version::V5 {
            codes.iter().for_each(|code| put.one(code as u8));
        }
    }
}
