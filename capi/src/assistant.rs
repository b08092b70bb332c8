//! Assistants: a language model behind an adapter, asked about an embedding.

use std::ffi::{c_char, c_void};
use std::ops::ControlFlow;
use std::sync::Arc;

use realign::inference::{AnswerOptions, Assistant, End};
use realign::io::{Role, Turn};

use super::device::RealignDevice;
use super::status::{Failure, Result, guard, guard_value};
use super::{RealignStatus, input, output};

/// A language model with its adapter, ready to answer. It may be shared between threads.
pub struct RealignAssistant(pub(crate) Arc<Assistant>);

/// How an answer is made. All zeros, or NULL for the whole, are the defaults.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct RealignAnswerOptions {
    /// Most tokens of an answer; 0 for 128.
    pub max_tokens: usize,
    /// 0: always the most likely token; above it tokens are drawn, the more freely the higher.
    pub temperature: f32,
    /// Draw among the most likely tokens that make up this much probability, up to 1; 0 for 1.
    pub top_p: f32,
    /// Same seed, same tokens on the same device.
    pub seed: u64,
    /// End at the first newline.
    pub one_line: bool,
}

/// Why an answer ended.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RealignEnd {
    /// It has not yet.
    None = 0,
    /// The model said so.
    Finished = 1,
    /// The most tokens, or the model's longest context, were reached.
    Length = 2,
    /// The callback asked for it.
    Stopped = 3,
}

impl From<End> for RealignEnd {
    fn from(end: End) -> Self {
        match end {
            End::Finished => RealignEnd::Finished,
            End::Length => RealignEnd::Length,
            End::Stopped => RealignEnd::Stopped,
        }
    }
}

/// Gets the next piece of an answer: `text_len` bytes of UTF-8, whole characters, with a NUL behind them, which are gone when it returns. `user_data` is what
/// the call was given. It returns 0 to go on, anything else to end the answer. It must not throw, nor leave by longjmp.
pub type RealignOnText =
    Option<unsafe extern "C" fn(text: *const c_char, text_len: usize, user_data: *mut c_void) -> i32>;

/// Reads a language model, a folder as Hugging Face has it or a GGUF file, and an adapter, a safetensors file as `realign train` writes it. Without an adapter,
/// NULL, it is asked in text alone.
///
/// # Safety
/// `device` is a device; `model` is a string, `adapter` NULL or one; `out` points to a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realign_assistant_load(
    device: *const RealignDevice,
    model: *const c_char,
    adapter: *const c_char,
    out: *mut *mut RealignAssistant,
) -> RealignStatus {
    guard(|| {
        // SAFETY: as this function's caller says.
        let (out, device) = unsafe { (output::object(out)?, &input::shared("device", device)?.device) };
        // SAFETY: as this function's caller says.
        let (model, adapter) = unsafe { (input::path("model", model)?, input::optional_text("adapter", adapter)?) };
        let assistant = match adapter {
            Some(adapter) => Assistant::open(device, model, adapter.as_ref(), None)?,
            None => Assistant::open_text(device, model, Default::default())?,
        };
        out.give(RealignAssistant(Arc::new(assistant)));
        Ok(())
    })
}

/// Numbers of the embeddings that it is asked about; 0 for NULL.
///
/// # Safety
/// `assistant` is NULL or an assistant.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realign_assistant_width(assistant: *const RealignAssistant) -> usize {
    // SAFETY: as this function's caller says.
    guard_value(0, || unsafe { input::shared("assistant", assistant) }.map_or(0, |a| a.0.model.adapter.input()))
}

/// Whether the adapter was trained on rows of length 1, so that encoders should be loaded with `unit_rows`: 1 if so, 0 if not, -1 where its file does not
/// say.
///
/// # Safety
/// `assistant` is NULL or an assistant.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realign_assistant_unit_rows(assistant: *const RealignAssistant) -> i32 {
    guard_value(-1, || {
        // SAFETY: as this function's caller says.
        let assistant = unsafe { input::shared("assistant", assistant) };
        assistant.ok().and_then(|a| a.0.model.adapter.unit_rows()).map_or(-1, i32::from)
    })
}

/// The library's options.
///
/// # Safety
/// `options` is null or points to options.
pub(crate) unsafe fn answer_options(options: *const RealignAnswerOptions) -> Result<AnswerOptions> {
    // SAFETY: as the caller says.
    let Some(given) = (unsafe { input::optional("options", options)? }) else { return Ok(AnswerOptions::default()) };
    let mut options = AnswerOptions { one_line: given.one_line, ..AnswerOptions::default() };
    if given.max_tokens != 0 {
        options.max_tokens = given.max_tokens;
    }
    if given.top_p != 0.0 {
        options.sampling.top_p = given.top_p;
    }
    (options.sampling.temperature, options.sampling.seed) = (given.temperature, given.seed);
    Ok(options)
}

/// What the model reads for a question, about an image or in text alone.
pub(crate) fn entries(assistant: &Assistant, question: &str, image: bool) -> Result<Vec<u32>> {
    let text = if image { format!("<image>\n{question}") } else { question.to_owned() };
    Ok(assistant.chat(&[Turn { role: Role::User, text }])?)
}

/// An embedding that may be left out.
///
/// # Safety
/// `embedding` is null or points to so many numbers.
pub(crate) unsafe fn embedding_of<'a>(embedding: *const f32, len: usize) -> Result<Option<&'a [f32]>> {
    if embedding.is_null() && len == 0 {
        return Ok(None);
    }
    // SAFETY: as the caller says.
    unsafe { input::values("embedding", embedding, len) }.map(Some)
}

/// Asks a question about an embedding of `embedding_len` numbers, or in text alone (NULL and 0), and waits for the answer. `on_text` gets it piece by piece, on
/// this thread, and may end it; `end`, unless NULL, gets why it ended.
///
/// # Safety
/// `assistant` is an assistant; `embedding` is NULL or points to so many numbers; `question` is a string; `options` is NULL or points to options; `on_text` may
/// be called with `user_data`; `end` is NULL or points to memory for one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realign_assistant_ask(
    assistant: *const RealignAssistant,
    embedding: *const f32,
    embedding_len: usize,
    question: *const c_char,
    options: *const RealignAnswerOptions,
    on_text: RealignOnText,
    user_data: *mut c_void,
    end: *mut RealignEnd,
) -> RealignStatus {
    guard(|| {
        // SAFETY: as this function's caller says.
        let (assistant, question) =
            unsafe { (&input::shared("assistant", assistant)?.0, input::text("question", question)?) };
        // SAFETY: as this function's caller says.
        let (embedding, options) = unsafe { (embedding_of(embedding, embedding_len)?, answer_options(options)?) };
        // SAFETY: as this function's caller says.
        let end = unsafe { output::optional_place("end", end)? };
        let on_text =
            on_text.ok_or_else(|| Failure::new(RealignStatus::NullPointer, "on_text is null; nobody would hear it"))?;
        let entries = entries(assistant, question, embedding.is_some())?;
        let mut piece = Vec::new();
        let answer = assistant.answer((&entries, embedding), &options, |text| {
            piece.clear();
            piece.extend_from_slice(text.as_bytes());
            piece.push(0);
            // SAFETY: the piece lives until it returns and ends with NUL; the caller answers for the function and its data.
            match unsafe { on_text(piece.as_ptr().cast(), text.len(), user_data) } {
                0 => ControlFlow::Continue(()),
                _ => ControlFlow::Break(()),
            }
        })?;
        if let Some(end) = end {
            end.set(answer.end.into());
        }
        Ok(())
    })
}

/// Frees an assistant. Answers that it began go on with it.
///
/// # Safety
/// `assistant` is NULL or an assistant that is not used any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realign_assistant_free(assistant: *mut RealignAssistant) {
    // SAFETY: as this function's caller says.
    unsafe { output::free(assistant) }
}
