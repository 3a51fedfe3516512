// Makes lorawan_lora_packet.json with npm `lora-packet`, an encoder that nobody here wrote.
// In a directory where `npm install lora-packet@0.9.3` was run:
//   node PATH/lorawan_lora_packet.cjs > PATH/lorawan_lora_packet.json
// Deterministic: no clock, no randomness. Keys and EUIs are arbitrary test values.
"use strict";
const { createRequire } = require("node:module");
const from = createRequire(process.cwd() + "/");
const lora = from("lora-packet");
const { version } = from("lora-packet/package.json");

const hex = (text) => Buffer.from(text, "hex");
const NWK = "44024241ed4ce9a68c6a8bc055233fd3";
const APP = "ec925802ae430ca77fd3dd73cb2cc588";
const ROOT = "b6b53f4a168a7a88bdf7ea135ce9cfca";

// One data frame. `fcnt` has 32 bits: the wire carries the low half, MIC and cipher the whole.
function data(name, f) {
  const low = f.fcnt & 0xffff;
  const high = Buffer.alloc(2);
  high.writeUInt16LE(f.fcnt >>> 16);
  const fields = {
    MType: f.mtype,
    DevAddr: hex(f.dev_addr),
    FCtrl: { ADR: !!f.adr, ADRACKReq: !!f.adr_ack_req, ACK: !!f.ack, FPending: !!f.fpending },
    FCnt: Buffer.from([low >> 8, low & 0xff]),
    FOpts: f.fopts || "",
    payload: hex(f.payload || ""),
  };
  if (f.fport !== undefined) fields.FPort = f.fport;
  const packet = lora.fromFields(fields, hex(APP), hex(NWK), undefined, high);
  // The library signs only frames with a port by itself.
  lora.recalculateMIC(packet, hex(NWK), undefined, high);
  return {
    name, kind: "data", phy: packet.getPHYPayload().toString("hex"), nwk_s_key: NWK, app_s_key: APP,
    direction: packet.getDir(), confirmed: packet.isConfirmed(), dev_addr: f.dev_addr, fcnt: f.fcnt,
    adr: !!f.adr, adr_ack_req: !!f.adr_ack_req, ack: !!f.ack, bit4: !!f.fpending,
    fopts: f.fopts || "", fport: f.fport === undefined ? null : f.fport, payload: f.payload || "",
  };
}

function joinRequest(name, f) {
  const packet = lora.fromFields(
    { MType: "Join Request", AppEUI: hex(f.join_eui), DevEUI: hex(f.dev_eui), DevNonce: hex(f.dev_nonce) },
    undefined, undefined, hex(ROOT));
  return { name, kind: "join_request", phy: packet.getPHYPayload().toString("hex"), app_key: ROOT, ...f };
}

function joinAccept(name, f) {
  const fields = {
    MType: "Join Accept", AppNonce: hex(f.join_nonce), NetID: hex(f.net_id), DevAddr: hex(f.dev_addr),
    DLSettings: f.dl_settings, RxDelay: f.rx_delay,
  };
  if (f.cf_list) fields.CFList = hex(f.cf_list);
  const packet = lora.fromFields(fields, undefined, undefined, hex(ROOT));
  const keys = lora.generateSessionKeys10(hex(ROOT), hex(f.net_id), hex(f.join_nonce), hex(f.dev_nonce));
  return {
    name, kind: "join_accept", phy: packet.getPHYPayload().toString("hex"), app_key: ROOT, ...f,
    nwk_s_key: keys.NwkSKey.toString("hex"), app_s_key: keys.AppSKey.toString("hex"),
  };
}

const UP = "Unconfirmed Data Up", DOWN = "Unconfirmed Data Down", CUP = "Confirmed Data Up", CDOWN = "Confirmed Data Down";
const A = "49be7df1", B = "260b3fa2";
const long = "00112233445566778899aabbccddeeff".repeat(15) + "0102";

const cases = [
  data("uplink", { mtype: UP, dev_addr: A, fcnt: 2, fport: 1, payload: "74657374" }),
  data("uplink with ADR", { mtype: UP, dev_addr: A, fcnt: 3, fport: 2, adr: true, payload: "01" }),
  data("uplink with ADRACKReq", { mtype: UP, dev_addr: A, fcnt: 4, fport: 2, adr: true, adr_ack_req: true, payload: "01ff" }),
  data("uplink, class B", { mtype: UP, dev_addr: B, fcnt: 5, fport: 223, fpending: true, payload: "beef" }),
  data("confirmed uplink", { mtype: CUP, dev_addr: B, fcnt: 6, fport: 10, payload: "cafe0102030405060708090a0b0c0d0e" }),
  data("confirmed uplink that acknowledges", { mtype: CUP, dev_addr: B, fcnt: 7, fport: 10, ack: true, payload: "ca" }),
  data("uplink, one whole block", { mtype: UP, dev_addr: A, fcnt: 8, fport: 3, payload: "000102030405060708090a0b0c0d0e0f" }),
  data("uplink, one byte into the second block", { mtype: UP, dev_addr: A, fcnt: 9, fport: 3, payload: "000102030405060708090a0b0c0d0e0f10" }),
  data("uplink, 242 bytes", { mtype: UP, dev_addr: A, fcnt: 10, fport: 3, payload: long }),
  data("uplink without port", { mtype: UP, dev_addr: A, fcnt: 11 }),
  data("uplink without port that acknowledges", { mtype: UP, dev_addr: A, fcnt: 12, ack: true }),
  data("uplink with port and empty payload", { mtype: UP, dev_addr: A, fcnt: 13, fport: 5 }),
  data("LinkCheckReq in FOpts", { mtype: UP, dev_addr: A, fcnt: 14, fopts: "02", fport: 1, payload: "55" }),
  data("LinkADRAns, DevStatusAns, DeviceTimeReq in FOpts without port", { mtype: UP, dev_addr: A, fcnt: 15, fopts: "030706ff3f0d" }),
  data("fifteen bytes of FOpts", { mtype: UP, dev_addr: A, fcnt: 16, fopts: "030703070307050706fe050d020702", fport: 9, payload: "0102030405" }),
  data("MAC commands on port 0", { mtype: UP, dev_addr: A, fcnt: 17, fport: 0, payload: "0307020d" }),
  data("FCnt 65535", { mtype: UP, dev_addr: A, fcnt: 65535, fport: 1, payload: "61" }),
  data("FCnt 65536", { mtype: UP, dev_addr: A, fcnt: 65536, fport: 1, payload: "62" }),
  data("FCnt 0x00012345", { mtype: UP, dev_addr: A, fcnt: 0x12345, fport: 1, payload: "636465" }),
  data("FCnt 0xFFFFFFFF", { mtype: CUP, dev_addr: A, fcnt: 0xffffffff, fport: 1, payload: "66" }),
  data("downlink", { mtype: DOWN, dev_addr: A, fcnt: 1, fport: 1, payload: "646f776e" }),
  data("downlink that acknowledges", { mtype: DOWN, dev_addr: A, fcnt: 2, ack: true }),
  data("downlink with FPending", { mtype: DOWN, dev_addr: A, fcnt: 3, fport: 7, fpending: true, payload: "00ff00ff" }),
  data("confirmed downlink", { mtype: CDOWN, dev_addr: B, fcnt: 4, fport: 100, payload: "0102030405060708090a0b0c0d0e0f1011" }),
  data("confirmed downlink with ADR that acknowledges", { mtype: CDOWN, dev_addr: B, fcnt: 5, fport: 100, adr: true, ack: true, payload: "01" }),
  data("LinkADRReq and DevStatusReq in FOpts", { mtype: DOWN, dev_addr: B, fcnt: 6, fopts: "0350ff000106" }),
  data("DeviceTimeAns in FOpts with payload", { mtype: DOWN, dev_addr: B, fcnt: 7, fopts: "0d0102030480", fport: 8, payload: "aa" }),
  data("downlink MAC commands on port 0", { mtype: DOWN, dev_addr: B, fcnt: 8, fport: 0, payload: "0352ff000105023855840804" }),
  data("downlink, FCnt 0x00010001", { mtype: DOWN, dev_addr: B, fcnt: 0x10001, fport: 1, payload: "676869" }),
  joinRequest("join-request", { join_eui: "70b3d57ed0000001", dev_eui: "0004a30b001a2b3c", dev_nonce: "0001" }),
  joinRequest("join-request with a random nonce", { join_eui: "0000000000000000", dev_eui: "ffeeddccbbaa9988", dev_nonce: "e3f2" }),
  joinAccept("join-accept", { join_nonce: "c1a5f0", net_id: "000013", dev_addr: "260b3fa2", dl_settings: 0x03, rx_delay: 1, dev_nonce: "0001" }),
  joinAccept("join-accept, offsets and delay", { join_nonce: "000001", net_id: "600002", dev_addr: "e00001ff", dl_settings: 0x52, rx_delay: 15, dev_nonce: "e3f2" }),
  // 867.1, 867.3, 867.5, 867.7, 867.9 MHz.
  joinAccept("join-accept with frequencies", { join_nonce: "0a0b0c", net_id: "000013", dev_addr: "26011bda", dl_settings: 0x00, rx_delay: 5, dev_nonce: "1234", cf_list: "184f84e85684b85e84886684586e8400" }),
  // Sub-band 2 of US915.
  joinAccept("join-accept with channel masks", { join_nonce: "ffffff", net_id: "000013", dev_addr: "26021bda", dl_settings: 0x08, rx_delay: 1, dev_nonce: "ffff", cf_list: "00ff0000000000000200000000000001" }),
];

for (const c of cases) {
  // The library must agree with itself before we agree with it.
  const parsed = lora.fromWire(hex(c.phy));
  if (c.kind === "data") {
    const high = Buffer.alloc(2);
    high.writeUInt16LE(c.fcnt >>> 16);
    if (!lora.verifyMIC(parsed, hex(NWK), undefined, high)) throw new Error(c.name);
  } else if (c.kind === "join_request" && !lora.verifyMIC(parsed, undefined, hex(ROOT))) throw new Error(c.name);
}
const origin = `npm lora-packet ${version} (MIT), made by lorawan_lora_packet.cjs`;
process.stdout.write(JSON.stringify({ origin, version, cases }, null, 1) + "\n");
