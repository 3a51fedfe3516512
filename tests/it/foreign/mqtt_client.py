"""MQTT clients made of paho-mqtt, driven by lines of JSON.

Each line asks for one thing; whatever happens is told as a line: {"client": NAME, "event": ..., ...}.
"""

import json
import ssl
import sys
import threading

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

VERSIONS = {3: paho.MQTTv311, 5: paho.MQTTv5}
clients = {}
lock = threading.Lock()


def say(name, event, **fields):
    with lock:
        print(json.dumps({"client": name, "event": event, **fields}), flush=True)


def number(code):
    return code if isinstance(code, int) else code.value


def asked(kind, fields):
    if fields is None:
        return None
    properties = Properties(kind)
    for key, value in fields.items():
        for each in value if key == "UserProperty" else [value]:
            setattr(properties, key, tuple(each) if key == "UserProperty" else each)
    return properties


def connect(name, ask):
    version = ask.get("version", 5)
    transport = ask.get("transport", "tcp")
    options = {"client_id": ask.get("client_id", ""), "protocol": VERSIONS[version], "transport": transport}
    if version == 3:
        options["clean_session"] = ask.get("clean", True)
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, manual_ack=ask.get("manual_ack", False), **options)
    clients[name] = client
    if "certificate" in ask:
        client.tls_set(ca_certs=ask["certificate"], cert_reqs=ssl.CERT_REQUIRED)
        if "alpn" in ask:
            client._ssl_context.set_alpn_protocols(ask["alpn"])
    if transport == "websockets":
        client.ws_set_options(path=ask.get("path", "/mqtt"))
    if "will" in ask:
        will = ask["will"]
        properties = asked(PacketTypes.WILLMESSAGE, will.get("properties"))
        client.will_set(will["topic"], will["payload"], will.get("qos", 0), will.get("retain", False), properties)
    client.on_connect = lambda _, __, flags, code, properties: say(
        name, "connected", present=flags.session_present, code=number(code), properties=told_json(properties))
    client.on_disconnect = lambda _, __, flags, code, properties: say(
        name, "disconnected", code=number(code), by_server=flags.is_disconnect_packet_from_server)
    client.on_message = lambda _, __, message: say(
        name, "message", topic=message.topic, payload=message.payload.decode("latin-1"), qos=message.qos,
        retain=message.retain, dup=message.dup, properties=told_json(message.properties), mid=message.mid)
    client.on_subscribe = lambda _, __, mid, codes, properties: say(
        name, "subscribed", codes=[number(code) for code in codes])
    client.on_unsubscribe = lambda _, __, mid, codes, properties: say(
        name, "unsubscribed", codes=[number(code) for code in codes])
    client.on_publish = lambda _, __, mid, code, properties: say(name, "published", mid=mid, code=number(code))
    arguments = {"host": ask["host"], "port": ask["port"], "keepalive": ask.get("keep_alive", 60)}
    if version == 5:
        arguments["clean_start"] = ask.get("clean", True)
        arguments["properties"] = asked(PacketTypes.CONNECT, ask.get("properties"))
    client.reconnect_delay_set(120, 120)
    client.connect(**arguments)
    client.loop_start()


def told_json(properties):
    return {} if properties is None else properties.json()


def act(ask):
    name, what = ask["client"], ask["do"]
    if what == "connect":
        return connect(name, ask)
    client = clients[name]
    if what == "subscribe":
        properties = asked(PacketTypes.SUBSCRIBE, ask.get("properties"))
        if "options" in ask:
            filters = [(filter, SubscribeOptions(**ask["options"])) for filter in ask["filters"]]
            client.subscribe(filters, properties=properties)
        else:
            client.subscribe([(filter, ask.get("qos", 0)) for filter in ask["filters"]])
    elif what == "unsubscribe":
        client.unsubscribe(ask["filters"])
    elif what == "publish":
        properties = asked(PacketTypes.PUBLISH, ask.get("properties"))
        for index in range(ask.get("count", 1)):
            payload = ask["payload"].replace("#", str(index)).encode("latin-1")
            client.publish(ask["topic"], payload, ask.get("qos", 0), ask.get("retain", False), properties)
    elif what == "acknowledge":
        client.ack(ask["mid"], ask["qos"])
    elif what == "disconnect":
        if "code" in ask:
            from paho.mqtt.reasoncodes import ReasonCode
            client.disconnect(ReasonCode(PacketTypes.DISCONNECT, identifier=ask["code"]))
        else:
            client.disconnect()
        client.loop_stop()
    elif what == "vanish":
        client.loop_stop()
        client._sock_close()
    else:
        raise ValueError(what)


for line in sys.stdin:
    act(json.loads(line))
