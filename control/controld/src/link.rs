//! The link to the dataplane on a real socket: drives [`push::Link`] and answers the API's questions through it.
//!
//! One task owns the link, the socket and the open questions; callers speak to it over bounded channels and watch its
//! state. Nothing here waits for an absent dataplane.

use crate::reader::{self, Order, Source};
use crate::translate;
use api::dataplane::{
    Answer, Dataplane, DeadLetterPage, DeadLetters, Enqueue, Happened, History, HistoryPage, InForce, LinkStatus,
    Query, Queued, Reply, SeekGroup, Unavailable,
};
use base::{Eui64, Monotonic};
use contract::frame::{Decoder, Encoder};
use contract::v1::{Flush, FromDataplane, PutBack, RemoveGroup};
use push::{Ask, AskError, Input, Limits, Link, Output, Status};
use std::collections::HashMap;
use std::future::pending;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

/// Events that a slow reader may lag behind before it loses the oldest.
const EVENT_COUNT_MAX: usize = 4096;
/// Questions on their way to the task.
const ASK_COUNT_MAX: usize = 1024;
const READ_BYTES: usize = 64 << 10;

/// Where the dataplane is and whose configuration it shall have.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The dataplane's control socket.
    pub socket: PathBuf,
    /// The store's identity.
    pub store: u64,
    /// The store's newest revision.
    pub revision: u64,
    /// Bounds of the conversation.
    pub limits: Limits,
}

type Answered = Result<push::Reply, AskError>;

/// What the API holds.
#[derive(Debug)]
pub struct DataplaneLink {
    committed: watch::Sender<u64>,
    asks: mpsc::Sender<(Ask, oneshot::Sender<Answered>)>,
    status: watch::Receiver<Status>,
    events: broadcast::Sender<Happened>,
}

impl DataplaneLink {
    /// Starts the task and the store's reader. The task ends when the link is dropped.
    pub fn start(settings: Settings, source: impl Source) -> io::Result<(Arc<Self>, JoinHandle<()>)> {
        let software = concat!("trunkline-control ", env!("CARGO_PKG_VERSION"));
        let seed = settings.store ^ u64::from(std::process::id());
        let link = Link::new(settings.store, settings.revision, software, settings.limits, seed);
        let (inputs_sender, inputs) = mpsc::unbounded_channel();
        let (committed, commits) = watch::channel(settings.revision);
        let (asks_sender, asks) = mpsc::channel(ASK_COUNT_MAX);
        let (status_sender, status) = watch::channel(link.status());
        let (events, _) = broadcast::channel(EVENT_COUNT_MAX);
        let task = Task {
            link,
            socket: settings.socket,
            start: Instant::now(),
            halves: None,
            encoder: Encoder::default(),
            decoder: Decoder::default(),
            orders: reader::start(source, inputs_sender)?,
            inputs,
            commits,
            asks,
            waiting: HashMap::new(),
            tokens: 0,
            status: status_sender,
            events: events.clone(),
            is_known_absent: false,
        };
        let handle = tokio::spawn(task.run());
        Ok((Arc::new(Self { committed, asks: asks_sender, status, events }), handle))
    }

    async fn ask(&self, ask: Ask) -> Result<push::Reply, Unavailable> {
        let (sender, receiver) = oneshot::channel();
        self.asks.try_send((ask, sender)).map_err(|_| Unavailable::NotSent)?;
        // A task that ended before it answered cannot say what it had sent.
        receiver.await.map_err(|_| Unavailable::Unknown)?.map_err(translate::unavailable)
    }

    async fn move_group(&self, ask: Ask) -> Result<(), Unavailable> {
        match self.ask(ask).await? {
            push::Reply::GroupMoved(moved) => translate::done(moved.error),
            _ => Err(Unavailable::Unknown),
        }
    }

    /// Waits until the revision is in force, or it is known that it will not be soon.
    async fn wait(&self, revision: u64) -> InForce {
        let mut status = self.status.clone();
        loop {
            {
                let now = status.borrow_and_update();
                let is_refused = now.refusal.as_ref().is_some_and(|refusal| refusal.revision >= revision);
                if translate::is_connected(&now) && now.in_force >= revision {
                    return InForce::Yes;
                }
                if !translate::is_connected(&now) || (is_refused && now.phase == push::Phase::Refused) {
                    return InForce::Pending;
                }
            }
            if status.changed().await.is_err() {
                return InForce::Pending;
            }
        }
    }
}

impl Dataplane for DataplaneLink {
    fn committed(&self, revision: u64) {
        self.committed.send_if_modified(|latest| {
            let is_newer = revision > *latest;
            *latest = revision.max(*latest);
            is_newer
        });
    }

    fn in_force(&self, revision: u64, patience: Duration) -> Reply<'_, InForce> {
        Box::pin(async move { tokio::time::timeout(patience, self.wait(revision)).await.unwrap_or(InForce::Pending) })
    }

    fn query(&self, query: Query) -> Reply<'_, Result<Answer, Unavailable>> {
        Box::pin(async move {
            let mut answer = Answer::default();
            for part in translate::queries(&query) {
                match self.ask(Ask::Query(part)).await? {
                    push::Reply::Answer(part) => translate::extend(&mut answer, part),
                    _ => return Err(Unavailable::Unknown),
                }
            }
            Ok(answer)
        })
    }

    fn enqueue(&self, downlink: Enqueue) -> Reply<'_, Result<Queued, Unavailable>> {
        Box::pin(async move {
            match self.ask(Ask::Enqueue(translate::enqueue(downlink))).await? {
                push::Reply::Enqueued(enqueued) => Ok(translate::queued(enqueued)),
                _ => Err(Unavailable::Unknown),
            }
        })
    }

    fn flush(&self, dev_eui: Eui64) -> Reply<'_, Result<u32, Unavailable>> {
        Box::pin(async move {
            match self.ask(Ask::Flush(Flush { dev_eui: dev_eui.to_u64() })).await? {
                push::Reply::Flushed(flushed) => Ok(flushed.count),
                _ => Err(Unavailable::Unknown),
            }
        })
    }

    fn seek_group(&self, seek: SeekGroup) -> Reply<'_, Result<(), Unavailable>> {
        Box::pin(self.move_group(Ask::SeekGroup(translate::seek_group(seek))))
    }

    fn remove_group(&self, stream: u32, group: String) -> Reply<'_, Result<(), Unavailable>> {
        Box::pin(self.move_group(Ask::RemoveGroup(RemoveGroup { stream, group })))
    }

    fn history(&self, history: History) -> Reply<'_, Result<HistoryPage, Unavailable>> {
        Box::pin(async move {
            match self.ask(Ask::History(translate::history(history))).await? {
                push::Reply::HistoryPage(page) => translate::history_page(page),
                _ => Err(Unavailable::Unknown),
            }
        })
    }

    fn dead_letters(&self, letters: DeadLetters) -> Reply<'_, Result<DeadLetterPage, Unavailable>> {
        Box::pin(async move {
            match self.ask(Ask::DeadLetters(translate::dead_letters(letters))).await? {
                push::Reply::DeadLetterPage(page) => translate::dead_letter_page(page),
                _ => Err(Unavailable::Unknown),
            }
        })
    }

    fn put_back(&self, stream: u32, ids: Vec<String>) -> Reply<'_, Result<u32, Unavailable>> {
        Box::pin(async move {
            match self.ask(Ask::PutBack(PutBack { stream, ids })).await? {
                push::Reply::PutBackDone(done) => translate::done(done.error).map(|()| done.count),
                _ => Err(Unavailable::Unknown),
            }
        })
    }

    fn events(&self) -> broadcast::Receiver<Happened> {
        self.events.subscribe()
    }

    fn status(&self) -> LinkStatus {
        translate::status(&self.status.borrow())
    }
}

/// The task: the only one that touches the link.
struct Task {
    link: Link,
    socket: PathBuf,
    start: Instant,
    halves: Option<(OwnedReadHalf, OwnedWriteHalf)>,
    encoder: Encoder,
    decoder: Decoder<FromDataplane>,
    orders: std::sync::mpsc::Sender<Order>,
    inputs: mpsc::UnboundedReceiver<Input>,
    commits: watch::Receiver<u64>,
    asks: mpsc::Receiver<(Ask, oneshot::Sender<Answered>)>,
    waiting: HashMap<u64, oneshot::Sender<Answered>>,
    tokens: u64,
    status: watch::Sender<Status>,
    events: broadcast::Sender<Happened>,
    /// Whether the log already says that there is no dataplane.
    is_known_absent: bool,
}

/// What ends a wait of the task.
enum Woken {
    Read(io::Result<usize>),
    Wrote(io::Result<usize>),
    Input(Input),
    Ask(Ask, oneshot::Sender<Answered>),
    Tick,
    Over,
}

impl Task {
    async fn run(mut self) {
        let mut bytes = vec![0; READ_BYTES];
        self.handle(Input::Tick).await;
        loop {
            match self.wait(&mut bytes).await {
                Woken::Read(Ok(count)) if count > 0 => self.read(&bytes[..count]).await,
                Woken::Wrote(Ok(count)) if count > 0 => {
                    self.encoder.sent(count);
                    self.handle(Input::Written(count)).await;
                }
                Woken::Read(_) | Woken::Wrote(_) => {
                    tracing::warn!("the dataplane closed its control socket");
                    self.hang_up();
                    self.handle(Input::Disconnected).await;
                }
                Woken::Input(input) => self.handle(input).await,
                Woken::Ask(ask, sender) => {
                    self.tokens += 1;
                    self.waiting.insert(self.tokens, sender);
                    self.handle(Input::Ask(self.tokens, ask)).await;
                }
                Woken::Tick => self.handle(Input::Tick).await,
                Woken::Over => return,
            }
        }
    }

    async fn wait(&mut self, bytes: &mut [u8]) -> Woken {
        let deadline = self.link.deadline();
        let (reading, writing) = match &mut self.halves {
            Some((reading, writing)) => (Some(reading), Some(writing)),
            None => (None, None),
        };
        let read = async {
            match reading {
                Some(half) => half.read(bytes).await,
                None => pending().await,
            }
        };
        let write = async {
            match writing {
                Some(half) if !self.encoder.pending().is_empty() => half.write(self.encoder.pending()).await,
                _ => pending().await,
            }
        };
        let tick = async {
            match deadline {
                Monotonic::NEVER => pending().await,
                Monotonic(nanos) => tokio::time::sleep_until((self.start + Duration::from_nanos(nanos)).into()).await,
            }
        };
        tokio::select! {
            result = read => Woken::Read(result),
            result = write => Woken::Wrote(result),
            Some(input) = self.inputs.recv() => Woken::Input(input),
            ask = self.asks.recv() => ask.map_or(Woken::Over, |(ask, sender)| Woken::Ask(ask, sender)),
            Ok(()) = self.commits.changed() => Woken::Input(Input::Committed(*self.commits.borrow_and_update())),
            () = tick => Woken::Tick,
        }
    }

    async fn read(&mut self, bytes: &[u8]) {
        self.decoder.feed(bytes);
        loop {
            match self.decoder.message() {
                Ok(Some(message)) => self.handle(Input::Message(message)).await,
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!("the dataplane's messages cannot be read: {error}");
                    self.hang_up();
                    return self.handle(Input::Disconnected).await;
                }
            }
        }
    }

    fn hang_up(&mut self) {
        self.halves = None;
        self.encoder = Encoder::default();
        self.decoder = Decoder::default();
        // The reader outlives the task; there is nobody to tell if it does not.
        let _ = self.orders.send(Order::Close);
    }

    /// Gives the link one input and does everything that follows from it.
    async fn handle(&mut self, input: Input) {
        let mut next = Some(input);
        while let Some(input) = next.take() {
            let now = Monotonic(self.start.elapsed().as_nanos() as u64);
            self.link.handle(input, now);
            while let Some(output) = self.link.poll() {
                if let Some(follows) = self.perform(output).await {
                    next = Some(follows);
                }
            }
        }
        self.publish();
    }

    async fn perform(&mut self, output: Output) -> Option<Input> {
        match output {
            Output::Connect => return Some(self.connect().await),
            Output::Disconnect => self.hang_up(),
            Output::Send(message) => {
                if self.encoder.write(&message).is_err() {
                    tracing::error!("a message for the dataplane is too long; starting again with a snapshot");
                    self.hang_up();
                    return Some(Input::Disconnected);
                }
            }
            Output::Read(ticket, read) => {
                if self.orders.send(Order::Read(ticket, read)).is_err() {
                    return Some(Input::ReadFailed(ticket));
                }
            }
            Output::CloseView => {
                // As at hanging up: without a reader there is no view.
                let _ = self.orders.send(Order::Close);
            }
            Output::InForce(revision) => tracing::debug!(revision, "in force on every shard"),
            Output::Refused(refusal) => {
                let push::Refusal { revision, field, reason } = refusal;
                tracing::error!(revision, field, reason, "the dataplane refused the configuration");
            }
            Output::Answered(token, result) => {
                if let Some(sender) = self.waiting.remove(&token) {
                    // Whoever asked may have gone.
                    let _ = sender.send(result);
                }
            }
            Output::Happened(happened) => {
                // Without a listener there is nobody to tell.
                let _ = self.events.send(translate::happened(happened));
            }
        }
        None
    }

    async fn connect(&mut self) -> Input {
        match UnixStream::connect(&self.socket).await {
            Ok(stream) => {
                self.halves = Some(stream.into_split());
                // What the link still said to the connection before must not precede its Hello on this one.
                self.encoder = Encoder::default();
                self.decoder = Decoder::default();
                Input::Connected
            }
            Err(error) => {
                if !self.is_known_absent {
                    let socket = self.socket.display();
                    tracing::info!("no dataplane at {socket} yet ({error}): changes are stored and wait");
                    self.is_known_absent = true;
                }
                Input::Disconnected
            }
        }
    }

    fn publish(&mut self) {
        let status = self.link.status();
        let was_connected = translate::is_connected(&self.status.borrow());
        let is_connected = translate::is_connected(&status);
        if is_connected && !was_connected {
            tracing::info!(shards = status.shards.len(), revision = status.in_force, "{} is here", status.software);
            self.is_known_absent = false;
        }
        self.status.send_if_modified(|before| {
            let differs = *before != status;
            *before = status;
            differs
        });
    }
}
