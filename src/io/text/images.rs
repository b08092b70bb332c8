//! How records name their image, and what that makes the name of its embedding.

use serde_json::{Map, Value};

use super::samples::Join;
use crate::io::records;

/// Fields that name a record's image; the first that holds one counts.
const FIELDS: [&str; 10] = [
    "image",
    "images",
    "image_path",
    "image_paths",
    "image_file",
    "image_name",
    "image_id",
    "image_url",
    "img",
    "img_path",
];
/// Fields of what has no embedding here: a record with one of them is no text alone.
const OTHER_MEDIA: [&str; 4] = ["video", "videos", "audio", "audios"];
/// Fields of an object that stands for an image.
const NAMES: [&str; 5] = ["path", "file_name", "url", "image", "image_url"];

/// What a record says of its image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Image {
    /// It has none.
    Absent,
    /// It has one without a name: its bytes, or a mark alone.
    Unnamed,
    /// It has this one.
    Named(String),
}

impl Image {
    /// The image of a record's own fields; an empty name is none.
    pub(super) fn of(object: &Map<String, Value>) -> Result<Image, String> {
        for field in OTHER_MEDIA {
            if object.get(field).is_some_and(|value| !is_empty(value)) {
                return Err(format!("field {field:?} names what has no embedding here: images alone have one"));
            }
        }
        for field in FIELDS {
            let Some(value) = object.get(field) else { continue };
            let image = Image::of_value(value).map_err(|problem| format!("field {field:?} {problem}"))?;
            if image != Image::Absent {
                return Ok(image);
            }
        }
        Ok(Image::Absent)
    }

    /// The image that a value names: a text, an integer, an object with a path or bytes, or a list of one of them.
    pub(super) fn of_value(value: &Value) -> Result<Image, String> {
        match value {
            value if is_empty(value) => Ok(Image::Absent),
            Value::String(name) if name.starts_with("data:") => Ok(Image::Unnamed),
            Value::Array(list) if list.len() == 1 => Image::of_value(&list[0]),
            Value::Array(list) => {
                let problem = format!("lists {} images: {}", list.len(), records::short(value));
                Err(format!("{problem}; one name is needed, since there is one embedding per record"))
            }
            Value::Object(object) => match name_in(object) {
                Some(named) => Image::of_value(named),
                None if object.get("bytes").is_some_and(|bytes| !bytes.is_null()) => Ok(Image::Unnamed),
                None => Err(format!("is {}, which has neither path nor bytes", records::short(value))),
            },
            _ => match records::id_of(value) {
                Some(name) => Ok(Image::Named(name)),
                None => Err(format!("is {}, but one name is needed", records::short(value))),
            },
        }
    }

    /// The image that a part of a message stands for; it need not name one.
    pub(super) fn of_part(part: &Map<String, Value>) -> Result<Image, String> {
        match name_in(part).map(Image::of_value).transpose()? {
            None | Some(Image::Absent) => Ok(Image::Unnamed),
            Some(named) => Ok(named),
        }
    }

    /// What may name the image's embedding, in the order in which it is looked for; nothing without an image.
    pub(super) fn names(self, object: &Map<String, Value>, join: Join) -> Result<Vec<String>, String> {
        let name = match self {
            Image::Absent => return Ok(Vec::new()),
            Image::Unnamed => None,
            Image::Named(name) => Some(name),
        };
        match join {
            Join::Id => Ok(vec![records::id(object, "id")?]),
            Join::Image => Ok(vec![name.ok_or("its image has no name to be joined by; join by id")?]),
            Join::Auto => {
                let names: Vec<String> = records::id(object, "id").into_iter().chain(name).collect();
                match names.is_empty() {
                    true => Err("neither the record nor its image has a name: there is no field \"id\"".to_string()),
                    false => Ok(names),
                }
            }
        }
    }
}

fn name_in(object: &Map<String, Value>) -> Option<&Value> {
    NAMES.iter().find_map(|name| object.get(*name).filter(|value| !is_empty(value)))
}

/// Null, an empty text, an empty list, or a list of such.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty(),
        Value::Array(list) => list.iter().all(is_empty),
        _ => false,
    }
}
