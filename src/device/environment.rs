//! Environment variables: the library's own readers, and a check of those that wgpu reads. Empty means unset; what a variable cannot
//! mean is an error that names it, for a mistyped one would otherwise choose another device in silence.

use crate::{Error, Result};

/// Variables that wgpu reads, the words it knows, in lower case, and how messages list them.
const WORDS: [(&str, &[&str], &str); 5] = [
    ("WGPU_DX12_COMPILER", &["fxc", "dxc", "dynamicdxc", "staticdxc"], "fxc, dynamicdxc or staticdxc"),
    ("WGPU_GLES_MINOR_VERSION", &["automatic", "0", "1", "2"], "automatic, 0, 1 or 2"),
    ("WGPU_GL_FENCE_BEHAVIOR", &["normal", "autofinish"], "normal or autofinish"),
    (
        "WGPU_GL_DEBUG_FNS",
        &["auto", "forceenabled", "force_enabled", "enabled", "disabled"],
        "auto, enabled or disabled",
    ),
    ("WGPU_DX12_AGILITY_SDK_REQUIRE", &["0", "1"], "0 or 1"),
];

/// Flags of wgpu's instance, which wgpu takes as set by any value but 0, the empty one included.
const FLAGS: [(&str, wgpu::InstanceFlags); 7] = [
    ("WGPU_VALIDATION", wgpu::InstanceFlags::VALIDATION),
    ("WGPU_DEBUG", wgpu::InstanceFlags::DEBUG),
    ("WGPU_DISCARD_HAL_LABELS", wgpu::InstanceFlags::DISCARD_HAL_LABELS),
    ("WGPU_ALLOW_UNDERLYING_NONCOMPLIANT_ADAPTER", wgpu::InstanceFlags::ALLOW_UNDERLYING_NONCOMPLIANT_ADAPTER),
    ("WGPU_GPU_BASED_VALIDATION", wgpu::InstanceFlags::GPU_BASED_VALIDATION),
    ("WGPU_VALIDATION_INDIRECT_CALL", wgpu::InstanceFlags::VALIDATION_INDIRECT_CALL),
    ("WGPU_STRICT_WEBGPU_COMPLIANCE", wgpu::InstanceFlags::STRICT_WEBGPU_COMPLIANCE),
];

/// What [`backends_of`] takes, in words.
pub(super) const BACKENDS: &str = "vulkan, metal, dx12 or gl, or several with commas";

/// How variables are looked up: from the process, and in tests from a table.
type Lookup<'a> = &'a dyn Fn(&str) -> Option<std::ffi::OsString>;

fn of_process(name: &str) -> Option<std::ffi::OsString> {
    std::env::var_os(name)
}

/// A variable's text without blanks around it; `None` where it is unset or empty.
fn text(of: Lookup<'_>, variable: &'static str, allowed: &'static str) -> Result<Option<String>> {
    let Some(value) = of(variable) else { return Ok(None) };
    match value.into_string() {
        Ok(text) if text.trim().is_empty() => Ok(None),
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(raw) => Err(Error::Environment { variable, value: raw.to_string_lossy().into_owned(), allowed }),
    }
}

/// The backends of a list of names with commas: `vulkan`, `metal`, `dx12`, `gl`, in any case, and the short and long names that wgpu
/// knows for them. `None` for a word that is none of these, or for no word.
pub fn backends_of(text: &str) -> Option<wgpu::Backends> {
    text.to_lowercase().split(',').try_fold(wgpu::Backends::empty(), |all, name| {
        let one = match name.trim() {
            "vulkan" | "vk" => wgpu::Backends::VULKAN,
            "metal" | "mtl" => wgpu::Backends::METAL,
            "dx12" | "d3d12" => wgpu::Backends::DX12,
            "gl" | "gles" | "opengl" => wgpu::Backends::GL,
            _ => return None,
        };
        Some(all | one)
    })
}

/// `WGPU_BACKEND`.
pub(super) fn backends() -> Result<Option<wgpu::Backends>> {
    read_backends(&of_process)
}

fn read_backends(of: Lookup<'_>) -> Result<Option<wgpu::Backends>> {
    let variable = "WGPU_BACKEND";
    let Some(value) = text(of, variable, BACKENDS)? else { return Ok(None) };
    match backends_of(&value) {
        Some(backends) => Ok(Some(backends)),
        None => Err(Error::Environment { variable, value, allowed: BACKENDS }),
    }
}

/// `WGPU_ADAPTER_NAME`.
pub(super) const ADAPTER_NAME: &str = "WGPU_ADAPTER_NAME";

pub(super) fn adapter_name() -> Result<Option<String>> {
    text(&of_process, ADAPTER_NAME, "a part of an adapter's name")
}

/// Refuses words that wgpu would take for none.
pub(super) fn check() -> Result<()> {
    check_words(&of_process)
}

fn check_words(of: Lookup<'_>) -> Result<()> {
    for (variable, words, allowed) in WORDS {
        let Some(value) = text(of, variable, allowed)? else { continue };
        if !words.contains(&value.to_lowercase().as_str()) {
            return Err(Error::Environment { variable, value, allowed });
        }
    }
    for (variable, _) in FLAGS {
        let allowed = "0 or 1";
        let Some(value) = text(of, variable, allowed)? else { continue };
        if !["0", "1"].contains(&value.as_str()) {
            return Err(Error::Environment { variable, value, allowed });
        }
    }
    Ok(())
}

/// Flags whose variable is empty, which wgpu would set.
pub(super) fn unset_flags() -> wgpu::InstanceFlags {
    let empty = |name: &str| std::env::var_os(name).is_some_and(|value| value.to_string_lossy().trim().is_empty());
    FLAGS.iter().filter(|(name, _)| empty(name)).fold(wgpu::InstanceFlags::empty(), |all, (_, flag)| all | *flag)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process with one variable.
    fn with<'a>(name: &'a str, value: &'a str) -> impl Fn(&str) -> Option<std::ffi::OsString> + 'a {
        move |asked| (asked == name).then(|| value.into())
    }

    #[test]
    fn backends_are_read_or_refused_by_name() {
        let of = |value: &str| read_backends(&with("WGPU_BACKEND", value));
        assert_eq!(read_backends(&|_| None).unwrap(), None);
        assert_eq!((of("").unwrap(), of(" ").unwrap()), (None, None));
        assert_eq!(of("Vulkan, gl").unwrap(), Some(wgpu::Backends::VULKAN | wgpu::Backends::GL));
        for wrong in ["vulcan", "vulkan,", "vulkan gl", ","] {
            let message = of(wrong).unwrap_err().to_string();
            for word in ["WGPU_BACKEND", wrong, "vulkan, metal, dx12 or gl", "unset"] {
                assert!(message.contains(word), "{wrong}: {word} is not in: {message}");
            }
        }
    }

    #[test]
    fn every_word_that_wgpu_would_ignore_is_refused() {
        let names = WORDS.iter().map(|(name, ..)| *name).chain(FLAGS.iter().map(|(name, _)| *name));
        for name in names {
            check_words(&with(name, "")).unwrap();
            let message = check_words(&with(name, "mistyped")).unwrap_err().to_string();
            assert!(message.contains(name) && message.contains("mistyped"), "{message}");
        }
        for (name, words, _) in WORDS {
            words.iter().for_each(|word| check_words(&with(name, &word.to_uppercase())).unwrap());
        }
    }
}
