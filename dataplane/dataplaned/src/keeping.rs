//! The keeper's thread: the one that may wait for the disk.
//!
//! Owns the journal's files through `keeper`. The control thread tells it what shards ask for and what the plan says;
//! it tells what it has done, and answers questions about what is kept. It goes on trying what fails, so that a disk that
//! recovers is found again by itself.
//!
//! ```text
//!   shard ── MakeSegment, Sealed ──▶ control thread ──▶ Ask ──▶ keeper ──▶ Told ──▶ control thread ──▶ shard
//! ```

use base::{Eui64, UnixMicros};
use contract::v1;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use event::Event;
use files::Directory;
use journal::{Catalog, Position, SegmentInfo, SegmentName, Wanted};
use keeper::{Fault, Keeper, LetterKey, Page, Query, Retained, Retention};
use plan::{Delivery, Plan};
use session::body::DeadLetterBody;
use shard::{NotFound, ReplyTo, Trouble};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Between two attempts at what failed, and between two looks at what may go.
const TICK: Duration = Duration::from_secs(1);

/// A checkpoint is made once this much has ended since the last.
const CHECKPOINT_BYTES: u64 = 256 << 20;

/// Or once anything has, and this has passed: else retention would wait for traffic.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(600);

/// Between two removals of what nobody wants.
const RETAIN_INTERVAL: Duration = Duration::from_secs(30);

/// Bytes of the journal that are read for its sums before the next question is looked at.
const FOLLOW_BYTES: u64 = 16 << 20;

/// The longest rendered message, bytes.
const MESSAGE_BYTES_MAX: usize = 16 << 10;

/// Messages that are looked for at once; consumers may ask for them as they like.
const FINDING_COUNT_MAX: usize = 64;

/// Bytes of messages in one page.
const PAGE_BYTES_MAX: usize = 2 << 20;

/// What the keeper is asked.
pub(crate) enum Ask {
    /// A shard wants a segment.
    Make(usize, Wanted),
    /// A shard has finished with one.
    Sealed(SegmentInfo),
    /// The plan in force: its streams' retention, and what they cover.
    Plan(Box<Plan>),
    /// A page of a stream's history, for this request of the control plane.
    History(u64, v1::History),
    /// A page of a stream's dead letters.
    DeadLetters(u64, v1::DeadLetters),
    /// Dead letters to be put back.
    PutBack(u64, v1::PutBack),
    /// Where the message of a stream with an Id stands in time.
    Find(Whom, u32, String),
    /// How much there is.
    Figures(Sender<Figures>),
}

/// How much there is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) bytes: u64,
    pub(crate) free_bytes: u64,
    pub(crate) segments: u64,
    pub(crate) corrupt: u64,
}

/// What the keeper says.
pub(crate) enum Told {
    /// A segment is made.
    Made(usize, SegmentName),
    /// It could not be made; it is tried again.
    NotMade(usize, Trouble),
    /// Which segments there are now.
    Catalog(Catalog),
    /// An answer to the control plane.
    Answer(u64, Box<v1::from_dataplane::Body>),
    /// A dead letter is to be put back: lane, tenant, and a `PutBack` record's body.
    PutBack(u8, u32, Vec<u8>),
    /// What durable streams have, by stream.
    Retained(BTreeMap<u32, Retained>),
    /// When the message that was to be found happened.
    Found(Whom, Result<UnixMicros, NotFound>),
}

/// For whom a message is looked for.
#[derive(Debug)]
pub(crate) enum Whom {
    /// A group is to go on there, by this request of the control plane.
    Group(u64, Box<v1::SeekGroup>),
    /// The group of this shard's session is to begin there.
    Session(usize, ReplyTo),
}

/// A message that is looked for: what of the journal was read without finding it.
struct Finding {
    whom: Whom,
    stream: u32,
    id: String,
    read: Position,
}

/// The control thread's ends.
pub(crate) struct Handle {
    pub(crate) asks: Sender<Ask>,
    pub(crate) told: Receiver<Told>,
    thread: Option<JoinHandle<()>>,
}

/// The thread's ends, until it starts.
pub(crate) struct Ends {
    pub(crate) asked: Receiver<Ask>,
    pub(crate) tell: Sender<Told>,
}

impl Handle {
    /// Ends of a thread that has not started: what it is asked waits for it.
    pub(crate) fn new() -> (Self, Ends) {
        let (asks, asked) = unbounded();
        let (tell, told) = unbounded();
        (Self { asks, told, thread: None }, Ends { asked, tell })
    }

    /// Starts the thread.
    pub(crate) fn start(
        &mut self,
        keeper: Keeper<Directory>,
        ends: Ends,
        notify: Arc<dyn Fn() + Send + Sync>,
    ) -> std::io::Result<()> {
        let run = move || Thread::new(keeper, ends, notify).run();
        self.thread = Some(thread::Builder::new().name("keeper".into()).spawn(run)?);
        Ok(())
    }

    pub(crate) fn ask(&self, ask: Ask) {
        // It ends only after this handle does.
        let _asked = self.asks.send(ask);
    }

    /// How much there is, unless the disk is too busy to say.
    pub(crate) fn figures(&self) -> Option<Figures> {
        let (sender, answer) = bounded(1);
        self.ask(Ask::Figures(sender));
        answer.recv_timeout(Duration::from_millis(500)).ok()
    }

    /// Ends the thread, once it has done what it was asked.
    pub(crate) fn stop(mut self) {
        drop(self.asks);
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

struct Thread {
    keeper: Keeper<Directory>,
    asked: Receiver<Ask>,
    tell: Sender<Told>,
    notify: Arc<dyn Fn() + Send + Sync>,
    plan: Box<Plan>,
    /// Segments that could not be made.
    waiting: Vec<(usize, Wanted)>,
    in_trouble: bool,
    /// When what was carried over was last tried to be put into the journal.
    began: Instant,
    /// No checkpoint can be made, and old segments cannot be removed: each was said.
    no_checkpoint: bool,
    no_removal: bool,
    checkpointed: Instant,
    trimmed: Instant,
    corrupt: u64,
    finding: VecDeque<Finding>,
    /// There is more to read for the sums.
    behind: bool,
    followed: Instant,
    /// As it was told last, and when.
    retained: BTreeMap<u32, Retained>,
    told_at: Instant,
}

pub(crate) fn now() -> UnixMicros {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMicros(since.as_micros() as u64)
}

impl Thread {
    fn new(keeper: Keeper<Directory>, Ends { asked, tell }: Ends, notify: Arc<dyn Fn() + Send + Sync>) -> Self {
        let start = Instant::now();
        Self {
            keeper,
            asked,
            tell,
            notify,
            plan: Box::default(),
            waiting: Vec::new(),
            in_trouble: false,
            began: start,
            no_checkpoint: false,
            no_removal: false,
            checkpointed: start,
            trimmed: start,
            corrupt: 0,
            finding: VecDeque::new(),
            behind: false,
            followed: start,
            retained: BTreeMap::new(),
            told_at: start,
        }
    }

    fn run(mut self) {
        loop {
            match self.asked.recv_timeout(if self.is_busy() { Duration::ZERO } else { TICK }) {
                Ok(ask) => self.obey(ask),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            for (shard, wanted) in std::mem::take(&mut self.waiting) {
                self.make(shard, wanted);
            }
            self.tend();
            self.follow();
            self.find();
            // Whatever it was that read them.
            for damage in self.keeper.take_damages() {
                self.corrupt += 1;
                let keeper::Stretch { file, from, until } = damage;
                tracing::error!(file, from, until, "a part of the journal is damaged and was passed over");
            }
        }
    }

    fn is_busy(&self) -> bool {
        self.behind || !self.finding.is_empty()
    }

    fn say(&self, told: Told) {
        // The control thread listens for as long as this thread is asked.
        let _heard = self.tell.send(told);
        (self.notify)();
    }

    fn obey(&mut self, ask: Ask) {
        match ask {
            Ask::Make(shard, wanted) => {
                // A shard that gave a segment up wants another in its place.
                self.waiting.retain(|(other, _)| *other != shard);
                self.make(shard, wanted);
            }
            Ask::Sealed(info) => {
                self.keeper.sealed(info);
                self.say(Told::Catalog(self.keeper.catalog().clone()));
            }
            Ask::Plan(plan) => self.plan = plan,
            Ask::History(request, history) => {
                let page =
                    self.history(&history).unwrap_or_else(|error| v1::HistoryPage { error, ..Default::default() });
                self.answer(request, v1::from_dataplane::Body::HistoryPage(page));
            }
            Ask::DeadLetters(request, letters) => {
                let page = self.letters(&letters);
                let page = page.unwrap_or_else(|error| v1::DeadLetterPage { error, ..Default::default() });
                self.answer(request, v1::from_dataplane::Body::DeadLetterPage(page));
            }
            Ask::PutBack(request, put_back) => {
                let done = self.put_back(&put_back);
                let done = done.unwrap_or_else(|error| v1::PutBackDone { error, ..Default::default() });
                self.answer(request, v1::from_dataplane::Body::PutBackDone(done));
            }
            Ask::Find(whom, _, _) if self.finding.len() == FINDING_COUNT_MAX => {
                self.say(Told::Found(whom, Err(NotFound::Busy)));
            }
            Ask::Find(whom, stream, id) => {
                self.finding.push_back(Finding { whom, stream, id, read: Position::ZERO });
            }
            Ask::Figures(answer) => {
                let catalog = self.keeper.catalog();
                let figures = Figures {
                    bytes: catalog.bytes(),
                    free_bytes: self.keeper.free_bytes(),
                    segments: catalog.iter().count() as u64,
                    corrupt: self.corrupt,
                };
                let _heard = answer.send(figures);
            }
        }
    }

    fn answer(&self, request: u64, body: v1::from_dataplane::Body) {
        self.say(Told::Answer(request, Box::new(body)));
    }

    fn make(&mut self, shard: usize, wanted: Wanted) {
        match self.keeper.make(wanted, now()) {
            Ok(()) => {
                if std::mem::take(&mut self.in_trouble) {
                    tracing::info!("the journal's disk takes segments again");
                }
                self.say(Told::Catalog(self.keeper.catalog().clone()));
                self.say(Told::Made(shard, wanted.name));
            }
            Err(fault) => {
                if !std::mem::replace(&mut self.in_trouble, true) {
                    tracing::error!(%fault, "the journal cannot grow: durable streams take nothing until it can");
                }
                self.waiting.push((shard, wanted));
                self.say(Told::NotMade(shard, trouble(&fault)));
            }
        }
    }

    /// Folds what has ended, and removes what nobody wants.
    fn tend(&mut self) {
        if !self.keeper.has_all_carried() && self.began.elapsed() >= TICK {
            self.began = Instant::now();
            if self.keeper.begin().is_ok() {
                tracing::info!("all that an earlier run left behind is stored now");
                self.say(Told::Catalog(self.keeper.catalog().clone()));
            }
        }
        let unfolded = self.keeper.unfolded_bytes();
        let due = unfolded >= CHECKPOINT_BYTES || (unfolded > 0 && self.checkpointed.elapsed() >= CHECKPOINT_INTERVAL);
        // What is tried again reads all of it again: not with each question.
        if (due || (self.in_trouble && unfolded > 0)) && self.checkpointed.elapsed() >= TICK {
            self.checkpointed = Instant::now();
            let plan = &self.plan;
            let folded = self.keeper.checkpoint(&mut |event, each| {
                plan.covering_durable(event, |_, stream| each(stream.id));
            });
            match folded {
                Ok(_) => self.no_checkpoint = false,
                Err(fault) => {
                    if !std::mem::replace(&mut self.no_checkpoint, true) {
                        tracing::error!(%fault, "no checkpoint can be made: the journal keeps growing until one can");
                    }
                }
            }
        }
        if self.trimmed.elapsed() >= RETAIN_INTERVAL || ((due || self.in_trouble) && self.trimmed.elapsed() >= TICK) {
            self.trimmed = Instant::now();
            let streams: Vec<Retention> = retentions(&self.plan).collect();
            match self.keeper.retain(&streams, now()) {
                Ok(trimmed) => {
                    self.no_removal = false;
                    if trimmed.segments > 0 {
                        self.say(Told::Catalog(self.keeper.catalog().clone()));
                    }
                }
                Err(fault) => {
                    if !std::mem::replace(&mut self.no_removal, true) {
                        tracing::error!(%fault, "old segments cannot be removed");
                    }
                }
            }
        }
    }

    /// Reads for the sums what was written meanwhile, and tells what streams have if that has changed.
    fn follow(&mut self) {
        if !self.plan.has_durable_streams() || (!self.behind && self.followed.elapsed() < TICK) {
            return;
        }
        self.followed = Instant::now();
        let plan = &self.plan;
        let followed = self
            .keeper
            .follow(&mut |event, each| plan.covering_durable(event, |_, stream| each(stream.id)), FOLLOW_BYTES);
        self.behind = followed.unwrap_or_else(|fault| {
            tracing::warn!(%fault, "the journal could not be read for what streams have in it");
            false
        });
        if self.behind && self.told_at.elapsed() < TICK {
            return;
        }
        let retained = self.keeper.retained();
        if retained != self.retained {
            self.told_at = Instant::now();
            self.retained = retained;
            self.say(Told::Retained(self.retained.clone()));
        }
    }

    fn stream(&self, id: u32) -> Result<u32, String> {
        let index = self.plan.stream_of_id(id).ok_or("unknown_stream")?;
        Ok(index)
    }

    fn history(&mut self, asked: &v1::History) -> Result<v1::HistoryPage, String> {
        let stream = self.stream(asked.stream)?;
        let query = Query {
            from: UnixMicros(asked.from_us),
            to: UnixMicros(asked.to_us),
            device: asked.device.map(Eui64::new),
            after: Position(page_number(&asked.page)?),
            limit: asked.limit.clamp(1, 1000) as usize,
        };
        let mut page = v1::HistoryPage::default();
        let mut bytes = 0;
        let plan = &self.plan;
        let found = self.keeper.history(
            &query,
            |event| plan.covers(stream, event),
            |_, event| {
                let Some(message) = render(plan, stream, event) else { return true };
                let fits = bytes + message.len() <= PAGE_BYTES_MAX;
                if fits {
                    bytes += message.len();
                    page.messages.push(message);
                }
                fits
            },
        );
        page.next = found
            .map_err(|fault| unavailable(&fault))?
            .next
            .map(|position| position.0.to_le_bytes().to_vec())
            .unwrap_or_default();
        Ok(page)
    }

    fn letters(&self, asked: &v1::DeadLetters) -> Result<v1::DeadLetterPage, String> {
        let stream = self.stream(asked.stream)?;
        let globals = self.keeper.globals_now().map_err(|fault| unavailable(&fault))?;
        let skip = page_number(&asked.page)? as usize;
        let limit = asked.limit.clamp(1, 1000) as usize;
        let mut letters = globals.letters.iter().filter(|(key, _)| key.stream == asked.stream).skip(skip);
        let mut page = v1::DeadLetterPage::default();
        for (key, letter) in letters.by_ref().take(limit) {
            let Some(body) = DeadLetterBody::parse(&letter.body) else { continue };
            page.letters.push(v1::DeadLetter {
                id: id_of(key),
                group: key.group.clone(),
                reason: body.reason.name().into(),
                attempts: u32::from(body.attempts),
                at_us: letter.at.0,
                message: render(&self.plan, stream, &body.event).unwrap_or_default(),
            });
        }
        if letters.next().is_some() {
            page.next = ((skip + limit) as u64).to_le_bytes().to_vec();
        }
        Ok(page)
    }

    fn put_back(&self, asked: &v1::PutBack) -> Result<v1::PutBackDone, String> {
        self.stream(asked.stream)?;
        let globals = self.keeper.globals_now().map_err(|fault| unavailable(&fault))?;
        let chosen: Vec<_> = (globals.letters.iter())
            .filter(|(key, _)| key.stream == asked.stream)
            .filter(|(key, _)| asked.ids.is_empty() || asked.ids.contains(&id_of(key)))
            .collect();
        if chosen.len() < asked.ids.len() {
            return Err("unknown_id".into());
        }
        let mut count = 0;
        for (key, letter) in chosen {
            let Some(body) = DeadLetterBody::parse(&letter.body) else { continue };
            let back = session::body::PutBackBody {
                stream: key.stream,
                position: key.position,
                group: &key.group,
                event: body.event,
            };
            let mut bytes = [0; session::body::BODY_BYTES_MAX];
            let length = back.write(&mut bytes);
            self.say(Told::PutBack(letter.lane, letter.tenant, bytes[..length].to_vec()));
            count += 1;
        }
        Ok(v1::PutBackDone { count, error: String::new() })
    }

    /// Looks for the first of the messages that are to be found, in as much of the journal as one page may read.
    fn find(&mut self) {
        let Some(mut finding) = self.finding.pop_front() else { return };
        let outcome = match self.plan.stream_of_id(finding.stream) {
            Some(stream) => {
                let after = finding.read;
                let query = Query { from: UnixMicros(0), to: UnixMicros(0), device: None, after, limit: 1 };
                let (plan, id, mut found) = (&self.plan, &finding.id, None);
                let wants = |event: &Event<'_>| event.stable_id().as_str() == id && plan.covers(stream, event);
                let page = self.keeper.history(&query, wants, |_, event| {
                    found = Some(event.at);
                    true
                });
                match (found, page) {
                    (Some(at), _) => Ok(at),
                    (None, Ok(Page { next: Some(next), .. })) => {
                        finding.read = next;
                        return self.finding.push_back(finding);
                    }
                    (None, Ok(_)) => Err(NotFound::Unknown),
                    (None, Err(fault)) => {
                        unavailable(&fault);
                        Err(NotFound::Busy)
                    }
                }
            }
            None => Err(NotFound::Unknown),
        };
        self.say(Told::Found(finding.whom, outcome));
    }
}

/// A message as the stream says it.
fn render(plan: &Plan, stream: u32, event: &Event<'_>) -> Option<Vec<u8>> {
    let format = &plan.formats[plan.streams[stream as usize].format as usize];
    let mut text = vec![0; MESSAGE_BYTES_MAX];
    let count = format.template(event.kind)?.run(event, &mut text).ok()?;
    text.truncate(count);
    Some(text)
}

fn id_of(key: &LetterKey) -> String {
    format!("{:x}-{}", key.position, key.group)
}

fn page_number(page: &[u8]) -> Result<u64, String> {
    match page {
        [] => Ok(0),
        bytes => Ok(u64::from_le_bytes(bytes.try_into().map_err(|_| "bad_page")?)),
    }
}

fn unavailable(fault: &Fault) -> String {
    tracing::error!(%fault, "the journal could not be read");
    "unavailable".into()
}

fn trouble(fault: &Fault) -> Trouble {
    match fault {
        Fault::Io(error) => error.raw_os_error().map_or(Trouble::Failing, Trouble::of_errno),
        Fault::Full => Trouble::Full,
        Fault::Newer { .. } | Fault::Damaged { .. } | Fault::EpochsUsedUp => Trouble::Failing,
    }
}

fn retentions(plan: &Plan) -> impl Iterator<Item = Retention> {
    plan.streams.iter().filter_map(|stream| match stream.delivery {
        Delivery::Durable(durable) => {
            Some(Retention { stream: stream.id, age: durable.retention, bytes: durable.retention_bytes })
        }
        Delivery::Live => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever has a token may ask for messages; how many are looked for at once is bounded, and each is answered.
    #[test]
    fn what_is_looked_for_is_bounded_and_answered() {
        let home = tempfile::tempdir().expect("a directory");
        let files = Directory::open(home.path()).expect("it is there");
        let limits = keeper::Limits { bytes_max: 0, reserve_bytes: 0 };
        let (keeper, _) = Keeper::recover(files, limits).expect("readable");
        let (_asks, asked) = unbounded();
        let (tell, told) = unbounded();
        let mut thread = Thread::new(keeper, Ends { asked, tell }, Arc::new(|| {}));
        for number in 0..FINDING_COUNT_MAX as u64 + 2 {
            thread.obey(Ask::Find(Whom::Group(number, Box::default()), 7, "a-1".into()));
        }
        let answers = || told.try_iter().filter(|told| matches!(told, Told::Found(..))).collect::<Vec<_>>();
        let busy = answers();
        assert!(busy.len() == 2 && busy.iter().all(|told| matches!(told, Told::Found(_, Err(NotFound::Busy)))));
        assert!(thread.is_busy());
        while thread.is_busy() {
            thread.find();
        }
        let unknown = answers();
        assert_eq!(unknown.len(), FINDING_COUNT_MAX);
        assert!(unknown.iter().all(|told| matches!(told, Told::Found(_, Err(NotFound::Unknown)))));
    }
}
