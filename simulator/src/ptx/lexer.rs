//! Cuts PTX text into tokens. PTX ISA, section 4 "Syntax".

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// An identifier, with a leading `%`, `$` or `_` where it has one.
    Name,
    /// A dotted part: `.global`, `.m64n16k16`, `.shared::cta`.
    Dot,
    /// A number as written.
    Number,
    /// A quoted text, without its quotes.
    Text,
    /// One character, or `<<` and `>>`.
    Mark,
    /// After the last token.
    End,
}

/// A token and its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a str,
    /// 1 for the first line.
    pub(super) line: u32,
    /// Offset of its first byte.
    pub(super) start: usize,
}

impl Token<'_> {
    /// How an error calls it.
    pub(super) fn shown(&self) -> String {
        match self.kind {
            Kind::End => "the end of the text".to_string(),
            _ => format!("`{}`", self.text),
        }
    }
}

fn is_following(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$'
}

/// All tokens of `text`, the last one [`Kind::End`]. Comments and white space are left out.
pub(super) fn tokenize(text: &str) -> Result<Vec<Token<'_>>, String> {
    let mut lexer = Lexer { text, at: 0, line: 1 };
    let mut tokens = Vec::with_capacity(text.len() / 5);
    loop {
        let token = lexer.next()?;
        tokens.push(token);
        if token.kind == Kind::End {
            return Ok(tokens);
        }
    }
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    line: u32,
}

impl<'a> Lexer<'a> {
    fn byte(&self, ahead: usize) -> u8 {
        self.text.as_bytes().get(self.at + ahead).copied().unwrap_or(0)
    }

    fn error<T>(&self, message: &str) -> Result<T, String> {
        Err(format!("PTX line {}: {message}", self.line))
    }

    fn take_while(&mut self, accept: impl Fn(u8) -> bool) {
        let rest = &self.text.as_bytes()[self.at..];
        self.at += rest.iter().position(|&byte| !accept(byte)).unwrap_or(rest.len());
    }

    /// White space and comments.
    fn skip_blank(&mut self) -> Result<(), String> {
        while self.at < self.text.len() {
            match (self.byte(0), self.byte(1)) {
                (b'\n', _) => {
                    self.line += 1;
                    self.at += 1;
                }
                (b' ' | b'\t' | b'\r' | 0x0c, _) => self.at += 1,
                (b'/', b'/') => self.take_while(|byte| byte != b'\n'),
                (b'/', b'*') => {
                    let Some(length) = self.text[self.at..].find("*/") else {
                        return self.error("a comment does not end");
                    };
                    let comment = &self.text[self.at..self.at + length];
                    self.line += comment.bytes().filter(|&byte| byte == b'\n').count() as u32;
                    self.at += length + 2;
                }
                _ => break,
            }
        }
        Ok(())
    }

    fn next(&mut self) -> Result<Token<'a>, String> {
        self.skip_blank()?;
        let (start, line) = (self.at, self.line);
        let first = self.byte(0);
        let kind = if start >= self.text.len() {
            Kind::End
        } else if first.is_ascii_alphabetic() || matches!(first, b'_' | b'$') {
            self.take_while(is_following);
            Kind::Name
        } else if first == b'%' && is_following(self.byte(1)) {
            self.at += 1;
            self.take_while(is_following);
            Kind::Name
        } else if first == b'.' && is_following(self.byte(1)) {
            self.dotted();
            Kind::Dot
        } else if first.is_ascii_digit() {
            self.number();
            Kind::Number
        } else if first == b'"' {
            return self.quoted(line);
        } else if matches!((first, self.byte(1)), (b'<', b'<') | (b'>', b'>')) {
            self.at += 2;
            Kind::Mark
        } else if first.is_ascii_graphic() {
            self.at += 1;
            Kind::Mark
        } else {
            let character = self.text[start..].chars().next().unwrap_or_default();
            return self.error(&format!("unexpected character {character:?}"));
        };
        Ok(Token { kind, text: &self.text[start..self.at], line, start })
    }

    /// `.part` with any number of `::part` behind it.
    fn dotted(&mut self) {
        self.at += 1;
        self.take_while(is_following);
        while self.byte(0) == b':' && self.byte(1) == b':' && is_following(self.byte(2)) {
            self.at += 2;
            self.take_while(is_following);
        }
    }

    /// Digits and letters; a fraction and a signed exponent for decimal numbers.
    fn number(&mut self) {
        let start = self.at;
        self.take_while(|byte| byte.is_ascii_alphanumeric());
        let decimal = |text: &str| {
            text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'e' | b'E'))
        };
        if self.byte(0) == b'.' && self.text[start..self.at].bytes().all(|b| b.is_ascii_digit()) {
            self.at += 1;
            self.take_while(|byte| byte.is_ascii_alphanumeric());
        }
        let written = &self.text[start..self.at];
        if matches!(self.byte(0), b'+' | b'-')
            && self.byte(1).is_ascii_digit()
            && written.ends_with(['e', 'E'])
            && written.split('.').all(decimal)
        {
            self.at += 1;
            self.take_while(|byte| byte.is_ascii_digit());
        }
    }

    fn quoted(&mut self, line: u32) -> Result<Token<'a>, String> {
        let start = self.at;
        self.at += 1;
        self.take_while(|byte| byte != b'"' && byte != b'\n');
        if self.byte(0) != b'"' {
            return self.error("a quoted text does not end on its line");
        }
        self.at += 1;
        Ok(Token { kind: Kind::Text, text: &self.text[start + 1..self.at - 1], line, start })
    }
}
