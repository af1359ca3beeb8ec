//! An endpoint of webhooks as far as a test needs one: takes what comes, or refuses it until it is opened.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use reveille::domain::webhook::{Secret, sign};

use crate::endpoint::Endpoint;

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
    _endpoint: Endpoint,
}

impl Hook {
    /// An endpoint that refuses everything.
    pub(crate) async fn closed() -> Self {
        let state = Arc::new(State::default());
        let kept = state.clone();
        let endpoint = Endpoint::start(move |request| take(request, kept.clone())).await;
        Self {
            url: format!("http://{}/hook", endpoint.address),
            state,
            _endpoint: endpoint,
        }
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

async fn take(request: Request<Incoming>, state: Arc<State>) -> Response<Full<Bytes>> {
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
    answer
}
