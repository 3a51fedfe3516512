//! Fields taken one after the other from the front of a packet.

use crate::text::{Binary, Text};
use crate::{Failure, PacketId, TopicFilter, TopicName};

/// What is left of a packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Read<'a>(pub(crate) &'a [u8]);

impl<'a> Read<'a> {
    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[inline]
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Failure> {
        self.0.split_off(..count).ok_or(Failure::Truncated)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Failure> {
        let (array, rest) = self.0.split_first_chunk::<N>().ok_or(Failure::Truncated)?;
        self.0 = rest;
        Ok(*array)
    }

    #[inline]
    pub(crate) fn one(&mut self) -> Result<u8, Failure> {
        self.array().map(|[byte]| byte)
    }

    #[inline]
    pub(crate) fn two(&mut self) -> Result<u16, Failure> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn four(&mut self) -> Result<u32, Failure> {
        self.array().map(u32::from_be_bytes)
    }

    /// A Variable Byte Integer, in as few bytes as it needs (v5 1.5.5).
    #[inline]
    pub(crate) fn variable(&mut self) -> Result<u32, Failure> {
        match *self.0 {
            [byte, ref rest @ ..] if byte < 0x80 => {
                self.0 = rest;
                Ok(u32::from(byte))
            }
            _ => self.variable_longer(),
        }
    }

    fn variable_longer(&mut self) -> Result<u32, Failure> {
        let mut value = 0;
        for index in 0..4 {
            let byte = self.one()?;
            value |= u32::from(byte & 0x7F) << (7 * index);
            if byte < 0x80 {
                return if byte == 0 { Err(Failure::VariableByteInteger) } else { Ok(value) };
            }
        }
        Err(Failure::VariableByteInteger)
    }

    /// Bytes behind a length of two.
    #[inline]
    fn counted(&mut self) -> Result<&'a [u8], Failure> {
        let count = self.two()?;
        self.take(usize::from(count))
    }

    pub(crate) fn binary(&mut self) -> Result<Binary<'a>, Failure> {
        // A length of two bytes never exceeds what binary data may have.
        self.counted().and_then(|bytes| Binary::new(bytes).ok_or(Failure::Truncated))
    }

    pub(crate) fn text(&mut self) -> Result<Text<'a>, Failure> {
        Text::parse(self.counted()?).ok_or(Failure::Text)
    }

    /// A topic name, or none if it is empty.
    #[inline]
    pub(crate) fn name_or_none(&mut self) -> Result<Option<TopicName<'a>>, Failure> {
        let bytes = self.counted()?;
        if bytes.is_empty() {
            return Ok(None);
        }
        match TopicName::parse(bytes) {
            Some(name) => Ok(Some(name)),
            None => Err(Text::parse(bytes).map_or(Failure::Text, |_| Failure::TopicName)),
        }
    }

    pub(crate) fn name(&mut self) -> Result<TopicName<'a>, Failure> {
        self.name_or_none()?.ok_or(Failure::TopicName)
    }

    pub(crate) fn filter(&mut self) -> Result<TopicFilter<'a>, Failure> {
        let text = self.text()?;
        TopicFilter::parse(text.as_bytes()).ok_or(Failure::TopicFilter)
    }

    #[inline]
    pub(crate) fn packet_id(&mut self) -> Result<PacketId, Failure> {
        PacketId::new(self.two()?).ok_or(Failure::PacketId)
    }

    /// Nothing is left.
    #[inline]
    pub(crate) const fn end(&self) -> Result<(), Failure> {
        if self.0.is_empty() { Ok(()) } else { Err(Failure::Trailing) }
    }
}
