//! J1 without order: so many connections, each with a queue.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::consume::Source;

/// Posts every event until the process is ended.
pub async fn run(source: Source, port: u16, connections: usize) {
    let mut queues = Vec::new();
    for _ in 0..connections {
        let (queue, mut events) = mpsc::channel::<Bytes>(64);
        let mut connection = Connection::open(port).await;
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                connection.post(event).await;
            }
        });
        queues.push(queue);
    }
    let mut batches = source.start();
    let mut next = 0;
    while let Some(batch) = batches.recv().await {
        for (_, value) in batch {
            next = (next + 1) % queues.len();
            queues[next].send(value).await.expect("the connection lives");
        }
    }
}

/// A connection to the receiver.
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    host: String,
}

impl Connection {
    /// Connects.
    pub async fn open(port: u16) -> Connection {
        let host = format!("127.0.0.1:{port}");
        let stream = TcpStream::connect(&host).await.expect("the receiver listens");
        stream.set_nodelay(true).expect("no delay");
        let (sender, connection) = handshake(TokioIo::new(stream)).await.expect("a connection");
        tokio::spawn(connection);
        Connection { sender, host }
    }

    /// Posts one event and reads the answer to its end.
    pub async fn post(&mut self, event: Bytes) {
        let request = Request::post("/hook")
            .header("host", &self.host)
            .header("content-type", "application/json")
            .body(Full::new(event))
            .expect("a request");
        self.sender.ready().await.expect("the connection lives");
        let answer = self.sender.send_request(request).await.expect("an answer");
        assert!(answer.status().is_success(), "{}", answer.status());
        answer.into_body().collect().await.expect("its body");
    }
}
