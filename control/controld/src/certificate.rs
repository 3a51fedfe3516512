//! Certificates: reading a pair, proving that it is one, and making a self-signed pair at first start.
//!
//! The dataplane's listener uses the pair of the data directory until the operator replaces the two files.

use crate::files;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::net::IpAddr;
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

    /// Makes a self-signed pair for this machine, also reached as `host`, unless there is one. Answers whether it did.
    pub fn make_unless_there(&self, host: Option<&str>) -> Result<bool, String> {
        let failed = |error: rcgen::Error| format!("no certificate can be made: {error}");
        let key = match (self.certificate.exists(), self.key.exists()) {
            (true, true) => return Ok(false),
            (true, false) => {
                return Err(format!("{} is there but {} is not", self.certificate.display(), self.key.display()));
            }
            // A start that was cut short between the two left the key alone: it serves.
            (false, true) => {
                let shown = self.key.display();
                let pem = std::fs::read_to_string(&self.key).map_err(|error| format!("{shown}: {error}"))?;
                KeyPair::from_pem(&pem)
                    .map_err(|error| format!("{shown}: no certificate can be made for it: {error}"))?
            }
            (false, false) => {
                let key = KeyPair::generate().map_err(failed)?;
                // The key first: a crash between the two must not leave a certificate that looks usable.
                files::write_secret(&self.key, key.serialize_pem().as_bytes())?;
                key
            }
        };
        let certificate = self_signed(&key, names(host)).map_err(failed)?;
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
fn names(host: Option<&str>) -> Vec<String> {
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
    let own = rustix::system::uname().nodename().to_string_lossy().into_owned();
    for host in [own.as_str()].into_iter().chain(host) {
        // A name that no certificate may carry is left out: the machine can still be reached by the others.
        let is_name = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
        let is_good = !host.is_empty() && (is_name || host.parse::<IpAddr>().is_ok());
        if is_good && names.iter().all(|name| name != host) {
            names.push(host.to_owned());
        }
    }
    names
}

fn self_signed(key: &KeyPair, names: Vec<String>) -> Result<String, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, "Trunkline, self-signed");
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params.self_signed(key)?.pem())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_pair_is_made_once_and_loads() {
        let directory = tempfile::tempdir().unwrap();
        let pair = Pair::of(directory.path());
        assert_eq!(pair.make_unless_there(None), Ok(true));
        let before = std::fs::read(&pair.certificate).unwrap();
        assert_eq!(pair.make_unless_there(None), Ok(false));
        assert_eq!(std::fs::read(&pair.certificate).unwrap(), before);
        assert!(pair.load().is_ok());
        // A start that was cut short left the key alone: its certificate is made by the next one.
        let key = std::fs::read(&pair.key).unwrap();
        std::fs::remove_file(&pair.certificate).unwrap();
        assert_eq!(pair.make_unless_there(None), Ok(true));
        assert_eq!(std::fs::read(&pair.key).unwrap(), key);
        assert!(pair.load().is_ok());
        for file in [&pair.certificate, &pair.key] {
            assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn a_certificate_names_the_streams_host() {
        assert!(names(Some("streams.example")).contains(&"streams.example".to_owned()));
        assert!(names(Some("2001:db8::1")).contains(&"2001:db8::1".to_owned()));
        let count = names(None).len();
        for not_new in ["localhost", "", "no name"] {
            assert_eq!(names(Some(not_new)).len(), count, "{not_new:?}");
        }
        let key = KeyPair::generate().unwrap();
        assert!(self_signed(&key, names(Some("2001:db8::1"))).is_ok());
    }

    #[test]
    fn a_bad_pair_is_explained_in_one_line() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (one, other) = (Pair::of(one.path()), Pair::of(other.path()));
        assert_eq!((one.make_unless_there(None), other.make_unless_there(None)), (Ok(true), Ok(true)));
        let said = |pair: &Pair| pair.load().expect_err("it is bad");
        let crossed = Pair { certificate: one.certificate.clone(), key: other.key.clone() };
        assert!(said(&crossed).contains("does not belong to the key"), "{}", said(&crossed));
        let swapped = Pair { certificate: one.key.clone(), key: one.certificate.clone() };
        assert!(said(&swapped).contains("holds no certificate"), "{}", said(&swapped));
        std::fs::write(&other.key, "-----BEGIN PRIVATE KEY-----\n!\n-----END PRIVATE KEY-----\n").unwrap();
        assert!(said(&other).contains("no private key can be read"), "{}", said(&other));
        std::fs::remove_file(&one.key).unwrap();
        assert!(one.make_unless_there(None).expect_err("half a pair").contains("is not"));
        std::fs::remove_file(&other.certificate).unwrap();
        assert!(other.make_unless_there(None).expect_err("no key").contains("no certificate can be made for it"));
        assert!(said(&one).lines().count() == 1);
    }
}
