//! The certificate of the WSS listener: read, checked against its key, made into a rustls configuration.

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::Path;
use std::sync::Arc;

/// A configuration for TLS 1.2 and 1.3 that speaks these protocols (ALPN), from PEM files.
///
/// # Errors
/// One line that names the file and what is wrong with it.
pub(crate) fn server_config(certificate: &Path, key: &Path, protocols: &[&str]) -> Result<Arc<ServerConfig>, String> {
    let chain: Vec<_> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|error| format!("certificate {}: {error}", certificate.display()))?;
    if chain.is_empty() {
        return Err(format!("certificate {}: holds no certificate", certificate.display()));
    }
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| format!("key {}: {error}", key.display()))?;
    let provider: Arc<CryptoProvider> = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                format!("certificate {} does not match key {}", certificate.display(), key.display())
            }
            other => format!("certificate {}: {other}", certificate.display()),
        })?;
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    Ok(Arc::new(config))
}
