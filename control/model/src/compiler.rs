//! The dataplane's own compiler as the judge of what may be stored: what it accepts can be loaded.

use crate::{Change, Checker, Fault};
use plan::{Config, Refusal};

/// Follows the store with the configuration that the dataplane would have.
#[derive(Default)]
pub struct Compiler {
    kept: Config,
    next: Option<Config>,
}

impl Checker for Compiler {
    fn check(&mut self, changes: &[Change]) -> Result<(), Fault> {
        self.next = None;
        // What the changes mean for devices and gateways is the shards' business.
        let mut upserts = Vec::new();
        let next = self.kept.apply(changes, &mut upserts).map_err(fault)?;
        if !next.same_tables(&self.kept) {
            next.compile(0).map_err(fault)?;
        }
        self.next = Some(next);
        Ok(())
    }

    fn keep(&mut self) {
        if let Some(next) = self.next.take() {
            self.kept = next;
        }
    }
}

/// The compiler names a field from outside in, as `changes[0].stream.copies` or `streams[7].copies`; who sent one object
/// wants to read `copies`.
fn fault(refusal: Refusal) -> Fault {
    let levels = if refusal.field.starts_with("changes[") { 3 } else { 2 };
    let field = refusal.field.splitn(levels, '.').last().unwrap_or_default().to_owned();
    Fault { field, reason: refusal.reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change;
    use crate::{
        Accept, Application, Bounded, Copies, Delivery, Durable, Format, Level, Name, RetentionBytes, Stream, StreamId,
        Tenant, TenantId, WhenFull,
    };
    use contract::v1::change::Body;
    use std::collections::BTreeMap;

    fn tenant(id: u32) -> Change {
        change::tenant(TenantId(id), &Tenant { name: Name::parse("Acme").expect("a name") })
    }

    fn stream(format: Format) -> Change {
        change::stream(StreamId(1), &stream_of(format, Delivery::Live), vec![vec![7; 32]])
    }

    fn stream_of(format: Format, delivery: Delivery) -> Stream {
        Stream {
            tenant: Some(TenantId(1)),
            name: Name::parse("All").expect("a name"),
            level: Level::Tenant,
            copies: Copies::Best,
            kinds: vec!["uplink".into()],
            format,
            enabled: true,
            downlinks: true,
            deflate: false,
            queue_bytes_max: Some(Bounded::new(16_384).expect("in range")),
            when_full: WhenFull::Disconnect,
            ping_interval_s: None,
            connection_count_max: None,
            delivery,
        }
    }

    fn check(compiler: &mut Compiler, change: &Change, field: Option<&str>) {
        let fault = compiler.check(std::slice::from_ref(change)).err();
        assert_eq!(fault.as_ref().map(|fault| fault.field.as_str()), field, "{change:?}: {fault:?}");
    }

    #[test]
    fn refuses_what_the_dataplane_would_refuse_and_names_the_field() {
        let mut compiler = Compiler::default();
        let shipped = || Format::Shipped("json".into());
        check(&mut compiler, &stream(shipped()), Some("tenant"));
        check(&mut compiler, &tenant(1), None);
        // What was not kept is forgotten.
        check(&mut compiler, &stream(shipped()), Some("tenant"));
        check(&mut compiler, &tenant(1), None);
        compiler.keep();
        check(&mut compiler, &stream(shipped()), None);
        check(&mut compiler, &stream(Format::Shipped("nonsense".into())), Some("format"));
        let own = |kind: &str, text: &str| Format::Own(BTreeMap::from([(kind.to_owned(), text.to_owned())]));
        check(&mut compiler, &stream(own("uplink", "{{dev_eui}}")), None);
        check(&mut compiler, &stream(own("uplink", "{{nothing}}")), Some("templates.uplink"));
        check(&mut compiler, &stream(own("nothing", "x")), Some("templates.nothing"));
        let application =
            Application { tenant: TenantId(9), name: Name::parse("x").expect("a name"), dedup_window_ms: None };
        check(&mut compiler, &change::application(1.into(), &application), Some("tenant"));
    }

    /// At both ends of every range, so that the model and the compiler agree on what is in it.
    #[test]
    fn whatever_the_model_takes_of_a_durable_stream_compiles() {
        let mut compiler = Compiler::default();
        check(&mut compiler, &tenant(1), None);
        compiler.keep();
        let most = Durable {
            accept: Accept::Memory,
            retention_s: Bounded::new(315_360_000).ok(),
            retention_bytes: RetentionBytes::new(1 << 50).ok(),
            in_flight_max: Bounded::new(4096).ok(),
            attempts_max: Bounded::new(100).ok(),
            retry_s: Bounded::new(86_400).ok(),
            ack_timeout_s: Bounded::new(86_400).ok(),
        };
        let least = Durable {
            accept: Accept::Disk,
            retention_s: Bounded::new(60).ok(),
            retention_bytes: RetentionBytes::new(1 << 20).ok(),
            in_flight_max: Bounded::new(1).ok(),
            attempts_max: Bounded::new(1).ok(),
            retry_s: Bounded::new(0).ok(),
            ack_timeout_s: Bounded::new(5).ok(),
        };
        assert!(least.differences(&most).count() == 7 && most.differences(&Durable::default()).count() == 7);
        for durable in [most, least, Durable::default()] {
            let value = stream_of(Format::Shipped("json".into()), Delivery::Durable(durable));
            let change = change::stream(StreamId(1), &value, Vec::new());
            check(&mut compiler, &change, None);
            let Some(Body::Stream(message)) = change.body else { panic!("a stream") };
            assert_eq!(message.delivery(), contract::v1::Delivery::Durable);
            assert_eq!(message.retry_s, durable.retry_s.map(Bounded::value), "0 is said, absence is not");
        }
        assert!(RetentionBytes::new((1 << 20) - 1).is_err() && RetentionBytes::new((1 << 50) + 1).is_err());
        let default = Durable {
            retention_s: Bounded::new(604_800).ok(),
            retention_bytes: RetentionBytes::new(10 << 30).ok(),
            in_flight_max: Bounded::new(256).ok(),
            attempts_max: Bounded::new(5).ok(),
            retry_s: Bounded::new(10).ok(),
            ..Durable::default()
        };
        assert_eq!(default.differences(&Durable::default()).count(), 0, "said or not, the default is the default");
    }
}
