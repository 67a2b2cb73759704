//! Where things lie, and files that are either whole or not there.

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};

use crate::error::{Error, Result};

/// The project's root directory.
#[derive(Debug, Clone)]
pub struct Project {
    root: PathBuf,
}

impl Project {
    /// Finds the project from the working directory upwards.
    ///
    /// # Errors
    ///
    /// Returns [`Error::Project`] if there is none.
    pub fn find() -> Result<Self> {
        let here = std::env::current_dir().map_err(Error::file("find", "."))?;
        here.ancestors()
            .find(|directory| directory.join("infra/local").is_dir() && directory.join("Cargo.toml").is_file())
            .map(|root| Self { root: root.to_owned() })
            .ok_or_else(|| Error::Project("run this inside the project: no `infra/local` above here".to_owned()))
    }

    /// Uses this directory as the project's root.
    #[must_use]
    pub fn at(root: PathBuf) -> Self {
        Self { root }
    }

    /// The root directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The production template.
    #[must_use]
    pub fn template(&self) -> PathBuf {
        self.root.join("infra/template.yaml")
    }

    /// A helper script or requirements file of the local stack.
    #[must_use]
    pub fn local(&self, name: &str) -> PathBuf {
        self.root.join("infra/local").join(name)
    }

    /// Everything that the local stack writes.
    #[must_use]
    pub fn target(&self) -> PathBuf {
        self.root.join("target/local")
    }

    /// What one instance writes.
    #[must_use]
    pub fn instance(&self, instance: &str) -> PathBuf {
        self.target().join(instance)
    }
}

/// Writes a file so that a reader sees the old one or the new one, never a part.
///
/// # Errors
///
/// Returns [`Error::File`].
pub fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(parent) = path.parent() {
        create_directory(parent)?;
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    fs::write(&new, text).map_err(Error::file("write", &new))?;
    fs::rename(&new, path).map_err(Error::file("write", path))
}

/// Writes a value as readable JSON, whole or not at all.
///
/// # Errors
///
/// Returns [`Error::File`].
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Error::file("write", path)(error.into()))?;
    write(path, &(text + "\n"))
}

/// Reads a value; nothing if the file is missing or from another version.
#[must_use]
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// Creates a directory and those above it.
///
/// # Errors
///
/// Returns [`Error::File`].
pub fn create_directory(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(Error::file("create", path))
}

/// Removes a file or a directory with everything in it; fine if it is not there.
///
/// # Errors
///
/// Returns [`Error::File`].
pub fn remove(path: &Path) -> Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(Error::file("remove", path)),
    }
}

/// Says so if too little room is left below a directory, which is created.
///
/// # Errors
///
/// Returns [`Error::DiskFull`].
pub fn require_free(directory: &Path, needed_mebibytes: u64) -> Result<()> {
    create_directory(directory)?;
    let disk = rustix::fs::statvfs(directory).map_err(|error| Error::file("look at", directory)(error.into()))?;
    let free_mebibytes = disk.f_bavail.saturating_mul(disk.f_frsize) / (1024 * 1024);
    if free_mebibytes < needed_mebibytes {
        return Err(Error::DiskFull { path: directory.to_owned(), free_mebibytes, needed_mebibytes });
    }
    Ok(())
}

/// A lock that ends with this value, and with the process at the latest.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Takes a lock; nothing if somebody else holds it.
///
/// # Errors
///
/// Returns [`Error::File`] if the file cannot be opened.
pub fn lock(path: &Path) -> Result<Option<Lock>> {
    if let Some(parent) = path.parent() {
        create_directory(parent)?;
    }
    let file =
        File::options().create(true).write(true).truncate(false).open(path).map_err(Error::file("open", path))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(Lock { _file: file })),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(Error::file("lock", path)(error)),
    }
}

/// Takes a lock as soon as nobody else holds it.
///
/// # Errors
///
/// Returns [`Error::File`] if the file cannot be opened.
pub async fn lock_wait(path: &Path) -> Result<Lock> {
    loop {
        if let Some(lock) = lock(path)? {
            return Ok(lock);
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_whole_and_removed_twice_without_harm() {
        let directory = std::env::temp_dir().join(format!("files-{}", std::process::id()));
        let path = directory.join("deep/value.json");
        write_json(&path, &[1, 2]).unwrap();
        write_json(&path, &[3]).unwrap();
        assert_eq!(read_json::<Vec<u8>>(&path), Some(vec![3]));
        assert_eq!(read_json::<String>(&path), None);
        remove(&directory).unwrap();
        remove(&directory).unwrap();
        assert_eq!(read_json::<Vec<u8>>(&path), None);
    }

    #[test]
    fn a_lock_is_held_once() {
        let path = std::env::temp_dir().join(format!("lock-{}", std::process::id()));
        let held = lock(&path).unwrap();
        assert!(held.is_some());
        assert!(lock(&path).unwrap().is_none());
        drop(held);
        assert!(lock(&path).unwrap().is_some());
        remove(&path).unwrap();
    }

    #[test]
    fn the_project_is_found_from_below() {
        let found = Project::find().unwrap();
        assert!(found.local("Cargo.toml").is_file());
    }
}
