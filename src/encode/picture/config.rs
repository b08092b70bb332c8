//! What a model's folder says of the preparation of pictures: `preprocessor_config.json` of both generations, or the part of
//! `processor_config.json` that Transformers 5 writes.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::resample::Filter;
use crate::io::read_json_object;
use crate::{Error, Result};

/// To what size a picture is resized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resize {
    /// The shorter side to so many pixels; the proportions are kept.
    ShortestEdge(usize),
    /// To this height and width; the proportions are not kept.
    Exact(usize, usize),
}

/// The steps, in their order; each may be left out.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Steps {
    pub resize: Option<(Resize, Filter)>,
    /// Height and width of the middle that is kept.
    pub crop: Option<(usize, usize)>,
    /// What bytes are multiplied by.
    pub rescale: Option<f64>,
    /// Mean and standard deviation of each channel.
    pub normalize: Option<([f32; 3], [f32; 3])>,
}

/// What Transformers' classes of image processors do unless a file says otherwise.
struct Class {
    /// Its name, without `ImageProcessor` or `FeatureExtractor`.
    stem: &'static str,
    /// `model_type` of the models that it is for.
    models: &'static [&'static str],
    filter: Filter,
    size: Resize,
    /// Whether a size that is one number is the shorter side's.
    edge: bool,
    crop: Option<(usize, usize)>,
    mean: [f64; 3],
    deviation: [f64; 3],
}

const HALF: [f64; 3] = [0.5; 3];

/// The classes that are read.
const CLASSES: [Class; 3] = [
    Class {
        stem: "CLIP",
        models: &["clip", "clip_vision_model", "metaclip_2"],
        filter: Filter::Bicubic,
        size: Resize::ShortestEdge(224),
        edge: true,
        crop: Some((224, 224)),
        mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
        deviation: [0.268_629_54, 0.261_302_58, 0.275_777_11],
    },
    Class {
        stem: "Siglip",
        models: &["siglip", "siglip_vision_model", "siglip2"],
        filter: Filter::Bicubic,
        size: Resize::Exact(224, 224),
        edge: true,
        crop: None,
        mean: HALF,
        deviation: HALF,
    },
    Class {
        stem: "ViT",
        models: &["vit"],
        filter: Filter::Bilinear,
        size: Resize::Exact(224, 224),
        edge: false,
        crop: None,
        mean: HALF,
        deviation: HALF,
    },
];

/// Fields that are read.
const READ: [&str; 14] = [
    "crop_size",
    "do_center_crop",
    "do_normalize",
    "do_pad",
    "do_rescale",
    "do_resize",
    "feature_extractor_type",
    "image_mean",
    "image_processor_type",
    "image_std",
    "resample",
    "rescale_factor",
    "size",
    "default_to_square",
];

/// Fields that change nothing here: every picture becomes RGB, and the rest is bookkeeping of Transformers.
const HARMLESS: [&str; 12] = [
    "_processor_class",
    "_valid_processor_keys",
    "auto_map",
    "data_format",
    "device",
    "disable_grouping",
    "do_convert_rgb",
    "image_seq_length",
    "input_data_format",
    "pad_size",
    "processor_class",
    "return_tensors",
];

/// A JSON object and where it is, for errors.
struct Fields<'a> {
    path: &'a Path,
    within: &'static str,
    object: &'a Map<String, Value>,
}

/// Reads the steps from a model's folder.
pub(super) fn read(folder: &Path) -> Result<Steps> {
    let (path, object, within) = find(folder)?;
    let model = match folder.join("config.json") {
        config if config.is_file() => {
            read_json_object(&config)?.get("model_type").and_then(Value::as_str).map(str::to_owned)
        }
        _ => None,
    };
    let fields = Fields { path: &path, within, object: &object };
    fields.check_names()?;
    let class = fields.class(model.as_deref())?;
    fields.steps(class)
}

/// The file that holds the steps, and the object in it. A part of `processor_config.json` comes first, as in Transformers.
fn find(folder: &Path) -> Result<(PathBuf, Map<String, Value>, &'static str)> {
    let processor = folder.join("processor_config.json");
    if processor.is_file()
        && let Some(part) = read_json_object(&processor)?.remove("image_processor")
    {
        return match part {
            Value::Object(object) => Ok((processor, object, "\"image_processor\" → ")),
            other => {
                Err(Error::format(processor, format!("field \"image_processor\" is {other}, but an object is needed")))
            }
        };
    }
    let path = folder.join("preprocessor_config.json");
    if !path.is_file() {
        let problem = "the folder says nothing of how pictures are prepared: it has no preprocessor_config.json, and no \
                       processor_config.json with \"image_processor\"; copy the file from where the model came from";
        return Err(Error::format(folder, problem));
    }
    let object = read_json_object(&path)?;
    Ok((path, object, ""))
}

impl Fields<'_> {
    fn error(&self, name: &str, problem: impl std::fmt::Display) -> Error {
        Error::format(self.path, format!("field {}{name:?} {problem}", self.within))
    }

    /// The field's value; null counts as absent, as in Transformers.
    fn get(&self, name: &str) -> Option<&Value> {
        self.object.get(name).filter(|value| !value.is_null())
    }

    fn wrong(&self, name: &str, value: &Value, wanted: &str) -> Error {
        let text: String = value.to_string().chars().take(60).collect();
        self.error(name, format!("is {text}, but {wanted} is needed"))
    }

    fn check_names(&self) -> Result<()> {
        let known = |name: &str| READ.contains(&name) || HARMLESS.contains(&name);
        match self.object.iter().find(|(name, value)| !known(name) && !value.is_null()) {
            None => Ok(()),
            Some((name, value)) => {
                let shown: String = value.to_string().chars().take(60).collect();
                let problem =
                    "a field that is not known; if it says nothing about how pictures are prepared, remove it";
                Err(self.error(name, format!("is {shown}: {problem}")))
            }
        }
    }

    fn switch(&self, name: &str, default: bool) -> Result<bool> {
        match self.get(name) {
            None => Ok(default),
            Some(value) => value.as_bool().ok_or_else(|| self.wrong(name, value, "true or false")),
        }
    }

    /// The class by the file's own word, else by the model's type.
    fn class(&self, model: Option<&str>) -> Result<&'static Class> {
        for field in ["image_processor_type", "feature_extractor_type"] {
            let Some(value) = self.get(field) else { continue };
            let name = value.as_str().ok_or_else(|| self.wrong(field, value, "a text"))?;
            let stem = name.strip_suffix("Fast").or_else(|| name.strip_suffix("Pil")).unwrap_or(name);
            let stem = stem.strip_suffix("ImageProcessor").or_else(|| stem.strip_suffix("FeatureExtractor"));
            let found = CLASSES.iter().find(|class| Some(class.stem) == stem);
            return found.ok_or_else(|| {
                let known = CLASSES.map(|class| format!("{}ImageProcessor", class.stem)).join(", ");
                self.error(field, format!("is {name:?}, which is not read; known are {known}"))
            });
        }
        let model = model.unwrap_or_default();
        CLASSES.iter().find(|class| class.models.contains(&model)).ok_or_else(|| {
            let names = "it names no \"image_processor_type\", and config.json no model type that tells";
            Error::format(self.path, format!("{names} (CLIP, SigLIP or ViT); add \"image_processor_type\""))
        })
    }

    fn steps(&self, class: &Class) -> Result<Steps> {
        if self.switch("do_pad", false)? {
            return Err(self.error("do_pad", "is true, which is not done; towers take pictures of one size"));
        }
        let edge = !self.switch("default_to_square", !class.edge)?;
        let size = match self.get("size") {
            None => class.size,
            Some(value) => self.size("size", value, edge)?,
        };
        let crop = match (self.switch("do_center_crop", class.crop.is_some())?, self.get("crop_size")) {
            (false, _) => None,
            (true, Some(value)) => match self.size("crop_size", value, false)? {
                Resize::Exact(height, width) => Some((height, width)),
                Resize::ShortestEdge(_) => return Err(self.wrong("crop_size", value, "a height and a width")),
            },
            (true, None) => Some(class.crop.ok_or_else(|| self.error("crop_size", "is missing"))?),
        };
        let resize = self.switch("do_resize", true)?.then_some((size, self.filter(class)?));
        let rescale = self.switch("do_rescale", true)?.then_some(self.rescale_factor()?);
        let normalize = match self.switch("do_normalize", true)? {
            true => Some((self.channels("image_mean", class.mean)?, self.deviations(class)?)),
            false => None,
        };
        Ok(Steps { resize, crop, rescale, normalize })
    }

    fn filter(&self, class: &Class) -> Result<Filter> {
        let Some(value) = self.get("resample") else { return Ok(class.filter) };
        let found = value.as_u64().and_then(Filter::of_number);
        found
            .ok_or_else(|| self.wrong("resample", value, "a number of Pillow's from 0 to 5 (3 is bicubic, 2 bilinear)"))
    }

    fn rescale_factor(&self) -> Result<f64> {
        let Some(value) = self.get("rescale_factor") else { return Ok(1.0 / 255.0) };
        let found = value.as_f64().filter(|x| x.is_finite() && *x > 0.0);
        found.ok_or_else(|| self.wrong("rescale_factor", value, "a number above 0"))
    }

    /// A size: one number, a list of height and width, or an object.
    fn size(&self, name: &str, value: &Value, edge: bool) -> Result<Resize> {
        const WANTED: &str =
            "a number, [height, width], {\"height\", \"width\"} or {\"shortest_edge\"} (from 1 to 65536)";
        let side = |value: &Value| {
            let number = value.as_u64().filter(|n| (1..=65_536).contains(n)).map(|n| n as usize);
            number.ok_or_else(|| self.wrong(name, value, WANTED))
        };
        match value {
            Value::Number(_) => side(value).map(|n| if edge { Resize::ShortestEdge(n) } else { Resize::Exact(n, n) }),
            Value::Array(list) if list.len() == 2 => Ok(Resize::Exact(side(&list[0])?, side(&list[1])?)),
            Value::Object(object) => {
                let set: Vec<(&str, &Value)> =
                    object.iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k.as_str(), v)).collect();
                match set[..] {
                    [("height", height), ("width", width)] | [("width", width), ("height", height)] => {
                        Ok(Resize::Exact(side(height)?, side(width)?))
                    }
                    [("shortest_edge", edge)] => Ok(Resize::ShortestEdge(side(edge)?)),
                    _ => Err(self.wrong(name, value, WANTED)),
                }
            }
            _ => Err(self.wrong(name, value, WANTED)),
        }
    }

    /// A number for each channel, or one for all. They become f32 as NumPy casts them.
    fn channels(&self, name: &str, default: [f64; 3]) -> Result<[f32; 3]> {
        let numbers = match self.get(name) {
            None => Some(default),
            Some(Value::Array(list)) => {
                let numbers: Vec<f64> = list.iter().filter_map(Value::as_f64).collect();
                if numbers.len() == list.len() { <[f64; 3]>::try_from(numbers).ok() } else { None }
            }
            Some(value) => value.as_f64().map(|x| [x; 3]),
        };
        let found = numbers.map(|all| all.map(|x| x as f32)).filter(|all| all.iter().all(|x| x.is_finite()));
        // Invariant: what is missing has the default.
        found.ok_or_else(|| {
            self.wrong(name, self.get(name).unwrap_or(&Value::Null), "three numbers, one of each channel")
        })
    }

    fn deviations(&self, class: &Class) -> Result<[f32; 3]> {
        let deviations = self.channels("image_std", class.deviation)?;
        match deviations.iter().all(|x| *x > 0.0) {
            true => Ok(deviations),
            false => Err(self.error("image_std", "holds a number that is not above 0")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a folder with these files.
    fn read_files(files: &[(&str, &str)]) -> Result<Steps, String> {
        let folder = tempfile::tempdir().unwrap();
        files.iter().for_each(|(name, text)| std::fs::write(folder.path().join(name), text).unwrap());
        read(folder.path()).map_err(|e| e.to_string())
    }

    fn read_one(text: &str) -> Result<Steps, String> {
        read_files(&[("preprocessor_config.json", text)])
    }

    const SIGLIP: &str = r#"{"image_processor_type": "SiglipImageProcessor"}"#;

    #[test]
    fn sparse_files_have_their_class_s_defaults() {
        let clip = read_one(r#"{"feature_extractor_type": "CLIPFeatureExtractor"}"#).unwrap();
        assert_eq!(clip.resize, Some((Resize::ShortestEdge(224), Filter::Bicubic)));
        assert_eq!((clip.crop, clip.rescale), (Some((224, 224)), Some(1.0 / 255.0)));
        assert_eq!(clip.normalize.unwrap().0[0], 0.481_454_66_f32);
        let siglip = read_one(SIGLIP).unwrap();
        assert_eq!((siglip.resize, siglip.crop), (Some((Resize::Exact(224, 224), Filter::Bicubic)), None));
        assert_eq!(siglip.normalize, Some(([0.5; 3], [0.5; 3])));
        let vit = read_one(r#"{"image_processor_type": "ViTImageProcessorFast", "size": 384}"#).unwrap();
        assert_eq!(vit.resize, Some((Resize::Exact(384, 384), Filter::Bilinear)));
        // By the model's type alone.
        let by_model = read_files(&[("preprocessor_config.json", "{}"), ("config.json", r#"{"model_type": "clip"}"#)]);
        assert_eq!(by_model.unwrap(), clip);
    }

    #[test]
    fn both_generations_say_the_same() {
        let old = r#"{"crop_size": 336, "do_center_crop": true, "do_normalize": true, "do_resize": true,
            "feature_extractor_type": "CLIPFeatureExtractor", "image_mean": [0.1, 0.2, 0.3], "image_std": [1, 2, 4],
            "resample": 3, "size": 336}"#;
        let new = r#"{"crop_size": {"height": 336, "width": 336}, "do_center_crop": true, "do_convert_rgb": true,
            "do_normalize": true, "do_rescale": true, "do_resize": true, "image_mean": [0.1, 0.2, 0.3],
            "image_processor_type": "CLIPImageProcessor", "image_std": [1, 2, 4], "resample": 3,
            "rescale_factor": 0.00392156862745098, "size": {"shortest_edge": 336}, "do_pad": null}"#;
        let nested = format!(r#"{{"image_processor": {new}, "processor_class": "CLIPProcessor"}}"#);
        let steps = read_one(old).unwrap();
        assert_eq!(read_one(new).unwrap(), steps);
        // The nested part comes before the file of its own.
        let both = [("processor_config.json", &nested[..]), ("preprocessor_config.json", SIGLIP)];
        assert_eq!(read_files(&both).unwrap(), steps);
        let legacy = [("processor_config.json", r#"{"processor_class": "X"}"#), ("preprocessor_config.json", old)];
        assert_eq!(read_files(&legacy).unwrap(), steps);
    }

    #[test]
    fn switches_leave_steps_out() {
        let none = read_one(
            r#"{"image_processor_type": "CLIPImageProcessor", "do_resize": false, "do_center_crop": false,
                "do_rescale": false, "do_normalize": false}"#,
        );
        assert_eq!(none.unwrap(), Steps { resize: None, crop: None, rescale: None, normalize: None });
        let grey =
            read_one(r#"{"image_processor_type": "SiglipImageProcessor", "image_mean": 0.25, "size": [20, 30]}"#);
        let grey = grey.unwrap();
        assert_eq!((grey.normalize.unwrap().0, grey.resize.unwrap().0), ([0.25; 3], Resize::Exact(20, 30)));
    }

    #[test]
    fn what_is_unknown_or_wrong_is_named() {
        for (field, words) in [
            (r#""do_flip": true"#, "\"do_flip\""),
            (r#""do_pad": true"#, "\"do_pad\""),
            (r#""resample": 9"#, "from 0 to 5"),
            (r#""size": {"longest_edge": 9}"#, "\"size\""),
            (r#""size": 0"#, "\"size\""),
            (r#""crop_size": {"shortest_edge": 9}, "do_center_crop": true"#, "\"crop_size\""),
            (r#""do_center_crop": true"#, "\"crop_size\" is missing"),
            (r#""image_mean": [1, 2]"#, "three numbers"),
            (r#""image_std": 0"#, "above 0"),
            (r#""rescale_factor": -1"#, "above 0"),
            (r#""do_resize": 1"#, "true or false"),
        ] {
            let text = format!(r#"{{"image_processor_type": "SiglipImageProcessor", {field}}}"#);
            let problem = read_one(&text).unwrap_err();
            assert!(problem.contains(words) && problem.contains("preprocessor_config.json"), "{field}: {problem}");
        }
        let other = read_one(r#"{"image_processor_type": "BitImageProcessor"}"#).unwrap_err();
        assert!(other.contains("BitImageProcessor") && other.contains("CLIPImageProcessor"), "{other}");
        assert!(read_one("{}").unwrap_err().contains("image_processor_type"));
        assert!(read_files(&[]).unwrap_err().contains("no preprocessor_config.json"));
        let nested = read_files(&[("processor_config.json", r#"{"image_processor": {"x": 1}}"#)]).unwrap_err();
        assert!(nested.contains("\"image_processor\" → \"x\""), "{nested}");
    }
}
