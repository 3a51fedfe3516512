//! Reads the store for the link, on a thread of its own: the store blocks, and a snapshot holds a view open for long.

use push::{Gap, Input, Page, Read, Ticket};
use std::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::mpsc::UnboundedSender;

/// What a link needs of a store.
pub trait Source: Send + 'static {
    /// A consistent view of everything; closed when it is dropped.
    type View: View;

    /// What happened after a revision.
    fn gap(&self, after: u64) -> Result<Gap, String>;
    /// Opens a view.
    fn open(&self) -> Result<Self::View, String>;
}

/// A view, read part by part.
pub trait View {
    /// The revision that it is of.
    fn revision(&self) -> u64;
    /// The next part.
    fn page(&mut self) -> Result<Page, String>;
}

/// Orders for the thread.
#[derive(Debug)]
pub(crate) enum Order {
    Read(Ticket, Read),
    Close,
}

/// Starts the thread. It ends when the orders' sender is dropped.
pub(crate) fn start(source: impl Source, inputs: UnboundedSender<Input>) -> std::io::Result<Sender<Order>> {
    let (sender, orders) = channel();
    std::thread::Builder::new().name("store-reader".to_owned()).spawn(move || serve(&source, &orders, &inputs))?;
    Ok(sender)
}

fn serve<S: Source>(source: &S, orders: &Receiver<Order>, inputs: &UnboundedSender<Input>) {
    let mut view: Option<S::View> = None;
    for order in orders {
        let Order::Read(ticket, read) = order else {
            view = None;
            continue;
        };
        let input = match read {
            Read::After(revision) => source.gap(revision).map(|gap| Input::Gap(ticket, gap)),
            Read::Open => source.open().map(|opened| {
                let revision = view.insert(opened).revision();
                Input::Opened(ticket, revision)
            }),
            Read::Page => view.as_mut().ok_or_else(|| "no view is open".to_owned()).and_then(View::page).map(|page| {
                if page.last {
                    view = None;
                }
                Input::Page(ticket, page)
            }),
        };
        let input = input.unwrap_or_else(|reason| {
            tracing::error!("the store cannot be read for the dataplane: {reason}");
            Input::ReadFailed(ticket)
        });
        if inputs.send(input).is_err() {
            return;
        }
    }
}
