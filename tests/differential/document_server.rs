//! A server of key documents.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
};

/// Serves each document at its number.
pub fn serve(documents: Vec<String>) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let documents = Arc::new(documents);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (Ok(stream), documents) = (stream, documents.clone()) else { return };
            thread::spawn(move || answer(&stream, &documents));
        }
    });
    address
}

fn answer(mut stream: &TcpStream, documents: &[String]) -> Option<()> {
    let mut lines = BufReader::new(stream).lines();
    loop {
        let first = lines.next()?.ok()?;
        lines.find(|line| line.as_ref().is_ok_and(String::is_empty));
        let number: usize = first.split(' ').nth(1)?.strip_prefix('/')?.parse().ok()?;
        let body = documents.get(number)?;
        let head = format!("HTTP/1.1 200 OK\r\ncache-control: max-age=3600\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).ok()?;
    }
}
