// A LoRaWAN device made of npm `lora-packet` alone: one JSON request per line on standard input, one JSON answer per
// line on standard output. Keys and payloads are hexadecimal.
import { createInterface } from "node:readline";
import { createRequire } from "node:module";

const require = createRequire(process.env.FOREIGN_NODE + "/package.json");
const { fromFields, fromWire, generateSessionKeys, verifyMIC, decrypt, decryptJoinAccept } = require("lora-packet");
const bytes = (hex) => Buffer.from(hex, "hex");

const requests = {
  // A data uplink.
  uplink: ({ devAddr, nwkSKey, appSKey, fcnt, fport, payload, confirmed, ack }) => {
    const packet = fromFields(
      {
        MType: confirmed ? "Confirmed Data Up" : "Unconfirmed Data Up",
        DevAddr: bytes(devAddr),
        FCtrl: { ADR: false, ACK: Boolean(ack), ADRACKReq: false, FPending: false },
        FCnt: fcnt,
        FPort: fport,
        payload: bytes(payload),
      },
      bytes(appSKey),
      bytes(nwkSKey),
    );
    return { phy: packet.PHYPayload.toString("hex") };
  },
  // A JoinRequest.
  join: ({ joinEui, devEui, devNonce, appKey }) => {
    const packet = fromFields(
      { MType: "Join Request", AppEUI: bytes(joinEui), DevEUI: bytes(devEui), DevNonce: bytes(devNonce) },
      null,
      null,
      bytes(appKey),
    );
    return { phy: packet.PHYPayload.toString("hex") };
  },
  // The session in a JoinAccept.
  accept: ({ phy, appKey, devNonce }) => {
    const sealed = fromWire(bytes(phy));
    const open = fromWire(decryptJoinAccept(sealed, bytes(appKey)));
    if (!verifyMIC(open, null, bytes(appKey))) return { error: "MIC" };
    const keys = generateSessionKeys(bytes(appKey), open.NetID, open.AppNonce, bytes(devNonce));
    return {
      devAddr: open.DevAddr.toString("hex"),
      nwkSKey: keys.NwkSKey.toString("hex"),
      appSKey: keys.AppSKey.toString("hex"),
    };
  },
  // What a data downlink says.
  downlink: ({ phy, nwkSKey, appSKey }) => {
    const packet = fromWire(bytes(phy));
    if (!verifyMIC(packet, bytes(nwkSKey))) return { error: "MIC" };
    const clear = decrypt(packet, bytes(appSKey), bytes(nwkSKey));
    return {
      type: packet.getMType(),
      devAddr: packet.DevAddr.toString("hex"),
      fcnt: packet.getFCnt(),
      fport: packet.getFPort(),
      ack: packet.getFCtrlACK(),
      payload: clear.toString("hex"),
    };
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { ask, ...rest } = JSON.parse(line);
  let answer;
  try {
    answer = requests[ask](rest);
  } catch (error) {
    answer = { error: String(error) };
  }
  process.stdout.write(JSON.stringify(answer) + "\n");
}
