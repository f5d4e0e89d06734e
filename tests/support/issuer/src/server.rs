//! A server with a thread per connection, which can stop and resume listening on its port.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};

use crate::http::{Request, Response};
use crate::reader::{Failure, Reader};

/// How often a waiting thread checks its condition.
const TICK: Duration = Duration::from_millis(10);
/// How long to wait for a port that is about to become free.
const PATIENCE: Duration = Duration::from_secs(5);

/// Answers requests, from many threads.
pub(crate) trait Handler: Send + Sync + 'static {
    fn handle(&self, request: &Request, connection: &Connection) -> Reply;
}

/// How the server answers a request.
pub(crate) enum Reply {
    Answer(Response),
    /// Sends half of the body, then closes the connection.
    Truncated(Response),
    /// Resets the connection without an answer.
    Reset,
    /// Closes the connection without an answer.
    Close,
    /// Answers, then stops listening for this time.
    AnswerAndPause(Response, Duration),
}

/// A running server; stops when dropped.
pub(crate) struct Server(Arc<Shared>);

struct Shared {
    addr: SocketAddr,
    handler: Arc<dyn Handler>,
    port: Mutex<Port>,
    /// The references are weak, so that a connection ends with its thread. Another owner would delay FIN and RST.
    open: Mutex<Vec<Weak<TcpStream>>>,
    accepted: Arc<AtomicU64>,
}

enum Port {
    Listening {
        stop: Arc<AtomicBool>,
        accept: JoinHandle<()>,
    },
    /// Bound but not listening: the system refuses connections, and no other process gets the port.
    Reserved(Option<Socket>),
    /// Never listens again.
    Closed,
}

impl Server {
    pub(crate) fn start(listen: SocketAddr, handler: Arc<dyn Handler>) -> io::Result<Server> {
        let socket = bind(listen, Duration::ZERO)?;
        let addr = socket.local_addr()?.as_socket().unwrap_or(listen);
        let shared = Arc::new(Shared {
            addr,
            handler,
            port: Mutex::new(Port::Reserved(Some(socket))),
            open: Mutex::default(),
            accepted: Arc::default(),
        });
        shared.resume()?;
        Ok(Server(shared))
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.0.addr
    }

    /// Connections accepted so far.
    pub(crate) fn accepted(&self) -> u64 {
        self.0.accepted.load(SeqCst)
    }

    /// Closes open connections and refuses new connections.
    pub(crate) fn stop(&self) {
        self.0.stop();
    }

    pub(crate) fn resume(&self) -> io::Result<()> {
        self.0.resume()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.0.stop();
        *lock(&self.0.port) = Port::Closed;
    }
}

impl Shared {
    fn stop(&self) {
        let mut port = lock(&self.port);
        if !matches!(*port, Port::Listening { .. }) {
            return;
        }
        if let Port::Listening { stop, accept } = std::mem::replace(&mut *port, Port::Reserved(None)) {
            stop.store(true, SeqCst);
            // The connection wakes the thread from accept(). The thread then closes the listening socket.
            let _ = TcpStream::connect_timeout(&reachable(self.addr), Duration::from_secs(1));
            let _ = accept.join();
        }
        for stream in lock(&self.open).drain(..).filter_map(|stream| stream.upgrade()) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        *port = Port::Reserved(bind(self.addr, PATIENCE).ok());
    }

    fn resume(self: &Arc<Self>) -> io::Result<()> {
        let mut port = lock(&self.port);
        let Port::Reserved(reserved) = &mut *port else { return Ok(()) };
        let socket = match reserved.take() {
            Some(socket) => socket,
            None => bind(self.addr, PATIENCE)?,
        };
        socket.listen(1024)?;
        let stop = Arc::new(AtomicBool::new(false));
        let accept = {
            let (shared, stop) = (self.clone(), stop.clone());
            thread::Builder::new()
                .name("accept".to_owned())
                .spawn(move || shared.accept(&TcpListener::from(socket), &stop))?
        };
        *port = Port::Listening { stop, accept };
        Ok(())
    }

    fn accept(self: Arc<Self>, listener: &TcpListener, stop: &Arc<AtomicBool>) {
        loop {
            let accepted = listener.accept();
            if stop.load(SeqCst) {
                return;
            }
            let Ok((stream, _)) = accepted else {
                // Probably out of file descriptors, which may be temporary.
                thread::sleep(TICK);
                continue;
            };
            self.accepted.fetch_add(1, SeqCst);
            let _ = stream.set_nodelay(true);
            let stream = Arc::new(stream);
            {
                let mut open = lock(&self.open);
                open.retain(|stream| stream.strong_count() > 0);
                open.push(Arc::downgrade(&stream));
            }
            let (shared, stop, accepted) = (self.clone(), stop.clone(), self.accepted.clone());
            // If no thread can start, the connection closes.
            let _ = thread::Builder::new().spawn(move || shared.serve(&Connection { accepted, stream, stop }));
        }
    }

    fn serve(self: Arc<Self>, connection: &Connection) {
        let mut stream = &*connection.stream;
        let mut reader = Reader::new(stream);
        while !connection.stopped() {
            let request = match reader.request() {
                Ok(request) => request,
                Err(Failure::Gone) => return,
                Err(Failure::Invalid(status, reason)) => {
                    let _ = stream.write_all(&Response::error(status, reason).bytes(true, false));
                    return;
                }
            };
            let mut answer = |response: Response| {
                stream.write_all(&response.bytes(request.method != "HEAD", request.keep_alive)).is_ok()
            };
            let more = match self.handler.handle(&request, connection) {
                Reply::Answer(response) => answer(response) && request.keep_alive,
                Reply::Truncated(response) => {
                    let _ = stream.write_all(&response.truncated());
                    false
                }
                Reply::Reset => {
                    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
                    false
                }
                Reply::Close => false,
                Reply::AnswerAndPause(response, pause) => {
                    answer(response);
                    self.stop();
                    thread::sleep(pause);
                    if let Err(error) = self.resume() {
                        eprintln!("cannot listen on {} again: {error}", self.addr);
                    }
                    false
                }
            };
            if !more {
                return;
            }
        }
    }
}

/// What a handler that takes its time has to know of its connection.
pub(crate) struct Connection {
    accepted: Arc<AtomicU64>,
    stream: Arc<TcpStream>,
    stop: Arc<AtomicBool>,
}

impl Connection {
    /// Connections that the server has accepted so far.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(SeqCst)
    }

    /// Waits; false if the server has stopped meanwhile.
    pub(crate) fn wait(&self, duration: Duration) -> bool {
        let start = Instant::now();
        while let Some(left) = duration.checked_sub(start.elapsed()).filter(|left| !left.is_zero()) {
            if self.stopped() {
                return false;
            }
            thread::sleep(left.min(TICK));
        }
        !self.stopped()
    }

    /// Waits until this is true; false if the server has stopped or the client has gone before.
    pub(crate) fn wait_until(&self, done: impl Fn() -> bool) -> bool {
        while !done() {
            if self.stopped() || self.client_has_left() {
                return false;
            }
            thread::sleep(TICK);
        }
        true
    }

    fn stopped(&self) -> bool {
        self.stop.load(SeqCst)
    }

    /// Whether the client has closed the connection.
    fn client_has_left(&self) -> bool {
        let _ = self.stream.set_nonblocking(true);
        let peeked = self.stream.peek(&mut [0]);
        let _ = self.stream.set_nonblocking(false);
        match peeked {
            Ok(count) => count == 0,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }
}

/// A socket that is bound to the address and does not listen yet.
fn bind(addr: SocketAddr, patience: Duration) -> io::Result<Socket> {
    let start = Instant::now();
    loop {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
        // Earlier connections may be in TIME_WAIT.
        socket.set_reuse_address(true)?;
        match socket.bind(&addr.into()) {
            Ok(()) => return Ok(socket),
            Err(error) if start.elapsed() >= patience => return Err(error),
            Err(_) => thread::sleep(TICK),
        }
    }
}

/// An address that reaches the listener, even if it listens on all addresses.
fn reachable(addr: SocketAddr) -> SocketAddr {
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, addr.port())
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
