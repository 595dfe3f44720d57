//! How a line falls into words.
//!
//! Promises: words are those of a POSIX shell, but that one which begins with `[` or `{` goes to the bracket that closes it, with
//! its quotes and blanks, so that tuples can be typed as they are shown. Where no bracket closes it, or something stands right
//! behind that, it is a word like any other.

use shell_words::ParseError;

/// The words of a line.
///
/// # Errors
/// Where a quote is not closed.
pub fn split(line: &str) -> Result<Vec<String>, ParseError> {
    shell_words::split(&quoted(line))
}

/// The word that is being typed: where it begins, what is before it, and what it says without its quotes.
pub fn last(line: &str) -> (usize, Vec<String>, String) {
    let start = begins(line).last().map_or(0, |(start, _)| *start);
    let before = split(&line[..start]).unwrap_or_default();
    let typed = &line[start..];
    if is_json(typed) {
        return (start, before, typed.to_owned());
    }
    let closing = ["", "'", "\""].iter().find_map(|quote| split(&format!("{typed}{quote}")).ok());
    let word = closing.and_then(|mut words| words.pop()).unwrap_or_default();
    (start, before, word)
}

/// The line with quotes around the words that are lists or objects.
fn quoted(line: &str) -> String {
    let mut text = String::new();
    let mut done = 0;
    for (start, json) in begins(line) {
        if let Some(len) = json {
            text.push_str(&line[done..start]);
            text.push_str(&shell_words::quote(&line[start..start + len]));
            done = start + len;
        }
    }
    text.push_str(&line[done..]);
    text
}

/// Where words begin, the last one, which may be empty, too; and how long it is where it is a list or an object.
fn begins(line: &str) -> Vec<(usize, Option<usize>)> {
    let mut found = vec![(0, json_len(line))];
    let mut at = found[0].1.unwrap_or(0);
    let mut quote = None;
    let mut is_escaped = false;
    while let Some(character) = line[at..].chars().next() {
        at += character.len_utf8();
        match (quote, character) {
            _ if is_escaped => is_escaped = false,
            (Some('"') | None, '\\') => is_escaped = true,
            (Some(open), close) if open == close => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(character),
            (None, ' ' | '\t') => {
                let json = json_len(&line[at..]);
                found.push((at, json));
                at += json.unwrap_or(0);
            }
            (None, _) => {}
        }
    }
    found
}

fn is_json(word: &str) -> bool {
    word.starts_with(['[', '{'])
}

/// The bytes of a list or an object that the text begins with, and that ends with a word.
fn json_len(text: &str) -> Option<usize> {
    let mut open = 0_usize;
    let mut is_text = false;
    let mut is_escaped = false;
    for (at, character) in text.char_indices().take_while(|_| is_json(text)) {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' if is_text => is_escaped = true,
            '"' => is_text = !is_text,
            _ if is_text => {}
            '[' | '{' => open += 1,
            ']' | '}' => open -= 1,
            _ => {}
        }
        if open == 0 {
            let rest = &text[at + 1..];
            return (rest.is_empty() || rest.starts_with([' ', '\t'])).then_some(at + 1);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_objects_are_words_as_they_are() {
        let words = |line: &str| split(line).map(|words| words.join("|")).unwrap_or_else(|_| "?".into());
        assert_eq!(words(r#"put [1,"zz"] []"#), r#"put|[1,"zz"]|[]"#);
        assert_eq!(
            words(r#"put [1, "it's ]\" so"]  {"a": ["b c"]}"#),
            r#"put|[1, "it's ]\" so"]|{"a": ["b c"]}"#
        );
        assert_eq!(words(r#"put '[1,"zz"]' "[2,\"y\"]" # [3]"#), r#"put|[1,"zz"]|[2,"y"]"#);
        assert_eq!(words(r#"put x["a b"] [open 'c d'"#), "put|x[a b]|[open|c d");
        assert_eq!(words(r#"put [1]"x" a\ [2] é"#), "put|[1]x|a [2]|é");
        assert_eq!(words(r#"put [1,"z"#), "?");
        assert_eq!(words(""), "");
    }

    #[test]
    fn the_word_that_is_being_typed_is_found() {
        let word = |line: &str| {
            let (start, before, word) = last(line);
            (start, before.join("|"), word)
        };
        assert_eq!(word(""), (0, "".into(), "".into()));
        assert_eq!(word("ge"), (0, "".into(), "ge".into()));
        assert_eq!(word("get -s users an"), (13, "get|-s|users".into(), "an".into()));
        assert_eq!(word("get 'a b"), (4, "get".into(), "a b".into()));
        assert_eq!(word("get \"a \\\" b"), (4, "get".into(), "a \" b".into()));
        assert_eq!(word("get a\\ b"), (4, "get".into(), "a b".into()));
        assert_eq!(word("get "), (4, "get".into(), "".into()));
        assert_eq!(word("get [1,\"z"), (4, "get".into(), "[1,\"z".into()));
        assert_eq!(word("put [1, \"z\"] x"), (13, "put|[1, \"z\"]".into(), "x".into()));
    }
}
