//! Reads HTTP/1.1 requests of limited size.

use std::io::{self, Read, Write};

use crate::http::{header, Request};

const MAX_HEAD: usize = 64 * 1024;
const MAX_HEADERS: usize = 256;
const MAX_BODY: usize = 1024 * 1024;

/// Why a request could not be read.
pub(crate) enum Failure {
    /// The connection ended, so no answer is possible.
    Gone,
    /// The request is malformed or too large. The server answers with this status and closes the connection.
    Invalid(u16, &'static str),
}

impl From<io::Error> for Failure {
    fn from(_: io::Error) -> Self {
        Failure::Gone
    }
}

/// Reads requests in sequence. Keeps bytes of the next request in the buffer.
pub(crate) struct Reader<S> {
    stream: S,
    buffer: Vec<u8>,
}

impl<S: Read + Write> Reader<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    pub(crate) fn request(&mut self) -> Result<Request, Failure> {
        let (mut request, head) = loop {
            if let Some(parsed) = parse_head(&self.buffer)? {
                break parsed;
            }
            if self.buffer.len() >= MAX_HEAD {
                return Err(Failure::Invalid(431, "the head is too long"));
            }
            self.fill()?;
        };
        self.buffer.drain(..head);
        let framing = framing(&request.headers)?;
        if request.header("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue")) {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        request.body = match framing {
            Framing::Length(length) => self.take(length)?,
            Framing::Chunked => self.chunks()?,
        };
        Ok(request)
    }

    fn chunks(&mut self) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let Ok(httparse::Status::Complete((_, size))) = httparse::parse_chunk_size(&line) else {
                return Err(Failure::Invalid(400, "a chunk's size is malformed"));
            };
            let size = usize::try_from(size).unwrap_or(usize::MAX);
            if size > MAX_BODY - body.len() {
                return Err(Failure::Invalid(413, "the body is too long"));
            }
            if size == 0 {
                break;
            }
            body.extend(self.take(size)?);
            if self.take(2)? != b"\r\n" {
                return Err(Failure::Invalid(400, "a chunk does not end where it should"));
            }
        }
        // Trailers are read and ignored.
        let mut trailers = 0;
        loop {
            let line = self.line()?;
            trailers += line.len();
            if line == b"\r\n" {
                return Ok(body);
            }
            if trailers > MAX_HEAD {
                return Err(Failure::Invalid(431, "the trailers are too long"));
            }
        }
    }

    /// Reads a line, with its line feed.
    fn line(&mut self) -> Result<Vec<u8>, Failure> {
        let mut searched = 0;
        loop {
            if let Some(end) = self.buffer[searched..].iter().position(|&byte| byte == b'\n') {
                return Ok(self.buffer.drain(..=searched + end).collect());
            }
            searched = self.buffer.len();
            if searched >= MAX_HEAD {
                return Err(Failure::Invalid(400, "a line is too long"));
            }
            self.fill()?;
        }
    }

    fn take(&mut self, length: usize) -> Result<Vec<u8>, Failure> {
        while self.buffer.len() < length {
            self.fill()?;
        }
        Ok(self.buffer.drain(..length).collect())
    }

    fn fill(&mut self) -> Result<(), Failure> {
        let mut chunk = [0; 8192];
        match self.stream.read(&mut chunk)? {
            0 => Err(Failure::Gone),
            count => {
                self.buffer.extend_from_slice(&chunk[..count]);
                Ok(())
            }
        }
    }
}

/// The request without its body, and the length of its head; `None` if the head is incomplete.
fn parse_head(buffer: &[u8]) -> Result<Option<(Request, usize)>, Failure> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    let length = match parsed.parse(buffer) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Failure::Invalid(431, "too many headers")),
        Err(_) => return Err(Failure::Invalid(400, "the head is malformed")),
    };
    if length > MAX_HEAD {
        return Err(Failure::Invalid(431, "the head is too long"));
    }
    let headers: Vec<_> = parsed
        .headers
        .iter()
        .map(|header| (header.name.to_ascii_lowercase(), String::from_utf8_lossy(header.value).into_owned()))
        .collect();
    let connection = header(&headers, "connection").unwrap_or_default().to_ascii_lowercase();
    let request = Request {
        method: parsed.method.unwrap_or_default().to_owned(),
        target: parsed.path.unwrap_or_default().to_owned(),
        keep_alive: if parsed.version == Some(0) { connection == "keep-alive" } else { connection != "close" },
        headers,
        body: Vec::new(),
    };
    Ok(Some((request, length)))
}

enum Framing {
    Length(usize),
    Chunked,
}

fn framing(headers: &[(String, String)]) -> Result<Framing, Failure> {
    let mut lengths = headers.iter().filter(|(name, _)| name == "content-length").map(|(_, value)| value);
    match (header(headers, "transfer-encoding"), lengths.next()) {
        (None, None) => Ok(Framing::Length(0)),
        (Some(coding), None) if coding.eq_ignore_ascii_case("chunked") => Ok(Framing::Chunked),
        (Some(_), _) => Err(Failure::Invalid(400, "the transfer-encoding is not just chunked")),
        (None, Some(length)) => {
            if lengths.any(|other| other != length) || !length.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(Failure::Invalid(400, "the content-length is malformed"));
            }
            match length.parse() {
                Ok(length) if length <= MAX_BODY => Ok(Framing::Length(length)),
                _ => Err(Failure::Invalid(413, "the body is too long")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    #[test]
    fn requests_of_both_framings_in_sequence() {
        let mut reader = reader(
            "POST /a?x=%41+b&y HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;ext\r\nabc\r\n2\r\nde\r\n0\r\nT: 1\r\n\r\n\
             POST /b HTTP/1.1\r\nContent-Length: 2\r\nConnection: close\r\n\r\nfg",
        );
        let first = reader.request().ok().unwrap();
        assert_eq!((first.path(), first.body.as_slice(), first.keep_alive), ("/a", &b"abcde"[..], true));
        assert_eq!(first.query().unwrap(), [("x".into(), "A b".into()), ("y".into(), String::new())].into());
        let second = reader.request().ok().unwrap();
        assert_eq!((second.path(), second.body.as_slice(), second.keep_alive), ("/b", &b"fg"[..], false));
        assert!(matches!(reader.request(), Err(Failure::Gone)));
    }

    #[test]
    fn invalid_requests_get_an_error_status() {
        for (bytes, status) in [
            ("nonsense\r\n\r\n".to_owned(), 400),
            (format!("GET / HTTP/1.1\r\nA: {}\r\n", "a".repeat(MAX_HEAD)), 431),
            (format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(MAX_HEADERS + 1)), 431),
            (format!("POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n", MAX_BODY + 1), 413),
            ("POST / HTTP/1.1\r\nContent-Length: +1\r\n\r\na".to_owned(), 400),
            ("POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na".to_owned(), 400),
            ("POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\na".to_owned(), 400),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n".to_owned(), 400),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n100001\r\n".to_owned(), 413),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n".to_owned(), 413),
        ] {
            let result = reader(&bytes).request();
            assert!(matches!(result, Err(Failure::Invalid(got, _)) if got == status), "{bytes:.80}");
        }
    }

    fn reader(bytes: &str) -> Reader<Cursor<Vec<u8>>> {
        Reader::new(Cursor::new(bytes.as_bytes().to_vec()))
    }
}
