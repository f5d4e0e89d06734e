//! An HTTP/1.1 client that sends exactly the bytes that a test names.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use crate::leaks;

const TIMEOUT: Duration = Duration::from_secs(15);

/// A request. The client adds `Host` and `Content-Length` unless the request has them.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The request target, with the query.
    pub path: String,
    /// The headers in order. Values may be any bytes.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body, sent with a `Content-Length` if not empty.
    pub body: Vec<u8>,
}

impl Request {
    /// A request without a body.
    pub fn new(method: &str, path: &str) -> Self {
        Self { method: method.to_owned(), path: path.to_owned(), headers: Vec::new(), body: Vec::new() }
    }

    /// A GET request.
    pub fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    /// A POST request with an empty body.
    pub fn post(path: &str) -> Self {
        Self::new("POST", path)
    }

    /// Adds `Authorization: Bearer …`.
    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", format!("Bearer {token}"))
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name))
    }

    fn encode(&self, addr: SocketAddr) -> Vec<u8> {
        let mut bytes = format!("{} {} HTTP/1.1\r\n", self.method, self.path).into_bytes();
        let mut header = |name: &str, value: &[u8]| {
            bytes.extend_from_slice(name.as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value);
            bytes.extend_from_slice(b"\r\n");
        };
        if !self.has("host") {
            header("host", addr.to_string().as_bytes());
        }
        for (name, value) in &self.headers {
            header(name, value);
        }
        let framed = self.has("content-length") || self.has("transfer-encoding");
        if !framed && (!self.body.is_empty() || self.method == "POST") {
            header("content-length", self.body.len().to_string().as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// A challenge without the query in its realm.
fn without_query_of_realm(challenge: &str) -> String {
    let Some((before, realm)) = challenge.split_once("realm=\"") else { return challenge.to_owned() };
    let (realm, after) = realm.split_once('"').unwrap_or((realm, ""));
    let path = realm.split_once('?').map_or(realm, |(path, _)| path);
    format!("{before}realm=\"{path}\"{after}")
}

/// A response.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The headers in order, with names as received.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body, decoded from its transfer coding.
    pub body: Vec<u8>,
}

impl Response {
    /// The first header with this name, if its value is UTF-8.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(given, _)| given.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(value).ok()
    }

    /// An upstream may answer with what it got. The answers of the filter and of Envoy have other statuses.
    fn assert_no_leaks(&self) {
        if self.status < 400 && self.header("grpc-status").is_none() {
            return;
        }
        let headers = self.headers.iter().map(|(name, value)| {
            let value = String::from_utf8_lossy(value);
            // The realm is the URI of the request, as with `jwt_authn`, and the client may have put its token there.
            let is_challenge = name.eq_ignore_ascii_case("www-authenticate");
            format!("{name}: {}", if is_challenge { without_query_of_realm(&value) } else { value.into_owned() })
        });
        let text = headers.chain([self.text()]).collect::<Vec<_>>().join("\n");
        let leaks = leaks::find(&text, |_| true);
        assert!(leaks.is_empty(), "secrets in an answer with status {}: {leaks:#?}", self.status);
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("not JSON ({error}): {} {}", self.status, self.text()))
    }
}

/// Sends one request on a new connection.
pub fn send(addr: SocketAddr, request: &Request) -> io::Result<Response> {
    Connection::open(addr)?.send(request)
}

/// Opens `n` connections, then sends one request on each connection at the same time.
pub fn concurrently(
    addr: SocketAddr,
    n: usize,
    request: impl Fn(usize) -> Request + Sync,
) -> Vec<io::Result<Response>> {
    let start = Barrier::new(n);
    let one = |index| {
        let request = request(index);
        let connection = Connection::open(addr);
        start.wait();
        connection?.send(&request)
    };
    let one = &one;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..n).map(|i| scope.spawn(move || one(i))).collect();
        threads.into_iter().map(|thread| thread.join().expect("the request's closure panicked")).collect()
    })
}

/// A connection for several requests in sequence.
pub struct Connection {
    addr: SocketAddr,
    stream: BufReader<TcpStream>,
}

impl Connection {
    /// Opens a connection.
    pub fn open(addr: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&addr, TIMEOUT)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        stream.set_nodelay(true)?;
        Ok(Self { addr, stream: BufReader::new(stream) })
    }

    /// Opens a connection from a loopback address of the client's choice.
    pub fn open_from(client: Ipv4Addr, addr: SocketAddr) -> io::Result<Self> {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((client, 0)).into())?;
        socket.connect_timeout(&addr.into(), TIMEOUT)?;
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(TIMEOUT))?;
        Ok(Self { addr, stream: BufReader::new(stream) })
    }

    /// Sends a request and reads the whole response.
    pub fn send(&mut self, request: &Request) -> io::Result<Response> {
        // A server may answer and close before it has read a long body. The answer then takes precedence over the write
        // error.
        let written = self.transmit(request);
        self.receive(&request.method).map_err(|error| written.err().unwrap_or(error))
    }

    /// Sends a request without waiting for the response.
    pub fn transmit(&mut self, request: &Request) -> io::Result<()> {
        let bytes = request.encode(self.addr);
        leaks::register_request(&bytes);
        self.stream.get_mut().write_all(&bytes)
    }

    /// Reads the whole response to a request with this method.
    pub fn receive(&mut self, method: &str) -> io::Result<Response> {
        loop {
            let status = self.status_line()?;
            let headers = self.headers()?;
            if (100..200).contains(&status) {
                continue;
            }
            let mut response = Response { status, headers, body: Vec::new() };
            if method != "HEAD" && status != 204 && status != 304 {
                response.body = self.body(&response)?;
            }
            response.assert_no_leaks();
            return Ok(response);
        }
    }

    fn status_line(&mut self) -> io::Result<u16> {
        let line = String::from_utf8_lossy(&self.line()?).into_owned();
        line.strip_prefix("HTTP/1.")
            .and_then(|rest| rest.split(' ').nth(1)?.parse().ok())
            .ok_or_else(|| malformed("status line", &line))
    }

    fn headers(&mut self) -> io::Result<Vec<(String, Vec<u8>)>> {
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(headers);
            }
            let colon = line
                .iter()
                .position(|&byte| byte == b':')
                .ok_or_else(|| malformed("header", &String::from_utf8_lossy(&line)))?;
            let name = String::from_utf8_lossy(&line[..colon]).into_owned();
            headers.push((name, line[colon + 1..].trim_ascii().to_vec()));
        }
    }

    fn body(&mut self, response: &Response) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        if response.header("transfer-encoding") == Some("chunked") {
            while self.chunk(&mut body)? {}
            self.headers()?;
        } else if let Some(length) = response.header("content-length") {
            let length = length.parse().map_err(|_| malformed("content-length", length))?;
            body.resize(length, 0);
            self.stream.read_exact(&mut body)?;
        } else {
            self.stream.read_to_end(&mut body)?;
        }
        Ok(body)
    }

    /// Reads a chunk. Returns false for the last chunk.
    fn chunk(&mut self, body: &mut Vec<u8>) -> io::Result<bool> {
        let line = String::from_utf8_lossy(&self.line()?).into_owned();
        let digits = line.split(';').next().unwrap_or_default().trim();
        let length = usize::from_str_radix(digits, 16).map_err(|_| malformed("chunk length", &line))?;
        if length == 0 {
            return Ok(false);
        }
        let start = body.len();
        body.resize(start + length, 0);
        self.stream.read_exact(&mut body[start..])?;
        self.line()?;
        Ok(true)
    }

    /// Reads a line, without the line ending.
    fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line)?;
        if line.pop() != Some(b'\n') {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok(line)
    }
}

fn malformed(what: &str, text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("bad {what}: {text:?}"))
}
