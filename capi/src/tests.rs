//! What cannot be shown from C: panics, and messages for C of every status. The rest is in `capi/tests`.

use std::ffi::CStr;

use super::status::{Failure, RealignStatus, guard, guard_value, realign_last_error_message, realign_status_name};

fn message() -> String {
    // SAFETY: the message is a string of this thread's, and no call fails meanwhile.
    unsafe { CStr::from_ptr(realign_last_error_message()) }.to_str().unwrap().to_owned()
}

/// A payload whose destructor panics, too.
struct Worse;

impl Drop for Worse {
    fn drop(&mut self) {
        panic!("once more");
    }
}

#[test]
fn panics_are_statuses() {
    assert_eq!(message(), "");
    assert_eq!(guard(|| panic!("row {}", 3)), RealignStatus::Panic);
    assert!(message().contains("realign panicked: row 3"), "{}", message());
    assert_eq!(guard(|| panic!("plain")), RealignStatus::Panic);
    assert!(message().contains("plain"));
    assert_eq!(guard(|| std::panic::panic_any(Worse)), RealignStatus::Panic);
    assert!(message().contains("without a message"));
    assert_eq!(guard_value(7, || panic!("no value")), 7);
    assert!(message().contains("no value"));
    // A call that goes well leaves the message.
    assert_eq!(guard(|| Ok(())), RealignStatus::Ok);
    assert!(message().contains("no value"));
}

#[test]
fn messages_are_the_threads_own_and_strings() {
    let fail = |words: &str| guard(|| Err(Failure::new(RealignStatus::Other, words)));
    assert_eq!(fail("mine"), RealignStatus::Other);
    std::thread::spawn(move || {
        assert_eq!(message(), "");
        fail("theirs");
    })
    .join()
    .unwrap();
    assert_eq!(message(), "mine");
    fail("with a \0 inside");
    assert_eq!(message(), "with a  inside");
}

#[test]
fn every_status_has_its_own_name() {
    // SAFETY: names are constants with their NULs.
    let name = |status: i32| unsafe { CStr::from_ptr(realign_status_name(status)) }.to_str().unwrap();
    let names: std::collections::BTreeSet<&str> = (0..=RealignStatus::Panic as i32).map(name).collect();
    assert_eq!(names.len(), RealignStatus::Panic as usize + 1);
    assert!(!names.contains("unknown") && name(-1) == "unknown");
}

/// Remedies speak of functions and options that the header has, never of flags.
#[test]
fn remedies_are_words_for_c() {
    let failed = Failure::from(realign::Error::OutputExists("S.safetensors".into()));
    assert_eq!(failed.status, RealignStatus::OutputExists);
    assert_eq!(failed.message, "S.safetensors exists; choose another name, or pass true for overwrite");
    let header = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/include/realign.h")).unwrap();
    for remedy in realign::error::Remedy::samples() {
        let problem = realign::error::Problem::new("it").remedy(remedy);
        let words = Failure::from(realign::Error::Degenerate(problem)).message;
        assert!(!words.contains("--"), "{words}");
        let functions = words.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| word.contains('_'));
        functions.for_each(|word| assert!(header.contains(word), "{words}: {word} is not in the header"));
    }
}
