//! An endpoint of webhooks as far as a test needs one: takes what comes, or refuses it until it is opened.

use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use reveille::domain::webhook::{Secret, sign};
use tokio::{net::TcpListener, task::JoinHandle};

/// A request as it came.
#[derive(Clone)]
pub(crate) struct Delivery {
    id: String,
    timestamp: String,
    signature: String,
    pub(crate) body: String,
}

impl Delivery {
    pub(crate) fn is_signed_with(&self, secret: &str) -> bool {
        let secret = Secret::try_from(secret.to_owned()).unwrap();
        let timestamp = self.timestamp.parse().unwrap();
        self.signature == sign(&[&secret], &self.id, timestamp, self.body.as_bytes())
    }
}

#[derive(Default)]
struct State {
    is_open: AtomicBool,
    taken: Mutex<Vec<Delivery>>,
}

/// Takes deliveries at an address of its own until dropped.
pub(crate) struct Hook {
    pub(crate) url: String,
    state: Arc<State>,
    task: JoinHandle<()>,
}

impl Drop for Hook {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Hook {
    /// An endpoint that refuses everything.
    pub(crate) async fn closed() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let state = Arc::new(State::default());
        let kept = state.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let kept = kept.clone();
                let service = service_fn(move |request| take(request, kept.clone()));
                let io = TokioIo::new(stream);
                tokio::spawn(http1::Builder::new().serve_connection(io, service));
            }
        });
        Self { url, state, task }
    }

    /// Takes everything from now on.
    pub(crate) fn open(&self) {
        self.state.is_open.store(true, Ordering::SeqCst);
    }

    /// What it took, in order.
    pub(crate) fn taken(&self) -> Vec<Delivery> {
        self.state.taken.lock().unwrap().clone()
    }
}

async fn take(
    request: Request<Incoming>,
    state: Arc<State>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let word = |name: &str| head.headers[name].to_str().unwrap().to_owned();
    let delivery = Delivery {
        id: word("webhook-id"),
        timestamp: word("webhook-timestamp"),
        signature: word("webhook-signature"),
        body: String::from_utf8(body.to_vec()).unwrap(),
    };
    let mut answer = Response::new(Full::default());
    match state.is_open.load(Ordering::SeqCst) {
        true => state.taken.lock().unwrap().push(delivery),
        false => *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE,
    }
    Ok(answer)
}
