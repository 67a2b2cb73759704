//! Secrets from the operating system.

use delivery::ports::{PortError, PortErrorKind};

use crate::ports::{Secret, SecretSource};

/// The operating system's randomness.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsSecrets;

impl SecretSource for OsSecrets {
    fn secret(&self) -> Result<Secret, PortError> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)
            .map_err(|error| PortError::new(PortErrorKind::Unavailable, "make a secret", error.to_string()))?;
        Ok(Secret::from_random(bytes))
    }
}
