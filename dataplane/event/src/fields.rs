//! The names under which templates see an event's fields.

use crate::{Event, Kind};
use emit::{Field, FieldName, Record, Schema, Value};

macro_rules! fields {
    ($($number:literal $constant:ident $name:literal $list:expr, $help:literal;)+) => {
        $(const $constant: Field = Field($number);)+
        /// Every field of an event, for templates and for the reference.
        pub const SCHEMA: Schema = Schema {
            fields: &[$(FieldName { name: $name, field: $constant, list: $list, help: $help }),+],
        };
    };
}

fields! {
    0 KIND "kind" None, "What happened, in snake_case.";
    1 ID "id" None, "The stable id: the same when the same message is delivered again.";
    2 MTYPE "mtype" None, "LoRaWAN MType: 2 unconfirmed up, 3 unconfirmed down, 4 confirmed up, 5 confirmed down.";
    3 CONFIRMED "confirmed" None, "Whether the frame asks for an acknowledgement.";
    4 ADR "adr" None, "Whether the device asked for adaptive data rate.";
    5 TIME "time" None, "When the platform learned of it.";
    6 DEV_EUI "dev_eui" None, "The device.";
    7 JOIN_EUI "join_eui" None, "AppEUI or JoinEUI.";
    8 DEV_ADDR "dev_addr" None, "Network address of the session, 4 bytes.";
    9 FPORT "fport" None, "FPort; absent if the frame had none.";
    10 FCNT "fcnt" None, "The frame counter, 32 bits.";
    11 PAYLOAD "payload" None, "FRMPayload in the clear; of an unknown frame, the PHYPayload.";
    12 FREQUENCY_HZ "frequency_hz" None, "Carrier in Hz.";
    13 FREQUENCY_MHZ "frequency_mhz" None, "Carrier in MHz.";
    14 DATA_RATE "data_rate" None, "Modulation, as in SF7BW125.";
    15 SPREADING_FACTOR "spreading_factor" None, "LoRa spreading factor.";
    16 BANDWIDTH_KHZ "bandwidth_khz" None, "LoRa bandwidth in kHz.";
    17 GATEWAY "gateway" None, "The gateway that heard it (best), sent it, or reported.";
    18 RSSI "rssi" None, "dBm, of the best reception.";
    19 SNR "snr" None, "dB, of the best reception.";
    20 DOWNLINK_ID "downlink_id" None, "The downlink that this speaks of.";
    21 FAILURE "failure" None, "Why a downlink was given up.";
    22 DEV_NONCE "dev_nonce" None, "DevNonce of a join.";
    23 SESSION "session" None, "Counts the device's sessions.";
    24 COPY "copy" None, "Which copy, from 0, in the order of arrival.";
    25 STATUS "status" None, "A gateway's report, a JSON object as received.";
    32 RECEPTIONS "receptions" None, "Every reception, the best first.";
    33 RECEPTION_GATEWAY "gateway" Some(RECEPTIONS), "The gateway.";
    34 RECEPTION_RSSI "rssi" Some(RECEPTIONS), "dBm.";
    35 RECEPTION_SNR "snr" Some(RECEPTIONS), "dB.";
    36 RECEPTION_TMST "tmst" Some(RECEPTIONS), "The concentrator's counter, microseconds.";
    37 RECEPTION_TIME "time" Some(RECEPTIONS), "The gateway's own time; absent if it has no clock.";
    38 RECEPTION_CHANNEL "channel" Some(RECEPTIONS), "Concentrator channel.";
    39 RECEPTION_RF_CHAIN "rf_chain" Some(RECEPTIONS), "Concentrator RF chain.";
    40 RECEPTION_ANTENNA "antenna" Some(RECEPTIONS), "Antenna or board.";
}
