//! Keys and values as columns of a table of text.
//!
//! Owns: which columns a type has, their names, and what is written in them. A tuple has a column for each of its elements, a
//! struct for each of its fields, the unit none, anything else one. Promises: what [`Columns::texts`] writes, [`Columns::bytes`] reads back.

use crate::formats::{Codec, field_of};
use crate::types::{Layout, Type};
use serde_json::{Map, Value};

/// The columns of a key or a value.
pub struct Columns {
    codec: Codec,
    parts: Option<Vec<(String, Type)>>,
}

impl Columns {
    /// Those of this codec.
    pub fn of(codec: Codec) -> Self {
        let parts = match &codec {
            Codec::Typed(Type::Tuple(parts), _) => Some(
                parts.iter().enumerate().map(|(index, part)| (index.to_string(), part.clone())).collect(),
            ),
            Codec::Typed(Type::Memory(Layout::Struct(fields)), _) => {
                Some(fields.iter().map(|(name, of)| (name.clone(), Type::Memory(of.clone()))).collect())
            }
            _ => None,
        };
        Columns { codec, parts }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        match &self.codec {
            Codec::Typed(Type::Unit, _) => 0,
            _ => self.parts.as_ref().map_or(1, Vec::len),
        }
    }

    /// Their names, of a key or a value that is called this.
    pub fn names(&self, whole: &str) -> Vec<String> {
        match &self.parts {
            None if self.count() == 0 => Vec::new(),
            None => vec![whole.to_owned()],
            Some(parts) => parts.iter().map(|(name, _)| format!("{whole}.{name}")).collect(),
        }
    }

    /// What is written in them.
    ///
    /// # Errors
    /// Where the bytes are none that the codec has.
    pub fn texts(&self, bytes: &[u8]) -> Result<Vec<String>, String> {
        let Some(parts) = &self.parts else {
            return Ok(vec![self.codec.field(bytes)?].into_iter().take(self.count()).collect());
        };
        let items = match self.codec.json(bytes)? {
            Value::Array(items) => items,
            Value::Object(fields) => {
                let mut fields = fields;
                parts.iter().map(|(name, _)| fields.remove(name).unwrap_or_default()).collect()
            }
            other => vec![other],
        };
        let text =
            |((_, part), item): (&(String, Type), Value)| field_of(item, matches!(part, Type::Option(_)));
        Ok(parts.iter().zip(items).map(text).collect())
    }

    /// The bytes of what is written in them, of as many as there are.
    ///
    /// # Errors
    /// Expected and found.
    pub fn bytes(&self, texts: &[&str]) -> Result<Vec<u8>, String> {
        let (Some(parts), Codec::Typed(known, _)) = (&self.parts, &self.codec) else {
            return self.codec.of_field(texts.first().copied().unwrap_or("[]"));
        };
        let mut items = Vec::new();
        for ((name, part), text) in parts.iter().zip(texts) {
            let value = part.of_field(text).map_err(|wrong| format!("{name}: {wrong}"))?;
            items.push((name.clone(), value));
        }
        known.bytes(&match known {
            Type::Tuple(_) => items.into_iter().map(|(_, value)| value).collect::<Value>(),
            _ => Value::Object(items.into_iter().collect::<Map<_, _>>()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_hold_what_the_type_has() {
        for (name, names, value, texts) in [
            ("u64", vec!["key"], serde_json::json!(7), vec!["7"]),
            ("unit", vec![], serde_json::json!([]), vec![]),
            ("str", vec!["key"], serde_json::json!("a\n"), vec!["a\n"]),
            (
                "(str,option(str),u8)",
                vec!["key.0", "key.1", "key.2"],
                serde_json::json!(["", "", 7]),
                vec!["", "\"\"", "7"],
            ),
            (
                "(option(str),(u8,u8))",
                vec!["key.0", "key.1"],
                serde_json::json!([null, [1, 2]]),
                vec!["", "[1,2]"],
            ),
            (
                "{x:u8,y:[u16le;2],z:f64le}",
                vec!["key.x", "key.y", "key.z"],
                serde_json::json!({"x":1,"y":[2,3],"z":0.5}),
                vec!["1", "[2,3]", "0.5"],
            ),
        ] {
            let codec = Codec::of_type(name);
            let bytes = codec.of_json(&value).unwrap();
            let columns = Columns::of(codec);
            assert_eq!(
                (columns.names("key"), columns.count()),
                (names.iter().map(|name| (*name).to_owned()).collect(), names.len())
            );
            assert_eq!(columns.texts(&bytes).unwrap(), texts);
            assert_eq!(columns.bytes(&texts).unwrap(), bytes);
        }
        let wrong = Columns::of(Codec::of_type("(u8,bool)")).bytes(&["1", "maybe"]).unwrap_err();
        assert_eq!(wrong, "element 1: expected true or false");
    }
}
