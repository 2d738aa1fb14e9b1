//! `[state]`: where state is stored.

use std::path::{Path, PathBuf};

use super::super::State;
use super::super::diagnostics::Notes;
use super::super::raw::{self, Entry};
use super::super::values;
use super::reader;
use super::secret::{self, Surroundings};
use crate::net::secret::Secret;

/// Reads `[state]`.
pub(super) fn read(entry: Option<&Entry<'_>>, around: &Surroundings<'_>, notes: &mut Notes<'_>) -> State {
    let written: raw::State<'_> = raw::read(entry, notes);
    let folder = |text: &str| match text {
        "" => Err("\"\" is not a folder; leave the key out for the platform's state folder".to_owned()),
        _ if text.contains('\0') => Err(format!("{text:?}: a path cannot contain NUL")),
        _ => Ok(around.folder.join(text)),
    };
    State {
        dir: reader::parsed(written.dir.as_ref(), "the path of a folder", folder, notes)
            .unwrap_or_else(|| platform(around.variable)),
        redis: written.redis.as_ref().and_then(|entry| redis(entry, around, notes)),
        redis_prefix: reader::parsed(
            written.redis_prefix.as_ref(),
            "a text such as \"boxgate:\"",
            |text| values::redis_prefix(text).map(|()| text.to_owned()),
            notes,
        )
        .unwrap_or_else(|| "boxgate:".to_owned()),
    }
}

/// Reads `[state] redis`. Messages never show the value: a URL may contain a password.
fn redis(entry: &Entry<'_>, around: &Surroundings<'_>, notes: &mut Notes<'_>) -> Option<Secret> {
    let url = secret::secret(entry, around, notes)?;
    notes.take(&entry.location, values::redis_url(url.expose()))?;
    Some(url)
}

/// The default state folder: the one that systemd gives the service, else the user's (XDG Base Directory Specification,
/// which ignores relative paths), else the one for services.
fn platform(variable: &dyn Fn(&str) -> Option<String>) -> PathBuf {
    let absolute = |text: &str| Some(PathBuf::from(text)).filter(|path| path.is_absolute());
    let set = |name| variable(name).and_then(|text| absolute(&text));
    // Several folders of `StateDirectory=` are separated by colons.
    let given =
        variable("STATE_DIRECTORY").and_then(|all| absolute(all.split(':').next().unwrap_or_default()));
    given
        .or_else(|| Some(set("XDG_STATE_HOME")?.join("boxgate")))
        .or_else(|| Some(set("HOME")?.join(".local/state/boxgate")))
        .unwrap_or_else(|| Path::new("/var/lib/boxgate").to_owned())
}
