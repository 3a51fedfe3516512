//! The demonstration: a tenant, an application, a profile, gateways, devices and a stream, made through the API.
//!
//! Owns `demo.json` in the data directory: the secrets it chose, so that a second start finds the same things again.
//! Whatever is there already is left as it is.

use crate::rest::Api;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// What everything in it is called.
pub(crate) const NAME: &str = "demo";
const JOIN_EUI: &str = "70B3D57ED000FF00";
const OTAA_COUNT: u32 = 6;
const ABP_COUNT: u32 = 2;
/// Gateways that the fleet plays.
pub(crate) const GATEWAY_COUNT: u32 = 3;

/// What a second start must know.
#[derive(Serialize, Deserialize)]
pub(crate) struct Demo {
    /// Opens the application's stream.
    pub(crate) token: String,
    /// A tenant administrator's API key.
    pub(crate) api_key: String,
    /// As the fleet reads them.
    pub(crate) devices: Vec<Device>,
}

/// A simulated device.
#[derive(Serialize, Deserialize, Clone)]
pub(crate) struct Device {
    pub(crate) dev_eui: String,
    pub(crate) join_eui: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) otaa: Option<Otaa>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) abp: Option<Abp>,
}

#[derive(Serialize, Deserialize, Clone)]
pub(crate) struct Otaa {
    pub(crate) app_key: String,
}

#[derive(Serialize, Deserialize, Clone)]
pub(crate) struct Abp {
    pub(crate) dev_addr: String,
    pub(crate) nwk_s_key: String,
    pub(crate) app_s_key: String,
}

/// The EUIs of the demonstration's gateways.
pub(crate) fn gateways() -> impl Iterator<Item = String> {
    (1..=GATEWAY_COUNT).map(|number| format!("B827EBFFFE{number:06X}"))
}

/// Makes what is missing of the demonstration.
pub(crate) fn set_up(api: &Api, file: &Path) -> Result<Demo, String> {
    let mut demo = match std::fs::read_to_string(file) {
        Ok(text) => serde_json::from_str(&text).map_err(|error| format!("{}: {error}", file.display()))?,
        Err(_) => Demo::invent()?,
    };
    // Kept before it is used: a start that is cut short is finished by the next one.
    demo.keep(file)?;
    let tenant = ensure(api, "/tenants", "", &json!({ "name": NAME }))?;
    let of_tenant = format!("?tenant={}", text(&tenant)?);
    let application = json!({ "name": NAME, "tenant": tenant });
    let application = ensure(api, "/applications", &of_tenant, &application)?;
    let profile = json!({ "name": NAME, "tenant": tenant, "region": "EU868", "mac_version": "1.0.3" });
    let profile = ensure(api, "/profiles", &of_tenant, &profile)?;
    for eui in gateways() {
        let path = format!("/gateways/{eui}");
        if api.find(&path)?.is_none() {
            api.post("/gateways", &json!({ "eui": eui, "tenant": tenant, "name": format!("{NAME} {}", &eui[14..]) }))?;
        }
    }
    for device in &demo.devices {
        if api.find(&format!("/devices/{}", device.dev_eui))?.is_none() {
            let mut body = serde_json::to_value(device).expect("plain data");
            body["application"] = application.clone();
            body["profile"] = profile.clone();
            api.post("/devices", &body)?;
        }
    }
    let stream = json!({
        "name": NAME, "tenant": tenant, "level": "application", "application": application, "copies": "best",
    });
    let stream = ensure(api, "/streams", &of_tenant, &stream)?;
    let tokens = format!("/streams/{}/tokens", text(&stream)?);
    if api.named(&tokens, NAME)?.is_none() {
        api.post(&tokens, &json!({ "name": NAME, "token": demo.token }))?;
    }
    if demo.api_key.is_empty() {
        let path = "/api-keys";
        if let Some(forgotten) = api.named(&format!("{path}{of_tenant}"), NAME)? {
            api.delete(&format!("{path}/{}", text(&forgotten["id"])?))?;
        }
        let made = api.post(path, &json!({ "name": NAME, "role": "tenant_admin", "tenant": tenant }))?;
        demo.api_key = text(&made["key"])?.to_owned();
        demo.keep(file)?;
    }
    Ok(demo)
}

/// The id of the named thing, which is made if it is not there.
fn ensure(api: &Api, path: &str, filter: &str, body: &Value) -> Result<Value, String> {
    let found = api.named(&format!("{path}{filter}"), NAME)?;
    let thing = found.map_or_else(|| api.post(path, body), Ok)?;
    Ok(thing["id"].clone())
}

fn text(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| format!("the API answered {value} where text was expected"))
}

impl Demo {
    /// New secrets.
    fn invent() -> Result<Self, String> {
        let mut devices = Vec::new();
        for number in 1..=OTAA_COUNT + ABP_COUNT {
            let personalised = number > OTAA_COUNT;
            devices.push(Device {
                dev_eui: format!("70B3D57ED0{number:06X}"),
                join_eui: JOIN_EUI.into(),
                otaa: if personalised { None } else { Some(Otaa { app_key: secret()? }) },
                abp: if personalised { Some(Abp::invent(number)?) } else { None },
            });
        }
        Ok(Self { token: secret()?.to_lowercase(), api_key: String::new(), devices })
    }

    fn keep(&self, file: &Path) -> Result<(), String> {
        write_secret(file, &serde_json::to_string_pretty(self).expect("plain data"))
    }
}

/// Writes a file that only its owner may read; it appears whole or not at all.
pub(crate) fn write_secret(file: &Path, text: &str) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", file.display());
    let part = file.with_extension("part");
    let mut out = File::options().create(true).truncate(true).write(true).mode(0o600).open(&part).map_err(failed)?;
    out.write_all(text.as_bytes()).map_err(failed)?;
    std::fs::rename(&part, file).map_err(failed)
}

impl Abp {
    fn invent(number: u32) -> Result<Self, String> {
        // In the range of the NetID that is nobody's (RP002 names 0 and 1 for experiments).
        Ok(Self { dev_addr: format!("01{number:06X}"), nwk_s_key: secret()?, app_s_key: secret()? })
    }
}

/// Sixteen random bytes.
fn secret() -> Result<String, String> {
    let mut bytes = [0; 16];
    let read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(|error| format!("/dev/urandom: {error}"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02X}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_kept_private_and_found_again() {
        let file = std::env::temp_dir().join(format!("xtask-demo-{}.json", std::process::id()));
        let demo = Demo::invent().expect("random bytes");
        demo.keep(&file).expect("written");
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).expect("there").permissions());
        assert_eq!(mode & 0o777, 0o600);
        let again: Demo = serde_json::from_str(&std::fs::read_to_string(&file).expect("there")).expect("JSON");
        assert_eq!(again.token, demo.token);
        assert_eq!(again.devices.len(), (OTAA_COUNT + ABP_COUNT) as usize);
        assert!(again.devices.iter().all(|device| device.otaa.is_some() != device.abp.is_some()));
        std::fs::remove_file(file).ok();
    }

    #[test]
    fn gateways_have_whole_names() {
        assert!(gateways().all(|eui| eui.len() == 16 && eui.bytes().all(|byte| byte.is_ascii_hexdigit())));
    }
}
