//! Embeddings that a run makes of its data's pictures or texts before it begins.

use super::settings::Settings;
use crate::Result;
use crate::device::Device;

/// What is told while embeddings are made: of what, how many are done, and how many there are.
pub type Watch<'a> = &'a dyn Fn(&'static str, u64, u64);

/// The same settings with embeddings where they name an encoder: computed, or found in the cache.
///
/// # Errors
/// Pictures or texts that cannot be embedded; an encoder that cannot be read.
#[cfg(all(feature = "encode", feature = "pictures"))]
pub(super) fn with_embeddings(device: &Device, settings: &Settings, watch: Option<Watch<'_>>) -> Result<Settings> {
    use super::settings::Stage;
    use crate::align::{Method, Statistics};
    use crate::encode::cache::EmbeddingCache;
    use crate::encode::image_width;
    use crate::io::{AdapterWeights, DecoderConfig, EncoderId};

    let mut found = settings.clone();
    let Some(model) = settings.encoder() else { return Ok(found) };
    // What does not fit is said before hours of work, not behind them.
    if let (Some(stats), Stage::One, false) = (&settings.stats, settings.stage, settings.any_encoder) {
        let statistics = Statistics::load(stats)?;
        if settings.aligner.unwrap_or(statistics.method) != Method::None {
            statistics.check_source_encoders(&[EncoderId::of_model(model)?], false)?;
        }
    }
    if let (Some(path), Stage::Two) = (&settings.init_adapter, settings.stage) {
        let hidden = DecoderConfig::read(&settings.model)?.hidden_size;
        AdapterWeights::load(path)?.check_fits(image_width(model)?, hidden, path)?;
    }
    let folder = settings.cache.clone().unwrap_or_else(|| settings.out.join("embeddings"));
    let precision = settings.precision.unwrap_or_default();
    let cache = EmbeddingCache::new(folder).skip_bad(settings.skip_bad).precision(precision).watch(watch);
    let kept = rows_of(&cache, device, (model, settings), &settings.data)?;
    found.skip_missing |= kept.bad > 0;
    (found.embeddings, found.ids) = (vec![kept.rows], Some(kept.ids));
    if let (Some(data), true) = (&settings.eval_data, settings.eval_embeddings.is_empty()) {
        let kept = rows_of(&cache, device, (model, settings), data)?;
        found.skip_missing |= kept.bad > 0;
        (found.eval_embeddings, found.eval_ids) = (vec![kept.rows], Some(kept.ids));
    }
    Ok(found)
}

#[cfg(all(feature = "encode", feature = "pictures"))]
fn rows_of(
    cache: &crate::encode::cache::EmbeddingCache<'_>,
    device: &Device,
    (model, settings): (&std::path::Path, &Settings),
    data: &std::path::Path,
) -> Result<crate::encode::cache::KeptRows> {
    use super::settings::Stage;
    use crate::encode::cache::PictureRecords;
    use crate::io::{Extent, NamedTexts};

    match settings.stage {
        Stage::One => cache.texts(device, model, &NamedTexts::read(data, settings.join)?),
        Stage::Two => {
            let (root, join, skip_missing) = (settings.images_root.as_deref(), settings.join, settings.skip_missing);
            cache.pictures_of(device, model, &PictureRecords { data, root, join, skip_missing, extent: Extent::All })
        }
    }
}

/// The settings as they are: this build has no encoders.
///
/// # Errors
/// They name one.
#[cfg(not(all(feature = "encode", feature = "pictures")))]
pub(super) fn with_embeddings(_device: &Device, settings: &Settings, _watch: Option<Watch<'_>>) -> Result<Settings> {
    match settings.encoder() {
        None => Ok(settings.clone()),
        Some(model) => {
            let problem = "this build has no encoders; name embeddings, or build realign with the features `encode` and `pictures`";
            Err(crate::Error::argument("setting", format!("{}: {problem}", model.display())))
        }
    }
}
