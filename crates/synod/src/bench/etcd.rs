//! The load on etcd: gRPC calls `Put` and `Range` over HTTP/2, closed loop.
//!
//! HTTP/2 is the crate `h2`, as light as gRPC gets in Rust; the two messages have so few fields
//! that they are written by hand, and replies are read for their status alone. etcd's JSON gateway
//! would be simpler, and so slow that it would flatter whatever etcd is compared with.
//! Source: etcd `api/etcdserverpb/rpc.proto`; gRPC over HTTP/2 (`PROTOCOL-HTTP2.md`).

use std::cell::RefCell;
use std::error::Error;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use h2::RecvStream;
use h2::client::SendRequest;
use http::{HeaderMap, Request, Uri};
use stdx::codec::put_varint;
use tokio::net::TcpStream;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::timeout;

use super::options::{Options, Stop};
use super::progress::Progress;
use super::tally::{Measured, Tally, own_cpu};
use super::workload::{Call, Calls, Workload, key_name, value};

/// How long the last replies may take, once no more calls are made.
const GRACE: Duration = Duration::from_secs(5);

/// How long an attempt to connect may take, and the pause behind a failed one.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Between two looks at the clock by whoever waits for the end.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

type Sender = SendRequest<Bytes>;
type Failure = Box<dyn Error>;

/// Loads etcd and returns what was measured.
pub(super) fn run(options: &Options, workload: Workload) -> Result<Measured, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("starting tokio: {error}"))?;
    let load = load(options, workload);
    LocalSet::new()
        .block_on(&runtime, load)
        .map_err(|error| format!("{}: {error}", options.addr.join(",")))
}

/// What all clients share.
struct Shared {
    begin: Instant,
    calls: Calls,
    value: Vec<u8>,
    tally: Tally,
    left: u64,
    stop: Option<Instant>,
    in_flight: u64,
    running: u32,
    last_reply: Instant,
}

async fn load(options: &Options, workload: Workload) -> Result<Measured, Failure> {
    let mut senders = Vec::new();
    let count = options.connections.unwrap_or(options.clients).clamp(1, options.clients);
    for n in 0..count as usize {
        senders.push(connect(&options.addr[n % options.addr.len()]).await?);
    }
    let shared = Rc::new(RefCell::new(Shared::new(options, workload)));
    if workload.reads() && !options.no_fill {
        fill(options, &senders, &shared).await?;
    }
    shared.borrow_mut().begin = Instant::now();
    for n in 0..options.clients as usize {
        let addr = options.addr[n % options.addr.len()].clone();
        shared.borrow_mut().running += 1;
        spawn_local(client(senders[n % senders.len()].clone(), addr, Rc::clone(&shared)));
    }
    Ok(watch(options, workload, &shared).await)
}

impl Shared {
    fn new(options: &Options, workload: Workload) -> Shared {
        let now = Instant::now();
        Shared {
            begin: now,
            calls: Calls::new(options, workload),
            value: value(options.value_size),
            tally: Tally::new(0),
            left: match options.stop() {
                Stop::After(_) => u64::MAX,
                Stop::Requests(requests) => requests,
            },
            stop: None,
            in_flight: 0,
            running: 0,
            last_reply: now,
        }
    }

    /// Nanoseconds.
    fn since_begin(&self, then: Instant) -> u64 {
        then.saturating_duration_since(self.begin).as_nanos() as u64
    }

    /// The next call, while there is one to make.
    fn take_call(&mut self, now: Instant) -> Option<Call> {
        if self.left == 0 || self.stop.is_some_and(|stop| now >= stop) {
            return None;
        }
        self.left -= 1;
        self.in_flight += 1;
        Some(self.calls.draw())
    }
}

/// Waits for the end, lets measuring begin behind the warm-up, and moves the progress bar.
async fn watch(options: &Options, workload: Workload, shared: &Rc<RefCell<Shared>>) -> Measured {
    let mut progress = Progress::new(options, workload);
    tokio::time::sleep(options.warmup()).await;
    let (from, cpu) = (Instant::now(), own_cpu());
    let mut end = None;
    {
        let mut shared = shared.borrow_mut();
        if !options.warmup().is_zero() {
            shared.tally = Tally::new(shared.since_begin(from));
        }
        if let Stop::After(duration) = options.stop() {
            shared.stop = Some(from + duration);
            end = Some(from + duration + GRACE);
        }
    }
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        let shared = shared.borrow();
        progress.update(from.elapsed().as_nanos() as u64, shared.tally.ended());
        let stuck = shared.left == 0 && shared.last_reply.elapsed() > GRACE;
        if shared.running == 0 || stuck || end.is_some_and(|end| Instant::now() >= end) {
            break;
        }
    }
    progress.finish();
    let own_cpu = own_cpu() - cpu;
    let shared = shared.borrow();
    let mut tally = shared.tally.clone();
    tally.lost += shared.in_flight;
    let last = shared.stop.map_or(shared.last_reply, |stop| stop.max(shared.last_reply));
    let begin = if options.warmup().is_zero() { shared.begin } else { from };
    Measured { tally, elapsed: last - begin, own_cpu }
}

/// One client: a call, its reply, the next call.
async fn client(mut sender: Sender, addr: String, shared: Rc<RefCell<Shared>>) {
    loop {
        let start = Instant::now();
        let Some(call) = shared.borrow_mut().take_call(start) else { break };
        let outcome = {
            let (method, message) = encode(call, &shared.borrow().value);
            exchange(&sender, method, message).await
        };
        let mut broken = false;
        {
            let mut shared = shared.borrow_mut();
            shared.in_flight -= 1;
            let now = Instant::now();
            shared.last_reply = now;
            match outcome {
                Ok(Status::Ok) => {
                    let (start_ns, now_ns) = (shared.since_begin(start), shared.since_begin(now));
                    shared.tally.success(start_ns, now_ns);
                }
                Ok(Status::Error(text)) => shared.tally.error(&text),
                Err(_) => {
                    shared.tally.lost += 1;
                    broken = true;
                }
            }
        }
        if broken {
            tokio::time::sleep(RETRY_PAUSE).await;
            if let Ok(fresh) = connect(&addr).await {
                sender = fresh;
            }
        }
    }
    shared.borrow_mut().running -= 1;
}

/// Writes every key, all connections side by side.
async fn fill(
    options: &Options,
    senders: &[Sender],
    shared: &Rc<RefCell<Shared>>,
) -> Result<(), Failure> {
    let keys = options.keys.get();
    let mut tasks = Vec::new();
    for n in 0..u64::from(options.clients) {
        let sender = senders[n as usize % senders.len()].clone();
        let (shared, step) = (Rc::clone(shared), options.clients as usize);
        tasks.push(spawn_local(async move {
            for key in (n..keys).step_by(step) {
                let (method, message) = encode(Call::Set(key), &shared.borrow().value);
                match exchange(&sender, method, message).await {
                    Ok(Status::Ok) => {}
                    Ok(Status::Error(text)) => return Err(text),
                    Err(error) => return Err(error.to_string()),
                }
            }
            Ok(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    Ok(())
}

async fn connect(addr: &str) -> Result<Sender, Failure> {
    let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(addr)).await??;
    stream.set_nodelay(true)?;
    let (sender, connection) = h2::client::handshake(stream).await?;
    spawn_local(async move {
        // Its error comes back from every call on it, too.
        let _closed = connection.await;
    });
    Ok(sender)
}

/// What etcd said.
enum Status {
    Ok,
    Error(String),
}

/// Makes one call. An error means that its outcome is unknown.
async fn exchange(sender: &Sender, method: &str, message: Bytes) -> Result<Status, Failure> {
    let mut sender = sender.clone().ready().await?;
    let uri = Uri::builder().scheme("http").authority("etcd").path_and_query(method).build()?;
    let request = Request::post(uri)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())?;
    let (response, mut body) = sender.send_request(request, false)?;
    body.send_data(message, true)?;
    let response = response.await?;
    if !response.status().is_success() {
        return Ok(Status::Error(format!("HTTP status {}", response.status())));
    }
    if let Some(status) = status_in(response.headers()) {
        return Ok(status);
    }
    read_status(response.into_body()).await
}

async fn read_status(mut body: RecvStream) -> Result<Status, Failure> {
    while let Some(chunk) = body.data().await {
        let len = chunk?.len();
        body.flow_control().release_capacity(len)?;
    }
    let trailers = body.trailers().await?;
    trailers.as_ref().and_then(status_in).ok_or_else(|| "a reply without a gRPC status".into())
}

/// The status of a call, from the trailers, or from the headers if it failed at once.
fn status_in(headers: &HeaderMap) -> Option<Status> {
    let text = |name| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
    match text("grpc-status")?.as_ref() {
        "0" => Some(Status::Ok),
        code => {
            let message = text("grpc-message").unwrap_or_default();
            Some(Status::Error(format!("gRPC status {code}: {message}")))
        }
    }
}

/// The method of a call and its message in gRPC's frame: not compressed, four bytes of length.
fn encode(call: Call, value: &[u8]) -> (&'static str, Bytes) {
    let mut message = Vec::with_capacity(value.len() + 32);
    let method = match call {
        Call::Set(key) => {
            put_field(&mut message, 1, &key_name(key));
            put_field(&mut message, 2, value);
            "/etcdserverpb.KV/Put"
        }
        Call::Get(key) => {
            put_field(&mut message, 1, &key_name(key));
            "/etcdserverpb.KV/Range"
        }
        Call::Incr(_) => unreachable!("the options refuse increments for etcd"),
    };
    let mut frame = BytesMut::with_capacity(message.len() + 5);
    frame.put_u8(0);
    frame.put_u32(message.len() as u32);
    frame.put_slice(&message);
    (method, frame.freeze())
}

/// A field of bytes, as protobuf has it.
fn put_field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    const LENGTH_DELIMITED: u8 = 2;
    out.push(number << 3 | LENGTH_DELIMITED);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::{Call, encode};

    #[test]
    fn a_put_is_framed_as_protobuf_and_grpc_have_it() {
        let (method, frame) = encode(Call::Set(1), b"xy");
        assert_eq!(method, "/etcdserverpb.KV/Put");
        assert_eq!(&frame[..], b"\0\0\0\0\x16\x0a\x10key:000000000001\x12\x02xy");
    }
}
