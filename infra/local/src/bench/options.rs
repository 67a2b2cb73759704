//! The options of a bench: `--name value`, each with a limit.

use std::{collections::BTreeMap, ops::RangeInclusive};

use local_stack::{Error, Result};

/// What was typed, by option.
#[derive(Debug)]
pub(super) struct Options(BTreeMap<String, String>);

impl Options {
    /// Reads the options that a bench knows.
    pub(super) fn parse(arguments: &[String], known: &[&str]) -> Result<Self> {
        let mut found = BTreeMap::new();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let name = argument.strip_prefix("--").filter(|name| known.contains(name)).ok_or_else(|| {
                let known: Vec<String> = known.iter().map(|name| format!("--{name}")).collect();
                Error::Usage(format!("`{argument}` is not understood; this bench takes {}", known.join(", ")))
            })?;
            let value = rest.next().ok_or_else(|| Error::Usage(format!("`--{name}` needs a value")))?;
            found.insert(name.to_owned(), value.clone());
        }
        Ok(Self(found))
    }

    /// One number.
    pub(super) fn number(&self, name: &str, usual: u64, allowed: RangeInclusive<u64>) -> Result<u64> {
        let text = self.0.get(name);
        text.map_or(Ok(usual), |text| read(name, text, &allowed))
    }

    /// Numbers with commas between them, each larger than the one before.
    pub(super) fn numbers(&self, name: &str, usual: &[u64], allowed: RangeInclusive<u64>) -> Result<Vec<u64>> {
        let Some(text) = self.0.get(name) else { return Ok(usual.to_vec()) };
        let numbers: Vec<u64> = text.split(',').map(|part| read(name, part, &allowed)).collect::<Result<_>>()?;
        if numbers.is_sorted_by(|a, b| a < b) {
            return Ok(numbers);
        }
        Err(Error::Usage(format!("`--{name}` needs numbers in rising order")))
    }

    /// One of some words, if it was typed.
    pub(super) fn word(&self, name: &str, words: &[&'static str]) -> Result<Option<&'static str>> {
        let Some(text) = self.0.get(name) else { return Ok(None) };
        let found = words.iter().find(|word| *word == text).copied();
        found.map(Some).ok_or_else(|| Error::Usage(format!("`--{name}` is one of {}", words.join(", "))))
    }
}

fn read(name: &str, text: &str, allowed: &RangeInclusive<u64>) -> Result<u64> {
    text.parse().ok().filter(|number| allowed.contains(number)).ok_or_else(|| {
        Error::Usage(format!("`--{name}` takes numbers from {} to {}, not `{text}`", allowed.start(), allowed.end()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(line: &str) -> Result<Options> {
        let arguments: Vec<String> = line.split(' ').filter(|part| !part.is_empty()).map(str::to_owned).collect();
        Options::parse(&arguments, &["rows", "only"])
    }

    #[test]
    fn what_is_not_typed_is_as_usual() {
        let none = options("").unwrap();
        assert_eq!(none.number("rows", 5, 1..=9).unwrap(), 5);
        assert_eq!(none.numbers("rows", &[1, 2], 1..=9).unwrap(), [1, 2]);
        assert_eq!(none.word("only", &["files"]).unwrap(), None);
    }

    #[test]
    fn what_is_typed_is_read_within_its_limits() {
        assert_eq!(options("--rows 7").unwrap().number("rows", 5, 1..=9).unwrap(), 7);
        assert_eq!(options("--rows 3,7").unwrap().numbers("rows", &[], 1..=9).unwrap(), [3, 7]);
        assert_eq!(options("--only files").unwrap().word("only", &["files"]).unwrap(), Some("files"));
        for line in ["--rows 10", "--rows x", "--rows 7,3", "--rows 3,3", "--rows"] {
            let refused = options(line).and_then(|options| options.numbers("rows", &[], 1..=9)).is_err();
            assert!(refused, "{line}");
        }
        assert!(options("--only all").unwrap().word("only", &["files"]).is_err());
        assert!(options("--lines 3").is_err());
        assert!(options("rows 3").is_err());
    }
}
