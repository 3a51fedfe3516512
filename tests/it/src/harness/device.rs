//! A LoRaWAN 1.0.x device of our own making, written from the specification and from nothing in `dataplane/`.
//!
//! Owns its keys and counters. Checks every MIC that it receives.

use aes::Aes128;
use aes::cipher::{Block, BlockEncrypt, KeyInit};
use cmac::{Cmac, Mac};

/// What a data downlink said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Downlink {
    pub(crate) confirmed: bool,
    pub(crate) ack: bool,
    pub(crate) pending: bool,
    pub(crate) fcnt: u32,
    pub(crate) fopts: Vec<u8>,
    pub(crate) fport: Option<u8>,
    pub(crate) payload: Vec<u8>,
}

/// What an uplink is to say beside its payload.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Say<'a> {
    pub(crate) confirmed: bool,
    pub(crate) ack: bool,
    pub(crate) fopts: &'a [u8],
}

/// A device, joined or personalised.
#[derive(Debug, Clone)]
pub(crate) struct Device {
    pub(crate) dev_eui: u64,
    pub(crate) join_eui: u64,
    pub(crate) app_key: [u8; 16],
    pub(crate) dev_addr: u32,
    pub(crate) nwk_s_key: [u8; 16],
    pub(crate) app_s_key: [u8; 16],
    pub(crate) fcnt_up: u32,
    pub(crate) dev_nonce: u16,
}

impl Device {
    /// A device whose every key follows from its number.
    pub(crate) fn new(number: u8) -> Self {
        let key = |which: u8| std::array::from_fn(|at| which ^ number ^ u8::try_from(at * 7).expect("small"));
        Self {
            dev_eui: 0x70B3_D57E_D000_0000 + u64::from(number),
            join_eui: 0x70B3_D57E_D000_FF00,
            app_key: key(0x11),
            dev_addr: 0x2601_1B00 + u32::from(number),
            nwk_s_key: key(0x22),
            app_s_key: key(0x33),
            fcnt_up: 0,
            dev_nonce: 1,
        }
    }

    /// Its DevEUI as the API writes it.
    pub(crate) fn eui(&self) -> String {
        format!("{:016X}", self.dev_eui)
    }

    /// A JoinRequest (L2 1.0.4 §6.2.5). Each call takes a new DevNonce.
    pub(crate) fn join_request(&mut self) -> Vec<u8> {
        let mut phy = vec![0x00];
        phy.extend(self.join_eui.to_le_bytes());
        phy.extend(self.dev_eui.to_le_bytes());
        phy.extend(self.dev_nonce.to_le_bytes());
        self.dev_nonce += 1;
        let mic = mic(&self.app_key, &[&phy]);
        phy.extend(mic);
        phy
    }

    /// Takes the session that a JoinAccept offers to the last JoinRequest (§6.2.6); `false` if it is not for us.
    pub(crate) fn join_accept(&mut self, phy: &[u8]) -> bool {
        if phy.len() < 17 || phy[0] != 0x20 || !(phy.len() - 1).is_multiple_of(16) {
            return false;
        }
        let cipher = Aes128::new(&self.app_key.into());
        let mut plain = phy.to_vec();
        for block in plain[1..].chunks_exact_mut(16) {
            // The network used the inverse cipher, so that a device needs only this one.
            cipher.encrypt_block(Block::<Aes128>::from_mut_slice(block));
        }
        let (said, given) = plain.split_at(plain.len() - 4);
        if mic(&self.app_key, &[said]) != given {
            return false;
        }
        let derive = |first: u8| {
            let mut block = [0; 16];
            block[0] = first;
            block[1..7].copy_from_slice(&said[1..7]);
            block[7..9].copy_from_slice(&(self.dev_nonce - 1).to_le_bytes());
            let mut block = Block::<Aes128>::from(block);
            cipher.encrypt_block(&mut block);
            block.into()
        };
        self.nwk_s_key = derive(1);
        self.app_s_key = derive(2);
        self.dev_addr = u32::from_le_bytes(said[7..11].try_into().expect("four bytes"));
        self.fcnt_up = 0;
        true
    }

    /// The next uplink.
    pub(crate) fn uplink(&mut self, fport: u8, payload: &[u8], say: Say<'_>) -> Vec<u8> {
        let fcnt = self.fcnt_up;
        self.fcnt_up += 1;
        let mut phy = vec![if say.confirmed { 0x80 } else { 0x40 }];
        phy.extend(self.dev_addr.to_le_bytes());
        phy.push(u8::from(say.ack) << 5 | u8::try_from(say.fopts.len()).expect("at most 15"));
        phy.extend((fcnt as u16).to_le_bytes());
        phy.extend(say.fopts);
        phy.push(fport);
        let mut text = payload.to_vec();
        self.cipher(0, fport, fcnt, &mut text);
        phy.extend(text);
        phy.extend(self.data_mic(0, fcnt, &phy));
        phy
    }

    /// Reads a downlink; `None` if it is not for us. `fcnt_high` is the upper half of the counter.
    pub(crate) fn downlink(&self, phy: &[u8]) -> Option<Downlink> {
        if phy.len() < 12 || !matches!(phy[0], 0x60 | 0xA0) || phy[1..5] != self.dev_addr.to_le_bytes() {
            return None;
        }
        let (said, given) = phy.split_at(phy.len() - 4);
        let fcnt = u32::from(u16::from_le_bytes([phy[6], phy[7]]));
        if self.data_mic(1, fcnt, said) != given {
            return None;
        }
        let fopts_end = 8 + usize::from(phy[5] & 0x0F);
        let fport = said.get(fopts_end).copied();
        let mut payload = said.get(fopts_end + 1..).unwrap_or_default().to_vec();
        self.cipher(1, fport.unwrap_or(0), fcnt, &mut payload);
        Some(Downlink {
            confirmed: phy[0] == 0xA0,
            ack: phy[5] & 0x20 != 0,
            pending: phy[5] & 0x10 != 0,
            fcnt,
            fopts: said[8..fopts_end].to_vec(),
            fport,
            payload,
        })
    }

    /// FRMPayload either way (§4.3.3).
    fn cipher(&self, direction: u8, fport: u8, fcnt: u32, text: &mut [u8]) {
        let cipher = Aes128::new(if fport == 0 { &self.nwk_s_key } else { &self.app_s_key }.into());
        for (index, chunk) in text.chunks_mut(16).enumerate() {
            let last = u8::try_from(index + 1).expect("few blocks");
            let mut block = Block::<Aes128>::from(self.block(0x01, direction, fcnt, last));
            cipher.encrypt_block(&mut block);
            chunk.iter_mut().zip(block).for_each(|(byte, key)| *byte ^= key);
        }
    }

    /// The MIC of a data frame (§4.4).
    fn data_mic(&self, direction: u8, fcnt: u32, phy: &[u8]) -> [u8; 4] {
        let length = u8::try_from(phy.len()).expect("a PHYPayload's length");
        mic(&self.nwk_s_key, &[&self.block(0x49, direction, fcnt, length), phy])
    }

    fn block(&self, first: u8, direction: u8, fcnt: u32, last: u8) -> [u8; 16] {
        let mut block = [0; 16];
        block[0] = first;
        block[5] = direction;
        block[6..10].copy_from_slice(&self.dev_addr.to_le_bytes());
        block[10..14].copy_from_slice(&fcnt.to_le_bytes());
        block[15] = last;
        block
    }
}

fn mic(key: &[u8; 16], parts: &[&[u8]]) -> [u8; 4] {
    let mut mac = <Cmac<Aes128> as Mac>::new(key.into());
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes()[..4].try_into().expect("four of sixteen bytes")
}

/// A key or a payload as the API writes it.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}
