//! Reason codes (v5 2.4), where each may stand, and what 3.1.1 has instead.

use crate::{Qos, Role};

macro_rules! codes {
    ($($(#[$doc:meta])* $number:literal $name:ident,)*) => {
        /// The result of an operation, or why it failed (v5 2.4).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum ReasonCode {
            $($(#[$doc])* $name = $number,)*
        }

        impl ReasonCode {
            /// Every code, in order.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The code of that number.
            #[must_use]
            pub const fn from_wire(number: u8) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

codes! {
    /// Success; also a normal disconnection, and QoS 0 granted.
    0x00 Success,
    /// QoS 1 granted.
    0x01 GrantedQos1,
    /// QoS 2 granted.
    0x02 GrantedQos2,
    /// The client leaves, and its will is to be published.
    0x04 DisconnectWithWill,
    /// The message was taken; nobody subscribes to it.
    0x10 NoMatchingSubscribers,
    /// There was nothing to unsubscribe.
    0x11 NoSubscriptionExisted,
    /// Authentication goes on.
    0x18 ContinueAuthentication,
    /// The client begins to authenticate anew.
    0x19 ReAuthenticate,
    /// A failure without a reason.
    0x80 UnspecifiedError,
    /// The packet does not follow the specification.
    0x81 MalformedPacket,
    /// A packet that is out of place, or against the protocol.
    0x82 ProtocolError,
    /// Valid, and refused by this receiver.
    0x83 ImplementationSpecificError,
    /// The protocol version is not spoken here.
    0x84 UnsupportedProtocolVersion,
    /// The client identifier is not allowed.
    0x85 ClientIdentifierNotValid,
    /// User name or password are not accepted.
    0x86 BadUserNameOrPassword,
    /// Not allowed to this client.
    0x87 NotAuthorized,
    /// The server is not available.
    0x88 ServerUnavailable,
    /// The server is busy.
    0x89 ServerBusy,
    /// The client is banned.
    0x8A Banned,
    /// The server shuts down.
    0x8B ServerShuttingDown,
    /// The authentication method is not supported, or changed.
    0x8C BadAuthenticationMethod,
    /// Nothing came within one and a half times the keep alive.
    0x8D KeepAliveTimeout,
    /// Another connection uses the same client identifier.
    0x8E SessionTakenOver,
    /// A topic filter is not accepted.
    0x8F TopicFilterInvalid,
    /// A topic name is not accepted.
    0x90 TopicNameInvalid,
    /// The packet identifier is in use.
    0x91 PacketIdentifierInUse,
    /// The packet identifier is not known.
    0x92 PacketIdentifierNotFound,
    /// More unacknowledged messages than the receiver takes.
    0x93 ReceiveMaximumExceeded,
    /// A topic alias of 0, above the maximum, or unknown.
    0x94 TopicAliasInvalid,
    /// A packet larger than the receiver takes.
    0x95 PacketTooLarge,
    /// Messages come too fast.
    0x96 MessageRateTooHigh,
    /// A limit is exceeded.
    0x97 QuotaExceeded,
    /// An operator ended it.
    0x98 AdministrativeAction,
    /// The payload is not of the format it claims.
    0x99 PayloadFormatInvalid,
    /// Retained messages are not supported.
    0x9A RetainNotSupported,
    /// This quality of service is not supported.
    0x9B QosNotSupported,
    /// Use another server this time.
    0x9C UseAnotherServer,
    /// Use another server from now on.
    0x9D ServerMoved,
    /// Shared subscriptions are not supported.
    0x9E SharedSubscriptionsNotSupported,
    /// Connections come too fast.
    0x9F ConnectionRateExceeded,
    /// The connection has lasted as long as it may.
    0xA0 MaximumConnectTime,
    /// Subscription identifiers are not supported.
    0xA1 SubscriptionIdentifiersNotSupported,
    /// Filters with wildcards are not supported.
    0xA2 WildcardSubscriptionsNotSupported,
}

/// Where a property or a reason code stands: a packet, or the will within a CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Place {
    /// CONNECT.
    Connect,
    /// The will of a CONNECT.
    Will,
    /// CONNACK.
    Connack,
    /// PUBLISH.
    Publish,
    /// PUBACK.
    Puback,
    /// PUBREC.
    Pubrec,
    /// PUBREL.
    Pubrel,
    /// PUBCOMP.
    Pubcomp,
    /// SUBSCRIBE.
    Subscribe,
    /// SUBACK.
    Suback,
    /// UNSUBSCRIBE.
    Unsubscribe,
    /// UNSUBACK.
    Unsuback,
    /// DISCONNECT.
    Disconnect,
    /// AUTH.
    Auth,
}

impl Place {
    /// Its bit in a set of places.
    pub(crate) const fn bit(self) -> u16 {
        1 << self as u8
    }
}

impl ReasonCode {
    /// Whether it says that something failed.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        self as u8 >= 0x80
    }

    /// Whether a packet may carry it that `receiver` gets (v5 2.4 and the table of each packet).
    #[must_use]
    pub const fn fits(self, place: Place, receiver: Role) -> bool {
        use ReasonCode as R;
        match place {
            Place::Connect | Place::Will | Place::Publish | Place::Subscribe | Place::Unsubscribe => false,
            Place::Connack => {
                matches!(
                    self,
                    R::Success
                        | R::UnspecifiedError
                        | R::MalformedPacket
                        | R::ProtocolError
                        | R::ImplementationSpecificError
                        | R::UnsupportedProtocolVersion
                        | R::ClientIdentifierNotValid
                        | R::BadUserNameOrPassword
                        | R::NotAuthorized
                        | R::ServerUnavailable
                        | R::ServerBusy
                        | R::Banned
                        | R::BadAuthenticationMethod
                        | R::TopicNameInvalid
                        | R::PacketTooLarge
                        | R::QuotaExceeded
                        | R::PayloadFormatInvalid
                        | R::RetainNotSupported
                        | R::QosNotSupported
                        | R::UseAnotherServer
                        | R::ServerMoved
                        | R::ConnectionRateExceeded
                )
            }
            Place::Puback | Place::Pubrec => {
                matches!(
                    self,
                    R::Success
                        | R::NoMatchingSubscribers
                        | R::UnspecifiedError
                        | R::ImplementationSpecificError
                        | R::NotAuthorized
                        | R::TopicNameInvalid
                        | R::PacketIdentifierInUse
                        | R::QuotaExceeded
                        | R::PayloadFormatInvalid
                )
            }
            Place::Pubrel | Place::Pubcomp => matches!(self, R::Success | R::PacketIdentifierNotFound),
            Place::Suback => {
                matches!(
                    self,
                    R::Success
                        | R::GrantedQos1
                        | R::GrantedQos2
                        | R::UnspecifiedError
                        | R::ImplementationSpecificError
                        | R::NotAuthorized
                        | R::TopicFilterInvalid
                        | R::PacketIdentifierInUse
                        | R::QuotaExceeded
                        | R::SharedSubscriptionsNotSupported
                        | R::SubscriptionIdentifiersNotSupported
                        | R::WildcardSubscriptionsNotSupported
                )
            }
            Place::Unsuback => {
                matches!(
                    self,
                    R::Success
                        | R::NoSubscriptionExisted
                        | R::UnspecifiedError
                        | R::ImplementationSpecificError
                        | R::NotAuthorized
                        | R::TopicFilterInvalid
                        | R::PacketIdentifierInUse
                )
            }
            Place::Disconnect => match self {
                R::Success
                | R::UnspecifiedError
                | R::MalformedPacket
                | R::ProtocolError
                | R::ImplementationSpecificError
                | R::TopicNameInvalid
                | R::ReceiveMaximumExceeded
                | R::TopicAliasInvalid
                | R::PacketTooLarge
                | R::MessageRateTooHigh
                | R::QuotaExceeded
                | R::AdministrativeAction
                | R::PayloadFormatInvalid => true,
                R::DisconnectWithWill => matches!(receiver, Role::Server),
                R::NotAuthorized
                | R::ServerBusy
                | R::ServerShuttingDown
                | R::BadAuthenticationMethod
                | R::KeepAliveTimeout
                | R::SessionTakenOver
                | R::TopicFilterInvalid
                | R::RetainNotSupported
                | R::QosNotSupported
                | R::UseAnotherServer
                | R::ServerMoved
                | R::SharedSubscriptionsNotSupported
                | R::ConnectionRateExceeded
                | R::MaximumConnectTime
                | R::SubscriptionIdentifiersNotSupported
                | R::WildcardSubscriptionsNotSupported => matches!(receiver, Role::Client),
                _ => false,
            },
            Place::Auth => match self {
                R::ContinueAuthentication => true,
                R::Success => matches!(receiver, Role::Client),
                R::ReAuthenticate => matches!(receiver, Role::Server),
                _ => false,
            },
        }
    }

    /// The code of a granted subscription.
    #[must_use]
    pub const fn granted(qos: Qos) -> Self {
        match qos {
            Qos::AtMostOnce => Self::Success,
            Qos::AtLeastOnce => Self::GrantedQos1,
            Qos::ExactlyOnce => Self::GrantedQos2,
        }
    }

    /// The return code of a 3.1.1 CONNACK (v3 table 3.1). `None`: there is none, and the connection ends without a
    /// CONNACK (v3 3.2.2.3).
    #[must_use]
    pub const fn connect_return_code(self) -> Option<u8> {
        match self {
            Self::Success => Some(0),
            Self::UnsupportedProtocolVersion => Some(1),
            Self::ClientIdentifierNotValid => Some(2),
            Self::ServerUnavailable
            | Self::ServerBusy
            | Self::QuotaExceeded
            | Self::UseAnotherServer
            | Self::ServerMoved
            | Self::ConnectionRateExceeded => Some(3),
            Self::BadUserNameOrPassword => Some(4),
            Self::NotAuthorized | Self::Banned | Self::BadAuthenticationMethod => Some(5),
            _ => None,
        }
    }

    /// The code that says the same as a return code of a 3.1.1 CONNACK.
    #[must_use]
    pub const fn from_connect_return_code(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Success),
            1 => Some(Self::UnsupportedProtocolVersion),
            2 => Some(Self::ClientIdentifierNotValid),
            3 => Some(Self::ServerUnavailable),
            4 => Some(Self::BadUserNameOrPassword),
            5 => Some(Self::NotAuthorized),
            _ => None,
        }
    }

    /// The return code of a 3.1.1 SUBACK: what was granted, or 0x80 for any failure (v3 3.9.3).
    #[must_use]
    pub const fn suback_return_code(self) -> u8 {
        if self.is_failure() { Self::UnspecifiedError as u8 } else { self as u8 }
    }
}
