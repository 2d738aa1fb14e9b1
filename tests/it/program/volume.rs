//! A volume of Kubernetes.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

/// Files by name.
pub(super) type Files = BTreeMap<String, String>;

/// A volume with the files of a ConfigMap or Secret. The kubelet's atomic writer writes each generation into a folder of its own
/// and swaps one link, `..data`; what a container opens are links through it.
pub(super) struct Volume {
    folder: PathBuf,
    mode: u32,
    generation: u32,
    files: Files,
}

impl Volume {
    pub(super) fn new(folder: PathBuf, mode: u32) -> Self {
        fs::create_dir_all(&folder).unwrap();
        Self { folder, mode, generation: 0, files: Files::new() }
    }

    /// Takes the files over; those that have not changed leave everything as it is.
    pub(super) fn write(&mut self, files: Files) {
        if files == self.files {
            return;
        }
        self.generation += 1;
        let generation = format!("..2026_11_26_18_31_35.{:09}", self.generation);
        let folder = self.folder.join(&generation);
        fs::create_dir(&folder).unwrap();
        for (name, text) in &files {
            let file = folder.join(name);
            fs::write(&file, text).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(self.mode)).unwrap();
        }
        let data = self.folder.join("..data");
        let old = fs::read_link(&data).ok();
        symlink(&generation, self.folder.join("..data_tmp")).unwrap();
        fs::rename(self.folder.join("..data_tmp"), &data).unwrap();
        for name in files.keys().filter(|name| !self.files.contains_key(*name)) {
            symlink(format!("..data/{name}"), self.folder.join(name)).unwrap();
        }
        for name in self.files.keys().filter(|name| !files.contains_key(*name)) {
            fs::remove_file(self.folder.join(name)).unwrap();
        }
        if let Some(old) = old {
            fs::remove_dir_all(self.folder.join(old)).unwrap();
        }
        self.files = files;
    }
}
