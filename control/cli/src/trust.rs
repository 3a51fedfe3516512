//! Which certificates are believed: the public ones, a given one, that of the data directory, or, if asked for, any.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::sync::Arc;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// What was said about trust.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trust {
    /// PEM of certificates that are believed beside, for the API instead of, the public ones.
    pub(crate) authorities: Option<Vec<u8>>,
    /// Whether anything is believed.
    pub(crate) insecure: bool,
}

impl Trust {
    fn provider() -> Arc<CryptoProvider> {
        Arc::new(aws_lc_rs::default_provider())
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, String> {
        let Some(pem) = &self.authorities else { return Ok(Vec::new()) };
        CertificateDer::pem_slice_iter(pem)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| format!("the certificates to trust cannot be read: {error}"))
    }

    /// For requests.
    pub(crate) fn for_requests(&self) -> Result<TlsConfig, String> {
        let own: Vec<_> = self.certificates()?.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
        let roots = if own.is_empty() { RootCerts::WebPki } else { RootCerts::new_with_certs(&own) };
        Ok(TlsConfig::builder()
            .unversioned_rustls_crypto_provider(Self::provider())
            .root_certs(roots)
            .disable_verification(self.insecure)
            .build())
    }

    /// For streams.
    pub(crate) fn for_streams(&self) -> Result<Arc<ClientConfig>, String> {
        let provider = Self::provider();
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        if self.insecure {
            let anything = Arc::new(Anything(provider));
            return Ok(Arc::new(builder.dangerous().with_custom_certificate_verifier(anything).with_no_client_auth()));
        }
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        for certificate in self.certificates()? {
            roots.add(certificate).map_err(|error| format!("a certificate to trust cannot be used: {error}"))?;
        }
        Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
    }
}

/// Believes every certificate; that the peer holds its key is still checked.
#[derive(Debug)]
struct Anything(Arc<CryptoProvider>);

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
