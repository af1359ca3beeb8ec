//! A link to a server on this machine that can be cut as a network is: connections stay open, new ones are even made, and
//! nothing comes through. What was under way arrives when the link is mended, as TCP sends it again.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// Most bytes that are passed on at once.
const PIECE_BYTES: usize = 64 * 1024;

/// See the module.
pub(crate) struct Cable {
    pub(crate) port: u16,
    whole: watch::Sender<bool>,
}

impl Cable {
    /// A whole link to whoever listens on a port of this machine.
    pub(crate) async fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (whole, state) = watch::channel(true);
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(connect(client, server, state.clone()));
            }
        });
        Self { port, whole }
    }

    pub(crate) fn cut(&self) {
        self.whole.send_replace(false);
    }

    pub(crate) fn mend(&self) {
        self.whole.send_replace(true);
    }
}

async fn connect(client: TcpStream, server: u16, mut state: watch::Receiver<bool>) {
    if !is_whole(&mut state).await {
        return;
    }
    let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else {
        return;
    };
    let ((from_client, to_client), (from_server, to_server)) =
        (client.into_split(), server.into_split());
    tokio::join!(
        pass(from_client, to_server, state.clone()),
        pass(from_server, to_client, state),
    );
}

/// Passes on what comes, and the end of it.
async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut state: watch::Receiver<bool>,
) {
    let mut bytes = vec![0; PIECE_BYTES];
    loop {
        let read = from.read(&mut bytes).await.unwrap_or(0);
        if !is_whole(&mut state).await || read == 0 || to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}

/// Waits until the link is whole; not so when the test is over.
async fn is_whole(state: &mut watch::Receiver<bool>) -> bool {
    state.wait_for(|whole| *whole).await.is_ok()
}
