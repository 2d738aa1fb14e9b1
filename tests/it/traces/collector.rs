//! A collector of the tests: takes OTLP over HTTP, decodes it and keeps the spans, or misbehaves.

use std::collections::HashMap;
use std::sync::Arc;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::harness::in_time;

/// What a collector does with a request.
#[derive(Debug, Clone)]
pub enum Does {
    /// Takes it.
    Take,
    /// Reads it and answers with these bytes, then closes.
    Say(Vec<u8>),
    /// Reads it, answers with these bytes and nothing more, and keeps the connection.
    SayAndStall(Vec<u8>),
}

/// A request that a collector has got.
#[derive(Debug, Clone)]
pub struct Got {
    pub line: String,
    pub fields: HashMap<String, String>,
    pub body: Vec<u8>,
    pub message: ExportTraceServiceRequest,
}

#[derive(Debug, Default)]
struct State {
    got: Vec<Got>,
    /// How many of them were taken.
    taken: Vec<usize>,
}

pub struct Collector {
    pub address: String,
    does: watch::Sender<Does>,
    state: watch::Sender<State>,
    _tasks: JoinSet<()>,
}

impl Collector {
    pub async fn start(does: Does) -> Self {
        Self::at("127.0.0.1:0", does).await
    }

    pub async fn at(address: &str, does: Does) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let does = watch::Sender::new(does);
        let state = watch::Sender::new(State::default());
        let mut tasks = JoinSet::new();
        let (doing, noting) = (does.clone(), state.clone());
        tasks.spawn(async move {
            // Ended with this task, and with it the connections.
            let mut connections = JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                connections.spawn(serve(socket, doing.clone(), noting.clone()));
            }
        });
        Self { address, does, state, _tasks: tasks }
    }

    /// The table that sends traces here.
    pub fn table(&self) -> String {
        format!("[trace]\notlp = \"http://{}\"\n", self.address)
    }

    pub fn does(&self, does: Does) {
        self.does.send_replace(does);
    }

    /// Waits for so many requests, whatever became of them.
    pub async fn requests(&self, count: usize) -> Vec<Got> {
        let mut state = self.state.subscribe();
        in_time(state.wait_for(|state| state.got.len() >= count)).await.unwrap().got.clone()
    }

    /// All spans that were taken.
    pub fn taken(&self) -> Vec<Seen> {
        let state = self.state.borrow();
        state.taken.iter().flat_map(|index| spans(&state.got[*index].message)).collect()
    }

    /// Waits until the taken spans are as wanted.
    pub async fn until(&self, mut wanted: impl FnMut(&[Seen]) -> bool) -> Vec<Seen> {
        let mut state = self.state.subscribe();
        let holds = async {
            loop {
                state.borrow_and_update();
                let taken = self.taken();
                if wanted(&taken) {
                    return taken;
                }
                state.changed().await.unwrap();
            }
        };
        in_time(holds).await
    }

    /// Waits for the spans of the trace of the request with this id. They come together.
    pub async fn trace_of(&self, request_id: &str) -> Trace {
        let is_it = |span: &Seen| span.text("boxgate.request_id") == Some(request_id);
        let spans = self.until(|spans| spans.iter().any(is_it)).await;
        let root = spans.iter().find(|span| is_it(span)).unwrap().clone();
        let of = |span: &&Seen| span.0.trace_id == root.0.trace_id && span.0.span_id != root.0.span_id;
        let children = spans.iter().filter(of).cloned().collect();
        Trace { root, children }
    }
}

/// A request's span with those below it.
#[derive(Debug)]
pub struct Trace {
    pub root: Seen,
    pub children: Vec<Seen>,
}

impl Trace {
    /// The attempts, in their order.
    pub fn attempts(&self) -> Vec<&Seen> {
        let mut found: Vec<_> = self.children.iter().filter(|span| span.0.kind == 3).collect();
        found.sort_by_key(|span| span.0.start_time_unix_nano);
        found
    }
}

/// A span that was taken.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen(pub Span);

impl Seen {
    pub fn text(&self, key: &str) -> Option<&str> {
        match value(&self.0.attributes, key)? {
            Value::StringValue(text) => Some(text),
            other => panic!("{key}: {other:?}"),
        }
    }

    pub fn number(&self, key: &str) -> Option<i64> {
        match value(&self.0.attributes, key)? {
            Value::IntValue(number) => Some(*number),
            other => panic!("{key}: {other:?}"),
        }
    }

    pub fn is_error(&self) -> bool {
        self.0.status.as_ref().is_some_and(|status| status.code == 2)
    }

    pub fn id(&self) -> String {
        hex(&self.0.span_id)
    }

    pub fn trace_id(&self) -> String {
        hex(&self.0.trace_id)
    }

    pub fn parent_id(&self) -> String {
        hex(&self.0.parent_span_id)
    }
}

/// The value of an attribute; each key is there once at most.
pub fn value<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Value> {
    let mut found = attributes.iter().filter(|attribute| attribute.key == key);
    let first = found.next()?;
    assert!(found.next().is_none(), "{key} is there twice");
    first.value.as_ref()?.value.as_ref()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn spans(message: &ExportTraceServiceRequest) -> Vec<Seen> {
    let scopes = message.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
    scopes.flat_map(|scope| scope.spans.iter().cloned().map(Seen)).collect()
}

async fn serve(socket: TcpStream, does: watch::Sender<Does>, state: watch::Sender<State>) {
    let mut socket = BufReader::new(socket);
    while let Some(got) = read(&mut socket).await {
        let does = does.borrow().clone();
        state.send_modify(|state| {
            if matches!(does, Does::Take) {
                state.taken.push(state.got.len());
            }
            state.got.push(got);
        });
        let answer: Arc<[u8]> = match &does {
            Does::Take => {
                b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n"[..]
                    .into()
            }
            Does::Say(bytes) | Does::SayAndStall(bytes) => bytes[..].into(),
        };
        if socket.write_all(&answer).await.is_err() {
            return;
        }
        match does {
            Does::Take => {}
            Does::Say(_) => return,
            Does::SayAndStall(_) => std::future::pending().await,
        }
    }
}

/// The next request; `None` at the end of the connection.
async fn read(socket: &mut BufReader<TcpStream>) -> Option<Got> {
    let mut line = String::new();
    socket.read_line(&mut line).await.ok().filter(|length| *length > 0)?;
    let mut fields = HashMap::new();
    loop {
        let mut field = String::new();
        socket.read_line(&mut field).await.ok().filter(|length| *length > 0)?;
        let Some((name, value)) = field.trim_end().split_once(": ") else { break };
        fields.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let mut body = vec![0; fields["content-length"].parse().unwrap()];
    socket.read_exact(&mut body).await.ok()?;
    let message = ExportTraceServiceRequest::decode(&body[..]).unwrap();
    Some(Got { line: line.trim_end().to_owned(), fields, body, message })
}
