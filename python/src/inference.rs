//! Answers of a model, piece by piece: each is made on a thread of its own.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use pyo3::prelude::*;
use realign::inference::{AnswerOptions, Assistant as Inner};
use realign::io::{IMAGE, Role, Turn};
use realign::nn::decoder::OpenDecoder;
use realign::nn::decoder::generate::Sampling;

use crate::encode::computing;
use crate::errors::{input, raised};
use crate::options::options;
use crate::rows::{Reading, Rows, element_of};
use crate::work::{self, Stop};

/// Pieces that an answer may be ahead of who reads it.
const AHEAD: usize = 64;

/// A model with its tokenizer, ready to answer.
#[pyclass(frozen, module = "realign._realign")]
pub struct Assistant {
    inner: Arc<Inner>,
    sees: bool,
}

options! {
    /// How a model is opened.
    struct OpenArgs {
        adapter: Option<PathBuf>,
        precision: String,
        weights: Option<String>,
        lora: Option<PathBuf>,
        visual_tokens: Option<usize>,
    }
}

options! {
    /// A question, and how it is answered.
    struct AskArgs {
        prompt: String,
        system: Option<String>,
        plain: bool,
        max_tokens: usize,
        temperature: f32,
        top_p: f32,
        seed: u64,
    }
}

#[pymethods]
impl Assistant {
    #[new]
    fn new(py: Python<'_>, model: PathBuf, args: OpenArgs, device_name: &str) -> PyResult<Self> {
        let (device, precision) = computing(py, &args.precision, device_name)?;
        let weights = match args.weights.as_deref() {
            Some("q8_0") => Some(realign::ElementType::Q8_0),
            name => name.map(|name| element_of("weights", name)).transpose()?,
        };
        let inner = work::run(py, false, |_| {
            let options = OpenDecoder { precision, weights, low_rank: args.lora.as_deref() };
            match &args.adapter {
                Some(adapter) => Inner::open_in(&device, &model, adapter, args.visual_tokens, options),
                None => Inner::open_text(&device, &model, options),
            }
        })?;
        Ok(Assistant { inner: Arc::new(inner), sees: args.adapter.is_some() })
    }

    /// Numbers of an embedding; `None` without an adapter.
    fn width(&self) -> Option<usize> {
        self.sees.then(|| self.inner.model.adapter.input())
    }

    /// Begins an answer.
    #[pyo3(signature = (embedding, args))]
    fn ask(&self, embedding: Option<Bound<'_, PyAny>>, args: AskArgs) -> PyResult<Answer> {
        work::check_process()?;
        let embedding = embedding.map(|object| row(&object)).transpose()?;
        let image = embedding.is_some();
        let (prompt, inner) = (args.prompt.clone(), self.inner.clone());
        if prompt.contains(IMAGE) && (!image || args.plain || prompt.matches(IMAGE).count() > 1) {
            return Err(input(format!("prompt: {IMAGE} stands once for the embedding, and not with plain=True")));
        }
        let entries = match args.plain {
            true => inner.plain(&prompt, image),
            false => {
                let text = if image && !prompt.contains(IMAGE) { format!("{IMAGE}\n{prompt}") } else { prompt };
                let system = args.system.map(|text| Turn { role: Role::System, text });
                inner.chat(&system.into_iter().chain([Turn { role: Role::User, text }]).collect::<Vec<_>>())
            }
        };
        let entries = entries.map_err(raised)?;
        let sampling = Sampling { temperature: args.temperature, top_p: args.top_p, seed: args.seed };
        let options = AnswerOptions { sampling, max_tokens: args.max_tokens, one_line: args.plain };
        let (sender, pieces) = sync_channel(AHEAD);
        let stop = Arc::new(Stop::default());
        let (stopped, said) = (stop.clone(), Arc::new(Mutex::new(None)));
        let whole = said.clone();
        let spawned = std::thread::Builder::new().name("realign answer".to_owned()).spawn(move || {
            let lived = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                say(&inner, (&entries, embedding.as_deref()), &options, &sender, &stopped)
            }));
            match lived.unwrap_or_else(|panic| Err(work::bug(&*panic))) {
                Ok(answer) => *whole.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(answer),
                Err(error) => drop(sender.send(Err(error))),
            }
        });
        spawned.map_err(|problem| raised(realign::Error::io("start", "a thread")(problem)))?;
        Ok(Answer { pieces: Mutex::new(pieces), stop, said })
    }
}

/// Sends the answer's pieces until it ends or nobody wants more.
fn say(
    assistant: &Inner,
    prompt: (&[u32], Option<&[f32]>),
    options: &AnswerOptions,
    sender: &SyncSender<realign::Result<String>>,
    stop: &Stop,
) -> realign::Result<Said> {
    let answer = assistant.answer(prompt, options, |piece| {
        let wanted = !stop.asked() && sender.send(Ok(piece.to_owned())).is_ok() && !stop.asked();
        if wanted { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    Ok((answer.text, answer.tokens, answer.end.name()))
}

/// An embedding `[d]`, or a matrix of one row.
fn row(object: &Bound<'_, PyAny>) -> PyResult<Vec<f32>> {
    match Rows::of(object, "embedding", &Reading::default())? {
        Rows::Array(array) if array.rows == 1 => array.to_f32().map_err(raised),
        other => Err(input(format!("embedding: {} rows; give one, [d]", other.count()))),
    }
}

/// Text, tokens, and why it ended.
type Said = (String, Vec<u32>, &'static str);

/// An answer in the making.
#[pyclass(frozen, module = "realign._realign")]
pub struct Answer {
    pieces: Mutex<Receiver<realign::Result<String>>>,
    stop: Arc<Stop>,
    said: Arc<Mutex<Option<Said>>>,
}

#[pymethods]
impl Answer {
    /// The next piece, `None` at the end.
    fn next(&self, py: Python<'_>) -> PyResult<Option<String>> {
        work::next(py, &self.pieces, &self.stop, || true)
    }

    fn stop(&self) {
        self.stop.ask();
    }

    /// What was said in all; `None` before the end.
    fn said(&self) -> Option<Said> {
        self.said.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.stop.ask();
    }
}
