//! LoRaWAN data frames, up and down: a borrowed view over 12 to 255 bytes, and the writer.
//! Never allocates; deciphers only after the MIC was found valid, in the caller's buffer.
//!
//! ```text
//!   0      1         5       6        8              8+n       9+n
//!   | MHDR | DevAddr | FCtrl | FCnt 2 | FOpts 0..15 | FPort 0,1 | FRMPayload 0.. | MIC 4 |     L2 §4.3
//!   FCtrl  up   | ADR | ADRACKReq | ACK | ClassB   | FOptsLen 4 |
//!          down | ADR | RFU       | ACK | FPending | FOptsLen 4 |
//! ```

use crate::crypto::{AesKey, Direction, SessionKeys, crypt_payload, data_mic};
use crate::phy::{MType, Malformed, PHY_BYTES_MAX};
use crate::{DevAddr, mac};
use core::fmt;
use core::ops::Range;

const DEV_ADDR: Range<usize> = 1..5;
const FCTRL: usize = 5;
const FCNT: Range<usize> = 6..8;
const FOPTS: usize = 8;
const MIC_BYTES: usize = 4;

/// The shortest data frame: header and MIC.
const DATA_BYTES_MIN: usize = FOPTS + MIC_BYTES;

/// The most bytes of FOpts; FOptsLen has four bits.
pub const FOPTS_BYTES_MAX: usize = 15;

/// The frame control octet, without meaning given to the reserved bit.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct FCtrl(pub u8);

impl FCtrl {
    const ADR: u8 = 0x80;
    const ADR_ACK_REQ: u8 = 0x40;
    const ACK: u8 = 0x20;
    const BIT4: u8 = 0x10;

    /// The device (up) or the network (down) uses adaptive data rate.
    #[must_use]
    pub const fn adr(self) -> bool {
        self.0 & Self::ADR != 0
    }

    /// Up: the device asks for any downlink as a sign of life.
    #[must_use]
    pub const fn adr_ack_req(self) -> bool {
        self.0 & Self::ADR_ACK_REQ != 0
    }

    /// Acknowledges the other side's last confirmed frame.
    #[must_use]
    pub const fn ack(self) -> bool {
        self.0 & Self::ACK != 0
    }

    /// Up: the device listens in class B ping slots.
    #[must_use]
    pub const fn class_b(self) -> bool {
        self.0 & Self::BIT4 != 0
    }

    /// Down: more waits for the device, which should open another window soon.
    #[must_use]
    pub const fn fpending(self) -> bool {
        self.0 & Self::BIT4 != 0
    }

    /// Bytes of FOpts that follow.
    #[must_use]
    pub const fn fopts_len(self) -> usize {
        (self.0 & 0x0F) as usize
    }

    /// With ADR set or cleared.
    #[must_use]
    pub const fn with_adr(self, set: bool) -> Self {
        self.with(Self::ADR, set)
    }

    /// With ADRACKReq set or cleared.
    #[must_use]
    pub const fn with_adr_ack_req(self, set: bool) -> Self {
        self.with(Self::ADR_ACK_REQ, set)
    }

    /// With ACK set or cleared.
    #[must_use]
    pub const fn with_ack(self, set: bool) -> Self {
        self.with(Self::ACK, set)
    }

    /// With FPending (down) or ClassB (up) set or cleared.
    #[must_use]
    pub const fn with_fpending(self, set: bool) -> Self {
        self.with(Self::BIT4, set)
    }

    const fn with(self, mask: u8, set: bool) -> Self {
        Self(if set { self.0 | mask } else { self.0 & !mask })
    }
}

impl fmt::Debug for FCtrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "FCtrl({:#04x})", self.0)
    }
}

/// A data frame whose structure holds; its payload is enciphered and its MIC unproven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Data<'a> {
    bytes: &'a [u8],
}

impl<'a> Data<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        if bytes.len() < DATA_BYTES_MIN {
            return Err(Malformed::DataTooShort);
        }
        let data = Self { bytes };
        if FOPTS + data.fctrl().fopts_len() > data.mic_offset() {
            return Err(Malformed::FOptsOverrun);
        }
        // L2 §5: commands in both places make the frame void.
        if data.fctrl().fopts_len() > 0 && data.fport() == Some(0) && !data.payload_range().is_empty() {
            return Err(Malformed::MacTwice);
        }
        Ok(data)
    }

    /// The whole PHYPayload.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// One of the four data message types.
    #[must_use]
    pub const fn mtype(&self) -> MType {
        MType::of(self.bytes[0])
    }

    /// Up or down.
    #[must_use]
    pub const fn direction(&self) -> Direction {
        match self.mtype() {
            MType::UnconfirmedUp | MType::ConfirmedUp => Direction::Up,
            _ => Direction::Down,
        }
    }

    /// Whether the sender asks for an acknowledgement.
    #[must_use]
    pub const fn confirmed(&self) -> bool {
        matches!(self.mtype(), MType::ConfirmedUp | MType::ConfirmedDown)
    }

    /// The session's address.
    #[must_use]
    pub fn dev_addr(&self) -> DevAddr {
        DevAddr::from_wire(array(&self.bytes[DEV_ADDR]))
    }

    /// The frame control octet.
    #[must_use]
    pub const fn fctrl(&self) -> FCtrl {
        FCtrl(self.bytes[FCTRL])
    }

    /// The low 16 bits of the frame counter.
    #[must_use]
    pub fn fcnt16(&self) -> u16 {
        u16::from_le_bytes(array(&self.bytes[FCNT]))
    }

    /// MAC commands beside the payload, in the clear in LoRaWAN 1.0.x.
    #[must_use]
    pub fn fopts(&self) -> &'a [u8] {
        &self.bytes[FOPTS..self.fopts_end()]
    }

    /// The port, if the frame has one.
    #[must_use]
    pub fn fport(&self) -> Option<u8> {
        let at = self.fopts_end();
        (at < self.mic_offset()).then(|| self.bytes[at])
    }

    /// The enciphered payload; empty if there is no port.
    #[must_use]
    pub fn frm_payload(&self) -> &'a [u8] {
        &self.bytes[self.payload_range()]
    }

    /// Where the payload lies in the PHYPayload, to decipher it in place.
    #[must_use]
    pub fn payload_range(&self) -> Range<usize> {
        let end = self.mic_offset();
        (self.fopts_end() + 1).min(end)..end
    }

    /// The message integrity code.
    #[must_use]
    pub fn mic(&self) -> [u8; 4] {
        array(&self.bytes[self.mic_offset()..])
    }

    /// Whether the MIC is that of this key and full counter.
    #[must_use]
    pub fn mic_is_valid(&self, nwk_s_key: &AesKey, fcnt: u32) -> bool {
        let message = &self.bytes[..self.mic_offset()];
        data_mic(nwk_s_key, self.direction(), self.dev_addr(), fcnt, message) == self.mic()
    }

    /// The frame as proven by its MIC, or `None` if it is not of this key and full counter.
    #[must_use]
    pub fn verify(self, nwk_s_key: &AesKey, fcnt: u32) -> Option<Verified<'a>> {
        self.mic_is_valid(nwk_s_key, fcnt).then_some(Verified { data: self, fcnt })
    }

    const fn fopts_end(&self) -> usize {
        FOPTS + self.fctrl().fopts_len()
    }

    const fn mic_offset(&self) -> usize {
        self.bytes.len() - MIC_BYTES
    }
}

/// A data frame whose MIC was valid: only now may its counter be believed and its payload read.
#[derive(Clone, Copy, Debug)]
pub struct Verified<'a> {
    data: Data<'a>,
    fcnt: u32,
}

impl<'a> Verified<'a> {
    /// The frame.
    #[must_use]
    pub const fn data(&self) -> Data<'a> {
        self.data
    }

    /// The counter, all 32 bits.
    #[must_use]
    pub const fn fcnt(&self) -> u32 {
        self.fcnt
    }

    /// What is needed to decipher the payload in place, without holding on to the bytes.
    #[must_use]
    pub fn opening(&self, keys: &SessionKeys) -> Opening {
        Opening {
            key: *keys.of_port(self.data.fport().unwrap_or(0)),
            dev_addr: self.data.dev_addr(),
            fcnt: self.fcnt,
            direction: self.data.direction(),
            range: (self.data.payload_range().start as u8, self.data.payload_range().end as u8),
        }
    }

    /// Deciphers the payload into the front of `out`.
    ///
    /// # Errors
    /// [`crate::NoRoom`] if `out` is shorter than the payload.
    pub fn decrypt_into<'b>(&self, keys: &SessionKeys, out: &'b mut [u8]) -> Result<&'b mut [u8], crate::NoRoom> {
        let source = self.data.frm_payload();
        let out = out.get_mut(..source.len()).ok_or(crate::NoRoom)?;
        out.copy_from_slice(source);
        let key = keys.of_port(self.data.fport().unwrap_or(0));
        crypt_payload(key, self.data.dev_addr(), self.fcnt, self.data.direction(), out);
        Ok(out)
    }
}

/// How to decipher one verified frame where it lies. Does not borrow the frame, so that its buffer may be written.
#[derive(Clone, Copy, Debug)]
pub struct Opening {
    key: AesKey,
    dev_addr: DevAddr,
    fcnt: u32,
    direction: Direction,
    range: (u8, u8),
}

impl Opening {
    /// Deciphers the payload in place and returns it. `phy` is the PHYPayload that was verified.
    ///
    /// # Panics
    /// If `phy` is shorter than that PHYPayload: our own mistake.
    #[must_use]
    pub fn open<'b>(&self, phy: &'b mut [u8]) -> &'b mut [u8] {
        let payload = &mut phy[usize::from(self.range.0)..usize::from(self.range.1)];
        crypt_payload(&self.key, self.dev_addr, self.fcnt, self.direction, payload);
        payload
    }
}

/// A data frame to be written. FOptsLen is taken from `fopts`, whatever `fctrl` says.
#[derive(Clone, Copy, Debug)]
pub struct DataFrame<'a> {
    /// Up or down.
    pub direction: Direction,
    /// Whether an acknowledgement is asked for.
    pub confirmed: bool,
    /// The session's address.
    pub dev_addr: DevAddr,
    /// The frame control bits.
    pub fctrl: FCtrl,
    /// The counter, all 32 bits.
    pub fcnt: u32,
    /// MAC commands beside the payload, at most 15 bytes.
    pub fopts: &'a [u8],
    /// The port; 0 carries MAC commands as payload.
    pub fport: Option<u8>,
    /// The payload in the clear; empty without a port.
    pub payload: &'a [u8],
}

/// Why a frame cannot be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unwritable {
    /// The caller's buffer is too short.
    NoRoom,
    /// More than 255 bytes in all.
    TooLong,
    /// More than 15 bytes of FOpts.
    FOptsTooLong,
    /// A payload without a port.
    PayloadWithoutPort,
    /// MAC commands both in FOpts and on FPort 0.
    MacTwice,
}

impl fmt::Display for Unwritable {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::NoRoom => "the buffer is too short for the frame",
            Self::TooLong => "the frame is longer than 255 bytes",
            Self::FOptsTooLong => "FOpts are longer than 15 bytes",
            Self::PayloadWithoutPort => "a payload needs a port",
            Self::MacTwice => "MAC commands go in FOpts or on FPort 0, not both",
        })
    }
}

impl core::error::Error for Unwritable {}

impl DataFrame<'_> {
    /// Bytes of the PHYPayload.
    #[must_use]
    pub const fn encoded_bytes(&self) -> usize {
        DATA_BYTES_MIN + self.fopts.len() + self.fport.is_some() as usize + self.payload.len()
    }

    /// The message type.
    #[must_use]
    pub const fn mtype(&self) -> MType {
        match (self.direction, self.confirmed) {
            (Direction::Up, false) => MType::UnconfirmedUp,
            (Direction::Up, true) => MType::ConfirmedUp,
            (Direction::Down, false) => MType::UnconfirmedDown,
            (Direction::Down, true) => MType::ConfirmedDown,
        }
    }

    /// Writes the PHYPayload, enciphered and signed, into the front of `out`. Returns its length.
    ///
    /// # Errors
    /// The reason why there is no such frame or no room for it; `out` is untouched.
    pub fn write(&self, keys: &SessionKeys, out: &mut [u8]) -> Result<usize, Unwritable> {
        if self.fopts.len() > FOPTS_BYTES_MAX {
            return Err(Unwritable::FOptsTooLong);
        }
        if self.fport.is_none() && !self.payload.is_empty() {
            return Err(Unwritable::PayloadWithoutPort);
        }
        if self.fport == Some(0) && !self.fopts.is_empty() && !self.payload.is_empty() {
            return Err(Unwritable::MacTwice);
        }
        let count = self.encoded_bytes();
        if count > PHY_BYTES_MAX {
            return Err(Unwritable::TooLong);
        }
        let out = out.get_mut(..count).ok_or(Unwritable::NoRoom)?;
        let (message, mic) = out.split_at_mut(count - MIC_BYTES);
        message[0] = self.mtype().mhdr();
        message[DEV_ADDR].copy_from_slice(&self.dev_addr.to_wire());
        message[FCTRL] = self.fctrl.0 & 0xF0 | self.fopts.len() as u8;
        message[FCNT].copy_from_slice(&(self.fcnt as u16).to_le_bytes());
        let payload_at = FOPTS + self.fopts.len() + usize::from(self.fport.is_some());
        message[FOPTS..FOPTS + self.fopts.len()].copy_from_slice(self.fopts);
        if let Some(fport) = self.fport {
            message[payload_at - 1] = fport;
            let payload = &mut message[payload_at..];
            payload.copy_from_slice(self.payload);
            crypt_payload(keys.of_port(fport), self.dev_addr, self.fcnt, self.direction, payload);
        }
        mic.copy_from_slice(&data_mic(&keys.nwk_s_key, self.direction, self.dev_addr, self.fcnt, message));
        Ok(count)
    }
}

impl<'a> Data<'a> {
    /// MAC commands of an uplink's FOpts.
    #[must_use]
    pub fn uplink_commands(&self) -> mac::Uplinks<'a> {
        mac::Uplinks::new(self.fopts())
    }

    /// MAC commands of a downlink's FOpts.
    #[must_use]
    pub fn downlink_commands(&self) -> mac::Downlinks<'a> {
        mac::Downlinks::new(self.fopts())
    }
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(bytes);
    out
}
