//! A function's settings: read once at cold start, and only those that the function names.

use std::collections::BTreeMap;

/// Why a function cannot start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The setting is absent or empty.
    #[error("the setting {name} is missing; set it in the function's environment")]
    Missing {
        /// The setting.
        name: &'static str,
    },
    /// The setting cannot be used.
    #[error("the setting {name} must be {expected}")]
    Invalid {
        /// The setting.
        name: &'static str,
        /// What it must be.
        expected: &'static str,
    },
}

/// Settings by name. An empty setting counts as absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    settings: BTreeMap<String, String>,
}

impl Environment {
    /// The named settings of this process: what a function did not name it cannot read.
    #[must_use]
    pub fn process(names: &[&str]) -> Self {
        names.iter().filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?))).collect()
    }

    /// A setting that the function cannot do without.
    ///
    /// # Errors
    ///
    /// Returns [`SettingsError::Missing`] if the setting is absent or empty.
    pub fn require(&self, name: &'static str) -> Result<&str, SettingsError> {
        self.optional(name).ok_or(SettingsError::Missing { name })
    }

    /// A setting that may be absent.
    #[must_use]
    pub fn optional(&self, name: &str) -> Option<&str> {
        self.settings.get(name).map(String::as_str).filter(|setting| !setting.is_empty())
    }

    /// A setting that is not a plain text.
    ///
    /// # Errors
    ///
    /// Returns [`SettingsError::Missing`] if the setting is absent or empty, and [`SettingsError::Invalid`] if it is
    /// not read as what is expected.
    pub fn require_as<T>(
        &self,
        name: &'static str,
        expected: &'static str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, SettingsError> {
        read(self.require(name)?).ok_or(SettingsError::Invalid { name, expected })
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(settings: I) -> Self {
        Self { settings: settings.into_iter().collect() }
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(settings: [(&str, &str); N]) -> Self {
        settings.into_iter().map(|(name, setting)| (name.to_owned(), setting.to_owned())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_setting_is_missing() {
        let environment = Environment::from([("STAGING_BUCKET", "")]);
        assert_eq!(environment.require("STAGING_BUCKET"), Err(SettingsError::Missing { name: "STAGING_BUCKET" }));
        assert_eq!(environment.optional("STAGING_BUCKET"), None);
    }

    #[test]
    fn a_setting_that_is_not_what_is_expected_is_named() {
        let environment = Environment::from([("PAGE_ROWS", "ten")]);
        let read = |text: &str| text.parse::<u32>().ok();
        let error = environment.require_as("PAGE_ROWS", "a whole number", read).unwrap_err();
        assert_eq!(error.to_string(), "the setting PAGE_ROWS must be a whole number");
        assert_eq!(Environment::from([("PAGE_ROWS", "10")]).require_as("PAGE_ROWS", "a whole number", read), Ok(10));
    }

    #[test]
    fn a_setting_that_the_function_does_not_name_is_not_read() {
        // Cargo sets both for every test.
        let environment = Environment::process(&["CARGO_PKG_NAME"]);
        assert_eq!(environment.require("CARGO_PKG_NAME"), Ok("lambda"));
        assert_eq!(environment.optional("CARGO_PKG_VERSION"), None);
    }
}
