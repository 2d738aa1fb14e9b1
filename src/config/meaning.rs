//! Meaning: from what was written to the checked [`Config`], with every problem noted on the way.
//!
//! Reading never stops at a problem. A value that is wrong leaves its default behind, which nobody sees: the
//! configuration comes out only where no problem was noted.

use std::fs;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::uri::Authority;
use ipnet::IpNet;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use toml::de::{DeTable, DeValue};
use tracing::Level;
use zeroize::Zeroizing;

use super::problems::{Notes, Origin, Place, Problems};
use super::values;
use super::written::{self, Entry};
use super::{Address, BoxHosts, Config, Listen, Log, LogFormat, Proxy, Server, Upstream};
use crate::app::{App, Apps};
use crate::host::HostList;
use crate::network::Networks;

use self::identities::Identities;
use self::reading::Text;
use self::secrets::Surroundings;

mod apps;
mod identities;
mod reading;
mod secrets;

/// What flags and their environment variables say; it wins over the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--listen`: the only address for callers.
    pub listen: Option<String>,
    /// `--admin`: the only address for operators.
    pub admin: Option<String>,
    /// `--host`, any number: in place of `[listen] hosts`.
    pub hosts: Vec<String>,
}

/// Reads a file. Relative paths in it start at its folder. `env` gives environment variables.
pub fn from_file(
    path: &Path,
    overrides: &Overrides,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, Problems> {
    match fs::read_to_string(path).map(Zeroizing::new) {
        Ok(text) => from_text(&text, path, overrides, env),
        Err(error) => {
            let mut notes = Notes::new(path, "");
            notes.problem(&Origin::unwritten(""), format_args!("the configuration file cannot be read: {error}"));
            notes.conclude().and_then(|warnings| assemble_nothing(warnings))
        }
    }
}

/// Reads the text of a file of this name.
pub fn from_text(
    text: &str,
    name: &Path,
    overrides: &Overrides,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, Problems> {
    todo!()
}
