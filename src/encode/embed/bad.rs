//! Inputs that cannot be used: how many may be left out, and what is said of them.

use serde_json::{Value, json};

use crate::error::{Problem, Remedy};
use crate::io::SkipBad;
use crate::{Error, Result};

/// How many are named.
const NAMED: usize = 10;

/// The bad inputs so far: where they are, and the first of them in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bad {
    /// Their places, in order.
    pub places: Vec<u64>,
    first: Vec<String>,
}

impl Bad {
    /// Counts one.
    ///
    /// # Errors
    /// It is one more than may be left out: the first ten are named.
    pub fn add(&mut self, index: usize, problem: String, kind: &str, allowed: SkipBad) -> Result<()> {
        self.places.push(index as u64);
        if self.first.len() < NAMED {
            self.first.push(problem);
        }
        let count = self.places.len() as u64;
        if allowed.allows(count) {
            return Ok(());
        }
        let more =
            if allowed == SkipBad::default() { String::new() } else { format!(", and {allowed} may be left out") };
        let problem = Problem::new(self.words(kind, &format!("cannot be used{more}")));
        let argument = if kind == "pictures" { "images" } else { "texts" };
        Err(Error::Argument { argument, problem: problem.remedy(Remedy::SkipBad { count }) })
    }

    /// Says which were left out, if any were.
    pub fn warn(&self, kind: &str) {
        if !self.places.is_empty() {
            log::warn!("{}", self.words(kind, "cannot be used: left out"));
        }
    }

    fn words(&self, kind: &str, what: &str) -> String {
        let count = self.places.len();
        let head = format!("{count} {} {what}", if count == 1 { kind.trim_end_matches('s') } else { kind });
        match &self.first[..] {
            [one] if count == 1 => format!("{head}: {one}"),
            all if count == all.len() => format!("{head}:\n  {}", all.join("\n  ")),
            all => format!("{head}; the first {}:\n  {}", all.len(), all.join("\n  ")),
        }
    }

    /// The input of a row, given that bad inputs have none.
    pub fn input_of(&self, row: u64) -> u64 {
        // The k-th bad input comes before the row's if fewer than `row + 1` good ones come before it.
        let (mut low, mut high) = (0, self.places.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.places[middle] - middle as u64 <= row {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        row + low as u64
    }

    pub fn to_json(&self) -> Value {
        json!({"places": self.places, "first": self.first})
    }

    pub fn of_json(value: &Value) -> Option<Bad> {
        let places: Option<Vec<u64>> = value.get("places")?.as_array()?.iter().map(Value::as_u64).collect();
        let first: Option<Vec<String>> =
            value.get("first")?.as_array()?.iter().map(|text| text.as_str().map(str::to_owned)).collect();
        Some(Bad { places: places?, first: first? }).filter(|bad| bad.places.is_sorted())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_those_of_the_good_inputs() {
        let bad = Bad { places: vec![0, 3, 4, 9], first: Vec::new() };
        let want: Vec<u64> = (0..12).filter(|i| !bad.places.contains(i)).collect();
        assert_eq!((0..8).map(|row| bad.input_of(row)).collect::<Vec<_>>(), want);
        assert_eq!(Bad::default().input_of(7), 7);
    }

    #[test]
    fn one_more_than_allowed_is_an_error_that_names_ten() {
        let mut bad = Bad::default();
        for i in 0..12 {
            bad.add(i, format!("p{i}.png: broken"), "pictures", SkipBad::AtMost(12)).unwrap();
        }
        let error = bad.add(12, "p12".to_owned(), "pictures", SkipBad::AtMost(12)).unwrap_err().to_string();
        assert!(error.contains("13 pictures") && error.contains("12 may be left out"), "{error}");
        assert!(error.contains("the first 10") && error.contains("p9.png") && !error.contains("p10.png"), "{error}");
        assert!(bad.add(13, String::new(), "pictures", SkipBad::All).is_ok());
        assert_eq!(Bad::of_json(&bad.to_json()), Some(bad));
    }
}
