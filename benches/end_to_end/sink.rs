//! nginx as WNS: takes every notification, on one worker on the second CPU.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::{SINK_CPU, free_port};

/// Length of a real access token is about a kilobyte.
const TOKEN_BYTES: usize = 1_024;

/// A running nginx; stopped when dropped.
pub(crate) struct Sink {
    process: Child,
    pub(crate) port: u16,
    pub(crate) ca: PathBuf,
}

impl Drop for Sink {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// The token that the sink gives out.
pub(crate) fn token() -> String {
    "T".repeat(TOKEN_BYTES)
}

impl Sink {
    pub(crate) async fn start(dir: &Path, http2: bool) -> Self {
        let port = free_port();
        let (certificate, key) = (dir.join("sink.pem"), dir.join("sink.key"));
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])
            .expect("a certificate");
        fs::write(&certificate, made.cert.pem()).expect("the certificate is written");
        fs::write(&key, made.signing_key.serialize_pem()).expect("the key is written");
        let conf = dir.join("nginx.conf");
        fs::write(&conf, configuration(dir, port, http2)).expect("the configuration is written");
        let process = Command::new("taskset")
            .args(["-c", SINK_CPU, "nginx", "-e", "stderr", "-p"])
            .arg(dir)
            .arg("-c")
            .arg(&conf)
            .stdout(Stdio::null())
            .spawn()
            .expect("nginx is installed");
        tokio::time::sleep(Duration::from_millis(500)).await;
        Self {
            process,
            port,
            ca: certificate,
        }
    }

    /// Its port and its certificate.
    pub(crate) fn address(&self) -> (u16, &Path) {
        (self.port, &self.ca)
    }

    /// A channel of about 230 bytes, as real ones have.
    pub(crate) fn channel(&self, n: usize) -> String {
        let filler = "AwYAAAB%2bk3Jx".repeat(13);
        format!("https://localhost:{}/?token={filler}{n:07}%3d", self.port)
    }
}

fn configuration(dir: &Path, port: u16, http2: bool) -> String {
    let http2 = if http2 { "http2" } else { "" };
    let dir = dir.display();
    let token = token();
    format!(
        r#"
daemon off;
master_process off;
worker_processes 1;
pid {dir}/nginx.pid;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  error_log stderr crit;
  client_body_temp_path {dir}/body;
  proxy_temp_path {dir}/proxy;
  fastcgi_temp_path {dir}/fastcgi;
  uwsgi_temp_path {dir}/uwsgi;
  scgi_temp_path {dir}/scgi;
  keepalive_requests 100000000;
  keepalive_timeout 300s;
  server {{
    listen 127.0.0.1:{port} ssl {http2} backlog=8192;
    listen [::1]:{port} ssl {http2} backlog=8192;
    server_name localhost;
    ssl_certificate {dir}/sink.pem;
    ssl_certificate_key {dir}/sink.key;
    location = /accesstoken.srf {{
      default_type application/json;
      return 200 '{{"access_token":"{token}","token_type":"bearer","expires_in":86400}}';
    }}
    location / {{
      add_header X-WNS-Status received;
      add_header X-WNS-NotificationStatus received;
      add_header X-WNS-Msg-ID 331FA2FC1F350267;
      add_header X-WNS-Debug-Trace SG2PEPF0005589B;
      add_header X-WNS-DeviceConnectionStatus connected;
      return 200;
    }}
  }}
}}
"#
    )
}
