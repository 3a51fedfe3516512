//! The command line of `trunkline-control`.

use clap::Parser;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Stores what tenants configure, serves the API and the console, and keeps the dataplane in step.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "trunkline-control",
    version,
    after_help = "Examples:\n  trunkline-control --data-dir /var/lib/trunkline/control\n  \
        trunkline-control --data-dir /srv/t --listen [::]:443 --tls-cert /etc/t/cert.pem --tls-key /etc/t/key.pem"
)]
pub struct Options {
    /// Where the store, its key file, the certificate and the operator's key are; made if it is not there
    #[arg(long, env = "TRUNKLINE_CONTROL_DATA_DIR", value_name = "DIR")]
    pub data_dir: PathBuf,

    /// Address of the API and the console
    #[arg(long, env = "TRUNKLINE_CONTROL_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,

    /// Certificate chain (PEM) for the API; without it plain HTTP is served, on loopback only
    #[arg(long, env = "TRUNKLINE_CONTROL_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// Key (PEM) of that certificate
    #[arg(long, env = "TRUNKLINE_CONTROL_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// Serve plain HTTP on any address: something in front of it ends TLS
    #[arg(long, env = "TRUNKLINE_CONTROL_PLAIN")]
    pub plain: bool,

    /// The dataplane's control socket; DIR/dataplane.sock if absent
    #[arg(long, visible_alias = "dataplane-socket", env = "TRUNKLINE_CONTROL_SOCKET", value_name = "PATH")]
    pub control_socket: Option<PathBuf>,

    /// Where applications open streams, as shown with each stream
    #[arg(long, env = "TRUNKLINE_STREAM_URL", value_name = "URL", default_value = "wss://localhost:8443")]
    pub stream_url: String,

    /// How long a write waits to be in force before it answers that it is pending, in milliseconds
    #[arg(long, env = "TRUNKLINE_CONTROL_PATIENCE_MS", value_name = "MS", default_value = "2000")]
    pub patience_ms: u64,

    /// Connections that the API and the console serve at a time; further ones wait
    #[arg(long, env = "TRUNKLINE_CONTROL_CONNECTIONS_MAX", value_name = "COUNT", default_value = "1024",
        value_parser = clap::value_parser!(u32).range(1..))]
    pub connections_max: u32,

    /// How long the head of a request may take, and its body but an import's, in seconds; also how long a connection
    /// is kept without any
    #[arg(long, env = "TRUNKLINE_CONTROL_REQUEST_TIMEOUT_S", value_name = "SECONDS", default_value = "30",
        value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub request_timeout_s: u64,

    /// Make another operator's API key and write it to DIR/operator.key
    #[arg(long)]
    pub new_operator_key: bool,

    /// How it logs
    #[command(flatten)]
    pub log: logs::Options,
}

impl Options {
    /// Where the dataplane's control socket is.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.control_socket.clone().unwrap_or_else(|| self.data_dir.join("dataplane.sock"))
    }

    /// The host by which applications reach the streams.
    #[must_use]
    pub fn stream_host(&self) -> Option<String> {
        let url: axum::http::Uri = self.stream_url.parse().ok()?;
        url.host().map(|host| host.trim_matches(['[', ']']).to_owned())
    }

    /// Whether what is asked for would send API keys over a network in the clear.
    #[must_use]
    pub fn is_exposed(&self) -> bool {
        self.tls_cert.is_none() && !self.plain && !self.listen.ip().is_loopback()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Options, String> {
        let all = ["trunkline-control", "--data-dir", "/d"].iter().chain(arguments);
        Options::try_parse_from(all).map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_are_safe() {
        let options = parse(&[]).unwrap();
        assert!(options.listen.ip().is_loopback() && !options.is_exposed());
        assert_eq!(options.socket(), PathBuf::from("/d/dataplane.sock"));
        assert_eq!(options.stream_host().as_deref(), Some("localhost"));
        let host = |url| parse(&["--stream-url", url]).unwrap().stream_host();
        assert_eq!(host("wss://streams.example:8443").as_deref(), Some("streams.example"));
        assert_eq!(host("wss://[2001:db8::1]:8443").as_deref(), Some("2001:db8::1"));
        assert!(parse(&["--listen", "0.0.0.0:80"]).unwrap().is_exposed());
        assert!(!parse(&["--listen", "0.0.0.0:80", "--plain"]).unwrap().is_exposed());
        assert!(!parse(&["--listen", "0.0.0.0:80", "--tls-cert", "c", "--tls-key", "k"]).unwrap().is_exposed());
    }

    #[test]
    fn half_a_pair_is_refused() {
        assert!(parse(&["--tls-cert", "c"]).unwrap_err().contains("--tls-key"));
        assert_eq!(parse(&["--dataplane-socket", "/s"]).unwrap().socket(), PathBuf::from("/s"));
    }
}
