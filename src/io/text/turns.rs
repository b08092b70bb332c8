//! Conversations as they are written down: LLaVA's `conversations` of `from` and `value`, or `messages` of `role` and `content`.

use serde_json::{Map, Value};

use super::chat::{IMAGE, Role, Turn};
use super::images::Image;
use super::samples::Join;
use crate::io::records;

/// Fields that hold a record's turns.
const LISTS: [&str; 2] = ["conversations", "messages"];
/// Fields of a turn that say whether it is trained on, as several trainers have them.
const WEIGHTS: [&str; 3] = ["weight", "loss", "train"];

/// A record's conversation.
#[derive(Debug)]
pub(super) struct Conversation {
    /// What may name its image's embedding; nothing for text alone.
    pub names: Vec<String>,
    /// Its turns, with `<image>` once in one of them if it has an image.
    pub turns: Vec<Turn>,
    /// Whether a response before the first question was dropped.
    pub dropped: bool,
}

/// Whether a record is a conversation.
pub(in crate::io) fn is_conversation(object: &Map<String, Value>) -> bool {
    LISTS.iter().any(|name| object.get(*name).is_some_and(|value| !value.is_null()))
}

/// Reads a record's conversation: its turns, its image, and where that stands.
pub(super) fn parse(object: &Map<String, Value>, join: Join) -> Result<Conversation, String> {
    let (mut turns, inside) = turns(object)?;
    let mut image = Image::of(object)?;
    if let (Image::Absent | Image::Unnamed, Image::Named(_) | Image::Unnamed) = (&image, &inside) {
        image = inside;
    }
    let names = image.names(object, join)?;
    let dropped = drop_leading_response(&mut turns);
    check_order(&turns)?;
    place_image(&mut turns, !names.is_empty())?;
    Ok(Conversation { names, turns, dropped })
}

/// Refuses turns of another weight than 1: all responses are learnt alike.
pub(super) fn check_weights(object: &Map<String, Value>) -> Result<(), String> {
    let list = LISTS.iter().find_map(|name| object.get(*name).and_then(Value::as_array));
    for (i, turn) in list.into_iter().flatten().enumerate() {
        let from = turn.get("from").or(turn.get("role")).and_then(Value::as_str).unwrap_or_default();
        if role(from) != Some(Role::Assistant) {
            continue;
        }
        for name in WEIGHTS {
            let value = turn.get(name).unwrap_or(&Value::Null);
            let plain = value.is_null() || value.as_bool() == Some(true) || value.as_f64() == Some(1.0);
            if !plain {
                let problem = format!("turn {i}: {name:?} is {}", records::short(value));
                return Err(format!(
                    "{problem}, but all responses are learnt with weight 1; remove the turn or its {name:?}"
                ));
            }
        }
    }
    Ok(())
}

/// The caption of a record in the form of LLaVA's pretraining, one question with the image and its answer: the answer, as the
/// published preprocessing takes it.
pub(super) fn pretraining_caption(object: &Map<String, Value>) -> Result<String, String> {
    let (turns, inside) = turns(object)?;
    let [question, answer] = &turns[..] else {
        let problem = format!("its conversation has {} turns", turns.len());
        return Err(format!(
            "{problem}; a caption is one human turn with {IMAGE} and one gpt turn, or a field \"text\""
        ));
    };
    if (question.role, answer.role) != (Role::User, Role::Assistant) {
        return Err("its conversation is not one human turn and then one gpt turn, so it has no caption".to_string());
    }
    let image = question.text.contains(IMAGE) || inside != Image::Absent || Image::of(object)? != Image::Absent;
    match (image, answer.text.contains(IMAGE)) {
        (true, false) => Ok(answer.text.clone()),
        (true, true) => Err(format!("{IMAGE} belongs into the human turn, but the gpt turn has it")),
        (false, _) => Err(format!("its conversation is about no image: {IMAGE} is in no turn, so it has no caption")),
    }
}

/// The list of turns, and the image that a part of one names.
fn turns(object: &Map<String, Value>) -> Result<(Vec<Turn>, Image), String> {
    let mut lists =
        LISTS.iter().filter_map(|name| Some((*name, object.get(*name)?))).filter(|(_, list)| !list.is_null());
    let list = match (lists.next(), lists.next()) {
        (Some((a, _)), Some((b, _))) => return Err(format!("has both {a:?} and {b:?}; remove one of them")),
        (Some((_, Value::Array(list))), None) => list,
        (Some((name, other)), None) => {
            return Err(format!("field {name:?} is {}, but a list is needed", records::short(other)));
        }
        (None, _) => return Err(records::text(object, LISTS[0]).err().unwrap_or_default()),
    };
    let mut image = Image::Absent;
    let mut turns = Vec::with_capacity(list.len() + 1);
    turns.extend(system(object)?);
    for (i, value) in list.iter().enumerate() {
        let within = |problem: String| format!("turn {i}: {problem}");
        let (turn, named) = turn(value).map_err(within)?;
        if let (Image::Named(a), Image::Named(b)) = (&image, &named)
            && a != b
        {
            return Err(within(format!("a second image {b:?} beside {a:?}; there is one embedding per record")));
        }
        if named != Image::Absent {
            image = named;
        }
        turns.push(turn);
    }
    Ok((turns, image))
}

/// The system's turn of a record that has it as a field of its own.
fn system(object: &Map<String, Value>) -> Result<Option<Turn>, String> {
    match object.get("system") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.trim().is_empty() => Ok(None),
        Some(Value::String(text)) => Ok(Some(Turn { role: Role::System, text: text.clone() })),
        Some(other) => Err(format!("field \"system\" is {}, but a text is needed", records::short(other))),
    }
}

/// A role by its name in any case.
fn role(name: &str) -> Option<Role> {
    Role::parse(&name.trim().to_ascii_lowercase())
}

fn turn(value: &Value) -> Result<(Turn, Image), String> {
    let turn = value.as_object().ok_or_else(|| format!("{} is no object", records::short(value)))?;
    let field = |names: [&'static str; 2]| match turn.get(names[0]) {
        None | Some(Value::Null) if turn.contains_key(names[1]) => names[1],
        _ => names[0],
    };
    let from = records::text(turn, field(["from", "role"]))?;
    let role = role(from)
        .ok_or_else(|| format!("unknown role {from:?}; known are system, human (or user) and gpt (or assistant)"))?;
    let name = field(["value", "content"]);
    let (text, image) = match turn.get(name) {
        Some(Value::Array(parts)) => parts_text(parts)?,
        _ => (records::text(turn, name)?.to_string(), Image::Absent),
    };
    match text.trim().is_empty() {
        true => Err(format!("the text of {from:?} is empty")),
        false => Ok((Turn { role, text }, image)),
    }
}

/// The text of a content in parts, `<image>` for the image's, and the image that it names.
fn parts_text(parts: &[Value]) -> Result<(String, Image), String> {
    let (mut text, mut image) = (String::new(), Image::Absent);
    for (i, part) in parts.iter().enumerate() {
        let within = |problem: String| format!("part {i} of its content: {problem}");
        if let Value::String(plain) = part {
            text += plain;
            continue;
        }
        let object = part.as_object().ok_or_else(|| within(format!("{} is no object", records::short(part))))?;
        match records::text(object, "type").map_err(within)? {
            "text" => text += records::text(object, "text").map_err(within)?,
            "image" | "image_url" => {
                text += IMAGE;
                image = Image::of_part(object).map_err(within)?;
            }
            other => return Err(within(format!("type {other:?} is unknown; known are text and image"))),
        }
    }
    Ok((text, image))
}

/// Drops a response before the first question, as the published preprocessing does; a second one stays, and is refused.
fn drop_leading_response(turns: &mut Vec<Turn>) -> bool {
    let first = turns.iter().position(|turn| turn.role != Role::System);
    let Some(first) = first.filter(|i| turns[*i].role == Role::Assistant) else { return false };
    turns.remove(first);
    true
}

fn check_order(turns: &[Turn]) -> Result<(), String> {
    let (mut asked, mut answered) = (false, false);
    for turn in turns {
        match turn.role {
            Role::System => {}
            Role::User => asked = true,
            Role::Assistant if !asked => return Err("a second response comes before any question".to_string()),
            Role::Assistant => answered = true,
        }
    }
    match answered {
        true => Ok(()),
        false => Err("the conversation has no response (from \"gpt\") to a question".to_string()),
    }
}

/// Puts `<image>` first in its turn, as the published preprocessing does.
fn place_image(turns: &mut [Turn], image: bool) -> Result<(), String> {
    let marks: usize = turns.iter().map(|turn| turn.text.matches(IMAGE).count()).sum();
    let elsewhere = turns.iter().any(|turn| turn.role != Role::User && turn.text.contains(IMAGE));
    match (marks, image) {
        (0, false) => return Ok(()),
        (0 | 1, true) if !elsewhere => {}
        (_, false) => return Err(format!("the text has {IMAGE}, but the record has no field \"image\"")),
        (0 | 1, true) => return Err(format!("{IMAGE} belongs into a human turn")),
        (_, true) => return Err(format!("{marks} times {IMAGE}; there is one embedding per record")),
    }
    let turn = turns.iter_mut().filter(|turn| turn.role == Role::User).max_by_key(|turn| turn.text.contains(IMAGE));
    // Among equals `max_by_key` takes the last, but without a mark the first turn is meant.
    let turn = match (marks, turn) {
        (1, Some(turn)) => turn,
        _ => turns.iter_mut().find(|turn| turn.role == Role::User).ok_or("the conversation has no human turn")?,
    };
    let rest = turn.text.replace(IMAGE, "");
    turn.text = format!("{IMAGE}\n{}", rest.trim()).trim_end().to_string();
    Ok(())
}
