//! Names of securables.

use crate::answer::Refusal;

/// The longest name.
const NAME_CHARACTERS_MAX: usize = 255;

/// Checks a name and returns it as it is kept: in lower case.
pub(crate) fn kept(what: &str, name: &str) -> Result<String, Refusal> {
    let allowed = |c: char| !c.is_control() && !matches!(c, '.' | ' ' | '/');
    let length = name.chars().count();
    if length == 0 || length > NAME_CHARACTERS_MAX || !name.chars().all(allowed) {
        return Err(Refusal::invalid(format!(
            "{what} name \"{name}\" is not valid: 1 to 255 characters without period, space, slash and control characters"
        )));
    }
    Ok(name.to_lowercase())
}

/// Checks `<schema>.<table>` as a share shows it.
pub(crate) fn check_shared_as(alias: &str) -> Result<(), Refusal> {
    let plain = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    match alias.split_once('.') {
        Some((schema, table)) if plain(schema) && plain(table) => Ok(()),
        _ => Err(Refusal::invalid(format!(
            "\"{alias}\" is not a valid shared_as name: it must be <schema>.<table> of letters, digits and underscores"
        ))),
    }
}
