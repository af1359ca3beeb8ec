//! What clients send to a server, as the server tells it.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpStream,
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

use crate::redis_server::RedisServer;

/// What ends a look at the lines: they come a while after the answers to what they tell.
const END: &str = "\"ECHO\" \"all-that-was-sent\"";

/// Counts the commands that clients send, without those that scripts call.
pub(crate) struct Monitor {
    port: u16,
    lines: Receiver<String>,
}

impl Monitor {
    /// Counts from now on.
    pub(crate) fn of(server: &RedisServer) -> Self {
        let mut stream = connect(server.port);
        stream.write_all(b"MONITOR\r\n").unwrap();
        let (sender, lines) = channel();
        let mut reader = BufReader::new(stream);
        let mut first = String::new();
        reader.read_line(&mut first).unwrap();
        assert_eq!(first, "+OK\r\n");
        std::thread::spawn(move || {
            for line in reader.split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let port = server.port;
        Self { port, lines }
    }

    /// What the server got between the last call and this one; `[0 lua]` marks what a script called.
    pub(crate) fn sent(&self) -> Vec<String> {
        let mut end = connect(self.port);
        end.write_all(b"ECHO all-that-was-sent\r\n").unwrap();
        let next = || self.lines.recv_timeout(Duration::from_secs(30));
        std::iter::from_fn(|| Some(next().expect("the server tells what it got")))
            .take_while(|line| !line.contains(END))
            .filter(|line| !line.contains(" lua]"))
            .collect()
    }
}

fn connect(port: u16) -> TcpStream {
    TcpStream::connect(("127.0.0.1", port)).unwrap()
}
