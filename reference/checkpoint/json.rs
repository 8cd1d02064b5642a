//! JSON as checkpoints use it: files of bounded size, in which no name appears twice.

use super::error::{Error, Result, brief};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

/// Whether a folder has an entry of this name. A link that leads nowhere counts, so that it is an
/// error rather than absent.
pub(super) fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Opens a regular file, and gives its length. Devices and pipes, which may block or never end, are
/// refused unopened.
pub(super) fn open_regular(path: &Path) -> Result<(File, u64)> {
    let refused = |source| Error::io(path, "opened", source);
    if !fs::metadata(path).map_err(refused)?.is_file() {
        return Err(Error::unsupported(path, "is not a regular file"));
    }
    let file = File::open(path).map_err(refused)?;
    let bytes = file.metadata().map_err(refused)?.len();
    Ok((file, bytes))
}

/// The content of a file of at most `limit` bytes.
pub(super) fn read_limited(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let (file, bytes) = open_regular(path)?;
    if bytes > limit {
        let reason = format!("has {bytes} bytes, expected at most {limit}");
        return Err(Error::unsupported(path, reason));
    }
    let mut content = Vec::new();
    let read = file.take(limit).read_to_end(&mut content);
    read.map_err(|source| Error::io(path, "read", source))?;
    Ok(content)
}

/// The object that a JSON text is. Anything else is refused.
pub(super) fn parse_object(path: &Path, text: &[u8]) -> Result<BTreeMap<String, Json>> {
    match serde_json::from_slice(text) {
        Ok(Json::Object(fields)) => Ok(fields),
        Ok(other) => Err(Error::malformed(path, format!("is {other}, expected a JSON object"))),
        Err(error) => Err(not_json(path, &error)),
    }
}

/// The sentence for a text that `serde_json` refused.
pub(super) fn not_json(path: &Path, error: &serde_json::Error) -> Error {
    Error::malformed(path, format!("is not valid JSON: {}", brief(&error.to_string())))
}

/// A JSON value. Unlike `serde_json::Value` it refuses an object that has a name twice, where a
/// reader that keeps the first and one that keeps the last would disagree.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Json {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    String(String),
    List(Vec<Json>),
    Object(BTreeMap<String, Json>),
}

/// The value as an error calls it.
impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Json::Null => f.write_str("null"),
            Json::Bool(value) => write!(f, "{value}"),
            Json::Integer(value) => write!(f, "{value}"),
            Json::Float(value) => write!(f, "{value:?}"),
            Json::String(value) => write!(f, "\"{}\"", brief(value)),
            Json::List(items) => write!(f, "a list of {} values", items.len()),
            Json::Object(fields) => write!(f, "an object of {} fields", fields.len()),
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Json, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Json;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON value")
            }

            fn visit_unit<E>(self) -> Result<Json, E> {
                Ok(Json::Null)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
                Ok(Json::Bool(value))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
                Ok(Json::Integer(value.into()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
                Ok(Json::Integer(value.into()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
                Ok(Json::Float(value))
            }

            fn visit_str<E>(self, value: &str) -> Result<Json, E> {
                Ok(Json::String(value.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(Json::List(list))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Json, A::Error> {
                unique_fields(map).map(Json::Object)
            }
        }

        deserializer.deserialize_any(Any)
    }
}

/// The fields of an object, each name once.
pub(super) fn unique_fields<'de, V: Deserialize<'de>, A: MapAccess<'de>>(
    mut map: A,
) -> Result<BTreeMap<String, V>, A::Error> {
    let mut fields = BTreeMap::new();
    while let Some(name) = map.next_key::<String>()? {
        if fields.contains_key(&name) {
            return Err(A::Error::custom(format_args!("{} appears twice", brief(&name))));
        }
        fields.insert(name, map.next_value()?);
    }
    Ok(fields)
}
