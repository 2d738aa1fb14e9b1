//! Where a configuration comes from, so that it can be read again while the gateway runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::sections::{self, Overrides};
use super::{Config, Problems};
use crate::net::file_fingerprint::FileRead;

/// Looks up environment variables.
pub type Variables = Box<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// A file or the environment, with the flags that override it.
pub struct Source {
    written: Written,
    overrides: Overrides,
    variables: Variables,
}

enum Written {
    File(PathBuf),
    /// The content of a file with this name, which need not exist.
    Text(PathBuf, Text),
    Environment,
}

/// The text of a configuration file, without the secrets and certificates that it names; zeroed when dropped.
#[derive(Clone)]
pub struct Text {
    text: Arc<Zeroizing<String>>,
    file: Option<FileRead>,
}

impl Text {
    /// The file from which it was read, if any.
    pub(crate) fn file(&self) -> Option<&FileRead> {
        self.file.as_ref()
    }
}

impl Source {
    /// A file. Paths in it are relative to its folder.
    pub fn file(path: PathBuf, overrides: Overrides, variables: Variables) -> Self {
        Self { written: Written::File(path), overrides, variables }
    }

    /// A text that does not change. Paths in it are relative to the folder of `name`.
    pub fn text(text: String, name: PathBuf, overrides: Overrides, variables: Variables) -> Self {
        let text = Text { text: Arc::new(Zeroizing::new(text)), file: None };
        Self { written: Written::Text(name, text), overrides, variables }
    }

    /// One identity from environment variables, everything else at its default.
    pub fn environment(overrides: Overrides, variables: Variables) -> Self {
        Self { written: Written::Environment, overrides, variables }
    }

    /// The configuration file, if there is one.
    pub fn path(&self) -> Option<&Path> {
        match &self.written {
            Written::File(path) => Some(path),
            Written::Text(..) | Written::Environment => None,
        }
    }

    /// Reads the configuration and all files that it names. The text is for [`Source::read_files_of`].
    ///
    /// # Errors
    /// Every problem of it.
    pub fn read(&self) -> Result<(Config, Text), Problems> {
        let text = match &self.written {
            Written::File(path) => {
                let file = FileRead::now(path);
                match sections::read(path) {
                    Ok(text) => Text { text: Arc::new(text), file: Some(file) },
                    Err(problems) => return Err(problems.with_file(file)),
                }
            }
            Written::Text(_, text) => text.clone(),
            Written::Environment => Text { text: Arc::default(), file: None },
        };
        match self.read_files_of(&text) {
            Ok(config) => Ok((config, text)),
            Err(problems) => Err(match text.file {
                Some(file) => problems.with_file(file),
                None => problems,
            }),
        }
    }

    /// Reads again the files named in a configuration that was read before.
    ///
    /// # Errors
    /// Every problem of it.
    pub fn read_files_of(&self, text: &Text) -> Result<Config, Problems> {
        let from_text =
            |name: &Path| sections::from_text(&text.text, name, &self.overrides, &*self.variables);
        match &self.written {
            Written::File(path) => from_text(path),
            Written::Text(name, _) => from_text(name),
            Written::Environment => sections::from_environment(&self.overrides, &*self.variables),
        }
    }
}
