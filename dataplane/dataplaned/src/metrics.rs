//! `/metrics` of the dataplane, in Prometheus' text format, on a port of its own.
//!
//! Owns a listener and one thread; a scrape asks the control thread for a report of every shard. Serves one request per
//! connection; whatever is asked for on another path is 404.

use crate::control::{Scrape, Scraped};
use crossbeam::channel::{Sender, bounded};
use hdrhistogram::Histogram;
use keeper::Retained;
use shard::{Descriptor, Report, Trouble, descriptors};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// How long a scraper may take to say what it wants.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// How long shards may take to answer, a little above the control thread's own patience.
const REPORT_TIMEOUT: Duration = Duration::from_secs(3);

/// After a connection that could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const QUANTILES: [f64; 4] = [0.5, 0.9, 0.99, 0.999];

/// Allocations and frees of a shard's thread since it began to serve; written by it, read here.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Strays {
    /// Allocations.
    pub(crate) allocations: AtomicU64,
    /// Frees.
    pub(crate) frees: AtomicU64,
}

// Each shard writes its own at every turn.
const _: () = assert!(align_of::<Strays>() >= 64 && size_of::<Strays>() >= 64);

/// What a scrape is put together from besides the shards' reports.
pub(crate) struct Sources {
    pub(crate) scrapes: Sender<Scrape>,
    pub(crate) notify: Arc<dyn Fn() + Send + Sync>,
    pub(crate) strays: Arc<[Strays]>,
}

/// Binds `address` and serves on a thread. Returns where.
///
/// # Errors
/// When the address cannot be bound.
pub(crate) fn serve(address: SocketAddr, sources: Sources) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(address)
        .map_err(|error| io::Error::new(error.kind(), format!("metrics on tcp {address}: {error}")))?;
    let bound = listener.local_addr()?;
    thread::Builder::new().name("metrics".into()).spawn(move || {
        for stream in listener.incoming() {
            match stream {
                // A scraper that breaks off harms nobody.
                Ok(stream) => drop(answer(stream, &sources)),
                // Without descriptors the next attempt fails as fast.
                Err(_) => thread::sleep(ACCEPT_PAUSE),
            }
        }
    })?;
    Ok(bound)
}

fn answer(mut stream: TcpStream, sources: &Sources) -> io::Result<()> {
    stream.set_read_timeout(Some(REQUEST_TIMEOUT))?;
    stream.set_write_timeout(Some(REQUEST_TIMEOUT))?;
    let mut head = [0; 2048];
    let mut count = 0;
    while !head[..count].windows(4).any(|end| end == b"\r\n\r\n") {
        let read = if count == head.len() { 0 } else { stream.read(&mut head[count..])? };
        if read == 0 {
            return Ok(());
        }
        count += read;
    }
    let wanted = head.starts_with(b"GET /metrics ") || head.starts_with(b"GET /metrics?");
    let (status, body) = if wanted { ("200 OK", render(sources)) } else { ("404 Not Found", "try /metrics\n".into()) };
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{body}"
    )
}

fn render(sources: &Sources) -> String {
    let (answer, scraped) = bounded(1);
    let asked = sources.scrapes.try_send(Scrape { answer }).is_ok();
    (sources.notify)();
    let scraped = if asked { scraped.recv_timeout(REPORT_TIMEOUT).unwrap_or_default() } else { Scraped::default() };
    let Scraped { reports, retained } = scraped;
    let mut out = String::with_capacity(64 << 10);
    counters(&mut out, &reports);
    gauges(&mut out, &reports);
    disks(&mut out, &reports);
    latencies(&mut out, &reports);
    streams(&mut out, &retained);
    strays(&mut out, &sources.strays);
    out
}

fn counters(out: &mut String, reports: &[Report]) {
    let described = descriptors();
    let mut family = "";
    for (index, Descriptor { family: of, label, help }) in described.iter().enumerate() {
        if *of != family {
            family = of;
            line(out, format_args!("# TYPE trunkline_{family}_total counter"));
        }
        line(out, format_args!("# {label}: {help}"));
        for report in reports {
            if let Some(value) = report.values.get(index) {
                let shard = report.shard;
                line(out, format_args!("trunkline_{family}_total{{shard=\"{shard}\",what=\"{label}\"}} {value}"));
            }
        }
    }
}

fn gauges(out: &mut String, reports: &[Report]) {
    type Gauge = (&'static str, &'static str, fn(&Report) -> u64);
    let all: [Gauge; 8] = [
        ("connections", "Open consumer connections.", |report| report.gauges.connections),
        ("devices", "Devices that live on the shard.", |report| report.gauges.devices),
        ("sessions", "LoRaWAN sessions held.", |report| report.gauges.sessions),
        ("gateways", "Gateways known.", |report| report.gauges.gateways),
        ("gateways_online", "Gateways with a return path.", |report| report.gauges.gateways_online),
        ("queue_blocks_free", "Free blocks of queue memory.", |report| report.gauges.queue_blocks_free),
        ("plan_revision", "Revision of the plan in force.", |report| report.gauges.plan_revision),
        ("busy_nanoseconds", "Time spent working since start.", |report| report.gauges.busy_ns),
    ];
    for (name, help, value) in all {
        line(out, format_args!("# HELP trunkline_shard_{name} {help}\n# TYPE trunkline_shard_{name} gauge"));
        for report in reports {
            line(out, format_args!("trunkline_shard_{name}{{shard=\"{}\"}} {}", report.shard, value(report)));
        }
    }
}

/// Of each shard's journal: one of its states is 1.
fn disks(out: &mut String, reports: &[Report]) {
    let name = "trunkline_shard_journal_disk";
    line(
        out,
        format_args!("# HELP {name} Whether the disk of the shard's journal is in this state.\n# TYPE {name} gauge"),
    );
    for report in reports {
        for state in [None].into_iter().chain(Trouble::ALL.map(Some)) {
            let (shard, title) = (report.shard, state.map_or("healthy", Trouble::name));
            let is_so = u8::from(report.gauges.trouble == state);
            line(out, format_args!("{name}{{shard=\"{shard}\",state=\"{title}\"}} {is_so}"));
        }
    }
}

/// Of each durable stream, by its number, and its name for people.
fn streams(out: &mut String, retained: &BTreeMap<u32, (String, Retained)>) {
    type Gauge = (&'static str, &'static str, fn(&Retained) -> f64);
    let all: [Gauge; 3] = [
        ("messages", "Messages that are kept of a durable stream.", |retained| retained.messages as f64),
        ("bytes", "Bytes of the records of what is kept.", |retained| retained.bytes as f64),
        ("oldest_seconds", "Unix time of the oldest message that is kept; 0 if none is.", |retained| {
            retained.oldest.unwrap_or_default().0 as f64 / 1e6
        }),
    ];
    for (name, help, value) in all {
        let name = format!("trunkline_stream_retained_{name}");
        line(out, format_args!("# HELP {name} {help}\n# TYPE {name} gauge"));
        for (stream, (title, retained)) in retained {
            let title = title.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            line(out, format_args!("{name}{{stream=\"{stream}\",name=\"{title}\"}} {}", value(retained)));
        }
    }
}

fn latencies(out: &mut String, reports: &[Report]) {
    type Stage = (&'static str, &'static str, fn(&Report) -> &Histogram<u64>);
    let stages: [Stage; 3] = [
        ("uplink", "Datagram read to message in a consumer's queue.", |report| &report.latencies.uplink),
        ("hop", "Event made to event taken on another shard.", |report| &report.latencies.hop),
        ("turn", "Work of one turn of the loop.", |report| &report.latencies.turn),
    ];
    for (name, help, histogram) in stages {
        line(out, format_args!("# HELP trunkline_{name}_seconds {help}\n# TYPE trunkline_{name}_seconds summary"));
        for report in reports {
            let (shard, histogram) = (report.shard, histogram(report));
            for quantile in QUANTILES {
                let seconds = histogram.value_at_quantile(quantile) as f64 / 1e9;
                let label = format_args!("shard=\"{shard}\",quantile=\"{quantile}\"");
                line(out, format_args!("trunkline_{name}_seconds{{{label}}} {seconds:.9}"));
            }
            let sum = histogram.mean() * histogram.len() as f64 / 1e9;
            line(out, format_args!("trunkline_{name}_seconds_sum{{shard=\"{shard}\"}} {sum:.9}"));
            line(out, format_args!("trunkline_{name}_seconds_count{{shard=\"{shard}\"}} {}", histogram.len()));
        }
    }
}

fn strays(out: &mut String, strays: &[Strays]) {
    for (name, help, of) in [
        ("allocations", "Heap allocations on the shard since it serves (Rust and C).", 0),
        ("frees", "Heap frees on the shard since it serves (Rust and C).", 1),
    ] {
        line(
            out,
            format_args!("# HELP trunkline_shard_{name}_total {help}\n# TYPE trunkline_shard_{name}_total counter"),
        );
        for (shard, strays) in strays.iter().enumerate() {
            let cell = if of == 0 { &strays.allocations } else { &strays.frees };
            let value = cell.load(Ordering::Relaxed);
            line(out, format_args!("trunkline_shard_{name}_total{{shard=\"{shard}\"}} {value}"));
        }
    }
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to a string does not fail");
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::UnixMicros;

    #[test]
    fn a_disk_is_in_one_state() {
        let mut reports = [Report::default(), Report { shard: 1, ..Report::default() }];
        reports[1].gauges.trouble = Some(Trouble::ReadOnly);
        let mut out = String::new();
        disks(&mut out, &reports);
        let those: Vec<&str> = out.lines().filter(|line| line.ends_with(" 1")).collect();
        assert_eq!(
            those,
            [
                "trunkline_shard_journal_disk{shard=\"0\",state=\"healthy\"} 1",
                "trunkline_shard_journal_disk{shard=\"1\",state=\"read_only\"} 1",
            ]
        );
        assert_eq!(out.lines().filter(|line| line.ends_with(" 0")).count(), 6);
    }

    #[test]
    fn what_streams_retain_is_a_gauge_for_each() {
        let mut out = String::new();
        let some = Retained { messages: 3, bytes: 400, oldest: Some(UnixMicros(1_500_000)) };
        let named = [(41, ("kept".into(), some)), (42, ("a \"b\"\\\n".into(), Retained::default()))];
        streams(&mut out, &BTreeMap::from(named));
        let values: Vec<&str> = out.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            values,
            [
                "trunkline_stream_retained_messages{stream=\"41\",name=\"kept\"} 3",
                "trunkline_stream_retained_messages{stream=\"42\",name=\"a \\\"b\\\"\\\\\\n\"} 0",
                "trunkline_stream_retained_bytes{stream=\"41\",name=\"kept\"} 400",
                "trunkline_stream_retained_bytes{stream=\"42\",name=\"a \\\"b\\\"\\\\\\n\"} 0",
                "trunkline_stream_retained_oldest_seconds{stream=\"41\",name=\"kept\"} 1.5",
                "trunkline_stream_retained_oldest_seconds{stream=\"42\",name=\"a \\\"b\\\"\\\\\\n\"} 0",
            ]
        );
    }
}
