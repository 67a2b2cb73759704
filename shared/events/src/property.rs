//! Reads properties of a JSON object by name, so that a failure names the path of the property and never its value.

use delivery::failure::{FailureCode, StepError};
use serde_json::{Map, Value};

/// A JSON object and the path that leads to it.
#[derive(Debug, Clone)]
pub(crate) struct Properties<'a> {
    map: &'a Map<String, Value>,
    path: String,
    code: FailureCode,
}

impl<'a> Properties<'a> {
    /// The properties of a whole document; failures get the code.
    pub(crate) fn of(map: &'a Map<String, Value>, code: FailureCode) -> Self {
        Self { map, path: String::new(), code }
    }

    /// The failure of one property.
    pub(crate) fn refuse(&self, name: &str, problem: &str) -> StepError {
        StepError::new(self.code, format!("{}{name} {problem}", self.path))
    }

    /// A property that is there and not null.
    pub(crate) fn get(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    /// The name of a property that is there and null.
    pub(crate) fn first_null(&self) -> Option<&'a str> {
        self.map.iter().find(|(_, value)| value.is_null()).map(|(name, _)| name.as_str())
    }

    fn require(&self, name: &str) -> Result<&'a Value, StepError> {
        self.get(name).ok_or_else(|| self.refuse(name, "is missing"))
    }

    pub(crate) fn string(&self, name: &str) -> Result<&'a str, StepError> {
        self.require(name)?;
        self.optional_string(name)?.ok_or_else(|| self.refuse(name, "is missing"))
    }

    pub(crate) fn optional_string(&self, name: &str) -> Result<Option<&'a str>, StepError> {
        self.optional(name, "must be a string", Value::as_str)
    }

    pub(crate) fn flag(&self, name: &str, default: bool) -> Result<bool, StepError> {
        Ok(self.optional(name, "must be true or false", Value::as_bool)?.unwrap_or(default))
    }

    pub(crate) fn optional_integer(&self, name: &str) -> Result<Option<u64>, StepError> {
        self.optional(name, "must be a whole number of 0 or more", Value::as_u64)
    }

    pub(crate) fn optional_number(&self, name: &str) -> Result<Option<f64>, StepError> {
        self.optional(name, "must be a number", Value::as_f64)
    }

    pub(crate) fn object(&self, name: &str) -> Result<Self, StepError> {
        let map = self.require(name)?.as_object().ok_or_else(|| self.refuse(name, "must be an object"))?;
        Ok(Self { map, path: format!("{}{name}.", self.path), code: self.code })
    }

    pub(crate) fn array(&self, name: &str) -> Result<&'a [Value], StepError> {
        let array = self.require(name)?.as_array().ok_or_else(|| self.refuse(name, "must be an array"))?;
        Ok(array)
    }

    /// An array of objects, each with its own path.
    pub(crate) fn objects(&self, name: &str) -> Result<Vec<Self>, StepError> {
        let one = |(index, value): (usize, &'a Value)| {
            let own = format!("{name}[{index}]");
            let map = value.as_object().ok_or_else(|| self.refuse(&own, "must be an object"))?;
            Ok(Self { map, path: format!("{}{own}.", self.path), code: self.code })
        };
        self.array(name)?.iter().enumerate().map(one).collect()
    }

    fn optional<T>(
        &self,
        name: &str,
        problem: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, StepError> {
        self.get(name).map(|value| read(value).ok_or_else(|| self.refuse(name, problem))).transpose()
    }
}
