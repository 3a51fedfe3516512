//! Which gateways and devices there are, and what they are told to say: the JSON that people write.

use base::Eui64;
use fleet::{Activation, Device, DeviceConfig, Fleet, Message, Saved};
use lorawan::{AesKey, DevAddr, MacVersion, Region, SessionKeys};
use serde::Deserialize;
use std::path::Path;

/// Everything in the file.
pub(crate) struct Roster {
    pub(crate) gateways: Vec<Eui64>,
    pub(crate) devices: Vec<Entry>,
}

/// One device.
pub(crate) struct Entry {
    pub(crate) config: DeviceConfig,
    fcnt_up: u32,
}

impl Entry {
    /// Where a personalised device's counter begins, if not at 0.
    pub(crate) fn starting_with(&self, device: &Device) -> Option<Saved> {
        let mut saved = device.saved();
        saved.session.as_mut()?.fcnt_up = self.fcnt_up;
        Some(saved)
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum FileForm {
    Devices(Vec<DeviceForm>),
    Both(Both),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Both {
    #[serde(default)]
    gateways: Vec<String>,
    devices: Vec<DeviceForm>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeviceForm {
    dev_eui: String,
    join_eui: Option<String>,
    otaa: Option<OtaaForm>,
    abp: Option<AbpForm>,
    app_key: Option<String>,
    dev_addr: Option<String>,
    nwk_s_key: Option<String>,
    app_s_key: Option<String>,
    region: Option<String>,
    sub_bands: Option<u8>,
    mac_version: Option<String>,
    data_rate: Option<u8>,
    #[serde(default)]
    adr: bool,
    #[serde(default)]
    fcnt_up: u32,
}

#[derive(Deserialize)]
struct OtaaForm {
    app_key: String,
}

#[derive(Deserialize)]
struct AbpForm {
    dev_addr: String,
    nwk_s_key: String,
    app_s_key: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CommandForm {
    dev_eui: String,
    fport: u8,
    #[serde(default)]
    payload: String,
    #[serde(default)]
    confirmed: bool,
}

/// Reads a roster file.
pub(crate) fn read(path: &Path, region: Region, sub_bands: u8) -> Result<Roster, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    parse(&text, region, sub_bands).map_err(|error| format!("{}: {error}", path.display()))
}

fn parse(text: &str, region: Region, sub_bands: u8) -> Result<Roster, String> {
    // The two forms are told apart here, because an untagged enum would hide what is wrong.
    let form = if text.trim_start().starts_with('[') {
        serde_json::from_str(text).map(FileForm::Devices)
    } else {
        serde_json::from_str(text).map(FileForm::Both)
    };
    let (gateways, devices) = match form.map_err(|error| error.to_string())? {
        FileForm::Devices(devices) => (Vec::new(), devices),
        FileForm::Both(both) => (both.gateways, both.devices),
    };
    let gateways = gateways
        .iter()
        .enumerate()
        .map(|(index, text)| text.parse().map_err(|error| format!("gateways[{index}]: {error}")))
        .collect::<Result<_, String>>()?;
    let devices = devices
        .iter()
        .enumerate()
        .map(|(index, form)| device(form, region, sub_bands).map_err(|error| format!("devices[{index}].{error}")))
        .collect::<Result<_, String>>()?;
    Ok(Roster { gateways, devices })
}

fn device(form: &DeviceForm, region: Region, sub_bands: u8) -> Result<Entry, String> {
    let dev_eui = form.dev_eui.parse().map_err(|error| format!("dev_eui: {error}"))?;
    let join_eui = form.join_eui.as_deref().unwrap_or("0000000000000000");
    let join_eui = join_eui.parse().map_err(|error| format!("join_eui: {error}"))?;
    let app_key = form.otaa.as_ref().map(|otaa| &otaa.app_key).or(form.app_key.as_ref());
    let abp = form.abp.as_ref().map(|abp| (&abp.dev_addr, &abp.nwk_s_key, &abp.app_s_key));
    let flat = || Some((form.dev_addr.as_ref()?, form.nwk_s_key.as_ref()?, form.app_s_key.as_ref()?));
    let activation = match (app_key, abp.or_else(flat)) {
        (Some(app_key), None) => Activation::Otaa { app_key: key("app_key", app_key)? },
        (None, Some((dev_addr, nwk_s_key, app_s_key))) => {
            let (nwk_s_key, app_s_key) = (key("nwk_s_key", nwk_s_key)?, key("app_s_key", app_s_key)?);
            let address = u32::from_str_radix(dev_addr, 16).ok().filter(|_| dev_addr.len() == 8);
            let dev_addr = DevAddr(address.ok_or("dev_addr: 8 hexadecimal digits")?);
            Activation::Abp { dev_addr, keys: SessionKeys { nwk_s_key, app_s_key } }
        }
        _ => return Err("app_key: a device has either app_key, or dev_addr, nwk_s_key and app_s_key".into()),
    };
    let region = match &form.region {
        Some(name) => Region::of_name(name).ok_or_else(|| format!("region: {name} is not known"))?,
        None => region,
    };
    let mac_version = match form.mac_version.as_deref() {
        None | Some("1.0.3") => MacVersion::V1_0_3,
        Some("1.0.0") => MacVersion::V1_0_0,
        Some("1.0.1") => MacVersion::V1_0_1,
        Some("1.0.2") => MacVersion::V1_0_2,
        Some("1.0.4") => MacVersion::V1_0_4,
        Some(other) => return Err(format!("mac_version: {other} is none of 1.0.0 to 1.0.4")),
    };
    let config = DeviceConfig {
        mac_version,
        sub_bands: form.sub_bands.unwrap_or(sub_bands),
        data_rate: form.data_rate,
        adr: form.adr,
        ..DeviceConfig::new(dev_eui, join_eui, activation, region)
    };
    Ok(Entry { config, fcnt_up: form.fcnt_up })
}

fn key(field: &str, digits: &str) -> Result<AesKey, String> {
    AesKey::from_hex(digits.as_bytes()).ok_or_else(|| format!("{field}: 32 hexadecimal digits"))
}

/// Reads one line of standard input.
pub(crate) fn command(line: &str, fleet: &Fleet) -> Result<(usize, Message), String> {
    let form: CommandForm = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let eui: Eui64 = form.dev_eui.parse().map_err(|error| format!("dev_eui: {error}"))?;
    let device = (0..fleet.device_count()).find(|index| fleet.device(*index).config().dev_eui == eui);
    let mut payload = vec![0; form.payload.len() / 2];
    base::hex::decode(form.payload.as_bytes(), &mut payload).map_err(|_| "payload: hexadecimal digits".to_owned())?;
    if !(1..=223).contains(&form.fport) {
        return Err("fport: 1 to 223".into());
    }
    let message = Message { fport: form.fport, payload, confirmed: form.confirmed };
    device.map(|device| (device, message)).ok_or_else(|| format!("dev_eui: {eui} is not of this fleet"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OTAA: &str = r#"{"dev_eui":"70B3D57ED0000001","join_eui":"70B3D57ED000FF00","otaa":{"app_key":"00112233445566778899AABBCCDDEEFF"}}"#;
    const ABP: &str = r#"{"dev_eui":"70B3D57ED0000002","dev_addr":"01000002","nwk_s_key":"00112233445566778899AABBCCDDEEFF","app_s_key":"00112233445566778899AABBCCDDEEFF","region":"US915","sub_bands":2,"fcnt_up":9}"#;

    #[test]
    fn reads_both_forms() {
        let roster = parse(&format!("[{OTAA},{ABP}]"), Region::Eu868, 0).expect("good");
        assert_eq!((roster.gateways.len(), roster.devices.len()), (0, 2));
        assert!(matches!(roster.devices[0].config.activation, Activation::Otaa { .. }));
        let config = roster.devices[1].config;
        assert_eq!((config.region, config.sub_bands, roster.devices[1].fcnt_up), (Region::Us915, 2, 9));
        let both = format!(r#"{{"gateways":["B827EBFFFE000001"],"devices":[{OTAA}]}}"#);
        assert_eq!(parse(&both, Region::Eu868, 0).expect("good").gateways, [Eui64::new(0xB827_EBFF_FE00_0001)]);
    }

    #[test]
    fn names_what_is_wrong() {
        let check = |text: &str, expected: &str| match parse(text, Region::Eu868, 0) {
            Ok(_) => panic!("{text} was accepted"),
            Err(error) => assert!(error.contains(expected), "{error}"),
        };
        check("[{}]", "dev_eui");
        check(r#"[{"dev_eui":"12"}]"#, "devices[0].dev_eui");
        check(r#"[{"dev_eui":"70B3D57ED0000001"}]"#, "devices[0].app_key");
        check(r#"[{"dev_eui":"70B3D57ED0000001","app_key":"00"}]"#, "devices[0].app_key: 32");
        check(&format!("[{}]", ABP.replace("01000002", "2")), "devices[0].dev_addr");
        check(&format!("[{}]", ABP.replace("US915", "MARS")), "devices[0].region");
        check(&format!("[{}]", ABP.replace("sub_bands", "subbands")), "subbands");
        check(r#"{"gateways":["x"],"devices":[]}"#, "gateways[0]");
    }
}
