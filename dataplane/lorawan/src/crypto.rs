//! AES-128 as LoRaWAN uses it: the MICs (CMAC), the payload cipher (a counter mode of its own) and session keys.
//! Owns the key type. Keys are expanded once per use, on the stack; nothing is remembered between calls.
//!
//! ```text
//!   B0  | 49 | 0 0 0 0 | Dir | DevAddr 4 | FCnt 4 | 0 | len |    MIC  = cmac(NwkSKey, B0 | msg)[0..4]    L2 §4.4
//!   Ai  | 01 | 0 0 0 0 | Dir | DevAddr 4 | FCnt 4 | 0 | i   |    S    = aes128_encrypt(K, Ai)...         L2 §4.3.3.1
//! ```

use crate::DevAddr;
use aes::cipher::generic_array::GenericArray;
use aes::cipher::{BlockDecrypt, BlockEncrypt, KeyInit};
use aes::{Aes128Dec, Aes128Enc};
use cmac::{Cmac, Mac};
use core::fmt;

/// An AES-128 key. Its digits never appear in `Debug` output.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct AesKey(pub [u8; 16]);

/// Which way a data frame travels; its value is the ciphers' `Dir` byte.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Direction {
    /// From the device.
    Up = 0,
    /// To the device.
    Down = 1,
}

/// The two keys of a LoRaWAN 1.0.x session.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SessionKeys {
    /// Signs every data frame; ciphers FPort 0.
    pub nwk_s_key: AesKey,
    /// Ciphers every other FPort.
    pub app_s_key: AesKey,
}

impl SessionKeys {
    /// The key that ciphers the FRMPayload of this port (L2 §4.3.3).
    #[must_use]
    pub const fn of_port(&self, fport: u8) -> &AesKey {
        if fport == 0 { &self.nwk_s_key } else { &self.app_s_key }
    }
}

impl AesKey {
    /// The key that these 32 hexadecimal digits write, most significant first.
    #[must_use]
    pub fn from_hex(digits: &[u8]) -> Option<Self> {
        let mut key = [0; 16];
        (base::hex::decode(digits, &mut key) == Ok(16)).then_some(Self(key))
    }

    /// The round keys of one direction: LoRaWAN almost only enciphers, so the other half is not worth its time.
    fn cipher(&self) -> Aes128Enc {
        Aes128Enc::new(GenericArray::from_slice(&self.0))
    }

    /// One block, enciphered.
    pub(crate) fn encrypt(&self, mut block: [u8; 16]) -> [u8; 16] {
        self.cipher().encrypt_block(GenericArray::from_mut_slice(&mut block));
        block
    }

    /// Enciphers whole blocks, each by itself.
    pub(crate) fn encrypt_blocks(&self, bytes: &mut [u8]) {
        let cipher = self.cipher();
        bytes.chunks_exact_mut(16).for_each(|block| cipher.encrypt_block(GenericArray::from_mut_slice(block)));
    }

    /// Deciphers whole blocks, each by itself.
    pub(crate) fn decrypt_blocks(&self, bytes: &mut [u8]) {
        let cipher = Aes128Dec::new(GenericArray::from_slice(&self.0));
        bytes.chunks_exact_mut(16).for_each(|block| cipher.decrypt_block(GenericArray::from_mut_slice(block)));
    }

    /// AES-CMAC (RFC 4493) over the parts in order.
    pub(crate) fn cmac(&self, parts: [&[u8]; 2]) -> [u8; 16] {
        let mut mac = <Cmac<Aes128Enc> as KeyInit>::new(GenericArray::from_slice(&self.0));
        mac.update(parts[0]);
        mac.update(parts[1]);
        mac.finalize().into_bytes().into()
    }

    /// The first four bytes of the CMAC: LoRaWAN's MIC.
    pub(crate) fn mic(&self, parts: [&[u8]; 2]) -> [u8; 4] {
        let [a, b, c, d, ..] = self.cmac(parts);
        [a, b, c, d]
    }
}

impl fmt::Debug for AesKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("AesKey(..)")
    }
}

/// The block that both B0 and Ai are made from.
fn block(first: u8, direction: Direction, dev_addr: DevAddr, fcnt: u32, last: u8) -> [u8; 16] {
    let mut out = [0; 16];
    out[0] = first;
    out[5] = direction as u8;
    out[6..10].copy_from_slice(&dev_addr.to_wire());
    out[10..14].copy_from_slice(&fcnt.to_le_bytes());
    out[15] = last;
    out
}

/// The MIC of a data frame, over everything before it (L2 §4.4).
pub(crate) fn data_mic(key: &AesKey, direction: Direction, dev_addr: DevAddr, fcnt: u32, message: &[u8]) -> [u8; 4] {
    debug_assert!(message.len() <= 255, "B0 holds the length in one byte");
    key.mic([&block(0x49, direction, dev_addr, fcnt, message.len() as u8), message])
}

/// Blocks ciphered together, so that the processor's AES units overlap them.
const BATCH: usize = 8;

/// Ciphers or deciphers an FRMPayload in place: the same operation (L2 §4.3.3.1).
///
/// # Panics
/// If `bytes` is longer than 255 blocks, which no frame can hold.
pub fn crypt_payload(key: &AesKey, dev_addr: DevAddr, fcnt: u32, direction: Direction, bytes: &mut [u8]) {
    assert!(bytes.len() <= 255 * 16, "the block counter is one byte");
    if bytes.is_empty() {
        return;
    }
    let cipher = key.cipher();
    let first = block(0x01, direction, dev_addr, fcnt, 1);
    for (batch, chunk) in bytes.chunks_mut(16 * BATCH).enumerate() {
        let mut stream = [GenericArray::from(first); BATCH];
        let stream = &mut stream[..chunk.len().div_ceil(16)];
        for (index, block) in stream.iter_mut().enumerate() {
            block[15] = (batch * BATCH + index + 1) as u8;
        }
        cipher.encrypt_blocks(stream);
        for (bytes, stream) in chunk.chunks_mut(16).zip(stream) {
            bytes.iter_mut().zip(stream.iter()).for_each(|(byte, key)| *byte ^= key);
        }
    }
}
