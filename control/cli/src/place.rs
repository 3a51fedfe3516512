//! Where things are: the data directory and what is in it.
//!
//! ```text
//! DATA_DIR/
//!   control/      the control plane's: store, key file, operator.key, cert.pem and key.pem of the streams' listener
//!   dataplane/    the dataplane's: its stored plan and sessions
//!   control.sock  how the two speak
//! ```

use std::path::{Path, PathBuf};

/// The data directory and the files in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place(PathBuf);

impl Place {
    /// The named one, or the default: `.data` where the command is run if that is there, the system's for root, the
    /// user's for others.
    pub(crate) fn find(named: Option<&Path>) -> Self {
        if let Some(named) = named {
            return Self(named.to_owned());
        }
        let local = Path::new(".data");
        if local.is_dir() {
            return Self(local.to_owned());
        }
        if rustix::process::geteuid().is_root() {
            return Self("/var/lib/trunkline".into());
        }
        let home = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let data = home("XDG_DATA_HOME").or_else(|| home("HOME").map(|home| home.join(".local/share")));
        Self(data.unwrap_or_else(|| ".".into()).join("trunkline"))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn control(&self) -> PathBuf {
        self.0.join("control")
    }

    pub(crate) fn dataplane(&self) -> PathBuf {
        self.0.join("dataplane")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.0.join("control.sock")
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.control().join("cert.pem")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.control().join("key.pem")
    }

    pub(crate) fn operator_key(&self) -> PathBuf {
        self.control().join("operator.key")
    }

    /// The operator's API key, if it can be read: of a whole data directory or of the control plane's alone.
    pub(crate) fn api_key(&self) -> Option<String> {
        let files = [self.operator_key(), self.0.join("operator.key")];
        let text = files.iter().find_map(|file| std::fs::read_to_string(file).ok())?;
        Some(text.trim().to_owned()).filter(|key| !key.is_empty())
    }

    /// The certificate of the streams' listener, likewise.
    pub(crate) fn certificate_text(&self) -> Option<Vec<u8>> {
        [self.certificate(), self.0.join("cert.pem")].iter().find_map(|file| std::fs::read(file).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_in_either_layout() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::find(Some(directory.path()));
        assert_eq!(place.api_key(), None);
        std::fs::write(directory.path().join("operator.key"), "one\n").unwrap();
        assert_eq!(place.api_key().as_deref(), Some("one"));
        std::fs::create_dir(place.control()).unwrap();
        std::fs::write(place.operator_key(), " two \n").unwrap();
        assert_eq!(place.api_key().as_deref(), Some("two"));
    }
}
