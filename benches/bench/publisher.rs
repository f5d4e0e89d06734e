//! An HTTP server that publishes the same JWKS under every path, and counts the requests.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        atomic::{AtomicBool, Ordering::SeqCst},
        Arc, Mutex,
    },
    thread,
    time::Duration,
};

use socket2::{Domain, Socket, Type};

pub struct Publisher {
    pub addr: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    response: String,
    gets: Mutex<HashMap<String, u64>>,
    hangs: AtomicBool,
}

impl Publisher {
    pub fn start(jwks: &str) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        // Envoy opens thousands of connections at once. A connection that overflows the backlog costs a second.
        socket.listen(4096).unwrap();
        let listener = TcpListener::from(socket);
        let addr = listener.local_addr().unwrap();
        let response = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncache-control: max-age=600\r\ncontent-length: {}\r\n\r\n{jwks}",
            jwks.len()
        );
        let shared = Arc::new(Shared { response, gets: Mutex::default(), hangs: AtomicBool::new(false) });
        let publisher = Self { addr, shared: Arc::clone(&shared) };
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, shared) = (stream.unwrap(), Arc::clone(&shared));
                thread::Builder::new().stack_size(128 << 10).spawn(move || shared.serve(&stream)).unwrap();
            }
        });
        publisher
    }

    /// The number of requests.
    pub fn gets(&self) -> u64 {
        self.shared.gets.lock().unwrap().values().sum()
    }

    /// The number of different paths that were requested.
    pub fn paths(&self) -> usize {
        self.shared.gets.lock().unwrap().len()
    }

    /// Answers no request while `hangs`.
    pub fn hang(&self, hangs: bool) {
        self.shared.hangs.store(hangs, SeqCst);
    }
}

impl Shared {
    /// Serves the requests of a connection, until the client closes the connection.
    fn serve(&self, mut stream: &TcpStream) {
        let _ = stream.set_nodelay(true);
        let mut lines = BufReader::new(stream).lines();
        while let Some(Ok(start)) = lines.next() {
            while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
            let path = start.split(' ').nth(1).unwrap_or_default();
            *self.gets.lock().unwrap().entry(path.to_owned()).or_default() += 1;
            while self.hangs.load(SeqCst) {
                thread::sleep(Duration::from_millis(5));
            }
            if stream.write_all(self.response.as_bytes()).is_err() {
                return;
            }
        }
    }
}
