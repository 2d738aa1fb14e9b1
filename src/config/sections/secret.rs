//! Secrets and other texts that may be in the environment or in a file of their own.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use toml::de::DeValue;
use zeroize::Zeroizing;

use super::super::diagnostics::{Location, Notes, Position};
use super::super::raw::{Entry, Reference, Table, kind};
use super::super::values;
use crate::net::hidden_characters::{BYTE_ORDER_MARK, without_byte_order_mark};
use crate::net::secret::Secret;
use crate::net::secret_file;
use crate::routing::app_key::AppKeys;

/// Where references of a configuration are resolved.
pub(super) struct Surroundings<'a> {
    /// The configuration file; `None`: there is none.
    pub(super) file: Option<&'a Path>,
    /// Its folder, to which paths are relative.
    pub(super) folder: &'a Path,
    pub(super) variable: &'a dyn Fn(&str) -> Option<String>,
    /// A secret that cannot be read is no problem: another text stands for it, and it is noted.
    pub(super) allows_unread: bool,
}

/// A text, given directly or by reference.
pub(super) struct Referred {
    pub(super) text: Zeroizing<String>,
    /// Whether it is written in the configuration itself, so that messages may show it.
    pub(super) is_literal: bool,
    /// Whether the reference could not be read, so that another text stands for it.
    pub(super) is_unread: bool,
}

/// The longest secret in bytes. A device or a wrong file may be endless.
const LONGEST: usize = 64 * 1024;

/// A shorter key can be guessed.
const SHORTEST_KEY: usize = 16;

/// The folder of a service's credentials (systemd.exec(5), "Credentials").
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

const FORMS: &str = "{ env = \"NAME\" } or { file = \"PATH\" }";

/// Reads a secret. No message shows the value, not even a wrong one.
pub(super) fn secret(entry: &Entry<'_>, around: &Surroundings<'_>, notes: &mut Notes<'_>) -> Option<Secret> {
    let found = resolved(entry, around, notes, around.allows_unread)?;
    if found.is_literal {
        warn_of_literal(&entry.location, around, notes);
    }
    notes.take(&entry.location, values::credential(&found.text))?;
    Some(Secret::new(found.text.to_string()))
}

/// Warns of a secret that the configuration file holds itself.
pub(super) fn warn_of_literal(location: &Location, around: &Surroundings<'_>, notes: &mut Notes<'_>) {
    notes.warning(
        location,
        format_args!("the secret is in the configuration file itself; move it out and write {FORMS}"),
    );
    if let Some(file) = around.file {
        notes.secret_file(location, file);
    }
}

/// Reads one secret or a list of secrets. `nobody`: the effect of an empty list.
pub(super) fn keys(
    entry: &Entry<'_>,
    nobody: &str,
    around: &Surroundings<'_>,
    notes: &mut Notes<'_>,
) -> AppKeys {
    let mut keys = Vec::new();
    match entry.value {
        DeValue::Array(items) => {
            if items.is_empty() {
                notes.problem(
                    &entry.location,
                    format_args!("an empty list: {nobody}; leave the key out if no key is needed"),
                );
            }
            for item in items {
                let location =
                    Location { position: Position::At(item.span().start), key: entry.location.key.clone() };
                keys.extend(secret(&Entry { location, value: item.get_ref() }, around, notes));
            }
        }
        _ => keys.extend(secret(entry, around, notes)),
    }
    let keys = AppKeys::new(keys);
    if keys.shortest().is_some_and(|length| length < SHORTEST_KEY) {
        notes.warning(
            &entry.location,
            format_args!("a key of fewer than {SHORTEST_KEY} characters can be guessed; make one with: openssl rand -hex 32"),
        );
    }
    keys
}

/// Reads a string, or the text to which `{ env = … }` or `{ file = … }` refers.
pub(super) fn referred(
    entry: &Entry<'_>,
    around: &Surroundings<'_>,
    notes: &mut Notes<'_>,
) -> Option<Referred> {
    resolved(entry, around, notes, false)
}

/// As [`referred`], but where [`Surroundings::allows_unread`] says so, a text that cannot be read is no problem.
pub(super) fn referred_if_read(
    entry: &Entry<'_>,
    around: &Surroundings<'_>,
    notes: &mut Notes<'_>,
) -> Option<Referred> {
    resolved(entry, around, notes, around.allows_unread)
}

/// Why a reference leads to no text.
enum Unresolved {
    /// What it names does not exist, or may not be read by this user.
    Unread(String),
    /// The reference or the text is wrong, whoever reads it.
    Wrong(String),
}

fn resolved(
    entry: &Entry<'_>,
    around: &Surroundings<'_>,
    notes: &mut Notes<'_>,
    allows_unread: bool,
) -> Option<Referred> {
    match entry.value {
        DeValue::String(text) => {
            Some(Referred { text: Zeroizing::new(text.to_string()), is_literal: true, is_unread: false })
        }
        DeValue::Table(table) => {
            let reference = Reference::of(table, &entry.location.key, notes);
            let (position, text) = match (reference.env, reference.file) {
                (Some(env), None) => (env.location.clone(), of_variable(&env, around)),
                (None, Some(file)) => (file.location.clone(), of_file(&file, around, notes)),
                // Other keys have already been reported as unknown.
                (None, None) if !table.is_empty() => return None,
                _ => (
                    entry.location.clone(),
                    Err(Unresolved::Wrong(format!("expected exactly one of {FORMS}"))),
                ),
            };
            let is_unread = allows_unread && matches!(text, Err(Unresolved::Unread(_)));
            let text = match text {
                Err(Unresolved::Unread(why)) if allows_unread => {
                    // A different one for each, since apps with the same key would be one caller's. It is also a valid
                    // URL of Redis.
                    let stand_in = format!("redis://unread-{}", notes.unread(&entry.location, &why));
                    Ok(Zeroizing::new(stand_in))
                }
                Err(Unresolved::Unread(why) | Unresolved::Wrong(why)) => Err(why),
                Ok(text) => Ok(text),
            };
            Some(Referred { text: notes.take(&position, text)?, is_literal: false, is_unread })
        }
        other => {
            notes.problem(&entry.location, format_args!("expected a string, {FORMS}, found {}", kind(other)));
            None
        }
    }
}

fn of_variable(entry: &Entry<'_>, around: &Surroundings<'_>) -> Result<Zeroizing<String>, Unresolved> {
    let name = string(entry).map_err(Unresolved::Wrong)?;
    // Not shown unless it is a variable's name: it may be the secret itself.
    let is_name = !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !is_name {
        return Err(Unresolved::Wrong(
            "expected the bare name of an environment variable such as \"BOX_CLIENT_SECRET\"".to_owned(),
        ));
    }
    match variable(name, around.variable) {
        None => {
            Err(Unresolved::Unread(format!("the environment variable {name} is not set, or is not UTF-8")))
        }
        Some(text) if text.is_empty() => {
            Err(Unresolved::Wrong(format!("the environment variable {name} is empty")))
        }
        Some(text) => Ok(text),
    }
}

/// The value of an environment variable, without the byte order mark that it has if it was filled from some files.
pub(super) fn variable(name: &str, variable: &dyn Fn(&str) -> Option<String>) -> Option<Zeroizing<String>> {
    let text = Zeroizing::new(variable(name)?);
    Some(match text.strip_prefix(BYTE_ORDER_MARK) {
        Some(rest) => Zeroizing::new(rest.to_owned()),
        None => text,
    })
}

fn of_file(
    entry: &Entry<'_>,
    around: &Surroundings<'_>,
    notes: &mut Notes<'_>,
) -> Result<Zeroizing<String>, Unresolved> {
    let written = Path::new(string(entry).map_err(Unresolved::Wrong)?);
    let beside = around.folder.join(written);
    // Before it is read, so that no change is missed.
    notes.file(&beside);
    let read = secret_file::read(&beside, LONGEST + 1);
    let credential = match &read {
        // The file may be there for root alone, which passes it on as a credential.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => {
            credential(written, around)
        }
        _ => None,
    };
    let (path, read) = match (credential, read) {
        (Some(credential), Err(error)) => {
            notes.file(&credential);
            if changed_after(&beside, &credential) {
                notes.warning(
                    &entry.location,
                    format_args!(
                        "{} has changed, and boxgate may not read it: it goes on with the copy that systemd made of it at the start; systemctl restart boxgate takes the new one",
                        beside.display()
                    ),
                );
            }
            let read = secret_file::read(&credential, LONGEST + 1).map_err(|why| {
                let (first, second) = (beside.display(), credential.display());
                Unresolved::Unread(format!(
                    "{first} cannot be read: {error}; nor can {second} of ${CREDENTIALS}: {why}"
                ))
            });
            (credential, read)
        }
        (_, read) => {
            let shown = beside.display();
            let read = read.map_err(|error| Unresolved::Unread(format!("{shown} cannot be read: {error}")));
            (beside, read)
        }
    };
    notes.secret_file(&entry.location, &path);
    notes.judge_writable(&entry.location, &path);
    let bytes = read?;
    let shown = path.display();
    let wrong = |what: &str| Unresolved::Wrong(format!("{shown} {what}"));
    if bytes.len() > LONGEST {
        return Err(wrong("is larger than 64 KiB; it must hold only the secret"));
    }
    let text = without_byte_order_mark(&bytes);
    let text = std::str::from_utf8(text).map_err(|_| wrong("is not UTF-8 text"))?;
    // Editors and `echo` end a file with a line break. One is removed; more are an error.
    let text = text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
    if text.is_empty() {
        return Err(wrong("is empty"));
    }
    Ok(Zeroizing::new(text.to_owned()))
}

/// Where systemd puts a credential of this name for the service; `None`: the path is absolute, or there are no credentials.
fn credential(written: &Path, around: &Surroundings<'_>) -> Option<PathBuf> {
    let folder = PathBuf::from((around.variable)(CREDENTIALS)?);
    (written.is_relative() && folder.is_absolute()).then(|| folder.join(written))
}

/// Whether the file was written, renamed or given other rights after systemd made this credential.
fn changed_after(file: &Path, credential: &Path) -> bool {
    let changed = |path: &Path| fs::metadata(path).map(|found| (found.ctime(), found.ctime_nsec()));
    matches!((changed(file), changed(credential)), (Ok(file), Ok(credential)) if file > credential)
}

fn string<'d>(entry: &Entry<'d>) -> Result<&'d str, String> {
    match entry.value {
        DeValue::String(text) => Ok(text),
        other => Err(format!("expected a string, found {}", kind(other))),
    }
}
