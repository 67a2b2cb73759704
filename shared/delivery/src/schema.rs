//! From a run's declared fields to the public columns of a table.
//!
//! The privacy rule lives here: a [`Column`] can only be made of a public field, and everything that writes takes
//! columns. So do the column names and the fingerprint that numbers schema versions.

use std::collections::BTreeSet;

use crate::failure::{FailureCode, StepError};
use crate::ids::sha256_hex;

/// The most columns of one table.
pub const COLUMNS_MAX: usize = 2_000;

/// The deepest nesting of a shape or a value.
pub const DEPTH_MAX: usize = 64;

/// The columns that every version table has behind the public fields.
pub const RUN_COLUMNS: [&str; 2] = ["run_id", "run_finished_at"];

/// One declared field of a run's schema, private ones included.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// The field's name in the output.
    pub name: String,
    /// The declared type; absent for classifications.
    pub data_type: Option<String>,
    /// The producer's kind of field, such as `SCHEMA` or `CLASSIFICATION`.
    pub field_type: Option<String>,
    /// Whether the field is part of the workflow's key.
    pub key: bool,
    /// Whether the producer marks the field as private.
    pub marking: Marking,
    /// The field's description, for people.
    pub description: Option<String>,
    /// The nested shape of an OBJECT or ARRAY: the declared one, or else a JSON object or array given as example.
    pub shape: Option<Shape>,
}

impl Field {
    /// The declared data type, or else the kind of field.
    fn source_type(&self) -> String {
        self.data_type.as_deref().or(self.field_type.as_deref()).unwrap_or("STRING").to_owned()
    }
}

/// Whether the producer marks a field as private.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marking {
    /// `isPrivate` is absent or false.
    Public,
    /// `isPrivate` is true.
    Private,
}

/// A shape as the producer writes it: a JSON value.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// A struct of the keys, in their order.
    Object(Vec<(String, Shape)>),
    /// An array of the shape of its elements.
    Array(Vec<Shape>),
    /// The name of a type, or an example string.
    String(String),
    /// An example number.
    Number,
    /// An example boolean.
    Boolean,
    /// An example null.
    Null,
}

/// Whether a field or key name is private by itself, at any depth.
#[must_use]
pub fn is_private_name(name: &str) -> bool {
    name.starts_with('_')
}

/// The type of a column, and with it the cast policy of its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnType {
    /// Delta `string`: strings; numbers and booleans as their JSON text; objects and arrays as compact JSON.
    String,
    /// Delta `string`: any JSON value as compact JSON without private keys.
    Json,
    /// Delta `double`.
    Double,
    /// Delta `boolean`.
    Boolean,
    /// Delta `date`.
    Date,
    /// Delta `timestamp`: UTC, microseconds.
    Timestamp,
    /// Delta `struct<amount: decimal(38,6), currency_code: string>`.
    Money,
    /// Delta `struct`.
    Struct(Vec<StructField>),
    /// Delta `array`, elements nullable.
    Array(Box<ColumnType>),
}

/// One member of a struct column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StructField {
    /// The key in the output.
    pub source: String,
    /// The member's name in the table.
    pub name: String,
    /// The member's type.
    pub column_type: ColumnType,
}

impl ColumnType {
    /// The type of a declared field.
    fn of_field(field: &Field) -> Result<Self, StepError> {
        let declared = field.data_type.as_deref().unwrap_or("STRING");
        match declared {
            "OBJECT" | "ARRAY" => match (&field.shape, declared) {
                (Some(shape @ Shape::Object(_)), "OBJECT") | (Some(shape @ Shape::Array(_)), "ARRAY") => {
                    Self::of_shape(shape, 1)
                }
                _ => Ok(Self::Json),
            },
            name => Ok(Self::of_leaf(name).unwrap_or(Self::String)),
        }
    }

    fn of_leaf(name: &str) -> Option<Self> {
        match name {
            "STRING" | "IMAGE" | "LINK" => Some(Self::String),
            "NUMBER" | "CURRENCY" => Some(Self::Double),
            "BOOLEAN" => Some(Self::Boolean),
            "DATE" => Some(Self::Date),
            "DATETIME" => Some(Self::Timestamp),
            "MONEY" => Some(Self::Money),
            "OBJECT" | "ARRAY" => Some(Self::Json),
            _ => None,
        }
    }

    /// The type of a shape. What has no single type (an empty or mixed array, an object without public keys) stays
    /// JSON text.
    fn of_shape(shape: &Shape, depth: usize) -> Result<Self, StepError> {
        if depth > DEPTH_MAX {
            return Err(StepError::new(
                FailureCode::SchemaTooLarge,
                format!("a field's shape is nested deeper than {DEPTH_MAX}; flatten it at the producer"),
            ));
        }
        Ok(match shape {
            Shape::Object(keys) => {
                let public: Vec<_> = keys.iter().filter(|(key, _)| !is_private_name(key)).collect();
                let names = assign_names(public.iter().map(|(key, _)| key.as_str()), &[])?;
                let fields: Vec<_> = public
                    .iter()
                    .zip(names)
                    .map(|((key, shape), name)| {
                        let column_type = Self::of_shape(shape, depth + 1)?;
                        Ok(StructField { source: key.clone(), name, column_type })
                    })
                    .collect::<Result<_, StepError>>()?;
                if fields.is_empty() { Self::Json } else { Self::Struct(fields) }
            }
            Shape::Array(elements) => {
                let mut types = elements.iter().map(|element| Self::of_shape(element, depth + 1));
                match types.next().transpose()? {
                    Some(first) => {
                        let mut same = true;
                        for other in types {
                            same &= other? == first;
                        }
                        if same { Self::Array(Box::new(first)) } else { Self::Json }
                    }
                    None => Self::Json,
                }
            }
            Shape::String(text) => Self::of_leaf(text).unwrap_or(Self::String),
            Shape::Null => Self::String,
            Shape::Number => Self::Double,
            Shape::Boolean => Self::Boolean,
        })
    }

    /// The type in Delta's words, nested types written out; part of the fingerprint.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::String => "string".to_owned(),
            Self::Json => "json".to_owned(),
            Self::Double => "double".to_owned(),
            Self::Boolean => "boolean".to_owned(),
            Self::Date => "date".to_owned(),
            Self::Timestamp => "timestamp".to_owned(),
            Self::Money => "money".to_owned(),
            Self::Struct(fields) => {
                let fields: Vec<_> = fields
                    .iter()
                    .map(|field| format!("{:?}={}:{}", field.source, field.name, field.column_type.describe()))
                    .collect();
                format!("struct<{}>", fields.join(","))
            }
            Self::Array(element) => format!("array<{}>", element.describe()),
        }
    }
}

/// One public column. There is no way to make one of a private field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// The field's name in the output.
    pub source: String,
    /// The column's name in the table.
    pub name: String,
    /// The column's type.
    pub column_type: ColumnType,
    /// The type as the producer declares it: the data type, or else the kind of field, such as `CLASSIFICATION`.
    pub source_type: String,
    /// Whether the field is part of the workflow's key.
    pub key: bool,
    /// The field's description, for people.
    pub description: Option<String>,
}

/// The public columns of a run's output, in order, without the two run columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicSchema {
    columns: Vec<Column>,
}

impl PublicSchema {
    /// The public columns of declared fields: private fields are left out, whatever their names.
    ///
    /// # Errors
    ///
    /// `NO_PUBLIC_FIELDS`, `FIELD_NAMES_CLASH` and `SCHEMA_TOO_LARGE`.
    pub fn of(fields: &[Field]) -> Result<Self, StepError> {
        let public: Vec<_> =
            fields.iter().filter(|field| field.marking == Marking::Public && !is_private_name(&field.name)).collect();
        if public.is_empty() {
            return Err(StepError::new(
                FailureCode::NoPublicFields,
                "the run's schema has no public field; mark at least one field as public at the producer",
            ));
        }
        if public.len() > COLUMNS_MAX {
            return Err(StepError::new(
                FailureCode::SchemaTooLarge,
                format!("the run's schema has {} public fields; {COLUMNS_MAX} is the limit", public.len()),
            ));
        }
        let names = assign_names(public.iter().map(|field| field.name.as_str()), &RUN_COLUMNS)?;
        let columns = public
            .iter()
            .zip(names)
            .map(|(field, name)| {
                Ok(Column {
                    source: field.name.clone(),
                    name,
                    column_type: ColumnType::of_field(field)?,
                    source_type: field.source_type(),
                    key: field.key,
                    description: field.description.clone(),
                })
            })
            .collect::<Result<_, StepError>>()?;
        Ok(Self { columns })
    }

    /// The schema of columns that were stored before.
    #[must_use]
    pub fn from_columns(columns: Vec<Column>) -> Self {
        Self { columns }
    }

    /// The columns, in order.
    #[must_use]
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// What numbers schema versions: SHA-256 over the ordered names, types, shapes and keys, in hex. Private fields
    /// and descriptions do not count.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let parts: Vec<_> = self
            .columns
            .iter()
            .flat_map(|column| {
                let key = if column.key { "key" } else { "" };
                [column.source.clone(), column.name.clone(), column.column_type.describe(), key.to_owned()]
            })
            .collect();
        let parts: Vec<_> = parts.iter().map(String::as_str).collect();
        Fingerprint(sha256_hex(&parts))
    }
}

/// The fingerprint of a public schema.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// A fingerprint that was stored before.
    #[must_use]
    pub fn from_stored(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The fingerprint in lower-case hex.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Names columns after their sources: letters, digits and `_` stay, anything else becomes `_`, and a name that does
/// not begin with a letter gets a `c` in front (a leading `_` would read as private). Names compare without case. A
/// source that needs no change keeps its name, unless it is reserved or an earlier one has it; every other source gets
/// the first free numbered suffix, in order.
///
/// The order of the fields is part of the fingerprint, so a suffix never moves to another field inside a table.
fn assign_names<'a>(sources: impl Iterator<Item = &'a str>, reserved: &[&str]) -> Result<Vec<String>, StepError> {
    let sources: Vec<&str> = sources.collect();
    if sources.iter().collect::<BTreeSet<_>>().len() < sources.len() {
        return Err(StepError::new(
            FailureCode::FieldNamesClash,
            "two public fields have the same name, so that no value can be told to belong to one of them; rename one \
             at the producer",
        ));
    }
    let mut taken: BTreeSet<String> = reserved.iter().map(|name| (*name).to_owned()).collect();
    let bases: Vec<String> = sources.iter().map(|source| base_name(source)).collect();
    let own: Vec<bool> = sources
        .iter()
        .zip(&bases)
        .map(|(source, base)| source == base && taken.insert(base.to_ascii_lowercase()))
        .collect();
    let mut names = Vec::with_capacity(bases.len());
    for (base, own) in bases.into_iter().zip(own) {
        let free = |name: &String| taken.insert(name.to_ascii_lowercase());
        let name = if own { Some(base) } else { numbered(base).find(free) };
        names.extend(name);
    }
    Ok(names)
}

fn base_name(source: &str) -> String {
    let mut base: String =
        source.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect();
    if !base.starts_with(|c: char| c.is_ascii_alphabetic()) {
        base.insert(0, 'c');
    }
    base
}

/// `name`, `name_2`, `name_3` and so on.
fn numbered(base: String) -> impl Iterator<Item = String> {
    let numbered = base.clone();
    std::iter::once(base).chain((2..).map(move |suffix: u64| format!("{numbered}_{suffix}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str, data_type: &str) -> Field {
        Field {
            name: name.to_owned(),
            data_type: Some(data_type.to_owned()),
            field_type: Some("SCHEMA".to_owned()),
            key: false,
            marking: Marking::Public,
            description: None,
            shape: None,
        }
    }

    fn names(fields: &[Field]) -> Vec<String> {
        PublicSchema::of(fields).unwrap().columns().iter().map(|column| column.name.clone()).collect()
    }

    fn code(fields: &[Field]) -> FailureCode {
        PublicSchema::of(fields).unwrap_err().code
    }

    #[test]
    fn private_fields_are_left_out() {
        let marked = Field { marking: Marking::Private, ..field("internal_margin_note", "STRING") };
        assert_eq!(names(&[field("a", "STRING"), marked.clone(), field("_b", "LINK")]), ["a"]);
        assert_eq!(code(&[marked, field("_b", "LINK")]), FailureCode::NoPublicFields);
        assert_eq!(code(&[]), FailureCode::NoPublicFields);
    }

    #[test]
    fn the_same_name_twice_is_refused() {
        assert_eq!(code(&[field("price", "NUMBER"), field("price", "NUMBER")]), FailureCode::FieldNamesClash);
        let inner = Shape::Object(vec![("a".to_owned(), Shape::Number), ("a".to_owned(), Shape::Null)]);
        assert_eq!(code(&[Field { shape: Some(inner), ..field("o", "OBJECT") }]), FailureCode::FieldNamesClash);
    }

    #[test]
    fn names_that_clash_without_case_get_numbered_suffixes_in_order() {
        let cases: [(&[&str], &[&str]); 8] = [
            (&["Price", "price", "PRICE"], &["Price", "price_2", "PRICE_3"]),
            (&["run_id", "RUN_ID_2"], &["run_id_3", "RUN_ID_2"]),
            (&["Run_Finished_At"], &["Run_Finished_At_2"]),
            (&["a b", "a_b"], &["a_b_2", "a_b"]),
            (&["a", "A", "a_2"], &["a", "A_3", "a_2"]),
            (&["é", "ü", "1st"], &["c_", "c__2", "c1st"]),
            (&["zh-CN", "zh_CN", "zh.cn"], &["zh_CN_2", "zh_CN", "zh_cn_3"]),
            // Words of SQL are names like others.
            (&["select", "Order", "table"], &["select", "Order", "table"]),
        ];
        for (sources, expected) in cases {
            let fields: Vec<_> = sources.iter().map(|source| field(source, "STRING")).collect();
            assert_eq!(names(&fields), expected);
        }
    }

    #[test]
    fn names_inside_a_shape_follow_the_same_rules_and_no_column_is_reserved_there() {
        let keys = ["run_id", "a-b", "A_B", "_private"];
        let shape = Shape::Object(keys.map(|key| (key.to_owned(), Shape::Number)).into());
        let schema = PublicSchema::of(&[Field { shape: Some(shape), ..field("o", "OBJECT") }]).unwrap();
        let ColumnType::Struct(members) = &schema.columns()[0].column_type else { panic!("not a struct") };
        let found: Vec<_> = members.iter().map(|member| (member.source.as_str(), member.name.as_str())).collect();
        assert_eq!(found, [("run_id", "run_id"), ("a-b", "a_b_2"), ("A_B", "A_B")]);
    }

    #[test]
    fn a_private_field_may_clash_with_a_public_one() {
        let private = Field { marking: Marking::Private, ..field("PRICE", "NUMBER") };
        assert_eq!(names(&[field("price", "NUMBER"), private]), ["price"]);
    }

    #[test]
    fn schemas_over_the_limits_are_refused() {
        let wide: Vec<_> = (0..=COLUMNS_MAX).map(|n| field(&format!("f{n}"), "STRING")).collect();
        assert_eq!(code(&wide), FailureCode::SchemaTooLarge);
        assert_eq!(names(wide.get(..COLUMNS_MAX).unwrap()).len(), COLUMNS_MAX);
        let deep = (0..=DEPTH_MAX).fold(Shape::Number, |shape, _| Shape::Array(vec![shape]));
        assert_eq!(code(&[Field { shape: Some(deep), ..field("a", "ARRAY") }]), FailureCode::SchemaTooLarge);
    }

    #[test]
    fn the_fingerprint_follows_public_names_types_shapes_keys_and_order_only() {
        let of = |fields: &[Field]| PublicSchema::of(fields).unwrap().fingerprint();
        let (a, b) = (field("a", "STRING"), field("b", "NUMBER"));
        let base = of(&[a.clone(), b.clone()]);
        let described = Field { description: Some("text".to_owned()), ..a.clone() };
        assert_eq!(base, of(&[described, field("_p", "LINK"), b.clone()]));
        for other in [
            vec![b.clone(), a.clone()],
            vec![a.clone()],
            vec![a.clone(), field("b", "BOOLEAN")],
            vec![Field { key: true, ..a.clone() }, b.clone()],
        ] {
            assert_ne!(base, of(&other));
        }
        let link = field("a", "LINK");
        assert_eq!(base, of(&[link, b]), "LINK and STRING are the same column");
    }

    #[test]
    fn shapes_become_structs_and_arrays_without_private_keys() {
        let shape = Shape::Object(vec![
            ("name".to_owned(), Shape::String("Ann".to_owned())),
            ("_secret".to_owned(), Shape::Number),
            ("born".to_owned(), Shape::String("DATE".to_owned())),
            ("tags".to_owned(), Shape::Array(vec![Shape::Null])),
            ("mixed".to_owned(), Shape::Array(vec![Shape::Number, Shape::Boolean])),
            ("empty".to_owned(), Shape::Object(vec![("_only".to_owned(), Shape::Null)])),
        ]);
        let schema = PublicSchema::of(&[Field { shape: Some(shape), ..field("seller", "OBJECT") }]).unwrap();
        let column = schema.columns().first().unwrap();
        assert_eq!(
            column.column_type.describe(),
            r#"struct<"name"=name:string,"born"=born:date,"tags"=tags:array<string>,"mixed"=mixed:json,"empty"=empty:json>"#
        );
    }

    #[test]
    fn unknown_types_are_strings_and_shapeless_objects_are_json() {
        let schema = PublicSchema::of(&[
            field("a", "CATEGORY_JOB_TYPES"),
            field("b", "OBJECT"),
            field("c", "CURRENCY"),
            Field { data_type: None, ..field("d", "") },
        ])
        .unwrap();
        let types: Vec<_> = schema.columns().iter().map(|column| column.column_type.describe()).collect();
        assert_eq!(types, ["string", "json", "double", "string"]);
    }
}
