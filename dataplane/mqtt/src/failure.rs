//! Why bytes are no packet, or none that may come here.

use crate::ReasonCode;

/// Why a packet is refused and its connection ends: one variant a reason, so that each can be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Failure {
    /// No packet has this type in this version.
    PacketType,
    /// Flags of the fixed header that this type does not have (v3 2.2.2, v5 2.1.3).
    Flags,
    /// A remaining length of more than four bytes, or with v5 of more than it needs.
    RemainingLength,
    /// The packet is longer than the receiver takes.
    TooLarge,
    /// A field goes beyond the end of its packet, or of the properties.
    Truncated,
    /// Bytes follow the last field.
    Trailing,
    /// A string is no UTF-8 or has U+0000 (v3 1.5.3, v5 1.5.4).
    Text,
    /// A Variable Byte Integer of more than four bytes or of more than it needs (v5 1.5.5).
    VariableByteInteger,
    /// This packet has no property of that identifier (v5 2.2.2.2).
    Property,
    /// A property that only the other side sends in this packet.
    PropertyDirection,
    /// A property that may occur once occurs twice.
    PropertyTwice,
    /// A property's value is out of its range.
    PropertyValue,
    /// A topic alias of 0 (v5 3.3.2.3.4).
    TopicAlias,
    /// A packet identifier of 0 (v3 2.3.1, v5 2.2.1).
    PacketId,
    /// Both bits of a quality of service are set.
    Qos,
    /// DUP with QoS 0 (3.3.1.1).
    Dup,
    /// A topic name is empty or has wildcards.
    TopicName,
    /// A PUBLISH has neither a topic name nor an alias.
    TopicMissing,
    /// A topic filter is empty, has wildcards in wrong places, or is a shared one of the wrong form.
    TopicFilter,
    /// A SUBSCRIBE or UNSUBSCRIBE without filters, or an answer to them without codes.
    Empty,
    /// Reserved bits of the subscription options (3.8.3).
    SubscriptionOptions,
    /// Retain handling 3 (v5 3.8.3.1).
    RetainHandling,
    /// No local on a shared subscription (v5 3.8.3.1).
    NoLocalShared,
    /// The first packet is no CONNECT (3.1).
    NotConnect,
    /// A second CONNECT (3.1).
    SecondConnect,
    /// A packet that only the other side sends.
    Direction,
    /// The protocol name is none that is known (3.1.2.1).
    ProtocolName,
    /// The protocol level is none that is spoken here (3.1.2.2).
    ProtocolLevel,
    /// The reserved bit of the connect flags (3.1.2.3).
    ConnectFlags,
    /// A will's quality of service or retain without a will, or a quality of 3 (3.1.2.6).
    WillFlags,
    /// A password without a user name (v3 3.1.2.9).
    PasswordAlone,
    /// No client identifier, and a session that is to be kept (v3 3.1.3.1).
    ClientId,
    /// Reserved bits of CONNACK (3.2.2.1), or a session that is present in a refusal.
    ConnackFlags,
    /// A reason or return code that this packet does not have from this side.
    ReasonCode,
    /// Authentication data without a method (v5 3.1.2.11.10), or AUTH without one (v5 3.15.2.2.2).
    AuthMethod,
}

impl Failure {
    /// Every reason, in the order of its numbers.
    pub const ALL: [Self; 35] = [
        Self::PacketType,
        Self::Flags,
        Self::RemainingLength,
        Self::TooLarge,
        Self::Truncated,
        Self::Trailing,
        Self::Text,
        Self::VariableByteInteger,
        Self::Property,
        Self::PropertyDirection,
        Self::PropertyTwice,
        Self::PropertyValue,
        Self::TopicAlias,
        Self::PacketId,
        Self::Qos,
        Self::Dup,
        Self::TopicName,
        Self::TopicMissing,
        Self::TopicFilter,
        Self::Empty,
        Self::SubscriptionOptions,
        Self::RetainHandling,
        Self::NoLocalShared,
        Self::NotConnect,
        Self::SecondConnect,
        Self::Direction,
        Self::ProtocolName,
        Self::ProtocolLevel,
        Self::ConnectFlags,
        Self::WillFlags,
        Self::PasswordAlone,
        Self::ClientId,
        Self::ConnackFlags,
        Self::ReasonCode,
        Self::AuthMethod,
    ];

    /// What the CONNACK or DISCONNECT says of it, if there is one (v5 4.13).
    #[must_use]
    pub const fn reason_code(self) -> ReasonCode {
        match self {
            Self::PacketType
            | Self::Flags
            | Self::RemainingLength
            | Self::Truncated
            | Self::Trailing
            | Self::Text
            | Self::VariableByteInteger
            | Self::Property
            | Self::Qos
            | Self::Dup
            | Self::SubscriptionOptions
            | Self::ConnectFlags
            | Self::WillFlags
            | Self::ConnackFlags => ReasonCode::MalformedPacket,
            Self::TooLarge => ReasonCode::PacketTooLarge,
            Self::TopicAlias => ReasonCode::TopicAliasInvalid,
            Self::TopicName => ReasonCode::TopicNameInvalid,
            Self::TopicFilter => ReasonCode::TopicFilterInvalid,
            Self::ProtocolName | Self::ProtocolLevel => ReasonCode::UnsupportedProtocolVersion,
            Self::ClientId => ReasonCode::ClientIdentifierNotValid,
            Self::PropertyDirection
            | Self::PropertyTwice
            | Self::PropertyValue
            | Self::PacketId
            | Self::TopicMissing
            | Self::Empty
            | Self::RetainHandling
            | Self::NoLocalShared
            | Self::NotConnect
            | Self::SecondConnect
            | Self::Direction
            | Self::PasswordAlone
            | Self::ReasonCode
            | Self::AuthMethod => ReasonCode::ProtocolError,
        }
    }

    /// The reason as a log line or a counter names it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PacketType => "packet_type",
            Self::Flags => "flags",
            Self::RemainingLength => "remaining_length",
            Self::TooLarge => "too_large",
            Self::Truncated => "truncated",
            Self::Trailing => "trailing",
            Self::Text => "text",
            Self::VariableByteInteger => "variable_byte_integer",
            Self::Property => "property",
            Self::PropertyDirection => "property_direction",
            Self::PropertyTwice => "property_twice",
            Self::PropertyValue => "property_value",
            Self::TopicAlias => "topic_alias",
            Self::PacketId => "packet_id",
            Self::Qos => "qos",
            Self::Dup => "dup",
            Self::TopicName => "topic_name",
            Self::TopicMissing => "topic_missing",
            Self::TopicFilter => "topic_filter",
            Self::Empty => "empty",
            Self::SubscriptionOptions => "subscription_options",
            Self::RetainHandling => "retain_handling",
            Self::NoLocalShared => "no_local_shared",
            Self::NotConnect => "not_connect",
            Self::SecondConnect => "second_connect",
            Self::Direction => "direction",
            Self::ProtocolName => "protocol_name",
            Self::ProtocolLevel => "protocol_level",
            Self::ConnectFlags => "connect_flags",
            Self::WillFlags => "will_flags",
            Self::PasswordAlone => "password_alone",
            Self::ClientId => "client_id",
            Self::ConnackFlags => "connack_flags",
            Self::ReasonCode => "reason_code",
            Self::AuthMethod => "auth_method",
        }
    }
}

impl core::fmt::Display for Failure {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        out.write_str(self.name())
    }
}

impl core::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::Failure;

    #[test]
    fn reasons_are_numbered_in_order_and_named_apart() {
        for (index, failure) in Failure::ALL.into_iter().enumerate() {
            assert_eq!(failure as usize, index);
            assert_eq!(Failure::ALL.iter().filter(|other| other.name() == failure.name()).count(), 1, "{failure}");
        }
    }
}
