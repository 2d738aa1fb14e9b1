//! Files of the configuration: who may read its secrets, when its certificates end, whether its state and its audit log can be
//! kept.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use rustix::fs::{Access, access};
use rustix::process::geteuid;

use super::findings::{About, Row};
use crate::config::{Config, ProxyCertificate};
use crate::net::file_exposure::{readable_by_all, writable_by_all};
use crate::telemetry::audit::audit_file::AuditFile;

/// The group may change the file.
const CHANGED_BY_GROUP: u32 = 0o020;
/// A certificate that ends within this time should have been renewed by now.
const SOON: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// What can be seen without the network.
pub(super) fn rows(config: &Config, now: SystemTime) -> Vec<Row> {
    let mut rows = secret_files(config);
    rows.extend(certificates(config, now));
    rows.extend(config.log.audit.as_deref().map(audit_log));
    rows
}

/// One row where all is well, else one for each file that its group may change. Files that every user may read or change are
/// among the configuration's warnings.
fn secret_files(config: &Config) -> Vec<Row> {
    let files: Vec<&Path> = config.secret_files.iter().map(AsRef::as_ref).collect();
    let about = About::new("files", "secret files");
    let open: Vec<Row> = files
        .iter()
        .filter_map(|file| {
            let mode = mode(file).map(|mode| mode & 0o777).filter(|mode| mode & CHANGED_BY_GROUP != 0)?;
            let path = file.display();
            let what = format!("{path}: its group may change it (mode {mode:04o})");
            Some(about.warning(what, format!("chmod 0600 {path}")))
        })
        .collect();
    let is_for_all = |file: &&Path| readable_by_all(file).is_some() || writable_by_all(file).is_some();
    if files.is_empty() || !open.is_empty() || files.iter().any(is_for_all) {
        return open;
    }
    let has_group = files.iter().any(|file| mode(file).is_some_and(|mode| mode & 0o040 != 0));
    let owner = match (files.len(), has_group) {
        (1, false) => "its owner alone",
        (_, false) => "their owner alone",
        (1, true) => "its owner and group",
        (_, true) => "their owner and group",
    };
    // Otherwise all looks well, and the service does not start.
    let as_root = match geteuid().is_root() && files.iter().any(|file| is_for_root(file)) {
        true => "; read as root: a service of another user needs a credential or a group",
        false => "",
    };
    vec![about.ok(format!("{}, for {owner}{as_root}", files.len()))]
}

fn mode(file: &Path) -> Option<u32> {
    std::fs::metadata(file).ok().map(|found| found.permissions().mode())
}

/// Whether root alone may read the file.
fn is_for_root(file: &Path) -> bool {
    std::fs::metadata(file).is_ok_and(|found| found.uid() == 0 && found.permissions().mode() & 0o044 == 0)
}

/// When each certificate ends. One that has ended already is among the configuration's warnings.
fn certificates(config: &Config, now: SystemTime) -> Vec<Row> {
    let now = Timestamp::try_from(now).unwrap_or_default();
    let certificates = config.certificates();
    let rows = certificates.iter().filter_map(|(key, tls)| {
        let ends = Timestamp::from_second(tls.ends()).ok()?;
        let left = u64::try_from(ends.as_second() - now.as_second()).ok().map(Duration::from_secs)?;
        let (about, day) = (About::new("certificate", *key), ends.strftime("%Y-%m-%d").to_string());
        let days = left.as_secs() / (24 * 60 * 60);
        Some(if left < SOON {
            about.warning(
                format!("it ends in {days} days, on {day}"),
                "renew it; a gateway that runs takes the new file over by itself",
            )
        } else {
            about.ok(format!("until {day}"))
        })
    });
    rows.collect()
}

/// Whether a start could open the audit log. The file is not made.
fn audit_log(file: &Path) -> Row {
    let about = About::new("audit", "audit log");
    let path = file.display();
    let advice = "set [log] audit to a file in a folder that exists and that the gateway's user may write to, and check as that user";
    let denied = |what: &Path, access_to| {
        let denied = access(what, access_to).err().map(|error| std::io::Error::from(error).kind());
        denied.map(|kind| format!("this user may not write to {}: {kind}", what.display()))
    };
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let cause = if file.is_dir() {
        Some(format!("{path} is a folder"))
    } else if file.exists() {
        denied(file, Access::READ_OK | Access::WRITE_OK)
            .or_else(|| AuditFile::judge(file).err().map(|error| format!("{path}: {error}")))
    } else if !folder.is_dir() {
        Some(format!("the folder {} does not exist", folder.display()))
    } else {
        denied(folder, Access::WRITE_OK | Access::EXEC_OK)
    };
    match cause {
        Some(cause) => about.failed(cause, advice),
        None if file.exists() => about.ok(path.to_string()),
        None => about.ok(format!("{path}, made at the start")),
    }
}

/// Whether counts, and the forward proxy's own CA, can be kept. The folder is not made.
pub(super) fn state(config: &Config) -> Row {
    let dir = &config.state.dir;
    let about = About::new("state", "state folder");
    let needed = !config.budgets.is_empty()
        || config.forward_proxy.as_ref().is_some_and(|proxy| proxy.certificate == ProxyCertificate::Own);
    // The next folder above that is there, in which the rest would be made.
    let there = dir.ancestors().map(|path| if path.as_os_str().is_empty() { Path::new(".") } else { path });
    let there = there.into_iter().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let cause = if !there.is_dir() {
        format!("{} is no folder", there.display())
    } else if let Err(error) = access(there, Access::WRITE_OK | Access::EXEC_OK) {
        let error = std::io::Error::from(error).kind();
        format!("this user may not write to {}: {error}", there.display())
    } else {
        let new = if there == dir { "" } else { ", made at the start" };
        return about.ok(format!("{}{new}", dir.display()));
    };
    let advice = "set [state] dir to a folder that the gateway's user may write to, and check as that user";
    if needed {
        about.failed(cause, advice)
    } else {
        about.warning(format!("{cause}, so calls are counted only until a restart"), advice)
    }
}
