//! How pictures are dealt.

use super::collection::Collection;
use crate::experiment::random::{Random, Stream};
use crate::{Error, Result};

/// The fewest pictures that can be dealt.
const LEAST: usize = 12;
/// Shares of the pictures that are held out, in the pool and in stage 2.
const SHARES: [f64; 3] = [0.2, 0.15, 0.15];

/// Numbers of the pictures in each part; no picture is in two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PictureParts {
    /// With captions: what towers are trained on, stage 1's texts, and the row that trains on paired images.
    pub pairs: Vec<usize>,
    /// Without texts: what the images' statistics come from.
    pub pool: Vec<usize>,
    /// With conversations, for stage 2; empty where there are none.
    pub instruction: Vec<usize>,
    /// Held out.
    pub test: Vec<usize>,
}

impl PictureParts {
    /// Deals the pictures of a collection by a seed: a fifth is held out, 15% are the pool, 15% have conversations for stage 2, and the
    /// rest are the pairs.
    ///
    /// # Errors
    /// Fewer than twelve pictures; too few of them with conversations.
    pub fn deal(collection: &Collection, seed: u64) -> Result<Self> {
        let count = collection.len();
        if count < LEAST {
            return Err(Error::argument("images", format!("{count} pictures with captions; {LEAST} are the fewest")));
        }
        let mut all: Vec<usize> = (0..count).collect();
        Random::of(seed, Stream::Split).shuffle(&mut all);
        let [held_out, pool, instruction] = SHARES.map(|share| ((share * count as f64) as usize).max(2));
        let asked = |picture: &usize| !collection.conversations(*picture).is_empty();
        let test = all.split_off(count - held_out);
        let pool = all.split_off(all.len() - pool);
        let mut parts = PictureParts { pairs: Vec::new(), pool, instruction: Vec::new(), test };
        for picture in all {
            match asked(&picture) && parts.instruction.len() < instruction {
                true => parts.instruction.push(picture),
                false => parts.pairs.push(picture),
            }
        }
        if collection.asks() && (parts.instruction.is_empty() || !parts.test.iter().any(asked)) {
            let about = (0..count).filter(asked).count();
            let problem =
                format!("only {about} of {count} pictures have conversations, none of those that seed {seed}");
            return Err(Error::argument("images", format!("{problem} needs them of; give more, or remove the file")));
        }
        Ok(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collection(count: usize, asked: usize) -> Collection {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
        let caption = |i: usize| format!("{{\"image\": \"{i}.png\", \"text\": \"picture {i}\"}}\n");
        let question = |i: usize| format!("{{\"image\": \"{i}.png\", \"conversations\": [1]}}\n");
        (0..count).for_each(|i| put(&format!("{i}.png"), String::new()));
        put("captions.jsonl", (0..count).map(caption).collect());
        if asked > 0 {
            put("questions.jsonl", (0..asked).map(question).collect());
        }
        Collection::open(folder.path()).unwrap()
    }

    #[test]
    fn every_picture_is_in_one_part() {
        for (count, asked) in [(12, 0), (40, 40), (1000, 1000)] {
            let parts = PictureParts::deal(&collection(count, asked), 3).unwrap();
            let mut all = [&parts.pairs[..], &parts.pool, &parts.instruction, &parts.test].concat();
            all.sort_unstable();
            assert_eq!(all, (0..count).collect::<Vec<_>>());
            assert_eq!(parts.test.len(), (count / 5).max(2));
            assert_eq!(parts.instruction.is_empty(), asked == 0);
            assert!(parts.pool.len() >= 2 && parts.pairs.len() >= count / 3);
        }
        let all = collection(40, 40);
        assert_eq!(PictureParts::deal(&all, 1).unwrap(), PictureParts::deal(&all, 1).unwrap());
        assert!(PictureParts::deal(&all, 1).unwrap() != PictureParts::deal(&all, 2).unwrap());
    }

    #[test]
    fn too_few_pictures_or_conversations() {
        assert!(PictureParts::deal(&collection(11, 0), 0).unwrap_err().to_string().contains("12 are the fewest"));
        let said = PictureParts::deal(&collection(40, 1), 0).unwrap_err().to_string();
        assert!(said.contains("1 of 40"), "{said}");
    }
}
