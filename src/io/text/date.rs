//! The date that chat templates write into a prompt.

use std::fmt::{self, Display, Formatter, Write};
use std::str::FromStr;

use chrono::{Local, NaiveDate, NaiveDateTime, NaiveTime};

/// The date, and perhaps the time, that a chat template gets from `strftime_now`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChatDate(NaiveDateTime);

impl ChatDate {
    /// The local date and time of now, as Transformers gives it to templates.
    pub fn now() -> ChatDate {
        ChatDate(Local::now().naive_local())
    }

    /// The same day at midnight: what a run keeps of its first day.
    #[must_use]
    pub fn day(self) -> ChatDate {
        ChatDate(self.0.date().and_time(NaiveTime::MIN))
    }

    /// Written down by a format of C's and Python's `strftime`; `None` if it has a code that is unknown.
    pub fn format(self, format: &str) -> Option<String> {
        let mut text = String::new();
        // An unknown code shows while it is written.
        write!(text, "{}", self.0.format(format)).is_ok().then_some(text)
    }
}

impl FromStr for ChatDate {
    type Err = String;

    fn from_str(text: &str) -> Result<ChatDate, String> {
        let day = text.parse::<NaiveDate>().map(|day| day.and_time(NaiveTime::MIN));
        let moment = day.or_else(|_| text.parse::<NaiveDateTime>());
        moment
            .map(ChatDate)
            .map_err(|_| format!("{text:?} is no date; write it as 2026-01-31, or with a time as 2026-01-31T12:30:00"))
    }
}

impl Display for ChatDate {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0.time() == NaiveTime::MIN {
            true => write!(f, "{}", self.0.date()),
            false => write!(f, "{}", self.0.format("%Y-%m-%dT%H:%M:%S")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_and_written() {
        for text in ["2026-11-09", "2026-11-09T23:05:07"] {
            assert_eq!(text.parse::<ChatDate>().unwrap().to_string(), text);
        }
        let date: ChatDate = "2026-11-09T23:05:07".parse().unwrap();
        // Python: datetime(2026, 11, 9, 23, 5, 7).strftime(…).
        assert_eq!(
            date.format("%d %b %Y, %A %-d %B %H:%M:%S %j").unwrap(),
            "09 Nov 2026, Monday 9 November 23:05:07 313"
        );
        assert_eq!(date.day().to_string(), "2026-11-09");
        assert_eq!(date.format("%Q"), None);
        assert!("09.11.2026".parse::<ChatDate>().unwrap_err().contains("2026-01-31"));
    }
}
