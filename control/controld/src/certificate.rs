//! Certificates: reading a pair, proving that it is one, and making a self-signed pair at first start.
//!
//! The dataplane's listener uses the pair of the data directory until the operator replaces the two files.

use crate::files;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A certificate chain and its key, by their files.
#[derive(Clone, Debug)]
pub struct Pair {
    /// PEM, the leaf first.
    pub certificate: PathBuf,
    /// PEM.
    pub key: PathBuf,
}

impl Pair {
    /// The pair of a data directory.
    #[must_use]
    pub fn of(data_dir: &Path) -> Self {
        Self { certificate: data_dir.join("cert.pem"), key: data_dir.join("key.pem") }
    }

    /// Makes a self-signed pair for this machine unless there is one. Answers whether it did.
    pub fn make_unless_there(&self) -> Result<bool, String> {
        match (self.certificate.exists(), self.key.exists()) {
            (true, true) => return Ok(false),
            (false, false) => {}
            (certificate, _) => {
                let (there, missing) =
                    if certificate { (&self.certificate, &self.key) } else { (&self.key, &self.certificate) };
                return Err(format!("{} is there but {} is not", there.display(), missing.display()));
            }
        }
        let (certificate, key) =
            self_signed(names()).map_err(|error| format!("no certificate can be made: {error}"))?;
        // The key first: a crash between the two must not leave a certificate that looks usable.
        files::write_secret(&self.key, key.as_bytes())?;
        files::write_secret(&self.certificate, certificate.as_bytes())?;
        Ok(true)
    }

    /// What a TLS server needs, or one line that says what is wrong with the files.
    pub fn load(&self) -> Result<Arc<ServerConfig>, String> {
        let path = self.certificate.display();
        let chain = CertificateDer::pem_file_iter(&self.certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| format!("{path}: no certificate can be read: {error}"))?;
        if chain.is_empty() {
            return Err(format!("{path}: holds no certificate"));
        }
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|error| format!("{}: no private key can be read: {error}", self.key.display()))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map(|mut config| {
                config.alpn_protocols = vec![b"http/1.1".to_vec()];
                Arc::new(config)
            })
            .map_err(|error| match error {
                rustls::Error::InconsistentKeys(_) => {
                    format!("{path}: does not belong to the key in {}", self.key.display())
                }
                error => format!("{path}: cannot be used: {error}"),
            })
    }
}

/// Under which names this machine is reached.
fn names() -> Vec<String> {
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    // A name that no certificate may carry is left out: the machine can still be reached by the others.
    let is_name = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
    if is_name && !names.contains(&host) {
        names.push(host);
    }
    names
}

fn self_signed(names: Vec<String>) -> Result<(String, String), rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, "Trunkline, self-signed");
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_pair_is_made_once_and_loads() {
        let directory = tempfile::tempdir().unwrap();
        let pair = Pair::of(directory.path());
        assert_eq!(pair.make_unless_there(), Ok(true));
        let before = std::fs::read(&pair.certificate).unwrap();
        assert_eq!(pair.make_unless_there(), Ok(false));
        assert_eq!(std::fs::read(&pair.certificate).unwrap(), before);
        assert!(pair.load().is_ok());
        for file in [&pair.certificate, &pair.key] {
            assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn a_bad_pair_is_explained_in_one_line() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (one, other) = (Pair::of(one.path()), Pair::of(other.path()));
        assert_eq!((one.make_unless_there(), other.make_unless_there()), (Ok(true), Ok(true)));
        let said = |pair: &Pair| pair.load().expect_err("it is bad");
        let crossed = Pair { certificate: one.certificate.clone(), key: other.key.clone() };
        assert!(said(&crossed).contains("does not belong to the key"), "{}", said(&crossed));
        let swapped = Pair { certificate: one.key.clone(), key: one.certificate.clone() };
        assert!(said(&swapped).contains("holds no certificate"), "{}", said(&swapped));
        std::fs::write(&other.key, "-----BEGIN PRIVATE KEY-----\n!\n-----END PRIVATE KEY-----\n").unwrap();
        assert!(said(&other).contains("no private key can be read"), "{}", said(&other));
        std::fs::remove_file(&one.key).unwrap();
        assert!(one.make_unless_there().expect_err("half a pair").contains("is not"));
        assert!(said(&one).lines().count() == 1);
    }
}
