//! `reveille sandbox` as a process: what it prints, and that it ends when told to.

use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, Stdio},
};

use reqwest::{Certificate, Client};
use serde_json::Value;

/// A process that does not outlive its test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn start(folder: &Path, listen: &str, options: &[&str]) -> Process {
    let child = Command::new(env!("CARGO_BIN_EXE_reveille"))
        .args(["sandbox", "--listen", listen])
        .args(options)
        .current_dir(folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    Process(child.unwrap())
}

#[tokio::test]
async fn the_command_prints_what_a_client_needs_and_ends_on_sigterm() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = start(
        folder.path(),
        "127.0.0.1:0",
        &["--devices", "3", "--app", "fabrikam"],
    );
    let mut out = BufReader::new(process.0.stdout.take().unwrap());
    let mut printed = String::new();
    while !printed.contains("# ledger:") {
        assert_ne!(
            out.read_line(&mut printed).unwrap(),
            0,
            "it ended: {printed}"
        );
    }
    let authority = std::fs::read(folder.path().join("sandbox-ca.pem")).unwrap();
    let settings: toml::Value = toml::from_str(&printed).unwrap();
    let host = settings["wns"]["sandbox_hosts"][0].as_str().unwrap();
    let client = Client::builder()
        .tls_certs_only([Certificate::from_pem(&authority).unwrap()])
        .no_proxy()
        .build()
        .unwrap();

    let apps = client.get(format!("https://{host}/sandbox/v1/apps"));
    let apps: Value = apps.send().await.unwrap().json().await.unwrap();
    let id = process.0.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &id])
            .status()
            .unwrap()
            .success()
    );
    out.read_to_string(&mut printed).unwrap();
    let status = process.0.wait().unwrap();

    assert_eq!(apps[0]["app"], "fabrikam");
    assert_eq!(
        settings["apps"][0]["package_sid"].as_str(),
        apps[0]["package_sid"].as_str()
    );
    assert!(status.success(), "{status}");
    assert!(printed.contains("0 of 3 devices reached"), "{printed}");
}

#[test]
fn a_port_that_is_taken_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut process = start(folder.path(), &address, &[]);

    let status = process.0.wait().unwrap();

    let mut said = String::new();
    process
        .0
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert!(!status.success());
    assert!(
        said.contains(&format!("cannot listen on {address}")),
        "{said}"
    );
}
