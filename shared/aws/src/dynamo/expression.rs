//! Writes in DynamoDB's expression language. Every attribute name goes through a placeholder, so that none can clash
//! with a reserved word.

use std::collections::HashMap;

use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::types::{
    AttributeValue, ConditionCheck, Delete, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
};
use delivery::ids::DeliveryKey;

use super::item::{Item, Key, text};

/// One write of one item.
#[derive(Debug, Clone)]
pub(super) struct Write {
    pub(super) key: Key,
    kind: Kind,
    sets: Vec<String>,
    removes: Vec<String>,
    adds: Vec<String>,
    pub(super) condition: Option<String>,
    pub(super) names: Option<HashMap<String, String>>,
    pub(super) values: Option<HashMap<String, AttributeValue>>,
}

#[derive(Debug, Clone)]
enum Kind {
    /// Changes attributes, making the item if it is not there.
    Update,
    /// Writes the whole item.
    Put(Item),
    /// Takes the item away.
    Delete,
    /// Writes nothing; its condition has to hold.
    Check,
}

impl Write {
    fn new(key: Key, kind: Kind) -> Self {
        let (sets, removes, adds) = (Vec::new(), Vec::new(), Vec::new());
        Self { key, kind, sets, removes, adds, condition: None, names: None, values: None }
    }

    pub(super) fn update(key: Key) -> Self {
        Self::new(key, Kind::Update)
    }

    pub(super) fn put<const N: usize>(key: Key, attributes: [(&str, AttributeValue); N]) -> Self {
        let mut item = key.attributes();
        item.extend(attributes.map(|(name, value)| (name.to_owned(), value)));
        Self::new(key, Kind::Put(item))
    }

    /// Puts one attribute more.
    pub(super) fn with(mut self, name: &str, value: AttributeValue) -> Self {
        if let Kind::Put(item) = &mut self.kind {
            item.insert(name.to_owned(), value);
        }
        self
    }

    pub(super) fn delete(key: Key) -> Self {
        Self::new(key, Kind::Delete)
    }

    pub(super) fn check(key: Key) -> Self {
        Self::new(key, Kind::Check)
    }

    /// Sets an attribute.
    pub(super) fn set(mut self, name: &str, value: AttributeValue) -> Self {
        self.sets.push(format!("#{name} = :{name}"));
        self.named(name).valued(name, value)
    }

    /// Sets an attribute that is not there.
    pub(super) fn set_once(mut self, name: &str, value: AttributeValue) -> Self {
        self.sets.push(format!("#{name} = if_not_exists(#{name}, :{name})"));
        self.named(name).valued(name, value)
    }

    /// Sets the ids of a delivery, for people who read the table.
    pub(super) fn set_ids(self, delivery: &DeliveryKey) -> Self {
        self.set("connector_id", text(delivery.connector.as_str()))
            .set("team_id", text(delivery.run.team.as_str()))
            .set("workflow_id", text(delivery.run.workflow.as_str()))
            .set("run_id", text(delivery.run.run.as_str()))
    }

    /// Takes an attribute away.
    pub(super) fn remove(mut self, name: &str) -> Self {
        self.removes.push(format!("#{name}"));
        self.named(name)
    }

    /// Adds to a number.
    pub(super) fn add(mut self, name: &str, value: AttributeValue) -> Self {
        self.adds.push(format!("#{name} :{name}"));
        self.named(name).valued(name, value)
    }

    /// Writes only if this holds. Attribute names are written `#name`; values `:value` are added with
    /// [`Write::valued`].
    pub(super) fn when(mut self, condition: &str) -> Self {
        self.condition = Some(condition.to_owned());
        let names = condition.split('#').skip(1).map(|rest| {
            rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default().to_owned()
        });
        names.collect::<Vec<_>>().iter().fold(self, |write, name| write.named(name))
    }

    /// Writes only if the item is not there.
    pub(super) fn when_new(self) -> Self {
        self.when("attribute_not_exists(#pk)")
    }

    /// A value of the condition.
    pub(super) fn valued(mut self, name: &str, value: AttributeValue) -> Self {
        self.values.get_or_insert_default().insert(format!(":{name}"), value);
        self
    }

    fn named(mut self, name: &str) -> Self {
        self.names.get_or_insert_default().insert(format!("#{name}"), name.to_owned());
        self
    }

    pub(super) fn update_expression(&self) -> Option<String> {
        let clause = |word: &str, parts: &[String]| (!parts.is_empty()).then(|| format!("{word} {}", parts.join(", ")));
        let clauses = [clause("SET", &self.sets), clause("REMOVE", &self.removes), clause("ADD", &self.adds)];
        let text = clauses.into_iter().flatten().collect::<Vec<_>>().join(" ");
        (!text.is_empty()).then_some(text)
    }

    /// This write as a part of a transaction. If its condition does not hold, the item that is there comes back.
    pub(super) fn transacted(self, table: &str) -> Result<TransactWriteItem, BuildError> {
        let old = ReturnValuesOnConditionCheckFailure::AllOld;
        let part = TransactWriteItem::builder();
        let expression = self.update_expression();
        let part = match self.kind {
            Kind::Update => part.update(
                Update::builder()
                    .table_name(table)
                    .set_key(Some(self.key.attributes()))
                    .set_update_expression(expression)
                    .set_condition_expression(self.condition)
                    .set_expression_attribute_names(self.names)
                    .set_expression_attribute_values(self.values)
                    .return_values_on_condition_check_failure(old)
                    .build()?,
            ),
            Kind::Put(item) => part.put(
                Put::builder()
                    .table_name(table)
                    .set_item(Some(item))
                    .set_condition_expression(self.condition)
                    .set_expression_attribute_names(self.names)
                    .set_expression_attribute_values(self.values)
                    .return_values_on_condition_check_failure(old)
                    .build()?,
            ),
            Kind::Delete => part.delete(
                Delete::builder()
                    .table_name(table)
                    .set_key(Some(self.key.attributes()))
                    .set_condition_expression(self.condition)
                    .set_expression_attribute_names(self.names)
                    .set_expression_attribute_values(self.values)
                    .return_values_on_condition_check_failure(old)
                    .build()?,
            ),
            Kind::Check => part.condition_check(
                ConditionCheck::builder()
                    .table_name(table)
                    .set_key(Some(self.key.attributes()))
                    .set_condition_expression(self.condition)
                    .set_expression_attribute_names(self.names)
                    .set_expression_attribute_values(self.values)
                    .return_values_on_condition_check_failure(old)
                    .build()?,
            ),
        };
        Ok(part.build())
    }

    /// Bytes of the texts that this write puts.
    pub(super) fn text_bytes(&self) -> usize {
        let Kind::Put(item) = &self.kind else { return 0 };
        item.values().filter_map(|value| value.as_s().ok()).map(String::len).sum()
    }

    /// The item as this write leaves it where nothing was.
    #[cfg(test)]
    pub(super) fn item(&self) -> Item {
        let mut item = match &self.kind {
            Kind::Put(item) => item.clone(),
            Kind::Update | Kind::Delete | Kind::Check => self.key.attributes(),
        };
        for written in self.sets.iter().chain(&self.adds) {
            let name = written.split(' ').next().unwrap().trim_start_matches('#');
            item.insert(name.to_owned(), self.values.as_ref().unwrap()[&format!(":{name}")].clone());
        }
        item
    }
}

#[cfg(test)]
mod tests {
    use super::super::item::number;
    use super::*;

    fn key() -> Key {
        Key { pk: "p".to_owned(), sk: "s".to_owned() }
    }

    #[test]
    fn every_name_has_a_placeholder_and_every_value_its_own() {
        let write = Write::update(key())
            .set("state", text("shared"))
            .set_once("accepted_at", text("now"))
            .remove("code")
            .remove("phase")
            .add("attempts", number(1))
            .when("attribute_not_exists(#pk) OR (#state <> :final AND #other <= :final)")
            .valued("final", text("shared"));
        assert_eq!(
            write.update_expression().unwrap(),
            "SET #state = :state, #accepted_at = if_not_exists(#accepted_at, :accepted_at) \
             REMOVE #code, #phase ADD #attempts :attempts"
        );
        let mut names: Vec<_> = write.names.unwrap().into_iter().collect();
        names.sort();
        let expected = ["accepted_at", "attempts", "code", "other", "phase", "pk", "state"];
        assert_eq!(names, expected.map(|name| (format!("#{name}"), name.to_owned())));
        let mut values: Vec<_> = write.values.unwrap().into_keys().collect();
        values.sort();
        assert_eq!(values, [":accepted_at", ":attempts", ":final", ":state"]);
    }

    #[test]
    fn a_write_without_changes_or_conditions_has_no_expression() {
        let write = Write::put(key(), [("a", text("b"))]);
        assert_eq!((write.update_expression(), write.names.clone(), write.values.clone()), (None, None, None));
        assert_eq!(write.item().len(), 3);
        assert!(write.transacted("table").unwrap().put().is_some());
        let check = Write::check(key()).when_new().transacted("table").unwrap();
        assert_eq!(check.condition_check().unwrap().condition_expression(), "attribute_not_exists(#pk)");
    }
}
