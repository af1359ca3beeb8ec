//! What clients send to a server, as the server tells it.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpStream,
};

use crate::redis_server::RedisServer;

/// Counts the commands that clients send, without those that scripts call.
pub(crate) struct Monitor {
    lines: std::sync::mpsc::Receiver<String>,
}

impl Monitor {
    /// Counts from now on.
    pub(crate) fn of(server: &RedisServer) -> Self {
        let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
        stream.write_all(b"MONITOR\r\n").unwrap();
        let (sender, lines) = std::sync::mpsc::channel();
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
        Self { lines }
    }

    /// What came since the last call; `[0 lua]` marks what a script called.
    pub(crate) fn sent(&self) -> Vec<String> {
        self.lines
            .try_iter()
            .filter(|line| !line.contains(" lua]"))
            .collect()
    }
}
