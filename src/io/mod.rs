//! Files: rows in `.npy`, `.safetensors`, `.parquet` and `.arrow`, one file or many shards; models, adapters and texts.
//!
//! A [`Dataset`] is opened once, header by header, without reading a row. Rows then stream through a [`RowReader`] as
//! tight little-endian bytes and leave through an [`Output`], which mirrors the dataset's shards and becomes visible
//! only when [`Output::commit`] renames its temporary files. Memory stays flat: rows are read and written at their
//! place in the file, never mapped and never gathered.
//!
//! With the feature `cloud` rows, texts and statistics may lie in buckets and be named by URLs ([`is_url`]): objects are read by ranges, and
//! written so that they, too, appear whole or not at all.
//!
//! Language models are read and written in Hugging Face's layout ([`DecoderConfig`], [`Weights`], [`ModelWriter`]), adapters
//! under LLaVA's names ([`AdapterWeights`]). Training joins texts or conversations (`Samples`, with the feature `train`) to rows of
//! embeddings in any order ([`EmbeddingRows`]) by their ids ([`IdIndex`]).
//!
//! Files come from anywhere, so every size in a header is checked against the file's real length before anything is
//! allocated, and every message names the file, the place and the remedy.

#[cfg(target_endian = "big")]
compile_error!("rows are moved between files and memory as little-endian bytes without conversion");

mod arrays;
mod atomic;
pub(crate) mod atomic_folder;
mod behind;
#[cfg(feature = "cloud")]
mod cloud;
mod dataset;
mod embeddings;
mod encoder_id;
#[cfg(feature = "train")]
mod events;
#[cfg(feature = "train")]
pub(crate) mod fingerprint;
mod folder_lock;
mod format;
mod gguf;
mod ids;
mod inputs;
#[cfg(feature = "train")]
pub(crate) use inputs::input_files;
mod model;
mod npy;
mod output;
#[cfg(feature = "parquet")]
mod parquet;
#[cfg(not(feature = "parquet"))]
#[path = "parquet_off.rs"]
mod parquet;
#[cfg(feature = "pictures")]
mod pictures;
pub(crate) mod plain;
mod positional;
mod records;
#[cfg(all(feature = "encode", feature = "pictures"))]
pub(crate) mod rows_file;
mod safetensors;
mod shard_names;
pub(crate) mod source;
mod start;
mod tensor_file;
pub(crate) mod tensor_writer;
#[cfg(feature = "train")]
mod text;
mod texts;
pub(crate) mod url;

pub use arrays::{TableColumn, write_ids, write_npy, write_table};
pub use atomic::{check_writable, write_atomically};
pub use dataset::{Dataset, OpenOptions, RowReader, Shard};
pub use embeddings::EmbeddingRows;
pub use encoder_id::EncoderId;
#[cfg(feature = "train")]
pub use events::EventWriter;
pub use folder_lock::FolderLock;
pub use format::FileFormat;
pub use gguf::GgufSummary;
#[cfg(feature = "train")]
pub use gguf::{GgufType, write_gguf};
pub use ids::{IdIndex, Ids};
#[cfg(feature = "encode")]
pub(crate) use model::encoder;
pub(crate) use model::read_object as read_json_object;
pub use model::{
    Activation, AdapterKind, AdapterLayer, AdapterWeights, DecoderConfig, DecoderShape, Family, LayerKind,
    MAX_SHARD_BYTES, ModelWriter, NormPlacement, QueryKeyNorm, Rope, RopeScaling, Stored, Weights,
};
pub use output::{Output, OutputOptions, ShardWriter};
#[cfg(feature = "pictures")]
pub use pictures::PictureList;
pub(crate) use records::id as record_id;
pub use records::{Record, Records};
pub use start::Start;
pub use tensor_file::{TensorFile, TensorInfo};
pub use tensor_writer::TensorSpec;
#[cfg(feature = "train")]
pub(crate) use text::first_is_conversation;
#[cfg(feature = "train")]
pub use text::{
    ChatDate, ChatTemplate, Extent, IMAGE, Join, NamedPictures, NamedTexts, Question, QuestionOptions, Questions, Role,
    Sample, SampleOptions, Samples, SkipBad, TARGET, TOKEN, TextStream, Tokenizer, Turn, VISUAL,
};
pub use texts::{BadText, TextList, Texts};
pub use url::{check_local, is_url, real_path};
