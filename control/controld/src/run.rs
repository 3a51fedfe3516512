//! The life of the process: open, bind, serve, stop.
//!
//! Everything that can be wrong with the host or the options is found before the first request is served, and said in
//! one line.

use crate::certificate::Pair;
use crate::files::{DataDir, write_secret};
use crate::link::{DataplaneLink, Settings};
use crate::options::Options;
use crate::serve::{Server, bind};
use crate::stored::Stored;
use api::Api;
use api::dataplane::Dataplane;
use model::{Compiler, Name, Role};
use push::Limits;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use store::Store;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// How long open requests may take to end after a signal.
const GRACE: Duration = Duration::from_secs(5);
/// How often the store may forget what nobody needs to be told any more.
const HOUSEKEEPING: Duration = Duration::from_secs(600);

/// Runs until a signal ends it. The error is one line for the operator.
pub fn run(options: &Options) -> Result<(), String> {
    if options.is_exposed() {
        return Err(format!(
            "{} is not loopback: give --tls-cert and --tls-key, or --plain if something in front of it ends TLS",
            options.listen
        ));
    }
    let directory = DataDir::open(&options.data_dir)?;
    let pair = Pair::of(directory.path());
    if pair.make_unless_there(options.stream_host().as_deref())? {
        tracing::info!("made a self-signed certificate: {}", pair.certificate.display());
    }
    pair.load()?;
    let tls = match (&options.tls_cert, &options.tls_key) {
        (Some(certificate), Some(key)) => Some(Pair { certificate: certificate.clone(), key: key.clone() }.load()?),
        _ => None,
    };
    let store =
        Store::open(&directory.join("trunkline.db"), &directory.join("store.key"), Box::new(Compiler::default()))
            .map_err(|error| error.to_string())?;
    operator_key(&store, &directory, options.new_operator_key).map_err(|NoKey(reason)| reason)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| format!("no threads can be started: {error}"))?;
    let result = runtime.block_on(serve(options, Arc::new(store), tls));
    // Whoever still reads the store does so on a thread that need not be waited for.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

/// Why there is no operator's key.
struct NoKey(String);

impl From<store::Error> for NoKey {
    fn from(error: store::Error) -> Self {
        Self(format!("no operator's key can be made: {error}"))
    }
}

/// The first key, or another one if the operator asks for it. Its file is written first: a key that is stored and whose
/// secret nobody has would be the only one, for ever.
fn operator_key(store: &Store, directory: &DataDir, is_another_wanted: bool) -> Result<(), NoKey> {
    let file = directory.join("operator.key");
    let keep = |secret: &str| write_secret(&file, format!("{secret}\n").as_bytes()).map_err(NoKey);
    let is_first = api::bootstrap(store, keep)?;
    if !is_first && is_another_wanted {
        let name = Name::parse("Operator").map_err(store::Error::Broken)?;
        store.write(|writer| keep(writer.insert_key(name, Role::Operator)?.1.reveal()))?;
    }
    if is_first || is_another_wanted {
        tracing::info!("the operator's API key is in {}", file.display());
    }
    Ok(())
}

async fn serve(options: &Options, store: Arc<Store>, tls: Option<Arc<rustls::ServerConfig>>) -> Result<(), String> {
    let (stop, stopped) = watch::channel(false);
    let signals = signals()?;
    let listener = bind(options.listen).await?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let settings = Settings {
        socket: options.socket(),
        store: store.identity(),
        revision: store.revision(),
        limits: Limits::default(),
    };
    let (dataplane, link) = DataplaneLink::start(settings, Stored(Arc::clone(&store)))
        .map_err(|error| format!("no thread can be started: {error}"))?;
    tokio::spawn(housekeeping(Arc::clone(&store), Arc::clone(&dataplane)));
    let api = Api::new(
        store,
        dataplane,
        api::Options {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            stream_url: options.stream_url.clone(),
            patience: Duration::from_millis(options.patience_ms),
            body_timeout: Duration::from_secs(options.request_timeout_s),
        },
    );
    let server = Server {
        router: api::router(Arc::clone(&api)),
        connections: api.connections(),
        connection_count_max: options.connections_max as usize,
        head_timeout: Duration::from_secs(options.request_timeout_s),
    };
    let scheme = if tls.is_some() { "https" } else { "http" };
    tracing::info!("ready: {scheme}://{address}/");

    let server = tokio::spawn(server.run(listener, tls, stopped));
    signals.await;
    tracing::info!("stopping");
    let _ = stop.send(true);
    api.stop();
    let result = match tokio::time::timeout(GRACE, server).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(format!("the API failed: {error}")),
        // Who is still served has had its time.
        Err(_) => Ok(()),
    };
    link.abort();
    result
}

/// SIGTERM or SIGINT.
fn signals() -> Result<impl Future<Output = ()>, String> {
    let listen = |kind| signal(kind).map_err(|error| format!("signals cannot be taken: {error}"));
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

async fn housekeeping(store: Arc<Store>, dataplane: Arc<DataplaneLink>) {
    let mut interval = tokio::time::interval(HOUSEKEEPING);
    loop {
        interval.tick().await;
        let keeper = Arc::clone(&store);
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || keeper.forget_removals()).await {
            tracing::warn!("the store's housekeeping failed: {error}");
        }
        // Forgetting makes a revision too; and if ever one was not told, it is now.
        dataplane.committed(store.revision());
    }
}
