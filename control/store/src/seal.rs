//! Secrets at rest: AES-256-GCM (NIST SP 800-38D) under a key that lies in a file beside the store.
//!
//! ```text
//!   | nonce 12, random | ciphertext | tag 16 |       bound to what it belongs to (associated data)
//! ```
//! Random nonces of 96 bits are good for 2^32 seals under one key; a store of 10 million devices is far from it.

use crate::error::{Error, OpenError};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{digest, rand};
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use zeroize::Zeroizing;

/// Seals and opens.
pub(crate) struct Sealer(LessSafeKey);

impl Sealer {
    /// The sealer whose key lies in `path`, which is made with mode 0600 if `may_create` and it is absent.
    pub(crate) fn open(path: &Path, may_create: bool) -> Result<Self, OpenError> {
        let shown = path.display();
        let text = match fs::read_to_string(path) {
            Ok(text) => {
                let mode = fs::metadata(path).map_or(0, |about| about.permissions().mode());
                if mode & 0o077 != 0 {
                    return Err(OpenError(format!("the key file {shown} is open to others; chmod 600 it")));
                }
                Zeroizing::new(text)
            }
            Err(error) if error.kind() == ErrorKind::NotFound && may_create => create(path)?,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(OpenError(format!(
                    "the key file {shown} is missing; without it the secrets in the store cannot be read"
                )));
            }
            Err(error) => return Err(OpenError(format!("cannot read the key file {shown}: {error}"))),
        };
        let mut key = Zeroizing::new([0u8; 32]);
        match base::hex::decode(text.trim_end().as_bytes(), &mut *key) {
            Ok(32) => {}
            _ => return Err(OpenError(format!("the key file {shown} must hold 64 hexadecimal digits"))),
        }
        Ok(Self::new(&key))
    }

    pub(crate) fn new(key: &[u8; 32]) -> Self {
        Self(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("a key of 32 bytes")))
    }

    /// Seals `plain` for `context`; it opens for the same context only.
    pub(crate) fn seal(&self, context: &[u8], plain: &[u8]) -> Vec<u8> {
        let nonce = random::<NONCE_LEN>();
        let mut out = Vec::with_capacity(NONCE_LEN + plain.len() + AES_256_GCM.tag_len());
        out.extend_from_slice(&nonce);
        out.extend_from_slice(plain);
        let tag = self
            .0
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(context), &mut out[NONCE_LEN..])
            .expect("secrets are far shorter than the cipher's limit");
        out.extend_from_slice(tag.as_ref());
        out
    }

    /// Opens what was sealed for `context`.
    pub(crate) fn open_sealed(&self, context: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        let broken = || Error::Broken("a secret cannot be opened: it was altered, or sealed with another key".into());
        let (nonce, rest) = sealed.split_at_checked(NONCE_LEN).ok_or_else(broken)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| broken())?;
        let mut rest = Zeroizing::new(rest.to_vec());
        let count = self.0.open_in_place(nonce, Aad::from(context), &mut rest).map_err(|_| broken())?.len();
        rest.truncate(count);
        Ok(rest)
    }
}

/// Random bytes that nobody can guess.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut out = [0; N];
    rand::fill(&mut out).expect("the kernel's random numbers");
    out
}

/// SHA-256.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest::digest(&digest::SHA256, bytes).as_ref().try_into().expect("32 bytes")
}

fn create(path: &Path) -> Result<Zeroizing<String>, OpenError> {
    let failed = |error: std::io::Error| OpenError(format!("cannot make the key file {}: {error}", path.display()));
    let key = Zeroizing::new(random::<32>());
    let text = Zeroizing::new(key.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n");
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
    }
    Ok(text)
}
