//! EDN, as far as histories need it: maps, vectors, keywords, text, whole numbers, nil.
//!
//! Reading is lenient as Clojure is: commas are spaces, lists are vectors, comments end a line.
//! What is not of a history (sets, tagged values, fractions) is refused.

/// A value of EDN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Edn {
    Nil,
    Int(i64),
    Text(String),
    Keyword(String),
    Vector(Vec<Edn>),
    Map(Vec<(Edn, Edn)>),
}

/// Values nested deeper are refused.
const DEPTH_MAX: usize = 16;

impl Edn {
    /// What a map has under this keyword.
    pub(super) fn get(&self, name: &str) -> Option<&Edn> {
        let Edn::Map(entries) = self else { return None };
        let is_it = |(key, _): &&(Edn, Edn)| matches!(key, Edn::Keyword(text) if text == name);
        entries.iter().find(is_it).map(|(_, value)| value)
    }

    /// Appends it as text.
    pub(super) fn write(&self, out: &mut String) {
        match self {
            Edn::Nil => out.push_str("nil"),
            Edn::Int(number) => out.push_str(&number.to_string()),
            Edn::Keyword(name) => {
                out.push(':');
                out.push_str(name);
            }
            Edn::Text(text) => write_text(text, out),
            Edn::Vector(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        out.push(' ');
                    }
                    item.write(out);
                }
                out.push(']');
            }
            Edn::Map(entries) => {
                out.push('{');
                for (at, (key, value)) in entries.iter().enumerate() {
                    if at > 0 {
                        out.push_str(", ");
                    }
                    key.write(out);
                    out.push(' ');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }

    /// Reads the one value that this text is.
    pub(super) fn read(text: &str) -> Result<Edn, String> {
        let mut reader = Reader { rest: text };
        let value = reader.value(0)?;
        reader.skip();
        if reader.rest.is_empty() { Ok(value) } else { Err(reader.odd()) }
    }
}

fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            letter => out.push(letter),
        }
    }
    out.push('"');
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn odd(&self) -> String {
        let near: String = self.rest.chars().take(20).collect();
        format!("this is no EDN of a history: {near:?}")
    }

    /// Steps over what means nothing.
    fn skip(&mut self) {
        let blank = |letter: char| letter.is_whitespace() || letter == ',';
        loop {
            self.rest = self.rest.trim_start_matches(blank);
            if !self.rest.starts_with(';') {
                return;
            }
            let line = self.rest.find('\n').unwrap_or(self.rest.len());
            self.rest = &self.rest[line..];
        }
    }

    fn take(&mut self, letter: char) -> bool {
        self.skip();
        let rest = self.rest.strip_prefix(letter);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn value(&mut self, depth: usize) -> Result<Edn, String> {
        if depth > DEPTH_MAX {
            return Err("this is nested too deeply".to_owned());
        }
        if self.take('{') {
            let items = self.items('}', depth)?;
            if items.len() % 2 != 0 {
                return Err("a map has a key without a value".to_owned());
            }
            let mut items = items.into_iter();
            let mut entries = Vec::new();
            while let (Some(key), Some(value)) = (items.next(), items.next()) {
                entries.push((key, value));
            }
            return Ok(Edn::Map(entries));
        }
        if self.take('[') {
            return self.items(']', depth).map(Edn::Vector);
        }
        if self.take('(') {
            return self.items(')', depth).map(Edn::Vector);
        }
        if self.take('"') {
            return self.text().map(Edn::Text);
        }
        self.word()
    }

    fn items(&mut self, end: char, depth: usize) -> Result<Vec<Edn>, String> {
        let mut items = Vec::new();
        while !self.take(end) {
            if self.rest.is_empty() {
                return Err(format!("{end} is missing"));
            }
            items.push(self.value(depth + 1)?);
        }
        Ok(items)
    }

    /// Text, behind its first quote.
    fn text(&mut self) -> Result<String, String> {
        let mut text = String::new();
        let mut letters = self.rest.char_indices();
        while let Some((at, letter)) = letters.next() {
            match letter {
                '"' => {
                    self.rest = &self.rest[at + 1..];
                    return Ok(text);
                }
                '\\' => match letters.next().map(|(_, letter)| letter) {
                    Some('n') => text.push('\n'),
                    Some('r') => text.push('\r'),
                    Some('t') => text.push('\t'),
                    Some(letter @ ('"' | '\\')) => text.push(letter),
                    _ => return Err(self.odd()),
                },
                letter => text.push(letter),
            }
        }
        Err("text does not end".to_owned())
    }

    fn word(&mut self) -> Result<Edn, String> {
        let ends = |letter: char| letter.is_whitespace() || ",;\"()[]{}".contains(letter);
        let length = self.rest.find(ends).unwrap_or(self.rest.len());
        let word = &self.rest[..length];
        let value = match word.strip_prefix(':') {
            Some(name) if !name.is_empty() => Edn::Keyword(name.to_owned()),
            _ if word == "nil" => Edn::Nil,
            _ => Edn::Int(word.parse().map_err(|_| self.odd())?),
        };
        self.rest = &self.rest[length..];
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::Edn;

    #[test]
    fn what_is_written_is_read_back() {
        let text = r#"{:type :ok, :value [[:append "a \"b\"\n" -7] [:r "k" nil]], :m {1 2}}"#;
        let value = Edn::read(text).unwrap();
        let mut out = String::new();
        value.write(&mut out);
        assert_eq!(out, text);
        assert_eq!(value.get("type"), Some(&Edn::Keyword("ok".to_owned())));
        assert_eq!(Edn::read(" ( 1,2 ) ; three"), Edn::read("[1 2]"));
    }

    #[test]
    fn what_is_no_history_is_refused() {
        for text in ["", "{:a}", "[1", "\"a", "#{1}", "1.5", "[1] 2", ":", "}", "\"\\x\""] {
            assert!(Edn::read(text).is_err(), "{text}");
        }
        assert!(Edn::read(&"[".repeat(100_000)).is_err());
    }
}
