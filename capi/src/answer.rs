//! Answers that are made piece by piece, within an app's frame loop.

use std::ffi::c_char;
use std::sync::Arc;

use realign::device::{Piece, Pieces, Tensor};
use realign::encode::ImageSpace;
use realign::inference::{AnswerOptions, Answering, Assistant, Reply};

use super::assistant::{RealignAnswerOptions, RealignAssistant, RealignEnd, answer_options, embedding_of, entries};
use super::encoder::RealignImageEncoder;
use super::status::{Failure, Result, guard, guard_value};
use super::{RealignStatus, input, output};

/// Kernels of the encoder that are submitted at a time.
const PIECE: usize = 8;

/// An answer in the making. One thread at a time may use it, not always the same.
pub struct RealignAnswer {
    // In this order: what is being made goes before the assistant that it borrows.
    stage: Stage,
    assistant: Arc<Assistant>,
    /// The piece of text that was given last, with its NUL.
    text: Vec<u8>,
    end: RealignEnd,
}

/// How far an answer is.
enum Stage {
    /// The picture's embedding is computed.
    Seeing(Box<Seeing>),
    /// Borrows the assistant beside it.
    Answering(Box<Answering<'static>>),
    /// A call failed.
    Failed,
}

/// A picture on its way through the tower.
struct Seeing {
    pieces: Pieces,
    row: Tensor,
    /// What the pieces compute in.
    _space: ImageSpace,
    entries: Vec<u32>,
    options: AnswerOptions,
}

/// What a call of realign_answer_poll came to.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RealignReply {
    /// A piece of the work was done or given to the device: call again, if the frame has time left.
    Submitted = 0,
    /// The device is busy with it: go on with the frame.
    Waiting = 1,
    /// Here is the next piece of the text.
    Text = 2,
    /// The answer is complete.
    Done = 3,
}

/// An assistant's borrow that lasts as long as the [`Arc`] that is kept with it.
///
/// # Safety
/// What is made with the borrow goes before the last clone of `assistant` does.
unsafe fn borrowed(assistant: &Arc<Assistant>) -> &'static Assistant {
    // SAFETY: an `Arc`'s value stays where it is until its last clone goes, and nobody has it exclusively; the caller answers for the time.
    unsafe { &*Arc::as_ptr(assistant) }
}

impl RealignAnswer {
    fn of_embedding(
        assistant: &Arc<Assistant>,
        (entries, embedding): (&[u32], Option<&[f32]>),
        options: &AnswerOptions,
    ) -> Result<RealignAnswer> {
        // SAFETY: the answer keeps a clone of the assistant, and drops it after what borrows it.
        let answering = unsafe { borrowed(assistant) }.begin((entries, embedding), options)?;
        Ok(RealignAnswer::at(assistant, Stage::Answering(Box::new(answering))))
    }

    fn of_picture(
        assistant: &Arc<Assistant>,
        encoder: &RealignImageEncoder,
        rgb: (&[u8], usize, usize),
        (entries, options): (Vec<u32>, AnswerOptions),
    ) -> Result<RealignAnswer> {
        let (width, wanted) = (encoder.0.width(), assistant.model.adapter.input());
        if width != wanted {
            let problem =
                format!("the encoder's rows have {width} numbers, and the assistant's adapter takes {wanted}");
            return Err(Failure::new(RealignStatus::Shape, problem));
        }
        let space = ImageSpace::new(&encoder.0, 1)?;
        let (mut recorder, mut pieces) = (encoder.0.device().recorder(), Pieces::default());
        let row = encoder.0.record_rgb(&mut recorder, rgb, &space)?;
        pieces.push(recorder, PIECE);
        let seeing = Seeing { pieces, row, _space: space, entries, options };
        Ok(RealignAnswer::at(assistant, Stage::Seeing(Box::new(seeing))))
    }

    fn at(assistant: &Arc<Assistant>, stage: Stage) -> RealignAnswer {
        RealignAnswer { stage, assistant: assistant.clone(), text: vec![0], end: RealignEnd::None }
    }

    /// Does the next piece of the work; an answer whose piece failed, or panicked, has failed for good.
    fn poll(&mut self) -> Result<RealignReply> {
        let mut stage = std::mem::replace(&mut self.stage, Stage::Failed);
        let reply = self.advance(&mut stage)?;
        self.stage = stage;
        Ok(reply)
    }

    fn advance(&mut self, stage: &mut Stage) -> Result<RealignReply> {
        match stage {
            Stage::Failed => {
                Err(Failure::new(RealignStatus::Argument, "the answer has failed before; free it, and start another"))
            }
            Stage::Seeing(seeing) => match seeing.pieces.submit()? {
                Piece::Submitted => Ok(RealignReply::Submitted),
                Piece::Waiting => Ok(RealignReply::Waiting),
                Piece::Done => {
                    // SAFETY: `self` keeps a clone of the assistant, and drops it after what borrows it.
                    let assistant = unsafe { borrowed(&self.assistant) };
                    let answering = assistant.begin_on((&seeing.entries, &seeing.row), &seeing.options)?;
                    *stage = Stage::Answering(Box::new(answering));
                    Ok(RealignReply::Submitted)
                }
            },
            Stage::Answering(answering) => Ok(match answering.tick()? {
                Reply::Submitted => RealignReply::Submitted,
                Reply::Waiting => RealignReply::Waiting,
                Reply::Text(text) => {
                    self.text.clear();
                    self.text.extend_from_slice(text.as_bytes());
                    self.text.push(0);
                    RealignReply::Text
                }
                Reply::Done(answer) => {
                    self.end = answer.end.into();
                    RealignReply::Done
                }
            }),
        }
    }
}

/// Begins to answer a question about an embedding of `embedding_len` numbers, or in text alone (NULL and 0), without waiting: realign_answer_poll goes on with
/// it. Text, tokens and end are those of realign_assistant_ask.
///
/// # Safety
/// `assistant` is an assistant; `embedding` is NULL or points to so many numbers; `question` is a string; `options` is NULL or points to options; `out` points
/// to a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realign_assistant_start(
    assistant: *const RealignAssistant,
    embedding: *const f32,
    embedding_len: usize,
    question: *const c_char,
    options: *const RealignAnswerOptions,
    out: *mut *mut RealignAnswer,
) -> RealignStatus {
    guard(|| {
        // SAFETY: as this function's caller says.
        let (out, assistant, question) = unsafe {
            (output::object(out)?, &input::shared("assistant", assistant)?.0, input::text("question", question)?)
        };
        // SAFETY: as this function's caller says.
        let (embedding, options) = unsafe { (embedding_of(embedding, embedding_len)?, answer_options(options)?) };
        let entries = entries(assistant, question, embedding.is_some())?;
        out.give(RealignAnswer::of_embedding(assistant, (&entries, embedding), &options)?);
        Ok(())
    })
}

/// As realign_assistant_start, about a picture's pixels, as realign_image_encoder_encode_rgb has them: they are resized before this returns; the encoder, the
/// adapter and the model run piece by piece, and no number is read back between them. Encoder and assistant must be on the same device.
///
/// # Safety
/// `assistant` is an assistant, `encoder` an encoder; `rgb` points to so many bytes; `question` is a string; `options` is NULL or points to options; `out` points to
/// a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realign_assistant_start_rgb(
    assistant: *const RealignAssistant,
    encoder: *const RealignImageEncoder,
    rgb: *const u8,
    rgb_len: usize,
    width: usize,
    height: usize,
    question: *const c_char,
    options: *const RealignAnswerOptions,
    out: *mut *mut RealignAnswer,
) -> RealignStatus {
    guard(|| {
        // SAFETY: as this function's caller says.
        let (out, assistant, question) = unsafe {
            (output::object(out)?, &input::shared("assistant", assistant)?.0, input::text("question", question)?)
        };
        // SAFETY: as this function's caller says.
        let (encoder, rgb, options) = unsafe {
            (input::shared("encoder", encoder)?, input::values("rgb", rgb, rgb_len)?, answer_options(options)?)
        };
        let entries = entries(assistant, question, true)?;
        out.give(RealignAnswer::of_picture(assistant, encoder, (rgb, width, height), (entries, options))?);
        Ok(())
    })
}

/// Goes on with an answer, and never waits for a GPU; on the host engine a piece is computed before this returns. `reply` gets what it came to. With
/// REALIGN_REPLY_TEXT `text` and `text_len`, unless NULL, get the next piece: UTF-8, whole characters, with a NUL behind it, there until the next call on this
/// answer; otherwise "" and 0.
///
/// # Safety
/// `answer` is an answer that no other thread uses meanwhile; `reply` points to memory for one, `text` and `text_len` too or are NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realign_answer_poll(
    answer: *mut RealignAnswer,
    reply: *mut RealignReply,
    text: *mut *const c_char,
    text_len: *mut usize,
) -> RealignStatus {
    guard(|| {
        // SAFETY: as this function's caller says.
        let (answer, reply) = unsafe { (input::exclusive("answer", answer)?, output::place("reply", reply)?) };
        // SAFETY: as this function's caller says.
        let (text, text_len) =
            unsafe { (output::optional_place("text", text)?, output::optional_place("text_len", text_len)?) };
        answer.text.clear();
        answer.text.push(0);
        reply.set(answer.poll()?);
        if let Some(text) = text {
            text.set(answer.text.as_ptr().cast());
        }
        if let Some(text_len) = text_len {
            text_len.set(answer.text.len() - 1);
        }
        Ok(())
    })
}

/// Why the answer ended; REALIGN_END_NONE until realign_answer_poll gave REALIGN_REPLY_DONE, and for NULL.
///
/// # Safety
/// `answer` is NULL or an answer that no other thread uses meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realign_answer_end(answer: *const RealignAnswer) -> RealignEnd {
    // SAFETY: as this function's caller says.
    guard_value(RealignEnd::None, || unsafe { input::shared("answer", answer) }.map_or(RealignEnd::None, |a| a.end))
}

/// Frees an answer, complete or not: what it gave the device to do is done, and no more.
///
/// # Safety
/// `answer` is NULL or an answer that is not used any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realign_answer_free(answer: *mut RealignAnswer) {
    // SAFETY: as this function's caller says.
    unsafe { output::free(answer) }
}
