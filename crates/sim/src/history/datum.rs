//! A value of a history: what was written, and what was answered.

use std::fmt;

/// Longer text is shown by its length: it only fills a disk.
const SHOWN_MAX: usize = 60;

/// Whole numbers are numbers, whether a server sent them as text or not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Datum {
    Nil,
    Int(i64),
    Text(String),
    List(Vec<Datum>),
}

impl Datum {
    /// A value from text: a number if it is written like one.
    pub fn of(text: &[u8]) -> Datum {
        let text = String::from_utf8_lossy(text);
        match text.parse::<i64>() {
            Ok(number) if number.to_string() == text => Datum::Int(number),
            _ => Datum::Text(text.into_owned()),
        }
    }

    /// The number that it is.
    pub fn int(&self) -> Option<i64> {
        if let Datum::Int(number) = self { Some(*number) } else { None }
    }

    /// What it has in it.
    pub fn list(&self) -> Option<&[Datum]> {
        if let Datum::List(items) = self { Some(items) } else { None }
    }

    /// As an argument of a command.
    pub fn word(&self) -> String {
        match self {
            Datum::Nil => String::new(),
            Datum::Int(number) => number.to_string(),
            Datum::Text(text) => text.clone(),
            Datum::List(_) => unreachable!("no command takes a list for an argument"),
        }
    }
}

impl From<i64> for Datum {
    fn from(number: i64) -> Datum {
        Datum::Int(number)
    }
}

impl From<&str> for Datum {
    fn from(text: &str) -> Datum {
        Datum::Text(text.to_owned())
    }
}

impl fmt::Display for Datum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Datum::Nil => write!(f, "nil"),
            Datum::Int(number) => write!(f, "{number}"),
            Datum::Text(text) if text.len() > SHOWN_MAX => write!(f, "({} bytes)", text.len()),
            Datum::Text(text) => write!(f, "{text}"),
            Datum::List(items) => {
                write!(f, "[")?;
                for (at, item) in items.iter().enumerate() {
                    let space = if at == 0 { "" } else { " " };
                    write!(f, "{space}{item}")?;
                }
                write!(f, "]")
            }
        }
    }
}
