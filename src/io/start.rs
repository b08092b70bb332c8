//! What becomes of a run that was begun before.

/// What to do about a run that is in the output folder already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// Refuse.
    #[default]
    New,
    /// Go on after its newest checkpoint; start anew if it has none.
    Resume,
    /// Begin again: its log and checkpoints are removed.
    Replace,
}
