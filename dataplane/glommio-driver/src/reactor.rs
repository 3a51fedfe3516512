//! One shard's executor: a turn runs it until there is news, and the news are reaped.
//!
//! The executor runs inside a turn and at no other time, so no task moves while the shard works, and what the shard asks
//! waits in the hub until the next turn.

use crate::buffers::{Kind, Lent};
use crate::connections::{self, accept};
use crate::datagrams::{Outbox, ROOM, SWEEP, Slot, receive};
use crate::files::{self, Files};
use crate::hub::{Hub, Shared};
use crate::memory::Memory;
use crate::table::{Flags, Sending};
use base::{Monotonic, UnixMicros};
use driver::steering::SLOT_COUNT;
use driver::{Access, Busy, Completion, Connection, Detached, Driver, File, Lease, Limits, Socket};
use futures_lite::future::yield_now;
use glommio::io::BufferedFile;
use glommio::net::TcpListener;
use glommio::timer::Timer;
use glommio::{GlommioError, LocalExecutor, LocalExecutorBuilder, Placement, Task};
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};
use uring::{Carry, Door, ShardConfig, Waker, clock};

/// Deadlines further off than this are looked at again: it bounds what a lost wake-up could cost.
const SLEEP_MAX: Duration = Duration::from_secs(60);

/// How long a predecessor that was just killed may keep its locked memory.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long a shard that ends waits for what its files have in flight.
const FILE_PATIENCE: Duration = Duration::from_secs(1);

/// When glommio's executor would interrupt its tasks, were a turn that long. If that moment (100 ms, if nothing is said) comes before
/// it has begun its first task, glommio 0.9 takes this for having nothing to do, and sleeps. Turns are short; it need not come.
const PREEMPTION: Duration = Duration::from_secs(24 * 3600);

/// A shard's executor and all that belongs to it. Stays on the thread that started it.
#[derive(Debug)]
pub struct Glommio {
    executor: LocalExecutor,
    /// Those that run for ever: at the door, at slots, at listeners.
    tasks: Vec<Task<()>>,
    hub: Shared,
    lent: Lent,
    outbox: Outbox,
    slots: Vec<Rc<Slot>>,
    /// Place in `slots` by slot number.
    places: [u16; SLOT_COUNT],
    /// When slots are asked next what they dropped.
    sweep: Monotonic,
    /// Events wait for the next turn: first come the queues that other threads fill.
    held: bool,
    door: Door,
    peers: Vec<Waker>,
    now: Monotonic,
    unix: UnixMicros,
    limits: Limits,
    carry: Option<Carry>,
}

impl Glommio {
    /// Makes the executor on the calling thread, which must be the shard's, and its tasks.
    ///
    /// The thread keeps the core it is on: pin it before.
    ///
    /// # Errors
    /// One line: what the host refuses, and what to raise.
    pub fn start(config: ShardConfig) -> io::Result<Self> {
        assert!(config.shard < config.peers.len(), "a shard is one of its peers");
        let sizing = config.sizing;
        let memory = Memory::within(&sizing).map_err(io::Error::other)?;
        let executor = make(&memory)?;
        let files = Files::new(config.directory, &sizing);
        let limits = Limits {
            connection_count: sizing.connection_count,
            receive_bytes: sizing.receive_bytes,
            output_bytes: sizing.output_bytes,
            output_count: sizing.output_count,
            file_count: files.count(),
            file_buffer_bytes: sizing.file_buffer_bytes,
            file_buffer_count: files.buffer_count(),
        };
        let now = clock::monotonic();
        let hub: Shared = Rc::new(RefCell::new(Hub::new(&sizing, files, now)));
        let event = config.door.event()?;
        let (sockets, listeners, shared) = (config.sockets, config.listeners, Rc::clone(&hub));
        let receive_bytes = sizing.receive_bytes as usize;
        // Only inside the executor does glommio find it.
        let begun = executor.run(async move {
            let slots = sockets.into_iter().map(|given| Slot::new(given).map(Rc::new));
            let slots = slots.collect::<io::Result<Vec<_>>>()?;
            let mut tasks = vec![glommio::spawn_local(answer(Rc::clone(&shared), uring::adopt(event)))];
            for slot in &slots {
                tasks.push(glommio::spawn_local(receive(Rc::clone(&shared), Rc::clone(slot), receive_bytes)));
            }
            for (listener, fd) in listeners {
                let fd = std::net::TcpListener::from(fd);
                fd.set_nonblocking(false)?;
                let socket: TcpListener = uring::adopt(fd.into());
                tasks.push(glommio::spawn_local(accept(Rc::clone(&shared), listener, socket)));
            }
            Ok::<_, io::Error>((slots, tasks))
        });
        let (slots, tasks) = begun?;
        let mut places = [u16::MAX; SLOT_COUNT];
        for (index, slot) in slots.iter().enumerate() {
            places[usize::from(slot.socket.0)] = index as u16;
        }
        Ok(Self {
            executor,
            tasks,
            hub,
            lent: Lent::default(),
            outbox: Outbox::new(sizing.send_to_count),
            slots,
            places,
            sweep: now,
            held: false,
            door: config.door,
            peers: config.peers,
            now,
            unix: clock::unix(),
            limits,
            carry: None,
        })
    }

    /// Gives it a place for [`Driver::carry`].
    pub fn carry_in(&mut self, carry: Carry) {
        self.carry = Some(carry);
    }

    /// Runs the executor: once around, or until there is news or `span` is over.
    fn run(&mut self, span: Option<Duration>) {
        let hub = Rc::clone(&self.hub);
        self.executor.run(async move {
            hub.borrow_mut().wake_marked();
            connections::begin(&hub);
            files::begin(&hub);
            match span {
                None => yield_now().await,
                Some(span) => await_news(&hub, span).await,
            }
        });
    }

    /// Gives up waiting for peers that had their time.
    fn expire(&mut self) {
        let mut hub = self.hub.borrow_mut();
        hub.now = self.now;
        while let Some(&(deadline, connection)) = hub.lingering.front() {
            if deadline > self.now {
                break;
            }
            hub.lingering.pop_front();
            if let Some(place) = hub.table.holder(connection.index, connection.generation) {
                place.flags.set(Flags::LINGERED);
                hub.mark(connection.index);
            }
        }
    }

    /// Sends what waits, and tells what slots dropped when it is time.
    fn tend_slots(&mut self) {
        let mut hub = self.hub.borrow_mut();
        self.outbox.post(&self.slots, |failed| hub.tell(failed));
        if self.now >= self.sweep && std::mem::take(&mut hub.received) {
            self.slots.iter().filter_map(|slot| slot.overrun()).for_each(|overrun| hub.tell(overrun));
            self.sweep = self.now.after(SWEEP);
        }
    }

    /// The earliest moment at which something must be done without being asked.
    fn deadline(&self) -> Monotonic {
        let hub = self.hub.borrow();
        let lingering = hub.lingering.front().map_or(Monotonic::NEVER, |&(deadline, _)| deadline);
        let room = if self.outbox.is_empty() { Monotonic::NEVER } else { self.now.after(ROOM) };
        let sweep = if hub.received { self.sweep } else { Monotonic::NEVER };
        lingering.min(room).min(sweep)
    }
}

impl Driver for Glommio {
    fn limits(&self) -> Limits {
        self.limits
    }

    fn now(&self) -> Monotonic {
        self.now
    }

    fn instant(&self) -> Monotonic {
        clock::monotonic()
    }

    fn unix(&self) -> UnixMicros {
        self.unix
    }

    fn entropy(&mut self, target: &mut [u8]) {
        clock::entropy(target);
    }

    fn turn(&mut self, until: Monotonic, quiet: &mut dyn FnMut() -> bool) {
        self.now = clock::monotonic();
        self.expire();
        self.tend_slots();
        let span = until.min(self.deadline()).since(self.now).min(SLEEP_MAX);
        let idle = !self.hub.borrow().has_news();
        if idle && !span.is_zero() && self.door.may_sleep(quiet) {
            self.run(Some(span));
            self.door.awake();
        } else {
            self.run(None);
        }
        self.hub.borrow_mut().knocked = false;
        // What other threads have queued is often what the events follow from: a hop, and the datagram of someone whom it was
        // answered. A turn is long here, so both come in one; a shard that reaped first would see them the wrong way round. Once
        // only, so that events are not kept waiting by queues that are never empty.
        self.held = !self.held && !quiet();
        self.now = clock::monotonic();
        self.unix = clock::unix();
    }

    fn reap(&mut self) -> Option<Completion> {
        if self.held {
            return None;
        }
        loop {
            let mut hub = self.hub.borrow_mut();
            let (completion, buffer) = hub.next()?;
            if let Some(buffer) = buffer {
                self.lent.put(buffer);
            }
            if let Some(told) = hub.settle(completion) {
                return Some(told);
            }
        }
    }

    fn bytes(&mut self, lease: &Lease) -> &mut [u8] {
        self.lent.bytes(lease)
    }

    fn release(&mut self, lease: Lease) {
        let buffer = self.lent.take(&lease);
        let mut hub = self.hub.borrow_mut();
        let pool = match Kind::of(&lease).0 {
            Kind::Datagrams => &mut hub.datagrams,
            Kind::Streams => &mut hub.streams,
            Kind::Output => &mut hub.output,
            Kind::Files => &mut hub.file_buffers,
        };
        pool.give(buffer);
    }

    fn output(&mut self) -> Result<Lease, Busy> {
        let buffer = self.hub.borrow_mut().output.take().ok_or(Busy)?;
        let lease = buffer.lease(self.limits.output_bytes);
        self.lent.put(buffer);
        Ok(lease)
    }

    fn send(&mut self, connection: Connection, lease: Lease, count: usize) {
        assert!(count > 0 && count <= self.limits.output_bytes as usize, "bytes within an output buffer");
        assert!(Kind::of(&lease).0 == Kind::Output, "what is sent is an output buffer");
        let buffer = self.lent.take(&lease);
        let mut hub = self.hub.borrow_mut();
        let place = hub.table.holder(connection.index, connection.generation).expect("the connection is open");
        if place.flags.has(Flags::CLOSING) {
            hub.output.give(buffer);
            return;
        }
        assert!(!place.flags.has(Flags::DETACHING), "nothing is sent on what is given away");
        assert!(place.sending.is_none(), "one send is in flight per connection");
        place.sending = Some(Sending { buffer, done: 0, len: count });
        hub.mark(connection.index);
    }

    fn send_to(&mut self, socket: Socket, target: SocketAddr, bytes: &[u8]) -> Result<(), Busy> {
        let place = usize::from(self.places[usize::from(socket.0)]);
        assert!(place < self.slots.len(), "a slot of this shard");
        self.outbox.put(place, target, bytes)
    }

    fn pause(&mut self, connection: Connection) {
        self.change(connection, |flags| flags.set(Flags::PAUSED));
    }

    fn resume(&mut self, connection: Connection) {
        self.change(connection, |flags| flags.clear(Flags::PAUSED));
    }

    fn close(&mut self, connection: Connection, abort: bool) {
        self.change(connection, |flags| flags.set(if abort { Flags::CLOSING | Flags::ABORT } else { Flags::CLOSING }));
    }

    fn detach(&mut self, connection: Connection) {
        let mut hub = self.hub.borrow_mut();
        let place = hub.table.holder(connection.index, connection.generation).expect("the connection is open");
        assert!(place.sending.is_none(), "no send is in flight on what is given away");
        assert!(!place.flags.has(Flags::CLOSING | Flags::DETACHING), "a connection leaves once");
        place.flags.set(Flags::DETACHING);
        hub.mark(connection.index);
    }

    fn adopt(&mut self, socket: Detached) -> Result<Connection, Detached> {
        let mut hub = self.hub.borrow_mut();
        let Some((index, generation)) = hub.table.occupy() else { return Err(socket) };
        let (handle, ended) = socket.into_parts();
        hub.table.at(index).ended = ended;
        let connection = Connection { index, generation };
        hub.take_in(connection, handle);
        Ok(connection)
    }

    fn open(&mut self, name: &str, access: Access) -> Result<File, Busy> {
        self.hub.borrow_mut().files.open(name, access).ok_or(Busy)
    }

    fn file_buffer(&mut self) -> Result<Lease, Busy> {
        let buffer = self.hub.borrow_mut().file_buffers.take().ok_or(Busy)?;
        let lease = buffer.lease(self.limits.file_buffer_bytes);
        self.lent.put(buffer);
        Ok(lease)
    }

    fn write(&mut self, file: File, offset: u64, lease: Lease, count: usize, sync: bool) {
        assert!(Kind::of(&lease).0 == Kind::Files, "what is written is a file buffer");
        assert!(count <= self.limits.file_buffer_bytes as usize, "bytes within a file buffer");
        assert!(count > 0 || sync, "something is asked");
        let buffer = self.lent.take(&lease);
        self.hub.borrow_mut().files.write(file, offset, buffer, count, sync);
    }

    fn read(&mut self, file: File, offset: u64, count: usize) -> Result<(), Busy> {
        assert!(count > 0 && count <= self.limits.file_buffer_bytes as usize, "bytes within a file buffer");
        let mut hub = self.hub.borrow_mut();
        hub.files.assert_open(file);
        let buffer = hub.file_buffers.take().ok_or(Busy)?;
        hub.files.read(file, offset, buffer, count);
        Ok(())
    }

    fn close_file(&mut self, file: File) {
        self.hub.borrow_mut().files.close(file);
    }

    fn carry(&mut self, offset: u64, bytes: &[u8]) -> bool {
        self.carry.as_mut().is_some_and(|carry| carry.put(offset, bytes))
    }

    fn wake(&mut self, peer: usize) {
        self.peers[peer].wake();
    }
}

impl Glommio {
    /// Changes what holds of a connection, and has its task look at it.
    fn change(&mut self, connection: Connection, change: impl FnOnce(&mut Flags)) {
        let mut hub = self.hub.borrow_mut();
        let place = hub.table.holder(connection.index, connection.generation).expect("the connection is open");
        change(&mut place.flags);
        hub.mark(connection.index);
    }
}

impl Drop for Glommio {
    /// Ends every task, for glommio leaves those of a dropped executor, and their descriptors, where they are.
    fn drop(&mut self) {
        if std::thread::panicking() {
            // A task may be what panicked; the process is about to end.
            return;
        }
        let (hub, tasks) = (Rc::clone(&self.hub), std::mem::take(&mut self.tasks));
        self.executor.run(async move {
            for task in tasks {
                task.cancel().await;
            }
            {
                let mut hub = hub.borrow_mut();
                // Those that were given away have no task any more; they close with the word of it.
                while let Some((completion, _)) = hub.next() {
                    if let Completion::Detached { connection, .. } = completion {
                        hub.table.vacate(connection.index);
                    }
                }
                let open: Vec<u32> = hub.table.open().collect();
                for index in open {
                    hub.table.at(index).flags.set(Flags::LEFT);
                    hub.mark(index);
                }
                hub.files.end();
                hub.wake_marked();
            }
            connections::begin(&hub);
            files::begin(&hub);
            let start = Instant::now();
            let is_over = || {
                let hub = hub.borrow();
                hub.table.open().next().is_none() && (hub.files.is_vacant() || start.elapsed() > FILE_PATIENCE)
            };
            // Once around in any case, for what was cancelled holds its socket until the ring hears of it.
            loop {
                Timer::new(Duration::from_millis(1)).await;
                if is_over() {
                    break;
                }
            }
        });
    }
}

/// Waits for an event, a knock, or the end of `span`.
async fn await_news(hub: &Shared, span: Duration) {
    let mut timer = pin!(Timer::new(span));
    poll_fn(|context| {
        let mut hub = hub.borrow_mut();
        if hub.has_news() {
            return Poll::Ready(());
        }
        hub.await_news(Some(context.waker()));
        timer.as_mut().poll(context).map(|_| ())
    })
    .await;
    hub.borrow_mut().await_news(None);
}

/// Notes every knock at the door, for ever.
async fn answer(hub: Shared, event: BufferedFile) {
    loop {
        let outcome = event.read_at(0, size_of::<u64>()).await;
        // Without it a sleeper could not be woken.
        assert!(outcome.is_ok(), "the door of a shard failed: {outcome:?}");
        hub.borrow_mut().knock();
    }
}

/// The rings of a predecessor that was just killed may count as locked for a moment: they are awaited.
fn make(memory: &Memory) -> io::Result<LocalExecutor> {
    let start = Instant::now();
    loop {
        let builder = LocalExecutorBuilder::new(Placement::Unbound).preempt_timer(PREEMPTION);
        let made = builder.ring_depth(memory.ring_entries as usize).io_memory(0).make();
        let error = match made {
            Ok(executor) => return Ok(executor),
            Err(GlommioError::IoError(error)) => error,
            Err(error) => return Err(io::Error::other(format!("glommio: {error}"))),
        };
        if error.raw_os_error() != Some(libc::ENOMEM) {
            return Err(io::Error::new(error.kind(), format!("glommio: no ring: {error}")));
        }
        if start.elapsed() > PATIENCE {
            let needed = memory.locked_bytes().div_ceil(1024);
            return Err(io::Error::new(
                error.kind(),
                format!("glommio: no memory for {memory}: raise RLIMIT_MEMLOCK (ulimit -l) above {needed} KiB"),
            ));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
