//! MQTT clients that nobody here wrote: Python paho, driven by lines; mosquitto's programs; npm mqtt in Node and in a browser.

use super::foreign::{Lines, script};
use super::ports;
use super::system::System;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long something may take to happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long is waited for what is not to happen.
const SILENCE: Duration = Duration::from_millis(300);

/// A dataplane that serves MQTT to everybody.
pub(crate) struct Broker {
    pub(crate) system: System,
    pub(crate) port: u16,
    pub(crate) secure_port: u16,
}

impl Broker {
    /// With this many shards.
    pub(crate) fn start(core_count: u32) -> Self {
        let (port, secure_port) = (ports::free(), ports::free());
        let (plain, secure) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{secure_port}"));
        let options = ["--mqtt-open", "--mqtt-listen", &plain, "--mqtts-listen", &secure];
        let mut system = System::prepare(core_count, &options);
        system.start_dataplane();
        Self { system, port, secure_port }
    }

    /// A counter of the broker, of all shards.
    pub(crate) fn counted(&self, what: &str) -> u64 {
        self.system.metrics().sum("trunkline_mqtt_total", &[&format!("what=\"{what}\"")])
    }
}

/// A way to the broker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    Tcp,
    Tls,
    WebSocket,
    SecureWebSocket,
}

impl Way {
    pub(crate) const ALL: [Self; 4] = [Self::Tcp, Self::Tls, Self::WebSocket, Self::SecureWebSocket];

    fn asked(self, broker: &Broker) -> Value {
        let secure = matches!(self, Self::Tls | Self::SecureWebSocket);
        let web = matches!(self, Self::WebSocket | Self::SecureWebSocket);
        let port = if secure { broker.secure_port } else { broker.port };
        let mut ask = json!({ "host": "localhost", "port": port });
        ask["transport"] = if web { "websockets" } else { "tcp" }.into();
        if secure {
            ask["certificate"] = broker.system.path("cert.pem").to_string_lossy().into();
        }
        ask
    }
}

/// Clients of Python paho, by name.
pub(crate) struct Paho {
    lines: Lines,
    /// What was told and not asked for yet.
    told: VecDeque<Value>,
}

impl Paho {
    pub(crate) fn start() -> Self {
        Self { lines: script("mqtt_client.py"), told: VecDeque::new() }
    }

    /// Asks a client to do something.
    pub(crate) fn ask(&mut self, client: &str, what: &str, mut fields: Value) {
        fields["client"] = client.into();
        fields["do"] = what.into();
        self.lines.say(&fields.to_string());
    }

    /// Connects a client whose identifier is its name, and returns what the CONNACK said.
    #[track_caller]
    pub(crate) fn connect(&mut self, client: &str, broker: &Broker, way: Way, fields: &Value) -> Value {
        let mut ask = way.asked(broker);
        ask["client_id"] = client.into();
        for (key, value) in fields.as_object().expect("fields") {
            ask[key] = value.clone();
        }
        self.ask(client, "connect", ask);
        let connected = self.expect(client, "connected");
        assert_eq!(connected["code"], 0, "{connected}");
        connected
    }

    /// Subscribes, and returns the codes.
    #[track_caller]
    pub(crate) fn subscribe(&mut self, client: &str, filter: &str, qos: u8) -> Value {
        self.ask(client, "subscribe", json!({ "filters": [filter], "qos": qos }));
        self.expect(client, "subscribed")["codes"].clone()
    }

    /// Publishes one message; above QoS 0 returns once it is acknowledged.
    #[track_caller]
    pub(crate) fn publish(&mut self, client: &str, topic: &str, payload: &str, qos: u8, retain: bool) {
        self.ask(client, "publish", json!({ "topic": topic, "payload": payload, "qos": qos, "retain": retain }));
        let published = self.expect(client, "published");
        assert!(published["code"].as_u64().is_some_and(|code| code < 0x80), "{published}");
    }

    /// What a client tells next of this kind; what it tells of others stays.
    #[track_caller]
    pub(crate) fn expect(&mut self, client: &str, event: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = self.find(client, event) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.line(left) {
                Some(line) => self.told.push_back(serde_json::from_str(&line).expect("JSON")),
                None => panic!("{client} never told of {event}; it told {:?}", self.told),
            }
        }
    }

    /// The payload of the next message, which must have this topic.
    #[track_caller]
    pub(crate) fn message(&mut self, client: &str, topic: &str) -> Value {
        let message = self.expect(client, "message");
        assert_eq!(message["topic"], topic, "{message}");
        message
    }

    /// Sees that a client tells nothing of this kind for a while.
    #[track_caller]
    pub(crate) fn silence(&mut self, client: &str, event: &str) {
        let deadline = Instant::now() + SILENCE;
        while let Some(line) = self.lines.line(deadline.saturating_duration_since(Instant::now())) {
            self.told.push_back(serde_json::from_str(&line).expect("JSON"));
        }
        if let Some(found) = self.find(client, event) {
            panic!("{client} told {found}");
        }
    }

    fn find(&mut self, client: &str, event: &str) -> Option<Value> {
        let place = self.told.iter().position(|told| told["client"] == client && told["event"] == event)?;
        self.told.remove(place)
    }
}

/// One of mosquitto's programs, whose output is read at its end.
pub(crate) struct Mosquitto(Child);

impl Mosquitto {
    /// Starts `mosquitto_sub` or `mosquitto_pub`.
    pub(crate) fn start(program: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(command.spawn().unwrap_or_else(|error| panic!("{program}: {error}; see scripts/test")))
    }

    /// Waits for its end; what it printed.
    #[track_caller]
    pub(crate) fn said(self) -> String {
        let output = self.0.wait_with_output().expect("a child");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{}: {said}{}", output.status, String::from_utf8_lossy(&output.stderr));
        said
    }
}
