//! What most scenarios begin with: a tenant with an application, a profile, gateways, a device and a stream.
//!
//! Owns the one place that knows how the API spells them.

use super::device::{Device, hex};
use super::gateway::Gateway;
use super::rest::Api;
use super::socket::Socket;
use super::system::System;
use serde_json::{Value, json};

/// The EUI of gateway `number`.
pub(crate) fn gateway_eui(number: u64) -> u64 {
    0xB827_EBFF_FE00_0000 + number
}

/// A system with a tenant, an application and a profile.
pub(crate) struct World {
    pub(crate) system: System,
    pub(crate) api: Api,
    pub(crate) tenant: Value,
    pub(crate) application: Value,
    pub(crate) profile: Value,
}

/// A stream as the API made it.
#[derive(Clone)]
pub(crate) struct Stream {
    pub(crate) path: String,
    pub(crate) token: String,
}

impl World {
    /// Both processes with the least of configuration.
    pub(crate) fn start() -> Self {
        Self::of(System::start())
    }

    /// The same on a system that was started otherwise.
    pub(crate) fn of(system: System) -> Self {
        let api = system.api();
        let tenant = api.post("/api/v1/tenants", &json!({ "name": "tenant" }))["id"].clone();
        let application = json!({ "tenant": tenant, "name": "application" });
        let application = api.post("/api/v1/applications", &application)["id"].clone();
        let profile = json!({ "tenant": tenant, "name": "profile", "region": "EU868", "mac_version": "1.0.3" });
        let profile = api.post("/api/v1/profiles", &profile)["id"].clone();
        Self { system, api, tenant, application, profile }
    }

    /// Lets a gateway and an address send as fast as a test can.
    pub(crate) fn lift_rates(&self) {
        let rates = json!({ "gateway_rate_max": 100_000, "address_rate_max": 100_000 }).to_string();
        let answer = self.api.send("PATCH", "/api/v1/settings", &[], Some(&rates));
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// Configures gateway `number` and opens it.
    pub(crate) fn gateway(&self, number: u64) -> Gateway {
        let eui = gateway_eui(number);
        let gateway = json!({ "eui": format!("{eui:016X}"), "tenant": self.tenant });
        self.api.post("/api/v1/gateways", &gateway);
        Gateway::online(eui, self.system.gateways())
    }

    /// Configures device `number`, personalised.
    pub(crate) fn abp(&self, number: u8) -> Device {
        let device = Device::new(number);
        self.device(
            &device,
            &json!({ "abp": {
                "dev_addr": format!("{:08X}", device.dev_addr),
                "nwk_s_key": hex(&device.nwk_s_key), "app_s_key": hex(&device.app_s_key),
            }}),
        );
        device
    }

    /// Configures device `number`, which has yet to join.
    pub(crate) fn otaa(&self, number: u8) -> Device {
        let device = Device::new(number);
        self.device(&device, &json!({ "otaa": { "app_key": hex(&device.app_key) } }));
        device
    }

    /// Lets later devices have a profile of their own.
    pub(crate) fn use_profile(&mut self, more: &Value) {
        let mut profile = json!({ "tenant": self.tenant, "name": "another", "mac_version": "1.0.3" });
        profile.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        self.profile = self.api.post("/api/v1/profiles", &profile)["id"].clone();
    }

    fn device(&self, device: &Device, activation: &Value) {
        let mut body = json!({
            "dev_eui": device.eui(), "join_eui": format!("{:016X}", device.join_eui),
            "application": self.application, "profile": self.profile,
        });
        let fields = body.as_object_mut().expect("an object");
        fields.extend(activation.as_object().expect("an object").clone());
        self.api.post("/api/v1/devices", &body);
    }

    /// Makes an application stream with these further fields.
    pub(crate) fn stream(&self, more: &Value) -> Stream {
        self.stream_at(&json!({ "level": "application", "application": self.application }), more)
    }

    /// Makes a stream at this level.
    pub(crate) fn stream_at(&self, level: &Value, more: &Value) -> Stream {
        let mut body = json!({ "name": "stream", "tenant": self.tenant });
        for part in [level, more] {
            body.as_object_mut().expect("an object").extend(part.as_object().expect("an object").clone());
        }
        let stream = self.api.post("/api/v1/streams", &body);
        let path = format!("/api/v1/streams/{}", stream["id"].as_str().expect("an id"));
        let token = self.api.post(&format!("{path}/tokens"), &json!({}));
        let token = token["token"].as_str().expect("a token").to_owned();
        Stream { path, token }
    }

    /// Opens a session of a stream.
    pub(crate) fn open(&self, stream: &Stream) -> Socket {
        self.system.door().stream(&stream.token)
    }
}
