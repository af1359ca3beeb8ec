//! What the broker is compared with, each on the same CPU against the same sink.

use std::process::Command;

use crate::{
    CLIENT_CPU,
    sink::{Sink, token},
};

/// What one push costs.
pub(crate) struct Cost {
    pub(crate) cpu_us: f64,
    pub(crate) per_second: f64,
}

/// Runs a shell command under bash's `time` and returns its CPU and wall seconds.
fn timed(command: &str) -> (f64, f64) {
    let script = format!("TIMEFORMAT='%U %S %R'; time {{ {command} ; }} >/dev/null 2>&1");
    let output = Command::new("bash")
        .args(["-c", &script])
        .output()
        .expect("bash runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command} failed: {text}");
    let line = text.lines().last().unwrap_or("");
    let seconds: Vec<f64> = line
        .split_whitespace()
        .filter_map(|s| s.parse().ok())
        .collect();
    (seconds[0] + seconds[1], seconds[2])
}

fn cost(command: &str, pushes: usize) -> Cost {
    let (cpu, wall) = timed(command);
    Cost {
        cpu_us: cpu / pushes as f64 * 1e6,
        per_second: pushes as f64 / wall,
    }
}

/// h2load with the same request: the floor that a load generator without any bookkeeping reaches.
pub(crate) fn h2load(sink: &Sink, pushes: usize, http2: bool) -> Cost {
    let body = sink.ca.with_file_name("notification");
    std::fs::write(&body, "wake").expect("the body is written");
    let shape = if http2 { "-c1 -m100" } else { "--h1 -c32" };
    let headers = format!(
        "-H 'authorization: Bearer {}' -H 'x-wns-type: wns/raw' -H 'content-type: application/octet-stream' \
         -H 'x-wns-cache-policy: cache' -H 'x-wns-requestforstatus: true' -H 'x-wns-ttl: 3600' -H 'ms-cv: 0123456789012345678901.0'",
        token()
    );
    let command = format!(
        "taskset -c {CLIENT_CPU} h2load -n {pushes} -t1 {shape} -d '{}' {headers} '{}'",
        body.display(),
        sink.channel(0)
    );
    cost(&command, pushes)
}

/// The npm package `wns`, 32 in flight, with keep-alive and its token given.
pub(crate) fn npm_wns(sink: &Sink, pushes: usize) -> Cost {
    let dir = sink.ca.with_file_name("npm");
    if !dir.exists() {
        std::fs::create_dir(&dir).expect("a folder");
        let install = format!(
            "cd '{}' && npm init -y && npm install wns@0.5.4",
            dir.display()
        );
        timed(&install);
        std::fs::write(dir.join("loop.js"), include_str!("wns.js")).expect("the loop is written");
    }
    let command = format!(
        "NODE_EXTRA_CA_CERTS='{}' taskset -c {CLIENT_CPU} node '{}' '{}' {pushes} {}",
        sink.ca.display(),
        dir.join("loop.js").display(),
        sink.channel(0),
        token()
    );
    cost(&command, pushes)
}
