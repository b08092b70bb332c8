//! Jinja2 as Transformers sets it up for chat templates (`utils/chat_template_utils.py`), on minijinja.
//!
//! What minijinja does not know is written in its own words before it reads a template ([`translate`]): line ends, as Jinja2's lexer
//! has them; `{% generation %}` blocks; `'…' % value`. Values print as Python's `str` writes them.

use std::fmt::Write;
use std::path::Path;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Environment, ErrorKind, State};

use super::date::ChatDate;
use crate::{Error, Result};

type Outcome<T> = std::result::Result<T, minijinja::Error>;

/// Steps that a template may take.
const FUEL: u64 = 50_000_000;
/// Around what a `{% generation %}` block writes. No character: Unicode keeps these code points for a program's own use.
pub(super) const BLOCK: [char; 2] = ['\u{FDD0}', '\u{FDD1}'];
/// Stands for a response while its place is looked for; such a code point, too.
pub(super) const MARKER: char = '\u{FDD2}';
/// The template's name in its environment.
pub(super) const TEMPLATE: &str = "chat";

/// An environment with one template.
pub(super) fn environment(source: &str, path: &Path) -> Result<Environment<'static>> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.map_err(|e| Error::format(path, format!("the chat template's syntax: {e}")))?);
    // A folder from anywhere must not keep us busy for ever.
    environment.set_fuel(Some(FUEL));
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.set_formatter(|out, _, value| {
        let mut text = String::new();
        python_str(&mut text, value)?;
        out.write_str(&text).map_err(Into::into)
    });
    environment.add_function("raise_exception", |message: String| -> Outcome<String> { Err(refused(message)) });
    environment.add_function("_generation", generation);
    environment.add_filter("_percent", percent);
    environment.add_filter("tojson", to_json);
    set_date(&mut environment, ChatDate::now);
    environment
        .add_template_owned(TEMPLATE, translate(source))
        .map_err(|e| Error::format(path, format!("the chat template is not valid: {e}")))?;
    Ok(environment)
}

/// What `strftime_now` says from now on, asked each time.
pub(super) fn set_date(environment: &mut Environment<'static>, date: impl Fn() -> ChatDate + Send + Sync + 'static) {
    environment.add_function("strftime_now", move |format: String| -> Outcome<String> {
        date().format(&format).ok_or_else(|| refused(format!("strftime_now knows no format {format:?}")))
    });
}

fn refused(message: String) -> minijinja::Error {
    minijinja::Error::new(ErrorKind::InvalidOperation, message)
}

/// The body of a `{% generation %}` block, marked.
fn generation(state: &mut State<'_, '_>, kwargs: Kwargs) -> Outcome<String> {
    let body: Value = kwargs.get("caller")?;
    Ok(format!("{}{}{}", BLOCK[0], body.call(state, &[])?, BLOCK[1]))
}

/// Python's `format % value`, where a tuple holds several values.
fn percent(state: &mut State<'_, '_>, format: Value, value: Value) -> Outcome<Value> {
    let mut values = vec![format];
    match value.kind() {
        ValueKind::Seq => values.extend(value.try_iter()?),
        _ => values.push(value),
    }
    state.apply_filter("format", &values)
}

/// As Python's `str` writes a value.
fn python_str(out: &mut String, value: &Value) -> Outcome<()> {
    match value.as_str() {
        Some(text) => out.push_str(text),
        None => python_repr(out, value)?,
    }
    Ok(())
}

/// As Python's `repr` writes a value.
fn python_repr(out: &mut String, value: &Value) -> Outcome<()> {
    match value.kind() {
        ValueKind::Undefined => {}
        ValueKind::None => out.push_str("None"),
        ValueKind::Bool => out.push_str(if value.is_true() { "True" } else { "False" }),
        ValueKind::String => {
            let text = value.as_str().unwrap_or_default();
            let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
            out.push(quote);
            for c in text.chars() {
                match c {
                    '\\' => out.push_str("\\\\"),
                    '\n' => out.push_str("\\n"),
                    '\r' => out.push_str("\\r"),
                    '\t' => out.push_str("\\t"),
                    c if c == quote => out.extend(['\\', c]),
                    c => out.push(c),
                }
            }
            out.push(quote);
        }
        ValueKind::Seq => {
            out.push('[');
            for (i, item) in value.try_iter()?.enumerate() {
                out.push_str(if i > 0 { ", " } else { "" });
                python_repr(out, &item)?;
            }
            out.push(']');
        }
        ValueKind::Map => {
            out.push('{');
            for (i, key) in value.try_iter()?.enumerate() {
                out.push_str(if i > 0 { ", " } else { "" });
                python_repr(out, &key)?;
                out.push_str(": ");
                python_repr(out, &value.get_item(&key)?)?;
            }
            out.push('}');
        }
        _ => out.push_str(&value.to_string()),
    }
    Ok(())
}

/// How `json.dumps` writes.
struct JsonStyle {
    ascii: bool,
    indent: Option<String>,
    item: String,
    key: String,
    sorted: bool,
}

/// Transformers' `tojson`: Python's `json.dumps` with its options, `ensure_ascii` off unless asked for.
fn to_json(value: Value, kwargs: Kwargs) -> Outcome<Value> {
    let indent: Option<Value> = kwargs.get("indent")?;
    let indent = indent.filter(|value| !value.is_none()).map(|value| match value.as_str() {
        Some(text) => Ok(text.to_owned()),
        None => usize::try_from(value).map(|n| " ".repeat(n)),
    });
    let indent = indent.transpose()?;
    let separators: Option<Value> = kwargs.get("separators")?;
    let (item, key) = match separators.filter(|value| !value.is_none()) {
        Some(pair) => (text_of(&pair.get_item_by_index(0)?), text_of(&pair.get_item_by_index(1)?)),
        None => ((if indent.is_some() { "," } else { ", " }).to_owned(), ": ".to_owned()),
    };
    let switch = |name| Ok::<_, minijinja::Error>(kwargs.get::<Option<bool>>(name)?.unwrap_or(false));
    let style = JsonStyle { ascii: switch("ensure_ascii")?, indent, item, key, sorted: switch("sort_keys")? };
    kwargs.assert_all_used()?;
    let mut out = String::new();
    dump(&mut out, &value, &style, 0)?;
    Ok(Value::from(out))
}

fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn dump(out: &mut String, value: &Value, style: &JsonStyle, depth: usize) -> Outcome<()> {
    let line = |out: &mut String, depth| {
        if let Some(indent) = &style.indent {
            out.push('\n');
            out.push_str(&indent.repeat(depth));
        }
    };
    match value.kind() {
        ValueKind::None => out.push_str("null"),
        ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => out.push_str(&value.to_string()),
        ValueKind::String => dump_text(out, value.as_str().unwrap_or_default(), style.ascii),
        kind @ (ValueKind::Seq | ValueKind::Iterable | ValueKind::Map) => {
            let map = kind == ValueKind::Map;
            let mut items: Vec<Value> = value.try_iter()?.collect();
            if map && style.sorted {
                items.sort();
            }
            out.push(if map { '{' } else { '[' });
            for (i, item) in items.iter().enumerate() {
                out.push_str(if i > 0 { &style.item } else { "" });
                line(out, depth + 1);
                match map {
                    true => {
                        dump_text(out, &text_of(item), style.ascii);
                        out.push_str(&style.key);
                        dump(out, &value.get_item(item)?, style, depth + 1)?;
                    }
                    false => dump(out, item, style, depth + 1)?,
                }
            }
            if !items.is_empty() {
                line(out, depth);
            }
            out.push(if map { '}' } else { ']' });
        }
        other => return Err(refused(format!("tojson cannot write {other}"))),
    }
    Ok(())
}

fn dump_text(out: &mut String, text: &str, ascii: bool) {
    // serde_json escapes just what json.dumps does.
    let quoted = serde_json::Value::from(text).to_string();
    if !ascii {
        return out.push_str(&quoted);
    }
    for c in quoted.chars() {
        let mut units = [0; 2];
        match c.is_ascii() {
            true => out.push(c),
            false => c.encode_utf16(&mut units).iter().for_each(|unit| {
                // Writing into a text cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }),
        }
    }
}

/// A template in minijinja's words.
fn translate(source: &str) -> String {
    // As Jinja2's lexer does: a CR LF in a template is no part of what it writes.
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let (mut out, mut rest) = (String::with_capacity(source.len() + 64), source.as_str());
    while let Some(at) = rest.find('{') {
        let (before, tag) = rest.split_at(at);
        out.push_str(before);
        let (close, code) = match tag.get(..2) {
            Some("{{") => ("}}", true),
            Some("{%") => ("%}", true),
            Some("{#") => ("#}", false),
            _ => {
                out.push('{');
                rest = &tag[1..];
                continue;
            }
        };
        let end = if code { code_end(&tag[2..], close) } else { tag[2..].find(close) };
        let Some(end) = end else {
            // Not closed: minijinja says where.
            out.push_str(tag);
            return out;
        };
        let inner = &tag[2..2 + end];
        out.push_str(&tag[..2]);
        out.push_str(&if code { statement(inner, close) } else { inner.to_owned() });
        out.push_str(close);
        rest = &tag[2 + end + 2..];
    }
    out.push_str(rest);
    out
}

/// Where a tag's code ends: strings may hold its closing mark.
fn code_end(code: &str, close: &str) -> Option<usize> {
    let mut at = 0;
    while at < code.len() {
        if let Some(n) = string_length(&code[at..]) {
            at += n;
        } else if code[at..].starts_with(close) {
            return Some(at);
        } else {
            at += code[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    None
}

/// The length in bytes of the string that a code begins with, if it does.
fn string_length(code: &str) -> Option<usize> {
    let quote = code.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let mut escaped = false;
    let end = code[1..].find(|c| {
        let ends = c == quote && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    });
    Some(end.map_or(code.len(), |end| end + 2))
}

/// The code of one tag.
fn statement(code: &str, close: &str) -> String {
    let signs: &[char] = &['-', '+'];
    let (open, shut) = (code.strip_prefix(signs), code.strip_suffix(signs));
    let inner = open.unwrap_or(code);
    let inner = if shut.is_some() && inner.len() > 1 { inner.strip_suffix(signs).unwrap_or(inner) } else { inner };
    let renamed = match (close, inner.trim()) {
        ("%}", "generation") => " call _generation() ",
        ("%}", "endgeneration") => " endcall ",
        _ => return percents(code),
    };
    let sign = |part: Option<&str>, at: Option<char>| if part.is_some() { at.map(String::from) } else { None };
    let first = sign(open, code.chars().next()).unwrap_or_default();
    let last = sign(shut, code.chars().next_back()).unwrap_or_default();
    format!("{first}{renamed}{last}")
}

/// `'…' % value` as a filter.
fn percents(code: &str) -> String {
    let (mut out, mut at) = (String::with_capacity(code.len()), 0);
    while at < code.len() {
        let Some(n) = string_length(&code[at..]) else {
            let c = code[at..].chars().next().unwrap_or(' ');
            out.push(c);
            at += c.len_utf8();
            continue;
        };
        out.push_str(&code[at..at + n]);
        at += n;
        let after = code[at..].trim_start();
        let Some(value) = after.strip_prefix('%').map(str::trim_start) else { continue };
        let length = operand_length(value);
        if length > 0 {
            // A bracket around what may be a tuple, or have filters of its own.
            let _ = write!(out, "|_percent({})", percents(&value[..length]));
            at = code.len() - value.len() + length;
        }
    }
    out
}

/// The length of the value that a code begins with: a name, a literal or a bracket, with what is called, indexed or filtered of it.
fn operand_length(code: &str) -> usize {
    let bracket = |code: &str| -> usize {
        let (mut depth, mut at) = (0usize, 0);
        while at < code.len() {
            if let Some(n) = string_length(&code[at..]) {
                at += n;
                continue;
            }
            let c = code[at..].chars().next().unwrap_or(' ');
            at += c.len_utf8();
            match c {
                '(' | '[' | '{' => depth += 1,
                ')' | ']' | '}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
        at
    };
    let word = |code: &str| code.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(code.len());
    let mut at = match string_length(code) {
        Some(n) => n,
        None if code.starts_with(['(', '[', '{']) => bracket(code),
        None => word(code),
    };
    while at > 0 && at < code.len() {
        let rest = &code[at..];
        let space = rest.len() - rest.trim_start().len();
        at += match rest.chars().next() {
            Some('.') => 1 + word(&rest[1..]),
            Some('(' | '[') => bracket(rest),
            _ if rest[space..].starts_with('|') => {
                let name = rest[space + 1..].trim_start();
                rest.len() - name.len() + word(name)
            }
            _ => break,
        };
    }
    at
}

#[cfg(test)]
mod tests {
    use minijinja::context;

    use super::*;

    fn render(source: &str) -> String {
        let environment = environment(source, Path::new("chat_template.jinja")).unwrap();
        let values = context! { name => "Åsa", n => 3, list => ["a", "it's"], yes => true, nothing => (), map => context! { b => 1, a => "é<" } };
        environment.get_template(TEMPLATE).unwrap().render(values).unwrap()
    }

    /// Each right side is Jinja2's, as Transformers 5.24 compiles it.
    #[test]
    fn templates_write_what_jinja2_writes() {
        for (source, wanted) in [
            ("a\r\nb\rc\n{{ n }}\n", "a\nb\nc\n3"),
            ("{{ yes }} {{ nothing }} {{ list }} {{ absent }}{{ 1.0 }}", "True None ['a', \"it's\"] 1.0"),
            (
                "{{ '%s!' % name }} {{ '%s and %d' % (name, n) }} {{ n % 2 }} {{ '%s' % list[0]|upper ~ 'x' }}",
                "Åsa! Åsa and 3 1 Ax",
            ),
            ("{% set x = '%05.2f' % n %}{{ x }} {{ '100%' }} {{ \"a % b\" }}", "03.00 100% a % b"),
            ("{{ map|tojson }}", r#"{"b": 1, "a": "é<"}"#),
            ("{{ map|tojson(indent=2) }}", "{\n  \"b\": 1,\n  \"a\": \"é<\"\n}"),
            (
                "{{ map|tojson(sort_keys=true, separators=(',', ':'), ensure_ascii=True) }}",
                "{\"a\":\"\\u00e9<\",\"b\":1}",
            ),
            ("{{ []|tojson(indent=1) }}{{ [nothing, yes, 1.5]|tojson }}", "[][null, true, 1.5]"),
            ("{# {{ '%' #}{{ name }}", "Åsa"),
        ] {
            assert_eq!(render(source), wanted, "{source}");
        }
    }

    #[test]
    fn generation_blocks_are_marked() {
        let [open, close] = BLOCK;
        let text = render(
            "{% for x in list %}\n<{%- generation -%} {{ x }}{{ loop.index }} {% endgeneration %}>\n{% endfor %}",
        );
        assert_eq!(text, format!("<{open}a1 {close}>\n<{open}it's2 {close}>\n"));
    }

    #[test]
    fn dates_are_the_callers() {
        let mut environment = environment("{{ strftime_now('%d %b %Y') }}", Path::new("x")).unwrap();
        let date: ChatDate = "2024-07-26".parse().unwrap();
        set_date(&mut environment, move || date);
        assert_eq!(environment.get_template(TEMPLATE).unwrap().render(()).unwrap(), "26 Jul 2024");
    }
}
