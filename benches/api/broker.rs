//! A broker process on a fresh embedded store, and a console that streams to it.

use std::{
    fs,
    io::{BufWriter, Read, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::{Cost, usage};

/// Bytes of one chunk of a body.
const CHUNK_BYTES: usize = 64 * 1024;

/// Killed when dropped.
pub(crate) struct Broker {
    process: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Drop for Broker {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

impl Broker {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        let config = folder.path().join("reveille.toml");
        let data = folder.path().join("data");
        // Nobody answers for tokens: nothing is sent, and the broker only takes in.
        let text = format!(
            r#"
[server]
listen = "127.0.0.1:{port}"
[store]
path = "{}"
[log]
level = "error"
[[apps]]
id = "bench"
package_sid = "ms-app://S-1-15-2-3928704574-477015729-2320265743-508859788-3584887706-656216416-1642263338"
secret_env = "BENCH_SECRET"
token_url = "https://127.0.0.1:9/token"
"#,
            data.display()
        );
        fs::write(&config, text).expect("the configuration is written");
        let process = Command::new(env!("CARGO_BIN_EXE_reveille"))
            .args(["serve", "--config"])
            .arg(&config)
            .env("BENCH_SECRET", "secret")
            .stdout(Stdio::null())
            .spawn()
            .expect("the broker starts");
        let broker = Self {
            process,
            port,
            _folder: folder,
        };
        broker.wait_until_it_answers();
        broker
    }

    fn wait_until_it_answers(&self) {
        let began = tokio::time::Instant::now();
        while began.elapsed() < Duration::from_secs(30) {
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return;
            }
            std::thread::yield_now();
        }
        panic!("the broker does not listen");
    }

    /// Streams a line for each device.
    pub(crate) fn post(&self, path: &str, devices: usize, line: fn(usize) -> String) -> Cost {
        let pid = self.process.id().to_string();
        let (cpu, began) = (usage(&pid).0, tokio::time::Instant::now());
        let answer = self.send(path, (0..devices).map(line));
        let (cpu_after, resident_mb) = usage(&pid);
        assert!(answer.starts_with("HTTP/1.1 20"), "{path}: {answer}");
        assert!(answer.contains(&format!(":{devices},")), "{path}: {answer}");
        Cost {
            seconds: began.elapsed().as_secs_f64(),
            cpu_seconds: cpu_after - cpu,
            resident_mb,
        }
    }

    fn send(&self, path: &str, lines: impl Iterator<Item = String>) -> String {
        let socket = TcpStream::connect(("127.0.0.1", self.port)).expect("the broker listens");
        let mut writer = BufWriter::new(&socket);
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: bench\r\nconnection: close\r\ncontent-type: application/x-ndjson\r\n\
             transfer-encoding: chunked\r\n\r\n"
        );
        let mut chunk = String::with_capacity(2 * CHUNK_BYTES);
        let mut flush = |chunk: &mut String| {
            write!(writer, "{:x}\r\n{chunk}\r\n", chunk.len()).expect("the broker reads");
            chunk.clear();
        };
        (&socket)
            .write_all(head.as_bytes())
            .expect("the broker reads");
        for line in lines {
            chunk.push_str(&line);
            if chunk.len() >= CHUNK_BYTES {
                flush(&mut chunk);
            }
        }
        if !chunk.is_empty() {
            flush(&mut chunk);
        }
        // The empty chunk ends the body.
        flush(&mut chunk);
        writer.flush().expect("the broker reads");
        let mut answer = String::new();
        (&socket)
            .read_to_string(&mut answer)
            .expect("the broker answers");
        answer
    }
}
